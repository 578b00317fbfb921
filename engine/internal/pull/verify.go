package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"

	"releaselifecycle.dev/engine/internal/protocol"
	"releaselifecycle.dev/engine/internal/verify"
)

// Where tools keep their signatures.
const (
	cosignAnnotation   = "dev.cosignproject.cosign/signature"
	cosignBundleType   = "application/vnd.dev.sigstore.bundle.v0.3+json"
	notationSignature  = "application/vnd.cncf.notary.signature"
	helmProvenanceType = "application/vnd.cncf.helm.chart.provenance.v1.prov"
)

const (
	// maxSignatures bounds how many are tried: who can push beside a chart can push many.
	maxSignatures = 50
	// maxSignature bounds one, which has a few kilobytes. The time that a certificate's key
	// takes grows with its square.
	maxSignature = 64 << 10
	// maxProvenance bounds a provenance file, which holds the chart's metadata.
	maxProvenance = 256 << 10
	// maxRevocation bounds lists of revoked certificates.
	maxRevocation     = 4 << 20
	revocationTimeout = 5 * time.Second
)

var errEnough = errors.New("enough signatures")

// signatures reads who may have signed the chart; nil if nobody has to.
func (f *fetcher) signatures(request *protocol.Pull) (*verify.Verifier, *protocol.Error) {
	wanted := request.Verify
	switch {
	case wanted == nil:
		return nil, nil
	case request.Artifact != nil:
		return nil, protocol.Errorf(protocol.BadRequest, "verify: what Flux has published is verified by Flux's own source")
	case request.Repository != nil && wanted.Provider != protocol.HelmProvenance:
		return nil, protocol.Errorf(protocol.BadRequest,
			"verify: provider %s is for charts in registries; those in repositories have provenance files: %s",
			wanted.Provider, protocol.HelmProvenance)
	}
	client, problem := f.revocations(request.UserAgent)
	if problem != nil {
		return nil, problem
	}
	return verify.New(wanted, client)
}

// revocations is the client that asks whether certificates were revoked, several at once. It
// dials by the same rules, and has no credentials. The answers are signed, so TLS is not needed.
func (f *fetcher) revocations(agent string) (*http.Client, *protocol.Error) {
	client, problem := newClient(f.guard, &protocol.Pull{UserAgent: agent}, origin{}, nil)
	if problem != nil {
		return nil, problem
	}
	client.Transport = &boundedAnswers{client.Transport}
	client.Timeout = revocationTimeout
	return client, nil
}

// boundedAnswers cuts what is read into memory.
type boundedAnswers struct{ http.RoundTripper }

func (b *boundedAnswers) RoundTrip(ask *http.Request) (*http.Response, error) {
	answer, err := b.RoundTripper.RoundTrip(ask)
	if err == nil {
		answer.Body = &bounded{ReadCloser: answer.Body, left: maxRevocation}
	}
	return answer, err
}

// tally is what became of signatures, for a message.
type tally struct {
	tried int
	more  bool
	why   []string
}

func (t *tally) add(err error) {
	t.tried++
	if why := err.Error(); !slices.Contains(t.why, why) {
		t.why = append(t.why, why)
	}
}

// failure says why a chart is not taken.
func (t *tally) failure(host, chart, keys, sign string) *protocol.Error {
	if t.tried == 0 {
		return protocol.Errorf(protocol.NotVerified, "%s: %s has no signature; it is made by %s", host, chart, sign)
	}
	some := fmt.Sprintf("%d signatures were", t.tried)
	if t.tried == 1 {
		some = "1 signature was"
	}
	more := ""
	if t.more {
		more = "; there are more, and no more are tried"
	}
	return protocol.Errorf(protocol.NotVerified, "%s: %s is not signed as it has to be: %s tried with %s: %s%s",
		host, chart, some, keys, strings.Join(t.why, "; "), more)
}

// isAskedFor checks that a chart, whose name and version its signature covers, is the one that
// is asked for: who can write to the registry could put another one that the same keys have
// signed in its place. `helm push` gives a chart the place of its name, and the tag of its
// version.
func (f *fetcher) isAskedFor(repository *remote.Repository, pulled *protocol.Pulled, reference string) *protocol.Error {
	if _, err := parseDigest(reference); err == nil {
		return nil
	}
	asked, err := semver.NewVersion(strings.ReplaceAll(reference, "_", "+"))
	is, isErr := semver.NewVersion(pulled.Version)
	isVersion := err != nil || isErr == nil && asked.Equal(is) && asked.Metadata() == is.Metadata()
	if pulled.Name == path.Base(repository.Reference.Repository) && isVersion {
		return nil
	}
	return protocol.Errorf(protocol.NotVerified, "%s: %s of %s is another chart, %s %s: a chart that is verified "+
		"has the place and the tag that `helm push` gives it, or is named by its digest",
		f.last, reference, repository.Reference.Repository, pulled.Name, pulled.Version)
}

// signedBeside checks the signatures that a registry keeps beside a chart: of its manifest,
// against which everything else of it is checked.
func (f *fetcher) signedBeside(
	ctx context.Context, repository *remote.Repository, manifest ocispec.Descriptor, reference string,
) *protocol.Error {
	host, result := f.last, new(tally)
	if cosign := f.verifier.Cosign; cosign != nil {
		found, problem := f.cosignTag(ctx, repository, manifest, result)
		if !found && problem == nil {
			found, problem = f.referrers(ctx, repository, manifest, cosignBundleType, result, func(data []byte, _ string) error {
				return cosign.Bundle(data, manifest.Digest)
			})
		}
		if found || problem != nil {
			return problem
		}
		return result.failure(host, reference, cosign.Names(), "`cosign sign --key`")
	}
	notation := f.verifier.Notation
	at := repository.Reference
	at.Reference = manifest.Digest.String()
	if problem := notation.Applies(at.String()); problem != nil {
		return problem
	}
	found, problem := f.referrers(ctx, repository, manifest, notationSignature, result, func(data []byte, mediaType string) error {
		return notation.Verify(ctx, at.String(), manifest, data, mediaType)
	})
	if found || problem != nil {
		return problem
	}
	return result.failure(host, reference, notation.Names(), "`notation sign`")
}

// cosignTag tries the signatures under the tag that cosign 2 gives them.
func (f *fetcher) cosignTag(
	ctx context.Context, repository *remote.Repository, manifest ocispec.Descriptor, result *tally,
) (bool, *protocol.Error) {
	tag := strings.Replace(manifest.Digest.String(), ":", "-", 1) + ".sig"
	beside, err := repository.Resolve(ctx, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, f.registryFailure(err, "signature")
	}
	data, problem := f.read(ctx, repository.Manifests(), beside, maxManifest, "manifest of signatures")
	if problem != nil {
		return false, problem
	}
	var parsed ocispec.Manifest
	if json.Unmarshal(data, &parsed) != nil {
		result.add(errUnreadable)
		return false, nil
	}
	for _, layer := range parsed.Layers {
		if result.tried == maxSignatures {
			result.more = true
			break
		}
		payload, problem := f.blob(ctx, repository, layer, maxSignature, "signature")
		if problem != nil {
			if isTransient(problem) {
				return false, problem
			}
			result.add(errUnreadable)
			continue
		}
		if err := f.verifier.Cosign.Simple(payload, layer.Annotations[cosignAnnotation], manifest.Digest); err != nil {
			result.add(err)
			continue
		}
		return true, nil
	}
	return false, nil
}

var errUnreadable = fmt.Errorf("it cannot be read, or has more than %d KiB", maxSignature>>10)

func isTransient(problem *protocol.Error) bool {
	return problem.Transient != nil && *problem.Transient
}

// referrers tries the signatures that refer to a manifest.
func (f *fetcher) referrers(
	ctx context.Context, repository *remote.Repository, manifest ocispec.Descriptor, kind string, result *tally,
	check func(data []byte, mediaType string) error,
) (bool, *protocol.Error) {
	var found []ocispec.Descriptor
	err := repository.Referrers(ctx, manifest, kind, func(page []ocispec.Descriptor) error {
		found = append(found, page...)
		if len(found) > maxSignatures {
			return errEnough
		}
		return nil
	})
	switch {
	case errors.Is(err, errEnough) || errors.Is(err, errdef.ErrTooManyPages):
		result.more = true
		found = found[:min(len(found), maxSignatures)]
	case err != nil && !isNotFound(err):
		return false, f.registryFailure(err, "list of signatures")
	}
	for _, beside := range found {
		data, mediaType, problem := f.signature(ctx, repository, beside)
		if problem != nil && isTransient(problem) {
			return false, problem
		}
		err := errUnreadable
		if problem == nil {
			err = check(data, mediaType)
		}
		if err != nil && ctx.Err() != nil {
			return false, f.registryFailure(ctx.Err(), "signature")
		}
		if err == nil {
			return true, nil
		}
		result.add(err)
	}
	return false, nil
}

// signature reads the one layer of what refers to a manifest.
func (f *fetcher) signature(
	ctx context.Context, repository *remote.Repository, beside ocispec.Descriptor,
) ([]byte, string, *protocol.Error) {
	data, problem := f.read(ctx, repository.Manifests(), beside, maxSignature, "manifest of a signature")
	if problem != nil {
		return nil, "", problem
	}
	var parsed ocispec.Manifest
	if json.Unmarshal(data, &parsed) != nil || len(parsed.Layers) != 1 {
		return nil, "", protocol.Errorf(protocol.NotVerified, "%s", errUnreadable)
	}
	data, problem = f.blob(ctx, repository, parsed.Layers[0], maxSignature, "signature")
	return data, parsed.Layers[0].MediaType, problem
}

// signedWithin checks the provenance that `helm push` has put beside the archive.
func (f *fetcher) signedWithin(
	ctx context.Context, repository *remote.Repository, chart *parts, pulled *protocol.Pulled, reference string,
) *protocol.Error {
	if chart.provenance == nil {
		return f.withoutProvenance(reference)
	}
	signed, problem := f.blob(ctx, repository, *chart.provenance, maxProvenance, "provenance of "+reference)
	if problem != nil {
		return problem
	}
	return f.hasProvenance(pulled, pulled.Chart, signed, reference)
}

// provenance reads the file of a chart's provenance that is beside its archive.
func (f *fetcher) provenance(
	ctx context.Context, at *url.URL, credentials *protocol.Credentials, what string,
) ([]byte, *protocol.Error) {
	beside := *at
	beside.Path += ".prov"
	if beside.RawPath != "" {
		beside.RawPath += ".prov"
	}
	data, problem := f.get(ctx, &beside, credentials, maxProvenance, "provenance file of the "+what)
	if problem != nil && problem.Kind == protocol.ChartNotFound {
		return nil, f.withoutProvenance(what)
	}
	return data, problem
}

func (f *fetcher) withoutProvenance(what string) *protocol.Error {
	return (&tally{}).failure(f.last, what, "", "`helm package --sign`, and its provenance file is published with it")
}

// hasProvenance checks the provenance of a chart.
func (f *fetcher) hasProvenance(pulled *protocol.Pulled, archive, signed []byte, what string) *protocol.Error {
	helm := f.verifier.Helm
	err := helm.Verify(archive, signed, pulled.Name, pulled.Version)
	if err == nil {
		return nil
	}
	result := new(tally)
	result.add(err)
	return result.failure(f.last, what, helm.Names(), "")
}

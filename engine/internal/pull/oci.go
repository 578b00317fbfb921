package pull

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"releaselifecycle.dev/engine/internal/protocol"
)

// Media types of a chart's parts.
const (
	configType      = "application/vnd.cncf.helm.config.v1+json"
	layerType       = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	legacyLayerType = "application/tar+gzip"
)

const (
	// maxManifest bounds manifests and configs, which have a few kilobytes.
	maxManifest = 1 << 20
	// These bound how long a registry can go on listing tags.
	maxTagPages = 100
	maxTags     = 20_000
	maxTagBytes = 4 << 20
)

var errTooManyTags = errors.New("too many tags")

// oci fetches a chart from a registry.
func (f *fetcher) oci(ctx context.Context, request *protocol.Pull) (*protocol.Pulled, *protocol.Error) {
	repository, problem := f.registry(request)
	if problem != nil {
		return nil, problem
	}
	reference, problem := f.reference(ctx, repository, request.OCI)
	if problem != nil {
		return nil, problem
	}
	manifest, err := repository.Resolve(ctx, reference)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, f.notThere(ctx, repository, reference)
	}
	if err != nil {
		return nil, f.registryFailure(err, reference)
	}
	chart, problem := f.parts(ctx, repository, manifest, reference)
	if problem != nil {
		return nil, problem
	}
	var metadata struct{ Name, Version string }
	data, problem := f.blob(ctx, repository, chart.config, maxManifest, "config of "+reference)
	if problem != nil {
		return nil, problem
	}
	if err := json.Unmarshal(data, &metadata); err != nil {
		return nil, f.noChart(reference)
	}
	pulled := &protocol.Pulled{Name: metadata.Name, Version: metadata.Version, Digest: manifest.Digest.String()}
	if f.verifier != nil {
		if problem := f.isAskedFor(repository, pulled, reference); problem != nil {
			return nil, problem
		}
	}
	if pulled.Digest == f.known {
		return pulled, nil
	}
	if f.verifier != nil && f.verifier.Helm == nil {
		if problem := f.signedBeside(ctx, repository, manifest, reference); problem != nil {
			return nil, problem
		}
	}
	if pulled.Chart, problem = f.blob(ctx, repository, chart.layer, f.maxBytes, "chart "+reference); problem != nil {
		return nil, problem
	}
	if f.verifier != nil && f.verifier.Helm != nil {
		if problem := f.signedWithin(ctx, repository, chart, pulled, reference); problem != nil {
			return nil, problem
		}
	}
	return pulled, nil
}

// registry prepares the registry's client.
func (f *fetcher) registry(request *protocol.Pull) (*remote.Repository, *protocol.Error) {
	at, err := url.Parse(request.OCI.URL)
	if err != nil || at.Scheme != "oci" || at.Host == "" || at.RawQuery != "" || at.Fragment != "" {
		return nil, protocol.Errorf(protocol.BadRequest, "oci.url: a URL of the form oci://host/path/chart is needed")
	}
	if at.User != nil {
		return nil, protocol.Errorf(protocol.BadRequest,
			"oci.url: a user in the URL of %s; credentials belong into the Secret that secretRef names", at.Host)
	}
	reference := registry.Reference{Registry: at.Host, Repository: strings.Trim(at.Path, "/")}
	if reference.ValidateRegistry() != nil || reference.ValidateRepository() != nil {
		return nil, protocol.Errorf(protocol.BadRequest,
			"oci.url %q: a registry and a path of small letters are needed; a version goes into version, a digest into digest",
			request.OCI.URL)
	}
	scheme := "https"
	if request.OCI.PlainHTTP {
		scheme = "http"
	}
	host := reference.Host()
	if problem := f.connect(request, originOf(&url.URL{Scheme: scheme, Host: host})); problem != nil {
		return nil, problem
	}
	f.last = host
	client := &auth.Client{Client: f.client, Cache: auth.NewSingleContextCache()}
	if c := request.Credentials; c != nil && c.Username+c.Password != "" {
		// To this host, and to the token service that it names over TLS.
		client.Credential = auth.StaticCredential(host, auth.Credential{Username: c.Username, Password: c.Password})
	}
	return &remote.Repository{
		Client: client, Reference: reference, PlainHTTP: request.OCI.PlainHTTP,
		TagListMaxPages: maxTagPages, ReferrerListMaxPages: maxTagPages, MaxMetadataBytes: maxTagBytes,
	}, nil
}

// reference is the tag or digest that is asked for.
func (f *fetcher) reference(
	ctx context.Context, repository *remote.Repository, wanted *protocol.OCI,
) (string, *protocol.Error) {
	if wanted.Digest != "" {
		parsed, err := parseDigest(wanted.Digest)
		if err != nil {
			return "", protocol.Errorf(protocol.BadRequest, "oci.digest: %s", err)
		}
		return parsed.String(), nil
	}
	// Helm takes whatever can be read as a version for a tag: v1.16.1 and 1.2 too.
	if _, err := semver.NewVersion(wanted.Version); err == nil {
		return tag(wanted.Version), nil
	}
	if _, err := semver.NewConstraint(wanted.Version); err != nil && wanted.Version != "" {
		// Not a version at all: a tag of another kind, if it can be one.
		if (registry.Reference{Reference: wanted.Version}).ValidateReferenceAsTag() != nil {
			return "", protocol.Errorf(protocol.BadRequest,
				"oci.version %q is neither a version nor a range of versions nor a tag", wanted.Version)
		}
		return wanted.Version, nil
	}
	versions, problem := f.versions(ctx, repository)
	if problem != nil {
		return "", problem
	}
	version, found, err := choose(strict(versions), wanted.Version)
	if err != nil || !found {
		return "", protocol.Errorf(protocol.ChartNotFound, "%s/%s has no version that fits %q%s%s",
			repository.Reference.Registry, repository.Reference.Repository, wanted.Version, f.offer(versions), unranged(versions))
	}
	return tag(version), nil
}

// tag is a version as a tag, which cannot hold a plus.
func tag(version string) string { return strings.ReplaceAll(version, "+", "_") }

// strict are the versions that Helm finds for a range: those of three numbers,
// without a v.
func strict(versions []string) []string {
	return slices.DeleteFunc(slices.Clone(versions), func(version string) bool {
		_, err := semver.StrictNewVersion(version)
		return err != nil
	})
}

// unranged explains why a range does not find what is there.
func unranged(versions []string) string {
	if len(strict(versions)) == len(versions) {
		return ""
	}
	return "; as in Helm a range finds only versions of the form 1.2.3, others have to be named in full"
}

// versions are the tags that can be read as versions.
func (f *fetcher) versions(ctx context.Context, repository *remote.Repository) ([]string, *protocol.Error) {
	var versions []string
	count, size := 0, 0
	err := repository.Tags(ctx, "", func(tags []string) error {
		for _, tag := range tags {
			count++
			size += len(tag)
			if count > maxTags || size > maxTagBytes {
				return errTooManyTags
			}
			version := strings.ReplaceAll(tag, "_", "+")
			if _, err := semver.NewVersion(version); err == nil {
				versions = append(versions, version)
			}
		}
		return nil
	})
	switch {
	case err == nil:
		return versions, nil
	case errors.Is(err, errdef.ErrNotFound) || isNotFound(err):
		return nil, protocol.Errorf(protocol.ChartNotFound, "%s has no repository %s",
			repository.Reference.Registry, repository.Reference.Repository)
	case errors.Is(err, errTooManyTags) || errors.Is(err, errdef.ErrTooManyPages):
		return nil, protocol.Errorf(protocol.TooLarge,
			"%s lists more tags of %s than are read (%d, %d MiB, %d pages); name a version instead of a range, or a digest",
			repository.Reference.Registry, repository.Reference.Repository, maxTags, maxTagBytes>>20, maxTagPages)
	case errors.Is(err, io.ErrUnexpectedEOF):
		// The end of the connection, or of what is read of one answer.
		return nil, unreachable("%s: the list of tags of %s ends too soon, or has more than %d MiB; "+
			"name a version instead of a range, or a digest",
			repository.Reference.Registry, repository.Reference.Repository, maxTagBytes>>20)
	}
	problem := f.registryFailure(err, "the list of versions")
	if problem.Kind == protocol.DigestMismatch {
		return nil, protocol.Errorf(protocol.Unreachable, "%s does not list the tags of %s as registries do",
			repository.Reference.Registry, repository.Reference.Repository)
	}
	return nil, problem
}

func isNotFound(err error) bool {
	var response *errcode.ErrorResponse
	return errors.As(err, &response) && response.StatusCode == 404
}

// notThere names what the repository has instead.
func (f *fetcher) notThere(ctx context.Context, repository *remote.Repository, reference string) *protocol.Error {
	there := ""
	if versions, problem := f.versions(ctx, repository); problem == nil {
		there = f.offer(versions)
	}
	return protocol.Errorf(protocol.ChartNotFound, "%s/%s has no %s%s",
		repository.Reference.Registry, repository.Reference.Repository, reference, there)
}

// parts are what a chart's manifest names; provenance is nil if it was pushed without.
type parts struct {
	config, layer ocispec.Descriptor
	provenance    *ocispec.Descriptor
}

// parts reads the manifest.
func (f *fetcher) parts(
	ctx context.Context, repository *remote.Repository, manifest ocispec.Descriptor, reference string,
) (*parts, *protocol.Error) {
	data, problem := f.read(ctx, repository.Manifests(), manifest, maxManifest, "manifest of "+reference)
	if problem != nil {
		return nil, problem
	}
	var parsed ocispec.Manifest
	if err := json.Unmarshal(data, &parsed); err != nil || parsed.Config.MediaType != configType {
		return nil, f.noChart(reference)
	}
	of := func(mediaType string) *ocispec.Descriptor {
		at := slices.IndexFunc(parsed.Layers, func(d ocispec.Descriptor) bool { return d.MediaType == mediaType })
		if at < 0 {
			return nil
		}
		return &parsed.Layers[at]
	}
	for _, mediaType := range []string{layerType, legacyLayerType} {
		if layer := of(mediaType); layer != nil {
			return &parts{config: parsed.Config, layer: *layer, provenance: of(helmProvenanceType)}, nil
		}
	}
	return nil, f.noChart(reference)
}

func (f *fetcher) noChart(reference string) *protocol.Error {
	return protocol.Errorf(protocol.ChartNotFound,
		"%s: %s is there, but is no Helm chart; charts are pushed by `helm push`", f.last, reference)
}

func (f *fetcher) blob(
	ctx context.Context, repository *remote.Repository, blob ocispec.Descriptor, limit int64, what string,
) ([]byte, *protocol.Error) {
	return f.read(ctx, repository.Blobs(), blob, limit, what)
}

// read fetches what a descriptor names and checks it against it.
func (f *fetcher) read(
	ctx context.Context, from content.Fetcher, blob ocispec.Descriptor, limit int64, what string,
) ([]byte, *protocol.Error) {
	if blob.Size > limit {
		return nil, tooLarge(what, limit)
	}
	if _, err := digest.Parse(blob.Digest.String()); err != nil || blob.Size < 0 {
		return nil, protocol.Errorf(protocol.DigestMismatch, "%s: the registry names %s without a digest", f.last, what)
	}
	body, err := from.Fetch(ctx, blob)
	if err != nil {
		return nil, f.registryFailure(err, what)
	}
	defer body.Close()
	// Exactly as much as is announced: a buffer that grows takes twice that.
	data := make([]byte, blob.Size)
	verified := content.NewVerifyReader(body, blob)
	if _, err := io.ReadFull(verified, data); err != nil {
		return nil, f.registryFailure(err, what)
	}
	if err := verified.Verify(); err != nil {
		return nil, f.registryFailure(err, what)
	}
	return data, nil
}

// registryFailure is what an error of the registry's client means.
func (f *fetcher) registryFailure(err error, what string) *protocol.Error {
	var response *errcode.ErrorResponse
	switch {
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return f.status(http.StatusUnauthorized, what)
	case errors.Is(err, errdef.ErrNotFound):
		return protocol.Errorf(protocol.ChartNotFound, "%s: there is no %s", f.last, what)
	case errors.As(err, &response):
		return f.status(response.StatusCode, what)
	case errors.Is(err, errdef.ErrSizeExceedsLimit):
		return protocol.Errorf(protocol.TooLarge, "%s: %s is too large", f.last, what)
	case ofConnection(err):
		return f.failure(err)
	// From here on the registry has answered, and its client, whose errors have no
	// types for it, rejects the answer.
	case f.asked.status == http.StatusUnauthorized && isBearer(f.challenge):
		return protocol.Errorf(protocol.Refused, "%s names a token service that credentials are not sent to: "+
			"without TLS, or at an address in a private network", f.last)
	case f.asked.status == http.StatusUnauthorized:
		return f.status(f.asked.status, what)
	default:
		return protocol.Errorf(protocol.DigestMismatch,
			"%s: what it serves as %s does not have that digest, size or type", f.last, what)
	}
}

// ofConnection is whether an error is about the connection rather than about an
// answer.
func ofConnection(err error) bool {
	var ofURL *url.Error
	return errors.As(err, new(net.Error)) && !errors.As(err, &ofURL) ||
		ofURL != nil && ofURL.Op != "parse" || errors.Is(err, io.ErrUnexpectedEOF)
}

func isBearer(challenge string) bool {
	scheme, _, _ := strings.Cut(challenge, " ")
	return strings.EqualFold(scheme, "Bearer")
}

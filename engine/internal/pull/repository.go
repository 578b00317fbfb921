package pull

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"releaselifecycle.dev/engine/internal/protocol"
)

// repository fetches a chart that a repository's index names.
func (f *fetcher) repository(ctx context.Context, request *protocol.Pull) (*protocol.Pulled, *protocol.Error) {
	wanted := request.Repository
	base, problem := parseURL("repository.url", wanted.URL)
	if problem != nil {
		return nil, problem
	}
	if problem := f.connect(request, originOf(base)); problem != nil {
		return nil, problem
	}
	indexURL := *base
	indexURL.Path = strings.TrimSuffix(base.Path, "/") + "/index.yaml"
	indexURL.RawPath = ""
	listed, problem := f.index(ctx, &indexURL, request.Credentials, wanted.Name)
	if problem != nil {
		return nil, problem
	}
	entry, problem := f.find(listed, wanted)
	if problem != nil {
		return nil, problem
	}
	pulled := &protocol.Pulled{Name: wanted.Name, Version: entry.Version}
	var promised digest.Digest
	if entry.Digest != "" {
		var err error
		if promised, err = parseDigest(entry.Digest); err != nil {
			return nil, protocol.Errorf(protocol.InvalidIndex,
				"the index of %s: chart %s %s: its digest is none of the form sha256:<64 hexadecimal digits>",
				base.Host, wanted.Name, entry.Version)
		}
		// What is known may be another version, which its signature says.
		if promised.String() == f.known && f.verifier == nil {
			pulled.Digest = f.known
			return pulled, nil
		}
	}
	at, problem := f.archiveURL(base, wanted.Name, entry)
	if problem != nil {
		return nil, problem
	}
	what := "archive of chart " + wanted.Name + " " + entry.Version
	archive, problem := f.get(ctx, at, request.Credentials, f.maxBytes, what)
	if problem != nil {
		return nil, problem
	}
	// Old tools wrote none: then the archive is what the server says it is.
	if promised != "" {
		if promised.Algorithm().FromBytes(archive) != promised {
			// Not the digest that it has: whoever cannot read it could test guesses.
			return nil, protocol.Errorf(protocol.DigestMismatch,
				"the %s from %s does not have the digest that the repository's index says", what, at.Host)
		}
	}
	// Always of one kind, whatever the index says: so it can be compared, and pinned.
	pulled.Digest = digest.FromBytes(archive).String()
	if pulled.Digest == f.known && f.verifier == nil {
		return pulled, nil
	}
	if f.verifier != nil {
		signed, problem := f.provenance(ctx, at, request.Credentials, what)
		if problem == nil {
			problem = f.hasProvenance(pulled, archive, signed, what)
		}
		if problem != nil {
			return nil, problem
		}
	}
	pulled.Chart = archive
	return pulled, nil
}

// index reads what the repository's index says of a chart.
func (f *fetcher) index(
	ctx context.Context, at *url.URL, credentials *protocol.Credentials, chart string,
) (*chartIndex, *protocol.Error) {
	what := "index of the repository at " + strings.TrimSuffix(at.Path, "index.yaml")
	body, _, problem := f.open(ctx, at, credentials, maxIndex, what)
	if problem != nil {
		return nil, problem
	}
	defer body.Close()
	listed, err := readIndex(body, chart)
	var wrong *badIndex
	switch {
	case err == nil:
		return listed, nil
	case errors.As(err, &wrong):
		return nil, protocol.Errorf(protocol.InvalidIndex, "what %s serves as index.yaml cannot be used: %s", f.last, wrong.why)
	default:
		return nil, f.readFailure(err, what, maxIndex)
	}
}

// find picks the entry that is asked for.
func (f *fetcher) find(listed *chartIndex, wanted *protocol.Repository) (*indexEntry, *protocol.Error) {
	if !listed.there {
		return nil, protocol.Errorf(protocol.ChartNotFound, "the repository at %s has no chart %q", f.last, wanted.Name)
	}
	entries := listed.entries
	var versions []string
	for _, entry := range entries {
		if entry != nil && len(entry.URLs) > 0 {
			versions = append(versions, entry.Version)
		}
	}
	version, found, err := choose(versions, wanted.Version)
	switch {
	case err != nil:
		return nil, protocol.Errorf(protocol.BadRequest, "repository.version %q is neither a version nor a range of versions",
			wanted.Version)
	case !found:
		return nil, protocol.Errorf(protocol.ChartNotFound, "the repository at %s has no version of chart %s that fits %q%s",
			f.last, wanted.Name, wanted.Version, f.offer(readable(versions)))
	}
	at := slices.IndexFunc(entries, func(entry *indexEntry) bool {
		return entry != nil && len(entry.URLs) > 0 && entry.Version == version
	})
	return entries[at], nil
}

// archiveURL is where the index says that the archive is, perhaps relative to the
// repository.
func (f *fetcher) archiveURL(base *url.URL, name string, entry *indexEntry) (*url.URL, *protocol.Error) {
	reference, err := url.Parse(entry.URLs[0])
	if err != nil {
		return nil, protocol.Errorf(protocol.InvalidIndex, "the index of %s: chart %s %s: its URL is none",
			base.Host, name, entry.Version)
	}
	folder := *base
	folder.Path = strings.TrimSuffix(base.Path, "/") + "/"
	folder.RawPath = ""
	at := folder.ResolveReference(reference)
	if !reference.IsAbs() && originOf(at) == originOf(base) {
		// A token in the repository's URL is for its archives too, as in Helm; but not
		// for those of another host: "//host/path" is relative as well.
		at.RawQuery = base.RawQuery
	}
	switch {
	case at.Scheme != "http" && at.Scheme != "https" || at.User != nil:
		return nil, protocol.Errorf(protocol.InvalidIndex,
			"the index of %s: chart %s %s is at a URL that is neither http nor https, or holds a user; "+
				"a chart in an OCI registry is named by chart.oci", base.Host, name, entry.Version)
	case base.Scheme == "https" && at.Scheme == "http" && entry.Digest == "":
		return nil, protocol.Errorf(protocol.Refused,
			"the index of %s leads chart %s %s from https to http at %s, without a digest", base.Host, name, entry.Version, at.Host)
	}
	return at, nil
}

package pull

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"sigs.k8s.io/yaml"

	"releaselifecycle.dev/engine/internal/protocol"
)

// index is as much of a repository's index.yaml as a pull needs. Helm's own reader
// takes files only, and brings a runtime for plugins with it.
type index struct {
	APIVersion string                   `json:"apiVersion"`
	Entries    map[string][]*indexEntry `json:"entries"`
}

type indexEntry struct {
	Version string   `json:"version"`
	URLs    []string `json:"urls"`
	Digest  string   `json:"digest"`
}

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
	data, problem := f.get(ctx, &indexURL, request.Credentials, maxIndex, "index of the repository at "+base.Path+"/")
	if problem != nil {
		return nil, problem
	}
	entry, problem := f.find(data, wanted)
	if problem != nil {
		return nil, problem
	}
	pulled := &protocol.Pulled{Name: wanted.Name, Version: entry.Version}
	var listed digest.Digest
	if entry.Digest != "" {
		var err error
		if listed, err = parseDigest(entry.Digest); err != nil {
			return nil, protocol.Errorf(protocol.InvalidIndex, "the index of %s: chart %s %s: %s",
				base.Host, wanted.Name, entry.Version, err)
		}
		if pulled.Digest = listed.String(); pulled.Digest == f.known {
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
	if listed == "" {
		// Old tools wrote none: then the archive is what the server says it is.
		pulled.Digest = digest.FromBytes(archive).String()
		if pulled.Digest == f.known {
			return pulled, nil
		}
	} else if got := listed.Algorithm().FromBytes(archive); got != listed {
		return nil, protocol.Errorf(protocol.DigestMismatch,
			"the %s from %s has digest %s, and the repository's index says %s", what, at.Host, got, listed)
	}
	pulled.Chart = archive
	return pulled, nil
}

// find picks the entry that is asked for.
func (f *fetcher) find(data []byte, wanted *protocol.Repository) (*indexEntry, *protocol.Error) {
	var listed index
	var err error
	if json.Valid(data) {
		err = json.Unmarshal(data, &listed)
	} else {
		err = yaml.Unmarshal(data, &listed)
	}
	// The text of the error would repeat the server's.
	if err != nil || listed.APIVersion == "" {
		return nil, protocol.Errorf(protocol.InvalidIndex,
			"what %s serves as index.yaml is no index of charts; the URL is to be that of the folder that holds index.yaml", f.last)
	}
	entries, there := listed.Entries[wanted.Name]
	if !there {
		return nil, protocol.Errorf(protocol.ChartNotFound, "the repository at %s has no chart %q; it has %s",
			f.last, wanted.Name, few(slices.Collect(maps.Keys(listed.Entries))))
	}
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
		return nil, protocol.Errorf(protocol.ChartNotFound, "the repository at %s has no version of chart %s that fits %q; it has %s",
			f.last, wanted.Name, wanted.Version, few(versions))
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
	if !reference.IsAbs() {
		// A token in the repository's URL is for its archives too, as in Helm.
		at.RawQuery = base.RawQuery
	}
	switch {
	case at.Scheme != "http" && at.Scheme != "https" || at.User != nil:
		return nil, protocol.Errorf(protocol.InvalidIndex,
			"the index of %s: chart %s %s is at a URL of scheme %q; a chart in an OCI registry is named by chart.oci",
			base.Host, name, entry.Version, at.Scheme)
	case base.Scheme == "https" && at.Scheme == "http" && entry.Digest == "":
		return nil, protocol.Errorf(protocol.Refused,
			"the index of %s leads chart %s %s from https to http at %s, without a digest", base.Host, name, entry.Version, at.Host)
	}
	return at, nil
}

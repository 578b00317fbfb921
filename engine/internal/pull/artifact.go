package pull

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"releaselifecycle.dev/engine/internal/protocol"
)

// artifact fetches an archive, as Flux's sources name them: by URL and digest. What
// chart it holds is found when it is rendered.
func (f *fetcher) artifact(ctx context.Context, request *protocol.Pull) (*protocol.Pulled, *protocol.Error) {
	at, problem := parseURL("artifact.url", request.Artifact.URL)
	if problem != nil {
		return nil, problem
	}
	wanted, err := parseDigest(request.Artifact.Digest)
	if err != nil {
		return nil, protocol.Errorf(protocol.BadRequest, "artifact.digest: %s", err)
	}
	if problem := f.isOfSource(request, at); problem != nil {
		return nil, problem
	}
	if f.known == wanted.String() {
		return &protocol.Pulled{Digest: wanted.String()}, nil
	}
	if problem := f.connect(request, originOf(at)); problem != nil {
		return nil, problem
	}
	data, problem := f.get(ctx, at, request.Credentials, f.maxBytes, "artifact "+at.Path)
	if problem != nil {
		return nil, problem
	}
	if wanted.Algorithm().FromBytes(data) != wanted {
		// Not the digest that it has: whoever cannot read it could test guesses.
		return nil, protocol.Errorf(protocol.DigestMismatch, "the artifact at %s%s does not have digest %s", at.Host, at.Path, wanted)
	}
	return &protocol.Pulled{Digest: wanted.String(), Chart: data}, nil
}

// isOfSource makes sure that a URL is one of the artifacts of the source that named it.
// Tenants may write the status of their sources, and the servers of artifacts know
// nobody: so the host has to be such a server, which then may be in a private network,
// and the path has to be where it keeps what is the source's own.
func (f *fetcher) isOfSource(request *protocol.Pull, at *url.URL) *protocol.Error {
	servers, problem := parseRules("artifactHosts", request.ArtifactHosts)
	if problem != nil {
		return problem
	}
	host := originOf(at)
	known := slices.IndexFunc(servers, func(server rule) bool { return server.isOf(host.host, host.port) })
	if known < 0 {
		return protocol.Errorf(protocol.Refused, "%s is no server of artifacts that this operator knows; "+
			"an administrator can name it by the operator's flag --flux-artifact-hosts", at.Host)
	}
	f.guard.allowed = append(f.guard.allowed, servers[known])
	isWithin := func(folder string) bool {
		return strings.HasPrefix(folder, "/") && strings.HasSuffix(folder, "/") && strings.HasPrefix(at.Path, folder)
	}
	if !slices.ContainsFunc(request.Artifact.Under, isWithin) || !isClean(at) {
		return protocol.Errorf(protocol.Refused, "the artifact is at %s, which is no path of this source's; wanted: %s",
			at.Path, strings.Join(request.Artifact.Under, " or "))
	}
	return nil
}

// isClean is whether every server reads a URL's path alike: without steps up, doubled
// or hidden separators, and anything beside it.
func isClean(at *url.URL) bool {
	for _, part := range strings.Split(strings.TrimPrefix(at.Path, "/"), "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return !strings.ContainsAny(at.Path, "\\%;") && at.EscapedPath() == at.Path && at.RawQuery == "" && at.Fragment == ""
}

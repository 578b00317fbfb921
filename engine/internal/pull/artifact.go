package pull

import (
	"context"

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
	if got := wanted.Algorithm().FromBytes(data); got != wanted {
		return nil, protocol.Errorf(protocol.DigestMismatch,
			"the artifact at %s%s has digest %s, not %s", at.Host, at.Path, got, wanted)
	}
	return &protocol.Pulled{Digest: wanted.String(), Chart: data}, nil
}

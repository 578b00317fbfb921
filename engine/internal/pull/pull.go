// Package pull fetches charts: from OCI registries, from HTTP repositories with an
// index, and archives at a URL.
//
// URLs are written by tenants and answered by servers that may mean harm, so every
// address is checked as it is dialled, sizes and times are bounded, credentials go
// to the host that they are for, and no message repeats what a server said: of its
// words only names of hosts that it leads to, and names and versions of charts, which
// are checked to be such.
package pull

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/opencontainers/go-digest"

	"releaselifecycle.dev/engine/internal/protocol"
)

const (
	defaultMaxBytes = 20 << 20
	defaultSeconds  = 60
	maxSeconds      = 600
	// maxIndex bounds a repository's index; large public ones have about 20 MiB.
	maxIndex = 64 << 20
)

// Pull fetches one chart.
func Pull(request *protocol.Pull) (*protocol.Pulled, *protocol.Error) {
	pulled, problem := pull(request)
	if problem != nil && problem.Transient == nil {
		problem.Transient = new(bool)
	}
	return pulled, problem
}

func pull(request *protocol.Pull) (*protocol.Pulled, *protocol.Error) {
	if problem := check(request); problem != nil {
		return nil, problem
	}
	seconds := request.Seconds
	if seconds == 0 {
		seconds = defaultSeconds
	}
	timeout := time.Duration(seconds) * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	fetch := &fetcher{maxBytes: request.MaxBytes, known: request.Known, timeout: timeout}
	if fetch.maxBytes == 0 {
		fetch.maxBytes = defaultMaxBytes
	}
	switch {
	case request.OCI != nil:
		return fetch.oci(ctx, request)
	case request.Repository != nil:
		return fetch.repository(ctx, request)
	default:
		return fetch.artifact(ctx, request)
	}
}

func check(request *protocol.Pull) *protocol.Error {
	sources := 0
	for _, there := range []bool{request.OCI != nil, request.Repository != nil, request.Artifact != nil} {
		if there {
			sources++
		}
	}
	switch {
	case sources != 1:
		return protocol.Errorf(protocol.BadRequest, "exactly one of oci, repository and artifact")
	case request.Seconds < 0 || request.Seconds > maxSeconds:
		return protocol.Errorf(protocol.BadRequest, "seconds %d: from 1 to %d", request.Seconds, maxSeconds)
	case request.MaxBytes < 0:
		return protocol.Errorf(protocol.BadRequest, "maxBytes %d is negative", request.MaxBytes)
	}
	return nil
}

// fetcher is what the sources have in common.
type fetcher struct {
	client   *http.Client
	origin   origin
	maxBytes int64
	known    string
	timeout  time.Duration
	asked
}

// connect prepares the client for a source's host.
func (f *fetcher) connect(request *protocol.Pull, at origin) *protocol.Error {
	client, problem := newClient(request, at, &f.asked)
	f.client, f.origin = client, at
	return problem
}

// get reads what is at a URL, up to a number of bytes. Credentials are added if it
// is on the source's host.
func (f *fetcher) get(
	ctx context.Context, at *url.URL, credentials *protocol.Credentials, limit int64, what string,
) ([]byte, *protocol.Error) {
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), http.NoBody)
	if err != nil {
		return nil, protocol.Errorf(protocol.BadRequest, "%s: not a URL", what)
	}
	if credentials != nil && credentials.Username+credentials.Password != "" && originOf(at) == f.origin {
		ask.SetBasicAuth(credentials.Username, credentials.Password)
	}
	answer, err := f.client.Do(ask)
	if err != nil {
		return nil, f.failure(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, f.status(answer.StatusCode, what)
	}
	if answer.ContentLength > limit {
		return nil, tooLarge(what, limit)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, limit+1))
	if err != nil {
		return nil, f.failure(err)
	}
	if int64(len(data)) > limit {
		return nil, tooLarge(what, limit)
	}
	return data, nil
}

func tooLarge(what string, limit int64) *protocol.Error {
	return protocol.Errorf(protocol.TooLarge, "%s is larger than the %d bytes that are taken", what, limit)
}

// parseURL reads a source's URL.
func parseURL(field, text string) (*url.URL, *protocol.Error) {
	parsed, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, protocol.Errorf(protocol.BadRequest, "%s: not a URL", field)
	case parsed.User != nil:
		return nil, protocol.Errorf(protocol.BadRequest,
			"%s: a user in the URL of %s; credentials belong into the Secret that secretRef names", field, parsed.Host)
	case parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "":
		return nil, protocol.Errorf(protocol.BadRequest, "%s %q: a URL of the form https://host/path is needed",
			field, parsed.Redacted())
	}
	return parsed, nil
}

// parseDigest reads a digest that a user or an index gives; without an algorithm
// it is the SHA-256 that Helm writes into indexes.
func parseDigest(text string) (digest.Digest, error) {
	if len(text) == digest.SHA256.Size()*2 {
		text = string(digest.SHA256) + ":" + text
	}
	parsed, err := digest.Parse(text)
	if err != nil {
		return "", fmt.Errorf("%q is no digest of the form sha256:<64 hexadecimal digits>", text)
	}
	return parsed, nil
}

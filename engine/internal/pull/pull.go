// Package pull fetches charts: from OCI registries, from HTTP repositories with an
// index, and archives at a URL.
//
// URLs are written by tenants and answered by servers that may mean harm, so every
// address is checked as it is dialled, sizes and times are bounded, credentials go
// to the host that they are for, and no message repeats what a server said: of its
// words only names of hosts that it leads to, and versions of a chart, which are checked
// to be such.
package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/opencontainers/go-digest"

	"releaselifecycle.dev/engine/internal/protocol"
	"releaselifecycle.dev/engine/internal/verify"
)

const (
	defaultMaxBytes = 20 << 20
	defaultSeconds  = 60
	maxSeconds      = 600
	// maxMaxBytes keeps an announced length from being no length of a buffer.
	maxMaxBytes = 1 << 30
)

// Pull fetches one chart.
func (m *Machine) Pull(request *protocol.Pull) (*protocol.Pulled, *protocol.Error) {
	pulled, problem := m.pull(request)
	if problem != nil && problem.Transient == nil {
		problem.Transient = new(bool)
	}
	return pulled, problem
}

func (m *Machine) pull(request *protocol.Pull) (*protocol.Pulled, *protocol.Error) {
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
	guard, problem := newGuard(m, request)
	if problem != nil {
		return nil, problem
	}
	fetch := &fetcher{guard: guard, maxBytes: request.MaxBytes, known: request.Known, timeout: timeout}
	if fetch.maxBytes == 0 {
		fetch.maxBytes = defaultMaxBytes
	}
	if fetch.verifier, problem = fetch.signatures(request); problem != nil {
		return nil, problem
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
	case request.MaxBytes > maxMaxBytes:
		return protocol.Errorf(protocol.BadRequest, "maxBytes %d: at most %d", request.MaxBytes, maxMaxBytes)
	}
	return nil
}

// fetcher is what the sources have in common.
type fetcher struct {
	guard    *guard
	client   *http.Client
	origin   origin
	maxBytes int64
	known    string
	timeout  time.Duration
	// verifier is nil if the chart needs no signature.
	verifier *verify.Verifier
	asked
}

// connect prepares the client for a source's host.
func (f *fetcher) connect(request *protocol.Pull, at origin) *protocol.Error {
	client, problem := newClient(f.guard, request, at, &f.asked)
	f.client, f.origin = client, at
	return problem
}

// offer says for a message which versions of a chart there are. Of what a private
// network has, somebody who cannot reach it learns nothing.
func (f *fetcher) offer(versions []string) string {
	if f.guard.inside.Load() && !f.guard.private {
		return ""
	}
	return "; it has " + few(versions)
}

// get reads what is at a URL, up to a number of bytes.
func (f *fetcher) get(
	ctx context.Context, at *url.URL, credentials *protocol.Credentials, limit int64, what string,
) ([]byte, *protocol.Error) {
	body, length, problem := f.open(ctx, at, credentials, limit, what)
	if problem != nil {
		return nil, problem
	}
	defer body.Close()
	if length < 0 {
		length = limit
	}
	// In one piece, of the length that is announced: a buffer that grows takes several
	// times as much. One byte more sees the end, or that there is none.
	data := make([]byte, length+1)
	count := 0
	for count < len(data) {
		part, err := body.Read(data[count:])
		count += part
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, f.readFailure(err, what, limit)
		}
	}
	return data[:count], nil
}

// open asks for what is at a URL; reading more than a number of bytes fails. The
// length is -1 if it is not known. Credentials are added if it is on the source's
// host.
func (f *fetcher) open(
	ctx context.Context, at *url.URL, credentials *protocol.Credentials, limit int64, what string,
) (io.ReadCloser, int64, *protocol.Error) {
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), http.NoBody)
	if err != nil {
		return nil, 0, protocol.Errorf(protocol.BadRequest, "%s: not a URL", what)
	}
	if credentials != nil && credentials.Username+credentials.Password != "" && originOf(at) == f.origin {
		ask.SetBasicAuth(credentials.Username, credentials.Password)
	}
	answer, err := f.client.Do(ask)
	if err != nil {
		return nil, 0, f.failure(err)
	}
	problem := f.status(answer.StatusCode, what)
	if answer.StatusCode == http.StatusOK {
		problem = nil
		if answer.ContentLength > limit {
			problem = tooLarge(what, limit)
		}
	}
	if problem != nil {
		_ = answer.Body.Close()
		return nil, 0, problem
	}
	return &bounded{ReadCloser: answer.Body, left: limit}, answer.ContentLength, nil
}

var errTooLarge = errors.New("too large")

// bounded fails where io.LimitReader would end: what is cut off is not what was
// asked for.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(into []byte) (int, error) {
	count, err := b.ReadCloser.Read(into)
	if b.left -= int64(count); b.left < 0 {
		return 0, errTooLarge
	}
	return count, err
}

// readFailure is what an error of reading an answer means.
func (f *fetcher) readFailure(err error, what string, limit int64) *protocol.Error {
	if errors.Is(err, errTooLarge) {
		return tooLarge(what, limit)
	}
	return f.failure(err)
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

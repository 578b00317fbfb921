package pull

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	// The operator's image is built from nothing and has no roots.
	_ "golang.org/x/crypto/x509roots/fallback"

	"releaselifecycle.dev/engine/internal/protocol"
)

const (
	maxRedirects   = 5
	connectTimeout = 10 * time.Second
	headerTimeout  = 15 * time.Second
	maxHeaders     = 256 << 10
	userAgent      = "releaselifecycle-engine"
)

// origin is a scheme, a host and a port: where credentials are for.
type origin struct{ scheme, host, port string }

func originOf(at *url.URL) origin {
	port := at.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[at.Scheme]
	}
	return origin{at.Scheme, strings.ToLower(at.Hostname()), port}
}

// refusal is an address or a redirect that is not followed, and why.
type refusal struct{ why string }

func (r *refusal) Error() string { return r.why }

// asked is what was asked last, for messages, and what came of it.
type asked struct {
	// last is the host.
	last string
	// status is that of the answer, zero if none came; challenge is how it wants
	// one to authenticate.
	status    int
	challenge string
}

// newClient makes a client for one source. It notes what it asks.
func newClient(guard *guard, request *protocol.Pull, at origin, notes *asked) (*http.Client, *protocol.Error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	own := config
	if c := request.Credentials; c != nil {
		if c.CA != "" {
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM([]byte(c.CA)) {
				return nil, protocol.Errorf(protocol.BadRequest, "credentials.ca holds no certificate in PEM")
			}
		}
		if c.Cert != "" || c.Key != "" {
			pair, err := tls.X509KeyPair([]byte(c.Cert), []byte(c.Key))
			if err != nil {
				// The error may quote the key.
				return nil, protocol.Errorf(protocol.BadRequest,
					"credentials.cert and credentials.key are no certificate and its key in PEM")
			}
			own = config.Clone()
			own.Certificates = []tls.Certificate{pair}
		}
	}
	return &http.Client{
		Transport: &transport{
			origin: at, own: guard.transport(own), others: guard.transport(config), notes: notes,
			agent: cmp.Or(request.UserAgent, userAgent),
			// Flux serves artifacts without TLS; their digest is known.
			httpsOnly: request.HTTPSOnly && request.Artifact == nil,
		},
		CheckRedirect: func(next *http.Request, via []*http.Request) error { return redirect(next, via, at) },
	}, nil
}

// transport presents the client's certificate to the source's host only.
type transport struct {
	origin      origin
	own, others http.RoundTripper
	// notes is nil for a client of several requests at once.
	notes     *asked
	agent     string
	httpsOnly bool
}

func (t *transport) RoundTrip(ask *http.Request) (*http.Response, error) {
	if t.notes != nil {
		*t.notes = asked{last: ask.URL.Host}
	}
	if t.httpsOnly && ask.URL.Scheme != "https" {
		return nil, &refusal{"it is asked over http, which the operator's flag --insecure-allow-http=false forbids; use https"}
	}
	ask.Header.Set("User-Agent", t.agent)
	through := t.others
	if originOf(ask.URL) == t.origin {
		through = t.own
	}
	answer, err := through.RoundTrip(ask)
	if err == nil && t.notes != nil {
		t.notes.status, t.notes.challenge = answer.StatusCode, answer.Header.Get("Www-Authenticate")
	}
	return answer, err
}

// redirect decides on a redirect. Go drops credentials too, but not for another
// port or a subdomain.
func redirect(next *http.Request, via []*http.Request, at origin) error {
	switch {
	case len(via) > maxRedirects:
		return &refusal{fmt.Sprintf("%s redirects more than %d times", at.host, maxRedirects)}
	case next.URL.Scheme != "http" && next.URL.Scheme != "https":
		return &refusal{fmt.Sprintf("%s redirects to a URL that is neither http nor https", via[len(via)-1].URL.Host)}
	case next.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https":
		return &refusal{fmt.Sprintf("%s redirects from https to http at %s", via[len(via)-1].URL.Host, next.URL.Host)}
	}
	if originOf(next.URL) != at {
		next.Header.Del("Authorization")
		next.Header.Del("Cookie")
	}
	return nil
}

func (g *guard) transport(config *tls.Config) *http.Transport {
	return &http.Transport{
		// No proxy: what an environment sets up would dial for us, unchecked.
		Proxy:                  nil,
		DialContext:            g.dial,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    connectTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeaders,
		ForceAttemptHTTP2:      true,
		// An archive is compressed already; unpacked on the way it would not have
		// its digest.
		DisableCompression: true,
		// A pull is over after a few requests.
		IdleConnTimeout: time.Second,
	}
}

// newGuard reads what of a request is about addresses.
func newGuard(machine *Machine, request *protocol.Pull) (*guard, *protocol.Error) {
	refused, problem := parseRules("refuse", request.Refuse)
	if problem != nil {
		return nil, problem
	}
	for _, rule := range refused {
		if !rule.prefix.IsValid() {
			return nil, protocol.Errorf(protocol.BadRequest, "refuse %q: an address is needed", rule.name)
		}
	}
	allowed, problem := parseRules("allow", request.Allow)
	if problem != nil {
		return nil, problem
	}
	return &guard{machine: machine, refused: refused, allowed: allowed, private: request.Private}, nil
}

// failure is what an error of the client means. Only the kernel's words and those of
// TLS alerts, which come from tables, are repeated: other errors hold URLs, which may
// be signed, or what the server said.
func (f *fetcher) failure(err error) *protocol.Error {
	var refused *refusal
	var certificate *tls.CertificateVerificationError
	var resolve *net.DNSError
	var network net.Error
	var operation *net.OpError
	var system syscall.Errno
	switch {
	case errors.As(err, &refused):
		return protocol.Errorf(protocol.Refused, "%s: %s", f.last, refused.why)
	case errors.As(err, &certificate):
		return protocol.Errorf(protocol.Unreachable,
			"%s: its certificate is not trusted: %s; a private CA belongs into the Secret that certSecretRef names, as ca.crt",
			f.last, distrust(certificate.Err))
	case errors.Is(err, http.ErrSchemeMismatch):
		return protocol.Errorf(protocol.Unreachable, "%s does not speak TLS but plain HTTP", f.last)
	case errors.As(err, &resolve):
		return unreachable("%s: its name does not resolve", f.last)
	case errors.As(err, &network) && network.Timeout():
		return unreachable("%s did not answer in time (limits: %s to connect, %s for the first bytes, %s in all)",
			f.last, connectTimeout, headerTimeout, f.timeout)
	case errors.As(err, &system):
		return unreachable("%s: %s", f.last, system)
	case errors.As(err, &operation):
		return unreachable("%s: %s", f.last, operation.Err)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return unreachable("%s closed the connection before its answer was complete", f.last)
	case errors.As(err, new(tls.RecordHeaderError)) || errors.As(err, new(tls.AlertError)):
		return unreachable("%s does not speak TLS", f.last)
	default:
		return unreachable("%s does not speak HTTP", f.last)
	}
}

// distrust says why a certificate is not trusted, without the names that stand in it.
func distrust(err error) string {
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, new(x509.HostnameError)):
		return "it is for another name"
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "its authority is unknown"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "it has expired or is not valid yet"
	default:
		return "it is not valid"
	}
}

func unreachable(format string, args ...any) *protocol.Error {
	problem := protocol.Errorf(protocol.Unreachable, format, args...)
	problem.Transient = new(bool)
	*problem.Transient = true
	return problem
}

// status is what an answer other than OK means.
func (f *fetcher) status(code int, what string) *protocol.Error {
	switch {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return protocol.Errorf(protocol.Unauthorized,
			"%s: %s is not given to these credentials (HTTP %d); see the Secret that secretRef names", f.last, what, code)
	case code == http.StatusNotFound || code == http.StatusGone:
		return protocol.Errorf(protocol.ChartNotFound, "%s: there is no %s (HTTP %d)", f.last, what, code)
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= 500:
		return unreachable("%s: %s: HTTP %d %s", f.last, what, code, http.StatusText(code))
	default:
		return protocol.Errorf(protocol.Unreachable, "%s: %s: HTTP %d %s", f.last, what, code, http.StatusText(code))
	}
}

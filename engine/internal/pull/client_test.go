package pull

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"releaselifecycle.dev/engine/internal/protocol"
)

func wantKind(t *testing.T, problem *protocol.Error, kind protocol.Kind) {
	t.Helper()
	if problem == nil || problem.Kind != kind {
		t.Errorf("%v, wanted %s", problem, kind)
	}
}

func fromURL(at string, of []byte) *protocol.Pull {
	return &protocol.Pull{
		Artifact:      &protocol.Artifact{URL: at, Digest: digest.FromBytes(of).String(), Under: []string{"/"}},
		ArtifactHosts: here, Allow: here, MaxBytes: 2000, Seconds: 20,
	}
}

func TestArtifact(t *testing.T) {
	log := new(seen)
	at := serving(t, chartServer(log, ""))
	data := archive("a.tgz")
	request := fromURL(at+"/charts/a.tgz", data)
	pulled, problem := Pull(request)
	if problem != nil || string(pulled.Chart) != string(data) || pulled.Digest != request.Artifact.Digest {
		t.Fatalf("%+v %v", pulled, problem)
	}
	asked := log.String()
	request.Known = request.Artifact.Digest
	if pulled, problem := Pull(request); problem != nil || pulled.Chart != nil || log.String() != asked {
		t.Errorf("the known artifact: %+v %v, asked for %s", pulled, problem, log)
	}
	_, problem = Pull(fromURL(at+"/charts/b.tgz", data))
	wantError(t, problem, protocol.DigestMismatch, "/charts/b.tgz")
	// It would tell what cannot be read.
	if found := digest.FromBytes(archive("b.tgz")).Encoded(); strings.Contains(problem.Message, found) {
		t.Errorf("the digest that was found is in: %s", problem.Message)
	}
	_, problem = Pull(fromURL(at+"/charts/c", data))
	wantError(t, problem, protocol.ChartNotFound, "/charts/c")
	_, problem = Pull(fromURL(at+"/charts/shop-9.0.0.tgz", data))
	wantError(t, problem, protocol.TooLarge)
}

func TestBadRequests(t *testing.T) {
	for words, request := range map[string]*protocol.Pull{
		"exactly one of": {},
		"exactly one":    {OCI: &protocol.OCI{}, Artifact: &protocol.Artifact{}},
		"seconds 601":    {OCI: &protocol.OCI{}, Seconds: 601},
		"negative":       {OCI: &protocol.OCI{}, MaxBytes: -1},
		"at most":        {OCI: &protocol.OCI{}, MaxBytes: 1 << 40},
		"a user":         fromRepository("https://anna:s3cret@charts.example", "shop", ""),
		"https://":       fromRepository("file:///etc", "shop", ""),
		"sha256:":        {Artifact: &protocol.Artifact{URL: "http://x/y", Digest: "md5:1"}},
		"oci://":         {OCI: &protocol.OCI{URL: "https://registry.example/shop"}},
		"small letters":  {OCI: &protocol.OCI{URL: "oci://registry.example/shop:1.2"}},
		"secretRef":      {OCI: &protocol.OCI{URL: "oci://anna:s3cret@registry.example/shop"}},
		"oci.digest":     {OCI: &protocol.OCI{URL: "oci://registry.example/shop", Digest: "sha256:1"}},
		"nor a tag":      {OCI: &protocol.OCI{URL: "oci://registry.example/shop", Version: "a/b"}},
	} {
		_, problem := Pull(request)
		wantError(t, problem, protocol.BadRequest, words)
	}
}

func TestRedirects(t *testing.T) {
	elsewhere := new(seen)
	other := serving(t, chartServer(elsewhere, ""))
	plain := serving(t, chartServer(new(seen), ""))
	redirects := map[string]string{
		"/metadata": "http://169.254.169.254/latest/meta-data",
		"/other":    other + "/charts/a.tgz?signature=s3cret",
		"/broken":   other + "/broken/index.yaml?signature=s3cret",
		"/file":     "file:///etc/passwd",
		"/loop":     "/loop",
		"/plain":    plain + "/charts/a.tgz",
		"/api":      other + "/api",
	}
	redirecting := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, redirects[r.URL.Path], http.StatusTemporaryRedirect)
	}
	at := serving(t, http.HandlerFunc(redirecting))
	secure := servingTLS(t, http.HandlerFunc(redirecting), nil)
	data := archive("a.tgz")

	request := fromURL(at+"/other", data)
	request.Credentials = &protocol.Credentials{Username: "anna", Password: "s3cret"}
	if _, problem := Pull(request); problem != nil {
		t.Fatal(problem)
	}
	if elsewhere.String() != "/charts/a.tgz" {
		t.Errorf("elsewhere: %s", elsewhere)
	}
	_, problem := Pull(fromURL(at+"/metadata", data))
	wantError(t, problem, protocol.Refused, "169.254.169.254", "link-local")
	_, problem = Pull(fromURL(at+"/broken", data))
	wantError(t, problem, protocol.Unreachable, hostOf(t, other), "502")
	_, problem = Pull(fromURL(at+"/file", data))
	wantError(t, problem, protocol.Refused, "neither http nor https")
	_, problem = Pull(fromURL(at+"/loop", data))
	wantError(t, problem, protocol.Refused, "more than 5 times")
	request = fromURL(secure.URL+"/plain", data)
	request.Credentials = &protocol.Credentials{CA: caOf(secure)}
	_, problem = Pull(request)
	wantError(t, problem, protocol.Refused, "https to http")
	request = fromURL(at+"/api", data)
	request.Refuse = []string{hostOf(t, other)}
	_, problem = Pull(request)
	wantError(t, problem, protocol.Refused, hostOf(t, other), "API server")
	request = fromURL(other+"/charts/a.tgz", data)
	request.ArtifactHosts = []string{"localhost"}
	request.Allow = nil
	request.Artifact.URL = strings.Replace(request.Artifact.URL, "127.0.0.1", "localhost", 1)
	_, problem = Pull(request)
	wantError(t, problem, protocol.Refused, "own machine", "--source-allow")
}

func TestServersThatHang(t *testing.T) {
	over := make(chan struct{})
	defer close(over) // Before the servers are closed, which wait for their handlers.
	silent := func(http.ResponseWriter, *http.Request) { <-over }
	slow := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("some"))
		w.(http.Flusher).Flush()
		<-over
	}
	for name, handler := range map[string]http.HandlerFunc{"silent": silent, "slow": slow} {
		at := serving(t, handler)
		request := fromURL(at+"/a", nil)
		request.Seconds = 1
		started := time.Now()
		_, problem := Pull(request)
		wantError(t, problem, protocol.Unreachable, hostOf(t, at), "in time")
		if !*problem.Transient {
			t.Errorf("%s: waiting may help", name)
		}
		if took := time.Since(started); took > 10*time.Second {
			t.Errorf("%s: it took %s", name, took)
		}
	}
	_, problem := Pull(fromURL("http://127.0.0.1:1/a", nil))
	wantError(t, problem, protocol.Unreachable, "127.0.0.1:1", "refused")
}

// saying answers every connection with some bytes that are no HTTP.
func saying(t *testing.T, words string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(connection, words)
			_, _ = connection.Read(make([]byte, 4096))
			_ = connection.Close()
		}
	}()
	return listener.Addr().String()
}

func TestServersOfOtherKinds(t *testing.T) {
	for _, c := range []struct{ scheme, said, words string }{
		{"http", "SSH-2.0-s3cret\r\n", "does not speak HTTP"},
		{"http", "HTTP/1.1 s3cret\r\n\r\n", "does not speak HTTP"},
		{"http", "HTTP/1.1 200 OK\r\ns3cret\r\n\r\n", "does not speak HTTP"},
		{"http", "HTTP/1.1 307 s3cret\r\nLocation: ://s3cret\r\n\r\n", "does not speak HTTP"},
		{"http", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ns3cret", "closed the connection"},
		{"http", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ns3cret\r\n", "does not speak HTTP"},
		{"http", "", "closed the connection"},
		{"https", "SSH-2.0-s3cret\r\n", "does not speak TLS"},
		{"https", "HTTP/1.1 400 s3cret\r\n\r\n", "plain HTTP"},
	} {
		host := saying(t, c.said)
		_, problem := Pull(fromURL(c.scheme+"://"+host+"/a.tgz", nil))
		wantError(t, problem, protocol.Unreachable, host, c.words)
		request := fromOCI(t, "http://"+host, ">=1")
		request.OCI.PlainHTTP = c.scheme == "http"
		_, problem = Pull(request)
		wantKind(t, problem, protocol.Unreachable)
		if strings.Contains(problem.Message, "s3cret") {
			t.Errorf("%q: %s", c.said, problem.Message)
		}
	}
}

func TestCertificatesOfOthers(t *testing.T) {
	certificate, key := selfSigned(t)
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	server := servingTLS(t, chartServer(new(seen), ""), &tls.Config{Certificates: []tls.Certificate{pair}})
	_, problem := Pull(fromRepository(server.URL+"/repo", "shop", ""))
	wantError(t, problem, protocol.Unreachable, "it is for another name")
}

func TestTheEnvironmentsProxyIsNotUsed(t *testing.T) {
	proxied := new(seen)
	proxy := serving(t, chartServer(proxied, ""))
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy)
	}
	_, problem := Pull(fromRepository("http://charts.invalid", "shop", ""))
	wantError(t, problem, protocol.Unreachable, "charts.invalid")
	if proxied.String() != "" {
		t.Errorf("the proxy was asked for %s", proxied)
	}
}

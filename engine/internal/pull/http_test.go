package pull

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"releaselifecycle.dev/engine/internal/protocol"
)

var machine = ReadMachine()

// Pull fetches as the engine does.
func Pull(request *protocol.Pull) (*protocol.Pulled, *protocol.Error) { return machine.Pull(request) }

// here is what tests allow: they serve on this machine.
var here = []string{"127.0.0.0/8", "::1"}

// What a server was asked, and with which credentials.
type seen struct {
	mutex sync.Mutex
	lines []string
}

func (s *seen) note(r *http.Request) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	user, _, _ := r.BasicAuth()
	s.lines = append(s.lines, strings.TrimSpace(r.URL.Path+" "+user))
}

func (s *seen) String() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return strings.Join(s.lines, ", ")
}

var (
	sizeOf = map[string]int{"shop-9.0.0.tgz": 3000}
)

func archive(name string) []byte {
	size := max(sizeOf[name], 100)
	return bytes.Repeat([]byte(name+"\n"), size/(len(name)+1)+1)[:size]
}

// An index with prereleases, a wrong digest, a missing one, and odd URLs.
func indexYAML(otherHost string) string {
	var text strings.Builder
	text.WriteString("apiVersion: v1\nentries:\n  empty: []\n  shop:\n")
	add := func(version, at, sum string) {
		fmt.Fprintf(&text, "  - {apiVersion: v2, name: shop, version: %q, urls: [%q], digest: %q}\n", version, at, sum)
	}
	for _, version := range []string{"1.3.0", "2.1.0-rc.1", "1.4.2", "2.0.0", "1.10.0"} {
		name := "shop-" + version + ".tgz"
		add(version, "charts/"+name, digest.FromBytes(archive(name)).Encoded())
	}
	add("0.3.0-wrong", "charts/shop-3.0.0.tgz", strings.Repeat("0", 64))
	add("0.3.0-sha512", "charts/shop-3.0.0.tgz", digest.SHA512.FromBytes(archive("shop-3.0.0.tgz")).String())
	add("0.3.0-none", "charts/shop-3.0.0.tgz", "")
	add("0.3.0-bad", "charts/shop-3.0.0.tgz", "xyz")
	add("0.3.0-other", otherHost+"/charts/shop-3.0.0.tgz", "")
	add("0.3.0-oci", "oci://registry.example/shop", "")
	add("0.3.0-large", "charts/shop-9.0.0.tgz", "")
	add("0.3.0-gone", "charts/gone", "")
	text.WriteString("  - null\n")
	return text.String()
}

// chartServer serves a repository; log notes its requests.
func chartServer(log *seen, otherHost string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/repo/index.yaml", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(indexYAML(otherHost)))
	})
	mux.HandleFunc("/charts/", serveArchive)
	mux.HandleFunc("/repo/charts/", serveArchive)
	mux.HandleFunc("/page/index.yaml", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("<html>welcome s3cret</html>"))
	})
	mux.HandleFunc("/broken/index.yaml", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "s3cret", http.StatusBadGateway)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.note(r)
		mux.ServeHTTP(w, r)
	})
}

func serveArchive(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	if !strings.HasSuffix(name, ".tgz") {
		http.NotFound(w, r)
		return
	}
	if r.URL.Query().Has("chunked") {
		w.(http.Flusher).Flush() // No Content-Length.
	}
	_, _ = w.Write(archive(name))
}

func withAuth(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "anna" || password != "s3cret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func serving(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// servingTLS does not say what clients make of its certificate.
func servingTLS(t *testing.T, handler http.Handler, config *tls.Config) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = config
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func caOf(server *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

func hostOf(t *testing.T, at string) string {
	t.Helper()
	parsed, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Host
}

// wantError checks an error's kind, words of its message, and that it tells nobody
// the secrets of these tests.
func wantError(t *testing.T, problem *protocol.Error, kind protocol.Kind, words ...string) {
	t.Helper()
	if problem == nil {
		t.Fatalf("no error, wanted %s", kind)
	}
	if problem.Kind != kind {
		t.Errorf("%v, wanted %s", problem, kind)
	}
	for _, word := range words {
		if !strings.Contains(problem.Message, word) {
			t.Errorf("%q is not in: %s", word, problem.Message)
		}
	}
	if strings.Contains(problem.Message, "s3cret") {
		t.Errorf("a secret in: %s", problem.Message)
	}
	if problem.Transient == nil {
		t.Error("transient is not set")
	}
}

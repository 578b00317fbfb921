package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"releaselifecycle.dev/engine/internal/protocol"
)

// largeIndex is one of 2000 charts with 16 versions each, 20 MiB.
func largeIndex(archive []byte) []byte {
	var text bytes.Buffer
	text.WriteString("apiVersion: v1\nentries:\n")
	words := strings.Repeat("A chart: with many words, ", 15)
	sum := digest.FromBytes(archive).Encoded()
	for chart := range 2000 {
		fmt.Fprintf(&text, "  chart-%04d:\n", chart)
		for version := range 16 {
			fmt.Fprintf(&text, "  - annotations:\n      category: Infrastructure\n    apiVersion: v2\n"+
				"    created: \"2026-11-25T00:11:04.555123274Z\"\n    description: '%s'\n    digest: %s\n"+
				"    name: chart-%04d\n    urls:\n    - chart.tgz\n    version: %d.0.0\n",
				words, sum, chart, version)
		}
	}
	text.WriteString("generated: \"2026-11-25T00:11:04.554431193Z\"\n")
	return text.Bytes()
}

// pulling starts an engine with the limits of the operator.
func pulling(t *testing.T, request *protocol.Pull) (answer protocol.Out, engine *child) {
	t.Helper()
	engine = start(t, "pull")
	request.Allow = []string{"127.0.0.0/8"}
	request.ArtifactHosts = request.Allow
	engine.send(&protocol.In{V: 1, Pull: request})
	return engine.receive(), engine
}

func TestLargeThingsAreFetchedWithinTheLimits(t *testing.T) {
	noise := rand.NewChaCha8([32]byte{})
	archive := make([]byte, 20<<20)
	_, _ = noise.Read(archive)
	index := largeIndex(archive)
	if len(index) < 20<<20 {
		t.Fatalf("the index has %d bytes", len(index))
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/index.yaml") {
			_, _ = w.Write(index)
			return
		}
		if strings.Contains(r.URL.Path, "chunked") {
			w.(http.Flusher).Flush() // No Content-Length.
		}
		_, _ = w.Write(archive)
	}))
	defer server.Close()
	for _, request := range []*protocol.Pull{
		{Repository: &protocol.Repository{URL: server.URL, Name: "chart-1999", Version: "<9"}},
		{Repository: &protocol.Repository{URL: server.URL + "/chunked", Name: "chart-0000", Version: "<9"}},
		{Artifact: &protocol.Artifact{URL: server.URL + "/a.tgz", Digest: digest.FromBytes(archive).String(), Under: []string{"/"}}},
	} {
		answer, engine := pulling(t, request)
		for range 2 {
			if answer.Pulled == nil || !bytes.Equal(answer.Pulled.Chart, archive) ||
				request.Repository != nil && answer.Pulled.Version != "8.0.0" {
				t.Fatalf("%+v: %v: %s: %s", request.Repository, answer.Error, engine.end(), engine.log.String())
			}
			// The memory serves the next request too.
			engine.send(&protocol.In{V: 1, Pull: request})
			answer = engine.receive()
		}
		state := engine.end()
		if state.ExitCode() != exitDone || engine.log.Len() > 0 {
			t.Errorf("%s: %s", state, engine.log.String())
		}
	}
}

// What a server makes the process take is an error, or ends it by its own limit.
func TestServersThatMakeItTakeTooMuch(t *testing.T) {
	const start = "apiVersion: v1\nentries:\n  shop:\n"
	for name, serve := range map[string]func(w io.Writer, page int){
		"an index that becomes a large tree": func(w io.Writer, _ int) {
			_, _ = io.WriteString(w, start+"  - a: ["+strings.Repeat("[],", 2<<20))
		},
		"a small one": func(w io.Writer, _ int) {
			_, _ = io.WriteString(w, "apiVersion: v1\nentries: {shop: ["+strings.Repeat("{},", 170_000)+"]}")
		},
		"many names": func(w io.Writer, _ int) {
			_, _ = io.WriteString(w, "apiVersion: v1\nentries:\n"+strings.Repeat("  a:\n", 6<<20))
		},
		"JSON of one text": func(w io.Writer, _ int) {
			_, _ = io.WriteString(w, `{"apiVersion":"`+strings.Repeat("x", 60<<20))
		},
		"URLs": func(w io.Writer, _ int) {
			_, _ = io.WriteString(w, start)
			for range 1000 {
				_, _ = fmt.Fprintf(w, "  - {version: 1.0.0, urls: [%s]}\n", strings.Repeat("x", 60<<10))
			}
		},
		"tags": func(w io.Writer, page int) {
			_, _ = fmt.Fprintf(w, `{"tags":[%s"1.0.0"]}`, strings.Repeat(fmt.Sprintf(`"1.0.%d",`, page), 300_000))
		},
		"empty tags": func(w io.Writer, _ int) {
			_, _ = fmt.Fprintf(w, `{"tags":[%s"1.0.0"]}`, strings.Repeat(`"",`, 1_300_000))
		},
	} {
		t.Run(name, func(t *testing.T) {
			page := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				page++
				w.Header().Set("Link", fmt.Sprintf(`<%s?last=%d>; rel="next"`, r.URL.Path, page))
				serve(w, page)
			}))
			defer server.Close()
			request := &protocol.Pull{Repository: &protocol.Repository{URL: server.URL, Name: "shop", Version: ">7"}}
			if strings.Contains(name, "tags") {
				host := strings.TrimPrefix(server.URL, "http://")
				request = &protocol.Pull{OCI: &protocol.OCI{URL: "oci://" + host + "/shop", Version: ">7", PlainHTTP: true}}
			}
			answer, engine := pulling(t, request)
			state := engine.end()
			status := state.Sys().(syscall.WaitStatus)
			if answer.Pulled != nil || answer.Error == nil && status.ExitStatus() != 2 {
				t.Errorf("%s: %+v: %s", state, answer, engine.log.String())
			}
		})
	}
}

package pull

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"

	"releaselifecycle.dev/engine/internal/protocol"
)

// ociServer is a registry with these tags of one chart; the digests of the
// manifests by tag.
func ociServer(t *testing.T, tags ...string) (handler http.Handler, digests map[string]string) {
	t.Helper()
	handler = registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(handler)
	defer server.Close()
	digests = map[string]string{}
	for _, tag := range tags {
		config := fmt.Sprintf(`{"name":"shop","version":%q}`, strings.ReplaceAll(tag, "_", "+"))
		digests[tag] = push(t, hostOf(t, server.URL), tag, configType, []byte(config), archive("shop-"+tag+".tgz"))
	}
	return handler, digests
}

func push(t *testing.T, host, tag, kind string, config, layer []byte) string {
	t.Helper()
	ctx := context.Background()
	repository, err := remote.NewRepository(host + "/charts/shop")
	if err != nil {
		t.Fatal(err)
	}
	repository.PlainHTTP = true
	blob := func(mediaType string, data []byte) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: blob(kind, config), Layers: []ocispec.Descriptor{blob(layerType, layer)},
	}
	for _, part := range []struct {
		as   ocispec.Descriptor
		data []byte
	}{{manifest.Config, config}, {manifest.Layers[0], layer}} {
		if err := repository.Blobs().Push(ctx, part.as, bytes.NewReader(part.data)); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	as := blob(ocispec.MediaTypeImageManifest, data)
	if err := repository.Manifests().PushReference(ctx, as, bytes.NewReader(data), tag); err != nil {
		t.Fatal(err)
	}
	return as.Digest.String()
}

func fromOCI(t *testing.T, at, version string) *protocol.Pull {
	t.Helper()
	return &protocol.Pull{
		OCI:   &protocol.OCI{URL: "oci://" + hostOf(t, at) + "/charts/shop", Version: version, PlainHTTP: true},
		Allow: here, Private: true, MaxBytes: 2000, Seconds: 20,
	}
}

func TestVersionsOfARegistry(t *testing.T) {
	handler, digests := ociServer(t, "1.3.0", "1.4.2", "1.10.0", "2.0.0", "2.1.0-rc.1", "1.5.0_build.7", "latest", "v1.16.1", "1.2", "v3")
	at := serving(t, handler)
	for wanted, tag := range map[string]string{
		"":              "2.0.0",
		"1.4.2":         "1.4.2",
		">=1.4 <2":      "1.10.0",
		"1.5.0_build.7": "1.5.0_build.7",
		"v1.16.1":       "v1.16.1",
		"1.2":           "1.2",
		"v3":            "v3",
		"1.x":           "1.10.0",
		"1.5.0+build.7": "1.5.0_build.7",
		"1.5.x":         "1.5.0_build.7",
		">2.0.0-0":      "2.1.0-rc.1",
		"latest":        "latest",
	} {
		pulled, problem := Pull(fromOCI(t, at, wanted))
		if problem != nil {
			t.Errorf("%q: %v", wanted, problem)
			continue
		}
		if pulled.Name != "shop" || pulled.Version != strings.ReplaceAll(tag, "_", "+") ||
			pulled.Digest != digests[tag] || !bytes.Equal(pulled.Chart, archive("shop-"+tag+".tgz")) {
			t.Errorf("%q: %s %s %s, wanted %s", wanted, pulled.Name, pulled.Version, pulled.Digest, tag)
		}
	}
	request := fromOCI(t, at, "")
	request.OCI.Digest = digests["1.4.2"]
	if pulled, problem := Pull(request); problem != nil || pulled.Version != "1.4.2" {
		t.Errorf("by digest: %+v %v", pulled, problem)
	}
	request.Known = digests["1.4.2"]
	if pulled, problem := Pull(request); problem != nil || pulled.Chart != nil || pulled.Version != "1.4.2" {
		t.Errorf("known: %+v %v", pulled, problem)
	}
}

func TestWhatARegistryDoesNotGive(t *testing.T) {
	handler, _ := ociServer(t, "1.3.0", "1.4.2", "v1.16.1", "latest")
	at := serving(t, handler)
	push(t, hostOf(t, at), "1.0.0-image", "application/vnd.oci.image.config.v1+json", []byte("{}"), []byte("x"))
	push(t, hostOf(t, at), "1.0.0-odd", configType, []byte("[]"), []byte("x"))
	push(t, hostOf(t, at), "1.0.0-large", configType, []byte("{}"), bytes.Repeat([]byte("x"), 2001))
	for version, words := range map[string][]string{
		"7.0.0":       {"7.0.0", "it has v1.16.1, 1.4.2, 1.3.0"},
		"1.3":         {"no 1.3;", "it has v1.16.1, 1.4.2, 1.3.0"},
		"v1.4.2":      {"no v1.4.2;"},
		">=2":         {">=2", "it has v1.16.1, 1.4.2, 1.3.0", "named in full"},
		"stable":      {"stable"},
		"1.0.0-image": {"no Helm chart"},
		"1.0.0-odd":   {"no Helm chart"},
	} {
		_, problem := Pull(fromOCI(t, at, version))
		wantError(t, problem, protocol.ChartNotFound, words...)
	}
	_, problem := Pull(fromOCI(t, at, "1.0.0-large"))
	wantError(t, problem, protocol.TooLarge, "2000")
	request := fromOCI(t, at, "")
	request.OCI.URL += "s"
	_, problem = Pull(request)
	wantError(t, problem, protocol.ChartNotFound, "charts/shops")
	request = fromOCI(t, at, "1.4.2")
	request.OCI.PlainHTTP = false
	_, problem = Pull(request)
	wantError(t, problem, protocol.Unreachable, "TLS")
	request.Allow = nil
	_, problem = Pull(request)
	wantError(t, problem, protocol.Refused, "own machine")
}

func TestARegistryThatLies(t *testing.T) {
	handler, digests := ociServer(t, "1.3.0", "1.4.2")
	swap := func(from, to string) string {
		return serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.URL.Path = strings.ReplaceAll(r.URL.Path, from, to)
			handler.ServeHTTP(w, r)
		}))
	}
	request := fromOCI(t, swap(digests["1.4.2"], digests["1.3.0"]), "")
	request.OCI.Digest = digests["1.4.2"]
	_, problem := Pull(request)
	wantError(t, problem, protocol.DigestMismatch)
	blob := func(tag string) string { return digest.FromBytes(archive("shop-" + tag + ".tgz")).String() }
	_, problem = Pull(fromOCI(t, swap(blob("1.4.2"), blob("1.3.0")), "1.4.2"))
	wantError(t, problem, protocol.DigestMismatch)
}

func TestVersionsThatAreNoRangeListNoTags(t *testing.T) {
	handler, _ := ociServer(t, "v1.16.1", "1.2")
	log := new(seen)
	at := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.note(r)
		handler.ServeHTTP(w, r)
	}))
	for _, version := range []string{"v1.16.1", "1.2"} {
		if pulled, problem := Pull(fromOCI(t, at, version)); problem != nil || pulled.Version != version {
			t.Errorf("%s: %+v %v", version, pulled, problem)
		}
		if asked := log.String(); strings.Contains(asked, "tags") || !strings.Contains(asked, "/manifests/"+version) {
			t.Errorf("%s: asked for %s", version, asked)
		}
	}
}

func TestRegistriesThatListTooMuch(t *testing.T) {
	long := strings.Repeat("1", 900)
	for name, c := range map[string]struct {
		page  func(at int) string
		kind  protocol.Kind
		words []string
	}{
		"tags": {func(at int) string {
			return `"` + strings.Repeat(fmt.Sprintf(`1.0.%d","`, at), 1000) + `1.0.0"`
		}, protocol.TooLarge, []string{"20000", "a digest"}},
		"bytes":  {func(int) string { return `"` + strings.Repeat(long+`","`, 1000) + `1.0.0"` }, protocol.TooLarge, []string{"4 MiB"}},
		"pages":  {func(int) string { return `"1.0.0"` }, protocol.TooLarge, []string{"100 pages"}},
		"a page": {func(int) string { return `"` + strings.Repeat("x", 5<<20) + `"` }, protocol.Unreachable, []string{"4 MiB"}},
		"none":   {func(int) string { return `<` }, protocol.Unreachable, []string{"as registries do"}},
	} {
		t.Run(name, func(t *testing.T) {
			pages := 0
			at := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				pages++
				w.Header().Set("Link", fmt.Sprintf(`<%s?last=%d>; rel="next"`, r.URL.Path, pages))
				_, _ = fmt.Fprintf(w, `{"tags":[%s]}`, c.page(pages))
			}))
			_, problem := Pull(fromOCI(t, at, ">=1"))
			wantError(t, problem, c.kind, c.words...)
		})
	}
}

func TestBasicAuthOfARegistry(t *testing.T) {
	handler, _ := ociServer(t, "1.4.2")
	at := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Www-Authenticate", `Basic realm="s3cret"`)
		withAuth(handler).ServeHTTP(w, r)
	}))
	request := fromOCI(t, at, "")
	_, problem := Pull(request)
	wantError(t, problem, protocol.Unauthorized, "secretRef")
	request.Credentials = &protocol.Credentials{Username: "anna", Password: "wrong"}
	_, problem = Pull(request)
	wantError(t, problem, protocol.Unauthorized)
	request.Credentials.Password = ""
	_, problem = Pull(request)
	wantError(t, problem, protocol.Unauthorized)
	request.Credentials.Password = "s3cret"
	if pulled, problem := Pull(request); problem != nil || pulled.Version != "1.4.2" {
		t.Errorf("%+v %v", pulled, problem)
	}
}

func TestTokensOfARegistry(t *testing.T) {
	tokens := serving(t, withAuth(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"token":"t0ken"}`))
	})))
	handler, _ := ociServer(t, "1.4.2")
	realm := tokens + "/token"
	guarded := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t0ken" {
			w.Header().Set("Www-Authenticate", fmt.Sprintf("Bearer realm=%q,service=charts", realm))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}
	request := fromOCI(t, serving(t, http.HandlerFunc(guarded)), "")
	request.Credentials = &protocol.Credentials{Username: "anna", Password: "s3cret"}
	if pulled, problem := Pull(request); problem != nil || pulled.Version != "1.4.2" {
		t.Errorf("%+v %v", pulled, problem)
	}
	request.Credentials.Password = "wrong"
	_, problem := Pull(request)
	wantError(t, problem, protocol.Unauthorized)

	// Over TLS, a token service without TLS gets nothing.
	secure := servingTLS(t, http.HandlerFunc(guarded), nil)
	request = fromOCI(t, secure.URL, "")
	request.OCI.PlainHTTP = false
	request.Credentials = &protocol.Credentials{Username: "anna", Password: "s3cret", CA: caOf(secure)}
	_, problem = Pull(request)
	wantError(t, problem, protocol.Refused, "token service")
	realm = "http://169.254.169.254/token"
	request = fromOCI(t, serving(t, http.HandlerFunc(guarded)), "")
	_, problem = Pull(request)
	wantError(t, problem, protocol.Refused)
}

func TestBlobsOfARegistryElsewhere(t *testing.T) {
	handler, _ := ociServer(t, "1.4.2")
	elsewhere := new(seen)
	storage := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		elsewhere.note(r)
		handler.ServeHTTP(w, r)
	}))
	at := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Www-Authenticate", `Basic realm="x"`)
		withAuth(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") {
				http.Redirect(w, r, storage+r.URL.Path, http.StatusTemporaryRedirect)
				return
			}
			handler.ServeHTTP(w, r)
		})).ServeHTTP(w, r)
	}))
	request := fromOCI(t, at, "")
	request.Credentials = &protocol.Credentials{Username: "anna", Password: "s3cret"}
	if _, problem := Pull(request); problem != nil {
		t.Fatal(problem)
	}
	if asked := elsewhere.String(); asked == "" || strings.Contains(asked, "anna") {
		t.Errorf("the storage was asked for %q", asked)
	}
}

package pull

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
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

// signedRegistry is a registry with one chart, beside which signatures are pushed.
type signedRegistry struct {
	at       string
	chart    ocispec.Descriptor
	pushing  *remote.Repository
	requests *seen
}

// newSignedRegistry is one that answers which signatures refer to a chart, or one in which
// they are listed under a tag.
func newSignedRegistry(t *testing.T, referrers bool) *signedRegistry {
	t.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers))
	requests := new(seen)
	at := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.note(r)
		handler.ServeHTTP(w, r)
	}))
	push(t, hostOf(t, at), "1.4.2", configType, []byte(`{"name":"shop","version":"1.4.2"}`), archive("shop-1.4.2.tgz"))
	pushing, err := remote.NewRepository(hostOf(t, at) + "/charts/shop")
	if err != nil {
		t.Fatal(err)
	}
	pushing.PlainHTTP = true
	chart, err := pushing.Resolve(t.Context(), "1.4.2")
	if err != nil {
		t.Fatal(err)
	}
	return &signedRegistry{at: at, chart: chart, pushing: pushing, requests: requests}
}

// blob pushes a part.
func (s *signedRegistry) blob(t *testing.T, mediaType string, data []byte) ocispec.Descriptor {
	t.Helper()
	as := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if there, err := s.pushing.Blobs().Exists(t.Context(), as); err == nil && there {
		return as
	}
	if err := s.pushing.Blobs().Push(t.Context(), as, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return as
}

// manifest pushes a manifest of layers, under a tag or as one that refers to the chart.
func (s *signedRegistry) manifest(t *testing.T, tag, artifactType string, layers ...ocispec.Descriptor) {
	t.Helper()
	made := ocispec.Manifest{Config: s.blob(t, ocispec.MediaTypeEmptyJSON, []byte("{}")), Layers: layers}
	if tag == "" {
		made.ArtifactType, made.Subject = artifactType, &s.chart
		// This registry takes it from there.
		made.Config.MediaType = artifactType
	}
	s.push(t, tag, made)
}

func (s *signedRegistry) push(t *testing.T, tag string, made ocispec.Manifest) {
	t.Helper()
	made.Versioned, made.MediaType = specs.Versioned{SchemaVersion: 2}, ocispec.MediaTypeImageManifest
	data, err := json.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	as := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if tag == "" {
		err = s.pushing.Manifests().Push(t.Context(), as, bytes.NewReader(data))
	} else {
		err = s.pushing.Manifests().PushReference(t.Context(), as, bytes.NewReader(data), tag)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// chartOf pushes a chart under a tag.
func (s *signedRegistry) chartOf(t *testing.T, tag string, layers ...ocispec.Descriptor) {
	t.Helper()
	config := s.blob(t, configType, fmt.Appendf(nil, `{"name":"shop","version":%q}`, tag))
	s.push(t, tag, ocispec.Manifest{Config: config, Layers: layers})
}

// tagged pushes signatures as cosign 2 does.
func (s *signedRegistry) tagged(t *testing.T, layers ...ocispec.Descriptor) {
	t.Helper()
	s.manifest(t, strings.Replace(s.chart.Digest.String(), ":", "-", 1)+".sig", "", layers...)
}

func (s *signedRegistry) simple(t *testing.T, payload []byte, by crypto.Signer) ocispec.Descriptor {
	t.Helper()
	layer := s.blob(t, "application/vnd.dev.cosign.simplesigning.v1+json", payload)
	layer.Annotations = map[string]string{cosignAnnotation: base64.StdEncoding.EncodeToString(sign(t, by, payload))}
	return layer
}

func (s *signedRegistry) pull(t *testing.T, verify *protocol.Verify) (*protocol.Pulled, *protocol.Error) {
	t.Helper()
	request := fromOCI(t, s.at, "1.4.2")
	request.Verify = verify
	return Pull(request)
}

func (s *signedRegistry) wantChart(t *testing.T, verify *protocol.Verify) {
	t.Helper()
	if pulled, problem := s.pull(t, verify); problem != nil || !bytes.Equal(pulled.Chart, archive("shop-1.4.2.tgz")) {
		t.Errorf("%+v %v", pulled, problem)
	}
}

func (s *signedRegistry) wantRefused(t *testing.T, verify *protocol.Verify, words ...string) {
	t.Helper()
	before := len(s.requests.String())
	_, problem := s.pull(t, verify)
	wantError(t, problem, protocol.NotVerified, words...)
	// What is not verified is not even fetched.
	layer := digest.FromBytes(archive("shop-1.4.2.tgz")).String()
	if strings.Contains(s.requests.String()[before:], layer) {
		t.Error("the chart was fetched")
	}
}

func ecKey(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, by crypto.Signer, message []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(message)
	hashed, hash := sum[:], crypto.Hash(crypto.SHA256)
	if _, is := by.(ed25519.PrivateKey); is {
		hashed, hash = message, crypto.Hash(0)
	}
	signed, err := by.Sign(rand.Reader, hashed, hash)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func publicKey(t *testing.T, name string, of crypto.Signer) protocol.File {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(of.Public())
	if err != nil {
		t.Fatal(err)
	}
	return protocol.File{Name: name, Data: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
}

func byCosign(files ...protocol.File) *protocol.Verify {
	return &protocol.Verify{Provider: protocol.Cosign, Files: files}
}

func simplePayload(kind, of string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":%q},"type":%q},"optional":null}`, of, kind)
}

const cosignType = "cosign container image signature"

// bundle is a signature as cosign 3 makes it.
func bundle(t *testing.T, by crypto.Signer, of, predicate string) []byte {
	t.Helper()
	const kind = "application/vnd.in-toto+json"
	statement := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","predicateType":%q,"subject":[{"digest":{"sha256":%q}}],"predicate":{}}`,
		predicate, strings.TrimPrefix(of, "sha256:"))
	signed := sign(t, by, fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(statement), statement))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `{"mediaType":%q,"verificationMaterial":{"publicKey":{"hint":"x"}},"dsseEnvelope":{"payloadType":%q,"payload":%q,"signatures":[{"sig":%q}]}}`,
		cosignBundleType, kind, encode(statement), encode(signed))
}

const signPredicate = "https://sigstore.dev/cosign/sign/v1"

func TestSignaturesOfCosign(t *testing.T) {
	ofRSA, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ofEd, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other := publicKey(t, "old.pub", ecKey(t, elliptic.P256()))
	for name, key := range map[string]crypto.Signer{
		"P-256": ecKey(t, elliptic.P256()), "P-384": ecKey(t, elliptic.P384()), "RSA": ofRSA, "Ed25519": ofEd,
	} {
		keys := byCosign(other, publicKey(t, "cosign.pub", key), protocol.File{Name: "README", Data: []byte("not a key")})
		t.Run(name+" under a tag", func(t *testing.T) {
			charts := newSignedRegistry(t, false)
			charts.wantRefused(t, keys, "has no signature", "cosign sign")
			stranger := charts.simple(t, simplePayload(cosignType, charts.chart.Digest.String()), ecKey(t, elliptic.P256()))
			charts.tagged(t, stranger, charts.simple(t, simplePayload(cosignType, charts.chart.Digest.String()), key))
			charts.wantChart(t, keys)
		})
		for _, referrers := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s as a bundle, referrers %v", name, referrers), func(t *testing.T) {
				charts := newSignedRegistry(t, referrers)
				charts.wantRefused(t, keys, "has no signature")
				made := bundle(t, key, charts.chart.Digest.String(), signPredicate)
				charts.manifest(t, "", cosignBundleType, charts.blob(t, cosignBundleType, made))
				charts.wantChart(t, keys)
			})
		}
	}
}

func TestSignaturesOfCosignThatAreNotAccepted(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	keys := byCosign(publicKey(t, "cosign.pub", key))
	elsewhere := digest.FromString("another chart").String()
	for name, c := range map[string]struct {
		push  func(charts *signedRegistry, own string) ocispec.Descriptor
		words []string
	}{
		"by another key": {func(charts *signedRegistry, own string) ocispec.Descriptor {
			return charts.simple(t, simplePayload(cosignType, own), ecKey(t, elliptic.P256()))
		}, []string{"1 signature was tried with cosign.pub", "another key"}},
		"of another chart": {func(charts *signedRegistry, _ string) ocispec.Descriptor {
			return charts.simple(t, simplePayload(cosignType, elsewhere), key)
		}, []string{"something else"}},
		"of another kind": {func(charts *signedRegistry, own string) ocispec.Descriptor {
			return charts.simple(t, simplePayload("atomic container signature", own), key)
		}, []string{"no signature that can be read"}},
		"of no payload": {func(charts *signedRegistry, _ string) ocispec.Descriptor {
			return charts.simple(t, []byte("hidden"), key)
		}, []string{"no signature that can be read"}},
		"that is no base64": {func(charts *signedRegistry, own string) ocispec.Descriptor {
			layer := charts.simple(t, simplePayload(cosignType, own), key)
			layer.Annotations[cosignAnnotation] = "%hidden%"
			return layer
		}, []string{"no signature that can be read"}},
		"that is missing": {func(charts *signedRegistry, own string) ocispec.Descriptor {
			layer := charts.simple(t, simplePayload(cosignType, own), key)
			layer.Annotations = nil
			return layer
		}, []string{"another key"}},
		"whose payload was changed": {func(charts *signedRegistry, own string) ocispec.Descriptor {
			layer := charts.simple(t, simplePayload(cosignType, elsewhere), key)
			changed := charts.simple(t, simplePayload(cosignType, own), key)
			changed.Annotations = layer.Annotations
			return changed
		}, []string{"another key"}},
		"that is huge": {func(charts *signedRegistry, own string) ocispec.Descriptor {
			return charts.simple(t, append(simplePayload(cosignType, own), bytes.Repeat([]byte(" "), maxSignature)...), key)
		}, []string{"cannot be read", "64 KiB"}},
		"whose payload is not there": {func(charts *signedRegistry, own string) ocispec.Descriptor {
			layer := charts.simple(t, simplePayload(cosignType, own), key)
			layer.Digest = digest.Digest(elsewhere)
			return layer
		}, []string{"cannot be read"}},
	} {
		t.Run(name, func(t *testing.T) {
			charts := newSignedRegistry(t, true)
			charts.tagged(t, c.push(charts, charts.chart.Digest.String()))
			charts.wantRefused(t, keys, c.words...)
		})
	}
	for name, c := range map[string]struct {
		bundle func(own string) []byte
		words  string
	}{
		"by another key": {func(own string) []byte { return bundle(t, ecKey(t, elliptic.P256()), own, signPredicate) }, "another key"},
		"of another":     {func(string) []byte { return bundle(t, key, elsewhere, signPredicate) }, "something else"},
		"of a scan": {func(own string) []byte { return bundle(t, key, own, "https://cosign.sigstore.dev/attestation/vuln/v1") },
			"no signature"},
		"of nothing": {func(string) []byte { return []byte(`{"dsseEnvelope":{"signatures":[null]}}`) }, "no signature"},
		"changed": {func(own string) []byte {
			made, of := bundle(t, key, elsewhere, signPredicate), bundle(t, ecKey(t, elliptic.P256()), own, signPredicate)
			field := func(from []byte) string {
				return string(bytes.Split(bytes.Split(from, []byte(`"payload":"`))[1], []byte(`"`))[0])
			}
			return bytes.ReplaceAll(made, []byte(field(made)), []byte(field(of)))
		}, "another key"},
		"huge": {func(own string) []byte {
			return append(bundle(t, key, own, signPredicate), bytes.Repeat([]byte(" "), maxSignature)...)
		}, "64 KiB"},
	} {
		t.Run("a bundle "+name, func(t *testing.T) {
			charts := newSignedRegistry(t, true)
			made := c.bundle(charts.chart.Digest.String())
			charts.manifest(t, "", cosignBundleType, charts.blob(t, cosignBundleType, made))
			charts.wantRefused(t, keys, c.words)
		})
	}
}

func TestNotAllOfAThousandSignaturesAreTried(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	keys := byCosign(publicKey(t, "cosign.pub", key))
	charts := newSignedRegistry(t, true)
	payload := simplePayload(cosignType, charts.chart.Digest.String())
	var layers []ocispec.Descriptor
	for range 1000 {
		layer := charts.simple(t, payload, key)
		layer.Annotations = map[string]string{cosignAnnotation: "AAAA"}
		layers = append(layers, layer)
	}
	charts.tagged(t, layers...)
	charts.wantRefused(t, keys, "50 signatures were tried", "there are more")
	if count := strings.Count(charts.requests.String(), "GET"); count > 100 {
		t.Errorf("%d requests", count)
	}

	charts = newSignedRegistry(t, true)
	for n := range maxSignatures + 10 {
		made := append(bundle(t, ecKey(t, elliptic.P256()), charts.chart.Digest.String(), signPredicate), strings.Repeat(" ", n)...)
		charts.manifest(t, "", cosignBundleType, charts.blob(t, cosignBundleType, made))
	}
	charts.wantRefused(t, keys, "50 signatures were tried", "there are more")
}

func TestListsOfSignaturesThatHaveNoEnd(t *testing.T) {
	charts := newSignedRegistry(t, true)
	pages := 0
	at := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/referrers/") {
			pages++
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			w.Header().Set("Link", fmt.Sprintf(`<%s?last=%d>; rel="next"`, r.URL.Path, pages))
			_, _ = w.Write([]byte(`{"manifests":[]}`))
			return
		}
		answer := httptest.NewRecorder()
		r.RequestURI = ""
		r.URL.Scheme, r.URL.Host = "http", hostOf(t, charts.at)
		passed, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			answer.Code = http.StatusBadGateway
			return
		}
		defer passed.Body.Close()
		for name, values := range passed.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(passed.StatusCode)
		_, _ = io.Copy(w, passed.Body)
	}))
	request := fromOCI(t, at, "1.4.2")
	request.Verify = byCosign(publicKey(t, "cosign.pub", ecKey(t, elliptic.P256())))
	_, problem := Pull(request)
	wantError(t, problem, protocol.NotVerified, "no signature")
	if pages != maxTagPages {
		t.Errorf("%d pages", pages)
	}
}

func TestKeysThatAreNone(t *testing.T) {
	charts := newSignedRegistry(t, true)
	private, err := x509.MarshalECPrivateKey(ecKey(t, elliptic.P256()).(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	many := make([]protocol.File, 51)
	for _, c := range []struct {
		verify *protocol.Verify
		words  []string
	}{
		{byCosign(), []string{"no key that ends with .pub"}},
		{byCosign(protocol.File{Name: "cosign.key"}), []string{"no key that ends with .pub"}},
		{byCosign(protocol.File{Name: "cosign.pub", Data: []byte("hidden")}), []string{"cosign.pub is no public key"}},
		{byCosign(protocol.File{Name: "cosign.pub", Data: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})}),
			[]string{"cosign.pub is no public key"}},
		{byCosign(protocol.File{Name: "a.pub", Data: make([]byte, 1<<20+1)}), []string{"a.pub", "larger"}},
		{byCosign(many...), []string{"51 keys"}},
		{&protocol.Verify{Provider: "keyless"}, []string{`provider "keyless" is none of cosign, notation and helm`}},
		{&protocol.Verify{Provider: protocol.HelmProvenance, Files: []protocol.File{{Name: "pubring.kbx"}}},
			[]string{"ends with .gpg or .asc"}},
		{&protocol.Verify{Provider: protocol.HelmProvenance, Files: []protocol.File{{Name: "a.gpg", Data: []byte("hidden")}}},
			[]string{"a.gpg is no keyring"}},
		{&protocol.Verify{Provider: protocol.HelmProvenance, Files: []protocol.File{{Name: "a.asc", Data: []byte("-----BEGIN PGP hidden")}}},
			[]string{"a.asc is no keyring"}},
	} {
		_, problem := charts.pull(t, c.verify)
		wantError(t, problem, protocol.BadRequest, c.words...)
		if problem != nil && strings.Contains(problem.Message, "hidden") {
			t.Error(problem)
		}
	}
	request := fromRepository(charts.at, "shop", "")
	request.Verify = byCosign()
	_, problem := Pull(request)
	wantError(t, problem, protocol.BadRequest, "registries", "helm")
	request = fromURL(charts.at, nil)
	request.Verify = byCosign()
	_, problem = Pull(request)
	wantError(t, problem, protocol.BadRequest, "Flux")
}

func TestAKnownChartWasVerifiedBefore(t *testing.T) {
	charts := newSignedRegistry(t, true)
	request := fromOCI(t, charts.at, "1.4.2")
	request.Known = charts.chart.Digest.String()
	request.Verify = byCosign(publicKey(t, "cosign.pub", ecKey(t, elliptic.P256())))
	if pulled, problem := Pull(request); problem != nil || pulled.Chart != nil {
		t.Errorf("%+v %v", pulled, problem)
	}
}

func TestASignedChartInThePlaceOfAnotherIsNotTaken(t *testing.T) {
	charts := newSignedRegistry(t, true)
	key := ecKey(t, elliptic.P256())
	charts.tagged(t, charts.simple(t, simplePayload(cosignType, charts.chart.Digest.String()), key))
	if err := charts.pushing.Tag(t.Context(), charts.chart, "1.9.0"); err != nil {
		t.Fatal(err)
	}
	request := fromOCI(t, charts.at, "1.9.0")
	request.Verify = byCosign(publicKey(t, "cosign.pub", key))
	_, problem := Pull(request)
	wantError(t, problem, protocol.NotVerified, "is another chart, shop 1.4.2")
}

func TestAChartThatWasChangedAfterItWasSigned(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	charts := newSignedRegistry(t, true)
	charts.tagged(t, charts.simple(t, simplePayload(cosignType, charts.chart.Digest.String()), key))
	keys := byCosign(publicKey(t, "cosign.pub", key))
	charts.wantChart(t, keys)
	// Under the same tag, and with the signature that is there.
	push(t, hostOf(t, charts.at), "1.4.2", configType, []byte(`{"name":"shop","version":"1.4.2"}`), []byte("changed"))
	_, problem := charts.pull(t, keys)
	wantError(t, problem, protocol.NotVerified, "no signature")
	moved, err := charts.pushing.Resolve(context.Background(), "1.4.2")
	if err != nil {
		t.Fatal(err)
	}
	charts.chart = moved
	charts.tagged(t, charts.simple(t, simplePayload(cosignType, digest.FromString("old").String()), key))
	_, problem = charts.pull(t, keys)
	wantError(t, problem, protocol.NotVerified, "something else")
}

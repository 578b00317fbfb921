package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"

	"releaselifecycle.dev/engine/internal/protocol"
	"releaselifecycle.dev/engine/internal/testsign"
)

// pushTo pushes a manifest with these parts.
func pushTo(t *testing.T, to *remote.Repository, made ocispec.Manifest, tag string, parts ...[]byte) ocispec.Descriptor {
	t.Helper()
	describe := func(kind string, data []byte) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: kind, Digest: digest.FromBytes(data), Size: int64(len(data))}
	}
	made.Versioned, made.MediaType = specs.Versioned{SchemaVersion: 2}, ocispec.MediaTypeImageManifest
	made.Config = describe(made.Config.MediaType, parts[0])
	made.Layers[0] = describe(made.Layers[0].MediaType, parts[1])
	for at, as := range []ocispec.Descriptor{made.Config, made.Layers[0]} {
		if err := to.Blobs().Push(t.Context(), as, bytes.NewReader(parts[at])); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	as := describe(ocispec.MediaTypeImageManifest, data)
	if tag == "" {
		tag = as.Digest.String()
	}
	if err := to.Manifests().PushReference(t.Context(), as, bytes.NewReader(data), tag); err != nil {
		t.Fatal(err)
	}
	return as
}

// What is verified needs no file and nothing else that the process has denied itself.
func TestSignaturesAreVerifiedInConfinement(t *testing.T) {
	for _, kind := range []string{jws.MediaTypeEnvelope, cose.MediaTypeEnvelope} {
		server := httptest.NewServer(registry.New(
			registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
		defer server.Close()
		at := strings.TrimPrefix(server.URL, "http://") + "/charts/shop"
		to, err := remote.NewRepository(at)
		if err != nil {
			t.Fatal(err)
		}
		to.PlainHTTP = true
		chart := pushTo(t, to, ocispec.Manifest{
			Config: ocispec.Descriptor{MediaType: "application/vnd.cncf.helm.config.v1+json"},
			Layers: []ocispec.Descriptor{{MediaType: "application/vnd.cncf.helm.chart.content.v1.tar+gzip"}},
		}, "1.0.0", []byte(`{"name":"shop","version":"1.0.0"}`), []byte("chart"))
		authority := testsign.NewAuthority(t, time.Now().Add(time.Hour), nil)
		policy := `{"version":"1.0","trustPolicies":[{"name":"a","registryScopes":["*"],
			"signatureVerification":{"level":"strict"},"trustStores":["ca:a"],"trustedIdentities":["*"]}]}`
		request := &protocol.Pull{
			OCI: &protocol.OCI{URL: "oci://" + at, Version: "1.0.0", PlainHTTP: true},
			Verify: &protocol.Verify{Provider: protocol.Notation, Files: []protocol.File{
				authority.File("ca.crt"), {Name: "trustpolicy.json", Data: []byte(policy)},
			}},
		}
		answer, engine := pulling(t, request)
		if answer.Error == nil || answer.Error.Kind != protocol.NotVerified {
			t.Errorf("%+v: %s", answer, engine.log.String())
		}
		const signature = "application/vnd.cncf.notary.signature"
		pushTo(t, to, ocispec.Manifest{
			ArtifactType: signature, Subject: &chart,
			Config: ocispec.Descriptor{MediaType: signature}, Layers: []ocispec.Descriptor{{MediaType: kind}},
		}, "", []byte("{}"), authority.Sign(t, chart, kind, 0))
		engine.send(&protocol.In{V: 1, Pull: request})
		answer = engine.receive()
		if answer.Pulled == nil || string(answer.Pulled.Chart) != "chart" {
			t.Errorf("%+v", answer.Error)
		}
		if state := engine.end(); state.ExitCode() != exitDone || engine.log.Len() > 0 {
			t.Errorf("%s: %s", state, engine.log.String())
		}
	}
}

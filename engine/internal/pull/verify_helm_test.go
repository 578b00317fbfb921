package pull

import (
	"bytes"
	"crypto"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"helm.sh/helm/v4/pkg/provenance"

	"releaselifecycle.dev/engine/internal/protocol"
)

func pgpKey(t *testing.T, config *packet.Config) *openpgp.Entity {
	t.Helper()
	key, err := openpgp.NewEntity("anna", "", "anna@example.com", config)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyring(t *testing.T, name string, keys ...*openpgp.Entity) protocol.File {
	t.Helper()
	var written bytes.Buffer
	for _, key := range keys {
		if err := key.Serialize(&written); err != nil {
			t.Fatal(err)
		}
	}
	return protocol.File{Name: name, Data: written.Bytes()}
}

// armored is a keyring as text, an export for each key.
func armored(t *testing.T, name string, keys ...*openpgp.Entity) protocol.File {
	t.Helper()
	var written bytes.Buffer
	for _, key := range keys {
		into, err := armor.Encode(&written, openpgp.PublicKeyType, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := key.Serialize(into); err != nil {
			t.Fatal(err)
		}
		_ = into.Close()
		written.WriteString("\n")
	}
	return protocol.File{Name: name, Data: written.Bytes()}
}

func byHelm(files ...protocol.File) *protocol.Verify {
	return &protocol.Verify{Provider: protocol.HelmProvenance, Files: files}
}

func provenanceOf(t *testing.T, by *openpgp.Entity, file string, of []byte) []byte {
	t.Helper()
	signed, err := (&provenance.Signatory{Entity: by}).ClearSign(of, file, []byte("name: shop\n"))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(signed)
}

func TestProvenanceFiles(t *testing.T) {
	key, other := pgpKey(t, nil), pgpKey(t, nil)
	expired := pgpKey(t, &packet.Config{
		KeyLifetimeSecs: 3600, Time: func() time.Time { return time.Now().Add(-2 * time.Hour) },
	})
	const file = "shop-1.4.2.tgz"
	chart := archive(file)
	log := new(seen)
	charts := chartServer(log, "http://other.invalid")
	var beside []byte
	at := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, file+".prov") && beside != nil {
			_, _ = w.Write(beside)
			return
		}
		charts.ServeHTTP(w, r)
	}))
	request := fromRepository(at+"/repo", "shop", "1.4.2")
	ring := keyring(t, "pubring.gpg", other, key)
	signed := func(text string) []byte {
		return bytes.Replace(provenanceOf(t, key, file, chart), []byte("name: shop"), []byte(text), 1)
	}
	for name, c := range map[string]struct {
		beside []byte
		keys   protocol.File
		words  string
	}{
		"good":                      {provenanceOf(t, key, file, chart), ring, ""},
		"good, text":                {provenanceOf(t, key, file, chart), armored(t, "keys.asc", other, key), ""},
		"unsigned":                  {nil, ring, "no signature; it is made by `helm package --sign`"},
		"by another key":            {provenanceOf(t, pgpKey(t, nil), file, chart), ring, "pubring.gpg: it is by another key"},
		"of another archive":        {provenanceOf(t, key, file, []byte("other")), ring, "something else"},
		"of another version":        {provenanceOf(t, key, "shop-1.3.0.tgz", chart), ring, "something else"},
		"changed":                   {signed("name: evil"), ring, "changed after it was signed"},
		"not signed":                {[]byte("files:\n  hidden: 1\n"), ring, "no signature that can be read"},
		"by a key that has expired": {provenanceOf(t, expired, file, chart), keyring(t, "old.gpg", expired), "has expired"},
		"huge":                      {bytes.Repeat([]byte("-"), maxProvenance+1), ring, ""},
	} {
		t.Run(name, func(t *testing.T) {
			beside = c.beside
			request.Verify = byHelm(c.keys)
			pulled, problem := Pull(request)
			switch {
			case name == "huge":
				wantError(t, problem, protocol.TooLarge, "provenance")
			case c.words != "":
				wantError(t, problem, protocol.NotVerified, c.words)
			case problem != nil || !bytes.Equal(pulled.Chart, chart):
				t.Errorf("%+v %v", pulled, problem)
			}
		})
	}
}

func TestAKnownArchiveOfAnotherVersionIsVerifiedAgain(t *testing.T) {
	key := pgpKey(t, nil)
	old := archive("shop-1.3.0.tgz")
	for name, promise := range map[string]string{"by the index": digest.FromBytes(old).String(), "by no index": ""} {
		t.Run(name, func(t *testing.T) {
			at := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.HasSuffix(r.URL.Path, "index.yaml"):
					_, _ = fmt.Fprintf(w, "apiVersion: v1\nentries:\n  shop:\n  - {name: shop, version: 1.4.2, digest: %q, urls: [x.tgz]}\n", promise)
				case strings.HasSuffix(r.URL.Path, ".prov"):
					_, _ = w.Write(provenanceOf(t, key, "shop-1.3.0.tgz", old))
				default:
					_, _ = w.Write(old)
				}
			}))
			request := fromRepository(at+"/repo", "shop", "1.4.2")
			request.Known = digest.FromBytes(old).String()
			request.Verify = byHelm(keyring(t, "pubring.gpg", key))
			_, problem := Pull(request)
			wantError(t, problem, protocol.NotVerified, "something else")
		})
	}
}

func TestProvenanceInARegistry(t *testing.T) {
	key := pgpKey(t, &packet.Config{DefaultHash: crypto.SHA512})
	keys := byHelm(keyring(t, "pubring.gpg", key))
	chart := archive("shop-1.4.2.tgz")
	for name, c := range map[string]struct {
		provenance []byte
		words      string
	}{
		"good":               {provenanceOf(t, key, "shop-1.4.2.tgz", chart), ""},
		"none":               {nil, "no signature"},
		"of another archive": {provenanceOf(t, key, "shop-1.4.2.tgz", []byte("other")), "something else"},
		"of another version": {provenanceOf(t, key, "shop-1.3.0.tgz", chart), "something else"},
	} {
		t.Run(name, func(t *testing.T) {
			charts := newSignedRegistry(t, true)
			layers := []ocispec.Descriptor{charts.blob(t, layerType, chart)}
			if c.provenance != nil {
				layers = append(layers, charts.blob(t, helmProvenanceType, c.provenance))
			}
			charts.chartOf(t, "1.4.2", layers...)
			pulled, problem := charts.pull(t, keys)
			if c.words != "" {
				wantError(t, problem, protocol.NotVerified, c.words)
			} else if problem != nil || !bytes.Equal(pulled.Chart, chart) {
				t.Errorf("%+v %v", pulled, problem)
			}
		})
	}
}

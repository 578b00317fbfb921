package pull

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/signer"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"releaselifecycle.dev/engine/internal/protocol"
)

// authority is a certificate authority and one who signs by its word.
type authority struct {
	root, leaf *x509.Certificate
	key        crypto.Signer
}

func newAuthority(t *testing.T, until time.Time, change func(leaf *x509.Certificate)) *authority {
	t.Helper()
	rootKey := ecKey(t, elliptic.P256())
	issue := func(template, parent *x509.Certificate, key crypto.Signer) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), rootKey)
		if err != nil {
			t.Fatal(err)
		}
		made, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	name := func(of string) pkix.Name {
		return pkix.Name{CommonName: of, Organization: []string{"charts"}, Country: []string{"DE"}, Province: []string{"BE"}}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: name("root"), NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, MaxPathLen: 1,
		KeyUsage: x509.KeyUsageCertSign,
	}
	root := issue(template, template, rootKey)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: name("anna"), NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	if change != nil {
		change(leaf)
	}
	key := ecKey(t, elliptic.P256())
	return &authority{root: root, leaf: issue(leaf, root, key), key: key}
}

func soon() time.Time { return time.Now().Add(time.Hour) }

func (a *authority) file(name string) protocol.File {
	return protocol.File{Name: name, Data: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})}
}

func (a *authority) sign(t *testing.T, of ocispec.Descriptor, mediaType string, lasts time.Duration) []byte {
	t.Helper()
	by, err := signer.NewGenericSigner(a.key, []*x509.Certificate{a.leaf, a.root})
	if err != nil {
		t.Fatal(err)
	}
	signed, _, err := by.Sign(t.Context(), of, notation.SignerSignOptions{SignatureMediaType: mediaType, ExpiryDuration: lasts})
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// trusting is a trust policy, as Flux's documentation has it.
func trusting(scope, level, identity string) protocol.File {
	return protocol.File{Name: "trustpolicy.json", Data: fmt.Appendf(nil, `{"version":"1.0","trustPolicies":[{
		"name":"charts","registryScopes":[%q],"signatureVerification":{"level":%q},
		"trustStores":["ca:charts"],"trustedIdentities":[%q]}]}`, scope, level, identity)}
}

func byNotation(files ...protocol.File) *protocol.Verify {
	return &protocol.Verify{Provider: protocol.Notation, Files: files}
}

func (s *signedRegistry) notation(t *testing.T, signed []byte, mediaType string) {
	t.Helper()
	s.manifest(t, "", notationSignature, s.blob(t, mediaType, signed))
}

func TestSignaturesOfNotation(t *testing.T) {
	anna, other := newAuthority(t, soon(), nil), newAuthority(t, soon(), nil)
	const strangers = "x509.subject: C=DE, ST=BE, O=charts, CN=otto"
	for name, c := range map[string]struct {
		policy protocol.File
		accept bool
	}{
		"all charts":     {trusting("*", "strict", "*"), true},
		"by her name":    {trusting("*", "strict", "x509.subject: C=DE, ST=BE, O=charts, CN=anna"), true},
		"by other names": {trusting("*", "strict", strangers), false},
	} {
		for _, mediaType := range []string{jws.MediaTypeEnvelope, cose.MediaTypeEnvelope} {
			for _, referrers := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %s, referrers %v", name, mediaType, referrers), func(t *testing.T) {
					keys := byNotation(c.policy, other.file("other.pem"), anna.file("ca.crt"))
					charts := newSignedRegistry(t, referrers)
					charts.wantRefused(t, keys, "has no signature", "notation sign")
					charts.notation(t, newAuthority(t, soon(), nil).sign(t, charts.chart, mediaType, 0), mediaType)
					charts.wantRefused(t, keys, "1 signature was tried with other.pem, ca.crt", "nobody whom the trust policy trusts")
					charts.notation(t, anna.sign(t, charts.chart, mediaType, 0), mediaType)
					if c.accept {
						charts.wantChart(t, keys)
					} else {
						charts.wantRefused(t, keys, "2 signatures were tried", "nobody whom the trust policy trusts")
					}
				})
			}
		}
	}
}

func TestSignaturesOfNotationThatAreNotAccepted(t *testing.T) {
	anna := newAuthority(t, soon(), nil)
	keys := byNotation(trusting("*", "strict", "*"), anna.file("ca.crt"))
	const kind = jws.MediaTypeEnvelope
	for name, c := range map[string]struct {
		signed func(charts *signedRegistry) []byte
		words  string
	}{
		"of another chart": {func(charts *signedRegistry) []byte {
			of := charts.chart
			of.Digest = "sha256:" + of.Digest[len("sha256:")+1:] + "0"
			return anna.sign(t, of, kind, 0)
		}, "something else"},
		"changed": {func(charts *signedRegistry) []byte {
			signed := anna.sign(t, charts.chart, kind, 0)
			return bytes.Replace(signed, []byte(`"payload":"e`), []byte(`"payload":"f`), 1)
		}, "no signature that can be read"},
		"no signature": {func(*signedRegistry) []byte { return []byte("hidden") }, "no signature that can be read"},
		"huge": {func(charts *signedRegistry) []byte {
			return append(anna.sign(t, charts.chart, kind, 0), bytes.Repeat([]byte(" "), maxSignature)...)
		}, "256 KiB"},
		"expired": {func(charts *signedRegistry) []byte {
			signed := anna.sign(t, charts.chart, kind, time.Second)
			time.Sleep(2100 * time.Millisecond)
			return signed
		}, "it has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			charts := newSignedRegistry(t, true)
			charts.notation(t, c.signed(charts), kind)
			charts.wantRefused(t, keys, c.words)
		})
	}
	t.Run("by a certificate that has expired", func(t *testing.T) {
		briefly := newAuthority(t, time.Now().Add(2*time.Second), nil)
		charts := newSignedRegistry(t, true)
		charts.notation(t, briefly.sign(t, charts.chart, kind, 0), kind)
		time.Sleep(3 * time.Second)
		charts.wantRefused(t, byNotation(trusting("*", "strict", "*"), briefly.file("ca.crt")), "certificate has expired")
		// That is what it means.
		charts.wantChart(t, byNotation(trusting("*", "permissive", "*"), briefly.file("ca.crt")))
	})
}

func TestWhetherACertificateWasRevokedIsAskedByTheSameRules(t *testing.T) {
	asks := new(seen)
	list := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asks.note(r)
		w.WriteHeader(http.StatusNotFound)
	}))
	anna := newAuthority(t, soon(), func(leaf *x509.Certificate) {
		leaf.OCSPServer = []string{list + "/ocsp"}
		leaf.CRLDistributionPoints = []string{"http://169.254.169.254/crl"}
	})
	charts := newSignedRegistry(t, true)
	charts.notation(t, anna.sign(t, charts.chart, jws.MediaTypeEnvelope, 0), jws.MediaTypeEnvelope)
	keys := byNotation(trusting("*", "strict", "*"), anna.file("ca.crt"))
	started := time.Now()
	charts.wantRefused(t, keys, "revoked, or it cannot be known")
	if !strings.Contains(asks.String(), "/ocsp") {
		t.Errorf("asked: %q", asks.String())
	}
	if took := time.Since(started); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	charts.wantChart(t, byNotation(trusting("*", "permissive", "*"), anna.file("ca.crt")))
	// Nobody who is refused is asked.
	asks = new(seen)
	request := fromOCI(t, charts.at, "1.4.2")
	request.Verify, request.Allow = keys, []string{hostOf(t, charts.at)}
	_, problem := Pull(request)
	wantError(t, problem, protocol.NotVerified, "revoked, or it cannot be known")
	if asked := asks.String(); asked != "" {
		t.Errorf("asked: %q", asked)
	}
}

func TestTrustPoliciesThatAreNone(t *testing.T) {
	anna := newAuthority(t, soon(), nil)
	charts := newSignedRegistry(t, true)
	policy := func(text string) protocol.File { return protocol.File{Name: "trustpolicy.json", Data: []byte(text)} }
	good := trusting("*", "strict", "*")
	for _, c := range []struct {
		files []protocol.File
		words string
	}{
		{[]protocol.File{anna.file("ca.crt")}, "no key trustpolicy.json"},
		{[]protocol.File{good}, "no key that ends with .crt or .pem"},
		{[]protocol.File{good, {Name: "ca.crt", Data: []byte("hidden")}}, "ca.crt holds no certificates"},
		{[]protocol.File{policy("hidden"), anna.file("ca.crt")}, "no trust policy"},
		{[]protocol.File{policy(`{"version":"9","trustPolicies":[]}`), anna.file("ca.crt")}, "no trust policy"},
		{[]protocol.File{policy(strings.Replace(string(good.Data), "registryScopes", "scopes", 1)), anna.file("ca.crt")}, "no trust policy"},
		{[]protocol.File{trusting("*", "audit", "*"), anna.file("ca.crt")}, "strict or permissive"},
		{[]protocol.File{trusting("registry.example/other", "strict", "*"), anna.file("ca.crt")}, "no statement of trustpolicy.json"},
		{[]protocol.File{policy(`{"version":"1.0","trustPolicies":[{"name":"x","registryScopes":["*"],"signatureVerification":{"level":"skip"}}]}`),
			anna.file("ca.crt")}, "strict or permissive"},
	} {
		_, problem := charts.pull(t, byNotation(c.files...))
		wantError(t, problem, protocol.BadRequest, c.words)
		if problem != nil && strings.Contains(problem.Message, "hidden") {
			t.Error(problem)
		}
	}
	at := hostOf(t, charts.at) + "/charts/shop"
	charts.notation(t, anna.sign(t, charts.chart, jws.MediaTypeEnvelope, 0), jws.MediaTypeEnvelope)
	charts.wantChart(t, byNotation(trusting(at, "strict", "*"), anna.file("ca.crt")))
}

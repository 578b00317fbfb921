package pull

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"

	"releaselifecycle.dev/engine/internal/protocol"
	"releaselifecycle.dev/engine/internal/testsign"
)

func soon() time.Time { return time.Now().Add(time.Hour) }

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
	anna, other := testsign.NewAuthority(t, soon(), nil), testsign.NewAuthority(t, soon(), nil)
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
					keys := byNotation(c.policy, other.File("other.pem"), anna.File("ca.crt"))
					charts := newSignedRegistry(t, referrers)
					charts.wantRefused(t, keys, "has no signature", "notation sign")
					charts.notation(t, testsign.NewAuthority(t, soon(), nil).Sign(t, charts.chart, mediaType, 0), mediaType)
					charts.wantRefused(t, keys, "1 signature was tried with other.pem, ca.crt", "nobody whom the trust policy trusts")
					charts.notation(t, anna.Sign(t, charts.chart, mediaType, 0), mediaType)
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
	anna := testsign.NewAuthority(t, soon(), nil)
	keys := byNotation(trusting("*", "strict", "*"), anna.File("ca.crt"))
	const kind = jws.MediaTypeEnvelope
	for name, c := range map[string]struct {
		signed func(charts *signedRegistry) []byte
		words  string
	}{
		"of another chart": {func(charts *signedRegistry) []byte {
			of := charts.chart
			of.Digest = "sha256:" + of.Digest[len("sha256:")+1:] + "0"
			return anna.Sign(t, of, kind, 0)
		}, "something else"},
		"changed": {func(charts *signedRegistry) []byte {
			signed := anna.Sign(t, charts.chart, kind, 0)
			return bytes.Replace(signed, []byte(`"payload":"e`), []byte(`"payload":"f`), 1)
		}, "no signature that can be read"},
		"no signature": {func(*signedRegistry) []byte { return []byte("hidden") }, "no signature that can be read"},
		"huge": {func(charts *signedRegistry) []byte {
			return append(anna.Sign(t, charts.chart, kind, 0), bytes.Repeat([]byte(" "), maxSignature)...)
		}, "64 KiB"},
		"expired": {func(charts *signedRegistry) []byte {
			signed := anna.Sign(t, charts.chart, kind, time.Second)
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
		briefly := testsign.NewAuthority(t, time.Now().Add(2*time.Second), nil)
		charts := newSignedRegistry(t, true)
		charts.notation(t, briefly.Sign(t, charts.chart, kind, 0), kind)
		time.Sleep(3 * time.Second)
		charts.wantRefused(t, byNotation(trusting("*", "strict", "*"), briefly.File("ca.crt")), "certificate has expired")
		// That is what it means.
		charts.wantChart(t, byNotation(trusting("*", "permissive", "*"), briefly.File("ca.crt")))
	})
}

func TestWhetherACertificateWasRevokedIsAskedByTheSameRules(t *testing.T) {
	asks := new(seen)
	list := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asks.note(r)
		w.WriteHeader(http.StatusNotFound)
	}))
	anna := testsign.NewAuthority(t, soon(), func(leaf *x509.Certificate) {
		leaf.OCSPServer = []string{list + "/ocsp"}
		leaf.CRLDistributionPoints = []string{"http://169.254.169.254/crl"}
	})
	charts := newSignedRegistry(t, true)
	charts.notation(t, anna.Sign(t, charts.chart, jws.MediaTypeEnvelope, 0), jws.MediaTypeEnvelope)
	keys := byNotation(trusting("*", "strict", "*"), anna.File("ca.crt"))
	started := time.Now()
	charts.wantRefused(t, keys, "revoked, or it cannot be known")
	if !strings.Contains(asks.String(), "/ocsp") {
		t.Errorf("asked: %q", asks.String())
	}
	if took := time.Since(started); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	charts.wantChart(t, byNotation(trusting("*", "permissive", "*"), anna.File("ca.crt")))
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
	anna := testsign.NewAuthority(t, soon(), nil)
	charts := newSignedRegistry(t, true)
	policy := func(text string) protocol.File { return protocol.File{Name: "trustpolicy.json", Data: []byte(text)} }
	good := trusting("*", "strict", "*")
	for _, c := range []struct {
		files []protocol.File
		words string
	}{
		{[]protocol.File{anna.File("ca.crt")}, "no key trustpolicy.json"},
		{[]protocol.File{good}, "no key that ends with .crt or .pem"},
		{[]protocol.File{good, {Name: "ca.crt", Data: []byte("hidden")}}, "ca.crt holds no certificates"},
		{[]protocol.File{policy("hidden"), anna.File("ca.crt")}, "no trust policy"},
		{[]protocol.File{policy(`{"version":"9","trustPolicies":[]}`), anna.File("ca.crt")}, "no trust policy"},
		{[]protocol.File{policy(strings.Replace(string(good.Data), "registryScopes", "scopes", 1)), anna.File("ca.crt")}, "no trust policy"},
		{[]protocol.File{trusting("*", "audit", "*"), anna.File("ca.crt")}, "strict or permissive"},
		{[]protocol.File{policy(strings.Replace(string(good.Data), `"ca:charts"`, `"ca:charts","tsa:public"`, 1)), anna.File("ca.crt")},
			"several trust stores (ca:charts, tsa:public)"},
		{[]protocol.File{trusting("registry.example/other", "strict", "*"), anna.File("ca.crt")}, "no statement of trustpolicy.json"},
		{[]protocol.File{policy(`{"version":"1.0","trustPolicies":[{"name":"x","registryScopes":["*"],"signatureVerification":{"level":"skip"}}]}`),
			anna.File("ca.crt")}, "strict or permissive"},
	} {
		_, problem := charts.pull(t, byNotation(c.files...))
		wantError(t, problem, protocol.BadRequest, c.words)
		if problem != nil && strings.Contains(problem.Message, "hidden") {
			t.Error(problem)
		}
	}
	at := hostOf(t, charts.at) + "/charts/shop"
	charts.notation(t, anna.Sign(t, charts.chart, jws.MediaTypeEnvelope, 0), jws.MediaTypeEnvelope)
	charts.wantChart(t, byNotation(trusting(at, "strict", "*"), anna.File("ca.crt")))
}

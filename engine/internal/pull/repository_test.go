package pull

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"releaselifecycle.dev/engine/internal/protocol"
)

func fromRepository(at, name, version string) *protocol.Pull {
	return &protocol.Pull{
		Repository: &protocol.Repository{URL: at, Name: name, Version: version},
		Allow:      here, Private: true, MaxBytes: 2000, Seconds: 20,
	}
}

func TestVersionsOfARepository(t *testing.T) {
	at := serving(t, chartServer(new(seen), "http://other.invalid"))
	for wanted, got := range map[string]string{
		"":             "2.0.0", // No prerelease.
		"1.4.2":        "1.4.2",
		">=1.4 <2":     "1.10.0",
		"^1":           "1.10.0",
		"1.3.x":        "1.3.0",
		"~1.4":         "1.4.2",
		">=2.1.0-0 <3": "2.1.0-rc.1",
		"2.1.0-rc.1":   "2.1.0-rc.1",
		"0.3.0-none":   "0.3.0-none",
		"0.3.0-sha512": "0.3.0-sha512",
	} {
		pulled, problem := Pull(fromRepository(at+"/repo", "shop", wanted))
		if problem != nil {
			t.Errorf("%q: %v", wanted, problem)
			continue
		}
		if pulled.Name != "shop" || pulled.Version != got || pulled.Digest != digest.FromBytes(pulled.Chart).String() {
			t.Errorf("%q: %s %s %s of %d bytes, wanted %s",
				wanted, pulled.Name, pulled.Version, pulled.Digest, len(pulled.Chart), got)
		}
	}
}

func TestServersAreToldWhoAsks(t *testing.T) {
	var agents []string
	charts := chartServer(new(seen), "http://other.invalid")
	at := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agents = append(agents, r.UserAgent())
		charts.ServeHTTP(w, r)
	}))
	for asked, told := range map[string]string{"": "releaselifecycle-engine", "shop/1.2": "shop/1.2"} {
		agents = nil
		request := fromRepository(at+"/repo", "shop", "1.4.2")
		request.UserAgent = asked
		if _, problem := Pull(request); problem != nil {
			t.Fatal(problem)
		}
		if len(agents) < 2 {
			t.Errorf("%d requests, wanted those of the index and of the archive", len(agents))
		}
		for _, agent := range agents {
			if agent != told {
				t.Errorf("%q, wanted %q", agent, told)
			}
		}
	}
}

func TestWhatARepositoryDoesNotGive(t *testing.T) {
	at := serving(t, chartServer(new(seen), "http://other.invalid"))
	for _, c := range []struct {
		folder, name, version string
		kind                  protocol.Kind
		words                 []string
	}{
		{"/repo", "shop", "7.0.0", protocol.ChartNotFound, []string{"7.0.0", "2.0.0, 1.10.0"}},
		{"/repo/", "cart", "", protocol.ChartNotFound, []string{`no chart "cart"`}},
		{"/repo", "empty", "", protocol.ChartNotFound, []string{"none"}},
		{"/repo", "shop", "one", protocol.BadRequest, []string{`"one"`}},
		{"/nowhere", "shop", "", protocol.ChartNotFound, []string{"index", "/nowhere/"}},
		{"/page", "shop", "", protocol.InvalidIndex, []string{"index.yaml"}},
		{"/broken", "shop", "", protocol.Unreachable, []string{"502"}},
		{"/repo", "shop", "0.3.0-wrong", protocol.DigestMismatch, []string{"0.3.0-wrong", "index says"}},
		{"/repo", "shop", "0.3.0-bad", protocol.InvalidIndex, []string{"0.3.0-bad", "digest"}},
		{"/repo", "shop", "0.3.0-oci", protocol.InvalidIndex, []string{"chart.oci"}},
		{"/repo", "shop", "0.3.0-large", protocol.TooLarge, []string{"2000 bytes"}},
		{"/repo?chunked", "shop", "0.3.0-large", protocol.TooLarge, []string{"2000 bytes"}},
		{"/repo", "shop", "0.3.0-gone", protocol.ChartNotFound, []string{"archive of chart shop"}},
		{"/repo", "shop", "0.3.0-other", protocol.Unreachable, []string{"other.invalid", "resolve"}},
	} {
		t.Run(c.folder+" "+c.name+" "+c.version, func(t *testing.T) {
			_, problem := Pull(fromRepository(at+c.folder, c.name, c.version))
			wantError(t, problem, c.kind, c.words...)
		})
	}
}

func TestAKnownChartIsNotFetched(t *testing.T) {
	log := new(seen)
	at := serving(t, chartServer(log, ""))
	request := fromRepository(at+"/repo", "shop", "1.4.2")
	request.Known = digest.FromBytes(archive("shop-1.4.2.tgz")).String()
	pulled, problem := Pull(request)
	if problem != nil || pulled.Chart != nil || pulled.Digest != request.Known || pulled.Version != "1.4.2" {
		t.Errorf("%+v %v", pulled, problem)
	}
	if log.String() != "/repo/index.yaml" {
		t.Errorf("asked for %s", log)
	}
}

func TestBasicAuthGoesToItsHostOnly(t *testing.T) {
	elsewhere := new(seen)
	other := serving(t, chartServer(elsewhere, ""))
	here := new(seen)
	at := serving(t, withAuth(chartServer(here, other)))

	_, problem := Pull(fromRepository(at+"/repo", "shop", ""))
	wantError(t, problem, protocol.Unauthorized, "401", "secretRef")

	request := fromRepository(at+"/repo", "shop", "0.3.0-other")
	request.Credentials = &protocol.Credentials{Username: "anna", Password: "wrong"}
	_, problem = Pull(request)
	wantError(t, problem, protocol.Unauthorized)

	request.Credentials.Password = "s3cret"
	if _, problem := Pull(request); problem != nil {
		t.Fatal(problem)
	}
	if here.String() != "/repo/index.yaml anna" || elsewhere.String() != "/charts/shop-3.0.0.tgz" {
		t.Errorf("here %s; elsewhere %s", here, elsewhere)
	}
}

func TestPrivateCA(t *testing.T) {
	server := servingTLS(t, chartServer(new(seen), ""), nil)
	request := fromRepository(server.URL+"/repo", "shop", "1.4.2")
	_, problem := Pull(request)
	wantError(t, problem, protocol.Unreachable, "not trusted", "authority is unknown", "ca.crt")
	if *problem.Transient {
		t.Error("waiting does not help against an unknown CA")
	}
	request.Credentials = &protocol.Credentials{CA: caOf(server)}
	if _, problem := Pull(request); problem != nil {
		t.Error(problem)
	}
	request.Credentials.CA = "s3cret"
	_, problem = Pull(request)
	wantError(t, problem, protocol.BadRequest, "credentials.ca")
}

func TestClientCertificate(t *testing.T) {
	certificate, key := selfSigned(t)
	server := servingTLS(t, chartServer(new(seen), ""), &tls.Config{ClientAuth: tls.RequireAnyClientCert})
	request := fromRepository(server.URL+"/repo", "shop", "1.4.2")
	request.Credentials = &protocol.Credentials{CA: caOf(server)}
	_, problem := Pull(request)
	wantError(t, problem, protocol.Unreachable, "certificate required")
	request.Credentials.Cert, request.Credentials.Key = certificate, key
	if _, problem := Pull(request); problem != nil {
		t.Error(problem)
	}
	// Another host that asks for it does not get it.
	front := servingTLS(t, http.RedirectHandler(server.URL+"/repo/index.yaml", http.StatusFound), nil)
	request.Repository.URL = front.URL + "/repo"
	request.Credentials.CA += caOf(front)
	_, problem = Pull(request)
	wantError(t, problem, protocol.Unreachable, "certificate required")
	request.Credentials.Key = "s3cret"
	_, problem = Pull(request)
	wantError(t, problem, protocol.BadRequest, "credentials.key")
}

func selfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "anna"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateDER}))
}

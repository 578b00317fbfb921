// Package testsign signs charts for tests, by Notation's own code.
package testsign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/signer"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"releaselifecycle.dev/engine/internal/protocol"
)

// Authority is a certificate authority and one who signs by its word.
type Authority struct {
	root, leaf *x509.Certificate
	key        crypto.Signer
}

// NewAuthority makes one whose signer has a certificate that ends then, and is changed before
// it is issued.
func NewAuthority(t *testing.T, until time.Time, change func(leaf *x509.Certificate)) *Authority {
	t.Helper()
	rootKey := newKey(t)
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
	key := newKey(t)
	return &Authority{root: root, leaf: issue(leaf, root, key), key: key}
}

// File is the authority's certificate as a key of a Secret.
func (a *Authority) File(name string) protocol.File {
	return protocol.File{Name: name, Data: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})}
}

// Sign is the envelope of a signature, which lasts that long; for ever if that is zero.
func (a *Authority) Sign(t *testing.T, of ocispec.Descriptor, mediaType string, lasts time.Duration) []byte {
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

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

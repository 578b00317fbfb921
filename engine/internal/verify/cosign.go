package verify

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"releaselifecycle.dev/engine/internal/protocol"
)

// What cosign writes into its signatures.
const (
	simpleType    = "cosign container image signature"
	statementType = "application/vnd.in-toto+json"
	// A bundle may also attest something, such as a scan that found holes: that is no
	// signature of the chart.
	signPredicate = "https://sigstore.dev/cosign/sign/v1"
)

// Cosign checks signatures of cosign by public keys. Whether one is in a transparency log
// is not asked.
type Cosign struct {
	verifiers []signature.Verifier
	names     string
}

func newCosign(files []protocol.File) (*Cosign, error) {
	files, err := named(files, ".pub")
	if err != nil {
		return nil, err
	}
	cosign := &Cosign{names: names(files)}
	for _, file := range files {
		verifiers, err := verifiersOf(file.Data)
		if err != nil {
			return nil, fmt.Errorf("%s is no public key in PEM, as `cosign generate-key-pair` writes cosign.pub", file.Name)
		}
		cosign.verifiers = append(cosign.verifiers, verifiers...)
	}
	return cosign, nil
}

// verifiersOf are the ways to check by a key: over SHA-256, which cosign uses by default,
// and over the hash that goes with the key's size.
func verifiersOf(pem []byte) ([]signature.Verifier, error) {
	key, err := cryptoutils.UnmarshalPEMToPublicKey(pem)
	if err != nil {
		return nil, err
	}
	usual, err := signature.LoadVerifier(key, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	verifiers := []signature.Verifier{usual}
	if other, err := signature.LoadDefaultVerifier(key); err == nil {
		verifiers = append(verifiers, other)
	}
	return verifiers, nil
}

// Names lists the keys for a message.
func (c *Cosign) Names() string { return c.names }

// Simple checks a signature as it lies under the tag beside an image: a payload, which is
// signed, and names the digest of a manifest.
func (c *Cosign) Simple(payload []byte, encoded string, of digest.Digest) error {
	signed, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return errNotSigned
	}
	if !c.isSigned(payload, signed) {
		return errOtherKey
	}
	var parsed struct {
		Critical struct {
			Type  string `json:"type"`
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(payload, &parsed); err != nil || parsed.Critical.Type != simpleType {
		return errNotSigned
	}
	if parsed.Critical.Image.Digest != of.String() {
		return errOtherChart
	}
	return nil
}

// Bundle checks a signature as it refers to an image: a bundle of Sigstore with a signed
// statement.
func (c *Cosign) Bundle(data []byte, of digest.Digest) error {
	var bundle struct {
		Envelope struct {
			Type       string `json:"payloadType"`
			Payload    []byte `json:"payload"`
			Signatures []struct {
				Signature []byte `json:"sig"`
			} `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	err := json.Unmarshal(data, &bundle)
	envelope := bundle.Envelope
	// cosign makes one signature a bundle.
	if err != nil || envelope.Type != statementType || len(envelope.Signatures) != 1 {
		return errNotSigned
	}
	encoded := authenticated(envelope.Type, envelope.Payload)
	if !c.isSigned(encoded, envelope.Signatures[0].Signature) {
		return errOtherKey
	}
	var statement struct {
		PredicateType string `json:"predicateType"`
		Subject       []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(envelope.Payload, &statement); err != nil || statement.PredicateType != signPredicate {
		return errNotSigned
	}
	for _, subject := range statement.Subject {
		if strings.EqualFold(subject.Digest[of.Algorithm().String()], of.Encoded()) {
			return nil
		}
	}
	return errOtherChart
}

// authenticated is what DSSE signs of an envelope. The library for it writes to standard
// output, which is the connection to the operator.
func authenticated(kind string, payload []byte) []byte {
	head := fmt.Sprintf("DSSEv1 %d %s %d ", len(kind), kind, len(payload))
	return append([]byte(head), payload...)
}

func (c *Cosign) isSigned(message, signed []byte) bool {
	return slices.ContainsFunc(c.verifiers, func(by signature.Verifier) bool {
		return by.VerifySignature(bytes.NewReader(signed), bytes.NewReader(message)) == nil
	})
}

package verify

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/notaryproject/notation-core-go/revocation"
	"github.com/notaryproject/notation-core-go/revocation/crl"
	"github.com/notaryproject/notation-core-go/revocation/purpose"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"releaselifecycle.dev/engine/internal/protocol"
)

// policyFile is the key of the Secret that holds the trust policy.
const policyFile = "trustpolicy.json"

// Notation checks signatures of Notation by a trust policy.
type Notation struct {
	policy   *trustpolicy.Document
	verifier notation.Verifier
	names    string
}

func newNotation(files []protocol.File, client *http.Client) (*Notation, error) {
	at := slices.IndexFunc(files, func(file protocol.File) bool { return file.Name == policyFile })
	if at < 0 {
		return nil, fmt.Errorf("the Secret has no key %s, the trust policy", policyFile)
	}
	policy := new(trustpolicy.Document)
	decoder := json.NewDecoder(bytes.NewReader(files[at].Data))
	// A field that is misspelt would ask for less than was meant.
	decoder.DisallowUnknownFields()
	if decoder.Decode(policy) != nil || policy.Validate() != nil {
		return nil, fmt.Errorf("%s is no trust policy of version 1.0 that `notation policy import` would take", policyFile)
	}
	if stores := stores(policy); len(stores) > 1 {
		return nil, fmt.Errorf("%s names several trust stores (%s), and the Secret is one: a certificate for one purpose "+
			"would count for all; name one, and use a Secret for each", policyFile, strings.Join(stores, ", "))
	}
	files, err := named(files, ".crt", ".pem")
	if err != nil {
		return nil, err
	}
	var trusted store
	for _, file := range files {
		certificates, err := certificates(file.Data)
		if err != nil || len(certificates) == 0 {
			return nil, fmt.Errorf("%s holds no certificates in PEM", file.Name)
		}
		trusted = append(trusted, certificates...)
	}
	options, err := options(client)
	if err != nil {
		return nil, err
	}
	verifier, err := verifier.NewWithOptions(policy, trusted, nil, options)
	if err != nil {
		return nil, err
	}
	return &Notation{policy: policy, verifier: verifier, names: names(files)}, nil
}

// stores are the trust stores that a policy names, each once.
func stores(policy *trustpolicy.Document) []string {
	var found []string
	for _, statement := range policy.TrustPolicies {
		found = append(found, statement.TrustStores...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// options make the library ask by our client whether a certificate was revoked: its own
// would dial whatever a certificate names.
func options(client *http.Client) (verifier.VerifierOptions, error) {
	of := func(purpose purpose.Purpose) (revocation.Validator, error) {
		lists, err := crl.NewHTTPFetcher(client)
		if err != nil {
			return nil, err
		}
		return revocation.NewWithOptions(revocation.Options{
			OCSPHTTPClient: client, CRLFetcher: lists, CertChainPurpose: purpose,
		})
	}
	signing, err := of(purpose.CodeSigning)
	if err != nil {
		return verifier.VerifierOptions{}, err
	}
	stamping, err := of(purpose.Timestamping)
	return verifier.VerifierOptions{RevocationCodeSigningValidator: signing, RevocationTimestampingValidator: stamping}, err
}

func certificates(data []byte) (found []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return found, nil
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		found = append(found, certificate)
	}
}

// store is the one trust store that a policy names.
type store []*x509.Certificate

// GetCertificates returns all certificates of the Secret.
func (s store) GetCertificates(context.Context, truststore.Type, string) ([]*x509.Certificate, error) {
	return s, nil
}

// Names lists the certificates for a message.
func (n *Notation) Names() string { return n.names }

// Applies is whether the policy has a statement for a chart, under which signatures of
// strangers fail. Reference is without a scheme, and ends with a digest.
func (n *Notation) Applies(reference string) *protocol.Error {
	statement, err := n.policy.GetApplicableTrustPolicy(reference)
	if err != nil {
		return wrong("no statement of %s has a registryScope for %s", policyFile, reference)
	}
	level, err := statement.SignatureVerification.GetVerificationLevel()
	if err != nil || level.Enforcement[trustpolicy.TypeIntegrity] != trustpolicy.ActionEnforce ||
		level.Enforcement[trustpolicy.TypeAuthenticity] != trustpolicy.ActionEnforce {
		return wrong("the statement of %s for %s accepts charts that nobody trusted has signed; "+
			"its level has to be strict or permissive", policyFile, reference)
	}
	return nil
}

// Verify checks a signature of the manifest that the reference names.
func (n *Notation) Verify(
	ctx context.Context, reference string, of ocispec.Descriptor, signed []byte, mediaType string,
) error {
	outcome, err := n.verifier.Verify(ctx, of, signed, notation.VerifierVerifyOptions{
		ArtifactReference: reference, SignatureMediaType: mediaType,
	})
	if err == nil {
		return nil
	}
	if outcome == nil || len(outcome.VerificationResults) == 0 {
		return errNotSigned
	}
	last := outcome.VerificationResults[len(outcome.VerificationResults)-1]
	switch {
	case last.Error == nil:
		return errOtherChart
	case last.Type == trustpolicy.TypeIntegrity:
		return errNotSigned
	case last.Type == trustpolicy.TypeAuthenticity:
		return errors.New("it is by nobody whom the trust policy trusts")
	case last.Type == trustpolicy.TypeExpiry:
		return errors.New("it has expired")
	case last.Type == trustpolicy.TypeAuthenticTimestamp:
		return errors.New("its certificate has expired, was not valid yet, or its timestamp is not trusted")
	case last.Type == trustpolicy.TypeRevocation:
		return errors.New("its certificate was revoked, or it cannot be known whether it was")
	default:
		return errNotSigned
	}
}

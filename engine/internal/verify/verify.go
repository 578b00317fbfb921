// Package verify checks signatures of charts: cosign's by public keys, Notation's by a
// trust policy and certificates, and Helm's provenance files by an OpenPGP keyring.
//
// It fetches nothing but what Notation asks about revoked certificates. Signatures are
// whatever a server says they are, so no error repeats what stands in one; keys are the
// user's own, and errors about them name the key of the Secret.
package verify

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"

	"releaselifecycle.dev/engine/internal/protocol"
)

// These bound what is parsed of a user's Secret.
const (
	maxKeys      = 50
	maxKeyBytes  = 1 << 20
	maxKeysBytes = 2 << 20
)

// Verifier is the one of its fields that is set.
type Verifier struct {
	Cosign   *Cosign
	Notation *Notation
	Helm     *Helm
}

// New parses the keys of a request. The client asks whether certificates were revoked.
func New(wanted *protocol.Verify, client *http.Client) (*Verifier, *protocol.Error) {
	total := 0
	for _, file := range wanted.Files {
		if total += len(file.Data); len(file.Data) > maxKeyBytes || total > maxKeysBytes {
			return nil, wrong("%s: it is larger than a key, or all are larger than %d MiB", file.Name, maxKeysBytes>>20)
		}
	}
	if len(wanted.Files) > maxKeys {
		return nil, wrong("%d keys, and at most %d are used", len(wanted.Files), maxKeys)
	}
	verifier := new(Verifier)
	var err error
	switch wanted.Provider {
	case protocol.Cosign:
		verifier.Cosign, err = newCosign(wanted.Files)
	case protocol.Notation:
		verifier.Notation, err = newNotation(wanted.Files, client)
	case protocol.HelmProvenance:
		verifier.Helm, err = newHelm(wanted.Files)
	default:
		return nil, wrong("provider %q is none of %s, %s and %s",
			wanted.Provider, protocol.Cosign, protocol.Notation, protocol.HelmProvenance)
	}
	if err != nil {
		return nil, wrong("%s", err)
	}
	return verifier, nil
}

func wrong(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.BadRequest, "verify: "+format, args...)
}

// named are the files whose names have one of these endings. That there is none is an error.
func named(files []protocol.File, endings ...string) ([]protocol.File, error) {
	found := slices.DeleteFunc(slices.Clone(files), func(file protocol.File) bool {
		return !slices.Contains(endings, path.Ext(file.Name))
	})
	if len(found) == 0 {
		return nil, fmt.Errorf("the Secret has no key that ends with %s", strings.Join(endings, " or "))
	}
	return found, nil
}

// names lists files for a message.
func names(files []protocol.File) string {
	var list []string
	for _, file := range files {
		list = append(list, file.Name)
	}
	return strings.Join(list, ", ")
}

// Why a signature is not accepted.
var (
	errNotSigned  = errors.New("it is no signature that can be read")
	errOtherKey   = errors.New("it is by another key")
	errOtherChart = errors.New("it is of something else than this chart")
)

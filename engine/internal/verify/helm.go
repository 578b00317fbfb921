package verify

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"helm.sh/helm/v4/pkg/provenance"

	"releaselifecycle.dev/engine/internal/protocol"
)

// Helm checks provenance files by a keyring.
type Helm struct {
	signatory provenance.Signatory
	names     string
}

func newHelm(files []protocol.File) (*Helm, error) {
	files, err := named(files, ".gpg", ".asc")
	if err != nil {
		return nil, err
	}
	helm := &Helm{names: names(files)}
	for _, file := range files {
		ring, err := keyring(file.Data)
		if err != nil || len(ring) == 0 {
			return nil, fmt.Errorf("%s is no keyring of OpenPGP, as `gpg --export` writes it", file.Name)
		}
		helm.signatory.KeyRing = append(helm.signatory.KeyRing, ring...)
	}
	return helm, nil
}

// keyring reads keys, in binary or as text. Helm's own function reads files alone, and the
// process can open none.
func keyring(data []byte) (openpgp.EntityList, error) {
	if !bytes.Contains(data, []byte("-----BEGIN PGP")) {
		return openpgp.ReadKeyRing(bytes.NewReader(data))
	}
	var ring openpgp.EntityList
	// A file may be several exports, one after the other. A buffer of its own would take
	// the beginning of the next one.
	for rest := bufio.NewReader(bytes.NewReader(data)); ; {
		block, err := armor.Decode(rest)
		if errors.Is(err, io.EOF) {
			return ring, nil
		}
		if err != nil {
			return nil, err
		}
		more, err := openpgp.ReadKeyRing(block.Body)
		if err != nil {
			return nil, err
		}
		ring = append(ring, more...)
	}
}

// Names lists the keyrings for a message.
func (h *Helm) Names() string { return h.names }

// Verify checks a provenance file, as `helm verify` does: that it is signed, and that it has
// the digest of this archive under the name that `helm package` gives a file. Helm takes the
// name of the server's file; this one also keeps a server from passing an old version, with
// its signature, off as a new one.
func (h *Helm) Verify(archive, signed []byte, chart, version string) error {
	_, err := h.signatory.Verify(archive, signed, chart+"-"+version+".tgz")
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return errOtherKey
	case errors.Is(err, pgperrors.ErrKeyExpired) || errors.Is(err, pgperrors.ErrSignatureExpired):
		return errors.New("it, or its key, has expired")
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return errors.New("its key was revoked")
	}
	// Helm's other errors have no types.
	block, _ := clearsign.Decode(signed)
	if block == nil {
		return errNotSigned
	}
	if _, err := openpgp.CheckDetachedSignature(h.signatory.KeyRing,
		bytes.NewReader(block.Bytes), block.ArmoredSignature.Body, nil); err != nil {
		return errors.New("it was changed after it was signed")
	}
	return errOtherChart
}

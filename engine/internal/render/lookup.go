package render

import (
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"releaselifecycle.dev/engine/internal/protocol"
)

// Lookup asks the cluster. Found is null if there is no such object; failed is a
// sentence for the template; an error is one of the connection.
type Lookup func(protocol.Lookup) (found json.RawMessage, failed *string, err error)

// lookups is the template function `lookup`, and what became of it.
type lookups struct {
	ask    Lookup
	failed bool
	// broken is an error of the connection: there is nobody to answer to.
	broken error
}

func (l *lookups) call(apiVersion, kind, namespace, name string) (map[string]any, error) {
	found, failed, err := l.ask(protocol.Lookup{APIVersion: apiVersion, Kind: kind, Namespace: namespace, Name: name})
	switch {
	case err != nil:
		l.broken = err
		return nil, err
	case failed != nil:
		l.failed = true
		return map[string]any{}, errors.New(*failed)
	case len(found) == 0 || string(found) == "null":
		return map[string]any{}, nil
	}
	content, err := decode(found, name == "")
	if err != nil {
		l.failed = true
		return map[string]any{}, fmt.Errorf("the answer for %s %s %s/%s is no object: %w",
			apiVersion, kind, namespace, name, err)
	}
	return content, nil
}

// decode reads an object or a list as Helm's client does, which makes whole
// numbers integers: templates see the difference.
func decode(found json.RawMessage, list bool) (map[string]any, error) {
	if list {
		objects := new(unstructured.UnstructuredList)
		if err := objects.UnmarshalJSON(found); err != nil {
			return nil, err
		}
		return objects.UnstructuredContent(), nil
	}
	object := new(unstructured.Unstructured)
	if err := object.UnmarshalJSON(found); err != nil {
		return nil, err
	}
	return object.UnstructuredContent(), nil
}

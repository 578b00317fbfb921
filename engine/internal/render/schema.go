package render

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/message"
	chart "helm.sh/helm/v4/pkg/chart/v2"

	"releaselifecycle.dev/engine/internal/protocol"
)

// Helm's own validation would fetch what a $ref names and quote values in its
// messages. This one compiles the same schemas with the same library, in the same
// order, but fetches nothing and says what is wrong without saying the value.

// schemaURL is the name under which Helm knows a chart's schema, so that relative
// $refs mean the same.
const schemaURL = "file:///values.schema.json"

// validate checks the values against the schemas of a chart and its subcharts.
func validate(loaded *chart.Chart, values map[string]any) *protocol.Error {
	var violations strings.Builder
	validateInto(&violations, loaded, values)
	if violations.Len() == 0 {
		return nil
	}
	return protocol.Errorf(protocol.SchemaViolation,
		"values don't meet the specifications of the schema(s) in the following chart(s):\n%s",
		strings.TrimRight(violations.String(), "\n"))
}

func validateInto(violations *strings.Builder, loaded *chart.Chart, values map[string]any) {
	if loaded.Schema != nil {
		if err := validateOne(loaded.Schema, values); err != nil {
			fmt.Fprintf(violations, "%s:\n%s\n", loaded.Name(), err)
		}
	}
	for _, sub := range loaded.Dependencies() {
		raw, there := values[sub.Name()]
		if !there || raw == nil {
			continue
		}
		subValues, isMap := raw.(map[string]any)
		if !isMap {
			fmt.Fprintf(violations, "%s:\ninvalid type for values: expected object (map), got %T\n", sub.Name(), raw)
			continue
		}
		validateInto(violations, sub, subValues)
	}
}

func validateOne(schema []byte, values map[string]any) (err error) {
	defer func() {
		// Helm guards itself against this library too.
		if r := recover(); r != nil {
			err = fmt.Errorf("values.schema.json cannot be used: %v", r)
		}
	}()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return fmt.Errorf("values.schema.json is not JSON: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(noLoader{})
	if err := compiler.AddResource(schemaURL, document); err != nil {
		return fmt.Errorf("values.schema.json: %w", err)
	}
	compiled, err := compiler.Compile(schemaURL)
	if err != nil {
		var refused *refusedRef
		if errors.As(err, &refused) {
			return refused
		}
		return fmt.Errorf("values.schema.json: %w", err)
	}
	var violation *jsonschema.ValidationError
	switch err := compiled.Validate(values); {
	case errors.As(err, &violation):
		silence(violation)
		_, list, _ := strings.Cut(violation.Error(), "\n")
		return errors.New(list)
	default:
		return err
	}
}

// refusedRef is a $ref that leads out of the chart.
type refusedRef struct{ url string }

func (r *refusedRef) Error() string {
	return fmt.Sprintf("values.schema.json refers to %q: nothing is fetched on a chart's behalf; "+
		"put that schema into the file, under $defs", r.url)
}

// noLoader fetches nothing. URNs name what cannot be fetched: Helm lets anything
// pass there, with a warning.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	if strings.HasPrefix(url, "urn:") {
		slog.Warn("values.schema.json: unresolved URN reference ignored, anything is valid there", "urn", url)
		return true, nil
	}
	return nil, &refusedRef{url}
}

// quietKind says what is wrong with a value without the value.
type quietKind struct {
	jsonschema.ErrorKind
	text string
}

func (k quietKind) LocalizedString(*message.Printer) string { return k.text }

// silence takes the values out of the messages of a violation.
func silence(violation *jsonschema.ValidationError) {
	text := ""
	switch k := violation.ErrorKind.(type) {
	case *kind.Pattern:
		text = fmt.Sprintf("does not match pattern '%s'", k.Want)
	case *kind.Format:
		text = "is not valid " + k.Want
	case *kind.ContentEncoding:
		text = fmt.Sprintf("is not %s encoded", k.Want)
	case *kind.ContentMediaType:
		text = "is not of media type " + k.Want
	case *kind.Minimum:
		text = "minimum: want " + k.Want.RatString()
	case *kind.Maximum:
		text = "maximum: want " + k.Want.RatString()
	case *kind.ExclusiveMinimum:
		text = "exclusiveMinimum: want " + k.Want.RatString()
	case *kind.ExclusiveMaximum:
		text = "exclusiveMaximum: want " + k.Want.RatString()
	case *kind.MultipleOf:
		text = "multipleOf: want " + k.Want.RatString()
	}
	if text != "" {
		violation.ErrorKind = quietKind{violation.ErrorKind, text}
	}
	for _, cause := range violation.Causes {
		silence(cause)
	}
}

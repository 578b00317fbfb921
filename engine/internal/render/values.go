package render

import (
	"encoding/json"
	"regexp"
	"strings"

	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/strvals"

	"releaselifecycle.dev/engine/internal/protocol"
)

// merge lays the user-supplied values over each other; later ones win.
func merge(layers []protocol.Values) (map[string]any, *protocol.Error) {
	merged := map[string]any{}
	for _, layer := range layers {
		switch {
		case layer.YAML != nil:
			values, err := loader.LoadValues(strings.NewReader(*layer.YAML))
			if err != nil {
				return nil, protocol.Errorf(protocol.InvalidValues, "%s: %s", layer.Place, withoutValues(err))
			}
			merged = loader.MergeMaps(merged, values)
		case layer.TargetPath != nil && layer.Value != nil:
			if problem := setPath(merged, layer.Place, *layer.TargetPath, *layer.Value); problem != nil {
				return nil, problem
			}
		case layer.Set != nil:
			set := strvals.ParseInto
			if layer.String {
				set = strvals.ParseIntoString
			}
			if err := set(*layer.Set, merged); err != nil {
				return nil, protocol.Errorf(protocol.InvalidValues, "%s: %s", layer.Place, err)
			}
		case layer.Object != nil:
			var values map[string]any
			if err := json.Unmarshal(layer.Object, &values); err != nil {
				return nil, protocol.Errorf(protocol.InvalidValues,
					"%s: not an object of values: %s", layer.Place, withoutValues(err))
			}
			merged = loader.MergeMaps(merged, values)
		default:
			return nil, protocol.Errorf(protocol.BadRequest,
				"values of %q: neither yaml, nor targetPath and value, nor set, nor object", layer.Place)
		}
	}
	return merged, nil
}

// setPath sets one value as Flux documents it for targetPath: its type is that
// which `helm --set` would see, and a value in quotes stays a string. Unlike in
// Flux a comma, a backslash or a brace is no more than that: what stands in a
// Secret is one value, and a password must not set others.
func setPath(values map[string]any, place, target, value string) *protocol.Error {
	set := strvals.ParseInto
	if quoted(value, `'`) || quoted(value, `"`) {
		set = strvals.ParseIntoString
		value = value[1 : len(value)-1]
	}
	if err := set(target+"="+literal(value), values); err == nil {
		return nil
	}
	// Helm's message may quote the value, which may be a secret. If the path
	// cannot be set to anything, it is to blame, and its message can be shown;
	// but not against the other values, for the same reason.
	if err := strvals.ParseInto(target+"=x", map[string]any{}); err != nil {
		return protocol.Errorf(protocol.InvalidValues, "%s: targetPath %q: %s", place, target, err)
	}
	return protocol.Errorf(protocol.InvalidValues,
		"%s: the value cannot be set at targetPath %q: what is there already must be of the same shape",
		place, target)
}

// literal escapes what means something to `helm --set`.
func literal(value string) string {
	value = strings.NewReplacer(`\`, `\\`, ",", `\,`).Replace(value)
	if strings.HasPrefix(value, "{") {
		return `\` + value
	}
	return value
}

func quoted(value, quote string) bool {
	return len(value) >= 2 && strings.HasPrefix(value, quote) && strings.HasSuffix(value, quote)
}

// Parts of YAML's and JSON's messages that quote what they read.
var quotes = regexp.MustCompile("`[^`]*`|'[^']*'|\"(?:[^\"\\\\]|\\\\.)*\"")

// withoutValues is an error's text without what it quotes: values may be secret.
// Line numbers and the kind of mistake stay.
func withoutValues(err error) string {
	text := strings.NewReplacer(
		"error unmarshaling JSON: while decoding JSON: ", "",
		"json: cannot unmarshal ", "the values are no map but of type ",
		" into Go value of type map[string]interface {}", "",
		"cannot unmarshal yaml document: ", "",
		"error converting YAML to JSON: ", "",
	).Replace(err.Error())
	return quotes.ReplaceAllStringFunc(text, func(quote string) string {
		if inner := quote[1 : len(quote)-1]; len(inner) == 1 && strings.Contains(":,-{}[]?", inner) {
			return quote // What YAML expected, not what it read.
		}
		return "…"
	})
}

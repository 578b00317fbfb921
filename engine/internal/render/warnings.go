package render

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"

	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	"sigs.k8s.io/yaml"

	release "helm.sh/helm/v4/pkg/release/v1"

	"releaselifecycle.dev/engine/internal/protocol"
)

// maxWarnings bounds what one chart can say.
const maxWarnings = 100

// warnings collects what Helm logs while it works: to Helm's user that is a line
// on the terminal, here it belongs to the release.
type warnings struct {
	texts []string
	// droppedHook is whether Helm said that it drops one; it does not say which.
	droppedHook bool
}

func (w *warnings) add(text string) {
	if len(w.texts) < maxWarnings && !slices.Contains(w.texts, text) {
		w.texts = append(w.texts, protocol.Cut(text))
	}
}

// Enabled takes Info too: what comes from the package log has that level.
func (w *warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle makes a warning of a record.
func (w *warnings) Handle(_ context.Context, record slog.Record) error {
	if record.Message == "skipping unknown hooks" {
		w.droppedHook = true
		return nil
	}
	var text strings.Builder
	text.WriteString(withoutTable(record.Message))
	record.Attrs(func(attr slog.Attr) bool {
		fmt.Fprintf(&text, ", %s: %v", attr.Key, attr.Value)
		return true
	})
	w.add(text.String())
	return nil
}

// WithAttrs and WithGroup are not used by what is called here.
func (w *warnings) WithAttrs([]slog.Attr) slog.Handler { return w }

// WithGroup is not used either.
func (w *warnings) WithGroup(string) slog.Handler { return w }

// Helm warns of values of the wrong shape and prints them, whole.
var printedValue = regexp.MustCompile(`(?s)^(warning: (?:cannot overwrite table with non table for|destination for) .*?) \(.*\)$`)

func withoutTable(text string) string {
	return printedValue.ReplaceAllString(strings.TrimSpace(text), "$1")
}

// dropped names the hooks that Helm drops for an event that it does not know.
func (w *warnings) dropped(files map[string]string) {
	if !w.droppedHook {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		documents := releaseutil.SplitManifests(files[name])
		keys := slices.Collect(maps.Keys(documents))
		slices.SortFunc(keys, func(a, b string) int {
			if releaseutil.BySplitManifestsOrder([]string{a, b}).Less(0, 1) {
				return -1
			}
			return 1
		})
		for _, key := range keys {
			var head releaseutil.SimpleHead
			if yaml.Unmarshal([]byte(documents[key]), &head) != nil || head.Metadata == nil {
				continue
			}
			annotation, is := head.Metadata.Annotations[release.HookAnnotation]
			if word, unknown := unknownEvent(annotation); is && unknown {
				w.add(fmt.Sprintf("%s: %s/%s is dropped, as Helm does: its %s names %q, which is no hook event",
					name, head.Kind, head.Metadata.Name, release.HookAnnotation, word))
			}
		}
	}
}

var hookEvents = []string{
	string(release.HookPreInstall), string(release.HookPostInstall),
	string(release.HookPreUpgrade), string(release.HookPostUpgrade),
	string(release.HookPreRollback), string(release.HookPostRollback),
	string(release.HookPreDelete), string(release.HookPostDelete),
	string(release.HookTest), "test-success",
}

// unknownEvent is the first word of the annotation that Helm does not know, which
// may be the empty one.
func unknownEvent(annotation string) (word string, unknown bool) {
	for word := range strings.SplitSeq(annotation, ",") {
		if !slices.Contains(hookEvents, strings.ToLower(strings.TrimSpace(word))) {
			return strings.TrimSpace(word), true
		}
	}
	return "", false
}

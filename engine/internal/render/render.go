// Package render renders charts as `helm install` and `helm upgrade` do.
//
// Helm does that in an action that also talks to a cluster. The parts are public,
// the action's order of them is followed here, and the tests of the project
// compare the results with the real Helm's.
package render

import (
	"fmt"
	"log/slog"
	"path"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	release "helm.sh/helm/v4/pkg/release/v1"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"

	"releaselifecycle.dev/engine/internal/protocol"
)

const notesFile = "NOTES.txt"

// Render renders one chart. The error is a *protocol.Error if the request, the
// chart or its values are to blame; else the connection that lookups use is gone.
//
// It takes the process's log for its time: Helm warns there.
func Render(request *protocol.Render, ask Lookup) (rendered *protocol.Rendered, err error) {
	heard := new(warnings)
	before := slog.Default()
	slog.SetDefault(slog.New(heard))
	defer slog.SetDefault(before)
	// Helm takes charts at their word in a few places, and a panic must not end
	// a process that others wait for.
	stage := protocol.InvalidChart
	defer func() {
		if r := recover(); r != nil {
			rendered, err = nil, protocol.Errorf(stage, "Helm cannot handle this chart: %v", r)
		}
	}()

	config, problem := merge(request.Values)
	if problem != nil {
		return nil, problem
	}
	loaded, problem := load(request)
	if problem != nil {
		return nil, problem
	}
	if problem := installable(loaded, heard); problem != nil {
		return nil, problem
	}
	if err := chartutil.ProcessDependencies(loaded, config); err != nil {
		return nil, valuesError(err)
	}
	crds := loaded.CRDObjects()
	known, problem := capabilities(request.Capabilities)
	if problem != nil {
		return nil, problem
	}
	if request.AddCRDs {
		for _, version := range defined(crds) {
			if !known.APIVersions.Has(version) {
				known.APIVersions = append(slices.Clip(known.APIVersions), version)
			}
		}
	}
	values, problem := renderValues(request, loaded, config, known)
	if problem != nil {
		return nil, problem
	}
	stage = protocol.TemplateError
	files, err := execute(request, loaded, values, ask)
	if err != nil {
		return nil, err
	}
	notes := takeNotes(files, loaded)
	hooks, manifests, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		return nil, protocol.Errorf(protocol.NotYaml, "%s", err)
	}
	heard.dropped(files)

	rendered = &protocol.Rendered{
		Objects: make([]protocol.Object, 0, len(manifests)),
		Hooks:   make([]protocol.Hook, 0, len(hooks)),
		CRDs:    make([]protocol.Object, 0, len(crds)),
		Notes:   notes,
		Chart:   protocol.Chart{Metadata: loaded.Metadata, Values: loaded.Values},
		Config:  config,
	}
	for _, manifest := range manifests {
		rendered.Objects = append(rendered.Objects, protocol.Object{Path: manifest.Name, Manifest: manifest.Content})
	}
	for _, hook := range hooks {
		rendered.Hooks = append(rendered.Hooks, protocol.Hook{
			Path: hook.Path, Manifest: hook.Manifest, Name: hook.Name, Kind: hook.Kind, Weight: hook.Weight,
			Events: words(hook.Events), DeletePolicies: words(hook.DeletePolicies),
			OutputLogPolicies: words(hook.OutputLogPolicies),
		})
	}
	for _, crd := range crds {
		rendered.CRDs = append(rendered.CRDs, protocol.Object{Path: crd.Filename, Manifest: string(crd.File.Data)})
	}
	rendered.Warnings = append([]string{}, heard.texts...)
	return rendered, nil
}

func words[T release.HookEvent | release.HookDeletePolicy | release.HookOutputLogPolicy](named []T) []string {
	texts := make([]string, 0, len(named))
	for _, name := range named {
		texts = append(texts, string(name))
	}
	return texts
}

// installable is what Helm checks before an install. An upgrade to a library
// chart it lets through, which would delete everything: refused here too.
func installable(loaded *chart.Chart, heard *warnings) *protocol.Error {
	if kind := loaded.Metadata.Type; kind != "" && kind != "application" {
		return protocol.Errorf(protocol.NotInstallable,
			"chart %s is of type %s, and %s charts are not installable", loaded.Name(), kind, kind)
	}
	if loaded.Metadata.Deprecated {
		heard.add(fmt.Sprintf("chart %s is deprecated", loaded.Name()))
	}
	var missing []string
	for _, wanted := range loaded.Metadata.Dependencies {
		if !slices.ContainsFunc(loaded.Dependencies(), func(sub *chart.Chart) bool { return sub.Name() == wanted.Name }) {
			missing = append(missing, wanted.Name)
		}
	}
	if len(missing) > 0 {
		return protocol.Errorf(protocol.MissingDependencies,
			"found in Chart.yaml, but missing in charts/ directory: %s; "+
				"run `helm dependency build` before the chart is packaged or committed", strings.Join(missing, ", "))
	}
	return nil
}

// renderValues is what templates see, after the checks that Helm makes with it.
func renderValues(
	request *protocol.Render, loaded *chart.Chart, config map[string]any, known *common.Capabilities,
) (common.Values, *protocol.Error) {
	values, err := util.ToRenderValuesWithSchemaValidation(loaded, config, common.ReleaseOptions{
		Name:      request.Release.Name,
		Namespace: request.Release.Namespace,
		Revision:  request.Release.Revision,
		IsInstall: !request.Release.Upgrade,
		IsUpgrade: request.Release.Upgrade,
	}, known, true)
	if err != nil {
		return nil, valuesError(err)
	}
	coalesced, err := values.Table("Values")
	if err != nil {
		return nil, valuesError(err)
	}
	if problem := validate(loaded, coalesced); problem != nil {
		return nil, problem
	}
	wanted := loaded.Metadata.KubeVersion
	if wanted != "" && !chartutil.IsCompatibleRange(wanted, known.KubeVersion.String()) {
		return nil, protocol.Errorf(protocol.IncompatibleKubeVersion,
			"chart requires kubeVersion: %s which is incompatible with Kubernetes %s", wanted, known.KubeVersion.Version)
	}
	return values, nil
}

// execute runs the templates; the answer is by file.
func execute(
	request *protocol.Render, loaded *chart.Chart, values common.Values, ask Lookup,
) (map[string]string, error) {
	var renderer engine.Engine
	asked := &lookups{ask: ask}
	if request.Cluster {
		renderer.CustomTemplateFuncs = map[string]any{"lookup": asked.call}
	}
	files, err := renderer.Render(loaded, values)
	switch {
	case asked.broken != nil:
		return nil, asked.broken
	case err != nil && asked.failed:
		return nil, protocol.Errorf(protocol.LookupFailed, "%s", err)
	case err != nil:
		return nil, protocol.Errorf(protocol.TemplateError, "%s", err)
	}
	return files, nil
}

// takeNotes takes the notes out of the files and returns the chart's own.
func takeNotes(files map[string]string, loaded *chart.Chart) string {
	notes := files[path.Join(loaded.Name(), "templates", notesFile)]
	for name := range files {
		if strings.HasSuffix(name, notesFile) {
			delete(files, name)
		}
	}
	return notes
}

// Helm prints the value that should have been a map.
var printedMismatch = regexp.MustCompile(`(?s)type mismatch on (.*?): %!t\(.*\)`)

func valuesError(err error) *protocol.Error {
	text := printedMismatch.ReplaceAllString(err.Error(),
		"$1: the values of a subchart are a map, and here is something else")
	return protocol.Errorf(protocol.InvalidValues, "%s", text)
}

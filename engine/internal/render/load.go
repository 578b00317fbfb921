package render

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/ignore"

	"releaselifecycle.dev/engine/internal/protocol"
)

// load reads the chart that a request names.
func load(request *protocol.Render) (*chart.Chart, *protocol.Error) {
	if request.Folder != "" {
		loaded, err := loader.LoadDir(request.Folder)
		if err != nil {
			return nil, protocol.Errorf(protocol.InvalidChart, "folder %s is no chart: %s", request.Folder, err)
		}
		return loaded, nil
	}
	var files []*archive.BufferedFile
	var problem *protocol.Error
	if request.Path == "" {
		files, problem = packaged(request.Chart)
	} else {
		files, problem = inFolder(request.Chart, request.Path)
	}
	if problem != nil {
		return nil, problem
	}
	if _, problem := measure(files, maxChart); problem != nil {
		return nil, problem
	}
	loaded, err := loader.LoadFiles(files)
	if err != nil {
		return nil, protocol.Errorf(protocol.InvalidChart, "%s", err)
	}
	return loaded, nil
}

// packaged finds the chart of an archive that holds nothing else: in its only
// folder, as `helm package` writes it, or at its root, as Flux may.
func packaged(packed []byte) ([]*archive.BufferedFile, *protocol.Error) {
	entries, problem := unpack(packed, func(string) bool { return true })
	if problem != nil {
		return nil, problem
	}
	if len(entries) == 0 {
		return nil, protocol.Errorf(protocol.InvalidChart, "the archive is empty")
	}
	folder := ""
	if !slices.ContainsFunc(entries, func(file entry) bool { return file.name == "Chart.yaml" }) {
		tops := topFolders(entries)
		if len(tops) > 1 || !strings.Contains(entries[0].name, "/") {
			return nil, protocol.Errorf(protocol.InvalidChart,
				"the archive has no Chart.yaml at its root and not just one folder, but %s; "+
					"name the chart's folder as the source's path", some(tops))
		}
		folder = tops[0] + "/"
	}
	files := make([]*archive.BufferedFile, 0, len(entries))
	for _, file := range entries {
		files = append(files, buffered(file, strings.TrimPrefix(file.name, folder)))
	}
	return files, nil
}

// inFolder finds a chart in a folder of an archive, for which .helmignore counts
// as it does for a folder on a disk.
func inFolder(packed []byte, folder string) ([]*archive.BufferedFile, *protocol.Error) {
	clean := path.Clean(strings.TrimPrefix(folder, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return nil, protocol.Errorf(protocol.InvalidChart, "path %q leaves the artifact", folder)
	}
	prefix := clean + "/"
	if clean == "." {
		prefix = ""
	}
	tops := []entry{}
	entries, problem := unpack(packed, func(name string) bool {
		// Only names, and few of them, for the message below.
		if len(tops) < 1000 {
			tops = append(tops, entry{name: name})
		}
		return strings.HasPrefix(name, prefix)
	})
	if problem != nil {
		return nil, problem
	}
	if len(entries) == 0 {
		return nil, protocol.Errorf(protocol.InvalidChart,
			"the artifact has no folder %q; at its root are %s", folder, some(topFolders(tops)))
	}
	rules := ignore.Empty()
	for _, file := range entries {
		if file.name != prefix+ignore.HelmIgnore {
			continue
		}
		parsed, err := ignore.Parse(bytes.NewReader(file.data))
		if err != nil {
			return nil, protocol.Errorf(protocol.InvalidChart, "%s: %s", file.name, err)
		}
		rules = parsed
	}
	rules.AddDefaults()
	// In the order in which Helm walks a folder, whatever the archive's: CRDs are
	// installed in it.
	slices.SortStableFunc(entries, func(a, b entry) int {
		return slices.Compare(strings.Split(a.name, "/"), strings.Split(b.name, "/"))
	})
	files := make([]*archive.BufferedFile, 0, len(entries))
	for _, file := range entries {
		name := strings.TrimPrefix(file.name, prefix)
		if ignored(rules, name) {
			continue
		}
		if file.link {
			return nil, protocol.Errorf(protocol.InvalidChart,
				"%s is a link, and links in an artifact are not followed; put the file itself there", file.name)
		}
		files = append(files, buffered(file, name))
	}
	return files, nil
}

// ignored is whether the rules skip a file or a folder that it is in.
func ignored(rules *ignore.Rules, name string) bool {
	for i, c := range name {
		if c == '/' && rules.Ignore(name[:i], fileInfo{name: name[:i], dir: true}) {
			return true
		}
	}
	return rules.Ignore(name, fileInfo{name: name})
}

func buffered(file entry, name string) *archive.BufferedFile {
	return &archive.BufferedFile{Name: name, ModTime: file.modTime, Data: file.data}
}

// some names a few of many.
func some(names []string) string {
	const few = 10
	if len(names) > few {
		return strings.Join(names[:few], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

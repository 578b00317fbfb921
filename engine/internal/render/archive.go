package render

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/chart/loader/archive"

	"releaselifecycle.dev/engine/internal/protocol"
)

const (
	// maxChart bounds the unpacked files of a chart, its subcharts included.
	maxChart = 32 << 20
	// maxFile bounds each of them.
	maxFile = 5 << 20
	// maxStream bounds what is unpacked to find a chart in a repository's
	// archive, of which it may be a small part.
	maxStream = 512 << 20
)

func init() {
	// Helm's own bound, for the archives of subcharts, which Helm unpacks.
	archive.MaxDecompressedChartSize = maxChart
}

var utf8BOM = []byte{0xEF, 0xBB, 0xBF}

// A drive's name makes a path absolute on Windows; Helm refuses it everywhere.
var drive = regexp.MustCompile(`^[a-zA-Z]:/`)

// entry is a file of an archive. Its name is clean and relative.
type entry struct {
	name    string
	modTime time.Time
	data    []byte
	link    bool
}

// unpack reads the files of a compressed archive whose names keep accepts.
func unpack(packed []byte, keep func(name string) bool) ([]entry, *protocol.Error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, protocol.Errorf(protocol.InvalidChart,
			"the chart is not an archive: %s; wanted is a .tgz as `helm package` writes it", err)
	}
	stream := &io.LimitedReader{R: unzipped, N: maxStream}
	reader := tar.NewReader(stream)
	var entries []entry
	budget := int64(maxChart)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) && stream.N > 0 {
			return entries, nil
		}
		if stream.N <= 0 {
			return nil, protocol.Errorf(protocol.InvalidChart,
				"the archive is larger than %d MiB unpacked", maxStream>>20)
		}
		if err != nil {
			return nil, protocol.Errorf(protocol.InvalidChart, "the archive is damaged: %s", err)
		}
		if header.FileInfo().IsDir() || header.Typeflag == tar.TypeXGlobalHeader ||
			header.Typeflag == tar.TypeXHeader {
			continue
		}
		name, problem := cleanName(header.Name)
		if problem != nil {
			return nil, problem
		}
		if !keep(name) {
			continue
		}
		if header.Size > maxFile {
			return nil, protocol.Errorf(protocol.InvalidChart,
				"file %s of the chart has %d bytes; at most %d MiB are taken", name, header.Size, maxFile>>20)
		}
		if budget -= header.Size; budget < 0 {
			return nil, tooLarge()
		}
		data, err := io.ReadAll(io.LimitReader(reader, maxFile))
		if err != nil {
			return nil, protocol.Errorf(protocol.InvalidChart, "the archive is damaged at %s: %s", name, err)
		}
		entries = append(entries, entry{
			name: name, modTime: header.ModTime, data: bytes.TrimPrefix(data, utf8BOM),
			link: header.Typeflag == tar.TypeSymlink || header.Typeflag == tar.TypeLink,
		})
	}
}

func tooLarge() *protocol.Error {
	return protocol.Errorf(protocol.InvalidChart,
		"the chart is larger than %d MiB unpacked, its subcharts included", maxChart>>20)
}

// cleanName refuses names that leave their folder. Nothing is ever written to a
// disk, but Helm refuses them too, and who writes them means harm.
func cleanName(name string) (string, *protocol.Error) {
	clean := strings.ReplaceAll(name, `\`, "/")
	leaves := path.IsAbs(clean) || drive.MatchString(clean)
	clean = path.Clean(clean)
	if leaves || clean == ".." || strings.HasPrefix(clean, "../") {
		return "", protocol.Errorf(protocol.InvalidChart, "the archive's file %q leaves the archive's folder", name)
	}
	return clean, nil
}

// measure counts the unpacked size of subcharts that are archives in the
// archive: Helm bounds each of them, not their sum.
func measure(files []*archive.BufferedFile, budget int64) (int64, *protocol.Error) {
	for _, file := range files {
		budget -= int64(len(file.Data))
		if budget < 0 {
			return 0, tooLarge()
		}
		if !isPackedSubchart(file.Name) {
			continue
		}
		inner, err := archive.LoadArchiveFiles(bytes.NewReader(file.Data))
		if err != nil {
			// Helm's loader will say what is wrong with it, or ignore it.
			continue
		}
		var problem *protocol.Error
		if budget, problem = measure(inner, budget); problem != nil {
			return 0, problem
		}
	}
	return budget, nil
}

// isPackedSubchart is whether Helm unpacks this file: one in a folder charts/.
func isPackedSubchart(name string) bool {
	return path.Ext(name) == ".tgz" && path.Base(path.Dir(name)) == "charts"
}

// topFolders are the first parts of the names, for messages and decisions.
func topFolders(entries []entry) []string {
	var folders []string
	for _, file := range entries {
		top, _, _ := strings.Cut(file.name, "/")
		if !slices.Contains(folders, top) {
			folders = append(folders, top)
		}
	}
	slices.Sort(folders)
	return folders
}

// fileInfo is as much of a file's description as ignore rules look at.
type fileInfo struct {
	name string
	dir  bool
}

func (f fileInfo) Name() string { return path.Base(f.name) }
func (f fileInfo) Size() int64  { return 0 }
func (f fileInfo) Mode() fs.FileMode {
	if f.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
func (f fileInfo) ModTime() time.Time { return time.Time{} }
func (f fileInfo) IsDir() bool        { return f.dir }
func (f fileInfo) Sys() any           { return nil }

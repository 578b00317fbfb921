package render

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"releaselifecycle.dev/engine/internal/protocol"
	"releaselifecycle.dev/engine/internal/testchart"
)

func TestWhereTheChartIs(t *testing.T) {
	chart := testchart.Minimal(testchart.Files{
		"templates/a": "a: 1", "templates/ignored.yaml": "a: 2", "docs/b/c.txt": "C",
		"templates/files": `f: {{ .Files.Get "docs/b/c.txt" }}`,
		".helmignore":     "# rules\nignored.yaml\ndocs/\n",
	})
	whole := "# shop/templates/a\na: 1\n# shop/templates/files\nf: C\n# shop/templates/ignored.yaml\na: 2\n"
	ignoring := "# shop/templates/a\na: 1\n# shop/templates/files\nf: \n"
	repository := testchart.Files{"README.md": "x", "other/Chart.yaml": "a: b: c"}
	for name, text := range chart {
		repository["charts/shop/"+name] = text
	}
	withSubchart := testchart.Minimal(testchart.Files{
		"charts/db-0.1.0.tgz": string(testchart.Files{
			"Chart.yaml": "apiVersion: v2\nname: db\nversion: 0.1.0\n", "templates/a": "a: 1",
		}.Pack("db")),
	})
	for name, c := range map[string]struct {
		packed     []byte
		path, want string
	}{
		"packaged":            {chart.Pack("shop"), "", whole},
		"in any folder":       {chart.Pack("shop-1.4.2"), "", whole},
		"at the root":         {chart.Pack(""), "", whole},
		"at the root with ./": {chart.Pack("."), "", whole},
		"the root as path":    {chart.Pack(""), "./", ignoring},
		"in a path":           {repository.Pack(""), "./charts/shop", ignoring},
		"in an absolute path": {repository.Pack(""), "/charts/shop/", ignoring},
		"a packed subchart":   {withSubchart.Pack("shop"), "", "# shop/charts/db/templates/a\na: 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := request(nil)
			asked.Chart, asked.Path = c.packed, c.path
			if got := objects(rendered(t, asked)); got != c.want {
				t.Errorf("got:\n%s\nwanted:\n%s", got, c.want)
			}
		})
	}
	t.Run("in a folder", func(t *testing.T) {
		folder := t.TempDir()
		for name, text := range chart {
			file := filepath.Join(folder, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		asked := request(nil)
		asked.Chart, asked.Folder = nil, folder
		if got := objects(rendered(t, asked)); got != ignoring {
			t.Errorf("got:\n%s\nwanted:\n%s", got, ignoring)
		}
		asked.Folder += "/none"
		wantError(t, asked, noLookup, protocol.InvalidChart, asked.Folder)
	})
}

func TestArchivesThatAreNone(t *testing.T) {
	file := func(name string) []byte {
		return testchart.Archive([]tar.Header{{Name: name, Size: 1, Mode: 0o644}}, []string{"x"})
	}
	good := testchart.Minimal(nil).Pack("shop")
	manySubcharts := testchart.Minimal(nil)
	subchart := testchart.Minimal(testchart.Files{
		"Chart.yaml": "apiVersion: v2\nname: db\nversion: 0.1.0\n",
		"a":          strings.Repeat("a", maxFile), "b": strings.Repeat("b", maxFile),
	})
	for _, name := range []string{"a", "b", "c", "d"} {
		manySubcharts["charts/"+name+".tgz"] = string(subchart.Pack("db"))
	}
	many := testchart.Minimal(nil)
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		many[name] = strings.Repeat(name, maxFile)
	}
	for name, c := range map[string]struct {
		packed []byte
		path   string
		words  []string
	}{
		"text":               {[]byte("kind: Chart"), "", []string{"not an archive", "helm package"}},
		"no tar":             {zipped([]byte(strings.Repeat("x", 2000))), "", []string{"damaged"}},
		"half":               {good[:len(good)/2], "", []string{"damaged"}},
		"nothing":            {testchart.Archive(nil, nil), "", []string{"empty"}},
		"up":                 {file("shop/../../etc/passwd"), "", []string{"shop/../../etc/passwd", "leaves"}},
		"up and away":        {file(`..\x`), "", []string{"leaves"}},
		"absolute":           {file("/etc/passwd"), "", []string{"/etc/passwd", "leaves"}},
		"a drive":            {file(`c:\x`), "", []string{"leaves"}},
		"no Chart.yaml":      {testchart.Files{"values.yaml": ""}.Pack("shop"), "", []string{"Chart.yaml"}},
		"two folders":        {testchart.Files{"a/Chart.yaml": "x", "b/Chart.yaml": "x"}.Pack(""), "", []string{"a, b", "path"}},
		"no such path":       {testchart.Files{"a/Chart.yaml": "x", "b/x": ""}.Pack(""), "c", []string{`"c"`, "a, b"}},
		"a path that leaves": {good, "../x", []string{"../x", "leaves"}},
		"many files":         {many.Pack("shop"), "", []string{"32 MiB"}},
		"many subcharts":     {manySubcharts.Pack("shop"), "", []string{"32 MiB", "subcharts"}},
		"a link": {
			testchart.Archive([]tar.Header{
				{Name: "a/Chart.yaml", Size: 1}, {Name: "a/values.yaml", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
			}, []string{"x", ""}),
			"a", []string{"a/values.yaml", "link"},
		},
		"a bomb": {zipped(make([]byte, 64<<20)), "", []string{"empty"}},
	} {
		t.Run(name, func(t *testing.T) {
			asked := request(nil)
			asked.Chart, asked.Path = c.packed, c.path
			wantError(t, asked, noLookup, protocol.InvalidChart, c.words...)
		})
	}
}

func zipped(data []byte) []byte {
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, _ = writer.Write(data)
	_ = writer.Close()
	return packed.Bytes()
}

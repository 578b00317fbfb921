package pull

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// helmIndex is what `helm repo index` of Helm 4.3.1 wrote.
func helmIndex(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("testdata/index.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A scan of an index finds what a parser of the whole finds.
func TestAScanIsLikeAParserOfTheWhole(t *testing.T) {
	fromHelm := helmIndex(t)
	const shop = "- {version: 1.0.0, urls: [a.tgz]}\n"
	for name, text := range map[string]string{
		"of Helm":          fromHelm,
		"with CRLF":        strings.ReplaceAll(fromHelm, "\n", "\r\n"),
		"without an end":   strings.TrimSuffix(fromHelm, "\n"),
		"a document":       "# comment\n%YAML 1.1\n---\n" + fromHelm + "...\nnonsense: [\n",
		"the first of two": "--- # comment\n" + fromHelm + "---\nentries:\n  shop: []\n",
		"a byte order":     "\ufeff" + fromHelm,
		"indented":         "  " + strings.ReplaceAll(fromHelm, "\n", "\n  "),
		"deeper lists": "apiVersion: v1\nentries:\n    cart:\n    -   version: 0.1.0\n    shop:\n      # comment\n\n" +
			"      -\n          version: 1.0.0\n          urls:\n          - a.tgz\n# comment\n\n      - version: 2.0.0\n    shop-api: null\n",
		"quoted names":    "\"apiVersion\": 'v1'\n'entries':\n  \"shop\":\n  " + shop + "  'cart':\n  " + shop + "  \"on\" : # comment\n  " + shop,
		"spaces":          "apiVersion:   v1  # comment\nentries:  \n  shop:  # comment\n  " + shop + "   \n  cart:\t\n  " + shop,
		"empty ones":      "apiVersion: v1\nentries:\n  shop:\n  cart: []\n  idle: null\n  shop-api: ~ # comment\n",
		"no entries":      "apiVersion: v1\nentries: {}\n",
		"no entries null": "apiVersion: v1\nentries:\ngenerated: x\n",
		"no key entries":  "apiVersion: v1\n",
		"other keys": "serverInfo:\n  entries:\n    shop:\n    " + shop + "list:\n- a\n- shop: b\nentries:\n  shop:\n  " + shop +
			"text: |\n  cart:\n  - x\n\nmore: 'a\n  b'\napiVersion: v1\n",
		"text in entries": "apiVersion: v1\nentries:\n  cart:\n  - description: |\n      shop:\n      - version: 9.0.0\n    version: 0.1.0\n" +
			"  shop:\n  - description: >-\n      # a\n\n      - b\n    version: 1.0.0\n    urls: [a.tgz, b.tgz]\n    digest: abc\n",
		"twice":          "apiVersion: v1\nentries:\n  shop:\n  " + shop + "  cart: []\n  shop:\n  - version: 2.0.0\n",
		"entries twice":  "apiVersion: v1\nentries:\n  shop:\n  " + shop + "entries:\n  cart:\n  " + shop,
		"null entries":   "apiVersion: v1\nentries:\n  shop:\n  -\n  - null\n  " + shop + "  - version: 1.0\n    urls: null\n",
		"a number":       "apiVersion: 1\nentries:\n  shop:\n  - version: 3\n    urls: [5]\n",
		"no apiVersion":  "entries:\n  shop:\n  " + shop,
		"no newline end": "apiVersion: v1\nentries:\n  shop:\n  - version: 1.0.0",
	} {
		t.Run(name, func(t *testing.T) {
			for _, chart := range []string{"shop", "cart", "shop-api", "true", "7", "none", "entries"} {
				whole, err := readSmall([]byte(text), chart)
				if err != nil {
					t.Fatal(err)
				}
				scanned, err := readYAML(strings.NewReader(text), chart)
				if err != nil {
					t.Fatalf("%s: %s", chart, err)
				}
				same(t, chart, scanned, whole)
				asJSON, err := yaml.YAMLToJSON([]byte(text))
				if err != nil {
					t.Fatal(err)
				}
				if whole, err = readSmall(asJSON, chart); err != nil {
					// A number is no text in JSON.
					if _, err = readJSON(bytes.NewReader(asJSON), chart); err == nil && chart == "shop" {
						t.Errorf("in JSON: no error")
					}
					continue
				}
				if scanned, err = readJSON(bytes.NewReader(asJSON), chart); err != nil {
					t.Fatalf("%s in JSON: %s", chart, err)
				}
				same(t, chart+" in JSON", scanned, whole)
			}
		})
	}
	found, err := readYAML(strings.NewReader(fromHelm), "shop")
	if err != nil || len(found.entries) != 6 || found.entries[0].Version != "2.1.0-rc.1" {
		t.Errorf("%+v %v", found, err)
	}
}

func same(t *testing.T, chart string, got, want *chartIndex) {
	t.Helper()
	// Nil and empty are the same.
	if len(got.entries) == 0 && len(want.entries) == 0 {
		got.entries, want.entries = nil, nil
	}
	if !reflect.DeepEqual(got, want) {
		a, _ := json.Marshal(got.entries)
		b, _ := json.Marshal(want.entries)
		t.Errorf("%s: got %+v %s\nwanted %+v %s", chart, got, a, want, b)
	}
}

// padded makes an index so large that it is not parsed as a whole.
func padded(text string) string {
	return text + strings.Repeat("# "+strings.Repeat("x", 1021)+"\n", maxParsed/1024)
}

func TestLargeIndexesThatAreNone(t *testing.T) {
	long := strings.Repeat("x", maxParsed)
	const start = "apiVersion: v1\nentries:\n"
	for name, c := range map[string]struct{ text, words string }{
		"a page":            {padded("<html>\n"), "no index"},
		"a text":            {long, "no index"},
		"no apiVersion":     {padded("entries:\n  shop: []\n"), "no index"},
		"entries inline":    {padded("apiVersion: v1\nentries: {shop: []}\n"), "not laid out"},
		"the chart inline":  {padded(start + "  shop: [{version: 1.0.0}]\n"), "not laid out"},
		"an anchor":         {padded(start + "  shop: &s\n  - {}\n"), "not laid out"},
		"an odd key":        {padded(start + "  ? shop\n  : []\n"), "not laid out"},
		"a list":            {padded(start + "- shop\n"), "no index"},
		"a list, deeper":    {padded(start + "  - shop\n"), "not laid out"},
		"back and forth":    {padded(start + "    cart: []\n  shop: []\n"), "not laid out"},
		"below the dashes":  {padded(start + "  shop:\n    - {}\n   - {}\n"), "not laid out"},
		"a map of versions": {padded(start + "  shop:\n    1.0.0: {}\n"), "not laid out"},
		"an entry":          {padded(start + "  shop:\n  - 'open\n  cart: []\n"), "no such entry"},
		"an entry's type":   {padded(start + "  shop:\n  - s3cret\n  cart: []\n"), "no such entry"},
		"a long entry":      {start + "  shop:\n  - version: " + long, "512 KiB"},
		"many lines":        {padded(start + "  shop:\n  - version: '1.0.0'\n" + strings.Repeat("    # x\n", 70_000)), "512 KiB"},
		"many versions":     {start + "  shop:\n" + strings.Repeat("  - version: 1.0.0-abcdefghijk\n", 20_001), "20000 versions"},
		"JSON, long":        {`{"apiVersion":"v1","entries":{"cart":["` + long + long + `"]}}`, "512 KiB"},
		"JSON, a list":      {`{"apiVersion":"v1","entries":[` + strings.Repeat(" ", maxParsed) + `]}`, "no index"},
		"JSON and more":     {`{"apiVersion":"v1"}` + strings.Repeat(" ", maxParsed) + `{}`, "no index"},
		"JSON, many":        {`{"apiVersion":"v1","entries":{"shop":[` + strings.Repeat(`{"version":"1.0.0-abcdefghijk"},`, 20_001) + `{}]}}`, "20000 versions"},
		"small, many":       {start + "  shop:\n" + strings.Repeat("  - {}\n", 20_001), "20000 versions"},
		"small, no index":   {"a: [", "no index"},
	} {
		found, err := readIndex(strings.NewReader(c.text), "shop")
		var wrong *badIndex
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %+v %v, wanted %q", name, found, err, c.words)
		}
	}
}

func TestIndexesOfAnySize(t *testing.T) {
	fromHelm := helmIndex(t)
	asJSON, err := yaml.YAMLToJSON([]byte(fromHelm))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"small YAML": fromHelm, "small JSON": string(asJSON), "small flow": "{apiVersion: v1, entries: {shop: [" + strings.Repeat("{version: 1.0.0},", 6) + "]}}",
		"large YAML": padded(fromHelm), "large JSON": " \n" + string(asJSON) + strings.Repeat(" ", maxParsed),
	} {
		found, err := readIndex(strings.NewReader(text), "shop")
		if err != nil || !found.there || len(found.entries) != 6 {
			t.Errorf("%s: %+v %v", name, found, err)
		}
		// What ends a connection is not a verdict about the index.
		broken := io.MultiReader(strings.NewReader(text[:len(text)-1]), failing{})
		if _, err := readIndex(broken, "shop"); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: a broken connection: %v", name, err)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

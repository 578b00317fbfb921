package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"releaselifecycle.dev/engine/internal/protocol"
	"releaselifecycle.dev/engine/internal/testchart"
)

// wantError renders and checks the error. No message may hold the secret that the
// values of these tests hold.
func wantError(t *testing.T, asked *protocol.Render, ask Lookup, kind protocol.Kind, words ...string) {
	t.Helper()
	_, err := Render(asked, ask)
	var problem *protocol.Error
	if !errors.As(err, &problem) {
		t.Fatalf("%v, wanted %s", err, kind)
	}
	if problem.Kind != kind {
		t.Errorf("%v, wanted %s", problem, kind)
	}
	for _, word := range words {
		if !strings.Contains(problem.Message, word) {
			t.Errorf("%q is not in: %s", word, problem.Message)
		}
	}
	if strings.Contains(problem.Message, "s3cret") {
		t.Errorf("a secret in: %s", problem.Message)
	}
	if len(problem.Message) > 4096 {
		t.Errorf("a message of %d bytes", len(problem.Message))
	}
}

func TestErrorsOfCharts(t *testing.T) {
	for name, c := range map[string]struct {
		files testchart.Files
		kind  protocol.Kind
		words []string
	}{
		"Chart.yaml": {testchart.Files{"Chart.yaml": "a: b: c"}, protocol.InvalidChart, []string{"Chart.yaml", "mapping values"}},
		"no version": {testchart.Files{"Chart.yaml": "apiVersion: v2\nname: x\n"}, protocol.InvalidChart, []string{"version"}},
		"values":     {testchart.Files{"values.yaml": "- a\n"}, protocol.InvalidChart, []string{"values.yaml"}},
		"subchart":   {testchart.Files{"charts/db.tgz": "x"}, protocol.InvalidChart, []string{"db.tgz"}},
		"a library": {
			testchart.Files{"Chart.yaml": "apiVersion: v2\nname: lib\nversion: 1.0.0\ntype: library\n"},
			protocol.NotInstallable, []string{"lib", "library charts are not installable"},
		},
		"no dependencies": {
			testchart.Files{"Chart.yaml": "apiVersion: v2\nname: x\nversion: 1.0.0\ndependencies: [{name: db, version: 1}, {name: mq, version: 1}]\n"},
			protocol.MissingDependencies, []string{"db, mq", "helm dependency build"},
		},
		"another Kubernetes": {
			testchart.Files{"Chart.yaml": "apiVersion: v2\nname: x\nversion: 1.0.0\nkubeVersion: '>=1.99'\n"},
			protocol.IncompatibleKubeVersion, []string{">=1.99", "v1.33.1"},
		},
		"a template that does not parse": {
			testchart.Files{"templates/a.yaml": "a: 1\nb: {{ end }}\n"}, protocol.TemplateError, []string{"shop/templates/a.yaml:2", "unexpected {{end}}"},
		},
		"a template that fails": {
			testchart.Files{"templates/a.yaml": "a: 1\n\nb: {{ fail \"no host\" }}\n"}, protocol.TemplateError,
			[]string{"shop/templates/a.yaml:3:6", "no host"},
		},
		"a required value": {
			testchart.Files{"templates/a.yaml": "a: {{ required \"host is needed\" .Values.host }}\n"}, protocol.TemplateError,
			[]string{"shop/templates/a.yaml:1:6", "host is needed"},
		},
		"a nil pointer": {
			testchart.Files{"templates/a.yaml": "a: {{ .Values.a.b.c }}\n"}, protocol.TemplateError,
			[]string{"shop/templates/a.yaml:1", "nil pointer"},
		},
		"endless recursion": {
			testchart.Files{"templates/a.yaml": "{{ define \"a\" }}{{ include \"a\" . }}{{ end }}{{ include \"a\" . }}"}, protocol.TemplateError,
			[]string{"nested reference name"},
		},
		"no YAML": {
			testchart.Files{"templates/a.yaml": "a: 1\n---\nb:\n  - c\n d\n"}, protocol.NotYaml, []string{"shop/templates/a.yaml", "line 2"},
		},
		"environment variables": {
			testchart.Files{"templates/a.yaml": "a: {{ env \"PATH\" }}"}, protocol.TemplateError, []string{`function "env" not defined`},
		},
		"a large file": {
			testchart.Files{"big": strings.Repeat("x", maxFile+1)}, protocol.InvalidChart, []string{"big", "5 MiB"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			asked := request(testchart.Minimal(c.files))
			asked.Capabilities = &protocol.Capabilities{KubeVersion: "v1.33.1"}
			wantError(t, asked, noLookup, c.kind, c.words...)
		})
	}
}

func TestErrorsOfValues(t *testing.T) {
	const place = "spec.valuesFrom[0] (Secret/x)"
	chart := testchart.Minimal(testchart.Files{
		"charts/db/Chart.yaml": "apiVersion: v2\nname: db\nversion: 0.1.0\n",
	})
	yaml := func(text string) protocol.Values { return protocol.Values{Place: place, YAML: &text} }
	for name, c := range map[string]struct {
		layer protocol.Values
		words []string
	}{
		"a text":        {yaml("s3cret"), []string{place, "no map but of type string"}},
		"a list":        {yaml("- s3cret"), []string{place, "no map but of type array"}},
		"no YAML":       {yaml("a: 1\nb: 's3cret"), []string{place, "end of stream"}},
		"two colons":    {yaml("a: 1\nb: s3cret: s3cret\n"), []string{place, "line 2", "mapping values"}},
		"an alias":      {yaml("password: *s3cret\n"), []string{place, "anchor"}},
		"a tag":         {yaml("a: !!int s3cret\n"), []string{place, "cannot decode"}},
		"no object":     {protocol.Values{Place: place, Object: json.RawMessage(`"s3cret"`)}, []string{place, "string"}},
		"a bad value":   {protocol.Values{Place: place, TargetPath: ptr("db.a"), Value: ptr("s3cret")}, []string{place, `"db.a"`, "same shape"}},
		"a bad path":    {protocol.Values{Place: place, TargetPath: ptr("a[x]"), Value: ptr("s3cret")}, []string{place, `"a[x]"`}},
		"of a subchart": {yaml("db: s3cret"), []string{"db", "map"}},
	} {
		t.Run(name, func(t *testing.T) {
			asked := request(chart)
			asked.Values = []protocol.Values{c.layer}
			if name == "a bad value" {
				asked.Values = []protocol.Values{yaml("db: text"), c.layer}
			}
			wantError(t, asked, noLookup, protocol.InvalidValues, c.words...)
		})
	}
	asked := request(chart)
	asked.Values = []protocol.Values{{Place: place}}
	wantError(t, asked, noLookup, protocol.BadRequest, place)
}

func ptr(text string) *string { return &text }

func TestSchemas(t *testing.T) {
	for name, c := range map[string]struct {
		schema, values string
		words          []string
	}{
		"types": {
			`{"properties":{"replicas":{"type":"integer"},"host":{"type":"string"}},"required":["host"]}`, "replicas: s3cret",
			[]string{"shop:", "at '/replicas': got string, want integer", "missing property 'host'"},
		},
		"patterns":     {`{"properties":{"p":{"pattern":"^x$"}}}`, "p: s3cret", []string{"at '/p'", "'^x$'"}},
		"formats":      {`{"$schema":"http://json-schema.org/draft-07/schema#","properties":{"p":{"format":"ipv4"}}}`, "p: s3cret", []string{"'/p'", "ipv4"}},
		"numbers":      {`{"properties":{"p":{"maximum":5},"q":{"multipleOf":2}}}`, "p: 77777\nq: 3", []string{"at '/p': maximum: want 5", "multipleOf"}},
		"choices":      {`{"properties":{"p":{"enum":["a","b"]}}}`, "p: s3cret", []string{"at '/p': value must be one of 'a', 'b'"}},
		"deep":         {`{"properties":{"p":{"properties":{"q":{"anyOf":[{"pattern":"x"},{"minLength":99}]}}}}}`, "p: {q: s3cret}", []string{"'/p/q'"}},
		"a web page":   {`{"properties":{"p":{"$ref":"https://example.com/s.json"}}}`, "p: 1", []string{"https://example.com/s.json", "nothing is fetched on a chart's behalf"}},
		"a file":       {`{"$ref":"file:///etc/passwd"}`, "p: 1", []string{"file:///etc/passwd", "nothing is fetched"}},
		"another file": {`{"$ref":"other.json"}`, "p: 1", []string{"file:///other.json", "nothing is fetched"}},
		"no JSON":      {`{`, "p: 1", []string{"values.schema.json is not JSON"}},
		"no schema":    {`{"type": 5}`, "p: 1", []string{"values.schema.json"}},
	} {
		t.Run(name, func(t *testing.T) {
			asked := request(testchart.Minimal(testchart.Files{"values.schema.json": c.schema}))
			asked.Values = []protocol.Values{values(c.values)}
			wantError(t, asked, noLookup, protocol.SchemaViolation, append(c.words, "shop:")...)
			_, err := Render(asked, noLookup)
			if strings.Contains(err.Error(), "77777") {
				t.Errorf("a value in: %s", err)
			}
		})
	}
	t.Run("of a subchart", func(t *testing.T) {
		asked := request(testchart.Minimal(testchart.Files{
			"charts/db/Chart.yaml":         "apiVersion: v2\nname: db\nversion: 0.1.0\n",
			"charts/db/values.schema.json": `{"properties":{"port":{"type":"integer"}}}`,
		}))
		asked.Values = []protocol.Values{values("db: {port: s3cret}")}
		wantError(t, asked, noLookup, protocol.SchemaViolation, "db:\n- at '/port': got string, want integer")
	})
	t.Run("that hold", func(t *testing.T) {
		asked := request(testchart.Minimal(testchart.Files{
			"values.schema.json": `{"properties":{"p":{"$ref":"#/$defs/p"},"u":{"$ref":"urn:x:y"}},"$defs":{"p":{"type":"integer"}}}`,
		}))
		asked.Values = []protocol.Values{values("p: 1\nu: any")}
		if warned := strings.Join(rendered(t, asked).Warnings, "\n"); !strings.Contains(warned, "urn:x:y") {
			t.Errorf("warnings: %s", warned)
		}
	})
}

func TestLookups(t *testing.T) {
	chart := testchart.Minimal(testchart.Files{
		"templates/a": `a: {{ (lookup "v1" "Secret" "prod" "x").data.n | kindOf }} ` +
			`{{ range (lookup "v1" "Pod" "prod" "").items }}{{ .metadata.name }} {{ .kind }} {{ end }}` +
			`{{ if not (lookup "v1" "Secret" "prod" "none") }}none{{ end }}`,
	})
	asked := request(chart)
	asked.Cluster = true
	var questions []string
	answer, err := Render(asked, func(lookup protocol.Lookup) (json.RawMessage, *string, error) {
		questions = append(questions, fmt.Sprint(lookup))
		switch lookup.Name {
		case "x":
			return json.RawMessage(`{"apiVersion":"v1","kind":"Secret","data":{"n":5}}`), nil, nil
		case "":
			return json.RawMessage(`{"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"p"}}]}`), nil, nil
		default:
			return json.RawMessage("null"), nil, nil
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := objects(answer); got != "# shop/templates/a\na: int64 p Pod none\n" {
		t.Errorf("got %s", got)
	}
	if got := strings.Join(questions, " "); got != "{v1 Secret prod x} {v1 Pod prod } {v1 Secret prod none}" {
		t.Errorf("asked %s", got)
	}

	fails := func(found, failed string, err error) Lookup {
		return func(protocol.Lookup) (json.RawMessage, *string, error) {
			if failed != "" {
				return nil, &failed, err
			}
			return json.RawMessage(found), nil, err
		}
	}
	wantError(t, asked, fails("", `secrets "x" is forbidden`, nil), protocol.LookupFailed,
		"shop/templates/a:1", "error calling lookup", `secrets "x" is forbidden`)
	wantError(t, asked, fails(`{"no":"kind"}`, "", nil), protocol.LookupFailed, "v1 Secret prod/x", "no object")
	gone := errors.New("the connection is gone")
	if _, err := Render(asked, fails("", "", gone)); !errors.Is(err, gone) {
		t.Errorf("%v, wanted: %v", err, gone)
	}
}

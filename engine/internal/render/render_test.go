package render

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"releaselifecycle.dev/engine/internal/protocol"
	"releaselifecycle.dev/engine/internal/testchart"
)

// The comparison with the real Helm, byte for byte, is in the project's own tests.
// These say what is meant to happen, feature by feature.

func noLookup(protocol.Lookup) (json.RawMessage, *string, error) {
	return nil, nil, errors.New("nobody is to be asked")
}

func request(files testchart.Files) *protocol.Render {
	return &protocol.Render{
		Chart:   files.Pack("shop"),
		Release: protocol.Release{Name: "my", Namespace: "prod", Revision: 4, Upgrade: true},
	}
}

func values(text string) protocol.Values { return protocol.Values{Place: "spec.values", YAML: &text} }

func target(path, value string) protocol.Values {
	return protocol.Values{Place: "spec.valuesFrom[0] (Secret/x)", TargetPath: &path, Value: &value}
}

func set(text string, asString bool) protocol.Values {
	place := "--set"
	if asString {
		place = "--set-string"
	}
	return protocol.Values{Place: place, Set: &text, String: asString}
}

func rendered(t *testing.T, asked *protocol.Render) *protocol.Rendered {
	t.Helper()
	answer, err := Render(asked, noLookup)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// objects are the paths and texts of all objects, as Helm puts them into a release.
func objects(answer *protocol.Rendered) string {
	var text strings.Builder
	for _, object := range answer.Objects {
		text.WriteString("# " + object.Path + "\n" + object.Manifest + "\n")
	}
	return text.String()
}

func TestFeatures(t *testing.T) {
	const parent = "apiVersion: v2\nname: shop\nversion: 1.4.2\ndependencies:\n"
	for name, c := range map[string]struct {
		files  testchart.Files
		values []protocol.Values
		change func(*protocol.Render)
		want   string
	}{
		"the release": {
			files: testchart.Files{"templates/a": "a: {{ .Release.Name }} {{ .Release.Namespace }} {{ .Release.Revision }} " +
				"{{ .Release.IsInstall }} {{ .Release.IsUpgrade }} {{ .Release.Service }}"},
			want: "# shop/templates/a\na: my prod 4 false true Helm\n",
		},
		"an install": {
			files:  testchart.Files{"templates/a": "a: {{ .Release.IsInstall }} {{ .Release.IsUpgrade }}"},
			change: func(r *protocol.Render) { r.Release.Upgrade = false },
			want:   "# shop/templates/a\na: true false\n",
		},
		"the chart and the template": {
			files: testchart.Files{"templates/a": "a: {{ .Chart.Name }} {{ .Chart.Version }} {{ .Template.Name }} {{ .Template.BasePath }}"},
			want:  "# shop/templates/a\na: shop 1.4.2 shop/templates/a shop/templates\n",
		},
		"values over values": {
			files: testchart.Files{
				"values.yaml": "a: {b: 1, c: 2, d: 3}\nlist: [1, 2]\n",
				"templates/a": "a: {{ toJson .Values }}",
			},
			values: []protocol.Values{
				values("a: {b: 10, c: 20}\nlist: [3]"),
				{Place: "spec.values", Object: json.RawMessage(`{"a":{"c":21,"d":null,"e":1.5}}`)},
			},
			want: "# shop/templates/a\na: {\"a\":{\"b\":10,\"c\":21,\"e\":1.5},\"list\":[3]}\n",
		},
		"values of several documents": {
			files:  testchart.Files{"templates/a": "a: {{ toJson .Values }}"},
			values: []protocol.Values{values("a: 1\n---\nb: 2")},
			want:   "# shop/templates/a\na: {\"a\":1,\"b\":2}\n",
		},
		"target paths": {
			files: testchart.Files{"templates/a": "a: {{ toJson .Values }}"},
			values: []protocol.Values{
				values("a: {x: 1}\nl: [{i: 1}, {i: 2}]"),
				target("a.b", "true"), target("a.s", `"true"`), target("a.q", "'5'"), target("a.n", "5"),
				target("l[1].i", "x"), target("a.set", "{p,q}"), target(`a.dotted\.name`, "y"), target("a.x", "null"),
			},
			want: `# shop/templates/a` + "\n" +
				`a: {"a":{"b":true,"dotted.name":"y","n":5,"q":"5","s":"true","set":"{p,q}","x":null},` +
				`"l":[{"i":1},{"i":"x"}]}` + "\n",
		},
		"values of target paths are literal": {
			files: testchart.Files{"templates/a": "a: {{ toJson .Values }}"},
			values: []protocol.Values{
				target("comma", "x,comma=y"), target("slash", `a\,b\`), target("brace", "{"), target("inner", "a{b}"),
				target("equals", "a=b=c"), target("quoted", `"a,b"`), target("number", "'{1}'"), target("empty", ""),
			},
			want: `# shop/templates/a` + "\n" +
				`a: {"brace":"{","comma":"x,comma=y","empty":"","equals":"a=b=c","inner":"a{b}","number":"{1}",` +
				`"quoted":"a,b","slash":"a\\,b\\"}` + "\n",
		},
		"what follows --set": {
			files: testchart.Files{"templates/a": "a: {{ toJson .Values }}"},
			values: []protocol.Values{
				values("a: {x: 1, z: 2}"), set("a.x=5,b={p,q}", false), set("a.z=5,c=true", true), set(`d=x\,y`, false),
			},
			want: "# shop/templates/a\n" + `a: {"a":{"x":5,"z":"5"},"b":["p","q"],"c":"true","d":"x,y"}` + "\n",
		},
		"subcharts, globals": {
			files: testchart.Files{
				"values.yaml":                   "db: {host: a}\nglobal: {g: 1}\n",
				"charts/db/Chart.yaml":          "apiVersion: v2\nname: db\nversion: 0.1.0\n",
				"charts/db/values.yaml":         "host: none\nport: 5\n",
				"charts/db/templates/a":         "a: {{ .Values.host }} {{ .Values.port }} {{ .Values.global.g }} {{ .Chart.Name }}",
				"templates/a":                   "a: {{ (index .Subcharts \"db\").Values.host }}",
				"charts/db/crds/crd.yaml":       "kind: CustomResourceDefinition",
				"charts/_ignored/x":             "x",
				"charts/db/templates/_h":        "{{ define \"db.x\" }}x{{ end }}",
				"templates/includes.yaml":       "i: {{ include \"db.x\" . }}",
				"charts/db/templates/NOTES.txt": "notes of the subchart",
			},
			values: []protocol.Values{values("db: {host: b}")},
			want: "# shop/charts/db/templates/a\na: b 5 1 db\n# shop/templates/a\na: b\n" +
				"# shop/templates/includes.yaml\ni: x\n",
		},
		"conditions and tags": {
			files: testchart.Files{
				"Chart.yaml": parent + "- {name: yea, version: '*', condition: yea.enabled}\n- {name: nay, version: '*', condition: nay.enabled}\n" +
					"- {name: tag, version: '*', tags: [extra]}\n- {name: both, version: '*', tags: [extra], condition: both.enabled}\n",
				"values.yaml":             "nay: {enabled: false}\ntags: {extra: false}\nboth: {enabled: true}\n",
				"charts/yea/Chart.yaml":   "apiVersion: v2\nname: yea\nversion: 0.1.0\n",
				"charts/yea/templates/a":  "a: 1",
				"charts/nay/Chart.yaml":   "apiVersion: v2\nname: nay\nversion: 0.1.0\n",
				"charts/nay/templates/a":  "a: 1",
				"charts/tag/Chart.yaml":   "apiVersion: v2\nname: tag\nversion: 0.1.0\n",
				"charts/tag/templates/a":  "a: 1",
				"charts/both/Chart.yaml":  "apiVersion: v2\nname: both\nversion: 0.1.0\n",
				"charts/both/templates/a": "a: 1",
			},
			want: "# shop/charts/both/templates/a\na: 1\n# shop/charts/yea/templates/a\na: 1\n",
		},
		"aliases and imported values": {
			files: testchart.Files{
				"Chart.yaml": parent + "- {name: db, version: '*', alias: one, import-values: [data]}\n" +
					"- {name: db, version: '*', alias: two, import-values: [{child: inner, parent: outer}]}\n",
				"templates/a":           "a: {{ .Values.port }} {{ .Values.outer.x }}",
				"charts/db/Chart.yaml":  "apiVersion: v2\nname: db\nversion: 0.1.0\n",
				"charts/db/values.yaml": "exports: {data: {port: 7}}\ninner: {x: 8}\n",
				"charts/db/templates/a": "a: {{ .Chart.Name }}",
			},
			want: "# shop/charts/one/templates/a\na: one\n# shop/charts/two/templates/a\na: two\n# shop/templates/a\na: 7 8\n",
		},
		"library charts": {
			files: testchart.Files{
				"charts/lib/Chart.yaml":       "apiVersion: v2\nname: lib\nversion: 0.1.0\ntype: library\n",
				"charts/lib/templates/_x.tpl": `{{ define "lib.x" }}from the library{{ end }}`,
				"charts/lib/templates/no":     "a: 1",
				"templates/a":                 `a: {{ include "lib.x" . }}`,
			},
			want: "# shop/templates/a\na: from the library\n",
		},
		"tpl and files": {
			files: testchart.Files{
				"conf/a.txt": "A", "conf/b.txt": "B", "values.yaml": "t: '{{ .Release.Name }}-{{ include \"n\" . }}'\n",
				"templates/_n": `{{ define "n" }}named{{ end }}`,
				"templates/a": `a: {{ tpl .Values.t . }} {{ .Files.Get "conf/a.txt" }} {{ .Files.Get "none" }}` +
					"\n" + `{{ (.Files.Glob "conf/*").AsConfig }}`,
			},
			want: "# shop/templates/a\na: my-named A \na.txt: A\nb.txt: B\n",
		},
		"what Helm leaves out": {
			files: testchart.Files{
				"templates/_partial.yaml": "never: {shown", "templates/empty": "", "templates/blank": " \n {{- /* x */ -}} \n",
				"templates/comment": "# only a comment\n", "templates/crlf": "a: 1\r\n---\r\nb: 2\r\n",
				"templates/several": "---\n---\na: 1\n--- \n\n---\nb: 2\n", "templates/none": "a: {{ .Values.none }}",
				"templates/tests/a": "a: 1",
			},
			want: "# shop/templates/comment\n# only a comment\n\n# shop/templates/crlf\na: 1\r\n\n# shop/templates/crlf\nb: 2\r\n\n" +
				"# shop/templates/none\na: \n# shop/templates/several\na: 1\n\n# shop/templates/several\nb: 2\n\n" +
				"# shop/templates/tests/a\na: 1\n",
		},
		"the order of kinds": {
			files: testchart.Files{
				"templates/1": "kind: Odd", "templates/2": "kind: Deployment", "templates/3": "kind: Service",
				"templates/4": "kind: Namespace", "templates/5": "kind: Another",
			},
			want: "# shop/templates/4\nkind: Namespace\n# shop/templates/3\nkind: Service\n# shop/templates/2\nkind: Deployment\n" +
				"# shop/templates/5\nkind: Another\n# shop/templates/1\nkind: Odd\n",
		},
		"capabilities": {
			files: testchart.Files{
				"Chart.yaml": "apiVersion: v2\nname: shop\nversion: 1.4.2\nkubeVersion: '>=1.30'\n",
				"templates/a": `a: {{ .Capabilities.KubeVersion }} {{ .Capabilities.KubeVersion.Minor }} ` +
					`{{ .Capabilities.APIVersions.Has "x/v1" }} {{ .Capabilities.APIVersions.Has "x/v1/X" }} ` +
					`{{ .Capabilities.APIVersions.Has "apps/v1" }} {{ .Capabilities.HelmVersion.Version }}`,
			},
			change: func(r *protocol.Render) {
				r.Capabilities = &protocol.Capabilities{KubeVersion: "v1.33.1", Minor: "33+", APIVersions: []string{"x/v1"}}
			},
			want: "# shop/templates/a\na: v1.33.1 33+ true false false v4.3\n",
		},
		"what crds/ define": {
			files: testchart.Files{
				"crds/x.yaml": "kind: CustomResourceDefinition\nspec: {group: x.io, names: {kind: X}, " +
					"versions: [{name: v1, served: true}, {name: v2, served: false}]}\n---\nkind: Other\n",
				"templates/a": `a: {{ .Capabilities.APIVersions.Has "x.io/v1/X" }} {{ .Capabilities.APIVersions.Has "x.io/v1" }} ` +
					`{{ .Capabilities.APIVersions.Has "x.io/v2" }} {{ .Capabilities.APIVersions.Has "v1" }}`,
			},
			change: func(r *protocol.Render) { r.AddCRDs = true },
			want:   "# shop/templates/a\na: true true false true\n",
		},
		"no cluster": {
			files: testchart.Files{"templates/a": `a: {{ lookup "v1" "Secret" "a" "b" | toJson }}{{ getHostByName "localhost" }}`},
			want:  "# shop/templates/a\na: {}\n",
		},
		"time zones": {
			files: testchart.Files{"templates/a": `a: {{ dateInZone "15:04" (toDate "2006-01-02" "2024-01-01") "Asia/Seoul" }}`},
			want:  "# shop/templates/a\na: 09:00\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			asked := request(testchart.Minimal(c.files))
			asked.Values = c.values
			if c.change != nil {
				c.change(asked)
			}
			if got := objects(rendered(t, asked)); got != c.want {
				t.Errorf("got:\n%s\nwanted:\n%s", got, c.want)
			}
		})
	}
}

func TestHooksNotesAndWhatIsKept(t *testing.T) {
	answer := rendered(t, request(testchart.Minimal(testchart.Files{
		"Chart.yaml":          "apiVersion: v2\nname: shop\nversion: 1.4.2\ndeprecated: true\n",
		"values.yaml":         "a: 1\nsub: {x: 1}\n",
		"crds/x.yaml":         "kind: CustomResourceDefinition\n",
		"crds/read.me":        "no manifest",
		"templates/NOTES.txt": "Thanks for {{ .Chart.Name }}.",
		"templates/hooks.yaml": "kind: Job\nmetadata: {name: late, annotations: {helm.sh/hook: 'Pre-Install, post-upgrade', " +
			"helm.sh/hook-weight: '5', helm.sh/hook-delete-policy: 'hook-succeeded,before-hook-creation', helm.sh/hook-output-log-policy: hook-failed}}\n" +
			"---\nkind: ConfigMap\nmetadata: {name: early, annotations: {helm.sh/hook: test-success, helm.sh/hook-weight: x}}\n" +
			"---\nkind: Pod\nmetadata: {name: odd, annotations: {helm.sh/hook: 'pre-install,pre-instal'}}\n",
	})))
	hooks, err := json.Marshal(answer.Hooks)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"path":"shop/templates/hooks.yaml","manifest":"kind: ConfigMap\nmetadata: {name: early, annotations: {helm.sh/hook: test-success, helm.sh/hook-weight: x}}\n",` +
		`"name":"early","kind":"ConfigMap","events":["test"],"weight":0,"deletePolicies":[],"outputLogPolicies":[]},` +
		`{"path":"shop/templates/hooks.yaml","manifest":"kind: Job\nmetadata: {name: late, annotations: {helm.sh/hook: 'Pre-Install, post-upgrade', ` +
		`helm.sh/hook-weight: '5', helm.sh/hook-delete-policy: 'hook-succeeded,before-hook-creation', helm.sh/hook-output-log-policy: hook-failed}}\n",` +
		`"name":"late","kind":"Job","events":["pre-install","post-upgrade"],"weight":5,` +
		`"deletePolicies":["hook-succeeded","before-hook-creation"],"outputLogPolicies":["hook-failed"]}]`
	if string(hooks) != want {
		t.Errorf("hooks:\n%s\nwanted:\n%s", hooks, want)
	}
	if answer.Notes != "Thanks for shop." || len(answer.Objects) != 0 {
		t.Errorf("notes %q, objects %v", answer.Notes, answer.Objects)
	}
	if len(answer.CRDs) != 1 || answer.CRDs[0].Path != "shop/crds/x.yaml" || answer.CRDs[0].Manifest != "kind: CustomResourceDefinition\n" {
		t.Errorf("CRDs %v", answer.CRDs)
	}
	warned := strings.Join(answer.Warnings, "\n")
	if warned != "chart shop is deprecated\nshop/templates/hooks.yaml: Pod/odd is dropped, as Helm does: "+
		`its helm.sh/hook names "pre-instal", which is no hook event` {
		t.Errorf("warnings:\n%s", warned)
	}
	kept, err := json.Marshal(answer.Chart)
	if err != nil {
		t.Fatal(err)
	}
	if string(kept) != `{"metadata":{"name":"shop","version":"1.4.2","apiVersion":"v2","deprecated":true},"values":{"a":1,"sub":{"x":1}}}` {
		t.Errorf("kept of the chart: %s", kept)
	}
}

func TestWarningsDoNotTellValues(t *testing.T) {
	asked := request(testchart.Minimal(testchart.Files{
		"values.yaml":           "a: {b: 1}\nc: s3cret-default\nglobal: {x: {y: s3cret}}\n",
		"charts/db/Chart.yaml":  "apiVersion: v2\nname: db\nversion: 0.1.0\n",
		"charts/db/values.yaml": "global: {x: text}\n",
	}))
	asked.Values = []protocol.Values{values("a: s3cret\nc: {d: s3cret}\nglobal: {x: {y: 's3cret (again)'}}")}
	answer := rendered(t, asked)
	warned := strings.Join(answer.Warnings, "\n")
	if strings.Contains(warned, "s3cret") || !strings.Contains(warned, "shop.c: Not a table") {
		t.Errorf("warnings:\n%s", warned)
	}
}

func TestConfigKeepsNulls(t *testing.T) {
	asked := request(testchart.Minimal(testchart.Files{"values.yaml": "a: 1\n"}))
	asked.Values = []protocol.Values{values("a: null\nb: 1000000")}
	config, err := json.Marshal(rendered(t, asked).Config)
	if err != nil || string(config) != `{"a":null,"b":1000000}` {
		t.Errorf("%s %v", config, err)
	}
}

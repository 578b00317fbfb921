package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"releaselifecycle.dev/engine/internal/protocol"
	"releaselifecycle.dev/engine/internal/testchart"
)

// With this in its environment the test binary is the engine.
const asEngine = "TEST_AS_ENGINE"

func TestMain(m *testing.M) {
	if os.Getenv(asEngine) != "" {
		main()
	}
	os.Exit(m.Run())
}

// child is a running engine.
type child struct {
	t       *testing.T
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	log     bytes.Buffer
}

func start(t *testing.T, args ...string) *child {
	t.Helper()
	c := &child{t: t, command: exec.Command(os.Args[0], args...)}
	c.command.Env = []string{asEngine + "=1"}
	c.command.Stderr = &c.log
	in, err := c.command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.command.Start(); err != nil {
		t.Fatal(err)
	}
	c.in, c.out = in, bufio.NewReader(out)
	return c
}

func (c *child) send(message any) {
	c.t.Helper()
	line, isText := message.(string)
	if !isText {
		data, err := json.Marshal(message)
		if err != nil {
			c.t.Error(err)
		}
		line = string(data)
	}
	// A child that has died says more by how it did.
	_, _ = io.WriteString(c.in, line+"\n")
}

// receive is empty at the end.
func (c *child) receive() (out protocol.Out) {
	c.t.Helper()
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return protocol.Out{}
	}
	if err := json.Unmarshal(line, &out); err != nil || out.V != 1 {
		c.t.Errorf("%s: %v", line, err)
	}
	return out
}

// end closes the input and returns how the child ended.
func (c *child) end() *os.ProcessState {
	c.t.Helper()
	_ = c.in.Close()
	_, _ = io.Copy(io.Discard, c.out)
	_ = c.command.Wait()
	return c.command.ProcessState
}

func asking(files testchart.Files, cluster bool) *protocol.In {
	return &protocol.In{V: 1, Render: &protocol.Render{
		Chart:   testchart.Minimal(files).Pack("shop"),
		Release: protocol.Release{Name: "my", Namespace: "prod", Revision: 1},
		Cluster: cluster,
	}}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"rander"}, {"render", "--no"}, {"render", "x"}, {"pull", "x"}} {
		var log bytes.Buffer
		if code := run(args, strings.NewReader(""), io.Discard, &log); code != exitUsage || !strings.Contains(log.String(), "usage") {
			t.Errorf("%v: %d %s", args, code, log.String())
		}
	}
}

func TestRequestsThatAreNone(t *testing.T) {
	for _, c := range []struct{ mode, line, words string }{
		{"render", `{"v":1}`, "not a request to render"},
		{"render", `{"v":1,"found":null}`, "no lookup is open"},
		{"render", `{"v":1,"pull":{}}`, "not a request to render"},
		{"render", `{"v":1,"evaluate":{"checks":[]},"render":{}}`, "one thing"},
		{"render", `{"v":1,"evaluate":{"checks":[]},"pull":{}}`, "one thing"},
		{"pull", `{"v":1,"evaluate":{"checks":[]}}`, "not a request to pull"},
		{"render", `{"v":1,"render":{"release":{"name":"a","namespace":"b","revision":1}}}`, "exactly one of chart and folder"},
		{"render", `{"v":1,"render":{"folder":"/x","release":{"name":"a","namespace":"b","revision":1}}}`, "without --files"},
		{"render", `{"v":1,"render":{"chart":"eA==","release":{"name":"a","namespace":"b"}}}`, "revision"},
		{"render", `{"v":1,"render":{"chart":"eA==","release":{}},"failed":"x"}`, "several"},
		{"pull", `{"v":1,"render":{"release":{}}}`, "not a request to pull"},
		{"pull", `{"v":1,"pull":{}}`, "exactly one of oci"},
		{"pull", `{"v":3}`, "version 1"},
	} {
		engine := start(t, c.mode)
		engine.send(c.line)
		answer := engine.receive()
		if answer.Error == nil || answer.Error.Kind != protocol.BadRequest || !strings.Contains(answer.Error.Message, c.words) {
			t.Errorf("%s: %+v, wanted %q", c.line, answer.Error, c.words)
		}
		if state := engine.end(); state.ExitCode() != exitDone {
			t.Errorf("%s: %s: %s", c.line, state, engine.log.String())
		}
	}
}

func TestAWarmProcess(t *testing.T) {
	engine := start(t, "render")
	for i := range 3 {
		engine.send(asking(testchart.Files{"templates/a": fmt.Sprintf("a: %d", i)}, false))
		if answer := engine.receive(); answer.Rendered == nil || answer.Rendered.Objects[0].Manifest != fmt.Sprintf("a: %d", i) {
			t.Fatalf("%d: %+v", i, answer)
		}
		// What fails for one release leaves no trace for the next.
		engine.send(asking(testchart.Files{"templates/a": "{{ fail \"x\" }}"}, false))
		if answer := engine.receive(); answer.Error == nil || answer.Error.Kind != protocol.TemplateError {
			t.Fatalf("%d: %+v", i, answer)
		}
	}
	if state := engine.end(); state.ExitCode() != exitDone || engine.log.Len() > 0 {
		t.Errorf("%s: %s", state, engine.log.String())
	}
}

func TestFolders(t *testing.T) {
	folder := t.TempDir()
	for name, text := range testchart.Minimal(testchart.Files{"a.yaml": "a: 1"}) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	engine := start(t, "render", "--files")
	asked := asking(nil, false)
	asked.Render.Chart, asked.Render.Folder = nil, folder
	engine.send(asked)
	if answer := engine.receive(); answer.Rendered == nil || len(answer.Rendered.Objects) != 0 {
		t.Errorf("%+v", answer)
	}
	asked.Render.Path = "x"
	engine.send(asked)
	if answer := engine.receive(); answer.Error == nil || answer.Error.Kind != protocol.BadRequest {
		t.Errorf("%+v", answer)
	}
	engine.end()
}

func TestLookupDialoguesAtOnce(t *testing.T) {
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			engine := start(t, "render")
			asked := asking(testchart.Files{"templates/a": fmt.Sprintf(
				`a: {{ range $i := until 50 }}{{ (lookup "v1" "ConfigMap" "n%d" (toString $i)).data.x }} {{ end }}`, i)}, true)
			engine.send(asked)
			want := "a: "
			for j := range 50 {
				question := engine.receive().Lookup
				if question == nil || *question != (protocol.Lookup{
					APIVersion: "v1", Kind: "ConfigMap", Namespace: fmt.Sprintf("n%d", i), Name: fmt.Sprint(j),
				}) {
					t.Errorf("%d: question %d is %v", i, j, question)
					break
				}
				engine.send(fmt.Sprintf(`{"v":1,"found":{"apiVersion":"v1","kind":"ConfigMap","data":{"x":"%d-%d"}}}`, i, j))
				want += fmt.Sprintf("%d-%d ", i, j)
			}
			if answer := engine.receive(); answer.Rendered == nil || answer.Rendered.Objects[0].Manifest != want {
				t.Errorf("%d: %+v", i, answer)
			}
			engine.end()
		})
	}
	all.Wait()
}

func TestLookupsThatGetNoAnswer(t *testing.T) {
	asks := asking(testchart.Files{"templates/a": `a: {{ lookup "v1" "Secret" "a" "b" }}`}, true)
	for line, code := range map[string]int{
		`{"v":1,"failed":"forbidden"}`: exitDone,
		`{"v":1}`:                      exitConnection,
		`{"v":1,"found":null,"failed":"forbidden"}`: exitConnection,
		`{"v":1,"pull":{}}`:                         exitConnection,
		`nonsense`:                                  exitConnection,
	} {
		engine := start(t, "render")
		engine.send(asks)
		if engine.receive().Lookup == nil {
			t.Fatal("no question")
		}
		engine.send(line)
		if answer := engine.receive(); (code == exitDone) != (answer.Error != nil) {
			t.Errorf("%s: %+v", line, answer)
		}
		if state := engine.end(); state.ExitCode() != code {
			t.Errorf("%s: %s: %s", line, state, engine.log.String())
		}
	}
}

func TestTemplatesThatTakeTooMuch(t *testing.T) {
	for name, c := range map[string]struct {
		template string
		ended    func(syscall.WaitStatus) bool
	}{
		"time": {
			`{{ range $i := until 100000 }}{{ range $j := until 100000 }}{{ sha256sum "x" | trunc 0 }}{{ end }}{{ end }}`,
			func(status syscall.WaitStatus) bool { return status.Signaled() && status.Signal() == syscall.SIGXCPU },
		},
		"memory": {
			`{{ $x := "0123456789" }}{{ range until 40 }}{{ $x = printf "%s%s" $x $x }}{{ end }}a: {{ $x }}`,
			func(status syscall.WaitStatus) bool { return status.ExitStatus() == 2 },
		},
		"memory, at once": {
			`a: {{ repeat 2000000000 "x" }}`,
			func(status syscall.WaitStatus) bool { return status.ExitStatus() == 2 },
		},
		"memory, some times the limit": {
			`a: {{ repeat 300000000 "x" }}`,
			func(status syscall.WaitStatus) bool { return status.ExitStatus() == 2 },
		},
		"a network": {`a: {{ getHostByName "example.com" }}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			started := time.Now()
			seconds := "60" // A machine under load must not end what is to run out of memory.
			if name == "time" {
				seconds = "2"
			}
			engine := start(t, "render", "--memory-bytes", fmt.Sprint(128<<20), "--cpu-seconds", seconds)
			engine.send(asking(testchart.Files{"templates/a": c.template}, false))
			answer := engine.receive()
			state := engine.end()
			if c.ended == nil {
				if answer.Rendered == nil || answer.Rendered.Objects[0].Manifest != "a: " {
					t.Errorf("%+v", answer)
				}
				return
			}
			if answer.Rendered != nil || answer.Error != nil || !c.ended(state.Sys().(syscall.WaitStatus)) {
				t.Errorf("%s after %v: %s", state, answer, engine.log.String())
			}
			// A process inherits the peak of the one that started it.
			var own syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &own)
			if peak := state.SysUsage().(*syscall.Rusage).Maxrss; peak > max(256<<10, own.Maxrss) {
				t.Errorf("%d KiB were used", peak)
			}
			if took := time.Since(started); took > 2*time.Minute {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestTheCPULimitIsPerRequest(t *testing.T) {
	engine := start(t, "render", "--cpu-seconds", "2")
	// Each some tenths of a second, together more than the limit.
	busy := asking(testchart.Files{"templates/a": `a: {{ range until 100000 }}{{ sha256sum "x" | trunc 0 }}{{ end }}`}, false)
	for used := time.Duration(0); used < 3*time.Second; used = cpuTime(t, engine.command.Process.Pid) {
		engine.send(busy)
		if answer := engine.receive(); answer.Rendered == nil {
			t.Fatalf("after %s: %+v: %s: %s", used, answer, engine.end(), engine.log.String())
		}
	}
	if state := engine.end(); state.ExitCode() != exitDone {
		t.Errorf("%s: %s", state, engine.log.String())
	}
}

// cpuTime is what a running process has used.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// After the program's name in brackets: the 14th and 15th field, in hundredths
	// of a second.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks [2]int
	for i, field := range fields[11:13] {
		if ticks[i], err = strconv.Atoi(field); err != nil {
			t.Fatal(err)
		}
	}
	return time.Duration(ticks[0]+ticks[1]) * 10 * time.Millisecond
}

// In the sandbox, where no file can be opened and memory is limited.
func TestEvaluating(t *testing.T) {
	engine := start(t, "render")
	request := &protocol.In{V: 1, Evaluate: &protocol.Evaluate{
		Checks: []protocol.HealthCheck{{Current: "status.phase == 'Ready'"}, {Current: "status.phase = 1"}},
		Objects: []protocol.Checked{
			{Check: 0, Object: json.RawMessage(`{"status":{"phase":"Ready"}}`)},
			{Check: 0, Object: json.RawMessage(`{"status":{"phase":"Busy"}}`)},
		},
	}}
	for range 2 {
		engine.send(request)
		got := engine.receive().Evaluated
		if got == nil || len(got.Invalid) != 1 || got.Invalid[0].Check != 1 || got.Invalid[0].Field != "current" ||
			len(got.Verdicts) != 2 || got.Verdicts[0].Verdict != protocol.Current || got.Verdicts[1].Verdict != protocol.InProgress {
			t.Fatalf("%+v %s", got, engine.log.String())
		}
	}
	// Charts are rendered by the same process.
	engine.send(asking(testchart.Files{}, false))
	if engine.receive().Rendered == nil {
		t.Error(engine.log.String())
	}
	if state := engine.end(); !state.Success() {
		t.Error(state, engine.log.String())
	}
}

// What one operation makes at once is found by no limit of the language: the process ends.
func TestAnExpressionThatWantsMemory(t *testing.T) {
	text := strings.Repeat("a", 1<<20)
	engine := start(t, "render", "--memory-bytes=268435456")
	engine.send(&protocol.In{V: 1, Evaluate: &protocol.Evaluate{
		Checks:  []protocol.HealthCheck{{Current: "text.replace('a', text) == ''"}},
		Objects: []protocol.Checked{{Object: json.RawMessage(`{"text":"` + text + `"}`)}},
	}})
	if got := engine.receive(); got.Evaluated != nil {
		t.Errorf("%+v", got.Evaluated)
	}
	if code := engine.end().ExitCode(); code != 2 {
		t.Error(code, engine.log.String())
	}
}

package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	golog "log"

	"releaselifecycle.dev/engine/internal/health"
	"releaselifecycle.dev/engine/internal/protocol"
	"releaselifecycle.dev/engine/internal/pull"
	"releaselifecycle.dev/engine/internal/render"
	"releaselifecycle.dev/engine/internal/sandbox"
)

// Exit codes. With 2 Go's runtime ends a process that is out of memory or stack;
// one that is out of CPU time dies of SIGXCPU.
const (
	exitDone       = 0
	exitConnection = 1
	exitUnconfined = 3
	exitUsage      = 64
)

const usage = `usage: releaselifecycle-engine render [--memory-bytes N] [--cpu-seconds N] [--files]
       releaselifecycle-engine pull [--memory-bytes N] [--cpu-seconds N]
Requests are read from standard input; see the README of the engine.
`

func run(args []string, in io.Reader, out, log io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(log, usage)
		return exitUsage
	}
	flags := flag.NewFlagSet("releaselifecycle-engine", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.Usage = func() { fmt.Fprint(log, usage) }
	parsed := func() bool {
		if err := flags.Parse(args[1:]); err != nil {
			return false // The package flag has said why.
		}
		if flags.NArg() > 0 {
			flags.Usage()
		}
		return flags.NArg() == 0
	}
	conn := protocol.NewConn(in, out)
	var err error
	switch args[0] {
	case "render":
		var mode renderMode
		flags.BoolVar(&mode.files, "files", false, "requests may name folders; no sandbox")
		flags.Uint64Var(&mode.memoryBytes, "memory-bytes", 512<<20, "memory of the process; 0: no limit")
		flags.Uint64Var(&mode.cpuSeconds, "cpu-seconds", 30, "CPU time of a request; 0: no limit")
		if !parsed() {
			return exitUsage
		}
		limits := sandbox.Limits{MemoryBytes: mode.memoryBytes, CPUSeconds: mode.cpuSeconds, Files: mode.files}
		if err := sandbox.Enter(limits); err != nil {
			fmt.Fprintf(log, "releaselifecycle-engine: not confined, so nothing is rendered: %s\n", err)
			return exitUnconfined
		}
		err = mode.serve(conn)
	case "pull":
		var mode pullMode
		flags.Uint64Var(&mode.memoryBytes, "memory-bytes", 160<<20, "memory of the process; 0: no limit")
		flags.Uint64Var(&mode.cpuSeconds, "cpu-seconds", 30, "CPU time of a request; 0: no limit")
		if !parsed() {
			return exitUsage
		}
		// All that it reads of files: from then on it has only the network.
		mode.machine = pull.ReadMachine()
		limits := sandbox.Limits{MemoryBytes: mode.memoryBytes, CPUSeconds: mode.cpuSeconds, Network: true}
		if err := sandbox.Enter(limits); err != nil {
			fmt.Fprintf(log, "releaselifecycle-engine: not confined, so nothing is fetched: %s\n", err)
			return exitUnconfined
		}
		// Go's HTTP client logs what servers say out of turn.
		golog.SetOutput(io.Discard)
		err = mode.serve(conn)
	default:
		fmt.Fprint(log, usage)
		return exitUsage
	}
	if err != nil {
		fmt.Fprintf(log, "releaselifecycle-engine: %s\n", err)
		return exitConnection
	}
	return exitDone
}

// renderMode answers requests to render, and to evaluate health checks: both are programs of a tenant.
type renderMode struct {
	files       bool
	memoryBytes uint64
	cpuSeconds  uint64
}

func (m *renderMode) serve(conn *protocol.Conn) error {
	return serve(conn, func(message *protocol.In) (*protocol.Out, error) {
		if problem := m.check(message); problem != nil {
			return nil, problem
		}
		if message.Evaluate != nil {
			return evaluate(message.Evaluate, m.cpuSeconds)
		}
		if err := sandbox.AllowCPU(m.cpuSeconds); err != nil {
			return nil, err
		}
		rendered, err := render.Render(message.Render, func(lookup protocol.Lookup) (json.RawMessage, *string, error) {
			return ask(conn, lookup)
		})
		return &protocol.Out{Rendered: rendered}, err
	})
}

// evaluateSeconds is the CPU time of a request to evaluate: its own limits are below a second.
const evaluateSeconds = 5

func evaluate(request *protocol.Evaluate, most uint64) (*protocol.Out, error) {
	if most == 0 || most > evaluateSeconds {
		most = evaluateSeconds
	}
	if err := sandbox.AllowCPU(most); err != nil {
		return nil, err
	}
	evaluated, err := health.Evaluate(request)
	return &protocol.Out{Evaluated: evaluated}, err
}

func (m *renderMode) check(message *protocol.In) *protocol.Error {
	request := message.Render
	others := message.Pull != nil || message.Found != nil || message.Failed != nil
	switch {
	case message.Evaluate != nil && request == nil && !others:
		return nil
	case request == nil && message.Evaluate == nil:
		return protocol.Errorf(protocol.BadRequest, "not a request to render, and no lookup is open")
	case others || message.Evaluate != nil:
		return protocol.Errorf(protocol.BadRequest, "a message says one thing, this one several")
	case request.Folder != "" && !m.files:
		return protocol.Errorf(protocol.BadRequest, "folder: this engine reads no files; it was started without --files")
	case (request.Folder == "") == (len(request.Chart) == 0):
		return protocol.Errorf(protocol.BadRequest, "exactly one of chart and folder")
	case request.Folder != "" && request.Path != "":
		return protocol.Errorf(protocol.BadRequest, "path is for a chart in an archive; name the folder itself")
	case request.Release.Name == "" || request.Release.Namespace == "" || request.Release.Revision < 1:
		return protocol.Errorf(protocol.BadRequest, "release: name, namespace and a revision from 1 are needed")
	}
	return nil
}

// pullMode answers requests to fetch a chart.
type pullMode struct {
	machine     *pull.Machine
	memoryBytes uint64
	cpuSeconds  uint64
}

func (m *pullMode) serve(conn *protocol.Conn) error {
	return serve(conn, func(message *protocol.In) (*protocol.Out, error) {
		if message.Pull == nil || message.Render != nil || message.Evaluate != nil || message.Found != nil || message.Failed != nil {
			problem := protocol.Errorf(protocol.BadRequest, "not a request to pull, and nothing else")
			problem.Transient = new(bool)
			return nil, problem
		}
		if err := sandbox.AllowCPU(m.cpuSeconds); err != nil {
			return nil, err
		}
		pulled, problem := m.machine.Pull(message.Pull)
		if problem != nil {
			return nil, problem
		}
		return &protocol.Out{Pulled: pulled}, nil
	})
}

// ask puts a question to the other end in the middle of a request.
func ask(conn *protocol.Conn, lookup protocol.Lookup) (json.RawMessage, *string, error) {
	if err := conn.Write(&protocol.Out{Lookup: &lookup}); err != nil {
		return nil, nil, err
	}
	answer, err := conn.Read()
	switch {
	case err != nil:
		// Whatever follows could be the answer to anything.
		return nil, nil, fmt.Errorf("the answer to a lookup: %v", err)
	case answer.Render != nil || answer.Pull != nil || answer.Evaluate != nil || (answer.Found == nil) == (answer.Failed == nil):
		return nil, nil, errors.New("the answer to a lookup is neither found nor failed")
	}
	return answer.Found, answer.Failed, nil
}

// serve answers requests until there are no more. What is wrong with a request is
// its answer; what is wrong with the connection ends the process.
func serve(conn *protocol.Conn, answer func(*protocol.In) (*protocol.Out, error)) error {
	for {
		message, err := conn.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var out *protocol.Out
		if err == nil {
			out, err = answer(message)
		}
		var problem *protocol.Error
		if errors.As(err, &problem) {
			out, err = &protocol.Out{Error: problem}, nil
		}
		if err != nil {
			return err
		}
		if err := conn.Write(out); err != nil {
			return err
		}
	}
}

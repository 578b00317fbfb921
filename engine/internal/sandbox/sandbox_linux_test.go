package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// The tests run this binary again as a confined child, whose environment names
// what it tries. It says what came of it on its standard output.
const trial = "SANDBOX_TRIAL"

func TestMain(m *testing.M) {
	if cgo {
		fmt.Println("these tests, like the program, are built with CGO_ENABLED=0")
		os.Exit(1)
	}
	name, network := strings.CutPrefix(os.Getenv(trial), "network: ")
	if name == "" {
		os.Exit(m.Run())
	}
	limits := Limits{MemoryBytes: 256 << 20, CPUSeconds: 1, Files: name == "files" || name == "core", Network: network}
	if network {
		// As the engine does: Go tries once whether there is IPv6.
		if socket, err := net.ListenPacket("udp", ":0"); err == nil {
			_ = socket.Close()
		}
	}
	if err := Enter(limits); err != nil {
		fmt.Println("not confined:", err)
		os.Exit(3)
	}
	if err := AllowCPU(1); err != nil {
		fmt.Println("no CPU limit:", err)
		os.Exit(3)
	}
	fmt.Println(trials[name](os.Getenv("SANDBOX_TARGET")))
}

// trials are what a child tries; the answers are for a person to read.
var trials = map[string]func(target string) any{
	"dial": func(target string) any { _, err := net.DialTimeout("tcp", target, time.Second); return err },
	"resolve": func(string) any {
		_, err := net.LookupHost("example.com")
		return err
	},
	"names": func(target string) any {
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, target)
		}}
		found, err := resolver.LookupNetIP(context.Background(), "ip", "charts.example.")
		return fmt.Sprint(found, err)
	},
	"listen": func(string) any { _, err := net.Listen("tcp", "127.0.0.1:0"); return err },
	"unix":   func(target string) any { _, err := net.Dial("unix", target); return err },
	"read":   func(target string) any { _, err := os.ReadFile(target); return err },
	"write":  func(target string) any { return os.WriteFile(target+".new", nil, 0o600) },
	"exec": func(string) any {
		return exec.Command("/proc/self/exe").Run()
	},
	"raw": func(string) any {
		_, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
		return err
	},
	"attach": func(string) any {
		socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Sprint("no socket: ", err)
		}
		return unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, 0)
	},
	"parent": func(string) any {
		_, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", os.Getppid()))
		return err
	},
	"give way": func(string) any {
		// Read by the parent: here there are no files.
		_, _ = io.ReadFull(os.Stdin, make([]byte, 1))
		return nil
	},
	"replace": func(string) any { return syscall.Exec("/bin/true", []string{"true"}, nil) },
	"fork": func(string) any {
		_, _, errno := syscall.RawSyscall(unix.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0)
		return errno
	},
	"ptrace": func(string) any { return syscall.PtraceAttach(os.Getppid()) },
	"kill":   func(string) any { return syscall.Kill(os.Getppid(), 0) },
	"limit": func(string) any {
		return unix.Prlimit(os.Getppid(), unix.RLIMIT_CORE, nil, new(unix.Rlimit))
	},
	"mount": func(target string) any { return syscall.Mount("none", target, "tmpfs", 0, "") },
	"bpf":   func(string) any { _, _, errno := syscall.Syscall(unix.SYS_BPF, 0, 0, 0); return errno },
	"iouring": func(string) any {
		_, _, errno := syscall.Syscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
		return errno
	},
	"code": func(string) any {
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
		return err
	},
	"threads": func(target string) any {
		// Threads that are started later are confined as well.
		errs := make(chan error)
		for range 8 {
			go func() {
				runtime.LockOSThread()
				_, err := os.ReadFile(target)
				errs <- err
			}()
		}
		for range 8 {
			if err := <-errs; !errors.Is(err, unix.EPERM) {
				return fmt.Sprintf("a thread read the file: %v", err)
			}
		}
		return unix.EPERM
	},
	"files": func(target string) any {
		data, err := os.ReadFile(target)
		return fmt.Sprintf("%s %v", data, err)
	},
	"core": func(string) any {
		var core unix.Rlimit
		err := unix.Getrlimit(unix.RLIMIT_CORE, &core)
		privileges, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
		return fmt.Sprintf("core %d no_new_privs %d %v", core.Max, privileges, err)
	},
	"memory": func(string) any {
		var kept [][]byte
		for range 64 {
			block := make([]byte, 16<<20)
			for i := range block {
				block[i] = 1
			}
			kept = append(kept, block)
		}
		return len(kept)
	},
	"stack": func(string) any {
		var recurse func(int) int
		recurse = func(n int) int { return recurse(n+1) + 1 }
		return recurse(0)
	},
	"cpu": func(string) any {
		n := 0
		for start := time.Now(); time.Since(start) < time.Minute; {
			n++
		}
		return n
	},
	"cpu, signal notified": func(string) any {
		// Not even a handler of the program would help it.
		signal.Reset(unix.SIGXCPU)
		for start := time.Now(); time.Since(start) < time.Minute; {
			runtime.Gosched()
		}
		return nil
	},
	"work": func(string) any {
		// What is allowed: memory, the collector, threads, timers, random numbers.
		done := make(chan int)
		for range 4 {
			go func() {
				time.Sleep(time.Millisecond)
				done <- len(bytes.Repeat([]byte("x"), 8<<20))
			}()
		}
		sum := 0
		for range 4 {
			sum += <-done
		}
		runtime.GC()
		return sum
	},
}

// attempt runs a trial and returns what it printed and how it ended.
func attempt(t *testing.T, name, target string) (said string, state *os.ProcessState) {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = []string{trial + "=" + name, "SANDBOX_TARGET=" + target}
	var out, log bytes.Buffer
	command.Stdout, command.Stderr = &out, &log
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String() + firstLine(&log)), command.ProcessState
}

func firstLine(r *bytes.Buffer) string {
	line, err := r.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err.Error()
	}
	return line
}

func TestTheSandboxRefuses(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	folder := t.TempDir()
	secret := filepath.Join(folder, "token")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", filepath.Join(folder, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	targets := map[string]string{
		"dial": listener.Addr().String(), "unix": socket.Addr().String(), "mount": folder,
		"read": secret, "write": secret, "threads": secret,
	}
	always := []string{
		"unix", "listen", "read", "write", "exec", "replace", "fork", "ptrace", "kill",
		"limit", "mount", "bpf", "iouring", "code", "threads", "raw", "parent",
	}
	names := append([]string{"dial", "resolve"}, always...)
	for _, name := range append(always, "attach") {
		targets["network: "+name] = targets[name]
		names = append(names, "network: "+name)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			said, state := attempt(t, name, targets[name])
			if !state.Success() || !strings.Contains(said, "operation not permitted") {
				t.Errorf("%s: %q, wanted: operation not permitted", state, said)
			}
		})
	}
	if _, err := os.Stat(secret + ".new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was written: %v", err)
	}
}

// The filter names system calls; one that another architecture does not have would
// keep the engine from starting there.
func TestTheFilterFitsOtherMachines(t *testing.T) {
	for _, machine := range []*arch.Info{arch.X86_64, arch.AARCH64} {
		for _, name := range slices.Concat(allowed, connected) {
			if _, there := machine.SyscallNames[name]; !there {
				t.Errorf("%s has no %s", machine.Name, name)
			}
		}
		for _, call := range conditions(true) {
			if _, there := machine.SyscallNames[call.Name]; !there {
				t.Errorf("%s has no %s", machine.Name, call.Name)
			}
		}
	}
}

func TestTheSandboxAllowsWork(t *testing.T) {
	if said, state := attempt(t, "work", ""); said != "33554432" || !state.Success() {
		t.Errorf("%s: %q", state, said)
	}
}

func TestWhatFetchesMayConnect(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if said, state := attempt(t, "network: dial", listener.Addr().String()); said != "<nil>" || !state.Success() {
		t.Errorf("%s: %q", state, said)
	}
}

// A server of names: charts.example is 10.0.0.7. Over UDP it answers that the answer is
// too long, on request.
func nameServer(t *testing.T, truncate bool) string {
	t.Helper()
	answer := func(query []byte, truncated byte) []byte {
		end := 12
		for query[end] != 0 {
			end += int(query[end]) + 1
		}
		end += 5
		isA := query[end-3] == 1
		reply := append([]byte{query[0], query[1], 0x81 | truncated, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, query[12:end]...)
		if isA && truncated == 0 {
			reply[7] = 1
			reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 7)
		}
		return reply
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = udp.Close(), tcp.Close() })
	go func() {
		for buffer := make([]byte, 2000); ; {
			count, from, err := udp.ReadFrom(buffer)
			if err != nil {
				return
			}
			var truncated byte
			if truncate {
				truncated = 2
			}
			_, _ = udp.WriteTo(answer(buffer[:count], truncated), from)
		}
	}()
	go func() {
		for {
			connection, err := tcp.Accept()
			if err != nil {
				return
			}
			buffer := make([]byte, 2000)
			if count, err := connection.Read(buffer); err == nil && count > 2 {
				reply := answer(buffer[2:count], 0)
				_, _ = connection.Write(append([]byte{0, byte(len(reply))}, reply...))
			}
			_ = connection.Close()
		}
	}()
	return udp.LocalAddr().String()
}

func TestWhatFetchesResolvesNames(t *testing.T) {
	for _, truncate := range []bool{false, true} {
		said, state := attempt(t, "network: names", nameServer(t, truncate))
		if said != "[10.0.0.7] <nil>" || !state.Success() {
			t.Errorf("truncated %t: %s: %q", truncate, state, said)
		}
	}
}

// Whoever started it goes first.
func TestTheOperatorGoesFirst(t *testing.T) {
	for name, nice := range map[string]string{"give way": "5", "network: give way": "0"} {
		command := exec.Command(os.Args[0])
		command.Env = []string{trial + "=" + name}
		in, err := command.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		process := fmt.Sprintf("/proc/%d/", command.Process.Pid)
		is := func() string {
			score, _ := os.ReadFile(process + "oom_score_adj")
			// After the name, which may hold anything: the 17th.
			stat, _ := os.ReadFile(process + "stat")
			_, rest, _ := strings.Cut(string(stat), ") ")
			fields := append(strings.Fields(rest), make([]string, 17)...)
			return strings.TrimSpace(string(score)) + " " + fields[16]
		}
		for range 200 {
			if is() == "1000 "+nice {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if got := is(); got != "1000 "+nice {
			t.Errorf("%s: %s, wanted 1000 %s", name, got, nice)
		}
		_, _ = in.Write([]byte("x"))
		if err := command.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestFilesAreReadWithFilesOnly(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "values")
	if err := os.WriteFile(secret, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, _ := attempt(t, "files", secret); said != "mine <nil>" {
		t.Errorf("with files: %q", said)
	}
	if said, _ := attempt(t, "core", ""); said != "core 0 no_new_privs 1 <nil>" {
		t.Errorf("with files: %q", said)
	}
}

func TestMemoryIsLimited(t *testing.T) {
	started := time.Now()
	said, state := attempt(t, "memory", "")
	// Its words differ with what could not be allocated: mostly "out of memory".
	if state.ExitCode() != 2 {
		t.Errorf("%s: %q, wanted: ended by Go's runtime", state, said)
	}
	if peak := state.SysUsage().(*syscall.Rusage).Maxrss; peak > 300<<10 {
		t.Errorf("a limit of 256 MiB, and %d KiB were used", peak)
	}
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestStacksAreLimited(t *testing.T) {
	said, state := attempt(t, "stack", "")
	if state.ExitCode() != 2 || !strings.Contains(said, "stack exceeds") {
		t.Errorf("%s: %q, wanted: a stack that exceeds its limit", state, said)
	}
}

func TestCPUTimeIsLimited(t *testing.T) {
	for _, name := range []string{"cpu", "cpu, signal notified"} {
		said, state := attempt(t, name, "")
		status := state.Sys().(syscall.WaitStatus)
		if !status.Signaled() || status.Signal() != unix.SIGXCPU || status.CoreDump() {
			t.Errorf("%s: %s: %q, wanted: ended by SIGXCPU without a core", name, state, said)
		}
		if used := state.UserTime() + state.SystemTime(); used > 4*time.Second {
			t.Errorf("%s: a limit of one second, and %s were used", name, used)
		}
	}
}

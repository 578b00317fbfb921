package sandbox

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// Enter confines the process. After an error it may be half confined, and must not
// serve anybody.
func Enter(limits Limits) error {
	if err := harden(); err != nil {
		return err
	}
	// A fixed number, so that the runtime reads no files to find a better one; and a
	// small one, since these processes share the operator's part of the machine.
	runtime.GOMAXPROCS(1)
	if err := giveWay(limits); err != nil {
		return err
	}
	if limits.MemoryBytes > 0 {
		if err := limitMemory(limits.MemoryBytes); err != nil {
			return err
		}
	}
	if limits.CPUSeconds > 0 {
		if err := dieOfSIGXCPU(); err != nil {
			return err
		}
	}
	if limits.Files {
		return nil
	}
	if cgo {
		// The C library starts threads in its own ways, which are not allowed for.
		return errors.New("this program was built with cgo; build it with CGO_ENABLED=0")
	}
	return forbid(limits.Network)
}

// giveWay puts the process behind the operator, which started it and has to live on:
// of all processes the kernel ends this one first if memory is short, and what renders
// computes after it.
func giveWay(limits Limits) error {
	// Where that cannot be written, the limit of memory is what remains.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	if limits.Files || limits.Network || cgo {
		return nil
	}
	// A third of what the operator gets, where both want a processor. The lowest would be
	// a hundredth, and on a busy machine of a person a chart would never be done.
	const nice = 5
	// Of each thread, and with it of those that it starts.
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, nice); errno != 0 {
		return fmt.Errorf("lowering the priority: %w", errno)
	}
	return nil
}

// harden is for every mode: no core, which would hold a tenant's values, and no
// way to more rights than the process has.
func harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbidding core files: %w", err)
	}
	// Of this thread, and with it of those that it starts. The filter sets it on
	// all threads.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	return nil
}

// limitMemory bounds private memory, and the address space to what Go's runtime has
// reserved by now and as much again. The second is needed: Linux does not count a
// mapping that replaces a reservation (mm/vma.c, may_expand_vm), which is how Go gets
// its heap, so that RLIMIT_DATA alone lets one allocation of any size pass.
func limitMemory(bytes uint64) error {
	reserved, err := addressSpace()
	if err != nil {
		return fmt.Errorf("reading the size of the address space: %w", err)
	}
	// Go reserves its heap in arenas of 64 MiB (runtime/malloc.go, heapArenaBytes).
	const arena = 64 << 20
	for resource, most := range map[int]uint64{
		unix.RLIMIT_DATA: bytes,
		unix.RLIMIT_AS:   reserved + bytes + arena,
	} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("limiting memory to %d bytes: %w", bytes, err)
		}
	}
	soft := int64(min(bytes/4*3, math.MaxInt64))
	// Near this the collector works harder instead of the process dying.
	debug.SetMemoryLimit(soft)
	// Recursion that does not end should not take all of it.
	debug.SetMaxStack(int(min(bytes/4, 256<<20)))
	return nil
}

// addressSpace is how many bytes this process has mapped or reserved (proc_pid_statm(5)).
func addressSpace() (uint64, error) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(statm), " ")
	pages, err := strconv.ParseUint(first, 10, 64)
	return pages * uint64(os.Getpagesize()), err
}

// dieOfSIGXCPU makes the kernel end the process when its CPU time is used up. Go's
// runtime would ignore the signal.
func dieOfSIGXCPU() error {
	// SIG_DFL, no flags, no mask: all zero, larger than the structure of any
	// architecture.
	var action [64]byte
	const sigsetSize = 8
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGXCPU),
		uintptr(unsafe.Pointer(&action)), 0, sigsetSize, 0, 0)
	if errno != 0 {
		return fmt.Errorf("restoring SIGXCPU: %w", errno)
	}
	return nil
}

// AllowCPU lets the process use that many more seconds of CPU time. The hard limit
// stays: it could not be raised again for the next request.
func AllowCPU(seconds uint64) error {
	if seconds == 0 {
		return nil
	}
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return fmt.Errorf("reading the CPU time used: %w", err)
	}
	used := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	var limit unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_CPU, nil, &limit); err != nil {
		return fmt.Errorf("reading the limit of CPU time: %w", err)
	}
	limit.Cur = min(uint64(math.Ceil(used.Seconds()))+seconds, limit.Max)
	if err := unix.Prlimit(0, unix.RLIMIT_CPU, &limit, nil); err != nil {
		return fmt.Errorf("limiting CPU time: %w", err)
	}
	return nil
}

// allowed is what Go's runtime needs to compute, and to read and write what is
// open already. Everything else fails with EPERM: opening files, sockets,
// programs, other processes, mounts, and whatever a later kernel brings.
var allowed = []string{
	"read", "write", "close",
	"munmap", "madvise", "mincore", "brk",
	"futex", "sched_yield", "sched_getaffinity", "nanosleep", "clock_nanosleep", "clock_gettime", "restart_syscall",
	"epoll_create1", "epoll_ctl", "epoll_pwait", "eventfd2",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
	"setitimer", "timer_create", "timer_settime", "timer_delete",
	"getpid", "gettid", "getrandom", "getrusage",
	"exit", "exit_group",
}

// connected are what else Go needs to be a client of TCP and of name servers: nothing
// that listens, and no way to hand a file from one process to another.
var connected = []string{"connect", "getsockname", "getpeername", "shutdown"}

// options are those of sockets that Go sets.
var options = [][2]uint64{
	{unix.SOL_SOCKET, unix.SO_BROADCAST}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE},
	{unix.IPPROTO_TCP, unix.TCP_NODELAY}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT},
	{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY},
}

func is(argument uint32, value uint64) seccomp.Condition {
	return seccomp.Condition{Argument: argument, Operation: seccomp.Equal, Value: value}
}

// conditions are the calls that are allowed with some arguments only; of several for
// one call one has to hold.
func conditions(network bool) []seccomp.NameWithConditions {
	pid := uint64(os.Getpid())
	all := []seccomp.NameWithConditions{
		// Memory, but none that code can be put into.
		{Name: "mmap", Conditions: seccomp.ArgumentConditions{
			{Argument: 2, Operation: seccomp.BitsNotSet, Value: unix.PROT_EXEC},
		}},
		{Name: "mprotect", Conditions: seccomp.ArgumentConditions{
			{Argument: 2, Operation: seccomp.BitsNotSet, Value: unix.PROT_EXEC},
		}},
		// Threads of this process, but no processes.
		{Name: "clone", Conditions: seccomp.ArgumentConditions{
			{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD},
		}},
		// Limits of this process, signals to this process.
		{Name: "prlimit64", Conditions: seccomp.ArgumentConditions{is(0, 0)}},
		{Name: "tgkill", Conditions: seccomp.ArgumentConditions{is(0, pid)}},
		{Name: "kill", Conditions: seccomp.ArgumentConditions{is(0, pid)}},
	}
	if !network {
		return all
	}
	for _, family := range []uint64{unix.AF_INET, unix.AF_INET6} {
		for _, kind := range []uint64{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
			all = append(all, seccomp.NameWithConditions{Name: "socket", Conditions: seccomp.ArgumentConditions{
				is(0, family), is(1, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC), is(2, 0),
			}})
		}
	}
	for _, option := range options {
		all = append(all, seccomp.NameWithConditions{Name: "setsockopt", Conditions: seccomp.ArgumentConditions{
			is(1, option[0]), is(2, option[1]),
		}})
	}
	return append(all, seccomp.NameWithConditions{Name: "getsockopt", Conditions: seccomp.ArgumentConditions{
		is(1, unix.SOL_SOCKET), is(2, unix.SO_ERROR),
	}})
}

// forbid installs the filter on all threads, and tries it.
func forbid(network bool) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	names := allowed
	if network {
		names = slices.Concat(allowed, connected)
	}
	filter := seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionErrno,
			Syscalls: []seccomp.SyscallGroup{{
				Action: seccomp.ActionAllow, Names: names, NamesWithCondtions: conditions(network),
			}},
		},
	}
	if err := seccomp.LoadFilter(filter); err != nil {
		return fmt.Errorf("installing the seccomp filter: %w", err)
	}
	// On another thread than the one that installed it.
	tried := make(chan error)
	go func() { tried <- try(network) }()
	return <-tried
}

// try makes sure that the filter holds: an engine that only believes itself
// confined is worse than none.
func try(network bool) error {
	if fd, err := unix.Open("/", unix.O_RDONLY|unix.O_CLOEXEC, 0); !errors.Is(err, unix.EPERM) {
		_ = unix.Close(fd)
		return fmt.Errorf("the seccomp filter does not refuse to open files, which gave %v", err)
	}
	family := unix.AF_INET
	if network {
		family = unix.AF_UNIX
	}
	if fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); !errors.Is(err, unix.EPERM) {
		_ = unix.Close(fd)
		return fmt.Errorf("the seccomp filter does not refuse to open sockets, which gave %v", err)
	}
	return nil
}

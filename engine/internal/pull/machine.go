package pull

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Machine is what a pull needs to know of the machine that it runs on. It is read
// before the process denies itself all files.
type Machine struct {
	own    []netip.Addr
	hosts  map[string][]netip.Addr
	server []string
	search []string
	ndots  int
}

// maxFile bounds the files that are read here.
const maxFile = 1 << 20

// ReadMachine reads the machine's addresses, its certificates, and how it resolves
// names. What it does not have is skipped.
func ReadMachine() *Machine {
	// The package keeps them.
	_, _ = x509.SystemCertPool()
	m := &Machine{ndots: 1, hosts: make(map[string][]netip.Addr)}
	addresses, _ := net.InterfaceAddrs()
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil {
			m.own = append(m.own, plain(prefix.Addr()))
		}
	}
	m.readHosts(read("/etc/hosts"))
	m.readResolver(read("/etc/resolv.conf"))
	// Go tries once whether the machine has IPv6, by binding a socket.
	if socket, err := net.ListenPacket("udp", ":0"); err == nil {
		_ = socket.Close()
	}
	return m
}

func read(path string) string {
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxFile {
		return ""
	}
	data, _ := os.ReadFile(path)
	return string(data)
}

func (m *Machine) readHosts(text string) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		address, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			m.hosts[normal(name)] = append(m.hosts[normal(name)], address)
		}
	}
}

func (m *Machine) readResolver(text string) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") || strings.HasPrefix(fields[0], ";") {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if _, err := netip.ParseAddr(fields[1]); err == nil && len(m.server) < 3 {
				m.server = append(m.server, net.JoinHostPort(fields[1], "53"))
			}
		case "domain", "search":
			m.search = fields[1:]
		case "options":
			for _, option := range fields[1:] {
				if count, is := strings.CutPrefix(option, "ndots:"); is {
					if ndots, err := strconv.Atoi(count); err == nil {
						m.ndots = max(0, min(ndots, 15))
					}
				}
			}
		}
	}
}

func (m *Machine) has(address netip.Addr) bool {
	return m != nil && slices.Contains(m.own, address)
}

// lookup resolves a name as the machine does.
func (m *Machine) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if address, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{address}, nil
	}
	if runtime.GOOS != "linux" {
		// There a process has all files, and a system resolver of its own.
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
	name := normal(host)
	if found := m.hosts[name]; len(found) > 0 {
		return found, nil
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	}
	var failed error
	for _, full := range m.names(host) {
		found, err := m.resolver().LookupNetIP(ctx, "ip", full)
		if err == nil && len(found) > 0 {
			return found, nil
		}
		var resolve *net.DNSError
		if failed == nil || errors.As(err, &resolve) && !resolve.IsNotFound {
			failed = err
		}
	}
	return nil, cmp.Or(failed, error(&net.DNSError{Err: "no such host", Name: host, IsNotFound: true}))
}

// names are the full names that a name may stand for.
func (m *Machine) names(host string) []string {
	if strings.HasSuffix(host, ".") {
		return []string{host}
	}
	full := host + "."
	var all []string
	for _, domain := range m.search {
		if domain = strings.Trim(domain, "."); domain != "" {
			all = append(all, full+domain+".")
		}
	}
	if strings.Count(host, ".") >= m.ndots {
		return append([]string{full}, all...)
	}
	return append(all, full)
}

// resolver asks the machine's name servers. Go's own reads no files by now, and
// supposes servers at two addresses, which stand for the first two of the machine's.
func (m *Machine) resolver() *net.Resolver {
	var asked atomic.Uint32
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if len(m.server) > 0 {
			address = m.server[int(asked.Add(1)-1)%len(m.server)]
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
}

// dial connects to a host, at the first of its addresses that answers and is not
// refused.
func (g *guard) dial(ctx context.Context, network, to string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(to)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	addresses, err := g.machine.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	var refused, failed error
	var good []netip.Addr
	for _, address := range addresses {
		if err := g.check(host, port, address); err != nil {
			refused = cmp.Or(refused, err)
		} else {
			good = append(good, address)
		}
	}
	for i, address := range good {
		// One that does not answer leaves time for the others.
		deadline, _ := ctx.Deadline()
		part := max(time.Until(deadline)/time.Duration(len(good)-i), time.Second)
		dialer := &net.Dialer{Timeout: part}
		connection, err := dialer.DialContext(ctx, network, netip.AddrPortFrom(address, portOf(port)).String())
		if err == nil {
			return connection, nil
		}
		failed = cmp.Or(failed, err)
	}
	return nil, cmp.Or(failed, refused)
}

func portOf(text string) uint16 {
	port, _ := strconv.ParseUint(text, 10, 16)
	return uint16(port)
}

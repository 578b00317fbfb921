package pull

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"releaselifecycle.dev/engine/internal/protocol"
)

func guarding(t *testing.T, refuse, allow []string, private bool) *guard {
	t.Helper()
	made, problem := newGuard(
		&Machine{own: []netip.Addr{netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("203.0.114.1")}},
		&protocol.Pull{Refuse: refuse, Allow: allow, Private: private})
	if problem != nil {
		t.Fatal(problem)
	}
	return made
}

// forms are the ways to write an IPv4 address as an IPv6 address: each reaches it where
// there is a gateway of that kind.
func forms(text string) []string {
	address := netip.MustParseAddr(text)
	if address.Is6() {
		return []string{text}
	}
	b := address.As4()
	high, low := fmt.Sprintf("%x", int(b[0])<<8|int(b[1])), fmt.Sprintf("%x", int(b[2])<<8|int(b[3]))
	inverted := fmt.Sprintf("%x:%x", (int(b[0])<<8|int(b[1]))^0xffff, (int(b[2])<<8|int(b[3]))^0xffff)
	return []string{
		text, "::ffff:" + text, "64:ff9b::" + text, "64:ff9b:1::" + text,
		fmt.Sprintf("64:ff9b:1:%s:%x:%x::", high, int(b[2]), int(b[3])<<8),
		"2002:" + high + ":" + low + "::1", "::ffff:0:" + text, "::" + text,
		"2001:0:808:808::" + inverted, "2001:0:" + high + ":" + low + "::f7f7:f7f7",
	}
}

const flag = "--source-allow"

func TestAddressesThatAreNeverDialled(t *testing.T) {
	everything := []string{"0.0.0.0/0", "::/0", "*.example", "host.example", "169.254.169.254", "fd00:ec2::254"}
	for _, guarded := range []*guard{
		guarding(t, []string{"10.96.0.1", "[fd00::1]:6443", "198.51.100.7:6443"}, nil, false),
		guarding(t, []string{"10.96.0.1", "[fd00::1]:6443", "198.51.100.7:6443"}, everything, true),
	} {
		for address, why := range map[string]string{
			"10.96.0.1": "API server", "fd00::1": "API server", "198.51.100.7": "API server",
			"169.254.169.254": "link-local", "169.254.170.2": "link-local", "169.254.0.23": "link-local",
			"fe80::1": "link-local", "fe80::1%eth0": "link-local", "fe80::a9fe:a9fe": "link-local",
			"168.63.129.16": "metadata", "192.0.0.192": "metadata", "100.100.100.200": "metadata",
			"fd00:ec2::254": "metadata", "fd00:ec2::23": "metadata", "fd20:ce::254": "metadata",
			"fd00:42::42": "metadata", "fd00:c1::a9fe:a9fe": "metadata",
			"0.0.0.0": "no address", "0.1.2.3": "no address", "255.255.255.255": "no address",
			"224.0.0.1": "multicast", "ff02::1": "multicast",
		} {
			for _, form := range forms(address) {
				// Zeros elsewhere stand for nothing.
				if strings.HasPrefix(address, "0.") && strings.Contains(form, ":") {
					continue
				}
				for _, host := range []string{form, "host.example", "a.example"} {
					got := guarded.why(host, "6443", netip.MustParseAddr(form))
					if !strings.Contains(got, why) || strings.Contains(got, flag) {
						t.Errorf("%s of %s: %q, wanted %q", form, address, got, why)
					}
				}
			}
		}
	}
	// On another port of an address that was given with one there may be something else.
	if why := guarding(t, []string{"127.0.0.1:6443"}, here, false).why("127.0.0.1", "5000", netip.MustParseAddr("127.0.0.1")); why != "" {
		t.Error(why)
	}
}

func TestAddressesOfPrivateNetworks(t *testing.T) {
	closed := guarding(t, nil, []string{"127.0.0.1"}, false)
	open := guarding(t, nil, nil, true)
	for _, address := range []string{
		"10.0.0.8", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "198.18.0.1", "192.0.2.7",
		"203.0.113.9", "192.0.0.8", "240.0.0.1", "fc00::1", "fd12:3456::1", "fec0::1", "2001:db8::1", "3fff::1",
		"2001::1", "2001:20::1", "100::1", "5f00::1", "64:ff9b::10.0.0.8", "64:ff9b:1::8.8.8.8", "2002:808:808::1",
		"::8.8.8.8", "::ffff:10.0.0.8", "4000::1",
	} {
		parsed := netip.MustParseAddr(address)
		if why := closed.why("host.example", "443", parsed); !strings.Contains(why, "private network") || !strings.Contains(why, flag) {
			t.Errorf("%s: %q", address, why)
		}
		if why := open.why("host.example", "443", parsed); why != "" {
			t.Errorf("%s: %q", address, why)
		}
	}
	for _, address := range []string{"8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8", "2a00::1"} {
		if why := closed.why("host.example", "443", netip.MustParseAddr(address)); why != "" {
			t.Errorf("%s: %q", address, why)
		}
	}
	for _, address := range []string{"127.8.8.8", "::1", "::ffff:127.0.0.2", "10.1.1.1", "203.0.114.1", "64:ff9b::10.1.1.1"} {
		for _, guarded := range []*guard{closed, open, guarding(t, nil, []string{"host.example", "*.example"}, true)} {
			why := guarded.why("host.example", "443", netip.MustParseAddr(address))
			if !strings.Contains(why, "own machine") || !strings.Contains(why, flag) {
				t.Errorf("%s: %q", address, why)
			}
		}
	}
}

func TestWhatIsAllowed(t *testing.T) {
	guarded := guarding(t, nil, []string{
		"10.2.0.0/16", "10.3.0.1:5000", "fd12::/16", "Registry.Internal", "charts.internal:8443", "*.corp.example", "[fd13::1]:80",
	}, false)
	for _, c := range []struct {
		host, port, address string
		allowed             bool
	}{
		{"any.example", "443", "10.2.3.4", true},
		{"any.example", "443", "64:ff9b::10.2.3.4", true},
		{"any.example", "443", "10.4.0.1", false},
		{"any.example", "5000", "10.3.0.1", true},
		{"any.example", "443", "10.3.0.1", false},
		{"fd12::9", "443", "fd12::9", true},
		{"fd13::1", "80", "fd13::1", true},
		{"fd13::1", "81", "fd13::1", false},
		{"registry.internal", "443", "10.9.9.9", true},
		{"REGISTRY.internal.", "5000", "10.9.9.9", true},
		{"xregistry.internal", "443", "10.9.9.9", false},
		{"registry.internal.evil.example", "443", "10.9.9.9", false},
		{"charts.internal", "8443", "10.9.9.9", true},
		{"charts.internal", "443", "10.9.9.9", false},
		{"a.b.corp.example", "443", "10.9.9.9", true},
		{"corp.example", "443", "10.9.9.9", false},
		{"evilcorp.example", "443", "10.9.9.9", false},
	} {
		if why := guarded.why(c.host, c.port, netip.MustParseAddr(c.address)); (why == "") != c.allowed {
			t.Errorf("%+v: %q", c, why)
		}
	}
	for _, odd := range []string{"", "*", "*.", "10.0.0.0/33", "a/b", "a:", "a*b", "*.*.example", "a b"} {
		_, problem := newGuard(machine, &protocol.Pull{Allow: []string{odd}})
		wantKind(t, problem, protocol.BadRequest)
	}
	_, problem := newGuard(machine, &protocol.Pull{Refuse: []string{"kubernetes.default"}})
	wantKind(t, problem, protocol.BadRequest)
}

// A tenant's own server leads to servers that the tenant cannot reach.
func TestNothingInsideIsReachedThroughAServerOutside(t *testing.T) {
	log := new(seen)
	charts := chartServer(log, "")
	inside := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			t.Errorf("a query of another host arrived: %s", r.URL.Host)
		}
		charts.ServeHTTP(w, r)
	}))
	// On this machine, too, but at another address and by another name.
	inside = strings.Replace(inside, "127.0.0.1", "localhost", 1)
	outside := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := inside + "/charts/a.tgz"
		switch {
		case strings.HasPrefix(r.URL.Path, "/redirect"):
			http.Redirect(w, r, target, http.StatusFound)
		case strings.HasPrefix(r.URL.Path, "/relative"):
			target = strings.TrimPrefix(target, "http:")
			fallthrough
		default:
			_, _ = fmt.Fprintf(w, "apiVersion: v1\nentries:\n  shop:\n  - {version: 1.0.0, urls: [%q]}\n", target)
		}
	}))
	port := outside[strings.LastIndex(outside, ":"):]
	for _, folder := range []string{"/index", "/redirect", "/relative?token=s3cret"} {
		request := fromRepository(outside+folder, "shop", "")
		request.Allow = []string{"127.0.0.1" + port, "[::1]" + port}
		_, problem := Pull(request)
		wantError(t, problem, protocol.Refused, "localhost:", flag)
		if strings.Contains(problem.Message, "127.0.0.1") {
			t.Errorf("the address that a name has is in: %s", problem.Message)
		}
	}
	if log.String() != "" {
		t.Errorf("inside was asked for %s", log)
	}
	// Where it is allowed, the query of another host does not come along.
	if _, problem := Pull(fromRepository(outside+"/relative?token=s3cret", "shop", "")); problem != nil {
		t.Error(problem)
	}
}

func TestVersionsOfAPrivateNetworkAreNotListed(t *testing.T) {
	at := serving(t, chartServer(new(seen), ""))
	for private, wanted := range map[bool]bool{false: false, true: true} {
		request := fromRepository(at+"/repo", "shop", "7.0.0")
		request.Private = private
		_, problem := Pull(request)
		wantError(t, problem, protocol.ChartNotFound, "7.0.0")
		if strings.Contains(problem.Message, "1.10.0") != wanted {
			t.Errorf("private %t: %s", private, problem.Message)
		}
	}
}

func TestOnlyHTTPS(t *testing.T) {
	log := new(seen)
	at := serving(t, chartServer(log, ""))
	secure := servingTLS(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "apiVersion: v1\nentries:\n  shop:\n  - {version: 1.0.0, urls: [%q], digest: %q}\n",
			at+"/charts/a.tgz", digest.FromBytes(archive("a.tgz")).Encoded())
	}), nil)
	indexed := fromRepository(secure.URL, "shop", "")
	indexed.Credentials = &protocol.Credentials{CA: caOf(secure)}
	plain := fromOCI(t, at, "1.0.0")
	plain.OCI.PlainHTTP = true
	for _, request := range []*protocol.Pull{fromRepository(at+"/repo", "shop", ""), indexed, plain} {
		request.HTTPSOnly = true
		_, problem := Pull(request)
		wantError(t, problem, protocol.Refused, hostOf(t, at), "--insecure-allow-http")
	}
	if log.String() != "" {
		t.Errorf("asked for %s", log)
	}
	// Flux serves its artifacts so.
	request := fromURL(at+"/charts/a.tgz", archive("a.tgz"))
	request.HTTPSOnly = true
	if _, problem := Pull(request); problem != nil {
		t.Error(problem)
	}
}

func TestArtifactsAreThoseOfTheirSource(t *testing.T) {
	log := new(seen)
	at := serving(t, chartServer(log, ""))
	host := hostOf(t, at)
	data := archive("a.tgz")
	// In multi-tenant mode nothing private is allowed but the servers of artifacts.
	ask := func(url string, hosts ...string) *protocol.Error {
		request := fromURL(url, data)
		request.Allow, request.ArtifactHosts = nil, hosts
		request.Artifact.Under = []string{"/charts/team-a/shop/", "/repo/charts/"}
		_, problem := Pull(request)
		return problem
	}
	for _, hosts := range []string{host, "127.0.0.1"} {
		if problem := ask(at+"/charts/team-a/shop/a.tgz", hosts); problem != nil {
			t.Error(problem)
		}
	}
	if problem := ask(at+"/repo/charts/a.tgz", host); problem != nil {
		t.Error(problem)
	}
	log.lines = nil
	wantError(t, ask(at+"/charts/team-a/shop/a.tgz", "source-controller.flux-system.svc"), protocol.Refused, host, "--flux-artifact-hosts")
	wantError(t, ask(at+"/charts/team-a/shop/a.tgz"), protocol.Refused, host, "--flux-artifact-hosts")
	for _, path := range []string{
		"/charts/team-b/shop/a.tgz", "/charts/team-a/shop/../../team-b/shop/a.tgz", "/charts/team-a/shop/%2e%2e/x/a.tgz",
		"/charts/team-a/shop/..%2fx/a.tgz", "/charts/team-a/shop//a.tgz", "/charts/team-a/shop/a.tgz?x", "/charts/team-a/shop/",
		"/charts/team-a/shop/.\\..\\a.tgz", "/charts/team-a/shopping/a.tgz", "/charts/team-a/shop",
		"/charts/team-a/shop/a.tgz#x", "//charts/team-a/shop/a.tgz", "/charts/team-a/shop/a%5C..%5Cb.tgz",
	} {
		problem := ask(at+path, host)
		wantError(t, problem, protocol.Refused, "no path of this source's")
	}
	if log.String() != "" {
		t.Errorf("asked for %s", log)
	}
}

func TestNamesAreResolvedAsTheMachineDoes(t *testing.T) {
	m := &Machine{ndots: 1, hosts: make(map[string][]netip.Addr)}
	m.readHosts("127.0.0.1 localhost\n::1 localhost # both\n\n10.0.0.7\tCharts.internal charts\nbad\nx y\n")
	m.readResolver("# comment\nnameserver 10.96.0.10\nnameserver fd00::a\nsearch shop.svc.cluster.local svc.cluster.local\noptions ndots:5 edns0\n")
	if found, err := m.lookup(t.Context(), "charts.INTERNAL"); err != nil || fmt.Sprint(found) != "[10.0.0.7]" {
		t.Errorf("%v %v", found, err)
	}
	if found, _ := m.lookup(t.Context(), "localhost"); len(found) != 2 {
		t.Errorf("%v", found)
	}
	if got := fmt.Sprint(m.server); got != "[10.96.0.10:53 [fd00::a]:53]" {
		t.Error(got)
	}
	if got := fmt.Sprint(m.names("flux.svc")); got != "[flux.svc.shop.svc.cluster.local. flux.svc.svc.cluster.local. flux.svc.]" {
		t.Error(got)
	}
	if got := fmt.Sprint(m.names("a.b.c.d.e.f")[0]); got != "a.b.c.d.e.f." {
		t.Error(got)
	}
	if got := fmt.Sprint(m.names("flux.svc.")); got != "[flux.svc.]" {
		t.Error(got)
	}
}

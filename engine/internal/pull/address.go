package pull

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"releaselifecycle.dev/engine/internal/protocol"
)

// class is what kind of place an address is.
type class int

const (
	// public addresses are those of the internet.
	public class = iota
	// private ones are of one network: whoever is in it trusts it more or less.
	private
	// own is the machine that this process runs on.
	own
	// never is dialled on nobody's behalf, whatever is allowed.
	never
)

// place is a set of addresses, and what they are.
type place struct {
	prefix netip.Prefix
	class  class
	what   string
}

func places(class class, what string, prefixes ...string) []place {
	all := make([]place, len(prefixes))
	for i, prefix := range prefixes {
		all[i] = place{netip.MustParsePrefix(prefix), class, what}
	}
	return all
}

// known are the addresses that are not those of the internet, by the registries of
// the IANA for special purposes; the first that fits counts. Metadata services hand
// out the credentials of the machine, or of the operator's own Pod.
var known = slices.Concat(
	places(never, "it is link-local, where machines find their own credentials",
		"169.254.0.0/16", "fe80::/10"),
	places(never, "it is a cloud's metadata service",
		"168.63.129.16/32",   // Azure
		"100.100.100.200/32", // Alibaba Cloud
		"192.0.0.192/32",     // Oracle Cloud
		"fd00:c1::/64",       // Oracle Cloud
		"fd00:ec2::/64",      // AWS: metadata, the credentials of Pods
		"fd20:ce::/64",       // Google Cloud
		"fd00:42::/64",       // Scaleway
	),
	places(never, "it is a multicast address", "224.0.0.0/4", "ff00::/8"),
	places(never, "it is no address of a host", "0.0.0.0/8", "255.255.255.255/32", "::/128"),
	places(own, "it is the operator's own machine", "127.0.0.0/8", "::1/128"),
	places(private, "it is in a private network",
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10",
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "240.0.0.0/4",
	),
)

// global6 is the only part of IPv6 in which addresses of the internet are given out,
// and reserved6 are the parts of it that are for something else.
var (
	global6   = netip.MustParsePrefix("2000::/3")
	reserved6 = []netip.Prefix{
		netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"),
		netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("3fff::/20"),
	}
)

// Ways to write an IPv4 address into an IPv6 address.
var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	localNAT64 = netip.MustParsePrefix("64:ff9b:1::/48")
	translated = netip.MustParsePrefix("::ffff:0:0:0/96")
	compatible = netip.MustParsePrefix("::/96")
	sixToFour  = netip.MustParsePrefix("2002::/16")
	teredo     = netip.MustParsePrefix("2001::/32")
)

// plain is the IPv4 address that an IPv6 address stands for, if it does so
// everywhere.
func plain(address netip.Addr) netip.Addr {
	address = address.Unmap().WithZone("")
	if nat64.Contains(address) {
		bytes := address.As16()
		return netip.AddrFrom4([4]byte(bytes[12:]))
	}
	return address
}

// embedded are the IPv4 addresses to which a packet for an IPv6 address may be sent
// on by a gateway, if there is one.
func embedded(address netip.Addr) []netip.Addr {
	if !address.Is6() {
		return nil
	}
	bytes := address.As16()
	at := func(a, b, c, d int) netip.Addr {
		return netip.AddrFrom4([4]byte{bytes[a], bytes[b], bytes[c], bytes[d]})
	}
	switch {
	case localNAT64.Contains(address):
		// Where it stands depends on the length of the gateway's prefix (RFC 6052).
		return []netip.Addr{at(12, 13, 14, 15), at(6, 7, 9, 10), at(7, 9, 10, 11), at(9, 10, 11, 12)}
	case translated.Contains(address), compatible.Contains(address):
		return []netip.Addr{at(12, 13, 14, 15)}
	case sixToFour.Contains(address):
		return []netip.Addr{at(2, 3, 4, 5)}
	case teredo.Contains(address):
		client := [4]byte{^bytes[12], ^bytes[13], ^bytes[14], ^bytes[15]}
		return []netip.Addr{at(4, 5, 6, 7), netip.AddrFrom4(client)}
	}
	return nil
}

// classify says what an address is, and in words why it may not be dialled.
func classify(address netip.Addr) (class, string) {
	address = plain(address)
	for _, inner := range embedded(address) {
		// Nothing stands in the zeros of a place that is not the gateway's.
		if inner.As4()[0] == 0 {
			continue
		}
		if class, why := classify(inner); class == never {
			return class, why
		}
	}
	for _, place := range known {
		if place.prefix.Contains(address) {
			return place.class, place.what
		}
	}
	isReserved := func(prefix netip.Prefix) bool { return prefix.Contains(address) }
	if address.Is6() && (!global6.Contains(address) || slices.ContainsFunc(reserved6, isReserved)) {
		return private, "it is in a private network"
	}
	return public, ""
}

// rule allows addresses, or the hosts of a name, on one port or on all.
type rule struct {
	prefix netip.Prefix
	// name is of a host, or what the names of hosts end with.
	name   string
	suffix bool
	port   string
}

func (r *rule) allows(host, port string, address netip.Addr, class class) bool {
	switch {
	case r.port != "" && r.port != port:
		return false
	case r.prefix.IsValid():
		return r.prefix.Contains(address)
	case class == own:
		// Whoever has a name may have it lead here.
		return false
	case r.suffix:
		_, err := netip.ParseAddr(host)
		return err != nil && strings.HasSuffix(host, r.name)
	default:
		return host == r.name
	}
}

// isOf is whether a host is named, whatever its addresses are.
func (r *rule) isOf(host, port string) bool {
	address, _ := netip.ParseAddr(host)
	return r.allows(normal(host), port, plain(address), public)
}

// parseRule reads an address, a range, a host's name or *.suffix, all but a range
// perhaps with a port.
func parseRule(text string) (rule, bool) {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return rule{prefix: prefix.Masked()}, true
	}
	host, port := text, ""
	if _, err := netip.ParseAddr(text); err != nil && strings.Contains(text, ":") {
		if host, port, err = net.SplitHostPort(text); err != nil || port == "" {
			return rule{}, false
		}
	}
	if address, err := netip.ParseAddr(host); err == nil {
		address = plain(address)
		return rule{prefix: netip.PrefixFrom(address, address.BitLen()), port: port}, true
	}
	name, suffix := normal(host), false
	if rest, is := strings.CutPrefix(name, "*."); is {
		name, suffix = "."+rest, true
	}
	if strings.Trim(name, ".") == "" || strings.ContainsAny(name, "*/ ") {
		return rule{}, false
	}
	return rule{name: name, suffix: suffix, port: port}, true
}

func parseRules(field string, texts []string) ([]rule, *protocol.Error) {
	rules := make([]rule, 0, len(texts))
	for _, text := range texts {
		parsed, ok := parseRule(text)
		if !ok {
			return nil, protocol.Errorf(protocol.BadRequest,
				"%s %q: an address, a range (10.0.0.0/8), a host, host:port or *.suffix is needed", field, text)
		}
		rules = append(rules, parsed)
	}
	return rules, nil
}

// normal is a host's name in the one form in which it is compared.
func normal(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// guard refuses addresses as they are dialled: after names are resolved, so that
// no name and no redirect leads around it.
type guard struct {
	machine *Machine
	// refused are the API server's addresses.
	refused []rule
	allowed []rule
	// private is whether private addresses are dialled without a rule.
	private bool
	// inside is set once an address was dialled that is not public.
	inside atomic.Bool
}

// why says why an address is not dialled for a host, or nothing.
func (g *guard) why(host, port string, address netip.Addr) string {
	address, host = plain(address), normal(host)
	isOfServer := func(address netip.Addr) bool {
		return slices.ContainsFunc(g.refused, func(r rule) bool { return r.allows(host, port, address, never) })
	}
	if isOfServer(address) || slices.ContainsFunc(embedded(address), isOfServer) {
		return "it is the Kubernetes API server's"
	}
	found, why := classify(address)
	if found != never && g.machine.has(address) {
		found, why = own, "it is the operator's own machine"
	}
	if found == public || found == private && g.private {
		return ""
	}
	if found == never {
		return why
	}
	for i := range g.allowed {
		if g.allowed[i].allows(host, port, address, found) {
			return ""
		}
	}
	return why + "; an administrator can allow it by the operator's flag --source-allow"
}

// check is why as an error. It names the host, which the URL has, and not the address,
// which it may not have.
func (g *guard) check(host, port string, address netip.Addr) error {
	if why := g.why(host, port, address); why != "" {
		return &refusal{fmt.Sprintf("nothing is fetched from there: %s", why)}
	}
	if found, _ := classify(address); found != public {
		g.inside.Store(true)
	}
	return nil
}

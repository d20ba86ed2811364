package configs

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

func TestProxiesTrust(t *testing.T) {
	resolved, diags := Resolve(sources("tined.hcl", small+`trusted_proxies = ["10.0.0.0/8", "10.2.0.0/16", "192.0.2.7", "::1", "2001:db8::/32", "private"]`+"\n"), testSchema())
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	p := resolved.TrustedProxies
	for address, want := range map[string]bool{
		"10.0.0.0": true, "10.2.3.4": true, "10.3.0.0": true, "10.255.255.255": true, "9.255.255.255": false, "11.0.0.0": false,
		"192.0.2.7": true, "192.0.2.6": false, "192.0.2.8": false, "172.16.0.1": true, "172.32.0.0": false, "127.0.0.1": false,
		"::1": true, "::": false, "::2": false, "2001:db8:ffff::": true, "2001:db9::": false, "fdff::1": true, "fe00::": false,
	} {
		if got := p.Contains(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	if p.Contains(netip.Addr{}) {
		t.Error("the peers of unix sockets are trusted without \"unix\"")
	}
	if !(&Addresses{Unix: true}).Contains(netip.Addr{}) || (&Addresses{Unix: true}).Contains(netip.MustParseAddr("127.0.0.1")) {
		t.Error(`"unix" does not stand for the peers of unix sockets alone`)
	}
	if !new(Addresses).Empty() || p.Empty() || (&Addresses{Unix: true}).Empty() {
		t.Error("Empty")
	}
}

// Whatever the prefixes are, and however they overlap, Contains finds what a look
// at each of them finds.
func TestProxiesTrustIsAnySearch(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	address := func() netip.Addr {
		a := [4]byte{10, byte(random.IntN(3)), byte(random.IntN(3)), byte(random.IntN(8))}
		if random.IntN(3) == 0 {
			return netip.AddrFrom16([16]byte{0: 0x20, 14: a[2], 15: a[3]})
		}
		return netip.AddrFrom4(a)
	}
	for range 500 {
		var p Addresses
		for range random.IntN(6) {
			a := address()
			p.Prefixes = append(p.Prefixes, netip.PrefixFrom(a, a.BitLen()-random.IntN(25)).Masked())
		}
		all := slices.Clone(p.Prefixes)
		p.normalize()
		for range 20 {
			a := address()
			if want := slices.ContainsFunc(all, func(prefix netip.Prefix) bool { return prefix.Contains(a) }); p.Contains(a) != want {
				t.Fatalf("%v in %v: %v", a, all, !want)
			}
		}
	}
}

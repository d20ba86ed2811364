package http1

import (
	"net/netip"
	"strings"
	"testing"
)

// TestIPv6 compares with net/netip, which knows the same grammar but for zones.
func TestIPv6(t *testing.T) {
	groups := []string{"", "0", "1", "ffff", "ABCD", "12345", "g", "1.2.3.4", "1.2.3", "01.2.3.4", "256.1.1.1", "1.2.3.4.5", "1.2.3."}
	check := func(s string) {
		addr, err := netip.ParseAddr(s)
		if got, want := validIPv6([]byte(s)), err == nil && addr.Is6() && !strings.Contains(s, "%"); got != want {
			t.Errorf("%q: %v, net/netip says %v", s, got, err)
		}
	}
	for _, s := range []string{"", ":", "::", ":::", "::::", "1", "1:", ":1", "1::2::3", "fe80::1%lo", "::1 ", " ::1", "::1]"} {
		check(s)
	}
	for n := range 10 { // n groups, one of them odd, and an elision at every place
		for at := range n {
			for _, odd := range groups {
				parts := strings.Split(strings.Repeat("a:", n), ":")[:n]
				parts[at] = odd
				check(strings.Join(parts, ":"))
				for elided := range n + 1 {
					check(strings.Join(parts[:elided], ":") + "::" + strings.Join(parts[elided:], ":"))
				}
			}
		}
	}
}

func FuzzIPv6(f *testing.F) {
	f.Add("::1.2.3.4")
	f.Add("1:2:3:4:5:6:7::")
	f.Fuzz(func(t *testing.T, s string) {
		addr, err := netip.ParseAddr(s)
		if got, want := validIPv6([]byte(s)), err == nil && addr.Is6() && !strings.Contains(s, "%"); got != want {
			t.Fatalf("%q: %v, net/netip says %v", s, got, err)
		}
	})
}

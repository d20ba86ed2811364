package access

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
)

func setOfAddresses(t testing.TB, items ...string) *addresses {
	t.Helper()
	s := new(addresses)
	for _, item := range items {
		if p := s.add(item); p != nil {
			t.Fatal(p)
		}
	}
	s.normalize()
	return s
}

func TestFrom(t *testing.T) {
	for _, c := range []struct {
		from    string
		in, out []string // "": over a unix socket
	}{
		{"192.0.2.7", []string{"192.0.2.7", "::ffff:192.0.2.7"}, []string{"192.0.2.8", "192.0.2.6", "", "::192.0.2.7"}},
		{"::ffff:192.0.2.7", []string{"192.0.2.7"}, []string{"192.0.2.8"}},
		{"10.0.0.0/8", []string{"10.0.0.0", "10.255.255.255", "::ffff:10.1.1.1"}, []string{"9.255.255.255", "11.0.0.0", ""}},
		{"::ffff:10.0.0.0/104", []string{"10.0.0.0", "10.255.255.255"}, []string{"11.0.0.0", "::1"}},
		{"2001:db8::/32", []string{"2001:db8::1", "2001:db8:ffff::1%eth0"}, []string{"2001:db9::", "32.1.13.184"}},
		{"fe80::/10", []string{"fe80::1%eth0", "fe80::1"}, []string{"fec0::1"}},
		{"0.0.0.0/0", []string{"0.0.0.0", "255.255.255.255"}, []string{"::1", ""}},
		{"::/0", []string{"::", "ffff::"}, []string{"1.2.3.4", "::ffff:1.2.3.4", ""}},
		{"unix", []string{""}, []string{"127.0.0.1", "::1"}},
		{"loopback", []string{"127.0.0.1", "127.255.0.1", "::1"}, []string{"128.0.0.1", "::2", ""}},
		{"private", []string{"10.0.0.1", "172.31.0.1", "192.168.1.1", "fd00::1"}, []string{"172.32.0.1", "192.169.0.1", "fe00::1", "127.0.0.1", ""}},
		{"10.0.0.0/8 10.1.0.0/16 9.0.0.0/8 10.1.2.3 10.0.0.0/8", []string{"10.200.0.1", "10.1.2.4", "9.1.1.1"}, []string{"8.255.255.255", "11.0.0.1"}},
		{"loopback unix 2001:db8::1", []string{"", "2001:db8::1", "127.0.0.1"}, []string{"2001:db8::2"}},
	} {
		s := setOfAddresses(t, strings.Fields(c.from)...)
		for _, addr := range c.in {
			if !s.contain(request(addr)) {
				t.Errorf("%s: %q is not in", c.from, addr)
			}
		}
		for _, addr := range c.out {
			if s.contain(request(addr)) {
				t.Errorf("%s: %q is in", c.from, addr)
			}
		}
	}
}

// A proxy whose word about the client was not taken does not lend the client its own address.
func TestFromBehindProxies(t *testing.T) {
	s := setOfAddresses(t, "loopback", "unix")
	for _, addr := range []string{"127.0.0.1", ""} {
		for _, c := range []struct {
			relayed bool
			fields  []string
			want    bool
		}{
			{true, nil, true}, // who sends no such field speaks for itself
			{true, []string{"X-Forwarded-For"}, false},
			{true, []string{"forwarded"}, false},
			{true, []string{"X-Forwarded-For", "Forwarded"}, false},
			{false, []string{"X-Forwarded-For", "Forwarded"}, true}, // nobody is believed here
		} {
			r := request(addr)
			for _, name := range c.fields {
				r.Header.Add(name, "198.51.100.1")
			}
			if c.relayed {
				web.SetRelayed(r)
			}
			if got := s.contain(r); got != c.want {
				t.Errorf("%q, relayed %v, %q: %v", addr, c.relayed, c.fields, got)
			}
		}
	}
}

func TestFromRefuses(t *testing.T) {
	for item, want := range map[string]string{
		"":                      `write one like "192.0.2.7"`,
		"10.0.0.1/8":            `write "10.0.0.0/8" for all of it, or "10.0.0.1"`,
		"10.0.0.0/33":           "neither an address nor a prefix",
		"10.0.0":                "neither an address nor a prefix",
		"fe80::1%eth0":          `write "fe80::1", without the zone`,
		"fe80::%eth0/10":        "neither an address nor a prefix",
		"192.0.2.7:80":          `write "192.0.2.7", without port and brackets`,
		"[2001:db8::1]":         `write "2001:db8::1", without port`,
		"localhost":             `write "loopback"`,
		"all":                   "leave from out",
		"::ffff:10.0.0.0/80":    `write "::/80" for all of it`,
		"example.org":           "a word",
		"Unix":                  "a word",
		"192.168.001.1":         "neither an address nor a prefix",
		" 10.0.0.0/8":           "neither an address nor a prefix",
		"10.0.0.0/8, 9.0.0.0/8": "neither an address nor a prefix",
	} {
		if p := new(addresses).add(item); p == nil || !strings.Contains(p.Error(), want) {
			t.Errorf("%q: %v, want %q", item, p, want)
		}
	}
}

// The set says what its prefixes say one by one.
func FuzzFrom(f *testing.F) {
	f.Add("10.0.0.0/8 10.1.0.0/16 private", []byte{10, 0, 0, 1})
	f.Add("::/0 0.0.0.0/0 unix", []byte{})
	f.Add("fe80::/10 ::ffff:10.0.0.0/104", []byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, text string, addr []byte) {
		var s addresses
		for item := range strings.FieldsSeq(text) {
			if p := s.add(item); p != nil && (p.Message == "" || p.Cure == "") {
				t.Fatalf("%q: %+v", item, p)
			}
		}
		all := slices.Clone(s.prefixes)
		s.normalize()
		a, ok := netip.AddrFromSlice(addr)
		r := &web.Request{}
		if ok {
			r.RemoteAddr = netip.AddrPortFrom(a, 1)
		}
		want := !ok && s.unix || ok && slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
		if got := s.contain(r); got != want {
			t.Fatalf("%q, %v: %v", text, a, got)
		}
	})
}

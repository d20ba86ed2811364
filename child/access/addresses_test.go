package access

import (
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

func setOfAddresses(t testing.TB, items ...string) *configs.Addresses {
	t.Helper()
	set, problems := configs.ParseAddresses(items)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return &set
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
			if !fromOne(s, request(addr)) {
				t.Errorf("%s: %q is not in", c.from, addr)
			}
		}
		for _, addr := range c.out {
			if fromOne(s, request(addr)) {
				t.Errorf("%s: %q is in", c.from, addr)
			}
		}
	}
}

// A proxy whose word about the client was not taken does not lend the client its own address.
func TestFromBehindProxies(t *testing.T) {
	s := setOfAddresses(t, "loopback", "unix")
	for _, addr := range []string{"127.0.0.1", ""} {
		r := request(addr)
		web.SetRelayed(r)
		if !fromOne(s, r) {
			t.Errorf("%q: a proxy that speaks for itself is not in", addr)
		}
		web.SetUnknownClient(r)
		if fromOne(s, r) {
			t.Errorf("%q: nobody knows the client, and it is in", addr)
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
		"all":                   `write "0.0.0.0/0" and "::/0"`,
		"::ffff:10.0.0.0/80":    `write "::/80" for all of it`,
		"example.org":           "a word",
		"Unix":                  "a word",
		"192.168.001.1":         "neither an address nor a prefix",
		" 10.0.0.0/8":           "neither an address nor a prefix",
		"10.0.0.0/8, 9.0.0.0/8": "neither an address nor a prefix",
	} {
		if _, p := configs.ParseAddresses([]string{item}); len(p) != 1 || p[0].Item != 1 || !strings.Contains(p[0].Error(), want) {
			t.Errorf("%q: %v, want %q", item, p, want)
		}
	}
}

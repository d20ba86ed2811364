package child

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// trusting are the proxies of the tests: 10.0.0.0/8, 2001:db8:1::/48 and, on request, the peers of unix sockets.
func trusting(unix bool) *configs.Addresses {
	return &configs.Addresses{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}, Unix: unix}
}

// request makes a request from peer ("": a unix socket) with "Name: value" field lines.
func requestFrom(peer string, lines ...string) *web.Request {
	r := &web.Request{Scheme: schemeHTTP}
	if peer != "" {
		r.RemoteAddr = netip.MustParseAddrPort(peer)
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	return r
}

func TestClientAddress(t *testing.T) {
	const (
		proxy  = "10.0.0.1:4000"
		direct = "192.0.2.9:4000"
	)
	auto, x, rfc := forwardedAuto, forwardedX, forwardedRFC
	for _, c := range []struct {
		name   string
		field  forwardedField
		peer   string
		lines  []string
		client string // "": a unix socket
		scheme string // "": http
	}{
		{name: "no fields", peer: proxy, client: proxy},
		{name: "one client", peer: proxy, lines: []string{"X-Forwarded-For: 192.0.2.1"}, client: "192.0.2.1:0"},
		{name: "any case", peer: proxy, lines: []string{"x-forwarded-for: 192.0.2.1"}, client: "192.0.2.1:0"},
		{name: "peer is not trusted", peer: direct, lines: []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "Forwarded: for=192.0.2.1;proto=https"}, client: direct},
		{name: "unix peer is not trusted", peer: "", lines: []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"}, client: ""},

		{name: "spoofed to the left", peer: proxy, lines: []string{"X-Forwarded-For: 203.0.113.5, 192.0.2.1"}, client: "192.0.2.1:0"},
		{name: "spoofed as a trusted proxy", peer: proxy, lines: []string{"X-Forwarded-For: 203.0.113.5, 10.9.9.9, 192.0.2.1"}, client: "192.0.2.1:0"},
		{name: "spoofed in a line of its own", peer: proxy, lines: []string{"X-Forwarded-For: 203.0.113.5", "Other: x", "X-Forwarded-For: 192.0.2.1"}, client: "192.0.2.1:0"},
		{name: "chain of trusted proxies", peer: proxy, lines: []string{"X-Forwarded-For: 203.0.113.5, 192.0.2.1, 10.0.0.3,10.0.0.2"}, client: "192.0.2.1:0"},
		{name: "chain over lines", peer: proxy, lines: []string{"X-Forwarded-For: 203.0.113.5, 192.0.2.1", "X-Forwarded-For: 10.0.0.3", "X-Forwarded-For: 2001:db8:1::5, 10.0.0.2"}, client: "192.0.2.1:0"},
		{name: "all are trusted", peer: proxy, lines: []string{"X-Forwarded-For: 10.0.0.4, 10.0.0.3"}, client: "10.0.0.4:0"},
		{name: "garbage stops", peer: proxy, lines: []string{"X-Forwarded-For: 192.0.2.1, garbage, 10.0.0.3"}, client: "10.0.0.3:0"},
		{name: "garbage at once", peer: proxy, lines: []string{"X-Forwarded-For: 192.0.2.1, garbage"}, client: proxy},
		{name: "garbage is not reached", peer: proxy, lines: []string{"X-Forwarded-For: \"garbage\x80, 192.0.2.1"}, client: "192.0.2.1:0"},
		{name: "unknown stops", peer: proxy, lines: []string{"X-Forwarded-For: unknown"}, client: proxy},
		{name: "hidden stops", peer: proxy, lines: []string{"X-Forwarded-For: 192.0.2.1, _hidden, 10.0.0.2"}, client: "10.0.0.2:0"},
		{name: "empty", peer: proxy, lines: []string{"X-Forwarded-For: "}, client: proxy},
		{name: "empty elements", peer: proxy, lines: []string{"X-Forwarded-For: ,, 192.0.2.1 , ,"}, client: "192.0.2.1:0"},
		{name: "very long", peer: proxy, lines: []string{"X-Forwarded-For: " + strings.Repeat("1", 9000)}, client: proxy},
		{name: "mapped", peer: proxy, lines: []string{"X-Forwarded-For: ::ffff:192.0.2.1, ::ffff:10.0.0.2"}, client: "192.0.2.1:0"},
		{name: "ports", peer: proxy, lines: []string{"X-Forwarded-For: [2001:db8::1]:80, 10.0.0.2:1"}, client: "[2001:db8::1]:80"},
		{name: "unix peer", peer: "", lines: []string{"X-Forwarded-For: 192.0.2.1:5"}, client: "192.0.2.1:5"},

		{name: "scheme", peer: proxy, lines: []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: HTTPS"}, client: "192.0.2.1:0", scheme: "https"},
		{name: "scheme alone", peer: proxy, lines: []string{"X-Forwarded-Proto: https"}, client: proxy, scheme: "https"},
		{name: "other scheme", peer: proxy, lines: []string{"X-Forwarded-Proto: wss"}, client: proxy},
		{name: "spoofed scheme", peer: proxy, lines: []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https, http"}, client: "192.0.2.1:0"},
		{name: "scheme of the client's hop", peer: proxy, lines: []string{"X-Forwarded-For: 192.0.2.1, 10.0.0.2", "X-Forwarded-Proto: http, https", "X-Forwarded-Proto: http"}, client: "192.0.2.1:0", scheme: "https"},
		{name: "scheme passed on", peer: proxy, lines: []string{"X-Forwarded-For: 192.0.2.1, 10.0.0.2", "X-Forwarded-Proto: https"}, client: "192.0.2.1:0", scheme: "https"},

		{name: "Forwarded", peer: proxy, lines: []string{"Forwarded: for=192.0.2.1;proto=https;by=203.0.113.43"}, client: "192.0.2.1:0", scheme: "https"},
		{name: "Forwarded, quoted", peer: proxy, lines: []string{`forwarded: By="[2001:db8::9]:1, x";For="[2001:db8:cafe::17]:4711"`}, client: "[2001:db8:cafe::17]:4711"},
		{name: "Forwarded, chain", peer: proxy, lines: []string{`Forwarded: for=203.0.113.5;proto=https, for=192.0.2.1; proto=https`, `Forwarded: for="10.0.0.3";proto=http, for=10.0.0.2;host="a,b\"c"`}, client: "192.0.2.1:0", scheme: "https"},
		{name: "Forwarded, spoofed scheme", peer: proxy, lines: []string{"Forwarded: for=203.0.113.5;proto=https, for=192.0.2.1;proto=http"}, client: "192.0.2.1:0"},
		{name: "Forwarded, scheme of the hop only", peer: proxy, lines: []string{"Forwarded: for=192.0.2.1, for=10.0.0.2;proto=https"}, client: "192.0.2.1:0"},
		{name: "Forwarded, open quote to the left", peer: proxy, lines: []string{`Forwarded: for="203.0.113.5, for=192.0.2.1`}, client: "192.0.2.1:0"},
		{name: "Forwarded, open quote before a quoted one", peer: proxy, lines: []string{`Forwarded: for=", for="[2001:db8::1]"`}, client: "[2001:db8::1]:0"},
		{name: "Forwarded, backslash to the left", peer: proxy, lines: []string{`Forwarded: for="\, for="192.0.2.1"`}, client: "192.0.2.1:0"},
		{name: "Forwarded, open quote itself", peer: proxy, lines: []string{`Forwarded: for=192.0.2.1, for=10.0.0.2, for=10.0.0.3"`}, client: proxy},
		{name: "Forwarded, hidden", peer: proxy, lines: []string{`Forwarded: for=192.0.2.1, for="_gazonk";proto=https, for=10.0.0.2`}, client: "10.0.0.2:0", scheme: "https"},
		{name: "Forwarded, unknown", peer: proxy, lines: []string{"Forwarded: for=unknown"}, client: proxy},
		{name: "Forwarded, without for", peer: proxy, lines: []string{"Forwarded: for=192.0.2.1, proto=https"}, client: proxy, scheme: "https"},
		{name: "Forwarded, twice", peer: proxy, lines: []string{"Forwarded: for=192.0.2.1;for=192.0.2.2"}, client: proxy},
		{name: "Forwarded, hidden port", peer: proxy, lines: []string{`Forwarded: for="192.0.2.1:_http"`}, client: "192.0.2.1:0"},
		{name: "Forwarded, unquoted IPv6", peer: proxy, lines: []string{"Forwarded: for=[2001:db8::1]:80"}, client: "[2001:db8::1]:80"},
		{name: "Forwarded, white space in the pair", peer: proxy, lines: []string{"Forwarded: for = 192.0.2.1"}, client: proxy},
		{name: "Forwarded, empty pairs", peer: proxy, lines: []string{"Forwarded: ;;for=192.0.2.1;;proto=https;"}, client: "192.0.2.1:0", scheme: "https"},
		{name: "Forwarded leaves X-Forwarded-Proto alone", peer: proxy, lines: []string{"Forwarded: for=192.0.2.1", "X-Forwarded-Proto: https"}, client: "192.0.2.1:0"},

		{name: "both agree", peer: proxy, lines: []string{"Forwarded: for=192.0.2.1;proto=https", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"}, client: "192.0.2.1:0", scheme: "https"},
		{name: "both agree, but for the scheme", peer: proxy, lines: []string{"Forwarded: for=192.0.2.1;proto=https", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http"}, client: "192.0.2.1:0"},
		{name: "both agree, one has a scheme", peer: proxy, lines: []string{"Forwarded: for=192.0.2.1;proto=https", "X-Forwarded-For: 192.0.2.1"}, client: "192.0.2.1:0"},
		{name: "both differ", peer: proxy, lines: []string{"Forwarded: for=203.0.113.5;proto=https", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"}, client: proxy},
		{name: "one is empty", peer: proxy, lines: []string{"Forwarded: proto=https", "X-Forwarded-For: 192.0.2.1"}, client: proxy},
		{name: "X-Forwarded-For is named", field: x, peer: proxy, lines: []string{"Forwarded: for=203.0.113.5;proto=https", "X-Forwarded-For: 192.0.2.1"}, client: "192.0.2.1:0"},
		{name: "Forwarded is named", field: rfc, peer: proxy, lines: []string{"Forwarded: for=192.0.2.1", "X-Forwarded-For: 203.0.113.5", "X-Forwarded-Proto: https"}, client: "192.0.2.1:0"},
		{name: "named and absent", field: rfc, peer: proxy, lines: []string{"X-Forwarded-For: 203.0.113.5", "X-Forwarded-Proto: https"}, client: proxy},
		{name: "the other named and absent", field: x, peer: proxy, lines: []string{"Forwarded: for=203.0.113.5;proto=https"}, client: proxy},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.field == auto { // where a field is named alone, naming it changes nothing
				var has []string
				for _, line := range c.lines {
					if name, _, _ := strings.Cut(strings.ToLower(line), ":"); name == "forwarded" || strings.HasPrefix(name, "x-forwarded") {
						has = append(has, name)
					}
				}
				switch {
				case !slices.Contains(has, "forwarded"):
					check(t, x, c.peer, c.lines, c.client, c.scheme)
				case !slices.ContainsFunc(has, func(name string) bool { return name != "forwarded" }):
					check(t, rfc, c.peer, c.lines, c.client, c.scheme)
				}
			}
			check(t, c.field, c.peer, c.lines, c.client, c.scheme)
		})
	}
}

// check runs identify over a request and compares who the client is.
func check(t *testing.T, field forwardedField, peer string, lines []string, client, scheme string) {
	t.Helper()
	r := requestFrom(peer, lines...)
	before := r.Header.Clone()
	unix := client != "" // a case that wants the socket's own does not trust it
	c := &conn{peer: r.RemoteAddr, listener: &listener{entrance: entrance{proxies: trusting(unix), field: field}}}
	c.identify(r)
	var want netip.AddrPort
	if client != "" {
		want = netip.MustParseAddrPort(client)
	}
	if scheme == "" {
		scheme = "http"
	}
	if r.RemoteAddr != want || r.Scheme != scheme {
		t.Errorf("field %d: %v by %s, want %v by %s", field, r.RemoteAddr, r.Scheme, want, scheme)
	}
	if fmt.Sprint(r.Header) != fmt.Sprint(before) {
		t.Errorf("the fields have changed: %v", r.Header)
	}
}

// Where the proxy's word is not taken, its address is not the client's.
func TestUnknownClient(t *testing.T) {
	for _, c := range []struct {
		lines   []string
		unknown bool
	}{
		{nil, false},
		{[]string{"X-Forwarded-For: 192.0.2.1"}, false},
		{[]string{"X-Forwarded-For: 10.0.0.4"}, false},
		{[]string{"X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1"}, false},
		{[]string{"X-Forwarded-For: 192.0.2.1", "Forwarded: for=127.0.0.1"}, true},
		{[]string{"X-Forwarded-For: garbage"}, true},
		{[]string{"Forwarded: for=unknown"}, true},
		{[]string{"Forwarded: for=_hidden"}, true},
	} {
		r := requestFrom("10.0.0.1:4000", c.lines...)
		forwardedAuto.believe(r, trusting(false))
		if got := web.UnknownClient(r); got != c.unknown {
			t.Errorf("%q: unknown %t, the client is %s", c.lines, got, r.RemoteAddr)
		}
	}
}

func TestParseNode(t *testing.T) {
	for text, want := range map[string]string{
		"1.2.3.4": "1.2.3.4:0", "1.2.3.4:5": "1.2.3.4:5", "1.2.3.4:65535": "1.2.3.4:65535", "1.2.3.4:_x": "1.2.3.4:0",
		"2001:db8::1": "[2001:db8::1]:0", "[2001:db8::1]": "[2001:db8::1]:0", "[2001:DB8::1]:80": "[2001:db8::1]:80", "::": "[::]:0",
		"::ffff:1.2.3.4": "1.2.3.4:0", "[::ffff:1.2.3.4]:7": "1.2.3.4:7", "fe80::1": "[fe80::1]:0",
		"": "", "1.2.3.4:": "", "1.2.3.4:65536": "", "1.2.3.4:-1": "", "1.2.3.4:+1": "", "1.2.3.4:x": "", "1.2.3.4:_": "", "1.2.3.4:_a b": "",
		"1.2.3": "", "1.2.3.4.5": "", "01.2.3.4": "", "256.1.1.1": "", "1.2.3.4 ": "", "[1.2.3.4]": "", "[1.2.3.4]:5": "", "[::1": "", "::1]": "",
		"[::1]80": "", "[::1]:": "", "[]": "", ":": "", "a:b": "", "fe80::1%eth0": "", "[fe80::1%25eth0]": "", "unknown": "", "_hidden": "",
		"_SEVKISEK": "", "unix:": "", "localhost": "", "example.com": "", "c.d": "", "'1.2.3.4'": "", `"1.2.3.4"`: "", "1.2.3.4, 5.6.7.8": "",
	} {
		got, ok := parseNode(text)
		if ok != (want != "") || ok && got != netip.MustParseAddrPort(want) {
			t.Errorf("%q: %v, %v; want %q", text, got, ok, want)
		}
	}
}

// Behind a PROXY header the walk begins at the client that it names, not at the peer.
func TestClientAddressBehindAProxyHeader(t *testing.T) {
	balancer := netip.MustParseAddrPort("10.0.0.1:1")
	for _, c := range []struct {
		name           string
		e              entry
		client, scheme string
	}{
		{"a client", entry{client: netip.MustParseAddrPort("192.0.2.1:5")}, "192.0.2.1:5", "http"},
		{"a client by TLS", entry{client: netip.MustParseAddrPort("192.0.2.1:5"), https: true}, "192.0.2.1:5", "https"},
		{"another proxy", entry{client: netip.MustParseAddrPort("10.0.0.2:5")}, "203.0.113.5:0", "https"},
		{"another proxy by TLS", entry{client: netip.MustParseAddrPort("10.0.0.2:5"), https: true}, "203.0.113.5:0", "https"},
		{"the balancer itself", entry{}, "203.0.113.5:0", "https"},
		{"a client that it hides", entry{hidden: true}, "10.0.0.1:1", "http"},
	} {
		r := requestFrom(balancer.String(), "X-Forwarded-For: 203.0.113.5", "X-Forwarded-Proto: https")
		at := &conn{peer: balancer, entry: &c.e, listener: &listener{entrance: entrance{proxies: trusting(false)}}}
		at.identify(r)
		if r.RemoteAddr != netip.MustParseAddrPort(c.client) || r.Scheme != c.scheme {
			t.Errorf("%s: %v by %s", c.name, r.RemoteAddr, r.Scheme)
		}
		if relayed := c.client == "203.0.113.5:0"; web.Relayed(r) != relayed {
			t.Errorf("%s: relayed %v", c.name, !relayed)
		}
	}
}

// What every request behind a proxy pays takes no memory.
func TestClientAddressAllocatesNothing(t *testing.T) {
	for _, lines := range [][]string{
		{"Host: x", "X-Forwarded-For: 203.0.113.5, 192.0.2.1, 10.0.0.2", "X-Forwarded-Proto: https", "User-Agent: y"},
		{"Host: x", `Forwarded: for="[2001:db8::1]:5";proto=https, for=10.0.0.2;proto=http`},
		{"Host: x", "X-Forwarded-For: unknown"},
	} {
		r := requestFrom("10.0.0.1:4000", lines...)
		c := &conn{peer: r.RemoteAddr, listener: &listener{entrance: entrance{proxies: trusting(false)}}}
		if n := testing.AllocsPerRun(100, func() {
			r.RemoteAddr = c.peer
			c.identify(r)
		}); n > 0 {
			t.Errorf("%v: %v allocations", lines, n)
		}
	}
}

// What stands to the left of what the proxies have written never changes who the client is.
func FuzzClientAddress(f *testing.F) {
	for _, left := range []string{"203.0.113.5", `"`, `for="`, `for="\`, `\"`, ",", "for=10.0.0.1;proto=https", "a=\"b,c\"", "10.0.0.3, unknown"} {
		f.Add(left, "192.0.2.1")
	}
	f.Fuzz(func(t *testing.T, left, node string) {
		client, ok := parseNode(node)
		if trusted := trusting(false); !ok || trusted.Contains(client.Addr()) || strings.ContainsAny(node, "\",;\\ \t") {
			return
		}
		peer := netip.MustParseAddrPort("10.0.0.1:1")
		for _, lines := range [][]string{
			{"X-Forwarded-For: " + left + "," + node},
			{"X-Forwarded-For: " + left, "X-Forwarded-For: " + node + ", 10.0.0.2"},
			{"Forwarded: " + left + `, for="` + node + `";proto=http`},
			{"Forwarded: " + left, "Forwarded: proto=http;for=" + node, `Forwarded: for="10.0.0.2"`},
		} {
			r := requestFrom(peer.String(), lines...)
			c := &conn{peer: peer, listener: &listener{entrance: entrance{proxies: trusting(false)}}}
			c.identify(r)
			if r.RemoteAddr != client || r.Scheme != "http" {
				t.Errorf("%q: %v by %s, want %v", lines, r.RemoteAddr, r.Scheme, client)
			}
		}
	})
}

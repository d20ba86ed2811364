package router

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
)

// routes makes Patterns whose values are name and pattern.
func routes(t testing.TB, name string, patterns ...string) *web.Patterns[string] {
	t.Helper()
	p := new(web.Patterns[string])
	for _, s := range patterns {
		pattern, err := web.ParsePattern(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Add(pattern, name+" "+s); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func site(t testing.TB, name string, listeners []int, hosts ...string) Site[string] {
	return Site[string]{Name: name, Hosts: hosts, Listeners: listeners, Routes: routes(t, name, "/", "GET /"+name+"/{x}")}
}

func testRouter(t testing.TB) *Router[string] {
	t.Helper()
	r, err := New([]Site[string]{
		site(t, "main", []int{0, 1}),
		site(t, "shop", []int{0}, "shop.example", "Shop2.Example."),
		site(t, "wild", []int{0}, "*.example"),
		site(t, "deep", []int{0}, "*.deep.example", "192.0.2.1"),
		site(t, "six", []int{0}, "[2001:DB8::1]", "[::1]"),
		site(t, "other", []int{3}, "shop.example"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSite(t *testing.T) {
	r := testRouter(t)
	long := strings.Repeat("a.", 200) + "example"
	for _, c := range []struct {
		listener int
		host     string
		want     string // "" for none
	}{
		{0, "", "main"},
		{0, "example", "main"}, // the bare suffix is not below itself
		{0, ".example", "main"},
		{0, "shop.example", "shop"},
		{0, "SHOP.Example:8080", "shop"},
		{0, "shop.example.", "shop"},
		{0, "shop.example.:80", "shop"},
		{0, "shop.example..", "main"},
		{0, "shop.example:", "shop"},
		{0, "shop2.example", "shop"},
		{0, "a.example", "wild"},
		{0, "a.b.c.example", "wild"},
		{0, "A.B.Example", "wild"},
		{0, "deep.example", "wild"},
		{0, "x.deep.example", "deep"},
		{0, "y.x.DEEP.example.:1", "deep"},
		{0, "xdeep.example", "wild"},
		{0, "notexample", "main"},
		{0, "shop.example.org", "main"},
		{0, "192.0.2.1", "deep"},
		{0, "192.0.2.1:80", "deep"},
		{0, "192.0.2.2", "main"},
		{0, "[2001:db8::1]", "six"},
		{0, "[2001:DB8:0:0:0:0:0:1]:443", "six"},
		{0, "[::1]", "six"},
		{0, "[::2]", "main"},
		{0, "[::1", "main"},
		{0, "[]", "main"},
		{0, "[192.0.2.1]", "main"},
		{0, "::1", "main"},
		{0, long, "main"}, // longer than a name can be
		{0, strings.Repeat("A", 300) + ".example", "main"},
		{0, "ünï.example", "wild"},
		{1, "shop.example", "main"},
		{1, "[::1]", "main"},
		{2, "shop.example", ""},
		{3, "shop.example", "other"},
		{3, "a.example", ""},
		{3, "[::1]", ""},
		{4, "shop.example", ""},
		{-1, "shop.example", ""},
	} {
		got := ""
		if i := r.Site(c.listener, c.host); i >= 0 {
			got = r.sites[i].Name
		}
		if got != c.want {
			t.Errorf("listener %d, host %q: %q, want %q", c.listener, c.host, got, c.want)
		}
	}
}

func TestLookup(t *testing.T) {
	r := testRouter(t)
	m := web.Match{Params: []web.Param{{Name: "old"}}, Location: "/old", Allow: "OLD"}
	if v, site, result := r.Lookup(2, "shop.example", "GET", "/", &m); v != "" || site != -1 || result != web.Missing {
		t.Error(v, site, result)
	}
	if len(m.Params) != 0 || m.Location != "" || m.Allow != "" {
		t.Errorf("the match was not reset: %+v", m)
	}
	if v, site, result := r.Lookup(0, "SHOP.example:80", "GET", "/shop/7", &m); v != "shop GET /shop/{x}" || site != 1 ||
		result != web.Found || m.Param("x") != "7" {
		t.Error(v, site, result, m)
	}
	// A site answers for its hosts alone: no other site's routes are tried.
	if v, _, result := r.Lookup(0, "a.example", "GET", "/shop/7", &m); v != "wild /" || result != web.Found {
		t.Error(v, result)
	}
	empty, err := New([]Site[string]{{Name: "empty", Listeners: []int{0}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, site, result := empty.Lookup(0, "x", "GET", "/", &m); site != 0 || result != web.Missing {
		t.Error(site, result)
	}
	if !r.Names("HEAD") || r.Names("PUT") {
		t.Error("Names")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		says  string
		sites []Site[string]
	}{
		{`site "b": a second default site (without hosts) on listener 1, of site "a"`,
			[]Site[string]{{Name: "a", Listeners: []int{0, 1}}, {Name: "b", Listeners: []int{1}}}},
		{`site "b": host "X.example." is there already on listener 0, of site "a"`,
			[]Site[string]{{Name: "a", Hosts: []string{"x.example"}, Listeners: []int{0}}, {Name: "b", Hosts: []string{"X.example."}, Listeners: []int{0}}}},
		{`is there already`,
			[]Site[string]{{Name: "a", Hosts: []string{"*.example", "*.EXAMPLE"}, Listeners: []int{0}}}},
		{`is there already`,
			[]Site[string]{{Name: "a", Hosts: []string{"[::1]", "[0:0::1]"}, Listeners: []int{0}}}},
		{`listener -1`, []Site[string]{{Name: "a", Listeners: []int{-1}}}},
		{`no port`, []Site[string]{{Name: "a", Hosts: []string{"a:80"}, Listeners: []int{0}}}},
	} {
		if _, err := New(c.sites); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want %q", err, c.says)
		}
	}
}

func TestParseHost(t *testing.T) {
	for in, want := range map[string]string{
		"Example.COM.": "example.com", "*.A.b": "*.a.b", "localhost": "localhost", "10.0.0.1": "10.0.0.1",
		"xn--bcher-kva.example": "xn--bcher-kva.example", "_x.example": "_x.example",
	} {
		if got, _, err := ParseHost(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	if _, address, err := ParseHost("[2001:DB8::0:1]"); err != nil || address != netip.MustParseAddr("2001:db8::1") {
		t.Error(address, err)
	}
	for in, says := range map[string]string{
		"":                       "no hosts for the default site",
		".":                      "no hosts for the default site",
		"*":                      `write "*.example.com"`,
		"*.":                     `write "*.example.com"`,
		"*a.example":             `write "*.example.com"`,
		"a.*.example":            "at the beginning only",
		"a:80":                   "no port",
		"[::1]:80":               "without port",
		"[::1%eth0]":             "zone",
		"[10.0.0.1]":             "IPv6",
		"::1":                    "write [::1]",
		"http://a":               "no port",
		"a/b":                    "without scheme and path",
		"bücher.example":         "xn--",
		"a b":                    `" " cannot be part`,
		"a..b":                   "empty",
		".a":                     "empty",
		"*..a":                   "empty",
		strings.Repeat("a", 254): "longer than 253",
	} {
		if host, _, err := ParseHost(in); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %q, %v; want %q", in, host, err, says)
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	r := testRouter(t)
	m := web.Match{Params: make([]web.Param, 0, 4)}
	for _, host := range []string{"shop.example", "a.b.c.example:80", "SHOP.EXAMPLE", "A.B.EXAMPLE.", "[2001:db8::1]:80", "unknown", ""} {
		if n := testing.AllocsPerRun(100, func() { r.Lookup(0, host, "GET", "/x", &m) }); n != 0 {
			t.Errorf("%q: %v allocations", host, n)
		}
	}
}

// slowSite is Site written down as its rule says, without regard for speed.
func slowSite(sites []Site[string], host string) int {
	host = strings.Map(func(c rune) rune { // ASCII only
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, host)
	if !strings.HasPrefix(host, "[") {
		host, _, _ = strings.Cut(host, ":")
		host = strings.TrimSuffix(host, ".")
	}
	best, length := 0, -1
	for i, s := range sites {
		for _, h := range s.Hosts {
			suffix, wild := strings.CutPrefix(h, "*")
			switch {
			case !wild && h == host:
				return i
			case wild && strings.HasSuffix(host, suffix) && len(host) > len(suffix) && len(suffix) > length && len(host) <= maxHost:
				best, length = i, len(suffix)
			}
		}
	}
	return best
}

func FuzzSite(f *testing.F) {
	var sites []Site[string]
	for i, hosts := range []string{"", "a.example b.example", "*.example", "*.a.example *.b", "a"} {
		sites = append(sites, Site[string]{Name: fmt.Sprint(i), Hosts: strings.Fields(hosts), Listeners: []int{0}})
	}
	r, err := New(sites)
	if err != nil {
		f.Fatal(err)
	}
	for _, host := range []string{"", "a.example:80", "x.A.example.", ".example", "..example", "[::1]:80", "[", ":", "x.b", "a.", "\xff.example"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		got := r.Site(0, host)
		if want := slowSite(sites, host); !strings.HasPrefix(host, "[") && got != want {
			t.Fatalf("%q: site %d, want %d", host, got, want)
		}
		if _, _, err := ParseHost(host); err == nil && !slices.Contains([]int{0, 1, 2, 3, 4}, got) {
			t.Fatalf("%q: site %d", host, got)
		}
	})
}

func BenchmarkSite(b *testing.B) {
	var sites []Site[string]
	sites = append(sites, Site[string]{Name: "default", Listeners: []int{0}})
	for i := range 100 {
		sites = append(sites, Site[string]{Name: fmt.Sprint(i), Listeners: []int{0},
			Hosts: []string{fmt.Sprintf("host%d.example.com", i), fmt.Sprintf("*.wild%d.example.com", i)}})
	}
	r, err := New(sites)
	if err != nil {
		b.Fatal(err)
	}
	only, err := New(sites[:1])
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name, host string
		router     *Router[string]
	}{
		{"default-only", "www.example.com:8080", only},
		{"exact", "host50.example.com:8080", r},
		{"suffix", "a.b.wild50.example.com", r},
		{"upper-case", "Host50.Example.com", r},
		{"unknown", "www.elsewhere.example.org", r},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				c.router.Site(0, c.host)
			}
		})
	}
}

package child

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore"
)

// version2 makes a header of version 2: the 13th and 14th byte, and what follows the length.
func version2(command, family byte, block ...string) string {
	all := strings.Join(block, "")
	return proxyV2Signature + string([]byte{command, family}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(all)))) + all
}

// vector makes a type-length-value vector.
func vector(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value
}

// checked puts the checksum into a header whose last vector is one with zeros.
func checked(header string) string {
	sum := crc32.Checksum([]byte(header), crc32.MakeTable(crc32.Castagnoli))
	return header[:len(header)-4] + string(binary.BigEndian.AppendUint32(nil, sum))
}

var (
	v4Block = "\xc0\x00\x02\x01\xc6\x33\x64\x07\x04\xd2\x01\xbb"                           // 192.0.2.1:1234 to 198.51.100.7:443
	v6Block = "\x20\x01\x0d\xb8" + zeros(11) + "\x01" + zeros(15) + "\x01\x04\xd2\x01\xbb" // [2001:db8::1]:1234 to [::1]:443
	mapped  = zeros(10) + "\xff\xff\xc0\x00\x02\x01" + zeros(15) + "\x01\x04\xd2\x01\xbb"
	overTLS = vector(proxyTypeSSL, "\x01\x00\x00\x00\x00"+vector(0x21, "TLSv1.3"))
	noSum   = vector(proxyTypeCRC32C, zeros(4))
)

func zeros(n int) string { return strings.Repeat("\x00", n) }

// proxyCases are headers and what they say: client and server with a space between them and "https" behind, "own", "hidden", or "" for
// a refusal. Parts marked spec are examples of the protocol's document.
var proxyCases = []struct{ name, header, want string }{
	{"v1", "PROXY TCP4 192.0.2.1 198.51.100.7 1234 443\r\n", "192.0.2.1:1234 198.51.100.7:443"},
	{"v1, spec", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1:56324 192.168.0.11:443"},
	{"v1, the longest of IPv4, spec", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535 255.255.255.255:65535"},
	{"v1, the longest of IPv6, spec", "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535 [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
	{"v1, unknown, spec", "PROXY UNKNOWN\r\n", "hidden"},
	{"v1, the longest, spec", "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", "hidden"},
	{"v1, unknown with anything", "PROXY UNKNOWN what ever\r\n", "hidden"},
	{"v1, IPv6", "PROXY TCP6 2001:db8::1 ::1 1234 443\r\n", "[2001:db8::1]:1234 [::1]:443"},
	{"v1, mapped", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6407 1234 443\r\n", "192.0.2.1:1234 198.51.100.7:443"},
	{"v1, port 0", "PROXY TCP4 192.0.2.1 198.51.100.7 0 443\r\n", "192.0.2.1:0 198.51.100.7:443"},
	{"v1, one byte too long", "PROXY UNKNOWN " + strings.Repeat("f", 92) + "\r\n", ""},
	{"v1, as long as it may be", "PROXY UNKNOWN " + strings.Repeat("f", 91) + "\r\n", "hidden"},
	{"v1, no end", "PROXY UNKNOWN " + strings.Repeat("f", 200), ""},
	{"v1, LF alone", "PROXY TCP4 192.0.2.1 198.51.100.7 1234 443\n", ""},
	{"v1, CR alone", "PROXY TCP4 192.0.2.1 198.51.100.7 1234 443\rx", ""},
	{"v1, CR within", "PROXY UNKNOWN a\rb\r\n", ""},
	{"v1, lower case", "proxy TCP4 192.0.2.1 198.51.100.7 1234 443\r\n", ""},
	{"v1, lower case protocol", "PROXY tcp4 192.0.2.1 198.51.100.7 1234 443\r\n", ""},
	{"v1, no space", "PROXYTCP4 192.0.2.1 198.51.100.7 1234 443\r\n", ""},
	{"v1, other protocol", "PROXY UDP4 192.0.2.1 198.51.100.7 1234 443\r\n", ""},
	{"v1, longer protocol", "PROXY UNKNOWNS\r\n", ""},
	{"v1, two spaces", "PROXY TCP4  192.0.2.1 198.51.100.7 1234 443\r\n", ""},
	{"v1, space at the end", "PROXY TCP4 192.0.2.1 198.51.100.7 1234 443 \r\n", ""},
	{"v1, too many", "PROXY TCP4 192.0.2.1 198.51.100.7 1234 443 x\r\n", ""},
	{"v1, too few", "PROXY TCP4 192.0.2.1 198.51.100.7 1234\r\n", ""},
	{"v1, nothing", "PROXY TCP4\r\n", ""},
	{"v1, tab", "PROXY TCP4\t192.0.2.1 198.51.100.7 1234 443\r\n", ""},
	{"v1, other family", "PROXY TCP4 2001:db8::1 ::1 1234 443\r\n", ""},
	{"v1, the other family", "PROXY TCP6 192.0.2.1 198.51.100.7 1234 443\r\n", ""},
	{"v1, leading zero", "PROXY TCP4 192.0.02.1 198.51.100.7 1234 443\r\n", ""},
	{"v1, three numbers", "PROXY TCP4 192.0.2 198.51.100.7 1234 443\r\n", ""},
	{"v1, zone", "PROXY TCP6 fe80::1%lo ::1 1234 443\r\n", ""},
	{"v1, leading zero of a port", "PROXY TCP4 192.0.2.1 198.51.100.7 01234 443\r\n", ""},
	{"v1, sign", "PROXY TCP4 192.0.2.1 198.51.100.7 +1234 443\r\n", ""},
	{"v1, negative", "PROXY TCP4 192.0.2.1 198.51.100.7 -0 443\r\n", ""},
	{"v1, port too large", "PROXY TCP4 192.0.2.1 198.51.100.7 65536 443\r\n", ""},
	{"v1, no port", "PROXY TCP4 192.0.2.1 198.51.100.7  443\r\n", ""},
	{"v1, NUL", "PROXY TCP4 192.0.2.1\x00 198.51.100.7 1234 443\r\n", ""},

	{"v2", version2(0x21, 0x11, v4Block), "192.0.2.1:1234 198.51.100.7:443"},
	{"v2, IPv6", version2(0x21, 0x21, v6Block), "[2001:db8::1]:1234 [::1]:443"},
	{"v2, mapped", version2(0x21, 0x21, mapped), "192.0.2.1:1234 [::1]:443"},
	{"v2, datagrams", version2(0x21, 0x12, v4Block), "192.0.2.1:1234 198.51.100.7:443"},
	{"v2, datagrams, IPv6", version2(0x21, 0x22, v6Block), "[2001:db8::1]:1234 [::1]:443"},
	{"v2, unix", version2(0x21, 0x31, zeros(216)), "hidden"},
	{"v2, unix datagrams", version2(0x21, 0x32, zeros(216)), "hidden"},
	{"v2, unix, too short", version2(0x21, 0x31, zeros(215)), ""},
	{"v2, local", version2(0x20, 0x00), "own"},
	{"v2, local with a family", version2(0x20, 0x11, v4Block), "own"},
	{"v2, local with a family that is none", version2(0x20, 0xff, "anything"), "own"},
	{"v2, unspecified", version2(0x21, 0x00), "hidden"},
	{"v2, unspecified with a block", version2(0x21, 0x00, "anything"), "hidden"},
	{"v2, unspecified transport", version2(0x21, 0x10, v4Block), "hidden"},
	{"v2, unspecified family", version2(0x21, 0x01), "hidden"},
	{"v2, too short", version2(0x21, 0x11, v4Block[:11]), ""},
	{"v2, IPv6, too short", version2(0x21, 0x21, v6Block[:35]), ""},
	{"v2, empty", version2(0x21, 0x11), ""},
	{"v2, other family", version2(0x21, 0x41, zeros(216)), ""},
	{"v2, other transport", version2(0x21, 0x13, v4Block), ""},
	{"v2, other command", version2(0x22, 0x11, v4Block), ""},
	{"v2, version 1", version2(0x11, 0x11, v4Block), ""},
	{"v2, version 3", version2(0x31, 0x11, v4Block), ""},
	{"v2, vectors", version2(0x21, 0x11, v4Block, vector(2, "example.com"), vector(4, zeros(9)), vector(0xe0, "")), "192.0.2.1:1234 198.51.100.7:443"},
	{"v2, TLS", version2(0x21, 0x21, v6Block, vector(1, "h2"), overTLS), "[2001:db8::1]:1234 [::1]:443 https"},
	{"v2, no TLS", version2(0x21, 0x11, v4Block, vector(proxyTypeSSL, "\x00\x00\x00\x00\x00")), "192.0.2.1:1234 198.51.100.7:443"},
	{"v2, empty TLS", version2(0x21, 0x11, v4Block, vector(proxyTypeSSL, "")), "192.0.2.1:1234 198.51.100.7:443"},
	{"v2, half a vector", version2(0x21, 0x11, v4Block, "\x04\x00"), ""},
	{"v2, vector over the end", version2(0x21, 0x11, v4Block, "\x04\x00\x02x"), ""},
	{"v2, checksum", checked(version2(0x21, 0x11, v4Block, overTLS, noSum)), "192.0.2.1:1234 198.51.100.7:443 https"},
	{"v2, checksum of unix", checked(version2(0x21, 0x31, zeros(216), noSum)), "hidden"},
	{"v2, wrong checksum", version2(0x21, 0x11, v4Block, noSum), ""},
	{"v2, wrong checksum of unix", version2(0x21, 0x31, zeros(216), noSum), ""},
	{"v2, changed behind the checksum", strings.Replace(checked(version2(0x21, 0x11, v4Block, noSum)), "\xc0\x00\x02\x01", "\xc0\x00\x02\x02", 1), ""},
	{"v2, short checksum", version2(0x21, 0x11, v4Block, vector(proxyTypeCRC32C, zeros(3))), ""},
	{"v2, as long as it may be", version2(0x21, 0x11, v4Block, vector(4, zeros(proxyV2Max-proxyV2Fixed-12-3))), "192.0.2.1:1234 198.51.100.7:443"},
	{"v2, too long", version2(0x21, 0x11, v4Block, vector(4, zeros(proxyV2Max-proxyV2Fixed-12-3+1))), ""},
	{"v2, signature with another byte", "\r\n\r\n\x00\r\nQUIT\r" + zeros(4), ""},

	{"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
	{"HTTP, PROXY as a method", "PROXY / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
	{"HTTP behind empty lines", "\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
	{"TLS", "\x16\x03\x01\x02\x00", ""},
}

// describe writes what a header says as proxyCases has it.
func describe(h proxyHeader) string {
	switch {
	case h.own:
		return "own"
	case !h.client.IsValid():
		return "hidden"
	case h.https:
		return fmt.Sprint(h.client, " ", h.server, " https")
	}
	return fmt.Sprint(h.client, " ", h.server)
}

func TestParseProxyHeader(t *testing.T) {
	for _, c := range proxyCases {
		t.Run(c.name, func(t *testing.T) {
			for _, behind := range []string{"", "\r\n", "GET / HTTP/1.1\r\n\r\n", "PROXY UNKNOWN\r\n", zeros(5000)} {
				h, size, err := parseProxyHeader([]byte(c.header + behind))
				if c.want == "" {
					if err == nil && size != 0 {
						t.Fatalf("accepted: %+v, %d bytes", h, size)
					}
					if err == nil && behind == zeros(5000) {
						t.Fatal("5,000 bytes more are still too few for a refusal")
					}
					continue
				}
				if err != nil || size != len(c.header) || describe(h) != c.want {
					t.Fatalf("%q, %d of %d bytes, %v; want %q", describe(h), size, len(c.header), err, c.want)
				}
			}
			everySplit(t, []byte(c.header))
		})
	}
}

// everySplit checks that the parser says "more" of every beginning until it decides, and then keeps to it, whatever follows.
func everySplit(t *testing.T, data []byte) {
	t.Helper()
	whole, size, refused := parseProxyHeader(data)
	for n := range data {
		h, taken, err := parseProxyHeader(data[:n:n])
		switch {
		case err != nil:
			if refused == nil {
				t.Fatalf("the first %d bytes are refused, all %d are not", n, len(data))
			}
			return
		case taken > n:
			t.Fatalf("%d of %d bytes are taken", taken, n)
		case taken > 0 && (taken != size || h != whole):
			t.Fatalf("the first %d bytes give %+v (%d), all of them %+v (%d)", n, h, taken, whole, size)
		case taken == 0 && size > 0 && n >= size:
			t.Fatalf("%d bytes are too few for a header of %d", n, size)
		}
	}
}

// Whatever the bytes are and wherever they are split: one answer, and no look behind the header.
func FuzzProxyHeader(f *testing.F) {
	for _, c := range proxyCases {
		f.Add([]byte(c.header))
		f.Add([]byte(c.header + "GET / HTTP/1.1\r\n\r\n"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 2*proxyV2Max {
			return
		}
		everySplit(t, data)
		h, size, err := parseProxyHeader(data)
		if err != nil || size == 0 {
			if h != (proxyHeader{}) {
				t.Fatalf("no header, and it says %+v", h)
			}
			if err == nil && len(data) >= proxyV2Max {
				t.Fatalf("%d bytes are still too few", len(data))
			}
			return
		}
		if h.client.IsValid() != h.server.IsValid() || h.client.Addr().Is4In6() || h.client.Addr().Zone() != "" {
			t.Fatalf("%+v", h)
		}
		if alone, n, err := parseProxyHeader(data[:size:size]); alone != h || n != size || err != nil {
			t.Fatalf("alone it gives %+v, %d, %v", alone, n, err)
		}
	})
}

// proxied is a configuration whose one listener speaks the PROXY protocol with these peers.
func proxied(trusted, more string) string {
	return more + "\nlisten \"main\" {\n  address         = \"127.0.0.1:0\"\n  proxy_protocol  = true\n  trusted_proxies = " + trusted + "\n}\n"
}

// whoIs answers with who the client is.
var whoIs = web.StringFunc(func(r *web.Request) string { return r.Scheme + " " + r.RemoteAddr.String() })

// wantBody reads an answer and compares its content.
func (p *peer) wantBody(want string) {
	p.t.Helper()
	if r := p.answer("GET"); r.Status != 200 || string(r.Body) != want {
		p.t.Fatalf("%d %q, want %q", r.Status, r.Body, want)
	}
}

const (
	getWho = "GET /who HTTP/1.1\r\nHost: x\r\n\r\n"
	v1Line = "PROXY TCP4 192.0.2.1 198.51.100.7 1234 443\r\n"
)

func TestProxyProtocol(t *testing.T) {
	tc := start(t, proxied(`["127.0.0.1"]`, ""), routes{"GET /who": whoIs})
	t.Run("the request in the same segment", func(t *testing.T) {
		p := tc.dial()
		p.send(v1Line + getWho)
		p.wantBody("http 192.0.2.1:1234")
		p.send(getWho + getWho) // pipelined behind, on the same connection
		p.wantBody("http 192.0.2.1:1234")
		p.wantBody("http 192.0.2.1:1234")
	})
	t.Run("pipelined in the same segment", func(t *testing.T) {
		p := tc.dial()
		p.send(version2(0x21, 0x21, v6Block, overTLS) + strings.Repeat(getWho, 5))
		for range 5 {
			p.wantBody("https [2001:db8::1]:1234")
		}
	})
	for name, header := range map[string]string{"version 1": v1Line, "version 2": checked(version2(0x21, 0x11, v4Block, noSum))} {
		t.Run(name+" byte by byte", func(t *testing.T) {
			p := tc.dial()
			for _, b := range []byte(header + getWho) {
				p.send(string([]byte{b}))
				tc.rests("with a part of a header")
			}
			p.wantBody("http 192.0.2.1:1234")
		})
	}
	t.Run("the proxy's own", func(t *testing.T) {
		p := tc.dial()
		p.send(version2(0x20, 0x00) + getWho)
		p.wantBody("http " + p.LocalAddr().String())
	})
	t.Run("unknown", func(t *testing.T) {
		p := tc.dial()
		p.send("PROXY UNKNOWN\r\nGET /who HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n")
		p.wantBody("http " + p.LocalAddr().String())
	})
	t.Run("a client that is trusted tells another", func(t *testing.T) {
		p := tc.dial()
		p.send("PROXY TCP4 127.0.0.1 127.0.0.1 1234 443\r\nGET /who HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.5\r\nX-Forwarded-Proto: https\r\n\r\n")
		p.wantBody("https 203.0.113.5:0")
	})
	t.Run("a client that is not trusted tells another", func(t *testing.T) {
		p := tc.dial()
		p.send(v1Line + "GET /who HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.5\r\nX-Forwarded-Proto: https\r\n\r\n")
		p.wantBody("http 192.0.2.1:1234")
	})
	t.Run("a header behind a request", func(t *testing.T) {
		p := tc.dial()
		p.send(v1Line + getWho)
		p.wantBody("http 192.0.2.1:1234")
		p.send(v1Line + getWho)
		if r := p.answer("GET"); r.Status != 400 {
			t.Errorf("%d", r.Status)
		}
	})
}

// wantClosed expects the end of the connection without a byte; a reset is an end.
func (p *peer) wantClosed() {
	p.t.Helper()
	if n, err := p.Conn.Read(make([]byte, 1)); n > 0 || err == nil {
		p.t.Fatalf("%d bytes, %v", n, err)
	} else if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		p.t.Fatal("it stays open")
	}
}

func TestProxyProtocolRefuses(t *testing.T) {
	tc := start(t, proxied(`["127.0.0.1"]`, ""), routes{"GET /who": whoIs})
	before := 0
	for name, begin := range map[string]string{
		"a plain request": getWho, "one byte": "G", "a wrong line": "PROXY TCP4 192.0.2.1 198.51.100.7 1234\r\n" + getWho,
		"a wrong checksum": version2(0x21, 0x11, v4Block, noSum) + getWho, "a wrong signature": "\r\n\r\nGET",
	} {
		p := tc.dial()
		p.send(begin)
		p.wantClosed()
		before++
		tc.until(name+" is refused", func(l *loop) bool { return l.numbers.closed[reasonRefused] == uint64(before) && l.table.Len() == 0 })
	}
	tc.until("it is logged", func(*loop) bool { return strings.Contains(tc.loggedLines(), "PROXY header") })
	if log := tc.loggedLines(); strings.Count(log, "PROXY header") != 1 || !strings.Contains(log, `"listener":"main"`) {
		t.Errorf("it is to be logged once in a while: %s", log)
	}
}

// A peer that is not trusted is not even read from: whether a header is there is not guessed.
func TestProxyProtocolOfAStranger(t *testing.T) {
	tc := start(t, proxied(`["192.0.2.0/24"]`, ""), routes{"GET /who": whoIs})
	p := tc.dial()
	p.wantClosed()
	tc.until("it is closed", func(l *loop) bool { return l.numbers.closed[reasonUntrusted] == 1 && l.table.Len() == 0 })
	tc.until("it is logged", func(*loop) bool { return strings.Contains(tc.loggedLines(), "is not in trusted_proxies") })
	// The master's own connections have no header and are served.
	self := tc.inject("self")
	self.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if r := self.answer("GET"); r.Status != 200 {
		t.Errorf("the master's own: %d", r.Status)
	}
}

func TestProxyProtocolTimeout(t *testing.T) {
	tc := start(t, proxied(`["127.0.0.1"]`, "limits {\n  head_timeout = \"150ms\"\n}"), routes{"GET /who": whoIs})
	for name, part := range map[string]string{"nothing": "", "half a line": v1Line[:20], "half a block": version2(0x21, 0x11, v4Block)[:20], "no request": v1Line} {
		closed := uint64(0)
		tc.onLoop(func(l *loop) { closed = l.numbers.closed[reasonHeadTimeout] })
		p := tc.dial()
		p.send(part)
		p.wantClosed()
		tc.until(name+" is closed", func(l *loop) bool { return l.numbers.closed[reasonHeadTimeout] == closed+1 && l.table.Len() == 0 })
	}
}

func TestProxyProtocolHalfAHeaderThenTheEnd(t *testing.T) {
	tc := start(t, proxied(`["127.0.0.1"]`, ""), routes{"GET /who": whoIs})
	for _, part := range []string{"", v1Line[:20], version2(0x21, 0x11, v4Block)[:20]} {
		p := tc.dial()
		p.send(part)
		p.Conn.(*net.TCPConn).CloseWrite()
		p.wantEnd()
	}
	tc.until("all are gone", func(l *loop) bool { return l.table.Len() == 0 })
	// A client that asks, and ends its side, is answered.
	p := tc.dial()
	p.send(v1Line + getWho)
	p.Conn.(*net.TCPConn).CloseWrite()
	p.wantBody("http 192.0.2.1:1234")
	p.wantEnd()
}

// lendUnix gives the child a shard on a unix socket, as another listener would be, and returns a connection to it.
func (tc *testChild) lendUnix(l *listener) *peer {
	tc.t.Helper()
	path := filepath.Join(tc.t.TempDir(), "s")
	fd, err := netcore.Listen(netcore.Endpoint{Network: "unix", Path: path}, netcore.ListenOptions{})
	if err != nil {
		tc.t.Fatal(err)
	}
	tc.onLoop(func(loop *loop) { loop.lend([]*shard{{fd: fd, listener: l}}) })
	conn, err := net.Dial("unix", path)
	if err != nil {
		tc.t.Fatal(err)
	}
	return tc.peerOf(conn)
}

func TestProxiesOfUnixSockets(t *testing.T) {
	const field = "GET /who HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\r\n"
	tc := start(t, "trusted_proxies = [\"0.0.0.0/0\", \"::/0\"]\n", routes{"GET /who": whoIs})
	var strict, open, guarded listener
	tc.onLoop(func(l *loop) {
		strict = *l.shards[0].listener
		open, guarded = strict, strict
		open.proxies = trusting(true)
		guarded.proxies, guarded.guarded, guarded.prefaces = open.proxies, true, []preface{proxyProtocol{}}
	})
	p := tc.lendUnix(&strict) // that every address is trusted does not make it so
	p.send(field)
	p.wantBody("http invalid AddrPort")
	p = tc.lendUnix(&open)
	p.send(field)
	p.wantBody("https 192.0.2.1:0")
	p = tc.lendUnix(&guarded)
	p.send(version2(0x21, 0x11, v4Block, overTLS) + field)
	p.wantBody("https 192.0.2.1:1234")
	strict.guarded, strict.prefaces = true, guarded.prefaces
	tc.lendUnix(&strict).wantClosed()
}

// The access log names the client, in the form of each.
func TestAccessLogOfAProxiedClient(t *testing.T) {
	for _, format := range []string{"combined", "json"} {
		tc := start(t, proxied(`["127.0.0.1"]`, "site \"main\" {\n  access_log {\n    format = \""+format+"\"\n  }\n}\n"), routes{"GET /who": whoIs})
		p := tc.dial()
		p.send("PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nGET /who HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 2001:db8::7\r\n\r\n")
		p.wantBody("http [2001:db8::7]:0")
		want := "2001:db8::7 - - ["
		if format == "json" {
			want = `"remote":"2001:db8::7","method":"GET"`
		}
		tc.until("the line is written", func(*loop) bool { return strings.Contains(tc.loggedLines(), "/who") })
		if log := tc.loggedLines(); !strings.Contains(log, want) {
			t.Errorf("%s has no %s", log, want)
		}
	}
}

// A reload changes what is asked of new connections; those that are open stay, and one in the middle of its header finishes it.
func TestReloadChangesProxies(t *testing.T) {
	tc := start(t, proxied(`["127.0.0.1"]`, ""), routes{"GET /who": whoIs})
	reload := func(config *configs.Listener) {
		tc.onLoop(func(l *loop) {
			g := *l.generation
			g.listeners = map[uint32]entrance{1: entranceFor(config, 0, "auto")}
			g.exchanges = 0
			l.commit(&g)
		})
	}
	open, half := tc.dial(), tc.dial()
	open.send(v1Line + getWho)
	open.wantBody("http 192.0.2.1:1234")
	half.send(v1Line[:20])
	tc.until("half a header is there", func(l *loop) bool {
		for c := range l.table.All() {
			if len(c.in) == 20 {
				return true
			}
		}
		return false
	})
	reload(&configs.Listener{Name: "main"})
	half.send(v1Line[20:] + getWho)
	half.wantBody("http 192.0.2.1:1234")
	open.send(getWho)
	open.wantBody("http 192.0.2.1:1234")
	plain := tc.dial()
	plain.send(getWho)
	plain.wantBody("http " + plain.LocalAddr().String())
	reload(&configs.Listener{Name: "main", ProxyProtocol: true, TrustedProxies: configs.Addresses{Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}})
	plain.send(getWho)
	plain.wantBody("http " + plain.LocalAddr().String())
	again := tc.dial()
	again.send(v1Line + getWho)
	again.wantBody("http 192.0.2.1:1234")
}

// A handler sees the client, the proxy, and the address that the client has connected to.
func TestAddressesBehindAProxy(t *testing.T) {
	ends := web.StringFunc(func(r *web.Request) string { return fmt.Sprint(r.RemoteAddr, " ", r.PeerAddr(), " ", r.LocalAddr()) })
	tc := start(t, proxied(`["127.0.0.1"]`, ""), routes{"GET /ends": ends})
	for header, want := range map[string]string{
		v1Line:                                   "192.0.2.1:1234 %s 198.51.100.7:443",
		version2(0x21, 0x21, v6Block):            "[2001:db8::1]:1234 %s [::1]:443",
		version2(0x20, 0x00):                     "%[1]s %[1]s %[2]s",
		"PROXY TCP4 127.0.0.2 127.0.0.3 1 2\r\n": "127.0.0.2:1 %s 127.0.0.3:2",
	} {
		p := tc.dial()
		p.send(header + "GET /ends HTTP/1.1\r\nHost: x\r\n\r\n")
		want, _, _ = strings.Cut(fmt.Sprintf(want, p.LocalAddr(), p.RemoteAddr()), "%!(EXTRA")
		p.wantBody(want)
	}
}

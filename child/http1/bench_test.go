package http1

import (
	"strings"
	"testing"
	"time"
)

const leastRequest = "GET /plaintext HTTP/1.1\r\nHost: abc\r\n\r\n" // 38 bytes

const browserRequest = "GET /assets/app-3f2a91.js?v=20260301 HTTP/1.1\r\n" +
	"Host: www.example.com\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
	"Accept-Language: en-US,en;q=0.5\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Connection: keep-alive\r\n" +
	"Cookie: session=0123456789abcdef0123456789\r\n" +
	"If-None-Match: \"5f3a\"\r\n\r\n"

// TestAllocations: the hot paths allocate nothing once the field slice has grown.
func TestAllocations(t *testing.T) {
	least, browser, bad := []byte(leastRequest), []byte(browserRequest), []byte("GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
	ipv6 := []byte("GET http://[2001:db8::1]:80/ HTTP/1.1\r\nHost: [2001:db8::1]\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	wire := []byte("5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n")
	dst := make([]byte, 0, 1024)
	var p Parser
	var c Chunked
	now := time.Unix(784111777, 0)
	for name, f := range map[string]func(){
		"least":   func() { p.Reset(); p.Feed(least, nil) },
		"browser": func() { p.Reset(); p.Feed(browser, nil) },
		"bad":     func() { p.Reset(); p.Feed(bad, nil) },
		"ipv6":    func() { p.Reset(); p.Feed(ipv6, nil) },
		"chunked": func() {
			c.Reset()
			for src, done := wire, false; !done; {
				var n int
				n, _, done, _ = c.Feed(src, nil)
				src = src[n:]
			}
		},
		"encode": func() {
			d := AppendDate(AppendStatusLine(dst, 200), now)
			d, _ = AppendField(d, "Content-Type", "text/plain; charset=utf-8")
			AppendLastChunk(AppendChunkSize(AppendContentLength(d, 12), 12), nil)
		},
		"date": func() { ParseHTTPDate("Sunday, 06-Nov-94 08:49:37 GMT", now) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func benchmarkParse(b *testing.B, request string) {
	input := []byte(request)
	var p Parser
	b.SetBytes(int64(len(input)))
	b.ReportAllocs()
	for b.Loop() {
		p.Reset()
		if n, err := p.Feed(input, nil); n != len(input) {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkParseLeast(b *testing.B)   { benchmarkParse(b, leastRequest) }
func BenchmarkParseBrowser(b *testing.B) { benchmarkParse(b, browserRequest) }

// BenchmarkParseTrickle receives the browser's request byte by byte.
func BenchmarkParseTrickle(b *testing.B) {
	input := []byte(browserRequest)
	var p Parser
	for b.Loop() {
		p.Reset()
		for i := range input {
			p.Feed(input[:i+1], nil)
		}
	}
}

func BenchmarkChunked(b *testing.B) {
	wire := []byte(strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 16) + "0\r\n\r\n")
	var c Chunked
	b.SetBytes(int64(len(wire)))
	for b.Loop() {
		c.Reset()
		for src := wire; len(src) > 0; {
			n, _, _, err := c.Feed(src, nil)
			if err != nil {
				b.Fatal(err)
			}
			src = src[n:]
		}
	}
}

func BenchmarkAppendResponse(b *testing.B) {
	dst := make([]byte, 0, 256)
	for b.Loop() {
		d := AppendStatusLine(dst, 200)
		d, _ = AppendField(d, "Content-Type", "text/plain; charset=utf-8")
		d = AppendContentLength(d, 12)
		AppendEnd(d)
	}
}

func BenchmarkAppendDate(b *testing.B) {
	dst, now := make([]byte, 0, 64), time.Unix(784111777, 0)
	for b.Loop() {
		AppendDate(dst, now)
	}
}

func BenchmarkParseHTTPDate(b *testing.B) {
	now := time.Unix(784111777, 0)
	for b.Loop() {
		ParseHTTPDate("Sun, 06 Nov 1994 08:49:37 GMT", now)
	}
}

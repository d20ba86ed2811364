package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// Limits of a head by default: see limits in docs/config.md.
const (
	requestLineLimit = 16 << 10 // bytes, without the CRLF
	headerBytesLimit = 64 << 10 // bytes of all field lines
	headerCountLimit = 128      // field lines
)

// headAttacks are fought before a request is whole.
var headAttacks = []attack{
	{name: "slow-head", about: "a field line a second, without end", statuses: []int{408}, owed: true, run: slowHead},
	{name: "slow-phases", about: "a byte a second, in ten places of a request", statuses: []int{400, 408}, owed: true, run: slowPhases},
	{name: "full-heads", about: "heads at their limits, less the last byte", statuses: []int{408}, owed: true, run: fullHeads},
	{name: "many-fields", about: "whole heads with as many fields as are allowed, fast", statuses: []int{200}, run: manyFields},
	{name: "huge-header", about: "a field value without end", statuses: []int{431}, owed: true, run: hugeHeader},
	{name: "endless-fields", about: "field lines without end", statuses: []int{431}, owed: true, run: endlessFields},
	{name: "huge-url", about: "a target without end", statuses: []int{414}, owed: true, run: hugeURL},
	{name: "path-bombs", about: "percent-encoded, very deep and climbing paths", statuses: []int{301, 302, 307, 308, 400, 404}, run: pathBombs},
	{name: "range-bombs", about: "thousands of ranges of a 10 MiB file", statuses: []int{200, 206, 400, 416}, run: rangeBombs},
	{name: "single-bytes", about: "requests a byte a packet, fast", statuses: []int{200}, run: singleBytes},
	{name: "garbage", about: "random bytes", statuses: []int{400, 414, 431, 501, 505}, run: garbage},
	{name: "mutants", about: "requests with a few random bytes", statuses: []int{100, 200, 206, 301, 304, 307, 308, 400, 404, 405, 408, 411, 412, 413, 414, 415, 416, 417, 421, 431, 501, 505}, run: mutants},
	{name: "tls-hello", about: "a TLS handshake on the plain port", statuses: []int{400}, owed: true, run: tlsHello},
	{name: "h2-preface", about: "the preface of HTTP/2", statuses: []int{400, 505}, owed: true, run: h2Preface},
	{name: "urgent-data", about: "urgent bytes inside a head", statuses: []int{200, 400, 404, 501}, run: urgentData},
}

const hostField = "Host: hostile\r\n"

// get is a whole request for path.
func get(path string) []byte { return []byte("GET " + path + " HTTP/1.1\r\n" + hostField + "\r\n") }

func slowHead(c *client) {
	c.hear()
	c.send([]byte("GET /plain HTTP/1.1\r\n" + hostField))
	c.drip(time.Second, []byte("X-Slow: y\r\n"))
}

// phases are beginnings of requests, each with the byte that it goes on with for ever.
var phases = []struct{ begin, piece string }{
	{"", "A"},
	{"GET /", "a"},
	{"GET /?", "a"},
	{"GET / HTTP/1.1\r\n" + hostField + "X", "x"},
	{"GET / HTTP/1.1\r\n" + hostField + "X: ", "x"},
	{"GET / HTTP/1.1\r\n" + hostField + "\r", ""},
	{"POST /echo HTTP/1.1\r\n" + hostField + "Transfer-Encoding: chunked\r\n\r\n", "0"},
	{"POST /echo HTTP/1.1\r\n" + hostField + "Transfer-Encoding: chunked\r\n\r\n1;", "x"},
	{"POST /echo HTTP/1.1\r\n" + hostField + "Transfer-Encoding: chunked\r\n\r\nffff\r\n", "x"},
	{"POST /echo HTTP/1.1\r\n" + hostField + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", "x"},
}

func slowPhases(c *client) {
	c.hear()
	p := phases[c.number%len(phases)]
	c.send([]byte(p.begin))
	c.drip(time.Second, []byte(p.piece))
}

// fullHead is a head that reaches all three limits, without its last CRLF.
func fullHead() []byte {
	var b bytes.Buffer
	b.WriteString("GET /" + strings.Repeat("a", requestLineLimit-len("GET / HTTP/1.1")) + " HTTP/1.1\r\n" + hostField)
	left := headerBytesLimit - len(hostField)
	for i := range headerCountLimit - 1 {
		line := left / (headerCountLimit - 1 - i)
		name := fmt.Sprintf("X%d:", i)
		b.WriteString(name + strings.Repeat("v", line-len(name)-2) + "\r\n")
		left -= line
	}
	return b.Bytes()
}

func fullHeads(c *client) {
	c.hear()
	head := fullHead()
	if c.send(head) && c.wait(time.Second) && c.send([]byte("\r")) {
		c.await()
	}
}

func manyFields(c *client) {
	c.hear()
	var b bytes.Buffer
	b.WriteString("GET /plain HTTP/1.1\r\n" + hostField)
	for i := range headerCountLimit - 1 {
		fmt.Fprintf(&b, "X%d: y\r\n", i)
	}
	b.WriteString("\r\n")
	c.flood(b.Bytes())
}

func hugeHeader(c *client) {
	c.hear()
	c.send([]byte("GET /plain HTTP/1.1\r\n" + hostField + "X: "))
	c.flood(bytes.Repeat([]byte("x"), 16<<10))
}

func endlessFields(c *client) {
	c.hear()
	c.send([]byte("GET /plain HTTP/1.1\r\n" + hostField))
	c.flood(bytes.Repeat([]byte("x:y\r\n"), 1000))
}

func hugeURL(c *client) {
	c.hear()
	c.send([]byte("GET /"))
	c.flood(bytes.Repeat([]byte("x"), 16<<10))
}

var bombs = []string{
	strings.Repeat("/%2e%2e", 2000),
	strings.Repeat("/%2E%2e%2f", 1500),
	strings.Repeat("/..", 5000),
	strings.Repeat("/a", 8000),
	strings.Repeat("/", 16000),
	"/" + strings.Repeat("%252e%252e%255c", 1000),
	"/" + strings.Repeat("%c0%ae%c0%ae/", 1000),
	"/" + strings.Repeat("%00", 5000),
	strings.Repeat("/./", 5000) + "../../../../etc/passwd",
	"/plain/" + strings.Repeat("x/../", 3000) + "nothing",
}

func pathBombs(c *client) {
	c.hear()
	for i := c.number; c.send(get(bombs[i%len(bombs)])); i++ {
	}
}

func rangeBombs(c *client) {
	var ranges strings.Builder
	switch c.number % 3 {
	case 0: // the same byte, again and again
		ranges.WriteString(strings.Repeat("0-0,", 15000))
	case 1: // overlapping ones, as in CVE-2011-3192
		for i := range 7000 {
			fmt.Fprintf(&ranges, "%d-,", i)
		}
	default: // suffixes
		for i := range 7000 {
			fmt.Fprintf(&ranges, "-%d,", i+1)
		}
	}
	c.hear()
	c.send([]byte("GET /" + largeFile + " HTTP/1.1\r\n" + hostField + "Range: bytes=" + ranges.String() + "1-1\r\n\r\n"))
	c.wait(time.Second)
}

func singleBytes(c *client) {
	c.hear()
	request := get("/plain")
	for {
		for i := range request {
			if !c.send(request[i : i+1]) {
				return
			}
		}
	}
}

func garbage(c *client) {
	c.hear()
	p := make([]byte, 1+c.random.IntN(4096))
	for i := range p {
		p[i] = byte(c.random.Uint32())
	}
	if c.send(p) {
		c.wait(100 * time.Millisecond)
	}
}

var wellFormed = []string{
	"GET /plain HTTP/1.1\r\nHost: hostile\r\n\r\n",
	"GET /hello/x?name=y HTTP/1.1\r\nHost: hostile\r\nConnection: keep-alive\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
	"GET /" + smallFile + " HTTP/1.1\r\nHost: hostile\r\nRange: bytes=1-2\r\nIf-None-Match: \"x\"\r\n\r\n",
	"POST /echo HTTP/1.1\r\nHost: hostile\r\nContent-Length: 5\r\n\r\nhello",
	"POST /echo HTTP/1.1\r\nHost: hostile\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0\r\nX: y\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: hostile\r\n\r\n",
	"GET http://hostile/plain HTTP/1.0\r\nExpect: 100-continue\r\n\r\n",
}

func mutants(c *client) {
	c.hear()
	for {
		p := []byte(wellFormed[c.random.IntN(len(wellFormed))])
		for range 1 + c.random.IntN(3) {
			at := c.random.IntN(len(p))
			switch c.random.IntN(3) {
			case 0:
				p[at] = byte(c.random.Uint32())
			case 1:
				p = append(p[:at], p[at+1:]...)
			default:
				p = append(p[:at+1], p[at:]...)
			}
		}
		if !c.send(p) || !c.wait(10*time.Millisecond) {
			return
		}
	}
}

// clientHello is how a TLS 1.2 handshake begins (RFC 5246, 7.4.1.2), without extensions.
var clientHello = append([]byte("\x16\x03\x01\x00\x31\x01\x00\x00\x2d\x03\x03"), append(make([]byte, 32),
	"\x00\x00\x06\x13\x01\xc0\x2f\x00\x2f\x01\x00"...)...)

func tlsHello(c *client) {
	c.hear()
	if c.send(clientHello) {
		c.await()
	}
}

func h2Preface(c *client) {
	c.hear()
	if c.send([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")) {
		c.await()
	}
}

func urgentData(c *client) {
	c.hear()
	request := get("/plain")
	for c.send(request[:10]) && c.sendUrgent('!') && c.send(request[10:]) && c.sendUrgent('!') {
		c.wait(time.Millisecond)
	}
}

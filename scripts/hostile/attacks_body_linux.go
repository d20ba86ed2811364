package main

import (
	"bytes"
	"fmt"
	"time"
)

// bodyRate is limits.body_rate by default, in bytes a second.
const bodyRate = 64

// bodyAttacks are fought with the body of a request.
var bodyAttacks = []attack{
	{name: "slow-body", about: "a byte of a body a second", statuses: []int{408}, owed: true, run: slowBody},
	{name: "slow-body-at-rate", about: "a body at exactly limits.body_rate", statuses: []int{}, run: slowBodyAtRate},
	{name: "expect-never", about: "Expect: 100-continue, and never a body", statuses: []int{100, 408}, owed: true, run: expectNever},
	{name: "endless-chunked", about: "chunks without end", statuses: []int{200, 404, 405, 413}, run: endlessChunked},
	{name: "endless-extension", about: "a chunk extension without end", statuses: []int{400, 413}, owed: true, run: endlessExtension},
	{name: "endless-trailers", about: "trailer fields without end", statuses: []int{400, 413, 431}, owed: true, run: endlessTrailers},
	{name: "tiny-chunks", about: "chunks of a byte", statuses: []int{200, 413}, run: tinyChunks},
	{name: "refused-and-on", about: "bytes without end behind a refused request", statuses: []int{400, 413}, owed: true, run: refusedAndOn},
	{name: "reset-in-body", about: "a reset in the middle of a body", statuses: []int{200}, run: resetInBody},
	{name: "reset-in-echo", about: "a reset while a body is echoed", statuses: []int{200}, run: resetInEcho},
}

func post(path string, length int) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n", path, hostField, length)
}

func postChunked(path string) []byte {
	return []byte("POST " + path + " HTTP/1.1\r\n" + hostField + "Transfer-Encoding: chunked\r\n\r\n")
}

// bodyLength alternates between a body that is collected and one that streams to its handler.
func (c *client) bodyLength() int {
	if c.number%2 == 0 {
		return 10_000
	}
	return 10_000_000
}

func slowBody(c *client) {
	c.hear()
	c.send(post("/echo", c.bodyLength()))
	c.drip(time.Second, []byte("x"))
}

func slowBodyAtRate(c *client) {
	c.hear()
	c.send(post("/echo", c.bodyLength()))
	c.drip(time.Second, bytes.Repeat([]byte("x"), bodyRate+1))
}

func expectNever(c *client) {
	c.hear()
	if c.send(fmt.Appendf(nil, "POST /echo HTTP/1.1\r\n%sContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", hostField, c.bodyLength())) {
		c.await()
	}
}

func endlessChunked(c *client) {
	c.hear()
	c.send(postChunked([]string{"/echo", "/" + smallFile}[c.number%2]))
	c.flood(append(append([]byte("4000\r\n"), bytes.Repeat([]byte("x"), 0x4000)...), "\r\n"...))
}

func endlessExtension(c *client) {
	c.hear()
	c.send(append(postChunked("/echo"), "1;x"...))
	c.flood(bytes.Repeat([]byte("x"), 4096))
}

func endlessTrailers(c *client) {
	c.hear()
	c.send(append(postChunked("/echo"), "0\r\n"...))
	c.flood(bytes.Repeat([]byte("x:y\r\n"), 1000))
}

func tinyChunks(c *client) {
	c.hear()
	c.send(postChunked("/echo"))
	c.flood(bytes.Repeat([]byte("1\r\nx\r\n"), 1000))
}

func refusedAndOn(c *client) {
	if c.number%2 == 0 {
		c.send(post("/echo", 1<<40))
	} else {
		c.send([]byte("GET / HTTP/1.1\r\nNo-Host: x\r\n\r\n"))
	}
	// To the end of the answer the server is listened to, and then no more.
	c.heard.Go(func() { c.take(100) })
	p := bytes.Repeat([]byte("x"), 16<<10)
	for {
		n, err := c.conn.Write(p)
		c.gain.sent.Add(int64(n))
		if err != nil {
			c.end(err)
			return
		}
	}
}

func resetInBody(c *client) {
	c.send(post("/echo", c.bodyLength()))
	c.send(bytes.Repeat([]byte("x"), 5000))
	c.reset()
}

func resetInEcho(c *client) {
	c.send(post("/echo", 10_000_000))
	c.send(bytes.Repeat([]byte("x"), 80_000))
	c.take(1000)
	c.reset()
}

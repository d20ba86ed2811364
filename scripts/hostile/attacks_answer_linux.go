package main

import (
	"bytes"
	"fmt"
	"time"
)

// pipelined is how many requests are written at once.
const pipelined = 1000

// answerAttacks are fought with what the client does, or does not, with the answers.
var answerAttacks = []attack{
	{name: "slow-reader", about: "a byte a second of a 10 MiB file", statuses: []int{200}, buffer: smallBuffer, run: slowReader},
	{name: "slow-stream", about: "a byte a second of an endless echo", statuses: []int{200, 413}, buffer: smallBuffer, run: slowStream},
	{name: "zero-window", about: "a 10 MiB file, of which nothing is read", statuses: []int{200}, buffer: smallBuffer, run: zeroWindow},
	{name: "pipeline-unread", about: "1,000 requests at once, no answer read", statuses: []int{200}, buffer: smallBuffer, run: pipelineUnread},
	{name: "pipeline-unsafe", about: "1,000 unsafe requests at once, read", statuses: []int{200}, run: pipelineUnsafe},
	{name: "pipeline-flood", about: "requests without end, read", statuses: []int{200}, run: pipelineFlood},
	{name: "worker-flood", about: "requests for a worker without end, read", statuses: []int{200, 503}, run: workerFlood},
	{name: "reset-in-answer", about: "a reset after 64 KiB of a file", statuses: []int{200}, run: resetInAnswer},
	{name: "reset-in-wait", about: "a reset while a worker has the request", statuses: []int{200}, run: resetInWait},
	{name: "half-close", about: "our side ended, behind a request or in it", statuses: []int{200}, run: halfClose},
}

func slowReader(c *client) {
	c.send(get("/" + largeFile))
	for c.take(1) && c.wait(time.Second) {
	}
}

func slowStream(c *client) {
	c.heard.Go(func() {
		for c.take(1) && c.wait(time.Second) {
		}
	})
	c.send(postChunked("/echo"))
	c.flood(append(append([]byte("4000\r\n"), bytes.Repeat([]byte("x"), 0x4000)...), "\r\n"...))
}

func zeroWindow(c *client) {
	c.send(get("/" + largeFile))
	c.sitOut()
}

// mixed are n requests for all kinds of handlers.
func mixed(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		b.Write(get([]string{"/plain", "/hello/x", "/" + smallFile}[i%3]))
	}
	return b.Bytes()
}

func pipelineUnread(c *client) {
	c.heard.Go(func() { // more than the server takes: the rest waits in the sockets
		c.send(mixed(pipelined))
	})
	c.wait(time.Second + time.Duration(c.random.IntN(10))*time.Second)
}

func pipelineUnsafe(c *client) {
	c.hear()
	c.flood(bytes.Repeat(append(post("/echo", 5), "hello"...), pipelined))
}

func pipelineFlood(c *client) {
	c.hear()
	c.flood(bytes.Repeat(get("/plain"), pipelined))
}

func workerFlood(c *client) {
	c.hear()
	c.flood(bytes.Repeat(get("/hello/x"), pipelined))
}

func resetInAnswer(c *client) {
	c.send(get("/" + largeFile))
	c.take(64 << 10)
	c.reset()
}

func resetInWait(c *client) {
	c.send(bytes.Repeat(get("/hello/x"), 1+c.number%3))
	c.reset()
}

func halfClose(c *client) {
	request := get([]string{"/plain", "/hello/x", "/" + largeFile}[c.number%3])
	if c.number%4 == 3 {
		request = request[:len(request)-c.number%30]
	}
	c.send(request)
	c.halfClose()
	c.takeAll()
}

// ordinary is what ordinary clients do: every route, bodies of both kinds, some pipelining.
func ordinary(c *client) {
	c.hear()
	body := bytes.Repeat([]byte("x"), 100_000)
	for i := range 20 {
		p := mixed(3 + i)
		for _, n := range []int{100, 10_000, 100_000} {
			p = append(append(p, post("/echo", n)...), body[:n]...)
		}
		p = fmt.Appendf(p, "GET /%s HTTP/1.1\r\n%sRange: bytes=0-999999\r\n\r\n", largeFile, hostField)
		if !c.send(p) || !c.wait(20*time.Millisecond) {
			return
		}
	}
	c.wait(time.Second)
}

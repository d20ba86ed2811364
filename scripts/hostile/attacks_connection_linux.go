package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// connectionAttacks are fought with connections alone.
var connectionAttacks = []attack{
	{name: "idle", about: "one request each, and then nothing: the noise of this machine", statuses: []int{200}, run: idle},
	{name: "connection-flood", about: "connect, one request, away, fast", statuses: []int{200}, run: connectionFlood},
	{name: "connect-and-close", about: "connect and close or reset at once", run: connectAndClose},
	{name: "connect-and-half-close", about: "connect and end our side at once", run: connectAndHalfClose},
	{name: "silence", about: "connect, and nothing", run: silence},
}

func idle(c *client) {
	c.hear()
	if c.send(get("/plain")) {
		c.await()
	}
}

func connectionFlood(c *client) {
	c.send(get("/plain"))
	c.take(len("HTTP/1.1 200"))
}

func connectAndClose(c *client) {}

func connectAndHalfClose(c *client) {
	c.halfClose()
	c.takeAll()
}

func silence(c *client) {
	c.takeAll()
}

// reset closes with a reset.
func (c *client) reset() { c.leave(true) }

// sendUrgent sends one byte of urgent data (RFC 9293, 3.8.5).
func (c *client) sendUrgent(b byte) bool {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return false
	}
	sent := false
	err = raw.Write(func(fd uintptr) bool {
		err := unix.Sendto(int(fd), []byte{b}, unix.MSG_OOB|unix.MSG_NOSIGNAL, nil)
		sent = err == nil
		return err != unix.EAGAIN
	})
	return err == nil && sent
}

// sitOut holds the connection without reading.
func (c *client) sitOut() {
	c.wait(time.Until(c.until))
}

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/tined/tined/scripts/internal/rig"
)

const (
	// idleConnections is how many connections are held open.
	idleConnections = 8000
	// idleOpeners is how many of them are being opened at a time.
	idleOpeners = 32
	// idlePatience bounds one request of the idle client.
	idlePatience = 20 * time.Second
	// idleRounds decide the bar: memory hardly varies.
	idleRounds = 3
)

// idleBar is bytes of private memory, not a ratio.
var idleBar = Bar{What: "bytes a connection", Value: 512, Rounds: idleRounds}

// idle is the memory of idle keep-alive connections: bytes for each of all, and for each of
// the second half, where what a server buys once has been paid.
func idle(s *rig.Server, settle time.Duration) (all, further float64, err error) {
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	var at [3]int64
	for i := range at {
		if i > 0 {
			more, err := openIdle(s.Address, idleConnections/2)
			open = append(open, more...)
			if err != nil {
				return 0, 0, err
			}
		}
		// Memory that a server frees after a while is not memory of a connection.
		time.Sleep(settle)
		if at[i], err = rig.PrivateMemory(rig.Tree(s.Pid)); err != nil {
			return 0, 0, err
		}
	}
	for i, c := range open {
		if err := stillOpen(c); err != nil {
			return 0, 0, fmt.Errorf("idle connection %d of %d: %w", i+1, len(open), err)
		}
	}
	return float64(at[2]-at[0]) / idleConnections, float64(at[2]-at[1]) / (idleConnections / 2), nil
}

// openIdle opens n connections and makes one request on each.
func openIdle(address string, n int) ([]net.Conn, error) {
	var mu sync.Mutex
	var open []net.Conn
	var failed error
	turns := make(chan struct{}, n)
	for range n {
		turns <- struct{}{}
	}
	close(turns)
	var all sync.WaitGroup
	for range idleOpeners {
		all.Go(func() {
			for range turns {
				c, err := openOne(address)
				mu.Lock()
				if err != nil {
					failed = err
					mu.Unlock()
					return
				}
				open = append(open, c)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return open, failed
}

func openOne(address string) (net.Conn, error) {
	c, err := net.DialTimeout("tcp4", address, idlePatience)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(idlePatience))
	if err := ask(c, "/plain", nil); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// stillOpen reports a connection that the server has closed, which would make its memory
// look cheap.
func stillOpen(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(idlePatience))
	return ask(c, "/plain", nil)
}

// ask makes one request and reads its whole answer, whose length in bytes it stores.
func ask(c net.Conn, path string, length *int) error {
	if _, err := io.WriteString(c, request(path)); err != nil {
		return err
	}
	buffer := make([]byte, 0, 4096)
	for {
		if whole, ok := answerLength(buffer); ok && len(buffer) >= whole {
			if len(buffer) > whole {
				return fmt.Errorf("%d bytes after the answer", len(buffer)-whole)
			}
			if !bytes.HasPrefix(buffer, []byte("HTTP/1.1 200 ")) {
				return fmt.Errorf("answer: %.40q", buffer)
			}
			if length != nil {
				*length = whole
			}
			return nil
		}
		if len(buffer) == cap(buffer) {
			return fmt.Errorf("answer longer than %d bytes", cap(buffer))
		}
		n, err := c.Read(buffer[len(buffer):cap(buffer)])
		if err != nil {
			return err
		}
		buffer = buffer[:len(buffer)+n]
	}
}

func request(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: bench\r\n\r\n" }

// answerLength is the length of the answer that p begins with, head and body. It is false
// as long as the head is not whole, and when it has no Content-Length.
func answerLength(p []byte) (int, bool) {
	end := bytes.Index(p, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, false
	}
	for line := range bytes.SplitSeq(p[:end], []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			return end + 4 + n, err == nil
		}
	}
	return 0, false
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// client is one connection.
type client struct {
	net.Conn
	from   netip.AddrPort
	begin  time.Time
	reader *bufio.Reader
}

func dial(g *ground) (*client, error) {
	begin := time.Now()
	c, err := g.dial()
	if err != nil {
		return nil, err
	}
	return &client{c, c.LocalAddr().(*net.TCPAddr).AddrPort(), begin, bufio.NewReaderSize(c, 1024)}, nil
}

// get makes one request and returns the body of its answer.
func (c *client) get(path string) (string, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: storm\r\n\r\n"); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(c.reader, nil)
	var body []byte
	if err == nil {
		defer response.Body.Close()
		body, err = io.ReadAll(response.Body)
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("answer: %s %q", response.Status, body)
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errClosed
	}
	return string(body), err
}

// drop closes with a reset, so that its port is free at once: a storm would use them all.
func (c *client) drop() {
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// storm is what connecting clients have seen that wait for each other's answers: as many as there are, as fast as it goes.
type storm struct {
	mu       sync.Mutex
	answered int
	failures []Failure
	longest  time.Duration
}

// blow connects, asks and drops until stop is closed. It is a goroutine of its own: on a link its thread moves there, or all would wait
// for each other's connects.
func (s *storm) blow(g *ground, want string, stop <-chan struct{}) {
	near := *g
	if err := g.joinClient(); err == nil {
		near.link = nil
	}
	for {
		select {
		case <-stop:
			return
		default:
		}
		failure, took := s.once(&near, want)
		s.mu.Lock()
		if failure != nil {
			s.failures = append(s.failures, *failure)
		} else {
			s.answered++
			s.longest = max(s.longest, took)
		}
		s.mu.Unlock()
	}
}

func (s *storm) once(g *ground, want string) (*Failure, time.Duration) {
	f := &Failure{Begin: time.Now()}
	c, err := dial(g)
	if err == nil {
		var body string
		f.From = c.from
		if body, err = c.get("/plain"); err == nil && body != want {
			err = fmt.Errorf("answer: %q", body)
		}
		c.drop()
	}
	f.End = time.Now()
	if f.Err = err; err == nil {
		return nil, f.End.Sub(f.Begin)
	}
	return f, 0
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/tined/tined/scripts/internal/rig"
)

// patience bounds a connection's life: a successor that takes longer has lost it.
const patience = 10 * time.Second

// client is one connection.
type client struct {
	net.Conn
	port   uint16
	begin  time.Time
	reader *bufio.Reader
}

func dial(address string) (*client, *Failure) {
	begin := time.Now()
	c, err := net.DialTimeout("tcp4", address, patience)
	if err != nil {
		return nil, &Failure{Begin: begin, End: time.Now(), Err: err}
	}
	return &client{c, c.LocalAddr().(*net.TCPAddr).AddrPort().Port(), begin, bufio.NewReaderSize(c, 1024)}, nil
}

// ask makes one request and reads its answer.
func (c *client) ask() *Failure {
	if err := c.exchange(); err != nil {
		return &Failure{Port: c.port, Begin: c.begin, End: time.Now(), Err: err}
	}
	return nil
}

func (c *client) exchange() error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "GET /plain HTTP/1.1\r\nHost: storm\r\n\r\n"); err != nil {
		return err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err == nil {
		defer response.Body.Close()
		var body []byte
		body, err = io.ReadAll(response.Body)
		if err == nil && (response.StatusCode != http.StatusOK || string(body) != rig.Greeting) {
			return fmt.Errorf("answer: %s %q", response.Status, body)
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errClosed
	}
	return err
}

// drop closes with a reset, so that its port is free at once: a storm would use them all.
func (c *client) drop() {
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// storm is what the connecting clients have seen.
type storm struct {
	mu       sync.Mutex
	answered int
	failures []Failure
	longest  time.Duration
}

// blow connects, asks and drops until stop is closed.
func (s *storm) blow(address string, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		begin := time.Now()
		c, failure := dial(address)
		if failure == nil {
			failure = c.ask()
			c.drop()
		}
		took := time.Since(begin)
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

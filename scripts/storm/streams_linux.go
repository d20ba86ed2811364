package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// streamContent is what a download brings.
func streamContent() string { return strings.Repeat("0123456789abcdef", streamSize/16) }

// streams are clients that download slowly, one after the other each.
type streams struct {
	ground *ground
	sum    [sha256.Size]byte
	quit   chan struct{}
	once   sync.Once
	all    sync.WaitGroup

	mu       sync.Mutex
	whole    int
	failures []error
}

func startStreams(g *ground, n int) *streams {
	s := &streams{ground: g, sum: sha256.Sum256([]byte(streamContent())), quit: make(chan struct{})}
	for range n {
		s.all.Go(s.run)
	}
	return s
}

// stop lets the downloads that have begun end.
func (s *streams) stop() {
	s.once.Do(func() { close(s.quit) })
	s.all.Wait()
}

func (s *streams) run() {
	for {
		select {
		case <-s.quit:
			return
		default:
		}
		err := s.download()
		s.mu.Lock()
		if err != nil {
			s.failures = append(s.failures, err)
		} else {
			s.whole++
		}
		s.mu.Unlock()
		if err != nil {
			time.Sleep(100 * time.Millisecond) // a server that is gone is not asked all the time
		}
	}
}

func (s *streams) download() error {
	conn, err := s.ground.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	// A small buffer, so that the server has to wait for this client.
	if err := conn.(*net.TCPConn).SetReadBuffer(32 << 10); err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(streamTime + patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET /files/stream HTTP/1.1\r\nHost: storm\r\n\r\n"); err != nil {
		return err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return fmt.Errorf("head: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("answer: %s", answer.Status)
	}
	sum := sha256.New()
	const steps = 32
	for step := range steps {
		n, err := io.CopyN(sum, answer.Body, streamSize/steps)
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", int64(step)*streamSize/steps+n, streamSize, err)
		}
		time.Sleep(streamTime / steps)
	}
	if n, err := answer.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF || [sha256.Size]byte(sum.Sum(nil)) != s.sum {
		return fmt.Errorf("the download is not what it should be: %d bytes more, %v", n, err)
	}
	return nil
}

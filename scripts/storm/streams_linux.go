package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// streamSize is the size of a download, uploadSize that of an upload, in bytes, and streamTime how long either takes.
const (
	streamSize = 1 << 20
	uploadSize = 48 << 10 // echo reads it to its end before it answers
	streamTime = time.Second
)

// streamSteps is how many pieces a slow exchange has.
const streamSteps = 32

// streamContent is what a download brings.
func streamContent() string { return strings.Repeat("0123456789abcdef", streamSize/16) }

// streams are clients whose exchanges take seconds, one after the other each.
type streams struct {
	name     string
	ground   *ground
	exchange func(net.Conn) error
	clients  int
	all      sync.WaitGroup

	mu       sync.Mutex
	quit     chan struct{} // nil: none of them runs
	whole    int
	failures []Failure
}

func newDownloads(g *ground, n int) *streams {
	return &streams{name: "downloads", ground: g, exchange: download, clients: n}
}

func newUploads(g *ground, n int) *streams {
	return &streams{name: "uploads", ground: g, exchange: upload, clients: n}
}

// start lets the clients begin, if they do not run.
func (s *streams) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quit != nil {
		return
	}
	quit := make(chan struct{})
	s.quit = quit
	for range s.clients {
		s.all.Go(func() { s.run(quit) })
	}
}

// stop lets the exchanges that have begun end.
func (s *streams) stop() {
	s.mu.Lock()
	if s.quit != nil {
		close(s.quit)
		s.quit = nil
	}
	s.mu.Unlock()
	s.all.Wait()
}

func (s *streams) run(quit chan struct{}) {
	for {
		select {
		case <-quit:
			return
		default:
		}
		failure := s.one()
		s.mu.Lock()
		if failure != nil {
			s.failures = append(s.failures, *failure)
		} else {
			s.whole++
		}
		s.mu.Unlock()
		if failure != nil {
			time.Sleep(100 * time.Millisecond) // a server that is gone is not asked all the time
		}
	}
}

// one makes one exchange on a connection of its own.
func (s *streams) one() *Failure {
	f := &Failure{Begin: time.Now()}
	conn, err := s.ground.dial()
	if err == nil {
		defer conn.Close()
		f.From = conn.LocalAddr().(*net.TCPAddr).AddrPort()
		if err = conn.SetDeadline(time.Now().Add(streamTime + patience)); err == nil {
			err = s.exchange(conn)
		}
	}
	if err == nil {
		return nil
	}
	f.End, f.Err = time.Now(), err
	return f
}

// download reads slowly.
func download(conn net.Conn) error {
	// A small buffer, so that the server has to wait for this client.
	if err := conn.(*net.TCPConn).SetReadBuffer(32 << 10); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET /files/"+served+" HTTP/1.1\r\nHost: storm\r\n\r\n"); err != nil {
		return err
	}
	answer, err := answerTo(conn)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	content := new(bytes.Buffer)
	for step := range streamSteps {
		n, err := io.CopyN(content, answer.Body, streamSize/streamSteps)
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", int64(step)*streamSize/streamSteps+n, streamSize, err)
		}
		time.Sleep(streamTime / streamSteps)
	}
	if n, err := answer.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF || content.String() != streamContent() {
		return fmt.Errorf("the download is not what it should be: %d bytes more, %v", n, err)
	}
	return nil
}

// upload sends slowly, and wants it all back.
func upload(conn net.Conn) error {
	content := streamContent()[:uploadSize]
	if _, err := fmt.Fprintf(conn, "POST /echo HTTP/1.1\r\nHost: storm\r\nContent-Length: %d\r\n\r\n", uploadSize); err != nil {
		return err
	}
	for step := range streamSteps {
		piece := content[step*uploadSize/streamSteps : (step+1)*uploadSize/streamSteps]
		if _, err := io.WriteString(conn, piece); err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", step*uploadSize/streamSteps, uploadSize, err)
		}
		time.Sleep(streamTime / streamSteps)
	}
	answer, err := answerTo(conn)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	back, err := io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Errorf("after %d of %d bytes back: %w", len(back), uploadSize, err)
	}
	if string(back) != content {
		return fmt.Errorf("the upload has come back as %d other bytes", len(back))
	}
	return nil
}

// answerTo reads the head of an answer that has to be a 200.
func answerTo(conn net.Conn) (*http.Response, error) {
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, fmt.Errorf("head: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, fmt.Errorf("answer: %s", answer.Status)
	}
	return answer, nil
}

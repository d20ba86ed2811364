package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// Status lines are found wherever the stream is cut, and nothing else is taken for one.
func TestTally(t *testing.T) {
	stream := "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX: HTTP/1.0 300 HHTTP/1.1 x\r\n\r\nbodyHTTP/1.1 431 x"
	want := []int{100, 200, 431}
	for cut := range len(stream) {
		var found []int
		var y tally
		for _, part := range []string{stream[:cut], stream[cut:]} {
			y.add([]byte(part), func(status int) { found = append(found, status) })
		}
		if !slices.Equal(found, want) {
			t.Fatalf("cut at %d: %v, want %v", cut, found, want)
		}
	}
}

// Heads that are to be at the limits are at the limits.
func TestFullHead(t *testing.T) {
	head := fullHead()
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(append(head, "\r\n"...))))
	if err != nil {
		t.Fatal(err)
	}
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) != requestLineLimit || len(fields) != headerBytesLimit || bytes.Count(fields, []byte("\n")) != headerCountLimit || r.Host != "hostile" {
		t.Errorf("%d bytes of request line, %d of fields, %d fields", len(line), len(fields), bytes.Count(fields, []byte("\n")))
	}
}

func TestAttacksAreNamed(t *testing.T) {
	names := make(map[string]bool)
	for i := range attacks {
		a := &attacks[i]
		if names[a.name] || a.about == "" || a.run == nil || strings.ContainsAny(a.name, " _") {
			t.Errorf("attack %q", a.name)
		}
		names[a.name] = true
	}
	if _, ok := findAttack("no such"); ok {
		t.Error("an attack was found that is not there")
	}
}

// server answers connections with f, and closes them after it.
func server(t *testing.T, f func(c net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
	return l.Addr().String()
}

// What the server does to an attacker's connection is counted: an answer, an orderly end, a reset, an end without an answer.
func TestMount(t *testing.T) {
	const moment = 100 * time.Millisecond
	ask := &attack{name: "ask", owed: true, run: func(c *client) {
		c.hear()
		if c.send(get("/")) {
			c.await()
		}
	}}
	read := func(c net.Conn) { _, _ = c.Read(make([]byte, 1024)) }
	for name, c := range map[string]struct {
		serve func(c net.Conn)
		check func(r attackReport) bool
	}{
		"answered": {func(c net.Conn) { read(c); _, _ = io.WriteString(c, "HTTP/1.1 408 x\r\n\r\n") },
			func(r attackReport) bool { return r.Answers[408] > 0 && r.Closed > 0 && r.Cheated == 0 }},
		"cheated": {read, func(r attackReport) bool { return len(r.Answers) == 0 && r.Closed > 0 && r.Cheated >= r.Closed }},
		"reset": {func(c net.Conn) { read(c); _ = c.(*net.TCPConn).SetLinger(0) },
			func(r attackReport) bool { return r.Reset > 0 && r.Cheated > 0 }},
		"held": {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
			func(r attackReport) bool { return r.Connections == 2 && r.Closed+r.Reset+r.Cheated == 0 }},
	} {
		if r := ask.mount(server(t, c.serve), 2, moment); !c.check(r) || r.Connections == 0 || r.Sent == 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// Latency counts from the time when a request was due: a server that stalls once is seen by every request that it delays.
func TestPoliteClient(t *testing.T) {
	stall := make(chan struct{}, 1)
	stall <- struct{}{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-stall: // once
			time.Sleep(50 * time.Millisecond)
		default:
		}
		for _, c := range courtesies {
			if strings.HasPrefix(c.request, r.Method+" "+r.URL.Path+" ") {
				if r.URL.Path == "/hello/you" {
					http.Error(w, "busy", http.StatusServiceUnavailable)
					return
				}
				_, _ = io.WriteString(w, c.answer)
			}
		}
	}))
	defer s.Close()
	p := newPolite(strings.TrimPrefix(s.URL, "http://"), 40)
	r := p.visit(40, time.Millisecond)
	if r.Max < 50 {
		t.Errorf("a stall of 50 ms was measured as %.1f ms", r.Max)
	}
	if r.Errors != 10 || len(r.First) != 1 || !strings.Contains(r.First[0], "503") {
		t.Errorf("%d errors, %q: want the 10 answers of /hello", r.Errors, r.First)
	}
}

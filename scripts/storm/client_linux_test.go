package main

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// A client tells an answer from a wrong answer and from none.
func TestExchange(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   func(error) bool
	}{
		"whole": {"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!", func(err error) bool { return err == nil }},
		"half":  {"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello", func(err error) bool { return errors.Is(err, errClosed) }},
		"none":  {"", func(err error) bool { return errors.Is(err, errClosed) }},
		"wrong": {"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", func(err error) bool { return err != nil && strings.Contains(err.Error(), "503") }},
	} {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1024))
			_, _ = io.WriteString(conn, c.answer)
			conn.Close()
		}()
		client, failure := dial(l.Addr().String())
		if failure != nil {
			t.Fatal(failure.Err)
		}
		if err := client.exchange(); !c.want(err) {
			t.Errorf("%s: %v", name, err)
		}
		client.drop()
		l.Close()
	}
}

package main

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// fake answers every request on every connection with what answer says, and closes when that ends in "~".
func fake(t *testing.T, answer func(n int) string) *ground {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				b := make([]byte, 1024)
				for n := 0; ; n++ {
					if k, err := conn.Read(b); err != nil || !strings.HasSuffix(string(b[:k]), "\r\n\r\n") {
						return
					}
					text, last := strings.CutSuffix(answer(n), "~")
					if _, err := io.WriteString(conn, text); err != nil || last {
						return
					}
				}
			}()
		}
	}()
	return &ground{address: netip.MustParseAddrPort(l.Addr().String())}
}

func always(text string) func(int) string { return func(int) string { return text } }

const whole = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!"

// A client tells an answer from a wrong answer and from none.
func TestGet(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   func(error) bool
	}{
		"whole": {whole, func(err error) bool { return err == nil }},
		"half":  {"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello~", func(err error) bool { return errors.Is(err, errClosed) }},
		"none":  {"~", func(err error) bool { return errors.Is(err, errClosed) }},
		"wrong": {"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", func(err error) bool { return err != nil && strings.Contains(err.Error(), "503") }},
	} {
		client, err := dial(fake(t, always(c.answer)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.get("/plain"); !c.want(err) {
			t.Errorf("%s: %v", name, err)
		}
		client.drop()
	}
}

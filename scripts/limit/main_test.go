//go:build linux

package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/scripts/internal/rig"
)

// asProgram makes the test binary the program itself: the limit wants a process of its own.
const asProgram = "TINED_TEST_LIMIT"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// The yardstick answers every request of a pipeline, in small bodies and in large ones.
func TestAnswers(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(asProgram, "1")
	for name, c := range map[string]struct {
		body     int64
		requests int
		closing  bool
		deferred bool
	}{
		"small":     {13, 1, false, false},
		"pipelined": {13, 16, false, true},
		"closing":   {13, 1, true, true},
		"large":     {maxMemoryBody + 1, 3, false, false},
		"largest":   {10 << 20, 2, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			var crew rig.Crew
			defer crew.End()
			server, err := rig.Limit(&crew, rig.AnyCore, self, c.body, c.closing, c.deferred)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := net.Dial("tcp4", server.Address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.WriteString(conn, strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", c.requests)); err != nil {
				t.Fatal(err)
			}
			reader := bufio.NewReader(conn)
			for range c.requests {
				response, err := http.ReadResponse(reader, nil)
				if err != nil {
					t.Fatal(err)
				}
				n, err := io.Copy(io.Discard, response.Body)
				if err != nil || n != c.body {
					t.Errorf("%d bytes of %d, %v", n, c.body, err)
				}
				if response.Close != c.closing {
					t.Errorf("close: %t", response.Close)
				}
			}
			if c.closing {
				if _, err := reader.ReadByte(); err != io.EOF {
					t.Errorf("after the answer: %v", err)
				}
			}
		})
	}
}

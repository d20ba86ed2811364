package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	var values []int64
	for i := range int64(100) {
		values = append(values, i+1)
	}
	for p, want := range map[float64]int64{50: 50, 99: 99, 100: 100, 0: 1} {
		if got := percentile(values, p); got != want {
			t.Errorf("%g: %d, want %d", p, got, want)
		}
	}
	if percentile(nil, 99) != 0 {
		t.Error("a percentile of nothing")
	}
}

func TestAnswerLength(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
	if n, ok := answerLength([]byte(head + "Hello")); !ok || n != len(head)+5 {
		t.Errorf("%d, %t", n, ok)
	}
	for _, p := range []string{"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"} {
		if n, ok := answerLength([]byte(p)); ok {
			t.Errorf("%q: %d", p, n)
		}
	}
}

// A server that stalls once makes every request wait that became due meanwhile: an open
// loop counts them all, where a closed loop would have sent one.
func TestOpenLoopCountsTheStall(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const stall = 300 * time.Millisecond
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		reader := bufio.NewReader(conn)
		for i := 0; ; i++ {
			r, err := http.ReadRequest(reader)
			if err != nil {
				return
			}
			r.Body.Close()
			if i == 20 {
				time.Sleep(stall) // what is measured, not a way to wait for something
			}
			if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
				return
			}
		}
	}()
	loop, err := dialOpenLoop(l.Addr().String(), "/", 1)
	if err != nil {
		t.Fatal(err)
	}
	loop.gap, loop.total = time.Millisecond, 500
	if err := loop.run(); err != nil {
		t.Fatal(err)
	}
	slow := 0
	for _, ns := range loop.latencies {
		if ns > int64(stall/3) {
			slow++
		}
	}
	report := loop.report()
	if report.Requests != 500 || slow < 100 || report.Max < micros(int64(stall)) {
		t.Errorf("%+v, %d slow", report, slow)
	}
}

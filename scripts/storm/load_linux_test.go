package main

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

func TestGuest(t *testing.T) {
	for address, want := range map[string]string{"127.0.0.1:80": "127.0.0.1:80", "10.0.0.7:8080": "10.0.0.7:8080"} {
		trial := &trial{sizes: sizes{address: address}}
		if g, err := trial.guest(0); err != nil || g.address.String() != want || g.link != nil {
			t.Errorf("%s: %+v, %v", address, g, err)
		}
	}
	for _, address := range []string{"", "80", ":80", "localhost:80", "[::1]:80", "127.0.0.1:0"} {
		trial := &trial{sizes: sizes{address: address}}
		if g, err := trial.guest(0); err == nil {
			t.Errorf("%q: %+v", address, g.address)
		}
	}
}

// loaded is a trial after a load of that time.
func loaded(t *trial, over time.Duration) (*trial, error) {
	t.report = new(report)
	t.over = over
	return t, t.load()
}

// figure is the value of a figure, nil when there is none.
func (r *report) figure(name string) any {
	for _, f := range r.Figures {
		if f.Name == name {
			return f.Value
		}
	}
	return nil
}

func TestLoad(t *testing.T) {
	well, err := loaded(&trial{ground: fake(t, always(whole)), sizes: sizes{clients: 5, idle: 5, rate: 50}}, 300*time.Millisecond)
	if err != nil || well.failed() || well.figure("in all: failed") != 0 || well.figure("in all: connections closed") != 0 {
		t.Errorf("%v: %+v", err, well.Figures)
	}
	if n, ok := well.figure("in all: answers").(int); !ok || n < 10 {
		t.Errorf("%d answers", n)
	}
}

// A server that closes what it should keep, or that answers an error, is found out.
func TestLoadFindsFaults(t *testing.T) {
	third := func(text string) func(int) string {
		return func(n int) string {
			if n == 2 {
				return text
			}
			return whole
		}
	}
	for name, c := range map[string]struct {
		answer         func(int) string
		failed, closed bool
	}{
		"closed while idle":   {third(whole + "~"), true, true},
		"closed as announced": {third("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx~"), false, true},
		"cut":                 {third("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx~"), true, false},
		"an error":            {third("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), true, false},
	} {
		// Long enough for the third answer of a client that asks ten times a second.
		got, err := loaded(&trial{ground: fake(t, c.answer), sizes: sizes{clients: 1, idle: -1, rate: -1}}, 400*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		failed, closed := got.figure("in all: failed"), got.figure("in all: connections closed")
		if !got.failed() || (failed != 0) != c.failed || (closed != 0) != c.closed {
			t.Errorf("%s: failed %v, closed %v: %+v", name, failed, closed, got.Figures)
		}
	}
}

// A server that is not there is found at once, whoever comes first.
func TestLoadWithoutAServer(t *testing.T) {
	silent, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := &ground{address: netip.MustParseAddrPort(silent.Addr().String())}
	silent.Close()
	for _, s := range []sizes{{clients: 2, idle: 2, rate: 50}, {idle: 2, rate: 50}, {rate: 50}} {
		if _, err := loaded(&trial{ground: nobody, sizes: s}, time.Minute); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// Errors that were asked for are counted, and are no failures.
func TestLoadAsksForErrors(t *testing.T) {
	sick := fake(t, always("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"))
	got, err := loaded(&trial{ground: sick, sizes: sizes{clients: -1, idle: -1, rate: 50, ask: "/hello/sick"}}, 300*time.Millisecond)
	if err == nil {
		t.Errorf("other clients get errors too, and the load begins: %+v", got.Figures)
	}
	c := begun(t, &crowd{name: "victims", ground: sick, rate: 1000, total: 20})
	if err := c.done(patience); err != nil {
		t.Fatal(err)
	}
	r := &trial{report: new(report)}
	if err := r.spoilt(c); err != nil || r.failed() || r.figure("victims: answers of 500") != 20 {
		t.Errorf("%v: %+v", err, r.Figures)
	}
}

// A signal ends the load, and the clients ask once more.
func TestLoadEndsWithASignal(t *testing.T) {
	late := make(chan os.Signal, 1)
	signal.Notify(late, syscall.SIGHUP) // for good: one that comes when the load has ended, or the test has, must not end this process
	done := make(chan struct{})
	go func() {
		defer close(done)
		got, err := loaded(&trial{ground: fake(t, always(whole)), sizes: sizes{clients: 3, idle: -1, rate: -1}}, time.Minute)
		if err != nil || got.failed() {
			t.Errorf("%v: %+v", err, got.Figures)
		}
	}()
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		select {
		case <-done:
			return
		default:
		}
		if time.Since(begin) > patience {
			t.Fatal("it does not end")
		}
	}
}

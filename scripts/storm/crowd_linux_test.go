package main

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestParseAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		answer         string
		body           string
		closing, whole bool
		err            string
	}{
		"whole":           {whole, "Hello, World!", false, true, ""},
		"closing":         {"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx", "x", true, true, ""},
		"part of a head":  {"HTTP/1.1 200 OK\r\nContent-Le", "", false, false, ""},
		"part of a body":  {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx", "", false, false, ""},
		"too much":        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy", "", false, true, "too many"},
		"not 200":         {"HTTP/1.1 503 Busy\r\nContent-Length: 1\r\n\r\nx", "", false, true, "503"},
		"without length":  {"HTTP/1.1 200 OK\r\n\r\n", "", false, true, "without Content-Length"},
		"length of words": {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "", false, true, "Content-Length"},
	} {
		body, closing, whole, err := parseAnswer([]byte(c.answer))
		if string(body) != c.body || closing != c.closing || whole != c.whole || (err == nil) != (c.err == "") {
			t.Errorf("%s: %q, closing %t, whole %t, %v", name, body, closing, whole, err)
		}
		if err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// begun starts a crowd and ends it with the test.
func begun(t *testing.T, c *crowd) *crowd {
	t.Helper()
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestCrowdOfConnects(t *testing.T) {
	c := begun(t, &crowd{name: "connects", ground: fake(t, always(whole)), rate: 2000, total: 200})
	if err := c.done(patience); err != nil {
		t.Fatal(err)
	}
	if n := c.count(); n.Begun != 200 || n.Answered != 200 || n.Asked != 200 || n.Open != 0 || n.Waiting != 0 || len(c.failures()) > 0 {
		t.Errorf("%+v, %d failures", n, len(c.failures()))
	}
}

func TestCrowdOfKeepers(t *testing.T) {
	c := begun(t, &crowd{name: "keepers", ground: fake(t, always(whole)), keep: 20, tick: time.Millisecond, rate: 2000})
	if err := c.assembled(); err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); c.count().Answered < 200; time.Sleep(time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatalf("%+v", c.count())
		}
	}
	if err := c.calm(); err != nil {
		t.Fatal(err)
	}
	before := c.count()
	if err := c.poll(); err != nil {
		t.Fatal(err)
	}
	if n := c.count(); n.Begun != 20 || n.Open != 20 || n.Answered != before.Answered+20 || len(c.failures()) > 0 {
		t.Errorf("%+v, then %+v, %d failures", before, n, len(c.failures()))
	}
}

// Every way to lose a connection is told from the others.
func TestCrowdTellsFailuresApart(t *testing.T) {
	silent, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := &ground{address: netip.MustParseAddrPort(silent.Addr().String())}
	silent.Close()
	failing := errors.New("not what was wanted")
	for name, c := range map[string]struct {
		ground *ground
		keep   int
		judge  func(*member, []byte) error
		want   Loss
	}{
		"refused":      {refusing, 0, nil, LossRefused},
		"no answer":    {fake(t, always("~")), 0, nil, LossClosed},
		"half":         {fake(t, always("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx~")), 0, nil, LossClosed},
		"not 200":      {fake(t, always("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")), 0, nil, LossWrong},
		"judged":       {fake(t, always(whole)), 0, func(*member, []byte) error { return failing }, LossWrong},
		"closed":       {fake(t, always(whole+"~")), 1, nil, LossIdle},
		"second wrong": {fake(t, func(n int) string { return []string{whole, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"}[n] }), 1, nil, LossWrong},
	} {
		t.Run(name, func(t *testing.T) {
			all := begun(t, &crowd{name: name, ground: c.ground, rate: 1000, total: 1, keep: c.keep, tick: time.Millisecond, judge: c.judge})
			for begin := time.Now(); len(all.failures()) == 0; time.Sleep(time.Millisecond) {
				if time.Since(begin) > patience {
					t.Fatalf("%+v", all.count())
				}
			}
			f := all.failures()[0]
			if got := classify(f, nil); got != c.want || c.want != LossRefused && !f.From.IsValid() {
				t.Errorf("%s, want %s: %+v", got, c.want, f)
			}
		})
	}
}

// An announced close is none to complain of.
func TestCrowdAnnounced(t *testing.T) {
	c := begun(t, &crowd{name: "announced", ground: fake(t, always("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx~")), keep: 1, rate: 1000})
	for begin := time.Now(); c.count().Announced == 0; time.Sleep(time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatalf("%+v", c.count())
		}
	}
	if lost := c.failures(); len(lost) > 0 {
		t.Error(lost)
	}
}

// An answer must be of a configuration that can serve.
func TestEpoch(t *testing.T) {
	e := new(epoch)
	c := e.watch(new(crowd))
	e.serves(3)
	e.writes(5)
	e.refused[4].Store(true)
	for body, want := range map[string]bool{"3": true, "5": true, "2": false, "4": false, "6": false, "x": false, "": false, "5 1 77": true} {
		m := new(member)
		c.before(m)
		if err := c.judge(m, []byte(body)); (err == nil) != want {
			t.Errorf("%q: %v", body, err)
		}
	}
	// On one connection there is no way back.
	m := new(member)
	for _, body := range []string{"5", "3"} {
		c.before(m)
		if err := c.judge(m, []byte(body)); (err == nil) != (body == "5") {
			t.Errorf("%q: %v", body, err)
		}
	}
}

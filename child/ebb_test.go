package child

import (
	"strings"
	"testing"
	"time"
)

// Memory is released once a burst is over, once for each, and never while clients are busy.
func TestMemoryIsReleasedAfterABurst(t *testing.T) {
	l, _ := bareLoop(nil)
	began := l.now
	var released []int64 // seconds
	l.ebb.release = func() {
		released = append(released, (l.now-began)/int64(time.Second))
		if l.buffers.Held() > 0 || len(l.freeConn) > 0 || l.spare != nil {
			t.Error("free memory is kept")
		}
	}
	l.buffers.Put(l.buffers.Get(1))
	l.giveTail(l.takeTail())
	l.freeConn = append(l.freeConn, new(conn))
	for second := range int64(60) {
		switch {
		case second < 12: // a burst, in the middle of which connections come and go
			l.numbers.begun += 1000
			l.numbers.accepted += 1000
		case second == 40: // too little
			l.numbers.begun += ebbDeeds / 2
		case second == 45: // enough, together
			l.numbers.begun += ebbDeeds / 2
		}
		l.watchEbb()
		l.now += int64(time.Second)
		l.wheel.Advance(l.now, l.expired)
	}
	ends := []int64{12, 46} // of the bursts
	if len(released) != len(ends) {
		t.Fatalf("released after %v s", released)
	}
	for i, end := range ends {
		if period := ebbPeriod / int64(time.Second); released[i] < end+period || released[i] > end+2*period {
			t.Errorf("a burst ended after %d s, and memory was released after %d s", end, released[i])
		}
	}
}

// What is kept for use again is small, whatever a client has sent.
func TestBulkyExchangesAreNotKept(t *testing.T) {
	tc := start(t, "", routes{"/": text("")})
	for name, c := range map[string]struct {
		fields string
		kept   bool
	}{
		"ordinary":    {"X: y\r\n", true},
		"many fields": {strings.Repeat("X: y\r\n", 2*keptLines), false},
		"long head":   {"X: " + strings.Repeat("y", 2*keptBytes) + "\r\n", false},
	} {
		tc.onLoop(func(l *loop) { l.freeExchange = list{} })
		p := tc.dial()
		p.send("GET / HTTP/1.1\r\nHost: x\r\n" + c.fields + "\r\n")
		if r := p.answer("GET"); r.Status != 200 {
			t.Fatalf("%s: %d", name, r.Status)
		}
		tc.until("the exchange is over", func(l *loop) bool { return l.numbers.begun == l.numbers.finished })
		tc.onLoop(func(l *loop) {
			if kept := l.freeExchange.length > 0; kept != c.kept {
				t.Errorf("%s: kept: %v", name, kept)
			}
		})
	}
}

package local

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
)

const insertOne = "INSERT INTO t (name) VALUES (NULL)"

// TestQueueDeadline: a batch whose time in the queue is over is answered while the writer stands at the turnstile, and never happens.
func TestQueueDeadline(t *testing.T) {
	d := newDesk(t, Options{QueueTimeout: time.Millisecond})
	d.hold()
	_, err := d.execute(t.Context(), batchOf(insertOne))
	e := engine.ErrorOf(err)
	if e.Code != engine.CodeBusy || e.RetryAfter < retryLeast || e.RetryAfter > retryMost || e.Queue != 0 {
		t.Errorf("after the queue's time: %+v", e)
	}
	var all sync.WaitGroup
	var patient answer
	b := batchOf("INSERT INTO t (name) VALUES ('patient')")
	b.Wait = time.Hour
	all.Go(func() { patient.outcomes, patient.err = d.execute(t.Context(), b) })
	d.awaitQueue(1)
	_, err = d.execute(t.Context(), batchOf(insertOne))
	if e := engine.ErrorOf(err); e.Code != engine.CodeBusy || e.Queue != 1 {
		t.Errorf("after the queue's time, behind another: %+v", e)
	}
	d.release()
	all.Wait()
	if got := patient.codes(); got != "ok/" {
		t.Errorf("the patient one: %s", got)
	}
	d.wantRows("SELECT name FROM t", "patient")
}

func TestQueueFull(t *testing.T) {
	d := newDesk(t, Options{Queue: 2})
	d.hold()
	var all sync.WaitGroup
	for i := range 2 {
		all.Go(func() {
			if _, err := d.execute(t.Context(), batchOf(insertOne)); err != nil {
				t.Error(err)
			}
		})
		d.awaitQueue(i + 1)
	}
	_, err := d.execute(t.Context(), batchOf(insertOne))
	if e := engine.ErrorOf(err); e.Code != engine.CodeBusy || e.Queue != 2 || e.RetryAfter < retryLeast {
		t.Errorf("a full queue: %+v", e)
	}
	d.release()
	all.Wait()
	d.wantRows("SELECT count(*) FROM t", "2")
}

// TestQueueOfTheGone: who goes leaves the queue, and nothing of it happens.
func TestQueueOfTheGone(t *testing.T) {
	d := newDesk(t, Options{})
	d.hold()
	ctx, cancel := context.WithCancel(t.Context())
	late, end := context.WithDeadline(t.Context(), time.Now())
	defer end()
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := d.execute(ctx, batchOf(insertOne)); codeOf(err) != engine.CodeCancelled || !errors.Is(err, context.Canceled) {
			t.Errorf("gone: %v", err)
		}
	})
	d.awaitQueue(1)
	cancel()
	all.Wait()
	d.awaitQueue(0)
	for ctx, want := range map[context.Context]engine.Code{ctx: engine.CodeCancelled, late: engine.CodeBusy} {
		if _, err := d.execute(ctx, batchOf(insertOne)); codeOf(err) != want {
			t.Errorf("gone before it came: %v, want %s", err, want)
		}
	}
	d.release()
	d.awaitIdle()
	d.wantRows("SELECT count(*) FROM t", "0")
}

// TestWriterClose: who waits is sent away, though the writer stands at the turnstile, which it gives back later.
func TestWriterClose(t *testing.T) {
	d := newDesk(t, Options{})
	if _, err := d.execute(t.Context(), batchOf(insertOne)); err != nil {
		t.Fatal(err)
	}
	d.hold()
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := d.execute(t.Context(), batchOf(insertOne)); codeOf(err) != engine.CodeUnavailable || !errors.Is(err, errWriterClosed) {
			t.Errorf("in the queue: %v", err)
		}
	})
	d.awaitQueue(1)
	d.close()
	all.Wait()
	d.close()
	if d.conn != nil {
		t.Error("the connection is open")
	}
	if _, err := d.execute(t.Context(), batchOf(insertOne)); !errors.Is(err, errWriterClosed) {
		t.Errorf("later: %v", err)
	}
	d.release()
	d.awaitIdle()
	d.hold()
	d.wantRows("SELECT count(*) FROM t", "1")
}

// TestWriterCloseWhileRunning: what runs is finished before close returns.
func TestWriterCloseWhileRunning(t *testing.T) {
	d := newDesk(t, Options{})
	closing := make(chan struct{})
	var all sync.WaitGroup
	d.tap.exec = func(sql string) error {
		if sql != "COMMIT" {
			return nil
		}
		close(closing)
		for { // until close has said so
			d.queue.mu.Lock()
			closed := d.queue.closed
			d.queue.mu.Unlock()
			if closed {
				return nil
			}
			runtime.Gosched()
		}
	}
	all.Go(func() {
		if _, err := d.execute(t.Context(), batchOf(insertOne)); err != nil {
			t.Error(err)
		}
	})
	<-closing
	d.close()
	all.Wait()
	d.wantRows("SELECT count(*) FROM t", "1")
}

// TestQueueOrder: the queue against a list, by all its operations.
func TestQueueOrder(t *testing.T) {
	q := newQueue(8)
	names := map[*entry]byte{}
	newEntry := func(name byte) *entry {
		e := &entry{notice: make(chan struct{}, 1)}
		names[e] = name
		return e
	}
	order := func() (s string) {
		for e := q.first; e != nil; e = e.next {
			s += string(names[e])
		}
		back := ""
		for e := q.last; e != nil; e = e.prev {
			back = string(names[e]) + back
		}
		if back != s || len(s) != q.length {
			t.Fatalf("forwards %q, backwards %q, length %d", s, back, q.length)
		}
		return s
	}
	a, b, c, d := newEntry('a'), newEntry('b'), newEntry('c'), newEntry('d')
	step := func(what string, want string) {
		t.Helper()
		if got := order(); got != want {
			t.Fatalf("%s: %q, want %q", what, got, want)
		}
	}
	if q.enter(a) != admittedFirst || q.enter(b) != admitted || q.enter(c) != admitted || q.enter(d) != admitted {
		t.Fatal("not admitted")
	}
	step("enter", "abcd")
	if !q.leave(b) || q.leave(b) {
		t.Fatal("left never, or twice")
	}
	step("leave", "acd")
	if q.take(nil) != a || q.leave(a) {
		t.Fatal("took another, or one that runs left")
	}
	if q.take([]*entry{a}) != c {
		t.Fatal("took another")
	}
	a.reruns, c.reruns, c.alone = 1, 1, true
	q.putBack([]*entry{a, c})
	step("put back", "acd")
	first := q.take(nil)
	if e := q.take([]*entry{first}); first != a || e != nil {
		t.Fatalf("a batch for itself got company")
	}
	if e := q.take(nil); e != c || q.take([]*entry{c}) != nil {
		t.Fatalf("a batch for itself got company")
	}
	c.alone = false
	if q.take([]*entry{c}) != nil {
		t.Fatal("a newcomer came to those that run again")
	}
	step("take", "d")
	if first, served := q.close(); !first || !served {
		t.Fatal("close")
	}
	q.putBack([]*entry{a})
	step("close", "")
	for _, e := range []*entry{a, d} {
		if <-e.notice; e.stage != stageFinished || !errors.Is(e.err, errWriterClosed) {
			t.Fatalf("%c: stage %d, %v", names[e], e.stage, e.err)
		}
	}
	if end, closed := q.retire(); !end || !closed || q.enter(newEntry('e')) != refusedClosed {
		t.Fatal("a closed queue")
	}
}

// A brokenGate fails at its first use.
type brokenGate struct {
	gate
	lock, unlock error
}

func (g *brokenGate) Lock() error { return errors.Join(g.lock, g.gate.Lock()) }

func (g *brokenGate) Unlock() error { return errors.Join(g.unlock, g.gate.Unlock()) }

// TestWriterTurnstileFails: who waits is told, or does not notice, and the next turn has another turnstile.
func TestWriterTurnstileFails(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name               string
		open, lock, unlock error
		want               string
	}{
		{"open", broken, nil, nil, "/internal"},
		{"open on a full disk", engine.Errorf(engine.CodeFull, "full"), nil, nil, "/disk_full"},
		{"lock", nil, broken, nil, "/internal"},
		{"unlock", nil, nil, broken, "ok/"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var logged []error
			d := newDesk(t, Options{Log: func(_ string, err error) { logged = append(logged, err) }})
			turnstile, opened := d.turnstile, 0
			d.turnstile = func() (gate, error) {
				if opened++; opened > 1 {
					return turnstile()
				}
				if test.open != nil {
					return nil, test.open
				}
				g, err := turnstile()
				return &brokenGate{g, test.lock, test.unlock}, err
			}
			for _, want := range []string{test.want, "ok/"} {
				a := answer{}
				if a.outcomes, a.err = d.execute(t.Context(), batchOf(insertOne)); a.codes() != want {
					t.Errorf("%s, want %s", a.codes(), want)
				}
			}
			d.awaitIdle()
			if opened != 2 || len(logged) != 1 {
				t.Errorf("opened %d times, logged %v", opened, logged)
			}
		})
	}
}

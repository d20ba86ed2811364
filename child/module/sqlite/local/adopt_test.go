package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

// A file that stays open has the options of who opened it last, and those of the one before when that one has gone.
func TestNewestOptionsHold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	makeDatabase(t, path, "CREATE TABLE t(x)", "INSERT INTO t VALUES (1), (2)")
	var told [2]atomic.Int64
	log := func(i int) func(string, error) { return func(string, error) { told[i].Add(1) } }
	first := openTest(t, Options{Path: path, Readers: 1, Queue: 7, QueueTimeout: time.Second, Log: log(0)})
	o := first.opened.Load()
	check := func(readers, queue int, timeout time.Duration) {
		t.Helper()
		o.readers.mu.Lock()
		most := o.readers.most
		o.readers.mu.Unlock()
		w := o.writing()
		w.queue.mu.Lock()
		capacity := w.queue.capacity
		w.queue.mu.Unlock()
		if wait := time.Duration(w.wait.Load()); most != readers || capacity != queue || wait != timeout {
			t.Errorf("%d readers, %d in the queue, %v", most, capacity, wait)
		}
	}
	check(1, 7, time.Second)
	open := []engine.Rows{start(t, first, t.Context(), "SELECT x FROM t", time.Minute)}
	got := make(chan engine.Rows)
	go func() { // waits for a connection until there may be more
		rows, err := first.Query(context.Background(), &engine.Query{Statement: engine.Statement{SQL: "SELECT x FROM t"}, Policy: operator,
			Limits: engine.Limits{Timeout: time.Minute}})
		if err != nil {
			t.Error(err)
		}
		got <- rows
	}()
	for waiting := 0; waiting == 0; {
		o.readers.mu.Lock()
		waiting = len(o.readers.waiting)
		o.readers.mu.Unlock()
	}
	second := openTest(t, Options{Path: path, Readers: 3, Log: log(1)})
	check(3, defaultQueue, defaultQueueTimeout)
	open = append(open, <-got, start(t, first, t.Context(), "SELECT x FROM t", time.Minute))
	o.log("", nil)
	if told[0].Load() != 0 || told[1].Load() != 1 {
		t.Error("the generation before was told")
	}
	second.Close()
	check(1, 7, time.Second)
	for _, rows := range open {
		rows.Close()
	}
	o.readers.mu.Lock()
	if o.readers.open != 1 || len(o.readers.all) != 1 || len(o.readers.idle) != 1 {
		t.Error(o.readers.open, len(o.readers.all), len(o.readers.idle))
	}
	o.readers.mu.Unlock()
	third := openTest(t, Options{Path: path, Readers: 2})
	first.Close() // the older one
	check(2, defaultQueue, defaultQueueTimeout)
	if n := mustOne(t, third, "SELECT count(*) FROM t"); n != 2 {
		t.Error(n)
	}
}

// While the file that has taken the place of another cannot be opened, since somebody stands in the turnstile, each who wants it waits for its own
// time only; and it is opened when the turnstile is free.
func TestReplacedBehindTurnstile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.db")
	makeDatabase(t, path, "CREATE TABLE t(x)")
	f := openTest(t, Options{Path: path})
	other := openTest(t, Options{Path: path})
	mustExecute(t, f, "INSERT INTO t VALUES (1)")
	stopped, err := lite.OpenTurnstile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer stopped.Close()
	if err := stopped.Lock(); err != nil {
		t.Fatal(err)
	}
	makeDatabase(t, path+".new", "CREATE TABLE t(x)", "INSERT INTO t VALUES (1), (2)")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	look(f)
	q := &engine.Query{Statement: engine.Statement{SQL: "SELECT x FROM t"}, Policy: operator, Limits: engine.Limits{Timeout: time.Millisecond}}
	for range 3 {
		if _, err := f.Query(t.Context(), q); err == nil || lite.ErrorOf(err).Code != engine.CodeUnavailable || lite.ErrorOf(err).RetryAfter == 0 {
			t.Error(err)
		}
	}
	batch := &engine.Batch{Statements: []engine.Statement{{SQL: "DELETE FROM t"}}, Policy: operator, Wait: time.Millisecond}
	if _, err := f.Execute(t.Context(), batch); err == nil || lite.ErrorOf(err).Code != engine.CodeUnavailable {
		t.Error(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Inspect(gone, operator, "SELECT 1"); err == nil || lite.ErrorOf(err).Code != engine.CodeCancelled {
		t.Error(err)
	}
	if _, err := acquire(gone, &File{options: f.options}); err == nil || lite.ErrorOf(err).Code != engine.CodeUnavailable {
		t.Error("who opens it:", err)
	}
	if _, ok := f.Tag(); ok {
		t.Error("a tag")
	}
	look(other)
	if _, err := other.Query(t.Context(), q); err == nil {
		t.Error("no error")
	}
	other.Close() // while it opens the file
	got := make(chan error)
	go func() {
		_, _, _, err := one(f, "SELECT x FROM t")
		got <- err
	}()
	if err := stopped.Unlock(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if n := mustOne(t, f, "SELECT count(*) FROM t"); n != 2 {
		t.Error(n)
	}
	o := f.opened.Load()
	f.Close()
	<-o.gone // every share has been given back, those that came too late included
}

// A file that is not there says so, to whom may ask.
func TestMissingFileSaysSo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	if _, err := Open(Options{Path: path}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	makeDatabase(t, path, "CREATE TABLE t(x)")
	f := openTest(t, Options{Path: path})
	mustExecute(t, f, "INSERT INTO t VALUES (1)")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look(f)
	var shared *engine.Error
	for range 2 {
		_, _, _, read := one(f, "SELECT x FROM t")
		_, inspected := f.Inspect(t.Context(), operator, "SELECT 1")
		for _, err := range []error{read, execute(f, "INSERT INTO t VALUES (2)"), inspected} {
			e := lite.ErrorOf(err)
			if e.Code != engine.CodeUnavailable || !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			if e == shared {
				t.Error("two callers have one error, to which each may add")
			}
			shared = e
		}
	}
}

package master

import (
	"os"
	"testing"

	"github.com/tined/tined/netcore/control"
)

// A message that no other one waits before goes at once, which takes no descriptor: a master that has none left can still lend and ask for
// votes. What comes behind one that waits keeps its place.
func TestSendAtOnce(t *testing.T) {
	ours, theirs, err := control.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	there, err := control.New(theirs)
	if err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	defer there.Close()
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var posted []any
	r := &running{conn: ours, outbox: make(chan outgoing, 2), post: func(event any) { posted = append(posted, event) }}
	before := openDescriptors(t)
	r.Send(&control.Prepare{Generation: 1}, int(file.Fd()))
	if got := openDescriptors(t); got != before {
		t.Errorf("%d descriptors were %d before", got, before)
	}
	if len(r.outbox) > 0 {
		t.Fatal("the message waits")
	}
	m, files, err := there.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if p, is := m.(*control.Prepare); !is || p.Generation != 1 || len(files) != 1 {
		t.Errorf("%v with %d files", m, len(files))
	}
	for _, f := range files {
		_ = f.Close()
	}
	r.queued.Add(1) // one waits
	r.Send(&control.Commit{Generation: 1})
	r.Send(&control.Commit{Generation: 2})
	if len(r.outbox) != 2 {
		t.Fatalf("%d messages wait, not 2", len(r.outbox))
	}
	r.queued.Add(-1) // it is sent
	close(r.outbox)
	r.send()
	for number := uint64(1); number <= 2; number++ {
		m, _, err := there.Receive()
		if c, is := m.(*control.Commit); err != nil || !is || c.Generation != number {
			t.Fatalf("%v, %v in place of commit %d", m, err, number)
		}
	}
	if n := r.queued.Load(); n != 0 {
		t.Errorf("%d messages are thought to wait", n)
	}
	r.Send(&control.Ping{}) // at once again: the outbox, which is closed, is not touched
	if m, _, err := there.Receive(); err != nil || m.Kind() != control.KindPing {
		t.Errorf("%v, %v", m, err)
	}
	if len(posted) > 0 {
		t.Error(posted)
	}
}

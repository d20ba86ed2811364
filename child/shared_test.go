package child

import (
	"errors"
	"strings"
	"testing"

	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// sharingPair is a child's side of shared state with the channel's other end.
func sharingPair(t *testing.T, state *board.Shared) (*sharing, *control.Conn) {
	t.Helper()
	ours, theirs, err := control.Pair()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := control.New(theirs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); conn.Close() })
	return newSharing(state, newLink(conn)), ours
}

func TestSetIsCarriedToTheMaster(t *testing.T) {
	state := new(board.Shared)
	v, err := state.Value("v")
	if err != nil {
		t.Fatal(err)
	}
	s, master := sharingPair(t, state)
	if !s.hear(&control.Board{Values: []string{"v"}}, nil) || s.fault != nil {
		t.Fatal(s.fault)
	}
	if s.hear(&control.Ping{}, nil) {
		t.Error("a ping is shared state")
	}
	set := func(text string) <-chan error {
		done := make(chan error, 1)
		go func() { done <- v.Set(text) }()
		return done
	}
	receive := func() *control.SetValue {
		t.Helper()
		m, _, err := master.Receive()
		if err != nil {
			t.Fatal(err)
		}
		return m.(*control.SetValue)
	}

	done := set("x")
	m := receive()
	s.hear(&control.ValueSet{ID: m.ID + 1, Revision: 9}, nil) // the answer to nobody
	s.hear(&control.ValueSet{ID: m.ID, Revision: 1}, nil)
	if err := <-done; err != nil || v.Get() != "x" || m.Name != "v" || string(m.Text) != "x" {
		t.Errorf("%v, %q, %+v", err, v.Get(), m)
	}

	done = set("y")
	s.hear(&control.ValueSet{ID: receive().ID, Refused: "not now"}, nil)
	if err := <-done; err == nil || !strings.Contains(err.Error(), "not now") || v.Get() != "x" {
		t.Errorf("%v, %q", err, v.Get())
	}

	s.hear(&control.Value{Name: "v", Revision: 5, Text: []byte("of another child")}, nil)
	if m, _, err := master.Receive(); err != nil || m.Kind() != control.KindValueSeen || v.Get() != "of another child" {
		t.Errorf("%v, %v, %q", m, err, v.Get())
	}

	done = set("z")
	receive()
	s.orphaned()
	for _, done := range []<-chan error{done, set("too late")} {
		if err := <-done; !errors.Is(err, board.ErrNoMaster) {
			t.Errorf("without a master: %v", err)
		}
	}
}

// A child that registers other names than its master keeps the fault for its first preparation.
func TestBoardThatDoesNotFit(t *testing.T) {
	s, _ := sharingPair(t, new(board.Shared))
	s.hear(&control.Board{Counters: []string{"c"}}, nil)
	if s.fault == nil || !strings.Contains(s.fault.Error(), `"c"`) {
		t.Error(s.fault)
	}
}

// A child in its master's process takes nothing over, and answers all the same.
func TestHostedChildLeavesTheBoardToItsMaster(t *testing.T) {
	s, master := sharingPair(t, nil)
	s.hear(&control.Board{Counters: []string{"c"}, Values: []string{"v"}}, nil)
	s.hear(&control.Value{Name: "v", Revision: 1}, nil)
	if m, _, err := master.Receive(); err != nil || m.Kind() != control.KindValueSeen || s.fault != nil {
		t.Errorf("%v, %v, %v", m, err, s.fault)
	}
}

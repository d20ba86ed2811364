package child

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/tined/tined/netcore/board"
	"github.com/tined/tined/netcore/control"
)

// sharing is the child's side of what the program shares with its other processes.
type sharing struct {
	state *board.Shared // nil: it is the master's, whose process this is
	conn  *control.Conn
	fault error // the board could not be joined; owner: the goroutine that receives, until the first prepare

	mu      sync.Mutex
	id      uint64
	answers map[uint64]chan *control.ValueSet // of the sets that wait; nil: the master is gone
}

func newSharing(state *board.Shared, conn *control.Conn) *sharing {
	return &sharing{state: state, conn: conn, answers: make(map[uint64]chan *control.ValueSet)}
}

// hear takes what concerns shared state, on the goroutine that receives: a hook that sets a value, while the agent waits for it, must get
// its answer. It reports whether m was such a message.
func (s *sharing) hear(m control.Message, files []*os.File) bool {
	switch m := m.(type) {
	case *control.Board:
		s.join(m, files)
	case *control.Value:
		if s.state != nil {
			if v := s.state.Named(m.Name); v != nil {
				v.Follow(string(m.Text), m.Revision)
			}
		}
		// An error is that of a master that is gone or hangs: receive sees the one, and the other asks for nothing.
		_ = s.conn.Send(&control.ValueSeen{})
	case *control.ValueSet:
		s.mu.Lock()
		answer := s.answers[m.ID]
		delete(s.answers, m.ID)
		s.mu.Unlock()
		if answer != nil {
			answer <- m
		}
	default:
		return false
	}
	return true
}

func (s *sharing) join(m *control.Board, files []*os.File) {
	defer closeFiles(files)
	if s.state == nil {
		return
	}
	var file *os.File
	if len(files) > 0 {
		file = files[0]
	}
	s.fault = s.state.Join(file, m.Counters, m.Values, s.carry)
}

// carry is the board.Carry of a child.
func (s *sharing) carry(name, text string, by time.Time) (uint64, error) {
	answer := make(chan *control.ValueSet, 1)
	s.mu.Lock()
	if s.answers == nil {
		s.mu.Unlock()
		return 0, board.ErrNoMaster
	}
	s.id++
	id := s.id
	s.answers[id] = answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.answers, id)
		s.mu.Unlock()
	}()
	if err := s.conn.SendWithin(min(control.SendTimeout, time.Until(by)), &control.SetValue{ID: id, Name: name, Text: []byte(text)}); err != nil {
		return 0, board.ErrNoMaster
	}
	timer := time.NewTimer(time.Until(by))
	defer timer.Stop()
	select {
	case m := <-answer:
		switch {
		case m == nil:
			return 0, board.ErrNoMaster
		case m.Refused != "":
			return 0, errors.New(m.Refused)
		}
		return m.Revision, nil
	case <-timer.C:
		return 0, board.ErrNoMaster
	}
}

// orphaned answers every set that waits, and those to come: the master is gone.
func (s *sharing) orphaned() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, answer := range s.answers {
		answer <- nil
	}
	s.answers = nil
}

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
	link  *link
	// life takes the segment of this child's own life, which the child keeps the file of; nil: nobody counts there. Set before the first message.
	life  func(*os.File) error
	fault error // the board could not be joined; owner: the goroutine that receives, until the first prepare

	mu      sync.Mutex
	id      uint64
	answers map[uint64]chan *control.ValueSet // of the sets that wait; nil: the master is gone

	// What Board brought, for a later master.
	secret   []byte
	counters []string
	segments []*os.File // of this life, of those that have ended, and of the counters if there are any
}

func newSharing(state *board.Shared, l *link) *sharing {
	return &sharing{state: state, link: l, answers: make(map[uint64]chan *control.ValueSet)}
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
		if conn := s.link.get(); conn != nil {
			_ = conn.Send(&control.ValueSeen{})
		}
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

// join takes the board, once: a later master shares what the child has.
func (s *sharing) join(m *control.Board, files []*os.File) {
	s.mu.Lock()
	again := s.segments != nil
	if !again {
		s.secret, s.counters, s.segments = m.Secret, m.Counters, files
	}
	s.mu.Unlock()
	if again {
		closeFiles(files)
		return
	}
	if s.life != nil && len(files) > 1 {
		s.fault = s.life(files[0])
	}
	if s.state == nil || s.fault != nil {
		return
	}
	var counters *os.File
	if len(m.Counters) > 0 && len(files) > 0 {
		counters = files[len(files)-1]
	}
	s.fault = s.state.Join(counters, m.Counters, m.Values, s.carry)
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
	conn := s.link.get()
	if conn == nil {
		return 0, board.ErrNoMaster
	}
	if err := conn.SendWithin(min(control.SendTimeout, time.Until(by)), &control.SetValue{ID: id, Name: name, Text: []byte(text)}); err != nil {
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

// orphaned answers every set that waits, and those to come until there is another one: the master is gone.
func (s *sharing) orphaned() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, answer := range s.answers {
		answer <- nil
	}
	s.answers = nil
}

// adopted lets values be set again: there is another master.
func (s *sharing) adopted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = make(map[uint64]chan *control.ValueSet)
}

package board

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Limits of what one program shares. With names of maxName bytes the list of all of them fits into one message.
const (
	MaxCounters = 256
	MaxValues   = 32
	maxName     = 64 // bytes
)

// Shared is all that a program has registered. It is filled before the processes are started, by one goroutine at a time; every
// process of a server must fill it with the same names in the same order. The zero value is empty.
type Shared struct {
	counters []*Counter
	values   []*Value
}

// Counter registers a counter. The error says what is wrong with the name, or that there are too many.
func (s *Shared) Counter(name string) (*Counter, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if len(s.counters) == MaxCounters {
		return nil, fmt.Errorf("more than %d counters: let some share a name", MaxCounters)
	}
	c := newCounter(name)
	s.counters = append(s.counters, c)
	return c, nil
}

// Value registers a value. The error says what is wrong with the name, or that there are too many.
func (s *Shared) Value(name string) (*Value, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if len(s.values) == MaxValues {
		return nil, fmt.Errorf("more than %d values: keep several texts in one", MaxValues)
	}
	v := newValue(name)
	s.values = append(s.values, v)
	return v, nil
}

func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("a name has 1 to %d bytes", maxName)
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '_', c == '-', c == '.', c == ':', c == '/':
		default:
			return fmt.Errorf("a name consists of letters, digits and _-.:/, and not of %q", c)
		}
	}
	return nil
}

// Counters are the names of the counters, in the order of their registration.
func (s *Shared) Counters() []string {
	names := make([]string, len(s.counters))
	for i, c := range s.counters {
		names[i] = c.name
	}
	return names
}

// Values are the values, in the order of their registration.
func (s *Shared) Values() []*Value { return s.values }

// Named returns the value called name; nil: there is none.
func (s *Shared) Named(name string) *Value {
	for _, v := range s.values {
		if v.name == name {
			return v
		}
	}
	return nil
}

// Share makes the segment of the counters and lets them count there: the master's part, before any child is started. What they have
// counted so far is in it. Without counters there is no segment, and nil is returned.
func (s *Shared) Share() (*Segment, error) {
	if len(s.counters) == 0 {
		return nil, nil
	}
	segment, err := Create(counters, len(s.counters))
	if err != nil {
		return nil, fmt.Errorf("counters: %w", err)
	}
	s.count(segment)
	return segment, nil
}

// Resume is Share for a process that takes the place of another one whose children live: the counters go on in the segment that those
// have, which came in file, and what they have counted so far in this process is added. names are those children's. The file is the
// caller's.
func (s *Shared) Resume(file *os.File, names []string) (*Segment, error) {
	if !slices.Equal(names, s.Counters()) {
		return nil, fmt.Errorf("counters: %w: it is of %q, and not of %q", ErrNotSegment, names, s.Counters())
	}
	own, err := duplicate(file)
	if err != nil {
		return nil, fmt.Errorf("counters: %w", err)
	}
	segment, err := Open(own, counters, len(s.counters))
	if err != nil {
		_ = own.Close()
		return nil, fmt.Errorf("counters: %w", err)
	}
	segment.file = own
	s.count(segment)
	return segment, nil
}

// count lets the counters count in a segment.
func (s *Shared) count(segment *Segment) {
	for i, c := range s.counters {
		word := segment.Word(i, wordSum)
		c.move(word) // first: what another goroutine adds meanwhile counts once
		word.Add(c.own.Load())
	}
}

// duplicate makes another descriptor of an open memory file.
func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// Join makes a child of the process: its counters count in the master's segment, which comes in file (nil without counters), and its
// values follow the master, to whom carry brings what is set here. counters and values are the master's names. What the process has
// counted and set so far is forgotten, for the master has run the same code.
func (s *Shared) Join(file *os.File, counterNames, valueNames []string, carry Carry) error {
	own := make([]string, len(s.values))
	for i, v := range s.values {
		own[i] = v.name
	}
	if err := same("counters", counterNames, s.Counters()); err != nil {
		return err
	}
	if err := same("values", valueNames, own); err != nil {
		return err
	}
	if len(s.counters) > 0 {
		if file == nil {
			return fmt.Errorf("counters: %w: it has not come", ErrNotSegment)
		}
		segment, err := Open(file, counters, len(s.counters))
		if err != nil {
			return fmt.Errorf("counters: %w", err)
		}
		for i, c := range s.counters {
			c.move(segment.Word(i, wordSum))
		}
	}
	for _, v := range s.values {
		v.submit(carry)
	}
	return nil
}

func same(what string, master, child []string) error {
	if slices.Equal(master, child) {
		return nil
	}
	return fmt.Errorf("the shared %s of the master are %q, those of the child %q: register the same ones in the same order in every process", what, master, child)
}

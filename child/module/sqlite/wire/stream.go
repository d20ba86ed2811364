package wire

import (
	"errors"
	"fmt"
	"io"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// ErrCut is what a Stream of CSV fails with, wrapped with the reason, where the result ends early: the format cannot say so, thus the
// connection must end before the content does.
var ErrCut = errors.New("the result ends early, which its format cannot say")

// Collect appends the result to dst: to its end, or until what it has appended is bound bytes or more; the row that passes the bound is
// whole. over says that the result has ended. If not, Stream goes on with out as its first bytes. err, an *engine.Error, is why rows could not
// be read; then nothing of out is of use. Rows are closed where there is nothing left to read.
func Collect(dst []byte, rows engine.Rows, e *Encoder, bound int) (out []byte, over bool, err error) {
	out = e.Begin(dst)
	for {
		if e.options.Single && e.rows > 0 {
			break
		}
		if len(out)-len(dst) >= bound {
			return out, false, nil
		}
		if !rows.Next() {
			break
		}
		out = e.Row(out, rows)
	}
	err = rows.Err()
	rows.Close()
	if err != nil {
		return out, true, engine.ErrorOf(err)
	}
	return e.finish(out), true, nil
}

// finish appends End with what Options.End adds.
func (e *Encoder) finish(dst []byte) []byte {
	if e.options.End == nil {
		return e.End(dst)
	}
	return e.End(dst, e.options.End(e)...)
}

// Stream returns the result as a reader: first, then what e makes of the rows that are left, as it is read. If the rows end early, JSON and
// NDJSON say so at their end, and then follows io.EOF; CSV's reader fails with ErrCut. The rows are closed as soon as there is nothing left
// to read, or by Close, which may be called again. It takes first. It is for one goroutine at a time.
func Stream(rows engine.Rows, e *Encoder, first []byte) io.ReadCloser {
	return &stream{rows: rows, encoder: e, pending: first}
}

type stream struct {
	rows    engine.Rows
	encoder *Encoder
	pending []byte // encoded, and not yet read
	longest int    // row so far, in bytes
	end     error  // what follows pending; nil: rows
}

// Read fills p with whole rows as far as they are likely to fit, which is three quarters of it at least while there are rows. What does not
// fit stays for the next call.
func (s *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(s.pending) > 0 {
		n := copy(p, s.pending)
		if s.pending = s.pending[n:]; len(s.pending) == 0 {
			s.pending = nil // a large value's memory is not held
		}
		return n, nil
	}
	if s.end != nil {
		return 0, s.end
	}
	out := s.encoder.Begin(p[:0:len(p)]) // append moves it elsewhere if p is too small
	for s.end == nil && (len(out) == 0 || len(out)+min(s.longest, len(p)/4) <= len(p)) {
		before := len(out)
		out = s.step(out)
		s.longest = max(s.longest, len(out)-before)
	}
	if len(out) == 0 {
		return 0, s.end
	}
	n := len(out)
	if n > len(p) {
		n = copy(p, out)
		s.pending = out[n:]
	}
	return n, nil
}

// step appends a row, or the end.
func (s *stream) step(dst []byte) []byte {
	e := s.encoder
	if !(e.options.Single && e.rows > 0) {
		if s.rows.Next() {
			return e.Row(dst, s.rows)
		}
		if err := s.rows.Err(); err != nil {
			s.end = io.EOF
			if e.format == CSV {
				s.end = fmt.Errorf("%w: %w", ErrCut, err)
			}
			s.rows.Close()
			return e.Fail(dst, engine.ErrorOf(err))
		}
	}
	s.end = io.EOF
	s.rows.Close()
	return e.finish(dst)
}

// Close ends the stream, wherever it is.
func (s *stream) Close() error {
	s.pending, s.end = nil, io.ErrClosedPipe
	s.rows.Close()
	return nil
}

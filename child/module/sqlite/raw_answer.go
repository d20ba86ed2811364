package sqlite

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/wire"
	"github.com/tined/tined/child/web"
)

const rawContentType = "application/json; charset=utf-8" // as rqlite has it

// A rawAnswer is the document {"results":[…]}, which is sent in pieces of about web.StreamAt bytes: so much is held, and one row. What has
// not left can be taken back.
type rawAnswer struct {
	w       *web.Response
	options *rawOptions
	reading bool // results have rows, also those that failed at once
	start   time.Time
	buf     []byte
	out     []byte // of indent
	indent  rawIndent

	results  int  // that have begun
	mark     int  // where the present result begins in buf; -1: part of it has left
	open     bool // a result has begun and not ended
	rowsOpen bool // its rows too
	firstRow bool // none of them is there
	failures bool // a result has an error
	complete bool // "results" has its end
	sent     bool // something has left
	held     bool // nothing may leave
	err      error

	columns rawColumns
	row     []engine.Value
}

// gone reports whether the client does not take the answer any more.
func (a *rawAnswer) gone() bool { return a.err != nil }

// begin makes the answer an empty one, of which nothing has left.
func (a *rawAnswer) begin() {
	a.buf = append(a.buf[:0], `{"results":[`...)
	a.results, a.open, a.rowsOpen, a.failures = 0, false, false, false
}

// list returns what is there of the array of results, whole. Nothing may have left.
func (a *rawAnswer) list() []byte { return append(a.buf[len(`{"results":`):], ']') }

// result begins a result.
func (a *rawAnswer) result() {
	if a.results > 0 {
		a.buf = append(a.buf, ',')
	}
	a.results++
	a.mark, a.open, a.rowsOpen, a.firstRow = len(a.buf), true, false, true
}

// done ends the present result with its time, if that is wanted.
func (a *rawAnswer) done(took time.Duration) {
	if a.rowsOpen {
		a.buf = append(a.buf, ']')
	}
	a.time(took)
	a.buf = append(a.buf, '}')
	a.open, a.rowsOpen = false, false
	a.flush()
}

// time appends a member "time", in seconds.
func (a *rawAnswer) time(took time.Duration) {
	if a.options.timings && took > 0 {
		a.member(`"time":`)
		a.buf = rawFloat(a.buf, took.Seconds())
	}
}

// member begins a member of the object that buf ends in.
func (a *rawAnswer) member(name string) {
	if n := len(a.buf); n == 0 || a.buf[n-1] != '{' { // empty: what was before has left
		a.buf = append(a.buf, ',')
	}
	a.buf = append(a.buf, name...)
}

// failure appends the members that tell of an error.
func (a *rawAnswer) failure(e *engine.Error) {
	a.failures = true
	a.member("")
	a.buf = rawErrorMembers(a.buf, e)
}

// fail makes an error of the present result, or of the next if none has begun. Rows that have left stay, and the error follows them.
func (a *rawAnswer) fail(e *engine.Error) {
	reading, left := a.reading || a.open, a.open && a.mark < 0
	switch {
	case left && a.rowsOpen:
		a.buf = append(a.buf, ']')
	case left:
	case a.open:
		a.buf = append(a.buf[:a.mark], '{')
	default:
		a.result()
		a.buf = append(a.buf, '{')
	}
	if a.options.associative && reading && !left {
		a.buf = append(a.buf, `"rows":[]`...)
	}
	a.rowsOpen = false
	a.failure(e)
	a.done(0)
}

// failWhole makes e the error of the whole request: there are no results.
func (a *rawAnswer) failWhole(e *engine.Error) {
	a.begin()
	a.buf = append(a.buf, ']')
	a.complete = true
	a.failure(e)
}

// rows writes a result with rows. An error of them, or of a value that cannot be told, is returned: the result is open then.
func (a *rawAnswer) rows(rows engine.Rows, started time.Time) error {
	columns := rows.Columns()
	a.row = slices.Grow(a.row[:0], len(columns))[:len(columns)]
	err := a.table(columns, func() []engine.Value {
		if !rows.Next() {
			return nil
		}
		for i := range a.row {
			a.row[i] = rows.Value(i)
		}
		return a.row
	}, rows.Err)
	if err == nil {
		a.done(time.Since(started))
	}
	return err
}

// collected writes a result whose rows are there.
func (a *rawAnswer) collected(o *engine.Outcome) error {
	i := -1
	err := a.table(o.Columns, func() []engine.Value {
		if i++; i < len(o.Rows) {
			return o.Rows[i]
		}
		return nil
	}, func() error { return nil })
	if err == nil {
		a.done(o.Elapsed)
	}
	return err
}

// table writes the columns and the rows that next yields until nil; failed tells why that came early. The types are known with the first row.
func (a *rawAnswer) table(columns []engine.Column, next func() []engine.Value, failed func() error) error {
	a.result()
	first := next()
	if first == nil {
		if err := failed(); err != nil {
			return err
		}
	}
	a.columns.set(columns, first, a.options)
	a.head(first != nil)
	for row := first; row != nil; row = next() {
		whole := len(a.buf)
		if !a.firstRow {
			a.buf = append(a.buf, ',')
		}
		var err error
		if a.buf, err = a.columns.append(a.buf, row, a.options); err != nil {
			a.buf = a.buf[:whole]
			return err
		}
		a.firstRow = false
		if a.flush(); a.err != nil {
			return a.err
		}
	}
	return failed()
}

// head writes what is before the rows.
func (a *rawAnswer) head(rows bool) {
	if a.options.associative {
		a.buf = append(a.buf, '{')
		if len(a.columns.names) > 0 {
			a.buf = append(a.buf, `"types":{`...)
			for n, i := range a.columns.order {
				if n > 0 {
					a.buf = append(a.buf, ',')
				}
				a.buf = append(append(append(a.buf, a.columns.names[i]...), ':'), a.columns.types[i]...)
			}
			a.buf = append(a.buf, "},"...)
		}
		a.buf = append(a.buf, `"rows":[`...)
		a.rowsOpen = true
		return
	}
	a.buf = append(a.buf, `{"columns":[`...)
	a.buf = append(a.buf, bytes.Join(a.columns.names, []byte{','})...)
	a.buf = append(a.buf, `],"types":[`...)
	a.buf = append(a.buf, bytes.Join(a.columns.types, []byte{','})...)
	a.buf = append(a.buf, ']')
	if rows {
		a.buf = append(a.buf, `,"values":[`...)
		a.rowsOpen = true
	}
}

// written writes the result of a statement that has written, and returns no rows. As in rqlite what is 0 is left out.
func (a *rawAnswer) written(o *engine.Outcome) {
	a.result()
	a.buf = append(a.buf, '{')
	if o.LastInsertID != 0 {
		a.member(`"last_insert_id":`)
		a.buf = strconv.AppendInt(a.buf, o.LastInsertID, 10)
	}
	if o.RowsAffected != 0 {
		a.member(`"rows_affected":`)
		a.buf = strconv.AppendInt(a.buf, o.RowsAffected, 10)
	}
	a.time(o.Elapsed)
	if a.options.associative {
		a.member(`"rows":null`)
	}
	a.done(0)
}

// end ends the document and sends what is left. sequence, unless it is 0, is the number of a queued write.
func (a *rawAnswer) end(sequence int64) {
	if !a.complete {
		a.buf = append(a.buf, ']')
	}
	a.time(time.Since(a.start))
	if sequence != 0 {
		a.member(`"sequence_number":`)
		a.buf = strconv.AppendInt(a.buf, sequence, 10)
	}
	a.buf = append(a.buf, '}')
	if a.sent {
		a.send()
		return
	}
	a.fields()
	a.w.SendBytes(a.formed())
}

// flush lets a piece leave if there is one.
func (a *rawAnswer) flush() {
	if len(a.buf) > web.StreamAt && !a.held {
		a.send()
	}
}

// send lets everything leave. It waits for a client that is slow.
func (a *rawAnswer) send() {
	if a.err != nil {
		a.buf = a.buf[:0]
		return
	}
	if !a.sent {
		a.fields()
	}
	_, a.err = a.w.Write(a.formed())
	a.buf, a.mark, a.sent = a.buf[:0], -1, true
}

// formed returns buf as it is to be sent.
func (a *rawAnswer) formed() []byte {
	if !a.options.pretty {
		return a.buf
	}
	a.out = a.indent.append(a.out[:0], a.buf)
	return a.out
}

// fields sets the header.
func (a *rawAnswer) fields() {
	h := a.w.Header()
	h.Set("Content-Type", rawContentType)
	h.Set("Cache-Control", "no-store")
}

// refuse answers with an error alone, which has its status. statement is the one that failed, from 0, -1: the request as a whole. Nothing may
// have left.
func (x *rawExchange) refuse(e *engine.Error, statement int) { x.refuseWith(e, statement, nil) }

// refuseWith is refuse; results, unless nil, is the array of what was done nevertheless.
func (x *rawExchange) refuseWith(e *engine.Error, statement int, results []byte) {
	h := x.w.Header()
	h.Set("Cache-Control", "no-store")
	setRetryAfter(h, e)
	x.w.SetStatus(e.Code.Status())
	if !x.options.problem {
		h.Set("Content-Type", rawContentType)
		content := rawErrorMembers([]byte{'{'}, e)
		if e.Code == engine.CodeBusy {
			content = strconv.AppendInt(append(content, `,"queue":`...), int64(e.Queue), 10)
		}
		x.w.SendBytes(append(content, '}'))
		return
	}
	h.Set("Content-Type", "application/problem+json")
	content := bytes.TrimSuffix(wire.Problem(nil, e), []byte{'}'}) // members of our own follow (RFC 9457, 3.2)
	if statement >= 0 {
		content = strconv.AppendInt(append(content, `,"statement":`...), int64(statement), 10)
	}
	if results != nil {
		content = append(append(content, `,"results":`...), results...)
	}
	x.w.SendBytes(append(content, '}'))
}

// rawErrorMembers appends "error" and "code".
func rawErrorMembers(dst []byte, e *engine.Error) []byte {
	dst = rawString(append(dst, `"error":`...), []byte(e.Message))
	return rawString(append(dst, `,"code":`...), []byte(e.Code))
}

// A rawIndent indents JSON by 4 spaces, as it comes: a piece may end anywhere.
type rawIndent struct {
	depth    int
	inString bool
	escaped  bool // the next byte of the string belongs to a backslash
	opened   bool // the last byte has opened an array or an object, which may be empty
}

// append appends src, which has no white space between its tokens.
func (x *rawIndent) append(dst, src []byte) []byte {
	for _, c := range src {
		if x.inString {
			dst = append(dst, c)
			switch {
			case x.escaped:
				x.escaped = false
			case c == '\\':
				x.escaped = true
			case c == '"':
				x.inString = false
			}
			continue
		}
		if x.opened && c != ']' && c != '}' {
			x.depth++
			dst = x.line(dst)
		}
		switch c {
		case '{', '[':
			x.opened = true
			dst = append(dst, c)
			continue
		case ',':
			dst = x.line(append(dst, c))
		case ':':
			dst = append(dst, ':', ' ')
		case '}', ']':
			if !x.opened {
				x.depth--
				dst = x.line(dst)
			}
			dst = append(dst, c)
		default:
			x.inString = c == '"'
			dst = append(dst, c)
		}
		x.opened = false
	}
	return dst
}

// line begins a line.
func (x *rawIndent) line(dst []byte) []byte {
	dst = append(dst, '\n')
	for range x.depth {
		dst = append(dst, "    "...)
	}
	return dst
}

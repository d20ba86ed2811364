package wire

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// Options say how one result is written. The zero value is the usual.
type Options struct {
	// Single: the result is its first row, and JSON the object alone. Collect and Stream do not look for a second row.
	Single bool
	// Last is the number of a column, from 1, whose value in the last row Encoder.Last returns; 0: none.
	Last int
	// End returns the members behind the rows, as it is called after the last one. Collect and Stream call it once, and not after an
	// error. Only JSON (without Single) and NDJSON have a place for them.
	End func(e *Encoder) []Extra
}

// An Extra is a member of the document behind the rows. Its name is none of "rows" and "error".
type Extra struct {
	Name string
	engine.Value
}

// An Encoder writes one result, in this order: Begin, Row for each row, End or Fail. Its methods append to dst and return that, as append does;
// Row allocates nothing but what dst lacks. It is for one goroutine at a time.
type Encoder struct {
	format  Format
	options Options
	columns []string // as the result names them
	keys    []byte   // what stands before the values of a row, one behind the other: `{"id":`, `,"name":`; CSV: the line of names
	ends    []int    // of each column's part of keys; CSV: nothing
	begun   bool
	rows    int64
	last    engine.Value // its Bytes are the encoder's own
}

// NewEncoder returns an Encoder for a result with these columns.
func NewEncoder(f Format, columns []engine.Column, o Options) *Encoder {
	e := &Encoder{format: f}
	e.Reset(columns, o)
	return e
}

// Reset makes e ready for another result in the same format. It is cheap if the columns have the names of those before: keep an Encoder for
// a query that comes often.
func (e *Encoder) Reset(columns []engine.Column, o Options) {
	e.options, e.begun, e.rows = o, false, 0
	e.last = engine.Value{Bytes: e.last.Bytes[:0]}
	if len(e.keys) > 0 && slices.EqualFunc(e.columns, columns, func(name string, c engine.Column) bool { return name == c.Name }) {
		return
	}
	e.columns, e.keys, e.ends = slices.Grow(e.columns[:0], len(columns)), e.keys[:0], slices.Grow(e.ends[:0], len(columns))
	size := 0
	for _, c := range columns {
		e.columns = append(e.columns, c.Name)
		size += len(c.Name) + len(`,"":`)
	}
	e.keys = slices.Grow(e.keys, size)
	if e.format == CSV {
		e.keys = appendHeader(e.keys, unique(e.columns))
		return
	}
	for i, name := range unique(e.columns) {
		e.keys = append(e.keys, "{,"[min(i, 1)])
		if strings.HasPrefix(name, "$") {
			name = "$" + name
		}
		e.keys = append(AppendText(e.keys, name), ':')
		e.ends = append(e.ends, len(e.keys))
	}
}

// unique returns names as they are in an object, but for the '$'.
func unique(names []string) []string {
	out := make([]string, len(names))
	twice := false
	for i, name := range names {
		out[i] = strings.ToValidUTF8(name, "\uFFFD")
		twice = twice || i >= few || slices.Contains(out[:i], out[i])
	}
	if twice {
		number(out)
	}
	return out
}

// number gives names that are there before one that no other has. It asks for a name's numbers in turn, so that thousands alike cost no more.
// What it makes of two different names is never the same: behind its last '_' the number would be, and then the name in front.
func number(names []string) {
	highest := make(map[string]int, len(names)) // number that a name has got; what is in it is taken
	for _, name := range names {
		highest[name] = 1
	}
	if len(highest) == len(names) {
		return
	}
	there := make(map[string]bool, len(highest))
	for i, name := range names {
		if !there[name] {
			there[name] = true
			continue
		}
		for taken := true; taken; { // ends: there are more numbers than names
			highest[name]++
			names[i] = name + "_" + strconv.Itoa(highest[name])
			_, taken = highest[names[i]]
		}
	}
}

// Format returns the format that e writes.
func (e *Encoder) Format() Format { return e.format }

// Rows returns how many rows have been written.
func (e *Encoder) Rows() int64 { return e.rows }

// Last returns the value that the column Options.Last had in the last row, NULL if there was none. It is valid until the next Row or Reset.
func (e *Encoder) Last() engine.Value { return e.last }

// Begin appends what stands before the first row. Once it was called it does nothing: the other methods call it too.
func (e *Encoder) Begin(dst []byte) []byte {
	if e.begun {
		return dst
	}
	e.begun = true
	switch {
	case e.format == CSV:
		dst = append(dst, e.keys...)
	case e.format == JSON && !e.options.Single:
		dst = append(dst, `{"rows":[`...)
	}
	return dst
}

// Row appends the present row of rows, whose columns are those that e was made for. Of a Single result there is one, or it panics.
func (e *Encoder) Row(dst []byte, rows engine.Rows) []byte {
	dst = e.Begin(dst)
	switch e.format {
	case CSV:
		dst = e.appendRecord(dst, rows)
	case NDJSON:
		dst = append(e.appendMembers(dst, rows), "}\n"...)
	default:
		dst = e.rowJSON(dst, rows)
	}
	e.rows++
	if e.options.Last > 0 {
		v, own := rows.Value(e.options.Last-1), e.last.Bytes
		e.last = v
		e.last.Bytes = append(own[:0], v.Bytes...)
	}
	return dst
}

// End appends what stands behind the last row, with further members where there is a place for them.
func (e *Encoder) End(dst []byte, members ...Extra) []byte {
	dst = e.Begin(dst)
	switch e.format {
	case JSON:
		return e.endJSON(dst, members)
	case NDJSON:
		return e.endNDJSON(dst, members)
	}
	return dst
}

// Fail appends, in the place of End, that the result ends early and why. What is written stays a well-formed document. CSV has no way to
// say it: Fail appends nothing, and who sends the result must end the connection, as Stream does.
func (e *Encoder) Fail(dst []byte, err *engine.Error) []byte {
	dst = e.Begin(dst)
	switch e.format {
	case JSON:
		return e.failJSON(dst, err)
	case NDJSON:
		return append(AppendError(append(dst, `{"$error":`...), err), "}\n"...)
	}
	return dst
}

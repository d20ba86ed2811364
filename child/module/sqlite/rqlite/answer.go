package rqlite

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// An answer is the document that /db/query, /db/execute and /db/request send:
//
//	{"results":[{"columns":[…],"types":[…],"values":[[…],…],"error":"…","time":1.5},
//	  {"last_insert_id":1,"rows_affected":1},…],"error":"…"}
//
// Its calls follow its order: open, then for each result begin, row until it says false; then begin says false, and failure is known.
type answer struct {
	s       scanner
	results bool   // within the array of results
	first   bool   // no result has been begun
	failure string // the error beside the results
	values  bool   // within a result's values
	any     bool   // of these values, one has been read
	cells   []cell
	text    []byte // what the cells of this row are made of
}

// A result is the head of one, and its end once its values are read.
type result struct {
	columns  []string
	err      string
	affected int64
	lastID   int64
	elapsed  time.Duration
	rows     bool // it has columns: a statement that reads, or a RETURNING
}

// A cell is one value as it was sent.
type cell struct {
	kind       cellKind
	start, end int // of the answer's text
	lossy      bool
}

type cellKind uint8

const (
	cellNull cellKind = iota
	cellNumber
	cellString
)

func newAnswer(r io.Reader, max int) *answer {
	return &answer{s: scanner{r: bufio.NewReaderSize(r, 16<<10), max: max}}
}

// open reads until the results begin, or the document has ended.
func (a *answer) open() error {
	if err := a.s.expect('{'); err != nil {
		return err
	}
	return a.members(true)
}

// members reads the document's members. It stops in front of the results' first element, with results set.
func (a *answer) members(first bool) error {
	for ; ; first = false {
		more, err := a.s.more('}', first)
		if err != nil {
			return err
		}
		if !more {
			return a.end()
		}
		name, err := a.s.key()
		if err != nil {
			return err
		}
		switch name {
		case "results":
			if a.results, a.first = true, true; a.failure != "" {
				return syntax("results behind an error")
			}
			return a.s.expect('[')
		case "error":
			text, _, err := a.s.str(nil)
			if err != nil {
				return err
			}
			a.failure = string(text)
		default:
			if err := a.s.skip(0); err != nil {
				return err
			}
		}
	}
}

// end makes sure that nothing follows, so that the connection can be used again.
func (a *answer) end() error {
	for {
		c, err := a.s.r.ReadByte()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case c != ' ' && c != '\n' && c != '\r' && c != '\t':
			return syntax("%q behind the end", c)
		}
	}
}

// begin goes to the next result and reads it until its values begin, or to its end if it has none. false: there is none.
func (a *answer) begin(r *result) (bool, error) {
	if !a.results {
		return false, nil
	}
	more, err := a.s.more(']', a.first)
	if err != nil {
		return false, err
	}
	if !more {
		a.results = false
		return false, a.members(false)
	}
	a.first = false
	*r = result{}
	if err := a.s.expect('{'); err != nil {
		return false, err
	}
	return true, a.result(r, true)
}

// result reads the members of a result. It stops in front of the first of its values, with values set.
func (a *answer) result(r *result, first bool) error {
	for ; ; first = false {
		more, err := a.s.more('}', first)
		if err != nil || !more {
			return err
		}
		name, err := a.s.key()
		if err != nil {
			return err
		}
		switch name {
		case "columns":
			r.rows = true
			err = a.s.array(func() error {
				text, _, err := a.s.str(nil)
				r.columns = append(r.columns, string(text))
				return err
			})
		case "values":
			a.values, a.any, r.rows = true, false, true
			return a.s.expect('[')
		case "error":
			var text []byte
			text, _, err = a.s.str(nil)
			r.err = string(text)
		case "rows_affected":
			r.affected, err = a.s.int()
		case "last_insert_id":
			r.lastID, err = a.s.int()
		case "time":
			var seconds float64
			seconds, err = a.s.float()
			if seconds > 0 && seconds < 1e6 {
				r.elapsed = time.Duration(seconds * float64(time.Second))
			}
		default:
			err = a.s.skip(0)
		}
		if err != nil {
			return err
		}
	}
}

// row reads the next of the values into cells. false: there is none, and r is complete.
func (a *answer) row(r *result) (bool, error) {
	if !a.values {
		return false, nil
	}
	more, err := a.s.more(']', !a.any)
	if err != nil {
		return false, err
	}
	if !more {
		a.values = false
		return false, a.result(r, false)
	}
	a.any = true
	a.cells, a.text = a.cells[:0], a.text[:0]
	return true, a.s.array(a.cell)
}

func (a *answer) cell() error {
	c, err := a.s.peek()
	if err != nil {
		return err
	}
	v := cell{start: len(a.text)}
	switch c {
	case 'n':
		err = a.s.word("null")
	case '"':
		v.kind = cellString
		a.text, v.lossy, err = a.s.str(a.text)
	default:
		v.kind = cellNumber
		a.text, err = a.s.bare(a.text)
	}
	v.end = len(a.text)
	a.cells = append(a.cells, v)
	return err
}

// tagged is the SQL that sends expression with its type: an integer, a text or a blob as text with a letter in front, a real as a number. SQLite
// knows no type of such an expression, so that nothing on the way converts it.
func tagged(expression string) string {
	var b strings.Builder
	b.Grow(220 + 7*len(expression))
	for _, part := range [...]string{
		"CASE typeof(", ") WHEN 'integer' THEN 'i'||(", ") WHEN 'text' THEN 't'||(", ") WHEN 'blob' THEN 'b'||hex(",
		") WHEN 'real' THEN CASE (", ") WHEN 9e999 THEN 'r+' WHEN -9e999 THEN 'r-' ELSE (",
	} {
		b.WriteString(part)
		b.WriteString(expression)
	}
	b.WriteString(") END END")
	return b.String()
}

var errLossy = errors.New("a text is no UTF-8, which the cluster cannot send")

// value reads a cell that tagged has made. Its Bytes are the answer's: they are valid until the next row.
func (a *answer) value(column int) (engine.Value, error) {
	v := a.cells[column]
	text := a.text[v.start:v.end]
	switch v.kind {
	case cellNull:
		return engine.Value{}, nil
	case cellNumber:
		f, err := parseFloat(text)
		return engine.RealOf(f), err
	}
	if v.lossy {
		return engine.Value{}, errLossy
	}
	if len(text) == 0 {
		return engine.Value{}, syntax("a value has no type")
	}
	tag, text := text[0], text[1:]
	switch tag {
	case 'i':
		i, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return engine.Value{}, syntax("%q is no integer", text)
		}
		return engine.IntegerOf(i), nil
	case 't':
		return engine.Value{Kind: engine.Text, Bytes: text}, nil
	case 'b':
		n, err := hex.Decode(text, text)
		if err != nil {
			return engine.Value{}, syntax("a blob that is not hexadecimal")
		}
		// The cell becomes a text that is shorter: value is called once for each.
		return engine.Value{Kind: engine.Blob, Bytes: text[:n]}, nil
	case 'r':
		switch string(text) {
		case "+":
			return engine.RealOf(math.Inf(1)), nil
		case "-":
			return engine.RealOf(math.Inf(-1)), nil
		}
	}
	return engine.Value{}, syntax("a value of an unknown type")
}

// sizeOf is what a value counts for Limits.MaxBytes.
func sizeOf(v engine.Value) int64 {
	if v.Kind == engine.Integer || v.Kind == engine.Real {
		return 8
	}
	return int64(len(v.Bytes))
}

// rowOf reads all cells of the present row.
func (a *answer) rowOf(dst []engine.Value, columns int) ([]engine.Value, int64, error) {
	if len(a.cells) != columns {
		return nil, 0, fmt.Errorf("%w: %d values in %d columns", errSyntax, len(a.cells), columns)
	}
	var size int64
	for i := range a.cells {
		v, err := a.value(i)
		if err != nil {
			return nil, 0, err
		}
		size += sizeOf(v)
		dst = append(dst, v)
	}
	return dst, size, nil
}

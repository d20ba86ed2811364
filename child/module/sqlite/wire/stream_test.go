package wire

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tined/tined/child/module/sqlite/engine"
)

var formats = []Format{JSON, NDJSON, CSV}

var tooMany = engine.Errorf(engine.CodeTooManyRows, "more than 3 rows")

// result is three rows, the second of them large, that end with err.
func result(err error, large int) *failing {
	names := columns("id", "name")
	rows := [][]engine.Value{{i64(1), text("a")}, {i64(2), text(strings.Repeat("x", large))}, {i64(3), blob("c")}}
	return &failing{Table: NewTable(names, rows), err: err}
}

// whole is the document by the encoder alone.
func whole(f Format, rows *failing) string {
	e := NewEncoder(f, rows.Columns(), Options{})
	dst := e.Begin(nil)
	for rows.Next() {
		dst = e.Row(dst, rows)
	}
	if rows.Err() != nil {
		return string(e.Fail(dst, engine.ErrorOf(rows.Err())))
	}
	return string(e.End(dst))
}

func TestStream(t *testing.T) {
	for _, f := range formats {
		for _, large := range []int{0, 1, 100, 70_000} {
			for _, err := range []error{nil, tooMany} {
				want := whole(f, result(err, large))
				for _, size := range []int{1, 2, 7, 20, 64, 4096, 64 << 10} {
					rows := result(err, large)
					s := Stream(rows, NewEncoder(f, rows.Columns(), Options{}), nil)
					got, failed := io.ReadAll(&chunked{t: t, r: s, size: size})
					if string(got) != want {
						t.Fatalf("%v by %d: %d bytes, want %d", f, size, len(got), len(want))
					}
					switch {
					case f == CSV && err != nil:
						if !errors.Is(failed, ErrCut) || !errors.Is(failed, tooMany) {
							t.Errorf("%v fails with %v", f, failed)
						}
					case failed != nil:
						t.Errorf("%v: %v", f, failed)
					}
					if rows.closed == 0 {
						t.Errorf("%v: the rows are open at the end", f)
					}
					if f == JSON && !json.Valid(got) {
						t.Errorf("no JSON: %.100q", got)
					}
				}
			}
		}
	}
}

// chunked reads size bytes at a time, and checks that nothing behind them is touched and that something comes each time.
type chunked struct {
	t    *testing.T
	r    io.Reader
	size int
}

func (c *chunked) Read(p []byte) (int, error) {
	n := min(c.size, len(p))
	if n < len(p) {
		p[n] = 0xA5
	}
	got, err := c.r.Read(p[:n])
	if n < len(p) && p[n] != 0xA5 {
		c.t.Error("wrote behind the buffer")
	}
	if got == 0 && err == nil && n > 0 {
		c.t.Error("nothing read, and no error")
	}
	return got, err
}

func TestStreamIsReader(t *testing.T) {
	for _, f := range formats {
		rows := result(nil, 300)
		if err := iotest.TestReader(Stream(rows, NewEncoder(f, rows.Columns(), Options{}), nil), []byte(whole(f, result(nil, 300)))); err != nil {
			t.Errorf("%v: %v", f, err)
		}
	}
}

// A buffer is filled well, however the rows' sizes fall.
func TestStreamFills(t *testing.T) {
	names := columns("x")
	for _, size := range []int{1, 100, 900, 4000} {
		rows := slices.Repeat([][]engine.Value{{text(strings.Repeat("x", size))}}, 2000)
		rows[3] = []engine.Value{text(strings.Repeat("x", 100_000))} // one that is much larger must not make the later pieces small
		s := Stream(NewTable(names, rows), NewEncoder(NDJSON, names, Options{}), nil)
		p := make([]byte, 16<<10)
		reads, total := 0, 0
		for {
			n, err := s.Read(p)
			total += n
			if err != nil {
				break
			}
			reads++
		}
		if most := total/(len(p)/2) + 4; reads > most {
			t.Errorf("rows of %d: %d reads for %d bytes", size, reads, total)
		}
	}
}

// Rows are read as the buffer is, not ahead.
func TestStreamBackPressure(t *testing.T) {
	names := columns("x")
	table := NewTable(names, slices.Repeat([][]engine.Value{{text(strings.Repeat("x", 100))}}, 1000))
	s := Stream(table, NewEncoder(JSON, names, Options{}), nil)
	if table.present != 0 {
		t.Error("rows are read before Read")
	}
	if _, err := s.Read(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if table.present > 12 {
		t.Errorf("%d rows for 1000 bytes", table.present)
	}
}

func TestStreamClose(t *testing.T) {
	rows := result(nil, 100)
	s := Stream(rows, NewEncoder(JSON, rows.Columns(), Options{}), []byte("first"))
	p := make([]byte, 3)
	if n, err := s.Read(p); n != 3 || err != nil || string(p) != "fir" {
		t.Fatalf("%d %v %q", n, err, p)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if rows.closed == 0 {
		t.Error("Close leaves the rows open")
	}
	if n, err := s.Read(p); n != 0 || err != io.ErrClosedPipe {
		t.Errorf("after Close: %d, %v", n, err)
	}
	if n, err := s.Read(nil); n != 0 || err != nil {
		t.Errorf("of nothing: %d, %v", n, err)
	}
}

func TestCollect(t *testing.T) {
	for _, f := range formats {
		want := whole(f, result(nil, 50))
		rows := result(nil, 50)
		out, over, err := Collect([]byte("head "), rows, NewEncoder(f, rows.Columns(), Options{}), 1<<20)
		if string(out) != "head "+want || !over || err != nil || rows.closed == 0 {
			t.Errorf("%v: %q, %v, %v, closed %d times", f, out, over, err, rows.closed)
		}
		// An error before the bound is an error.
		rows = result(tooMany, 50)
		if _, over, err = Collect(nil, rows, NewEncoder(f, rows.Columns(), Options{}), 1<<20); err != error(tooMany) || !over || rows.closed == 0 {
			t.Errorf("%v: %v, %v", f, over, err)
		}
		rows = result(errors.New("unknown"), 50)
		if _, _, err = Collect(nil, rows, NewEncoder(f, rows.Columns(), Options{}), 1<<20); engine.ErrorOf(err).Code != engine.CodeInternal {
			t.Errorf("%v: %v", f, err)
		}
		// Beyond it, Stream goes on.
		for bound := range len(want) + 2 {
			rows := result(nil, 50)
			e := NewEncoder(f, rows.Columns(), Options{})
			out, over, err := Collect(nil, rows, e, bound)
			if err != nil || over != (rows.closed > 0) || !over && len(out) < bound {
				t.Fatalf("%v, bound %d: %d bytes, over %v, %v", f, bound, len(out), over, err)
			}
			if !over {
				rest, err := io.ReadAll(Stream(rows, e, out))
				if err != nil {
					t.Fatal(err)
				}
				out = rest
			}
			if string(out) != want {
				t.Fatalf("%v, bound %d: %q", f, bound, out)
			}
		}
	}
}

// A single result is one row, and End's members come where there is a place for them.
func TestCollectOptions(t *testing.T) {
	end := func(e *Encoder) []Extra { return []Extra{{"next", e.Last()}, {"n", i64(e.Rows())}} }
	cases := []struct {
		format  Format
		options Options
		want    string
	}{
		{JSON, Options{Last: 1, End: end}, `{"rows":[{"id":1,"name":"a"},{"id":2,"name":""},{"id":3,"name":{"$base64":"Yw=="}}],"next":3,"n":3}`},
		{JSON, Options{Single: true, Last: 1, End: end}, `{"id":1,"name":"a"}`},
		{NDJSON, Options{Single: true, Last: 2, End: end}, `{"id":1,"name":"a"}` + "\n" + `{"$end":{"rows":1,"next":"a","n":1}}` + "\n"},
		{CSV, Options{Single: true}, "id,name\r\n1,a\r\n"},
	}
	for _, c := range cases {
		rows := result(nil, 0)
		out, over, err := Collect(nil, rows, NewEncoder(c.format, rows.Columns(), c.options), 1<<20)
		if string(out) != c.want || !over || err != nil {
			t.Errorf("%v: %q, %v, %v; want %q", c.format, out, over, err, c.want)
		}
		rows = result(nil, 0)
		if out, err := io.ReadAll(Stream(rows, NewEncoder(c.format, rows.Columns(), c.options), nil)); string(out) != c.want || err != nil {
			t.Errorf("%v: %q, %v; want %q", c.format, out, err, c.want)
		}
	}
}

// However a stream is read, it is what Collect gives; and the same if Collect has begun it.
func FuzzStream(f *testing.F) {
	f.Add([]byte("\x02\x01a\x01b\x03\x05hello\x04\x02\xff\x00\x01\x08\x7f\xff\xff\xff\xff\xff\xff\xff"), []byte{1, 2, 3}, uint8(20), false)
	f.Add([]byte("\x01\x04$end\x03\x06\xe2\x80\xa8\x22\x5c\x0a\x03\x03\xed\xa0\x80"), []byte{200}, uint8(0), true)
	f.Fuzz(func(t *testing.T, data, sizes []byte, bound uint8, fails bool) {
		names, rows := fuzzed(data)
		for _, format := range formats {
			source := func() *failing {
				r := &failing{Table: NewTable(names, rows)}
				if fails {
					r.err = tooMany
				}
				return r
			}
			want := whole(format, source())
			begun := source()
			e := NewEncoder(format, names, Options{})
			out, over, err := Collect(nil, begun, e, int(bound))
			switch {
			case err != nil:
				if !fails {
					t.Fatal(err)
				}
			case over:
				if string(out) != want || fails {
					t.Fatalf("%q, want %q", out, want)
				}
			default:
				s := Stream(begun, e, out)
				var got []byte
				for i := 0; err == nil; i++ {
					size := 16
					if len(sizes) > 0 {
						size = 1 + int(sizes[i%len(sizes)])
					}
					p := make([]byte, size)
					var n int
					n, err = s.Read(p)
					got = append(got, p[:n]...)
				}
				if string(got) != want || (err == io.EOF) == (fails && format == CSV) {
					t.Fatalf("%v: %q, %v; want %q", format, got, err, want)
				}
			}
		}
	})
}

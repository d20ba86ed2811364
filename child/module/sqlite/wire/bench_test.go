package wire

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// again is a Table that can be read once more.
type again struct{ *Table }

func (a again) Close() { a.present = 0 }

func items(n int) ([]engine.Column, again) {
	names := columns("id", "name", "price")
	row := []engine.Value{i64(123456), text("a teapot of some size"), f64(19.95)}
	return names, again{NewTable(names, slices.Repeat([][]engine.Value{row}, n))}
}

// A row costs no memory, nor does a result whose columns are known.
func TestRowAllocates(t *testing.T) {
	names := columns("i", "f", "t", "b", "n", "q")
	table := NewTable(names, [][]engine.Value{{i64(-5), f64(1e300), text("with \"quotes\", é \u2028"), blob("\x00\x01\x02"), null, text("\xff")}})
	table.Next()
	for _, f := range formats {
		e := NewEncoder(f, names, Options{Last: 3})
		dst := make([]byte, 0, 4096)
		dst = e.Row(dst, table)
		if n := testing.AllocsPerRun(100, func() {
			e.Reset(names, Options{Last: 3})
			dst = e.Begin(dst[:0])
			for range 3 {
				dst = e.Row(dst, table)
			}
			dst = e.End(dst)
		}); n > 0 {
			t.Errorf("%v: %v allocations", f, n)
		}
	}
}

func BenchmarkCollect(b *testing.B) {
	for _, f := range formats {
		for _, n := range []int{1, 100} {
			b.Run(fmt.Sprintf("%v/%d", f, n), func(b *testing.B) {
				names, rows := items(n)
				e := NewEncoder(f, names, Options{})
				var dst []byte
				b.ReportAllocs()
				for b.Loop() {
					e.Reset(names, Options{})
					dst, _, _ = Collect(dst[:0], rows, e, 1<<20)
				}
				b.SetBytes(int64(len(dst)))
			})
		}
	}
}

func BenchmarkNewEncoder(b *testing.B) {
	names, _ := items(0)
	b.ReportAllocs()
	for b.Loop() {
		NewEncoder(JSON, names, Options{})
	}
}

func BenchmarkStream(b *testing.B) {
	names, rows := items(10_000)
	p := make([]byte, 64<<10)
	b.ReportAllocs()
	for b.Loop() {
		s := Stream(rows, NewEncoder(JSON, names, Options{}), nil)
		total := 0
		for {
			n, err := s.Read(p)
			total += n
			if err != nil {
				break
			}
		}
		b.SetBytes(int64(total))
	}
}

func BenchmarkParseObject(b *testing.B) {
	body := []byte(`{"id": 123456, "name": "a teapot of some size", "price": 19.95}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		o, err := ParseObject(body)
		if err != nil {
			b.Fatal(err)
		}
		for i := range o {
			if _, err := o[i].Value(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkChoose(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Choose("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON, NDJSON, CSV)
	}
}

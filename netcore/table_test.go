package netcore

import (
	"math"
	"slices"
	"testing"
)

func TestToken(t *testing.T) {
	for _, fd := range []int{0, 1, 1023, 1 << 20, math.MaxInt32} {
		for _, serial := range []uint32{0, 1, 1 << 31, math.MaxUint32} {
			if gotFD, gotSerial := SplitToken(MakeToken(fd, serial)); gotFD != fd || gotSerial != serial {
				t.Errorf("(%d, %d) comes back as (%d, %d)", fd, serial, gotFD, gotSerial)
			}
		}
	}
}

func TestTable(t *testing.T) {
	var table Table[string]
	a, b, c := "a", "b", "c"
	if table.Get(5, 0) != nil || table.Get(-1, 0) != nil || table.Len() != 0 {
		t.Error("the zero value is not empty")
	}
	first := table.Put(5, &a)
	if first == 0 || table.Get(5, first) != &a || table.Len() != 1 {
		t.Errorf("serial %d, %v, %d", first, table.Get(5, first), table.Len())
	}
	if table.Get(5, first+1) != nil || table.Get(5, 0) != nil || table.Get(4, first) != nil || table.Get(3, 0) != nil || table.Get(6, first) != nil {
		t.Error("a wrong name finds something")
	}
	table.Remove(5, first+1)
	table.Remove(5, 0)
	table.Remove(-1, 0)
	table.Remove(1000, 1)
	if table.Len() != 1 {
		t.Error("a stale Remove removes")
	}
	table.Remove(5, first)
	table.Remove(5, first)
	if table.Get(5, first) != nil || table.Len() != 0 {
		t.Error("still there after Remove")
	}
	second := table.Put(5, &b)
	if second <= first || table.Get(5, first) != nil || table.Get(5, second) != &b {
		t.Errorf("serials %d, %d", first, second)
	}
	table.Put(70, &c)
	table.Put(0, &a)
	if got := slices.Collect(table.All()); !slices.Equal(got, []*string{&a, &b, &c}) {
		t.Errorf("All: %v", got)
	}
	for v := range table.All() {
		if v == &a {
			table.Remove(5, second)
			table.Put(6, &b)
		}
		if v == &b {
			break
		}
	}
	if table.Len() != 3 {
		t.Errorf("Len %d", table.Len())
	}
}

func TestTableSerialSkipsZero(t *testing.T) {
	var table Table[int]
	table.Remove(0, table.Put(0, new(int)))
	table.slots[0].serial = math.MaxUint32
	if serial := table.Put(0, new(int)); serial != 1 {
		t.Errorf("serial %d after the largest one", serial)
	}
}

func TestTablePanics(t *testing.T) {
	var table Table[int]
	table.Put(3, new(int))
	for name, f := range map[string]func(){
		"a taken slot":        func() { table.Put(3, new(int)) },
		"a negative one":      func() { table.Put(-1, new(int)) },
		"nothing to be found": func() { table.Put(4, nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func TestTableAllocatesNothing(t *testing.T) {
	var table Table[int]
	v := new(int)
	if n := testing.AllocsPerRun(100, func() {
		serial := table.Put(1000, v)
		if table.Get(1000, serial) != v {
			t.Fatal("lost")
		}
		table.Remove(1000, serial)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTable(b *testing.B) {
	var table Table[int]
	v := new(int)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		fd := i & 4095
		table.Remove(fd, table.Put(fd, v))
	}
}

func BenchmarkTableGet(b *testing.B) {
	var table Table[int]
	for fd := range 4096 {
		table.Put(fd, new(int))
	}
	for i := 0; b.Loop(); i++ {
		if table.Get(i&4095, 1) == nil {
			b.Fatal("lost")
		}
	}
}

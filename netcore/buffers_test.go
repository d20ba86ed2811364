package netcore

import "testing"

func TestBuffersClasses(t *testing.T) {
	var b Buffers
	for _, c := range []struct{ n, want int }{
		{0, 4096}, {1, 4096}, {4096, 4096}, {4097, 16384}, {16385, 65536}, {65537, 262144}, {262144, 262144}, {262145, 262145},
	} {
		p := b.Get(c.n)
		if len(p) != 0 || cap(p) != c.want {
			t.Errorf("Get(%d): len %d, cap %d, want cap %d", c.n, len(p), cap(p), c.want)
		}
	}
}

func TestBuffersReuse(t *testing.T) {
	var b Buffers
	p := append(b.Get(10), "text"...)
	b.Put(p)
	if b.Held() != 4096 {
		t.Errorf("held %d", b.Held())
	}
	q := b.Get(4000)
	if len(q) != 0 || &q[:1][0] != &p[0] || b.Held() != 0 {
		t.Errorf("not the same buffer, len %d, held %d", len(q), b.Held())
	}
	b.Put(nil)
	b.Put(q[8:4096])
	b.Put(make([]byte, 0, 5000))
	b.Put(b.Get(1 << 20))
	if b.Held() != 0 {
		t.Errorf("strangers are held: %d", b.Held())
	}
}

func TestBuffersLimit(t *testing.T) {
	for limit, want := range map[int]int{10000: 8192, 4096: 4096, 4095: 0, -1: 0, 0: 12288} {
		b := Buffers{Limit: limit}
		for range 3 {
			b.Put(make([]byte, 0, 4096))
		}
		if b.Held() != want {
			t.Errorf("limit %d: held %d, want %d", limit, b.Held(), want)
		}
	}
}

func TestBuffersDrop(t *testing.T) {
	var b Buffers
	b.Put(b.Get(1))
	b.Put(b.Get(100 << 10))
	b.Drop()
	if b.Held() != 0 {
		t.Errorf("%d bytes are held", b.Held())
	}
	if p := b.Get(1); cap(p) != 4<<10 {
		t.Errorf("a buffer of %d bytes", cap(p))
	}
}

func TestBuffersAllocateNothing(t *testing.T) {
	var b Buffers
	b.Put(b.Get(1))
	if n := testing.AllocsPerRun(100, func() { b.Put(b.Get(1)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkBuffers(b *testing.B) {
	var buffers Buffers
	b.ReportAllocs()
	for b.Loop() {
		buffers.Put(buffers.Get(10000))
	}
}

package web

import "testing"

func TestIdleResponseKeepsLittle(t *testing.T) {
	for size, kept := range map[int]bool{idleBuffer / 2: true, StreamAt: false} {
		var w Response
		Begin(&w, nil)
		if _, err := w.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		Rest(&w)
		if got := cap(w.buf) > 0; got != kept {
			t.Errorf("after %d bytes the buffer is kept: %v", size, got)
		}
	}
}

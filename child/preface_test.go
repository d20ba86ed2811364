package child

import (
	"bytes"
	"testing"
)

// word is a preface that wants one word from the client.
type word string

func (w word) advance(_ *conn, data []byte) (int, prefaceResult) {
	switch {
	case bytes.HasPrefix(data, []byte(w)):
		return len(w), prefaceDone
	case bytes.HasPrefix([]byte(w), data):
		return 0, prefacePartial
	}
	return 0, prefaceRefused
}

func TestPrefaces(t *testing.T) {
	tc := start(t, "", routes{"GET /x": text("x")})
	tc.onLoop(func(l *loop) { l.shards[0].listener.prefaces = []preface{word("hello "), word("world\n")} })
	t.Run("at once", func(t *testing.T) {
		p := tc.dial()
		p.send("hello world\n" + getX)
		if r := p.answer("GET"); r.Status != 200 {
			t.Fatal(r.Status)
		}
		p.get("/x")
		p.Conn.Close()
	})
	t.Run("byte by byte", func(t *testing.T) {
		p := tc.dial()
		for _, b := range []byte("hello world\n" + getX) {
			p.send(string(b))
			tc.rests("with a part of a preface")
		}
		if r := p.answer("GET"); r.Status != 200 {
			t.Fatal(r.Status)
		}
		p.Conn.Close()
	})
	t.Run("wrong", func(t *testing.T) {
		p := tc.dial()
		p.send("hello moon\n" + getX)
		p.Conn.Read(make([]byte, 1))
		tc.until("it is refused", func(l *loop) bool { return l.numbers.closed[reasonRefused] == 1 && l.table.Len() == 0 })
	})
}

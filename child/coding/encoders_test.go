package coding

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// Content that is packed in pieces is whole, and others have their turn between them.
func TestPackPieces(t *testing.T) {
	e := NewEncoders(EncoderOptions{Exact: true})
	for _, size := range []int{0, 1, 1000, 1001, 2000, 10_500} {
		content := text(size)
		for _, c := range []Coding{Gzip, Brotli, Zstd} {
			pauses := 0
			packed := e.PackPieces(c, []byte(content), 1000, func() { pauses++ })
			if decode(t, c, packed) != content {
				t.Errorf("%s: other content comes back of %d bytes", c, size)
			}
			if want := max(0, size-1) / 1000; pauses != want {
				t.Errorf("%s: %d pauses in %d bytes, want %d", c, pauses, size, want)
			}
		}
	}
}

// The same content gives the same bytes, whatever an encoder has packed before.
func TestExact(t *testing.T) {
	e := NewEncoders(EncoderOptions{Levels: Levels{Brotli: 5, Zstd: 3}, Window: 20, Exact: true})
	content := func(version, lines int) []byte {
		var b bytes.Buffer
		for i := range lines {
			fmt.Fprintf(&b, "version %010d line %07d %s\n", version, i, strings.Repeat(string(rune('a'+version%26)), 90))
		}
		return b.Bytes()
	}
	for _, c := range []Coding{Gzip, Brotli, Zstd} {
		first := e.Pack(c, content(5, 2000))
		for i := range 20 {
			e.Pack(c, content(i, 300*i))
			if again := e.Pack(c, content(5, 2000)); !bytes.Equal(first, again) {
				t.Fatalf("%s: %d bytes first, then %d, or other ones", c, len(first), len(again))
			}
		}
	}
}

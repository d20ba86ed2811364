package coding

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// StreamWindow is the binary logarithm of the window, in bytes, of zstd and brotli: what an encoder remembers of the content. It bounds the
// memory of an encoder here and of the decoder there. MaxWindow is the largest: RFC 9659 allows zstd 8 MiB.
const (
	StreamWindow = 17
	MaxWindow    = 23
)

// Levels say how hard encoders try; 0 is a coding's standard. With a StreamWindow an encoder holds 1 to 5 MiB up to Brotli 6 and Zstd 3; 10,
// 20 and 35 MiB at Brotli 7, 8 and 9, 35 at Zstd 4. Brotli 10 and 11 take some 30 and 90 times as long as 4, so about 1 MB and 0.5 MB a
// second: for content that is packed once.
type Levels struct {
	Gzip   int // 1, the fastest, to 9. 0: 5
	Brotli int // 1 to 11. 0: 4
	Zstd   int // 1 to 4, about the levels 1, 3, 7 and 11 of the zstd tool. 0: 2
}

// WithDefaults returns l with the standard of each level that is 0.
func (l Levels) WithDefaults() Levels {
	for _, d := range []struct {
		level    *int
		standard int
	}{{&l.Gzip, 5}, {&l.Brotli, 4}, {&l.Zstd, 2}} {
		if *d.level == 0 {
			*d.level = d.standard
		}
	}
	return l
}

// A codec is what the libraries have in common. Flush makes everything written so far decodable.
type codec interface {
	io.WriteCloser
	Flush() error
	Reset(w io.Writer)
}

// An Encoder writes content in a coding: what is written to it comes out coded at the writer it was lent for. Flush makes everything
// written so far decodable, Close ends the content. It is for one goroutine.
type Encoder struct {
	codec
	sink sink
}

// A sink is where the output of an encoder goes. An encoder that nobody uses keeps nothing of its last user.
type sink struct{ to io.Writer }

func (s *sink) Write(p []byte) (int, error) { return s.to.Write(p) }

// EncoderOptions say how Encoders encode. The zero value is the default of every field.
type EncoderOptions struct {
	Levels Levels
	// Window is the binary logarithm of the window in bytes, from 10 to MaxWindow; gzip has 32 KiB always. 0: StreamWindow.
	Window int
	// Limit is how many places Reserve lends at a time. 0: none.
	Limit int
	// Exact: the same content gives the same bytes, as a strong entity tag promises. The library's encoder for Brotli remembers something of
	// its last use, so each is used once then.
	Exact bool
}

// Encoders lends encoders, and keeps them between two uses. It is safe for concurrent use.
type Encoders struct {
	pools [Count]sync.Pool
	exact bool
	limit int64
	lent  atomic.Int64
}

// NewEncoders panics if a level or the window is out of range.
func NewEncoders(o EncoderOptions) *Encoders {
	l := o.Levels.WithDefaults()
	window := o.Window
	if window == 0 {
		window = StreamWindow
	}
	if l.Gzip < 1 || l.Gzip > 9 || l.Brotli < 1 || l.Brotli > 11 || l.Zstd < 1 || l.Zstd > 4 || window < 10 || window > MaxWindow {
		panic(fmt.Sprintf("coding: NewEncoders: a level or the window is out of range: %+v", o))
	}
	e := &Encoders{limit: int64(o.Limit), exact: o.Exact}
	e.pools[Gzip].New = func() any {
		return &Encoder{codec: must(gzip.NewWriterLevel(io.Discard, l.Gzip))}
	}
	e.pools[Brotli].New = func() any {
		return &Encoder{codec: brotli.NewWriterOptions(io.Discard, brotli.WriterOptions{Quality: l.Brotli, LGWin: window})}
	}
	e.pools[Zstd].New = func() any {
		return &Encoder{codec: must(zstd.NewWriter(io.Discard,
			zstd.WithEncoderLevel(zstd.EncoderLevel(l.Zstd)),
			zstd.WithWindowSize(1<<window),
			zstd.WithEncoderConcurrency(1),          // no goroutines: the caller's work, and its time
			zstd.WithAllLitEntropyCompression(true), // text without repetitions shrinks too
			zstd.WithLowerEncoderMem(true)))}
	}
	return e
}

// must is for options that were checked before.
func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("coding: make an encoder: %v", err))
	}
	return v
}

// Reserve lends a place for an encoder that is kept for as long as a client takes to read, to be given back by Free. false: there is none.
// Get does not ask for one: who keeps an encoder for long does.
func (e *Encoders) Reserve() bool {
	if e.lent.Add(1) > e.limit {
		e.lent.Add(-1)
		return false
	}
	return true
}

// Free gives back the place.
func (e *Encoders) Free() { e.lent.Add(-1) }

// Reserved returns how many places are lent.
func (e *Encoders) Reserved() int { return int(e.lent.Load()) }

// Get returns an encoder that writes to w in coding c, which is not Identity.
func (e *Encoders) Get(c Coding, w io.Writer) *Encoder {
	enc := e.pools[c].Get().(*Encoder)
	enc.sink.to = w
	enc.Reset(&enc.sink)
	return enc
}

// Put takes an encoder of coding c back, closed or not.
func (e *Encoders) Put(c Coding, enc *Encoder) {
	enc.sink.to = nil
	if c != Brotli || !e.exact {
		e.pools[c].Put(enc)
	}
}

// Pack returns content in coding c, which is not Identity. The memory is the caller's. It takes the time of the whole content: it is not
// for the loop.
func (e *Encoders) Pack(c Coding, content []byte) []byte { return e.PackPieces(c, content, 0, nil) }

// PackPieces is Pack that takes piece bytes at a time, and calls pause between two of them: whoever else needs the processor has it then. A
// piece of 0 is the whole, without a pause.
func (e *Encoders) PackPieces(c Coding, content []byte, piece int, pause func()) []byte {
	packed := bytes.NewBuffer(make([]byte, 0, len(content)/3+64))
	enc := e.Get(c, packed)
	for piece > 0 && len(content) > piece {
		_, _ = enc.Write(content[:piece]) // writing to memory does not fail
		content = content[piece:]
		pause()
	}
	_, _ = enc.Write(content) // as above
	_ = enc.Close()           // it only writes what is left, to memory too
	e.Put(c, enc)
	return packed.Bytes()
}

package middleware

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// windowBits is the binary logarithm of the window, in bytes, of zstd and brotli: what an encoder remembers of the content. It bounds the
// memory of an encoder here and of the decoder there (RFC 9659 allows zstd 8 MiB).
const windowBits = 17

// A codec is what the libraries have in common. Flush makes everything written so far decodable.
type codec interface {
	io.WriteCloser
	Flush() error
	Reset(w io.Writer)
}

// An encoder is a codec that keeps nothing of its last user. It writes to its sink.
type encoder struct {
	codec
	sink sink
}

// A sink is where the output of an encoder goes.
type sink struct{ to io.Writer }

func (s *sink) Write(p []byte) (int, error) { return s.to.Write(p) }

// encoders lends encoders: as many at a time as limit says. They are kept between two uses.
type encoders struct {
	pools [codings]sync.Pool
	limit int32
	lent  atomic.Int32
}

func (e *encoders) init(o *CompressOptions) {
	e.limit = int32(o.Encoders)
	e.pools[gzipped].New = func() any {
		return &encoder{codec: must(gzip.NewWriterLevel(io.Discard, o.GzipLevel))}
	}
	e.pools[brotlied].New = func() any {
		return &encoder{codec: brotli.NewWriterOptions(io.Discard, brotli.WriterOptions{Quality: o.BrotliLevel, LGWin: windowBits})}
	}
	e.pools[zstandard].New = func() any {
		return &encoder{codec: must(zstd.NewWriter(io.Discard,
			zstd.WithEncoderLevel(zstd.EncoderLevel(o.ZstdLevel)),
			zstd.WithWindowSize(1<<windowBits),
			zstd.WithEncoderConcurrency(1),          // no goroutines: the caller's work, and its time
			zstd.WithAllLitEntropyCompression(true), // text without repetitions shrinks too
			zstd.WithLowerEncoderMem(true)))}
	}
}

// must is for options that were checked before.
func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("middleware: make an encoder: %v", err))
	}
	return v
}

// reserve lends a place for an encoder that is kept for as long as a client takes to read. false: there is none.
func (e *encoders) reserve() bool {
	if e.lent.Add(1) > e.limit {
		e.lent.Add(-1)
		return false
	}
	return true
}

// free gives back the place.
func (e *encoders) free() { e.lent.Add(-1) }

// get returns an encoder that writes to w.
func (e *encoders) get(c coding, w io.Writer) *encoder {
	enc := e.pools[c].Get().(*encoder)
	enc.sink.to = w
	enc.Reset(&enc.sink)
	return enc
}

// put takes an encoder back, closed or not.
func (e *encoders) put(c coding, enc *encoder) {
	enc.sink.to = nil
	e.pools[c].Put(enc)
}

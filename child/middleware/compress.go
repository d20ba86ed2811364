package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// CompressOptions say what Compress compresses, and how. The zero value is the default of every field.
type CompressOptions struct {
	// Codings are those offered, the favourite first: of "zstd", "br" and "gzip". The first counts when a client likes several best.
	// nil: these three in this order.
	Codings []string
	// MinBytes is the length of content below which it is not compressed. 0: 1024.
	MinBytes int64
	// MaxFile is the length in bytes above which a file (Response.SendFile) is sent as it is: by sendfile, which costs next to nothing.
	// 0: 8 MiB.
	MaxFile int64
	// Types are media types that are compressed beside the built-in ones (text, JSON, XML, SVG, JavaScript, WebAssembly, …), as in
	// "application/x-thing" or "application/*".
	Types []string
	// GzipLevel is from 1, the fastest, to 9. 0: 5.
	GzipLevel int
	// BrotliLevel is from 1 to 6. 0: 4. Higher ones would need 35 MiB for each response.
	BrotliLevel int
	// ZstdLevel is from 1 to 3, about the levels 1, 3 and 7 of the zstd tool. 0: 2.
	ZstdLevel int
	// Encoders bounds how many responses of a route are compressed at a time in a process while their clients take them: streams and long
	// content. The others leave as they are. Each holds 1 to 5 MiB, depending on the level. 0: 64.
	Encoders int
}

func (o *CompressOptions) withDefaults() {
	if o.Codings == nil {
		o.Codings = []string{"zstd", "br", "gzip"}
	}
	levels := o.levels().WithDefaults()
	o.GzipLevel, o.BrotliLevel, o.ZstdLevel = levels.Gzip, levels.Brotli, levels.Zstd
	if o.Encoders == 0 {
		o.Encoders = 64
	}
	if o.MinBytes == 0 {
		o.MinBytes = 1 << 10
	}
	if o.MaxFile == 0 {
		o.MaxFile = 8 << 20
	}
}

func (o *CompressOptions) levels() coding.Levels {
	return coding.Levels{Gzip: o.GzipLevel, Brotli: o.BrotliLevel, Zstd: o.ZstdLevel}
}

// check returns what is wrong with o, for programs; configurations have compressSpec.
func (o *CompressOptions) check() error {
	for i, name := range o.Codings {
		if c, ok := coding.Parse(name); !ok || c == coding.Identity || slices.Contains(o.Codings[:i], name) {
			return fmt.Errorf("the coding %q is unknown or there twice", name)
		}
	}
	for _, t := range o.Types {
		if !coding.ValidType(t) {
			return fmt.Errorf("%q is no media type", t)
		}
	}
	switch {
	case o.GzipLevel < 1 || o.GzipLevel > 9:
		return fmt.Errorf("GzipLevel %d is not from 1 to 9", o.GzipLevel)
	case o.BrotliLevel < 1 || o.BrotliLevel > 6:
		return fmt.Errorf("BrotliLevel %d is not from 1 to 6", o.BrotliLevel)
	case o.ZstdLevel < 1 || o.ZstdLevel > 3:
		return fmt.Errorf("ZstdLevel %d is not from 1 to 3", o.ZstdLevel)
	}
	return nil
}

// newEncoders makes the encoders of one route.
func (o *CompressOptions) newEncoders() *coding.Encoders {
	return coding.NewEncoders(coding.EncoderOptions{Levels: o.levels(), Limit: o.Encoders})
}

func compressSpec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "compress",
		Doc:  "answers in the content coding that the client likes best",
		Attributes: []configs.Attribute{
			{Name: "codings", Type: configs.Strings, Default: []string{"zstd", "br", "gzip"}, Doc: "those offered, the favourite first"},
			{Name: "min_bytes", Type: configs.Size, Default: "1KiB", Min: int64(1), Doc: "shorter content is not compressed"},
			{Name: "max_file", Type: configs.Size, Default: "8MiB", Min: int64(1), Doc: "longer files are sent as they are"},
			{Name: "types", Type: configs.Strings, Default: []string{}, Example: `["application/x-thing"]`, Doc: "further media types"},
			{Name: "gzip_level", Type: configs.Int, Default: 5, Min: 1, Max: 9, Doc: "1: fastest, 9: smallest"},
			{Name: "br_level", Type: configs.Int, Default: 4, Min: 1, Max: 6, Doc: "1: fastest, 6: smallest"},
			{Name: "zstd_level", Type: configs.Int, Default: 2, Min: 1, Max: 3, Doc: "1: fastest, 3: smallest"},
			{Name: "encoders", Type: configs.Int, Default: 64, Min: 1, Max: 100000, Doc: "responses that are compressed while their clients take them"},
		},
		Check: func(b *configs.Block) (problems []configs.Problem) {
			names := b.Strings("codings")
			if len(names) == 0 {
				problems = append(problems, configs.Problem{At: "codings", Message: "no coding is offered", Cure: "remove the block to compress nothing"})
			}
			problems = append(problems, coding.CheckCodings("codings", names)...)
			return append(problems, coding.CheckTypes("types", b.Strings("types"))...)
		},
	}
}

func compressOptions(b *configs.Block) CompressOptions {
	return CompressOptions{
		Codings: b.Strings("codings"), MinBytes: b.Size("min_bytes"), MaxFile: b.Size("max_file"), Types: b.Strings("types"),
		GzipLevel: b.Int("gzip_level"), BrotliLevel: b.Int("br_level"), ZstdLevel: b.Int("zstd_level"), Encoders: b.Int("encoders"),
	}
}

// Compress answers in the content coding that the client likes best, by its Accept-Encoding (RFC 9110, 12.5.3). Content stays as it is
// when it is short, of a type that does not shrink, coded already, a range, or no-transform by its Cache-Control. It panics if o makes no
// sense.
//
// Whatever depends on Accept-Encoding says so in Vary, compressed or not. A strong ETag gets the coding's name as a suffix ("v1" becomes
// "v1-zstd"), and a request with that tag in If-None-Match or If-Match finds the handler's. Digests of the content and Accept-Ranges
// are removed from what is compressed.
//
// What a handler flushes reaches the client at once. Responses by Response.Push are not compressed.
func Compress(o CompressOptions) web.Middleware {
	o.withDefaults()
	if err := o.check(); err != nil {
		panic("middleware: Compress: " + err.Error())
	}
	return func(next web.Handler) web.Handler {
		c := &compressor{
			next: next, offered: coding.List(o.Codings), minBytes: o.MinBytes, maxFile: o.MaxFile, types: coding.Types(o.Types), encoders: o.newEncoders(),
		}
		if now, ok := next.(web.NonBlocking); ok {
			return compressorNow{c, now}
		}
		return c
	}
}

// A compressor is Compress around the handler of one route.
type compressor struct {
	next              web.Handler
	offered           []coding.Coding
	minBytes, maxFile int64
	types             map[string]bool
	encoders          *coding.Encoders
	fixed             fixedAnswers
}

// Serve implements web.Handler.
func (c *compressor) Serve(w *web.Response, r *web.Request) {
	n := c.negotiate(r)
	n.translateTags(r)
	end := w.Filter(n.filter)
	defer end() // of a handler that panics
	c.next.Serve(w, r)
	n.returned = true
	streamed, err := end()
	switch {
	case !streamed:
		n.finish(w)
	case errors.Is(err, errTooShort):
		panic(http.ErrAbortHandler) // the length that would tell is not in the header any more
	case n.coded:
		coding.DropDigests(w.Trailer())
	}
}

// compressorNow is a compressor around a handler that answers on the loop.
type compressorNow struct {
	*compressor
	now web.NonBlocking
}

// ServeNow implements web.NonBlocking. The loop looks at headers and sends what was compressed before; workers compress, as the client
// takes the content.
func (c compressorNow) ServeNow(w *web.Response, r *web.Request) bool {
	n := c.negotiate(r)
	n.onLoop = true
	received := r.Header
	n.translateTags(r)
	end := w.Filter(n.filter)
	defer end()
	if !c.now.ServeNow(w, r) {
		r.Header = received
		return false
	}
	if streamed, _ := end(); !streamed {
		n.finish(w)
	}
	return true
}

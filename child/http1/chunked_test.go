package http1

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// body is all that a caller can see of a decoded body.
type body struct {
	N        int // bytes consumed until done
	Data     string
	Done     bool
	Trailers string
	Err      *Error
}

// decode feeds the pieces of input between cuts.
func decode(c *Chunked, input []byte, lim *Limits, cuts ...int) body {
	c.Reset()
	var b body
	from := 0
	for _, to := range append(cuts, len(input)) {
		src := bytes.Clone(input[from:to])
		from = to
		for len(src) > 0 && !b.Done {
			n, data, done, err := c.Feed(src, lim)
			if err != nil {
				if n2, _, _, again := c.Feed(src, lim); n != 0 || len(data) != 0 || done || n2 != 0 || again != err {
					panic("an error must be final and give nothing")
				}
				return body{Err: err.(*Error), Data: b.Data}
			}
			if n == 0 {
				panic("stopped before the end of src")
			}
			b.Data += string(data)
			b.N += n
			b.Done = done
			src = src[n:]
		}
	}
	if b.Done != c.Done() {
		panic("Done differs from done")
	}
	raw, fields := c.Trailers()
	if b.Done {
		for _, f := range fields {
			b.Trailers += fmt.Sprintf("[%s|%s]", f.Name.In(raw), f.Value.In(raw))
		}
	}
	return b
}

func checkBodySplits(t *testing.T, input []byte, lim *Limits) body {
	t.Helper()
	var c Chunked
	whole := decode(&c, input, lim)
	for cut := range input {
		if got := decode(&c, input, lim, cut); got != whole {
			t.Fatalf("split at %d of %q:\ngot  %+v\nwant %+v", cut, input, got, whole)
		}
	}
	if got := decode(&c, input, lim, everyByte(input)...); got != whole {
		t.Fatalf("byte by byte %q:\ngot  %+v\nwant %+v", input, got, whole)
	}
	return whole
}

func TestChunkedAccepted(t *testing.T) {
	for _, c := range []struct{ name, section, input, data, trailers string }{
		{"empty", "RFC 9112, 7.1", "0\r\n\r\n", "", ""},
		{"one chunk", "RFC 9112, 7.1", "5\r\nhello\r\n0\r\n\r\n", "hello", ""},
		{"two chunks", "RFC 9112, 7.1", "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "hello!", ""},
		{"both cases of digits", "RFC 9112, 7.1", "a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", "01234567890123456789a", ""},
		{"leading zeros", "RFC 9112, 7.1", "0000000000000005\r\nhello\r\n000\r\n\r\n", "hello", ""},
		{"CRLF in data", "RFC 9112, 7.1", "4\r\n\r\n0\r\r\n0\r\n\r\n", "\r\n0\r", ""},
		{"extension", "RFC 9112, 7.1.1", "5;a\r\nhello\r\n0;b\r\n\r\n", "hello", ""},
		{"extension with value", "RFC 9112, 7.1.1", "5;a=b;c=d\r\nhello\r\n0\r\n\r\n", "hello", ""},
		{"BWS", "RFC 9112, 7.1.1", "5 \t; a\t = b ; c\r\nhello\r\n0\r\n\r\n", "hello", ""},
		{"quoted value", "RFC 9112, 7.1.1", "5;a=\";\\\"\xe4\t\" ;b\r\nhello\r\n0\r\n\r\n", "hello", ""},
		{"empty quoted value", "RFC 9112, 7.1.1", "5;a=\"\"\r\nhello\r\n0\r\n\r\n", "hello", ""},
		{"trailer", "RFC 9112, 7.1.2", "0\r\nX: y\r\n\r\n", "", "[X|y]"},
		{"trailers", "RFC 9112, 7.1.2", "1\r\na\r\n0\r\nX:\ty \r\nContent-Digest: z\r\nE:\r\n\r\n", "a", "[X|y][Content-Digest|z][E|]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := body{N: len(c.input), Data: c.data, Done: true, Trailers: c.trailers}
			if got := checkBodySplits(t, []byte(c.input), small); got != want {
				t.Errorf("%s: %q:\ngot  %+v\nwant %+v", c.section, c.input, got, want)
			}
			if got := checkBodySplits(t, []byte(c.input+"\r\nGET /"), small); got != want {
				t.Errorf("with more input: got %+v", got)
			}
			var d Chunked
			for cut := range c.input {
				if got := decode(&d, []byte(c.input[:cut]), small); got.Err != nil || got.Done || got.N != cut {
					t.Fatalf("the first %d bytes: %+v", cut, got)
				}
			}
		})
	}
}

func TestChunkedRefused(t *testing.T) {
	for _, c := range []struct {
		name, section, input string
		want                 *Error
	}{
		{"no size", "RFC 9112, 7.1", "\r\nhello\r\n", errChunkSize},
		{"not a digit", "RFC 9112, 7.1", "g\r\n", errChunkSize},
		{"prefix", "RFC 9112, 7.1", "0x5\r\nhello\r\n0\r\n\r\n", errChunkSize},
		{"plus", "RFC 9112, 7.1", "+5\r\nhello\r\n0\r\n\r\n", errChunkSize},
		{"minus", "RFC 9112, 7.1", "-5\r\nhello\r\n0\r\n\r\n", errChunkSize},
		{"underscore", "RFC 9112, 7.1", "1_0\r\n", errChunkSize},
		{"space before size", "RFC 9112, 7.1", " 5\r\nhello\r\n0\r\n\r\n", errChunkSize},
		{"TAB before size", "RFC 9112, 7.1", "\t5\r\nhello\r\n0\r\n\r\n", errChunkSize},
		{"space after size", "RFC 9112, 7.1", "5 \r\nhello\r\n0\r\n\r\n", errChunkExtension},
		{"space in size", "RFC 9112, 7.1", "1 0\r\n", errChunkExtension},
		{"comma after size", "RFC 9112, 7.1", "5,\r\n", errChunkSize},
		{"NUL after size", "RFC 9112, 7.1", "5\x00\r\n", errChunkSize},
		{"17 digits", "RFC 9112, 7.1", "00000000000000005\r\n", errChunkSizeLarge},
		{"over int64", "RFC 9112, 7.1", "8000000000000000\r\n", errChunkSizeLarge},
		{"wraps at 64 bits", "RFC 9112, 7.1", "10000000000000005\r\nhello\r\n", errChunkSizeLarge},
		{"size ends in LF", "RFC 9112, 2.2", "5\nhello\r\n0\r\n\r\n", errLineEnd},
		{"size ends in CR", "RFC 9112, 2.2", "5\rhello\r\n0\r\n\r\n", errLineEnd},
		{"size ends in CR CR LF", "RFC 9112, 2.2", "5\r\r\nhello\r\n0\r\n\r\n", errLineEnd},
		{"data too long", "RFC 9112, 7.1", "5\r\nhello!\r\n0\r\n\r\n", errChunkEnd},
		{"data too short", "RFC 9112, 7.1", "5\r\nhell\r\n0\r\n\r\n", errChunkEnd},
		{"data ends in LF", "RFC 9112, 2.2", "5\r\nhello\n0\r\n\r\n", errChunkEnd},
		{"data ends in CR", "RFC 9112, 2.2", "5\r\nhello\r0\r\n\r\n", errChunkEnd},
		{"no CRLF after data", "RFC 9112, 7.1", "5\r\nhello0\r\n\r\n", errChunkEnd},
		{"empty extension", "RFC 9112, 7.1.1", "5;\r\n", errChunkExtension},
		{"two semicolons", "RFC 9112, 7.1.1", "5;;a\r\n", errChunkExtension},
		{"extension without name", "RFC 9112, 7.1.1", "5;=a\r\n", errChunkExtension},
		{"extension without value", "RFC 9112, 7.1.1", "5;a=\r\n", errChunkExtension},
		{"extension in two words", "RFC 9112, 7.1.1", "5;a b\r\n", errChunkExtension},
		{"value in two words", "RFC 9112, 7.1.1", "5;a=b c\r\n", errChunkExtension},
		{"BWS at the end", "RFC 9112, 7.1.1", "5;a \r\n", errChunkExtension},
		{"BWS after a value at the end", "RFC 9112, 7.1.1", "5;a=b \r\n", errChunkExtension},
		{"name with a bracket", "RFC 9112, 7.1.1", "5;a[\r\n", errChunkExtension},
		{"value with a bracket", "RFC 9112, 7.1.1", "5;a=b[\r\n", errChunkExtension},
		{"NUL in extension", "RFC 9112, 7.1.1", "5;a\x00\r\n", errChunkExtension},
		{"LF in extension", "RFC 9112, 2.2", "5;a\nX\r\n", errLineEnd},
		{"CR in extension", "RFC 9112, 2.2", "5;a\rX\r\n", errLineEnd},
		{"LF in quoted value", "RFC 9112, 2.2", "5;a=\"\n\"\r\n", errLineEnd},
		{"CRLF in quoted value", "RFC 9112, 7.1.1", "5;a=\"\r\n\"\r\n", errChunkExtension},
		{"NUL in quoted value", "RFC 9110, 5.6.4", "5;a=\"\x00\"\r\n", errChunkExtension},
		{"quoted pair of CR", "RFC 9110, 5.6.4", "5;a=\"\\\r\n\"\r\n", errChunkExtension},
		{"token after quoted value", "RFC 9112, 7.1.1", "5;a=\"b\"c\r\n", errChunkExtension},
		{"long line", "RFC 9112, 7.1.1", "5;" + strings.Repeat("a", 23) + "\r\n", errChunkLineLong},
		{"last chunk ends in LF", "RFC 9112, 2.2", "0\n\r\n", errLineEnd},
		{"body ends in LF", "RFC 9112, 2.2", "0\r\n\n", errLineEnd},
		{"body ends in CR", "RFC 9112, 2.2", "0\r\n\rX", errLineEnd},
		{"trailer ends in LF", "RFC 9112, 2.2", "0\r\nX: y\n\r\n", errLineEnd},
		{"trailer ends in CR", "RFC 9112, 2.2", "0\r\nX: y\rZ: w\r\n\r\n", errLineEnd},
		{"trailer without colon", "RFC 9112, 5", "0\r\nX\r\n\r\n", errFieldName},
		{"trailer without name", "RFC 9112, 5", "0\r\n: y\r\n\r\n", errFieldName},
		{"trailer with space before colon", "RFC 9112, 5.1", "0\r\nX : y\r\n\r\n", errFieldName},
		{"folded trailer", "RFC 9112, 5.2", "0\r\nX: y\r\n z\r\n\r\n", errFold},
		{"whitespace before trailers", "RFC 9112, 5.2", "0\r\n X: y\r\n\r\n", errFold},
		{"NUL in trailer", "RFC 9110, 5.5", "0\r\nX: \x00\r\n\r\n", errFieldValue},
		{"next request as trailer", "RFC 9112, 7.1.2", "0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", errFieldName},
		{"trailers too large", "RFC 6585, 5", "0\r\nX: " + strings.Repeat("y", 60) + "\r\n\r\n", errTrailerBytes},
		{"too many trailers", "RFC 6585, 5", "0\r\n" + strings.Repeat("X:y\r\n", 7) + "\r\n", errTrailerCount},
		{"Content-Length", "RFC 9110, 6.5.1", "0\r\nContent-Length: 5\r\n\r\n", errTrailerForbidden},
		{"transfer-encoding", "RFC 9110, 6.5.1", "0\r\ntransfer-encoding: chunked\r\n\r\n", errTrailerForbidden},
		{"Host", "RFC 9110, 6.5.1", "0\r\nHOST: a\r\n\r\n", errTrailerForbidden},
		{"Authorization", "RFC 9110, 6.5.1", "0\r\nAuthorization: x\r\n\r\n", errTrailerForbidden},
		{"Cookie", "RFC 9110, 6.5.1", "0\r\nCookie: x\r\n\r\n", errTrailerForbidden},
		{"Content-Type", "RFC 9110, 6.5.1", "0\r\nContent-Type: x\r\n\r\n", errTrailerForbidden},
		{"Content-Encodings", "RFC 9110, 6.5.1", "0\r\nContent-Encoding: x\r\n\r\n", errTrailerForbidden},
		{"Connection", "RFC 9110, 7.6.1", "0\r\nConnection: close\r\n\r\n", errTrailerForbidden},
		{"Trailer", "RFC 9110, 6.5.1", "0\r\nTrailer: X\r\n\r\n", errTrailerForbidden},
		{"If-None-Match", "RFC 9110, 6.5.1", "0\r\nIf-None-Match: *\r\n\r\n", errTrailerForbidden},
		{"Range", "RFC 9110, 6.5.1", "0\r\nRange: bytes=0-\r\n\r\n", errTrailerForbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := checkBodySplits(t, []byte(c.input), small)
			if got.Err != c.want {
				t.Errorf("%s: %q: got %+v, want %v", c.section, c.input, got, c.want)
			}
		})
	}
}

// TestChunkExtensionTotal: many legal lines of extensions are still too many.
func TestChunkExtensionTotal(t *testing.T) {
	line := "1;" + strings.Repeat("e", 1000) + "\r\nx\r\n"
	var c Chunked
	if got := decode(&c, []byte(strings.Repeat(line, 16)+"0\r\n\r\n"), nil); !got.Done {
		t.Errorf("within the limit: %+v", got.Err)
	}
	if got := decode(&c, []byte(strings.Repeat(line, 17)+"0\r\n\r\n"), nil); got.Err != errChunkExtensions {
		t.Errorf("beyond the limit: %+v", got.Err)
	}
}

// TestChunkedTrailerEdge: the last byte that fits, and the first that does not.
func TestChunkedTrailerEdge(t *testing.T) {
	lim := &Limits{TrailerBytes: 10}
	if got := checkBodySplits(t, []byte("0\r\nX: 45678\r\n\r\n"), lim); !got.Done {
		t.Errorf("10 bytes: %+v", got)
	}
	if got := checkBodySplits(t, []byte("0\r\nX: 456789\r\n\r\n"), lim); got.Err != errTrailerBytes {
		t.Errorf("11 bytes: %+v", got)
	}
}

// TestChunkedDataIsNotCopied: data is a piece of src.
func TestChunkedDataIsNotCopied(t *testing.T) {
	src := []byte("5\r\nhello\r\n0\r\n\r\n")
	var c Chunked
	n, data, done, err := c.Feed(src, nil)
	if n != 8 || done || err != nil || &data[0] != &src[3] || cap(data) != 5 {
		t.Errorf("%d %q %v %v", n, data, done, err)
	}
}

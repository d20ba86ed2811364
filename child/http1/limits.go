package http1

// Defaults of [Limits].
const (
	DefaultRequestLine  = 8 << 10  // bytes; RFC 9112, 3 recommends at least 8000
	DefaultHeaderBytes  = 32 << 10 // bytes
	DefaultHeaderCount  = 100      // field lines
	DefaultChunkLine    = 1 << 10  // bytes
	DefaultTrailerBytes = 8 << 10  // bytes
)

// MaxChunkExtensions bounds the bytes of all chunk extensions of one body. They carry nothing that we use, and
// unbounded they let a sender keep us busy without ever delivering content. Beyond it the body is refused with 400.
const MaxChunkExtensions = 16 << 10

// MaxMethod is the longest method, in bytes. A longer one is answered with 501 (RFC 9112, 3: "a method longer than
// any that it implements").
const MaxMethod = 32

// Limits bounds what a peer may send. A zero field, and a nil *Limits, mean the defaults. The limits must stay the
// same for the length of one message.
type Limits struct {
	// RequestLine is the longest request line in bytes, without its CRLF. Beyond it: 414.
	RequestLine int
	// HeaderBytes bounds all field lines of a head together in bytes, each with its CRLF. Beyond it: 431.
	HeaderBytes int
	// HeaderCount bounds the field lines of a head, and those of a trailer section. Beyond it: 431.
	HeaderCount int
	// ChunkLine is the longest chunk-size line in bytes, extensions counted, CRLF not. Beyond it: 400.
	ChunkLine int
	// TrailerBytes bounds all field lines of a trailer section together in bytes, each with its CRLF. Beyond it: 431.
	TrailerBytes int
}

var noLimits Limits // a nil *Limits

func orDefault(n, def int) int {
	if n <= 0 {
		return def
	}
	return n
}

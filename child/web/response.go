package web

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// StreamAt is how many bytes Response.Write collects before the response turns into a stream.
const StreamAt = 32 << 10

// sniffed is how many bytes tell the type of content (https://mimesniff.spec.whatwg.org, 7).
const sniffed = 512

// ErrCommitted is returned by what needs a response whose head has not been sent yet.
var ErrCommitted = errors.New("the head of the response has been sent")

// A Response is what a handler answers. The zero status is 200. The body is one of
//
//   - what Write and WriteString collect: up to StreamAt bytes are sent whole with a Content-Length, more than that, or a Flush,
//     turns it into a stream (chunked, or delimited by the close for HTTP/1.0) whose Write waits while the client is slow;
//   - SendBytes or SendString: memory that the server sends without copying it;
//   - SendFile: a range of an open file, by sendfile(2);
//   - SendReader: a stream that the server pulls from as the client reads; no worker waits with a slow client;
//   - SendFixed: a response that was encoded beforehand.
//
// The last Send wins over those before; all are refused once streaming has begun, and release or close what they were given.
// Push makes a stream that outlives its handler.
//
// Content-Length, Transfer-Encoding, Connection, Server and Date are the server's: setting them has no effect, but that "Connection: close"
// closes, and that a Content-Length holds for a stream (which must then write exactly that much) and for an empty answer to HEAD.
//
// A Content-Type that the handler has not set is found in the first bytes that it writes, as net/http does, unless it has set a
// Content-Encoding. Header().Set("Content-Type", "") sends none.
type Response struct {
	outcome Outcome
	header  Header
	trailer Header
	engine  Engine
	buf     []byte // what Write has collected
	stream  bool   // the head is on its way, Write goes to content

	filters  []Filter
	stations []StreamWriter // of filters, once streaming; nil for those that leave the content alone
	content  StreamWriter   // where a stream's content goes: the innermost station, else the engine
}

// SetStatus sets the status code, 200 to 599. It has no effect once the head is on its way.
func (w *Response) SetStatus(status int) {
	if status < 200 || status > 599 {
		panic("web: SetStatus with a code outside 200 to 599") // the programmer's mistake, answered with a 500
	}
	w.outcome.Status = status
}

// Status returns the status code.
func (w *Response) Status() int { return w.outcome.Status }

// Header returns the response's header section.
func (w *Response) Header() *Header { return &w.header }

// Trailer returns the fields that follow the content (RFC 9110, 6.5), such as a checksum of what was streamed. A response that has some
// before its head leaves announces them in a Trailer field, and is chunked even if its length is known; of one that is chunked anyway,
// fields that are set later are sent too. Fields that must not come there are left out, and a client of HTTP/1.0 gets none, nor does one
// that gets no content (HEAD, 204, 304) or a Fixed.
func (w *Response) Trailer() *Header { return &w.trailer }

// Write adds p to the body. It implements io.Writer. An error means that the client has gone, or that the deadline of SetWriteDeadline
// has passed (os.ErrDeadlineExceeded).
func (w *Response) Write(p []byte) (int, error) {
	if w.stream {
		return w.write(p)
	}
	w.become(BodyCollected)
	if len(w.buf)+len(p) <= StreamAt || w.engine == nil {
		w.buf = append(w.buf, p...)
		return len(p), nil
	}
	first := min(len(p), max(0, sniffed-len(w.buf))) // what tells the type has to be there before the head leaves
	w.buf = append(w.buf, p[:first]...)
	if err := w.Flush(); err != nil {
		return 0, err
	}
	n, err := w.content.Write(p[first:])
	return first + n, err
}

// write adds p to the streamed body.
func (w *Response) write(p []byte) (int, error) {
	if w.content == nil { // the response belongs to a PushStream, or the connection to the handler
		return 0, ErrCommitted
	}
	return w.content.Write(p)
}

// WriteString is Write for a string.
func (w *Response) WriteString(s string) (int, error) {
	if w.stream || len(w.buf)+len(s) > StreamAt {
		return w.Write([]byte(s))
	}
	w.become(BodyCollected)
	w.buf = append(w.buf, s...)
	return len(s), nil
}

// Flush sends the head and what has been written so far, and makes a stream of the rest. What SendBytes and SendString have set counts
// as written; a file, a reader and a Fixed need no Flush, it does nothing to them.
func (w *Response) Flush() error {
	if w.engine == nil {
		return nil
	}
	if w.stream {
		if w.content == nil {
			return ErrCommitted
		}
		return w.content.Flush()
	}
	var collected []byte
	switch w.outcome.Kind {
	case BodyNone, BodyCollected:
		collected = w.buf
	case BodyBytes:
		collected = w.outcome.Bytes
	case BodyText:
		collected = []byte(w.outcome.Text)
		if len(collected) > 0 && !w.header.Has("Content-Type") {
			w.header.Set("Content-Type", "text/plain; charset=utf-8")
		}
	default:
		return nil
	}
	w.become(BodyCollected)
	w.sniff(collected)
	w.direct()
	w.stream = true
	if err := w.engine.Stream(w); err != nil {
		return err
	}
	w.buf = w.buf[:0]
	if _, err := w.content.Write(collected); err != nil {
		return err
	}
	return w.content.Flush()
}

// sniff sets the Content-Type of a stream that begins with content, if the handler has not.
func (w *Response) sniff(content []byte) {
	if len(content) == 0 || w.header.Has("Content-Type") || w.header.Has("Content-Encoding") || !bodyAllowed(w.outcome.Status) {
		return
	}
	w.header.Set("Content-Type", http.DetectContentType(content))
}

// bodyAllowed reports whether a response with this status may have content (RFC 9112, 6.3).
func bodyAllowed(status int) bool { return status >= 200 && status != 204 && status != 304 }

// Streaming reports whether the head is on its way.
func (w *Response) Streaming() bool { return w.stream }

// SendBytes makes b the body. The server reads b until it has been sent: the handler must not change it afterwards.
func (w *Response) SendBytes(b []byte) {
	if w.become(BodyBytes) {
		w.outcome.Bytes = b
	}
}

// SendString makes s the body. Without a Content-Type the response gets "text/plain; charset=utf-8".
func (w *Response) SendString(s string) {
	if w.become(BodyText) {
		w.outcome.Text = s
	}
}

// SendFixed answers with f, whose status holds even if SetStatus follows. The fields of Header are sent beside those of f, but for a
// Content-Type where f has one. It panics if the status of f is not one that SetStatus takes.
func (w *Response) SendFixed(f *Fixed) {
	if f.Status < 200 || f.Status > 599 {
		panic(fmt.Sprintf("web: SendFixed with the status %d", f.Status)) // the programmer's mistake, answered with a 500
	}
	if w.become(BodyFixed) {
		w.outcome.Fixed, w.outcome.Status = f, f.Status
	}
}

// A File is an open regular file that the server sends from. *os.File is wrapped by SendFile's caller with OwnFile; a cache
// counts its users in Release.
type File interface {
	// Fd returns the descriptor; it stays valid until Release.
	Fd() uintptr
	// Release is called exactly once, when the server needs the file no more.
	Release()
}

// A ChangingFile is a File that can tell whether it is still what its length and entity tag were told of. A server that asks never
// completes a response out of two versions, as far as the file can tell: what has left before the change has left, and the connection ends
// short of the length that was promised.
type ChangingFile interface {
	File
	// Changed is called before a part is sent, by the loop or by a worker that packs the file, so it must not wait: an fstat(2) of a local file
	// does not. true: nothing more of it is sent, and the connection is closed.
	Changed() bool
}

// SendFile makes n bytes of f, which may be a ChangingFile, from offset on the body. The server calls f.Release in every case. It panics if
// f is nil, offset or n negative.
func (w *Response) SendFile(f File, offset, n int64) {
	if f == nil {
		panic("web: SendFile without a file")
	}
	if offset < 0 || n < 0 {
		f.Release()
		panic(fmt.Sprintf("web: SendFile with offset %d and length %d", offset, n)) // the programmer's mistake, answered with a 500
	}
	if !w.become(BodyFile) {
		f.Release()
		return
	}
	w.outcome.File, w.outcome.Offset, w.outcome.Length = f, offset, n
}

// SendFileLines is SendFile with field lines that were encoded beforehand (EncodeFields), which are sent before those of Header: for a file
// that is sent again and again. Header does not have them, and must have none of their names; of two Content-Types that of lines is sent. The server reads lines until the head has
// left: nobody may change them any more.
func (w *Response) SendFileLines(lines []byte, f File, offset, n int64) {
	w.SendFile(f, offset, n)
	if w.outcome.Kind == BodyFile && w.outcome.File == f {
		w.outcome.Lines = lines
	}
}

type ownFile struct{ *os.File }

func (f ownFile) Release() { f.Close() }

// OwnFile gives an open file to the server, which closes it.
func OwnFile(f *os.File) File { return ownFile{f} }

// SendReader makes what src yields the body: n bytes, or until io.EOF when n is -1. Reads are done on workers, one at a time, as
// the client takes the bytes; they may block. If src is an io.Closer the server closes it. It panics if src is nil or n below
// -1.
func (w *Response) SendReader(src io.Reader, n int64) {
	if src == nil {
		panic("web: SendReader without a source")
	}
	if n < -1 {
		closeSource(src)
		panic(fmt.Sprintf("web: SendReader with length %d", n))
	}
	if !w.become(BodyReader) {
		closeSource(src)
		return
	}
	w.outcome.Reader, w.outcome.Length = src, n
}

// become makes kind the kind of the body and gives back what an earlier Send has left. false: streaming has begun.
func (w *Response) become(kind BodyKind) bool {
	if w.stream {
		return false
	}
	if w.outcome.Kind == kind && kind == BodyCollected {
		return true
	}
	w.release()
	w.outcome.Lines = nil
	w.buf = w.buf[:0] // an earlier Write does not come back
	w.outcome.Kind = kind
	return true
}

// release gives back a file or reader that will not be sent.
func (w *Response) release() {
	if f := w.outcome.File; f != nil {
		w.outcome.File = nil
		f.Release()
	}
	if r := w.outcome.Reader; r != nil {
		w.outcome.Reader = nil
		closeSource(r)
	}
}

func closeSource(r io.Reader) {
	if c, ok := r.(io.Closer); ok {
		c.Close()
	}
}

// Detach takes the connection out of the server: the handler gets it with the bytes that were received behind the request, and owns
// it from now on. Nothing more is sent for this exchange: Write reports ErrCommitted. It fails while earlier responses of the connection
// are unsent, in a NonBlocking handler, and where there is no connection (tests).
//
// The connection must be closed when it is not needed any more: until then it holds the configuration that its handler was made for, as
// the handler does. At the end of a drain, and when that configuration is ended (retired_generations, retired_timeout), the server closes
// it, and ends the context of a handler that still runs.
func (w *Response) Detach() (net.Conn, []byte, error) {
	if w.stream {
		return nil, nil, ErrCommitted
	}
	if w.engine == nil {
		return nil, nil, errors.ErrUnsupported
	}
	conn, unread, err := w.engine.Detach()
	if err == nil {
		w.become(BodyDetached)
		w.stream, w.content = true, nil
	}
	return conn, unread, err
}

// Inform sends an informational response before the final one: 103 with Link fields lets a client load what it will need (RFC 8297);
// 100 asks for a body that the client holds back (RFC 9110, 10.1.1), which reading it does as well. Fields that HTTP does not allow are
// left out, and h may be nil. It does not wait: behind earlier requests of a pipeline the response is kept until it is its turn. Nothing
// is sent to a client of HTTP/1.0, which is no error; ErrCommitted says that the final head has been sent.
func (w *Response) Inform(status int, h *Header) error {
	switch {
	case status < 100 || status > 199 || status == 101:
		return fmt.Errorf("web: %d is not an informational status that a handler can send", status)
	case w.stream:
		return ErrCommitted
	case w.engine == nil:
		return nil
	}
	if h == nil {
		h = new(Header)
	}
	return w.engine.Inform(status, h)
}

// SetReadDeadline bounds the reading of the request's body, in place of the server's limits (body_timeout, body_rate): once t has passed,
// Read returns os.ErrDeadlineExceeded, and the connection is closed after the answer. The zero time: no bound.
func (w *Response) SetReadDeadline(t time.Time) error { return w.setDeadlines(&t, nil) }

// SetWriteDeadline bounds the sending of the response, in place of the server's limits (write_timeout, write_rate): if it has not left
// when t has passed, Write returns os.ErrDeadlineExceeded and the connection is closed. The zero time: no bound. It does not hold for a
// PushStream.
func (w *Response) SetWriteDeadline(t time.Time) error { return w.setDeadlines(nil, &t) }

func (w *Response) setDeadlines(read, write *time.Time) error {
	if w.engine == nil {
		return errors.ErrUnsupported
	}
	return w.engine.SetDeadlines(read, write)
}

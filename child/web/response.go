package web

import (
	"errors"
	"io"
	"net"
	"os"
)

// StreamAt is how many bytes Response.Write collects before the response turns into a stream.
const StreamAt = 32 << 10

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
// Content-Length, Transfer-Encoding, Connection, Server and Date are the server's: setting them has no effect, but that "Connection: close"
// closes, and that a Content-Length holds for a stream (which must then write exactly that much) and for an empty answer to HEAD.
type Response struct {
	outcome Outcome
	header  Header
	engine  Engine
	buf     []byte // what Write has collected
	stream  bool   // the head is on its way, Write goes to the engine
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

// Write adds p to the body. It implements io.Writer. An error means that the client has gone.
func (w *Response) Write(p []byte) (int, error) {
	if w.stream {
		return w.engine.Write(p)
	}
	w.become(BodyCollected)
	if len(w.buf)+len(p) > StreamAt && w.engine != nil {
		if err := w.Flush(); err != nil {
			return 0, err
		}
		return w.engine.Write(p)
	}
	w.buf = append(w.buf, p...)
	return len(p), nil
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

// Flush sends the head and what has been written so far, and makes a stream of the rest.
func (w *Response) Flush() error {
	if w.engine == nil {
		return nil
	}
	if !w.stream {
		w.become(BodyCollected)
		w.stream = true
		if err := w.engine.Stream(w); err != nil {
			return err
		}
		collected := w.buf
		w.buf = w.buf[:0]
		if _, err := w.engine.Write(collected); err != nil {
			return err
		}
	}
	return w.engine.Flush()
}

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

// SendFixed answers with f, which replaces status and header.
func (w *Response) SendFixed(f *Fixed) {
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

// SendFile makes n bytes of f from offset on the body. The server calls f.Release in every case.
func (w *Response) SendFile(f File, offset, n int64) {
	if !w.become(BodyFile) {
		f.Release()
		return
	}
	w.outcome.File, w.outcome.Offset, w.outcome.Length = f, offset, n
}

type ownFile struct{ *os.File }

func (f ownFile) Release() { f.Close() }

// OwnFile gives an open file to the server, which closes it.
func OwnFile(f *os.File) File { return ownFile{f} }

// SendReader makes what src yields the body: n bytes, or until io.EOF when n is -1. Reads are done on workers, one at a time, as
// the client takes the bytes; they may block. If src is an io.Closer the server closes it.
func (w *Response) SendReader(src io.Reader, n int64) {
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
// it from now on. Nothing is sent for this exchange. It fails while earlier responses of the connection are unsent, and where there
// is no connection (tests).
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
	}
	return conn, unread, err
}

package web

import (
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"sync"
	"syscall"
)

// heldFile is a range of a regular file that a handler has copied into its response. It is sent by the server if the handler writes
// nothing else, and else copied.
type heldFile struct {
	file      *os.File // of our own: the handler closes its one
	offset, n int64
}

var copyBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// writerOnly and readerOnly hide the methods by which io.Copy would not use the buffer.
type writerOnly struct{ io.Writer }
type readerOnly struct{ io.Reader }

func copyThrough(dst io.Writer, src io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(writerOnly{dst}, readerOnly{src}, buf[:])
}

// ReadFrom implements io.ReaderFrom.
func (w *responseWriter) ReadFrom(src io.Reader) (int64, error) {
	if n := w.hold(src); n > 0 {
		return n, nil
	}
	return copyThrough(w, src)
}

// sourceFile is *os.File, or what io.Copy wraps it in.
type sourceFile interface {
	fs.File
	io.Seeker
	io.ReaderAt
	syscall.Conn
}

// hold keeps what is left of a file, or of a limited part of one, as the response's content. It returns the number of bytes, 0 when they
// have to be copied.
func (w *responseWriter) hold(src io.Reader) int64 {
	if w.usable() != nil || w.written > 0 || w.response.Streaming() || w.request.Method == "HEAD" || !w.wrote && len(w.header["Trailer"]) > 0 {
		return 0
	}
	limit := int64(math.MaxInt64)
	limited, ok := src.(*io.LimitedReader)
	if ok {
		src, limit = limited.R, limited.N
	}
	file, ok := src.(sourceFile)
	if !ok {
		return 0
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	offset, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0
	}
	n := min(limit, info.Size()-offset)
	if n <= StreamAt || w.wrote && (w.declared >= 0 && n > w.declared || len(w.trailers) > 0 || !bodyAllowed(w.response.outcome.Status)) {
		return 0 // little is as well sent with the head; the rest is an error, or not for sendfile
	}
	own := duplicate(file, info.Name())
	if own == nil {
		return 0
	}
	if err := w.admit(n); err != nil {
		own.Close()
		return 0
	}
	if _, err := file.Seek(n, io.SeekCurrent); err != nil {
		own.Close()
		w.written -= n
		return 0
	}
	if limited != nil {
		limited.N -= n
	}
	w.held = &heldFile{own, offset, n}
	return n
}

// duplicate returns a file of the same open file description, nil if it cannot be read.
func duplicate(file syscall.Conn, name string) *os.File {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil
	}
	var own *os.File
	_ = raw.Control(func(fd uintptr) {
		flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0)
		if errno != 0 || flags&syscall.O_ACCMODE == syscall.O_WRONLY {
			return
		}
		if duplicate, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0); errno == 0 {
			own = os.NewFile(duplicate, name)
		}
	})
	return own
}

// spill copies the held file into the response, since something is to follow it.
func (w *responseWriter) spill() error {
	h := w.held
	if h == nil {
		return nil
	}
	defer w.dropHeld()
	n, err := copyThrough(w.response, io.NewSectionReader(h.file, h.offset, h.n))
	if err == nil && n < h.n {
		err = io.ErrUnexpectedEOF // it was longer before
	}
	return err
}

// sendHeld gives the held file to the server, which closes it.
func (w *responseWriter) sendHeld() {
	h := w.held
	if h == nil {
		return
	}
	if len(w.trailers) > 0 || w.response.Trailer().Len() > 0 { // they follow a stream
		if w.spill() != nil {
			panic(http.ErrAbortHandler)
		}
		return
	}
	if header := w.response.Header(); !header.Has("Content-Type") && !header.Has("Content-Encoding") {
		begin := make([]byte, sniffed)
		if n, _ := h.file.ReadAt(begin, h.offset); n > 0 {
			w.response.sniff(begin[:n])
		}
	}
	w.held = nil
	w.response.SendFile(OwnFile(h.file), h.offset, h.n)
}

// dropHeld closes a held file that is not sent.
func (w *responseWriter) dropHeld() {
	if w.held != nil {
		w.held.file.Close()
		w.held = nil
	}
}

package web

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ServeContent answers with content, as far as the conditions and ranges of the request want it (RFC 9110, 13 and 14): 200, 206 with one
// range or several, 304, 412 or 416.
//
// The Content-Type is that of the header, else that of name (TypeByName), else found in the first bytes; name is not used otherwise and
// may be "". modtime, unless it is zero, becomes Last-Modified and is compared with the conditions, as is an ETag that the handler has set
// before. The content is read from its beginning; its size is found by seeking.
//
// As in net/http content stays the caller's, who closes it when ServeContent has returned. A regular *os.File is sent by sendfile(2) from a
// descriptor of its own and content of a *bytes.Reader or *strings.Reader from memory, both after the handler has returned; any other is
// copied while the worker waits for the client.
func ServeContent(w *Response, r *Request, name string, modtime time.Time, content io.ReadSeeker) {
	size, err := content.Seek(0, io.SeekEnd)
	if err != nil {
		serveError(w, 500)
		return
	}
	v, ok := judge(w, r, modtime, size)
	if !ok {
		return
	}
	if err := settleType(w, name, content); err != nil {
		serveError(w, 500)
		return
	}
	if r.Method == "HEAD" {
		announce(w, size)
		return
	}
	if f, ok := content.(*os.File); ok {
		if own := regular(f); own != nil {
			sendFile(w, own, size, v)
			return
		}
	}
	if src, ok := inMemory(content); ok && size > StreamAt {
		sendSource(w, src, size, v)
		return
	}
	copyContent(w, content, size, v)
}

// ServeFile answers with the regular file called name, as ServeContent does. A file that is not there, or no regular one, is 404, one
// that may not be read 403. Trees of files with their indexes are the business of the module static, or of http.FileServer.
//
// name must not be made of what a client has sent without a check; a request whose path has a ".." segment is refused with 400 in case
// it is.
func ServeFile(w *Response, r *Request, name string) {
	if hasDotDot(r.Path) {
		serveError(w, 400)
		return
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a fifo would wait for a writer
	if err != nil {
		serveError(w, statusOfOpen(err))
		return
	}
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		f.Close()
		serveError(w, 404)
		return
	}
	v, ok := judge(w, r, st.ModTime(), st.Size())
	if !ok {
		f.Close()
		return
	}
	if err := settleType(w, name, f); err != nil {
		f.Close()
		serveError(w, 500)
		return
	}
	if r.Method == "HEAD" {
		f.Close()
		announce(w, st.Size())
		return
	}
	sendFile(w, f, st.Size(), v)
}

// judge evaluates the conditions and answers if that is all. It writes the fields that all kinds of answer have.
func judge(w *Response, r *Request, modtime time.Time, size int64) (v Verdict, ok bool) {
	h := w.Header()
	p := Representation{Size: size, ETag: h.Get("ETag")}
	if !modtime.IsZero() && !modtime.Equal(time.Unix(0, 0)) { // what file systems say that keep no time
		now := time.Now()
		if modtime.After(now) {
			modtime = now // never in the future (RFC 9110, 8.8.2.1)
		}
		p.SetModified(modtime, now.Unix() > modtime.Unix())
		h.Set("Last-Modified", p.LastModified())
	}
	v = p.Evaluate(r)
	switch v.Status {
	case 304:
		for _, name := range []string{"Content-Type", "Content-Encoding"} {
			h.Del(name)
		}
		if p.ETag != "" {
			h.Del("Last-Modified") // RFC 9110, 15.4.5: the tag tells caches all
		}
		w.SetStatus(304)
		return v, false
	case 412:
		serveError(w, 412)
		return v, false
	case 416:
		serveError(w, 416)
		h.Set("Content-Range", unsatisfied(size))
		return v, false
	}
	h.Set("Accept-Ranges", "bytes")
	return v, true
}

// serveError answers with an error instead of content, whose life in caches is not the error's.
func serveError(w *Response, status int) {
	w.Header().Del("Cache-Control")
	Error(w, status)
}

// settleType sets the Content-Type unless there is one.
func settleType(w *Response, name string, content io.ReadSeeker) error {
	h := w.Header()
	if h.Has("Content-Type") {
		return nil
	}
	if t := TypeByName(name); t != "" {
		h.Set("Content-Type", t)
		return nil
	}
	var first [sniffed]byte
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return err
	}
	n, err := io.ReadFull(content, first[:])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	h.Set("Content-Type", http.DetectContentType(first[:n]))
	return nil
}

// announce sets the length of what a GET would have got.
func announce(w *Response, size int64) {
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
}

// sendFile answers from f, which belongs to the server from now on.
func sendFile(w *Response, f *os.File, size int64, v Verdict) {
	switch len(v.Ranges) {
	case 0:
		w.SendFile(OwnFile(f), 0, size)
	case 1:
		w.SetStatus(206)
		w.Header().Set("Content-Range", v.Ranges[0].ContentRange(size))
		w.SendFile(OwnFile(f), v.Ranges[0].Offset, v.Ranges[0].Length)
	default:
		w.SendRanges(v.Ranges, size, f)
	}
}

// sendSource answers from memory that nobody will close.
func sendSource(w *Response, src io.ReaderAt, size int64, v Verdict) {
	if v.Status == 206 {
		w.SendRanges(v.Ranges, size, src)
		return
	}
	w.SendReader(io.NewSectionReader(src, 0, size), size)
}

// regular returns f with a descriptor of the server's own, nil if it is no regular file.
func regular(f *os.File) *os.File {
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil
	}
	return duplicate(f, f.Name())
}

// inMemory returns content that may be read when its caller has returned.
func inMemory(content io.ReadSeeker) (io.ReaderAt, bool) {
	switch c := content.(type) {
	case *bytes.Reader:
		return c, true
	case *strings.Reader:
		return c, true
	}
	return nil, false
}

// copyContent answers with content that can be read only now.
func copyContent(w *Response, content io.ReadSeeker, size int64, v Verdict) {
	src, length := io.Reader(&byteRanges{src: seeking{content}, left: size}), size
	if v.Status == 206 {
		w.SetStatus(206)
		src, length = w.partial(v.Ranges, size, seeking{content})
	}
	announce(w, length) // a stream has this length too, and is cut off if the content turns out to be shorter
	if _, err := io.CopyN(w, src, length); err != nil && !w.Streaming() {
		serveError(w, 500)
	}
}

// seeking is an io.ReaderAt for one goroutine.
type seeking struct{ io.ReadSeeker }

func (s seeking) ReadAt(p []byte, off int64) (int, error) {
	if _, err := s.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	return io.ReadFull(s, p)
}

// hasDotDot reports whether a path has a ".." segment, also one that only a careless reader would see.
func hasDotDot(path string) bool {
	if !strings.Contains(path, "..") {
		return false
	}
	for segment := range strings.FieldsFuncSeq(path, func(c rune) bool { return c == '/' || c == '\\' }) {
		if segment == ".." {
			return true
		}
	}
	return false
}

// statusOfOpen maps an error to a status. What a client can bring about by the choice of a name is never a 5xx.
func statusOfOpen(err error) int {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return 403
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.ELOOP),
		errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENXIO):
		return 404
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
		return 503
	}
	return 500
}

package static

import (
	"bytes"
	"errors"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
)

// allow is what a file understands.
const allow = "GET, HEAD, OPTIONS"

// refusals are the responses that are the same for every file, encoded once.
type refusals struct {
	forbidden, notFound, method, options, precondition, busy, failed *web.Fixed
}

func newRefusals() refusals {
	return refusals{
		forbidden:    refusal(403, "Forbidden"),
		notFound:     refusal(404, "Not Found"),
		method:       refusal(405, "Method Not Allowed", web.Field{Name: "Allow", Value: allow}),
		options:      told(),
		precondition: refusal(412, "Precondition Failed"),
		failed:       refusal(500, "Internal Server Error"),
		busy:         refusal(503, "Service Unavailable", web.Field{Name: "Retry-After", Value: "1"}),
	}
}

// told tells what a file is good for (RFC 9110, 9.3.7).
func told() *web.Fixed {
	var header web.Header
	header.Set("Allow", allow)
	return web.NewFixed(204, &header, nil)
}

// otherMethod is the answer to a method that is neither GET nor HEAD.
func (f *refusals) otherMethod(method string) *web.Fixed {
	if method == "OPTIONS" {
		return f.options
	}
	return f.method
}

func refusal(status int, reason string, fields ...web.Field) *web.Fixed {
	var header web.Header
	header.Set("Content-Type", "text/plain; charset=utf-8")
	for _, f := range fields {
		header.Set(f.Name, f.Value)
	}
	return web.NewFixed(status, &header, []byte(reason+"\n"))
}

// answer sends e as the request's conditions want it, without a system call. false: nothing was touched, since the file is not open
// any more.
func (s *server) answer(w *web.Response, r *web.Request, e *entry) bool {
	v := e.content.Evaluate(r)
	switch v.Status {
	case 304:
		w.SendFixed(e.notModified)
		return true
	case 412:
		w.SendFixed(s.refusals.precondition)
		return true
	case 416:
		w.SetStatus(416)
		w.Header().Set("Content-Range", "bytes */"+strconv.FormatInt(e.content.Size, 10))
		w.SendString("Range Not Satisfiable\n")
		return true
	case 200:
		if e.full != nil {
			w.SendFixed(e.full)
			return true
		}
	}
	if e.file != nil && !e.file.acquire() {
		return false
	}
	w.SetStatus(v.Status)
	h := w.Header()
	for _, f := range s.headers {
		h.Set(f.Name, f.Value)
	}
	h.Set("Content-Type", e.contentType)
	h.Set("ETag", e.content.ETag)
	h.Set("Last-Modified", e.content.LastModified())
	h.Set("Accept-Ranges", "bytes")
	e.send(w, v.Ranges)
	return true
}

// send makes the ranges the body, or without any the whole file. Its caller has acquired the descriptor, if there is one.
func (e *entry) send(w *web.Response, ranges []web.Range) {
	switch size := e.content.Size; {
	case len(ranges) > 1 && e.file == nil:
		w.SendRanges(ranges, size, bytes.NewReader(e.full.Body))
	case len(ranges) > 1:
		w.SendRanges(ranges, size, e.file)
	case len(ranges) == 0:
		w.SendFile(e.file, 0, size) // a small one is a Fixed
	default:
		part := ranges[0]
		w.Header().Set("Content-Range", part.ContentRange(size))
		if e.file == nil {
			w.SendBytes(e.full.Body[part.Offset : part.Offset+part.Length])
			return
		}
		w.SendFile(e.file, part.Offset, part.Length)
	}
}

// refuse answers for a file that could not be found or opened.
func (s *server) refuse(w *web.Response, r *web.Request, err error) {
	if errors.Is(err, errDirectory) {
		for _, f := range s.headers {
			w.Header().Set(f.Name, f.Value)
		}
		w.Header().Set("Location", slashed(r.RawPath, r.RawQuery))
		w.SetStatus(307)
		return
	}
	response := s.refusals.of(err)
	if response == s.refusals.failed && s.log != nil {
		s.log(module.Error, "a file cannot be served", module.Field{Key: "path", Value: r.Path}, module.Field{Key: "error", Value: err.Error()})
	}
	w.SendFixed(response)
}

// of maps an error to a response. What a client can bring about by the choice of a path is never a 5xx.
func (f *refusals) of(err error) *web.Fixed {
	var errno unix.Errno
	switch {
	case errors.Is(err, errSpecial):
		return f.forbidden
	case errors.As(err, &errno):
		switch errno {
		case unix.ENOENT, unix.ENOTDIR, unix.ENAMETOOLONG, unix.ELOOP, unix.EXDEV, unix.ESTALE,
			unix.EINVAL, unix.EILSEQ: // names that the file system cannot hold
			return f.notFound
		case unix.EACCES, unix.EPERM,
			unix.ENXIO, unix.ENODEV: // became a special file after the stat
			return f.forbidden
		case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN:
			return f.busy
		}
	case errors.Is(err, errLeft):
		return f.busy
	}
	return f.failed
}

package static

import (
	"bytes"
	"strconv"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/netcore"
)

// newRefusals are the responses that are the same for every file, encoded once.
func newRefusals() map[int]*web.Fixed {
	list := map[int]*web.Fixed{}
	for _, status := range pageStatus {
		var header web.Header
		header.Set("Content-Type", "text/plain; charset=utf-8")
		header.Set("X-Content-Type-Options", "nosniff")
		list[status] = web.NewFixed(status, &header, []byte(web.StatusText(status)+"\n"))
	}
	return list
}

// told tells what a file is good for (RFC 9110, 9.3.7).
func told(allow string) *web.Fixed {
	var header web.Header
	header.Set("Allow", allow)
	return web.NewFixed(204, &header, nil)
}

// changed reports whether the form's file is not what it was any more.
func (f *form) changed() bool { return f.file != nil && f.file.changedAt(netcore.Now()) }

// answer sends f as the request's conditions want it, without a system call that could wait. false: nothing was touched, since the file is not
// open any more, or, on the loop, the page of an error has to be looked for.
func (s *server) answer(w *web.Response, r *web.Request, f *form, now bool) bool {
	v := f.content.Evaluate(r)
	switch v.Status {
	case 304:
		w.SendFixed(f.notModified)
		return true
	case 412:
		return s.refuseEither(w, r, now, 412)
	case 416:
		return s.refuseEither(w, r, now, 416, web.Field{Name: "Content-Range", Value: "bytes */" + strconv.FormatInt(f.content.Size, 10)})
	case 200:
		if f.full != nil {
			w.SendFixed(f.full)
			return true
		}
	}
	if f.file != nil && !f.file.acquire() {
		return false
	}
	w.SetStatus(v.Status)
	f.send(w, v.Ranges)
	return true
}

// send makes the ranges the body, or without any the whole file. Its caller has acquired the descriptor, if there is one.
func (f *form) send(w *web.Response, ranges []web.Range) {
	size := f.content.Size
	if f.file != nil && len(ranges) <= 1 {
		part := web.Range{Offset: 0, Length: size}
		if len(ranges) == 1 {
			part = ranges[0]
			w.Header().Set("Content-Range", part.ContentRange(size))
		}
		w.SendFileLines(f.lines, f.file, part.Offset, part.Length)
		return
	}
	h := w.Header()
	for _, field := range f.fields {
		h.Add(field.Name, field.Value)
	}
	switch { // a whole one in memory is a Fixed
	case f.file != nil:
		w.SendRanges(ranges, size, f.file)
	case len(ranges) > 1:
		w.SendRanges(ranges, size, bytes.NewReader(f.full.Body))
	default:
		part := ranges[0]
		h.Set("Content-Range", part.ContentRange(size))
		w.SendBytes(f.full.Body[part.Offset : part.Offset+part.Length])
	}
}

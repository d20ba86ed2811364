package static

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
)

// A page is the file that is sent with an error, or in place of what does not exist.
type page struct {
	option pageOption
	id     string // tells pages with the same file apart
	key    string // of its entry; no name begins with a slash, as this does
	fields []web.Field
}

// pages are those of one server.
type pages struct {
	byStatus map[int]*page
	fallback *page
	byKey    map[string]*page
}

func newPages(o *options) pages {
	p := pages{byStatus: map[int]*page{}, byKey: map[string]*page{}}
	add := func(option pageOption, id string) *page {
		added := &page{option: option, id: id, key: "/" + option.file + "/" + id, fields: sortedFields(option.headers)}
		p.byKey[added.key] = added
		return added
	}
	for _, option := range o.pages {
		p.byStatus[option.status] = add(option, strconv.Itoa(option.status))
	}
	for _, option := range o.fallback {
		p.fallback = add(option, "fallback")
	}
	return p
}

// missing warns of pages that are not there, which may be as it should: they can come later.
func (s *server) missing() {
	if s.log == nil {
		return
	}
	for _, p := range s.pages.byKey {
		e, err := s.look(p.option.file)
		if err == nil {
			e.release()
			continue
		}
		block, instead := "error "+strconv.Quote(p.id), "the plain answer"
		if p == s.pages.fallback {
			block, instead = "fallback", "404"
		}
		cure := "names are from the root, " + s.root.path
		if strings.HasPrefix("/"+p.option.file, s.root.path+"/") {
			cure = "write " + strconv.Quote(strings.TrimPrefix("/"+p.option.file, s.root.path)) + ": " + cure
		}
		s.log(module.Warn, "static: the file of "+block+" cannot be sent; "+instead+" is, until it can", module.Field{Key: "file", Value: "/" + p.option.file},
			module.Field{Key: "error", Value: err.Error()}, module.Field{Key: "cure", Value: cure})
	}
}

// implied adds the fields that an error must have.
func (s *server) implied(status int, fields []web.Field) []web.Field {
	switch status {
	case 405: // RFC 9110, 15.5.6
		if slices.ContainsFunc(fields, func(f web.Field) bool { return f.Name == "Allow" }) {
			return fields // of a name that understands less than others
		}
		return append(fields, web.Field{Name: "Allow", Value: s.allow})
	case 503:
		return append(fields, web.Field{Name: "Retry-After", Value: "1"})
	}
	return fields
}

// refuseNow answers with an error on the loop. false: its page has to be looked for.
func (s *server) refuseNow(w *web.Response, status int, fields ...web.Field) bool {
	fields = s.implied(status, fields)
	p := s.pages.byStatus[status]
	if p == nil {
		s.refuseText(w, status, fields)
		return true
	}
	e := s.cache.get([]byte(p.key), s.now())
	if e == nil || e.plain.changed() {
		return false
	}
	return s.sendPage(w, e, fields)
}

// refuse answers with an error: by its page, or by a text.
func (s *server) refuse(w *web.Response, r *web.Request, status int, fields ...web.Field) {
	fields = s.implied(status, fields)
	if p := s.pages.byStatus[status]; p != nil {
		if e, err := s.obtain(r, p.key); err == nil {
			sent := s.sendPage(w, e, fields)
			e.release()
			if sent {
				return
			}
		}
	}
	s.refuseText(w, status, fields)
}

// refuseEither is refuseNow on the loop, where now is true, and refuse elsewhere. false: the page has to be looked for.
func (s *server) refuseEither(w *web.Response, r *web.Request, now bool, status int, fields ...web.Field) bool {
	if now {
		return s.refuseNow(w, status, fields...)
	}
	s.refuse(w, r, status, fields...)
	return true
}

func (s *server) refuseText(w *web.Response, status int, fields []web.Field) {
	for _, f := range fields {
		w.Header().Add(f.Name, f.Value)
	}
	w.SendFixed(s.refusals[status])
}

// sendPage sends an error page. false: its file is not open any more, and nothing was touched.
func (s *server) sendPage(w *web.Response, e *entry, fields []web.Field) bool {
	if e.plain.file != nil && (!e.plain.file.acquire()) {
		return false
	}
	h := w.Header()
	for _, f := range fields {
		own := func(of web.Field) bool { return strings.EqualFold(of.Name, f.Name) }
		if !slices.ContainsFunc(e.plain.fields, own) { // the page's own come first
			h.Add(f.Name, f.Value)
		}
	}
	if e.plain.full != nil {
		w.SendFixed(e.plain.full)
		return true
	}
	w.SetStatus(e.status)
	w.SendFileLines(e.plain.lines, e.plain.file, 0, e.plain.content.Size)
	return true
}

package web

import "strings"

// A Mux is a Handler that passes each request to the handler whose pattern fits it best. The patterns are those of
// net/http.ServeMux without a host, but they never conflict: the more specific path wins, then the one with a method. Register
// everything before the first request.
type Mux struct {
	patterns Patterns[Handler]
}

// Handle registers h for pattern. It panics if the pattern is malformed or was registered before: the programmer's mistake.
func (m *Mux) Handle(pattern string, h Handler) {
	p, err := ParsePattern(pattern)
	if err == nil {
		err = m.patterns.Add(p, h)
	}
	if err != nil {
		panic("web: " + err.Error())
	}
}

// HandleFunc registers a StringFunc for pattern.
func (m *Mux) HandleFunc(pattern string, f func(r *Request) string) { m.Handle(pattern, StringFunc(f)) }

// Serve answers with the handler that fits, a 307 to the clean path, a 404, or a 405 with Allow; with Allow alone for an OPTIONS that no
// handler serves.
func (m *Mux) Serve(w *Response, r *Request) {
	var match Match
	h, result := m.patterns.Lookup(r.Method, r.RawPath, &match)
	switch result {
	case Found:
		SetParams(r, match.Params)
		SetPattern(r, match.Pattern)
		h.Serve(w, r)
	default:
		Refuse(w, r, result, &match)
	}
}

// Refuse answers a request that no pattern serves; of r only Method and RawQuery are looked at.
func Refuse(w *Response, r *Request, result Result, match *Match) {
	switch result {
	case Moved:
		location := match.Location
		if r.RawQuery != "" {
			location += "?" + r.RawQuery
		}
		w.Header().Set("Location", location)
		w.SetStatus(307)
	case MethodNotAllowed:
		allow := match.Allow
		if !strings.Contains(allow, "OPTIONS") {
			allow += ", OPTIONS" // a path tells what it is good for (RFC 9110, 9.3.7)
		}
		w.Header().Set("Allow", allow)
		if r.Method == "OPTIONS" {
			w.SetStatus(204)
			return
		}
		Error(w, 405)
	default:
		Error(w, 404)
	}
}

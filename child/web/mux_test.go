package web_test

import (
	"testing"

	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

func TestMux(t *testing.T) {
	var m web.Mux
	m.HandleFunc("GET /items/{id}", func(r *web.Request) string { return "item " + r.PathValue("id") })
	m.HandleFunc("GET /items/new", func(*web.Request) string { return "new" })
	m.HandleFunc("/files/", func(r *web.Request) string { return "files " + r.Path })
	m.HandleFunc("OPTIONS /asked", func(*web.Request) string { return "" })
	m.Handle("POST /items/{id}", web.HandlerFunc(func(w *web.Response, _ *web.Request) { w.SetStatus(201) }))
	tests := []struct {
		method, target string
		status         int
		body, location string
		allow          string
	}{
		{"GET", "/items/7", 200, "item 7", "", ""},
		{"GET", "/items/a%2Fb", 200, "item a/b", "", ""},
		{"GET", "/items/new", 200, "new", "", ""},
		{"HEAD", "/items/new", 200, "", "", ""},
		{"POST", "/items/7", 201, "", "", ""},
		{"DELETE", "/items/7", 405, "Method Not Allowed\n", "", "GET, HEAD, POST, OPTIONS"},
		{"OPTIONS", "/items/7", 204, "", "", "GET, HEAD, POST, OPTIONS"},
		{"OPTIONS", "/files/x", 200, "files /files/x", "", ""},
		{"DELETE", "/asked", 405, "Method Not Allowed\n", "", "OPTIONS"},
		{"GET", "/nothing", 404, "Not Found\n", "", ""},
		{"GET", "/files?a=b", 307, "", "/files/?a=b", ""},
		{"GET", "/files/x/../y?a", 307, "", "/files/y?a", ""},
		{"PUT", "/files/x", 200, "files /files/x", "", ""},
	}
	for _, test := range tests {
		resp := webtest.Do(&m, webtest.Request{Method: test.method, Target: test.target})
		if resp.Status != test.status || resp.Text() != test.body || resp.Header.Get("Location") != test.location || resp.Header.Get("Allow") != test.allow {
			t.Errorf("%s %s: %d %q location %q allow %q", test.method, test.target, resp.Status, resp.Text(), resp.Header.Get("Location"), resp.Header.Get("Allow"))
		}
	}
}

func TestMuxRefusesTheProgrammersMistakes(t *testing.T) {
	for _, pattern := range []string{"", "no-slash", "/a/{", "GET /taken/{x}"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was accepted", pattern)
				}
			}()
			var m web.Mux
			m.HandleFunc("GET /taken/{y}", func(*web.Request) string { return "" })
			m.HandleFunc(pattern, func(*web.Request) string { return "" })
		}()
	}
}

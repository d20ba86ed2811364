package web_test

import (
	"reflect"
	"testing"

	"github.com/tined/tined/child/web"
)

func lines(h *web.Header) []string {
	all := []string{}
	for name, value := range h.All() {
		all = append(all, name+": "+value)
	}
	return all
}

func TestHeader(t *testing.T) {
	tests := []struct {
		name string
		do   func(h *web.Header)
		want []string
	}{
		{"add keeps order", func(h *web.Header) { h.Add("c", "1") }, []string{"A: 1", "b: 2", "a: 3", "c: 1"}},
		{"set replaces all", func(h *web.Header) { h.Set("a", "x") }, []string{"A: x", "b: 2"}},
		{"set adds", func(h *web.Header) { h.Set("d", "x") }, []string{"A: 1", "b: 2", "a: 3", "d: x"}},
		{"del", func(h *web.Header) { h.Del("a") }, []string{"b: 2"}},
		{"del of nothing", func(h *web.Header) { h.Del("zz") }, []string{"A: 1", "b: 2", "a: 3"}},
		{"reset", func(h *web.Header) { h.Reset() }, []string{}},
		{"reset and add", func(h *web.Header) { h.Reset(); h.Add("n", "") }, []string{"n: "}},
	}
	for _, test := range tests {
		var h web.Header
		h.Add("A", "1")
		h.Add("b", "2")
		h.Add("a", "3")
		before := h.Clone()
		test.do(&h)
		if got := lines(&h); !reflect.DeepEqual(got, test.want) || h.Len() != len(test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		if got := lines(&before); !reflect.DeepEqual(got, []string{"A: 1", "b: 2", "a: 3"}) {
			t.Errorf("%s: the clone has changed: %q", test.name, got)
		}
	}
}

func TestHeaderGet(t *testing.T) {
	var h web.Header
	h.Add("Content-Type", "a")
	h.Add("content-type", "b")
	h.Add("Empty", "")
	if h.Get("CONTENT-TYPE") != "a" || h.Get("none") != "" || h.Get("Content-Typ") != "" {
		t.Error("Get")
	}
	if !reflect.DeepEqual(h.Values("content-Type"), []string{"a", "b"}) || h.Values("none") != nil {
		t.Error("Values")
	}
	if !h.Has("empty") || h.Has("none") || h.At(2).Name != "Empty" {
		t.Error("Has, At")
	}
	for name, value := range h.All() {
		if name != "Content-Type" || value != "a" {
			t.Error(name, value)
		}
		break
	}
}

func TestValid(t *testing.T) {
	for name, want := range map[string]bool{"X-A": true, "a!#$%&'*+-.^_`|~9": true, "": false, "a b": false, "a:": false, "é": false, "a\r": false} {
		if web.ValidFieldName(name) != want {
			t.Errorf("name %q", name)
		}
	}
	for value, want := range map[string]bool{"": true, "a\tb é": true, "a\nb": false, "a\x00": false, "\x7f": false} {
		if web.ValidFieldValue(value) != want {
			t.Errorf("value %q", value)
		}
	}
	for name, want := range map[string]bool{"date": true, "Connection": true, "server": true, "Keep-Alive": true, "CONTENT-LENGTH": true, "Transfer-Encoding": true,
		"Dat": false, "Connectiom": false, "Content-Type": false} {
		if web.ServerField(name) != want {
			t.Errorf("ServerField %q", name)
		}
	}
}

func TestHeaderReusesMemory(t *testing.T) {
	var h web.Header
	if n := testing.AllocsPerRun(100, func() {
		h.Reset()
		h.Set("A", "1")
		h.Set("B", "2")
		h.Set("a", "3")
		h.Del("B")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestHasToken(t *testing.T) {
	var h web.Header
	h.Add("Connection", "keep-alive, Upgrade")
	h.Add("connection", " x ;q=1")
	h.Add("Other", "close")
	for token, want := range map[string]bool{"upgrade": true, "KEEP-ALIVE": true, "X": true, "close": false, "up": false, "keep-alive, Upgrade": false, "": false} {
		if h.HasToken("CONNECTION", token) != want {
			t.Errorf("%q: %v", token, !want)
		}
	}
}

package http1

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tined/tined/child/web"
)

func TestStatusLine(t *testing.T) {
	for status, want := range map[int]string{
		200: "HTTP/1.1 200 OK\r\n", 404: "HTTP/1.1 404 Not Found\r\n", 299: "HTTP/1.1 299 \r\n", 599: "HTTP/1.1 599 \r\n",
		100: "HTTP/1.1 100 Continue\r\n", 99: "HTTP/1.1 500 Internal Server Error\r\n",
		600: "HTTP/1.1 500 Internal Server Error\r\n", -1: "HTTP/1.1 500 Internal Server Error\r\n",
		0: "HTTP/1.1 500 Internal Server Error\r\n",
	} {
		if got := string(AppendStatusLine(nil, status)); got != want {
			t.Errorf("%d: %q, want %q", status, got, want)
		}
	}
	// RFC 9110 renamed some of the phrases that net/http still has.
	renamed := map[int]bool{413: true, 414: true, 416: true, 422: true}
	for status := range 700 {
		if got, want := ReasonPhrase(status), http.StatusText(status); got != want && !renamed[status] {
			t.Errorf("%d: %q, net/http says %q", status, got, want)
		}
	}
}

func TestBodyAllowed(t *testing.T) {
	for status, want := range map[int]bool{100: false, 101: false, 103: false, 200: true, 204: false, 205: true, 304: false, 404: true, 500: true} {
		if BodyAllowed(status) != want {
			t.Errorf("%d: %v", status, !want)
		}
	}
}

func TestAppendField(t *testing.T) {
	for _, c := range []struct {
		name, value, want string
		ok                bool
	}{
		{"X", "y", "X: y\r\n", true},
		{"X", "", "X: \r\n", true},
		{"X", " \ty z\t ", "X: y z\r\n", true},
		{"X", "\xe4\t\x80", "X: \xe4\t\x80\r\n", true},
		{"X", "y\r\nSet-Cookie: z", "", false},
		{"X", "y\rz", "", false},
		{"X", "y\nz", "", false},
		{"X", "y\n", "", false},
		{"X", "a value that is long enough \x00", "", false},
		{"X", "y\x7f", "", false},
		{"", "y", "", false},
		{"X Y", "y", "", false},
		{"X:", "y", "", false},
		{"X\r\n", "y", "", false},
		{"\xe4", "y", "", false},
	} {
		got, ok := AppendField([]byte("before"), c.name, c.value)
		if string(got) != "before"+c.want || ok != c.ok {
			t.Errorf("%q, %q: %q, %v", c.name, c.value, got, ok)
		}
	}
	for value, want := range map[string]bool{"": true, "a b": true, " a": false, "a\t": false, "a\nb": false} {
		if ValidFieldValue(value) != want {
			t.Errorf("ValidFieldValue(%q) = %v", value, !want)
		}
	}
	if ValidMethod("") || ValidMethod("G T") || !ValidMethod("G-T") {
		t.Error("ValidMethod")
	}
}

// TestAppendChunks: what is encoded is decoded.
func TestAppendChunks(t *testing.T) {
	chunks := []string{"a", strings.Repeat("b", 15), strings.Repeat("c", 16), strings.Repeat("d", 70000)}
	wire := AppendChunkSize(nil, 0)
	for _, chunk := range chunks {
		wire = AppendChunkSize(wire, len(chunk))
		wire = append(wire, chunk...)
		wire = AppendEnd(wire)
	}
	wire = AppendLastChunk(wire, trailer("X", "y", "Content-Length", "5", "Bad Name", "y", "Z", "a\nb", "W", "w"))
	var c Chunked
	if got := decode(&c, wire, nil); !got.Done || got.N != len(wire) || got.Data != strings.Join(chunks, "") || got.Trailers != "[X|y][W|w]" {
		t.Errorf("done %v, %d of %d bytes, trailers %q, error %v", got.Done, got.N, len(wire), got.Trailers, got.Err)
	}
}

// trailer makes a trailer section of names and values.
func trailer(pairs ...string) *web.Header {
	h := new(web.Header)
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestAppendTrailerNames(t *testing.T) {
	for _, c := range []struct {
		trailer *web.Header
		want    string
	}{
		{trailer(), ""},
		{trailer("Digest", "x"), "Trailer: Digest\r\n"},
		{trailer("A", "1", "B", "2", "a", "3"), "Trailer: A, B\r\n"},
		{trailer("Content-Length", "1", "Set-Cookie", "a=b", "Trailer", "x", "no name", "x", "a\r\nB", "x"), ""},
		{trailer("Content-Length", "1", "C", "2"), "Trailer: C\r\n"},
	} {
		if got := string(AppendTrailerNames([]byte("x"), c.trailer)); got != "x"+c.want {
			t.Errorf("%v: %q, want %q", *c.trailer, got, c.want)
		}
	}
}

func TestAppendNumbers(t *testing.T) {
	if got := string(AppendContentLength(AppendInt(nil, -7), 1<<40)); got != "-7Content-Length: 1099511627776\r\n" {
		t.Error(got)
	}
}

func TestHasToken(t *testing.T) {
	for list, want := range map[string]bool{"close": true, "a, Close ,b": true, "closed": false, "": false, ",,": false, "x-close": false, "CLOSE": true} {
		if HasToken([]byte(list), "close") != want {
			t.Errorf("%q: %v", list, !want)
		}
	}
	if !EqualFold([]byte("ETag"), "etag") || EqualFold([]byte("ETags"), "etag") {
		t.Error("EqualFold")
	}
}

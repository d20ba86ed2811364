package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"mime/multipart"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseRanges(t *testing.T) {
	one := func(offset, length int64) []Range { return []Range{{offset, length}} }
	for _, test := range []struct {
		value  string
		size   int64
		ranges []Range
		ok     bool // satisfiable, or to be ignored
	}{
		{"bytes=0-0", 10, one(0, 1), true},
		{"bytes=0-9", 10, one(0, 10), true},
		{"bytes=3-", 10, one(3, 7), true},
		{"bytes=-3", 10, one(7, 3), true},
		{"bytes=-99", 10, one(0, 10), true},
		{"bytes=5-99", 10, one(5, 5), true},
		{"Bytes=5-6", 10, one(5, 2), true},
		{"bytes= ,\t5-6 ,,", 10, one(5, 2), true},
		{"bytes=10-", 10, nil, false},
		{"bytes=-0", 10, nil, false},
		{"bytes=10-,-0,99-100", 10, nil, false},
		{"bytes=0-0,10-", 10, one(0, 1), true},
		{"bytes=99999999999999999999999-", 10, nil, false},
		{"bytes=0-99999999999999999999999", 10, one(0, 10), true},
		{"bytes=-99999999999999999999999", 10, one(0, 10), true},
		{"bytes=1-9223372036854775807", math.MaxInt64, one(1, math.MaxInt64-1), true},
		{"bytes=0-0,9-9", 10, []Range{{0, 1}, {9, 1}}, true},
		{"bytes=9-9,0-0", 10, []Range{{9, 1}, {0, 1}}, true}, // in the order of the request: RFC 9110, 15.3.7.2
		{"bytes=0-4,3-6", 10, one(0, 7), true},
		{"bytes=3-6,0-4", 10, one(0, 7), true},
		{"bytes=0-1,2-3", 10, one(0, 4), true},
		{"bytes=3-6,9-9,0-4", 10, []Range{{0, 7}, {9, 1}}, true},
		{"bytes=8-9,0-1,4-5,1-4", 10, []Range{{8, 2}, {0, 6}}, true},
		{"bytes=0-,-1,0-,5-", 10, one(0, 10), true},
		{"bytes=-2,0-0", 10, []Range{{8, 2}, {0, 1}}, true},
		{"bytes=0-", 0, nil, false},
		{"bytes=-1", 0, nil, true},
		{"bytes=0-,-1", 0, nil, true},
		{"", 10, nil, true},
		{"bytes", 10, nil, true},
		{"bytes=", 10, nil, true},
		{"bytes=,", 10, nil, true},
		{"bytes=-", 10, nil, true},
		{"bytes=2-1", 10, nil, true},
		{"bytes=0-1,2-1", 10, nil, true},
		{"bytes=0-1,x", 10, nil, true},
		{"bytes=1", 10, nil, true},
		{"bytes=+1-2", 10, nil, true},
		{"bytes=1 -2", 10, nil, true},
		{"bytes=1- 2", 10, nil, true},
		{"bytes=1-2-3", 10, nil, true},
		{"bytes=--1", 10, nil, true},
		{"bytes =1-2", 10, nil, true},
		{"items=0-1", 10, nil, true},
		{"bytes=0-0" + strings.Repeat(",0-0", MaxRanges-1), 10, one(0, 1), true},
		{"bytes=0-0" + strings.Repeat(",0-0", MaxRanges), 10, nil, true},
	} {
		ranges, ok := parseRanges(test.value, test.size)
		if !slices.Equal(ranges, test.ranges) || ok != test.ok {
			t.Errorf("%.60q of %d: %v %v, want %v %v", test.value, test.size, ranges, ok, test.ranges, test.ok)
		}
	}
}

// pattern is content whose bytes tell their offset.
type pattern int64

func (size pattern) ReadAt(p []byte, offset int64) (n int, err error) {
	for n = range p {
		if offset+int64(n) >= int64(size) {
			return n, io.EOF
		}
		p[n] = byte((offset + int64(n)) % 251)
	}
	return len(p), nil
}

func (size pattern) slice(r Range) []byte {
	b, _ := io.ReadAll(io.NewSectionReader(size, r.Offset, r.Length))
	return b
}

// FuzzRanges: whatever a Range field says, the parts are within the content, apart from each other and few; and the multipart content is
// as long as announced, and package multipart reads exactly the parts from it.
func FuzzRanges(f *testing.F) {
	for _, value := range []string{"bytes=0-0,9-9", "bytes=-1,0-5", "bytes=9-,0-1,3-4", "bytes=1-2-3", "bytes=-0", "bytes=99-", "bytes=0-,0-,0-"} {
		f.Add(value, uint16(10))
	}
	f.Add("bytes=0-0"+strings.Repeat(",2-2", MaxRanges), uint16(0))
	f.Fuzz(func(t *testing.T, value string, length uint16) {
		size := int64(length)
		ranges, satisfiable := parseRanges(value, size)
		if !satisfiable && len(ranges) > 0 || len(ranges) > MaxRanges {
			t.Fatalf("%q: satisfiable %v, %d ranges", value, satisfiable, len(ranges))
		}
		sorted := slices.SortedFunc(slices.Values(ranges), func(a, b Range) int { return int(a.Offset - b.Offset) })
		end := int64(-1)
		for _, r := range sorted {
			if r.Offset <= end || r.Length < 1 || r.Offset+r.Length > size {
				t.Fatalf("%q of %d: %v", value, size, ranges)
			}
			end = r.Offset + r.Length
		}
		if len(ranges) < 2 {
			return
		}
		body, announced := newByteRanges(ranges, size, pattern(size), "text/plain", "boundary")
		encoded, err := io.ReadAll(iotest.OneByteReader(body))
		if err != nil || int64(len(encoded)) != announced {
			t.Fatalf("%q: %d bytes, %d announced, %v", value, len(encoded), announced, err)
		}
		reader := multipart.NewReader(bytes.NewReader(encoded), "boundary")
		for _, r := range ranges {
			part, err := reader.NextRawPart()
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(part)
			if err != nil || !bytes.Equal(content, pattern(size).slice(r)) || part.Header.Get("Content-Range") != r.ContentRange(size) ||
				part.Header.Get("Content-Type") != "text/plain" {
				t.Fatalf("%q, part %v: %d bytes, %v, %v", value, r, len(content), part.Header, err)
			}
		}
		if _, err := reader.NextRawPart(); err != io.EOF {
			t.Fatalf("behind the last part: %v", err)
		}
	})
}

// Content that has become shorter ends with an error: what follows must not move up.
func TestByteRangesOfShorterContent(t *testing.T) {
	body, announced := newByteRanges([]Range{{0, 5}, {8, 5}}, 20, pattern(10), "", "b")
	got, err := io.ReadAll(body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || int64(len(got)) >= announced || bytes.Contains(got, []byte("--b--")) {
		t.Errorf("%q, %v", got, err)
	}
	broken := errors.New("broken")
	body = &byteRanges{src: failing{broken}, left: 5}
	if _, err := io.ReadAll(body); !errors.Is(err, broken) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func TestContentRange(t *testing.T) {
	if got := fmt.Sprintln(Range{0, 1}.ContentRange(10), Range{5, math.MaxInt64 - 5}.ContentRange(math.MaxInt64)); got != "bytes 0-0/10 bytes 5-9223372036854775806/9223372036854775807\n" {
		t.Error(got)
	}
}

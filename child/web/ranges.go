package web

import (
	"cmp"
	"crypto/rand"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// MaxRanges is how many ranges a Range field may name; one with more is ignored. With the rule that ranges are coalesced when they
// overlap, it bounds a response: to the size of the content, and a few hundred bytes for each range.
const MaxRanges = 64

// A Range is a part of some content, in bytes. Length is at least 1.
type Range struct{ Offset, Length int64 }

// ContentRange returns the value of the Content-Range field for r in content of the given size (RFC 9110, 14.4).
func (r Range) ContentRange(size int64) string {
	b := make([]byte, 0, 64)
	b = append(b, "bytes "...)
	b = strconv.AppendInt(b, r.Offset, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, r.Offset+r.Length-1, 10)
	b = append(b, '/')
	b = strconv.AppendInt(b, size, 10)
	return string(b)
}

// unsatisfied is the Content-Range of a 416.
func unsatisfied(size int64) string { return "bytes */" + strconv.FormatInt(size, 10) }

// parseRanges reads the value of a Range field for content of size bytes (RFC 9110, 14.1.2). No range at all means that the field is to
// be ignored: it is malformed, of another unit, or of too many ranges. It is not satisfiable when every range begins behind the end.
func parseRanges(value string, size int64) (ranges []Range, satisfiable bool) {
	unit, set, ok := strings.Cut(value, "=")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return nil, true
	}
	specs := 0
	for spec := range strings.SplitSeq(set, ",") {
		if spec = trim(spec); spec == "" {
			continue // an empty list element (RFC 9110, 5.6.1.2)
		}
		if specs++; specs > MaxRanges {
			return nil, true
		}
		r, ok := parseRange(spec, size)
		if !ok {
			return nil, true
		}
		if r.Length > 0 {
			ranges = append(ranges, r)
		}
	}
	switch {
	case specs == 0:
		return nil, true
	case len(ranges) == 0:
		// Of nothing the last n bytes are satisfiable, but no Content-Range can say so.
		return nil, size == 0 && endsOnly(set)
	}
	return coalesce(ranges), true
}

// endsOnly reports whether a set of ranges has one that asks for the last bytes, more than 0.
func endsOnly(set string) bool {
	for spec := range strings.SplitSeq(set, ",") {
		if last, ok := strings.CutPrefix(trim(spec), "-"); ok {
			if n, ok := number(last); ok && n > 0 {
				return true
			}
		}
	}
	return false
}

// parseRange reads "first-last", "first-" or "-length". A range that has no byte of the content has a Length of 0.
func parseRange(spec string, size int64) (r Range, ok bool) {
	first, last, ok := strings.Cut(spec, "-")
	if !ok {
		return r, false
	}
	if first == "" {
		n, ok := number(last)
		n = min(n, size)
		return Range{size - n, n}, ok
	}
	from, ok := number(first)
	if !ok {
		return r, false
	}
	to := size - 1
	if last != "" {
		n, ok := number(last)
		if !ok || n < from {
			return r, false
		}
		to = min(to, n)
	}
	return Range{from, max(0, to-from+1)}, true
}

// number reads 1*DIGIT; what does not fit is the largest number.
func number(s string) (n int64, ok bool) {
	for i := range len(s) {
		digit := int64(s[i]) - '0'
		if digit < 0 || digit > 9 {
			return 0, false
		}
		if n > (math.MaxInt64-digit)/10 {
			n = math.MaxInt64 // and stays it
			continue
		}
		n = n*10 + digit
	}
	return n, s != ""
}

// coalesce makes one range of those that overlap or touch, and keeps the order in which they were asked for (RFC 9110, 15.3.7.2).
func coalesce(ranges []Range) []Range {
	if len(ranges) == 1 {
		return ranges
	}
	type asked struct {
		Range
		place int
	}
	sorted := make([]asked, len(ranges))
	for i, r := range ranges {
		sorted[i] = asked{r, i}
	}
	slices.SortFunc(sorted, func(a, b asked) int { return cmp.Compare(a.Offset, b.Offset) })
	merged := sorted[:1]
	for _, next := range sorted[1:] {
		last := &merged[len(merged)-1]
		if next.Offset > last.Offset+last.Length {
			merged = append(merged, next)
			continue
		}
		last.Length = max(last.Length, next.Offset+next.Length-last.Offset)
		last.place = min(last.place, next.place)
	}
	slices.SortFunc(merged, func(a, b asked) int { return cmp.Compare(a.place, b.place) })
	ranges = ranges[:0]
	for _, r := range merged {
		ranges = append(ranges, r.Range)
	}
	return ranges
}

// SendRanges answers 206 with the ranges of a Verdict, of content that has size bytes and is read from src as the client takes it: one as
// it is, several as multipart/byteranges whose parts get the Content-Type that the header has. If src is an io.Closer the server closes
// it. Reads are done on workers.
func (w *Response) SendRanges(ranges []Range, size int64, src io.ReaderAt) {
	w.SetStatus(206)
	body, length := w.partial(ranges, size, src)
	w.SendReader(body, length)
}

// partial writes the fields of a 206 that depend on its ranges, and returns the content.
func (w *Response) partial(ranges []Range, size int64, src io.ReaderAt) (body *byteRanges, length int64) {
	h := w.Header()
	if len(ranges) == 1 {
		h.Set("Content-Range", ranges[0].ContentRange(size))
		return &byteRanges{src: src, at: ranges[0].Offset, left: ranges[0].Length}, ranges[0].Length
	}
	boundary := rand.Text() // 130 bits: in no content but by intent, and nobody can foresee it
	body, length = newByteRanges(ranges, size, src, h.Get("Content-Type"), boundary)
	h.Del("Content-Range")
	h.Set("Content-Type", "multipart/byteranges; boundary="+boundary)
	return body, length
}

// byteRanges is the content of a 206: texts, and ranges of src between them (RFC 9110, 14.6).
type byteRanges struct {
	src   io.ReaderAt
	parts []part // those to come
	text  string // what comes next
	at    int64  // of src, what comes after text
	left  int64
}

// A part is the text that stands before a range, and the range. The last has no range.
type part struct {
	text string
	Range
}

func newByteRanges(ranges []Range, size int64, src io.ReaderAt, contentType, boundary string) (b *byteRanges, length int64) {
	b = &byteRanges{src: src, parts: make([]part, 0, len(ranges)+1)}
	delimiter := "--" + boundary
	for _, r := range ranges {
		text := delimiter + "\r\n"
		if contentType != "" {
			text += "Content-Type: " + contentType + "\r\n"
		}
		text += "Content-Range: " + r.ContentRange(size) + "\r\n\r\n"
		b.parts = append(b.parts, part{text, r})
		length += int64(len(text)) + r.Length
		delimiter = "\r\n--" + boundary
	}
	end := delimiter + "--\r\n"
	b.parts = append(b.parts, part{text: end})
	return b, length + int64(len(end))
}

// Read fills p, but for the end.
func (b *byteRanges) Read(p []byte) (n int, err error) {
	for n < len(p) {
		switch {
		case b.text != "":
			m := copy(p[n:], b.text)
			b.text = b.text[m:]
			n += m
		case b.left > 0:
			m, err := b.src.ReadAt(p[n:min(int64(len(p)), int64(n)+b.left)], b.at)
			n += m
			b.at += int64(m)
			b.left -= int64(m)
			if err == io.EOF && b.left > 0 {
				err = io.ErrUnexpectedEOF // shorter than it was: what follows would stand at the wrong place
			}
			if err != nil && err != io.EOF {
				return n, err
			}
		case len(b.parts) > 0:
			next := b.parts[0]
			b.parts = b.parts[1:]
			b.text, b.at, b.left = next.text, next.Offset, next.Length
		default:
			return n, io.EOF
		}
	}
	return n, nil
}

// Close closes what the ranges are of.
func (b *byteRanges) Close() error {
	if c, ok := b.src.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/http1/http1test"
)

const (
	maxRanges = 64  // documented: a field with more is ignored
	partHead  = 256 // bytes that a part of multipart/byteranges may cost beyond its content
)

// span is a range of bytes, the last one included.
type span struct{ first, last int64 }

// wantedRanges is what a Range field asks of n bytes (RFC 9110, 14.1.1, 14.1.2), in the order of the request, what overlaps or touches
// being one. valid is false for a field that has to be ignored.
func wantedRanges(field string, n int64) (spans []span, valid bool) {
	unit, set, ok := strings.Cut(field, "=")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return nil, false
	}
	specs := 0
	for element := range strings.SplitSeq(set, ",") {
		element = strings.Trim(element, " \t") // 5.6.1.2, empty elements too
		if element == "" {
			continue
		}
		if specs++; specs > maxRanges {
			return nil, false
		}
		first, last, ok := strings.Cut(element, "-")
		if !ok || first != "" && !digits(first) || last != "" && !digits(last) || first+last == "" {
			return nil, false
		}
		switch {
		case first == "":
			if length := number(last); length > 0 && n > 0 {
				spans = append(spans, span{max(0, n-length), n - 1})
			}
		case last != "" && bigger(first, last):
			return nil, false
		case number(first) < n:
			s := span{number(first), n - 1}
			if last != "" {
				s.last = min(s.last, number(last))
			}
			spans = append(spans, s)
		}
	}
	return merged(spans), specs > 0
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func bigger(a, b string) bool {
	x, _ := new(big.Int).SetString(a, 10)
	y, _ := new(big.Int).SetString(b, 10)
	return x.Cmp(y) > 0
}

// number is a decimal number, or 1<<62 if it is greater.
func number(s string) int64 {
	const most = 1 << 62
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return min(n, most)
	}
	return most
}

// merged unites what overlaps or touches. What is united stands where the first of it stood.
func merged(spans []span) []span {
	type placed struct {
		span
		place int
	}
	var list []placed
	for i, s := range spans {
		list = append(list, placed{s, i})
	}
	slices.SortStableFunc(list, func(a, b placed) int { return cmp.Compare(a.first, b.first) })
	var united []placed
	for _, s := range list {
		if k := len(united) - 1; k >= 0 && s.first <= united[k].last+1 {
			united[k].last = max(united[k].last, s.last)
			united[k].place = min(united[k].place, s.place)
		} else {
			united = append(united, s)
		}
	}
	slices.SortFunc(united, func(a, b placed) int { return cmp.Compare(a.place, b.place) })
	var out []span
	for _, s := range united {
		out = append(out, s.span)
	}
	return out
}

// representation is a file as the server tells it.
type representation struct {
	target, kind string
	content      []byte
	tag          string // strong
	modified     time.Time
}

func (r *representation) lastModified() string { return r.modified.UTC().Format(http.TimeFormat) }

func (r *representation) validators(res *http1test.Response) error {
	if res.Get("ETag") != r.tag || res.Get("Last-Modified") != r.lastModified() {
		return fmt.Errorf("%d with ETag %s, Last-Modified %q, not %s, %q", res.Status, res.Get("ETag"), res.Get("Last-Modified"), r.tag,
			r.lastModified())
	}
	return nil
}

// whole is the answer to who asks for no range.
func (r *representation) whole(method string) func(*http1test.Response) error {
	return func(res *http1test.Response) error {
		if res.Status != 200 {
			return fmt.Errorf("%d, not 200", res.Status)
		}
		if err := r.validators(res); err != nil {
			return err
		}
		if res.Get("Accept-Ranges") != "bytes" || res.Fields.Has("Content-Range") || res.Get("Content-Type") != r.kind {
			return fmt.Errorf("fields %q", res.Fields)
		}
		if res.Get("Content-Length") != strconv.Itoa(len(r.content)) {
			return fmt.Errorf("Content-Length %q", res.Get("Content-Length"))
		}
		if method == "HEAD" {
			return nil
		}
		if text := differ(res.Body, r.content); text != "" {
			return errors.New(text)
		}
		return nil
	}
}

// parts is the answer to a valid Range field that the server goes by.
func (r *representation) parts(spans []span) func(*http1test.Response) error {
	return func(res *http1test.Response) error {
		if limit := len(r.content) + (maxRanges+1)*partHead; len(res.Body) > limit && len(spans) > 0 {
			return fmt.Errorf("%d bytes for a file of %d", len(res.Body), len(r.content))
		}
		if len(spans) == 0 {
			if res.Status != 416 || res.Get("Content-Range") != fmt.Sprintf("bytes */%d", len(r.content)) {
				return fmt.Errorf("%d, Content-Range %q, not 416", res.Status, res.Get("Content-Range"))
			}
			if len(res.Body) > 4096 || res.Fields.Has("ETag") {
				return fmt.Errorf("416 with %d bytes, ETag %q", len(res.Body), res.Get("ETag"))
			}
			return nil
		}
		if res.Status != 206 {
			return fmt.Errorf("%d, not 206", res.Status)
		}
		if err := r.validators(res); err != nil {
			return err
		}
		if len(spans) == 1 {
			return r.part(res.Fields, res.Body, spans[0])
		}
		got, err := byteranges(res)
		if err != nil {
			return err
		}
		if len(got) != len(spans) {
			return fmt.Errorf("%d parts, not %d", len(got), len(spans))
		}
		for i, p := range got {
			if err := r.part(p.fields, p.body, spans[i]); err != nil {
				return fmt.Errorf("part %d: %w", i+1, err)
			}
		}
		return nil
	}
}

func (r *representation) part(fields http1test.Fields, body []byte, s span) error {
	want := fmt.Sprintf("bytes %d-%d/%d", s.first, s.last, len(r.content))
	if got := fields.All("Content-Range"); len(got) != 1 || got[0] != want {
		return fmt.Errorf("Content-Range %q, not %q", got, want)
	}
	if fields.Get("Content-Type") != r.kind {
		return fmt.Errorf("Content-Type %q", fields.Get("Content-Type"))
	}
	if text := differ(body, r.content[s.first:s.last+1]); text != "" {
		return errors.New(text)
	}
	return nil
}

type bodyPart struct {
	fields http1test.Fields
	body   []byte
}

// byteranges takes a multipart/byteranges answer apart (RFC 9110, 14.6; RFC 2046, 5.1.1), by the delimiters and not by the lengths.
func byteranges(res *http1test.Response) (parts []bodyPart, err error) {
	boundary, ok := strings.CutPrefix(res.Get("Content-Type"), "multipart/byteranges; boundary=")
	if !ok || res.Fields.Has("Content-Range") { // 15.3.7.2
		return nil, fmt.Errorf("Content-Type %q, Content-Range %q", res.Get("Content-Type"), res.Get("Content-Range"))
	}
	boundary = strings.Trim(boundary, `"`)
	if boundary == "" || len(boundary) > 70 || strings.Trim(boundary,
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'+_-.") != "" {
		return nil, fmt.Errorf("boundary %q", boundary)
	}
	rest := append([]byte("\r\n"), bytes.TrimPrefix(res.Body, []byte("\r\n"))...)
	delimiter := []byte("\r\n--" + boundary)
	pieces := bytes.Split(rest, delimiter)
	if len(pieces) < 2 || len(pieces[0]) > 0 {
		return nil, fmt.Errorf("it begins with %.40q", res.Body)
	}
	last := pieces[len(pieces)-1]
	if !bytes.Equal(last, []byte("--")) && !bytes.Equal(last, []byte("--\r\n")) {
		return nil, fmt.Errorf("it ends with %.80q", last)
	}
	for _, piece := range pieces[1 : len(pieces)-1] {
		head, body, ok := bytes.Cut(piece, []byte("\r\n\r\n"))
		lines, blank := strings.CutPrefix(string(head), "\r\n")
		if !ok || !blank {
			return nil, fmt.Errorf("a part is %.80q", piece)
		}
		if len(head) > partHead-len(delimiter)-4 {
			return nil, fmt.Errorf("a part's head has %d bytes", len(head))
		}
		p := bodyPart{body: body}
		for line := range strings.SplitSeq(lines, "\r\n") {
			name, value, ok := strings.Cut(line, ": ")
			if !ok || strings.ContainsAny(line, "\r\n") {
				return nil, fmt.Errorf("a part's field is %q", line)
			}
			p.fields = append(p.fields, http1test.Field{Name: name, Value: value})
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// ranged is what a question with a Range field has to be answered with, if everything else lets it.
func (r *representation) ranged(method, field string) func(*http1test.Response) error {
	spans, valid := wantedRanges(field, int64(len(r.content)))
	switch {
	case method == "GET" && !valid && beyondNumbers(field):
		return either(r.whole(method), r.parts(nil)) // 14.2: what is invalid may be ignored or rejected
	case method != "GET" || !valid: // 14.2: for GET only
		return r.whole(method)
	case len(r.content) == 0:
		// A suffix of nothing is satisfiable, and no Content-Range can say so.
		return either(r.whole(method), r.parts(nil))
	}
	return r.parts(spans)
}

// beyondNumbers: what is wrong with it shows only to who can count beyond 2^63.
func beyondNumbers(field string) bool {
	first, last, ok := strings.Cut(strings.TrimPrefix(field, "bytes="), "-")
	return ok && digits(first) && digits(last) && number(first) == number(last)
}

// either is for what the RFC leaves open.
func either(judges ...func(*http1test.Response) error) func(*http1test.Response) error {
	return func(res *http1test.Response) error {
		var all []error
		for _, judge := range judges {
			err := judge(res)
			if err == nil {
				return nil
			}
			all = append(all, err)
		}
		return errors.Join(all...)
	}
}

func is(status int) func(*http1test.Response) error {
	return func(res *http1test.Response) error {
		if res.Status != status {
			return fmt.Errorf("%d, not %d", res.Status, status)
		}
		return nil
	}
}

// rangeFields are written by hand, for n bytes.
func rangeFields(n int) []string {
	fields := []string{
		// one range
		"bytes=0-0", "bytes=0-", "bytes=1-", "bytes=2-5", "bytes=-1", "bytes=-3", "bytes=-0", "bytes=-00", "bytes=00-000",
		"bytes=0000000000000000000000-1",
		"BYTES=0-0", "Bytes=-1", "bytes=0-99999999999999999999999999", "bytes=99999999999999999999999999-",
		"bytes=-99999999999999999999999999",
		"bytes=0-9223372036854775807", "bytes=0-9223372036854775808", "bytes=9223372036854775807-", "bytes=9223372036854775808-",
		"bytes=-9223372036854775807", "bytes=-9223372036854775808", "bytes=18446744073709551616-", "bytes=0-18446744073709551615",
		"bytes=-18446744073709551617",
		"bytes=9223372036854775806-9223372036854775807",
		// several
		"bytes=0-0,2-2", "bytes=2-2,0-0", "bytes=0-0,-1", "bytes=-1,0-0", "bytes=0-1,1-2", "bytes=0-1,2-3", "bytes=2-3,0-1",
		"bytes=0-3,1-2", "bytes=1-2,0-3",
		"bytes=0-0,0-0", "bytes=0-,0-", "bytes=0-,-1", "bytes=-1,-2,-3", "bytes=5-6,0-1,3-3", "bytes=5-5,7-7,6-6,0-0",
		"bytes=0-0,4-4,2-2,1-1,9-9",
		"bytes=0-0,99999999-", "bytes=99999999-,0-0", "bytes=99999999-,-0", "bytes=0-0,-0", "bytes=-0,-0",
		"bytes=99999999-,0-0,88888888-99999999,3-3",
		"bytes=1-1,3-3,5-5,7-7,9-9,8-8", "bytes=0-0,2-2,4-4,6-6,8-8,1-1,3-3,5-5,7-7,9-9",
		// lists as recipients take them
		"bytes=0-0 , 2-2", "bytes=0-0\t,\t2-2", "bytes=,0-0", "bytes=0-0,", "bytes=,,0-0,,2-2,,", "bytes=, ,\t,0-0", "bytes=0-0 ,, 2-2 ,",
		// malformed
		"", "bytes", "bytes=", "bytes=,", "bytes=,,", "bytes= , ,", "bytes=-", "bytes=--1", "bytes=-1-", "bytes=--", "bytes=1",
		"bytes=0-1-2", "bytes=0--1",
		"bytes=a-b", "bytes=0-b", "bytes=a-", "bytes=-a", "bytes=0x0-0x1", "bytes=+0-1", "bytes=0-+1", "bytes=-+1", "bytes=- 1",
		"bytes=0 -1", "bytes=0- 1", "bytes=1.0-2",
		"bytes=1e0-2", "bytes=1-0", "bytes=5-2", "bytes=99999999999999999999-1", "bytes=9223372036854775808-9223372036854775807",
		"bytes=0-0;2-2", "bytes=0-0 2-2",
		"bytes=0-1,a", "bytes=0-1,5-2", "bytes=5-2,0-1", "bytes=0-1,-", "bytes=0-1,2", "bytes 0-1", "bytes:0-1", "bytes==0-1", "bytes =0-1",
		"byte=0-1", "bytess=0-1",
		"octets=0-1", "none=0-1", "lines=1-2", "seconds=0-1", "=0-1", "0-1", "-1", "*", "bytes=*", "bytes=0-*", "bytes=0-1/10",
		"\"bytes\"=0-1", "bytes=\"0-1\"", "bytes=0\xe2\x80\x931",
		"bytes=\xef\xbc\x90-1", "bytes=0-1bytes=2-3", "bytes=0-1, bytes=2-3", "bytes=0-1,bytes=2-3", "items=0-1,bytes=0-1",
		"bytes=" + strings.Repeat(",", 2000) + "-", "bytes=" + strings.Repeat("9", 4000) + "-1",
	}
	for _, at := range []int{0, 1, 2, n / 2, n - 2, n - 1, n, n + 1, 2 * n, 16382, 16383, 16384, 16385, 65535, 65536} {
		if at < 0 {
			continue
		}
		fields = append(fields, fmt.Sprintf("bytes=%d-%d", at, at), fmt.Sprintf("bytes=%d-%d", at, at+1), fmt.Sprintf("bytes=0-0,%d-",
			max(at, n-9)),
			fmt.Sprintf("bytes=%d-%d", at, at+70), fmt.Sprintf("bytes=%d-,0-0", max(at, n-9)), fmt.Sprintf("bytes=-%d", min(at, 100)),
			fmt.Sprintf("bytes=%d-%d,%d-%d", at, at+3, at+4, at+5),
			fmt.Sprintf("bytes=%d-%d,%d-%d", at, at+3, at+5, at+6))
	}
	// Many, up to the bound and beyond: apart, all the same, all overlapping, with what is unsatisfiable among them.
	for _, k := range []int{2, 3, 32, maxRanges - 1, maxRanges, maxRanges + 1, 200, 1500} {
		var apart, back, mixed []string
		for i := range k {
			apart = append(apart, fmt.Sprintf("%d-%d", 2*i, 2*i))
			back = append(back, fmt.Sprintf("%d-%d", 3*(k-i), 3*(k-i)+1))
			mixed = append(mixed, fmt.Sprintf("%d-%d", i*7919, i*7919+5))
		}
		fields = append(fields, "bytes="+strings.Join(apart, ","), "bytes="+strings.Join(back, ", "), "bytes="+strings.Join(mixed, ","),
			"bytes="+strings.Repeat("0-,", k-1)+"0-", "bytes="+strings.Repeat("0-0,", k-1)+"-1", "bytes="+strings.Repeat("999999999-,",
				k-1)+"0-0")
	}
	return slices.DeleteFunc(fields, func(s string) bool { return len(s) > 15<<10 })
}

// randomField is a set of ranges around the places where something may go wrong.
func randomField(random *rand.Rand, n int) string {
	longest := n
	if n > 1<<20 {
		longest = 5000 // or the corpus is mostly bytes
	}
	edges := []int{0, 1, n / 3, n / 2, n - 1, n, n + 1, 16383, 16384, 16385, 65535, 65536}
	place := func() int { return max(0, edges[random.IntN(len(edges))]+random.IntN(9)-4) }
	count := 1 + random.IntN(8)
	if random.IntN(12) == 0 {
		count = maxRanges - 3 + random.IntN(6)
	}
	var set strings.Builder
	for i := range count {
		if i > 0 {
			set.WriteString([]string{",", ",", ", ", " ,\t", ",,"}[random.IntN(5)])
		}
		switch random.IntN(20) {
		case 0, 1, 2:
			fmt.Fprintf(&set, "-%d", random.IntN(min(longest, 300)+2))
		case 3, 4:
			fmt.Fprintf(&set, "%d-", max(place(), n-longest))
		case 5:
			if count < 4 && random.IntN(3) == 0 {
				set.WriteString([]string{"-", "x", "7-6", "1-2-3", "0 -1"}[random.IntN(5)])
				continue
			}
			fallthrough
		default:
			first := place()
			fmt.Fprintf(&set, "%d-%d", first, first+random.IntN([]int{1, 3, 40, min(longest, 3000) + 1}[random.IntN(4)]))
		}
	}
	return "bytes=" + set.String()
}

var longAgo = time.Date(2020, 2, 29, 12, 34, 56, 789, time.UTC)

// rangeFiles makes files of all sizes; their tags are not known yet.
func rangeFiles(t *testing.T, dir string) (files []*representation) {
	for _, n := range []int{0, 1, 10, 16383, 16384, 16385, 64 << 10, 5 << 20} {
		r := &representation{target: fmt.Sprintf("/%d.txt", n), content: noise(n), modified: longAgo.Truncate(time.Second)}
		writeFile(t, filepath.Join(dir, r.target), r.content)
		settle(t, filepath.Join(dir, r.target), longAgo)
		files = append(files, r)
	}
	return files
}

// learn asks for the tags of files, once these are what they will be: files that were just made have others, whatever their time says. A large
// file that is made now has a weak tag, and when that is over the others, which are older, are asked for: for the first time.
func (o *origin) learn(host, www string, files ...*representation) {
	o.t.Helper()
	writeFile(o.t, filepath.Join(www, "clock"), noise(5<<20))
	until(o.t, "files have settled", func() bool {
		return strings.HasPrefix(o.once("HEAD", request("HEAD", host, "/clock")).Get("ETag"), `"`)
	})
	for _, r := range files {
		res := o.once("HEAD", request("HEAD", host, r.target))
		modified, err := http.ParseTime(res.Get("Last-Modified"))
		if err != nil || res.Status != 200 || !modified.Equal(r.modified) {
			o.t.Fatalf("HEAD %s: %d, Last-Modified %q, not %v: %v", r.target, res.Status, res.Get("Last-Modified"), r.modified, err)
		}
		if r.tag, r.kind = res.Get("ETag"), res.Get("Content-Type"); !strings.HasPrefix(r.tag, `"`) {
			o.t.Fatalf("%s has no strong tag: %s", r.target, r.tag)
		}
	}
}

// Ranges are what RFC 9110, 14, says.
func TestStaticRanges(t *testing.T) {
	t.Parallel()
	dir := newPlace(t)
	www := filepath.Join(dir, "www")
	makeDir(t, www)
	files := rangeFiles(t, www)
	o := startOrigin(t, dir, `
site "main" {
  route "/" {
    static { root = "www" }
  }
}
`)
	o.learn("main", www, files...)
	for _, part := range []struct {
		name string
		test func(*origin, []*representation)
	}{
		{"sets", (*origin).rangeSets}, {"conditions", (*origin).rangesOnConditions}, {"old clients", (*origin).rangesOfOldClients},
		{"boundaries", (*origin).boundaries},
	} {
		t.Run(part.name, func(t *testing.T) {
			now := *o
			now.t = t
			part.test(&now, files)
		})
	}
}

// rangeSets: every set of ranges gets what it asks for, byte for byte.
func (o *origin) rangeSets(files []*representation) {
	var questions []question
	add := func(r *representation, method, field string) {
		questions = append(questions, question{method, request(method, "main", r.target, "Range: "+field), r.ranged(method, field)})
	}
	random := rand.New(rand.NewPCG(9110, 14))
	for _, r := range files {
		huge := len(r.content) > 1<<20
		wholes := 0
		for i, field := range rangeFields(len(r.content)) {
			if spans, valid := wantedRanges(field, int64(len(r.content))); huge && (!valid || len(spans) > 0 &&
				spans[0].last-spans[0].first > 1<<20) {
				// Some of them suffice.
				if wholes++; wholes > 12 {
					continue
				}
			}
			add(r, "GET", field)
			if i%5 == 0 {
				add(r, "HEAD", field)
			}
		}
		for range 250 {
			if field := randomField(random, len(r.content)); !huge || !ignored(field, len(r.content)) {
				add(r, "GET", field)
			}
		}
		// Two fields are no list, since Range is none (5.3). Other methods have no ranges, and neither have other fields their names.
		if !huge {
			questions = append(questions,
				question{"GET", request("GET", "main", r.target, "Range: bytes=0-1", "Range: bytes=3-4"), either(r.whole("GET"), is(400))},
				question{"GET", request("GET", "main", r.target, "Range: bytes=0-1", "Range: bytes=0-1"), either(r.whole("GET"), is(400))},
				question{"GET", request("GET", "main", r.target, "X-Range: bytes=0-1"), r.whole("GET")},
				question{"GET", request("GET", "main", r.target, "Range:bytes=0-0"), r.ranged("GET", "bytes=0-0")},
				question{"GET", request("GET", "main", r.target, "range: \t bytes=0-0 \t"), r.ranged("GET", "bytes=0-0")},
				// A blank behind "=" is not in the grammar, and everybody takes it.
				question{"GET", request("GET", "main", r.target, "Range: bytes= 0-0"), either(r.whole("GET"), r.ranged("GET",
					"bytes=0-0"))},
				question{"GET", request("GET", "main", r.target+"?a=b", "Range: bytes=0-0"), r.ranged("GET", "bytes=0-0")},
			)
		}
	}
	random.Shuffle(len(questions), func(i, j int) { questions[i], questions[j] = questions[j], questions[i] })
	o.t.Logf("%d questions", len(questions))
	o.ask(questions)
}

func ignored(field string, n int) bool {
	_, valid := wantedRanges(field, int64(n))
	return !valid
}

// rangesOnConditions: If-Range, and the conditions that come before it (RFC 9110, 13.1.5, 13.2.2), decide what becomes of a Range.
func (o *origin) rangesOnConditions(files []*representation) {
	var questions []question
	for _, r := range []*representation{files[0], files[2], files[5], files[6]} {
		const asRange, asWhole = -1, -2
		date := func(after time.Duration) string { return r.modified.Add(after).UTC().Format(http.TimeFormat) }
		cases := []struct {
			status int
			lines  []string
		}{
			{asRange, nil},
			{asRange, []string{"If-Range: " + r.tag}},
			{asWhole, []string{"If-Range: W/" + r.tag}},
			{asWhole, []string{`If-Range: "other"`}},
			{asWhole, []string{`If-Range: ` + strings.Trim(r.tag, `"`)}},
			{asWhole, []string{`If-Range: ` + r.tag + `, "other"`}},
			{asWhole, []string{`If-Range: "other", ` + r.tag}},
			{asWhole, []string{`If-Range: ` + strings.TrimSuffix(r.tag, `"`)}},
			{asWhole, []string{`If-Range: *`}},
			{asWhole, []string{`If-Range: ""`}},
			{asWhole, []string{`If-Range: nonsense`}},
			{asWhole, []string{"If-Range: " + strings.ToUpper(strings.ToLower(r.tag)) + "x"}},
			{asRange, []string{"If-Range: " + r.lastModified()}},
			{asWhole, []string{"If-Range: " + date(time.Second)}},
			{asWhole, []string{"If-Range: " + date(-time.Second)}},
			{asWhole, []string{"If-Range: " + date(24*365*time.Hour)}},
			{asWhole, []string{"If-Range: " + r.tag, `If-Range: "other"`}},
			{asRange, []string{"If-None-Match: \"other\""}},
			{304, []string{"If-None-Match: " + r.tag}},
			{304, []string{"If-None-Match: W/" + r.tag}},
			{304, []string{"If-None-Match: *"}},
			{304, []string{"If-None-Match: " + r.tag, "If-Range: \"other\""}},
			{asRange, []string{"If-Match: " + r.tag}},
			{asRange, []string{"If-Match: *"}},
			{412, []string{`If-Match: "other"`}},
			{412, []string{"If-Match: W/" + r.tag}},
			{412, []string{`If-Match: "other"`, "If-Range: " + r.tag}},
			{304, []string{"If-Modified-Since: " + r.lastModified()}},
			{304, []string{"If-Modified-Since: " + r.lastModified(), "If-Range: " + r.tag}},
			{asRange, []string{"If-Modified-Since: " + date(-time.Second)}},
			{asRange, []string{"If-Unmodified-Since: " + r.lastModified()}},
			{412, []string{"If-Unmodified-Since: " + date(-time.Second)}},
			{asWhole, []string{"If-Match: " + r.tag, `If-Range: "other"`}},
			{asRange, []string{`If-None-Match: "other"`, "If-Range: " + r.tag}},
			{asWhole, []string{"If-Unmodified-Since: " + r.lastModified(), "If-Range: W/" + r.tag}},
			{304, []string{"If-Match: " + r.tag, "If-None-Match: " + r.tag, "If-Range: " + r.tag}},
			{412, []string{`If-Match: "other"`, "If-None-Match: " + r.tag, "If-Range: " + r.tag}},
		}
		for _, field := range []string{"bytes=0-0", "bytes=2-5", "bytes=-3", "bytes=1-", "bytes=0-0,3-4", "bytes=99999999-", "bytes=-0",
			"bytes=5-2", "lines=1-2", "bytes=0-,0-"} {
			for _, c := range cases {
				for _, method := range []string{"GET", "HEAD"} {
					var judge func(*http1test.Response) error
					switch c.status {
					case asRange:
						judge = r.ranged(method, field)
					case asWhole:
						judge = r.whole(method)
					default:
						judge = is(c.status)
					}
					questions = append(questions, question{method, request(method, "main", r.target, append([]string{"Range: " + field},
						c.lines...)...), judge})
				}
			}
		}
		// Without a Range If-Range means nothing.
		for _, value := range []string{r.tag, `"other"`, "nonsense", r.lastModified()} {
			questions = append(questions, question{"GET", request("GET", "main", r.target, "If-Range: "+value), r.whole("GET")})
		}
	}
	o.t.Logf("%d questions", len(questions))
	o.ask(questions)
}

// rangesOfOldClients: HTTP/1.0 gets a range or everything.
func (o *origin) rangesOfOldClients(files []*representation) {
	for _, r := range files[:7] {
		for _, field := range []string{"bytes=0-0", "bytes=2-5", "bytes=-3", "bytes=0-0,3-4", "bytes=99999999-", "bytes=x"} {
			for _, more := range []string{"", "Connection: keep-alive\r\n", "Host: main\r\n"} {
				wire := "GET " + r.target + " HTTP/1.0\r\n" + more + "Range: " + field + "\r\n\r\n"
				res := o.once("GET", wire)
				if err := either(r.ranged("GET", field), r.whole("GET"))(res); err != nil || res.Framing == http1test.Chunked {
					o.t.Errorf("%q: %v, %s", wire, err, res.Framing)
				}
			}
		}
	}
}

// boundaries: what is in a file cannot end a part of it. A boundary that was told before is not the next one's.
func (o *origin) boundaries(files []*representation) {
	dir := filepath.Join(o.log.cmd.Dir, "www")
	for i := range 20 {
		first := o.get(206, "main", files[2].target, "Range: bytes=0-1,4-5")
		_, boundary, _ := strings.Cut(first.Get("Content-Type"), "boundary=")
		r := &representation{target: fmt.Sprintf("/trap%d.txt", i)}
		r.content = []byte(strings.Repeat("\r\n--"+boundary+"\r\nContent-Range: bytes 0-1/2\r\n\r\nab\r\n--"+boundary+"--\r\n", 40))
		writeFile(o.t, filepath.Join(dir, r.target), r.content)
		res := o.get(206, "main", r.target, "Range: bytes=0-699,800-1999")
		r.tag, r.kind = res.Get("ETag"), "text/plain; charset=utf-8"
		r.modified, _ = http.ParseTime(res.Get("Last-Modified"))
		if err := r.parts([]span{{0, 699}, {800, 1999}})(res); err != nil {
			o.t.Fatalf("with the boundary %q told before: %v", boundary, err)
		}
	}
}

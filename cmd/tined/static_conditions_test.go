package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
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

// precondition is one way to send a field, with what it is worth by the definition of the field: there is no second parser that could be wrong.
type precondition struct {
	lines      []string
	there      bool // for a date: there and valid
	strong     bool // a tag of it matches in the strong comparison, if the file's is strong
	weak       bool // in the weak comparison
	any        bool // *
	badlyMade  bool // no tags: 400 is an answer too
	afterwards int  // a date against Last-Modified: -1, 0, 1
}

// tagConditions are If-Match and If-None-Match for a file with the opaque tag "x". The first seven are for the full product.
func tagConditions(name, opaque string) []precondition {
	line := func(value string) []string { return []string{name + ": " + value} }
	w := "W/" + opaque
	return []precondition{
		{},
		{lines: line("*"), there: true, any: true},
		{lines: line(opaque), there: true, strong: true, weak: true},
		{lines: line(w), there: true, weak: true},
		{lines: line(`"other"`), there: true},
		{lines: line(`"a", W/"b" ,` + opaque), there: true, strong: true, weak: true},
		{lines: line(strings.Trim(opaque, `"`)), there: true, badlyMade: true},

		{lines: line(`"a,` + strings.Trim(opaque, `"`) + `,b", "` + "\xe4\xf6" + `"`), there: true},
		{lines: line(`W/"other"`), there: true},
		{lines: line(w + `,"other"`), there: true, weak: true},
		{lines: line(`,, ` + opaque + ` ,`), there: true, strong: true, weak: true},
		{lines: line(opaque + "," + opaque + "," + w), there: true, strong: true, weak: true},
		{lines: line(`"other",` + strings.Repeat(`"`+strings.Repeat("y", 40)+`",`, 200) + opaque), there: true, strong: true, weak: true},
		{lines: []string{name + `: "other"`, name + `: ` + opaque}, there: true, strong: true, weak: true},
		{lines: []string{name + `: ` + w, name + `: "other"`}, there: true, weak: true},
		{lines: []string{name + `: "a"`, name + `: "b"`}, there: true},
		{lines: line(`"` + strings.ToUpper(strings.Trim(opaque, `"`)) + `X"`), there: true},
		{lines: line(`""`), there: true},
		{lines: line(`"*"`), there: true},
		{lines: line(strings.TrimSuffix(opaque, `"`)), there: true, badlyMade: true},
		{lines: line(`'` + strings.Trim(opaque, `"`) + `'`), there: true, badlyMade: true},
		{lines: line("nonsense"), there: true, badlyMade: true},
		{lines: line(""), there: true, badlyMade: true},
		{lines: line(","), there: true, badlyMade: true},
	}
}

// dateConditions are If-Modified-Since and If-Unmodified-Since for a file with this time. The first six are for the full product.
func dateConditions(name string, modified time.Time) []precondition {
	line := func(value string) []string { return []string{name + ": " + value} }
	m := modified.UTC()
	// RFC 9110, 5.6.7
	imf, old, asc := m.Format(http.TimeFormat), m.Format("Monday, 02-Jan-06 15:04:05 GMT"), m.Format(time.ANSIC)
	before, after := m.Add(-time.Second), m.Add(time.Second)
	return []precondition{
		{},
		{lines: line(before.Format(http.TimeFormat)), there: true, afterwards: -1},
		{lines: line(imf), there: true},
		{lines: line(after.Format(http.TimeFormat)), there: true, afterwards: 1},
		{lines: line("yesterday")},
		{lines: []string{name + ": " + imf, name + ": " + before.Format(http.TimeFormat)}}, // 13.1.3: more than one member

		{lines: line(old), there: true},
		{lines: line(asc), there: true},
		{lines: line(before.Format("Monday, 02-Jan-06 15:04:05 GMT")), there: true, afterwards: -1},
		{lines: line(after.Format("Monday, 02-Jan-06 15:04:05 GMT")), there: true, afterwards: 1},
		{lines: line(before.Format(time.ANSIC)), there: true, afterwards: -1},
		{lines: line(after.Format(time.ANSIC)), there: true, afterwards: 1},
		{lines: line("Mon, 01 Jan 1900 00:00:00 GMT"), there: true, afterwards: -1},
		{lines: line("Thu, 01 Jan 1970 00:00:00 GMT"), there: true, afterwards: -1},
		{lines: line("Fri, 31 Dec 9999 23:59:59 GMT"), there: true, afterwards: 1},
		{lines: line("Wednesday, 02-Jan-85 03:04:05 GMT"), there: true, afterwards: -1}, // 5.6.7: no year in the far future
		{lines: line(imf + "x")},
		{lines: line(strings.TrimSuffix(imf, " GMT"))},
		{lines: line(strings.Replace(imf, "GMT", "UTC", 1))},
		{lines: line(strings.Replace(imf, "GMT", "+0000", 1))},
		{lines: line(strings.Replace(imf, "GMT", "EST", 1))},
		{lines: line(imf + ", " + imf)},
		{lines: line(imf + "; length=10")}, // of old browsers
		{lines: line(strconv.FormatInt(m.Unix(), 10))},
		{lines: line(m.Format(time.RFC3339))},
		{lines: line("Sat, 30 Feb 2030 12:00:00 GMT")},
		{lines: line("Sat, 29 Feb 2031 12:00:00 GMT")},
		{lines: line("Fri, 29 Mar 2030 24:00:00 GMT")},
		{lines: line("Fri, 29 Mar 2030 12:60:00 GMT")},
		{lines: line("")},
		{lines: []string{name + ": " + imf, name + ": " + imf}},
		{lines: []string{name + ": " + before.Format(http.TimeFormat), name + ": yesterday"}},
	}
}

// rangeConditions are ways to ask for a Range. strong: if the file's tag is strong, the range is to be sent; any: whatever its tag is;
// afterwards 1: it rests on the date.
func rangeConditions(r *representation, opaque string) []precondition {
	ask := "Range: bytes=2-5"
	return []precondition{
		{},
		{lines: []string{ask}, there: true, strong: true, any: true},
		{lines: []string{ask, "If-Range: " + opaque}, there: true, strong: true},
		{lines: []string{"If-Range: W/" + opaque, ask}, there: true},
		{lines: []string{"If-Range: " + r.lastModified(), ask}, there: true, strong: true, afterwards: 1},
		{lines: []string{`If-Range: "other"`, ask}, there: true},
		{lines: []string{"If-Range: " + opaque}},
		{lines: []string{"If-Range: " + r.modified.Add(time.Second).UTC().Format(http.TimeFormat), ask}, there: true},
	}
}

// knowledge is what the oracle has to know of a file.
type knowledge struct {
	*representation
	opaque    string
	weak      bool // its tag
	young     bool // its date may stand for two versions: what depends on it may be answered either way
	unchanged http1test.Fields
}

// expected is RFC 9110, 13.2.2. Several statuses are given where the RFC leaves it open.
func (k *knowledge) expected(match, unmodified, noneMatch, modified, ranged precondition, method string) (statuses []int) {
	defer func() {
		if match.badlyMade || noneMatch.badlyMade {
			statuses = append(statuses, 400)
		}
		if k.young && (modified.there || unmodified.there || ranged.afterwards == 1) {
			statuses = append(statuses, 200, 206)
			if modified.there {
				statuses = append(statuses, 304)
			}
			if unmodified.there {
				statuses = append(statuses, 412)
			}
		}
	}()
	switch {
	case match.there:
		if !match.any && (!match.strong || k.weak) { // 13.1.1: strong comparison
			return []int{412}
		}
	case unmodified.there && unmodified.afterwards < 0:
		return []int{412}
	}
	switch {
	case noneMatch.there:
		if noneMatch.any || noneMatch.weak { // 13.1.2: weak comparison
			return []int{304}
		}
	case modified.there && modified.afterwards >= 0:
		return []int{304}
	}
	if method == "GET" && ranged.there && ranged.strong && (ranged.any || ranged.afterwards == 1 || !k.weak) {
		return []int{206}
	}
	return []int{200}
}

func (k *knowledge) question(match, unmodified, noneMatch, modified, ranged precondition, method string) question {
	var lines []string
	for _, c := range []precondition{ranged, modified, match, noneMatch, unmodified} {
		lines = append(lines, c.lines...)
	}
	statuses := k.expected(match, unmodified, noneMatch, modified, ranged, method)
	return question{method, request(method, "main", k.target, lines...), func(res *http1test.Response) error {
		if !slices.Contains(statuses, res.Status) {
			return fmt.Errorf("%d, not %d", res.Status, statuses)
		}
		switch res.Status {
		case 200:
			return k.whole(method)(res)
		case 206:
			return k.parts([]span{{2, 5}})(res)
		case 304:
			return k.notModified(res)
		case 412:
			if bytes.Contains(res.Body, k.content[:8]) || res.Fields.Has("Content-Range") || res.Fields.Has("Last-Modified") {
				return fmt.Errorf("412 with %q", res.Fields)
			}
		}
		return nil
	}}
}

// notModified: RFC 9110, 15.4.5. What a 200 would have had of these it must have, and it should have no other metadata.
func (k *knowledge) notModified(res *http1test.Response) error {
	if res.Status != 304 {
		return fmt.Errorf("%d, not 304", res.Status)
	}
	for _, name := range []string{"Content-Location", "ETag", "Vary", "Cache-Control", "Expires"} {
		if got, want := res.Fields.All(name), k.unchanged.All(name); !slices.Equal(got, want) {
			return fmt.Errorf("304 with %s %q, not %q", name, got, want)
		}
	}
	if length := res.Fields.All("Content-Length"); len(length) > 0 && length[0] != strconv.Itoa(len(k.content)) { // 8.6
		return fmt.Errorf("304 with Content-Length %q", length)
	}
	for _, name := range []string{"Content-Encoding", "Content-Range", "Content-Type"} {
		if res.Fields.Has(name) {
			return fmt.Errorf("304 with %s", name)
		}
	}
	return nil
}

// know asks for a file without conditions.
func (o *origin) know(target string, content []byte) *knowledge {
	o.t.Helper()
	res := o.get(200, "main", target)
	k := &knowledge{representation: &representation{target: target, content: content, tag: res.Get("ETag"), kind: res.Get("Content-Type")},
		unchanged: res.Fields}
	var err error
	if k.modified, err = http.ParseTime(res.Get("Last-Modified")); err != nil {
		o.t.Fatalf("%s: %v", target, err)
	}
	k.opaque, k.weak = strings.CutPrefix(k.tag, "W/")
	if len(k.opaque) < 3 || k.opaque[0] != '"' || k.opaque[len(k.opaque)-1] != '"' || strings.Count(k.opaque, `"`) != 2 {
		o.t.Fatalf("%s: ETag %s", target, k.tag)
	}
	return k
}

// product is every combination of the first so many ways to send each field.
func (k *knowledge) product(tags, dates, ranges int) (questions []question) {
	rc := rangeConditions(k.representation, k.opaque)[:ranges]
	for _, match := range tagConditions("If-Match", k.opaque)[:tags] {
		for _, noneMatch := range tagConditions("If-None-Match", k.opaque)[:tags] {
			for _, modified := range dateConditions("If-Modified-Since", k.modified)[:dates] {
				for _, unmodified := range dateConditions("If-Unmodified-Since", k.modified)[:dates] {
					for _, ranged := range rc {
						for _, method := range []string{"GET", "HEAD"} {
							questions = append(questions, k.question(match, unmodified, noneMatch, modified, ranged, method))
						}
					}
				}
			}
		}
	}
	return questions
}

// sample is some of all combinations, among them every way alone.
func (k *knowledge) sample(random *rand.Rand, n int, methods ...string) (questions []question) {
	im, inm := tagConditions("If-Match", k.opaque), tagConditions("If-None-Match", k.opaque)
	ims, ius := dateConditions("If-Modified-Since", k.modified), dateConditions("If-Unmodified-Since", k.modified)
	rc := rangeConditions(k.representation, k.opaque)
	none := precondition{}
	for _, method := range methods {
		for i := range im {
			questions = append(questions, k.question(im[i], none, none, none, none, method), k.question(none, none, inm[i], none, none,
				method))
		}
		for i := range ims {
			questions = append(questions, k.question(none, none, none, ims[i], none, method), k.question(none, ius[i], none, none, none,
				method))
		}
	}
	pick := func(list []precondition) precondition {
		if random.IntN(3) == 0 {
			return none
		}
		return list[random.IntN(len(list))]
	}
	for range n {
		questions = append(questions, k.question(pick(im), pick(ius), pick(inm), pick(ims), rc[random.IntN(len(rc))],
			methods[random.IntN(len(methods))]))
	}
	return questions
}

const conditionsSite = `
site "main" {
  route "/" {
    static {
      root    = "www"
      headers = { Cache-Control = "max-age=60", Content-Location = "/elsewhere" }
    }
  }
}
`

// Every combination of preconditions has the outcome of RFC 9110, 13.2.2.
func TestStaticConditions(t *testing.T) {
	t.Parallel()
	dir := newPlace(t)
	www := filepath.Join(dir, "www")
	makeDir(t, www)
	sizes := []int{10, 20000, 5 << 20}
	for _, n := range sizes {
		name := filepath.Join(www, fmt.Sprintf("settled%d.txt", n))
		writeFile(t, name, noise(n))
		settle(t, name, longAgo)
	}
	o := startOrigin(t, dir, conditionsSite)
	random := rand.New(rand.NewPCG(9110, 13))
	var questions []question
	o.learn("main", www)
	for _, n := range sizes {
		k := o.know(fmt.Sprintf("/settled%d.txt", n), noise(n))
		switch n {
		case 10:
			questions = append(questions, k.product(7, 6, 6)...)
			questions = append(questions, k.sample(random, 6000, "GET", "HEAD")...)
		case 20000:
			questions = append(questions, k.sample(random, 3000, "GET", "HEAD")...)
		default:
			questions = append(questions, k.sample(random, 500, "HEAD")...)
		}
	}
	t.Logf("%d questions", len(questions))
	o.ask(questions)
}

// A file that was just written has the same conditions, but that its date may count or not.
func TestStaticConditionsOfYoungFiles(t *testing.T) {
	t.Parallel()
	dir := newPlace(t)
	www := filepath.Join(dir, "www")
	makeDir(t, www)
	o := startOrigin(t, dir, conditionsSite)
	random := rand.New(rand.NewPCG(9110, 8))
	for i, n := range []int{10, 16384, 16385, 100000, 5 << 20} {
		for attempt := 0; ; attempt++ {
			if attempt == 20 {
				t.Fatalf("the tag of a file of %d bytes is never the same for long enough", n)
			}
			name := fmt.Sprintf("/young%d-%d.txt", i, attempt)
			writeFile(t, filepath.Join(www, name), noise(n))
			k := o.know(name, noise(n))
			k.young = true
			methods := []string{"GET", "HEAD"}
			if n > 1<<20 {
				methods = methods[1:]
			}
			if k.weak {
				// Whatever becomes of the file and its tag meanwhile: no strong comparison is met by this one.
				o.ask([]question{
					{"HEAD", request("HEAD", "main", name, "If-Match: "+k.tag), is(412)},
					{"HEAD", request("HEAD", "main", name, "If-Match: "+k.opaque), is(412)},
					{"GET", request("GET", "main", name, "Range: bytes=2-5", "If-Range: "+k.tag), is(200)},
					{"HEAD", request("HEAD", "main", name, "If-None-Match: "+k.tag), either(is(200), k.notModified)},
				})
				break
			}
			questions := k.sample(random, 300, methods...)
			faults := o.faults(questions)
			if o.know(name, k.content).tag == k.tag {
				o.tell(faults, len(questions))
				break
			} // else it grew old meanwhile, and its tag is another one
		}
	}
}

// No Last-Modified is later than the Date of its answer (RFC 9110, 8.8.2.1).
func TestStaticFuture(t *testing.T) {
	t.Parallel()
	dir := newPlace(t)
	makeDir(t, filepath.Join(dir, "www"))
	for name, at := range map[string]time.Time{"hour": time.Now().Add(time.Hour), "far": time.Date(2286, 1, 1, 0, 0, 0, 0, time.UTC),
		"early": time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC),
		"zero":  time.Unix(0, 0)} {
		file := filepath.Join(dir, "www", name)
		writeFile(t, file, []byte(name))
		settle(t, file, at)
	}
	o := startOrigin(t, dir, conditionsSite)
	for _, name := range []string{"hour", "far", "early", "zero"} {
		res := o.get(200, "main", "/"+name)
		date, err := http.ParseTime(res.Get("Date"))
		if err != nil {
			t.Fatal(err)
		}
		if !res.Fields.Has("Last-Modified") {
			continue
		}
		modified, err := http.ParseTime(res.Get("Last-Modified"))
		if err != nil || modified.After(date) {
			t.Errorf("%s: Last-Modified %q, Date %q, %v", name, res.Get("Last-Modified"), res.Get("Date"), err)
		}
	}
}

// form is a file in one coding, as it is sent.
type form struct {
	coding, tag string
	length      int
}

// accepts is an Accept-Encoding of which is known what it means.
type accepts struct {
	absent  bool
	value   string
	weights map[string]int // in thousandths, of what is named, "*" included
	open    bool           // malformed, or a rule of 12.5.3 that can be read in two ways: any form that is not refused
}

// chosen are the codings that may answer, of those that there are, the favourite first. "" is the file as it is.
func (a accepts) chosen(favourites []string) (codings []string) {
	weight := func(coding string) (int, bool) {
		if w, named := a.weights[coding]; named {
			return w, true
		}
		w, named := a.weights["*"]
		return w, named
	}
	best, top := "", 0
	for _, coding := range favourites {
		w, _ := weight(coding)
		if a.open && (w > 0 || len(a.weights) == 0) {
			codings = append(codings, coding)
		}
		if w > top {
			best, top = coding, w
		}
	}
	plain, named := weight("identity")
	_, byName := a.weights["identity"]
	switch {
	case a.open || a.absent:
		return append(codings, "")
	case best == "" || byName && plain > top:
		return []string{""}
	case named && !byName && plain > top || byName && plain == top:
		return []string{best, ""} // is identity one of *? Is it a favourite?
	}
	return []string{best}
}

// acceptCorpus are written by hand and drawn by lot.
func acceptCorpus(random *rand.Rand, n int) (all []accepts) {
	only := func(coding string) map[string]int { return map[string]int{coding: 1000} }
	all = []accepts{
		{absent: true},
		{value: "", weights: map[string]int{}},
		{value: "gzip", weights: only("gzip")}, {value: "GZIP", weights: only("gzip")}, {value: "br", weights: only("br")}, {value: "zstd",
			weights: only("zstd")},
		{value: "x-gzip", weights: map[string]int{}, open: true}, // 8.4.1.3: the same as gzip
		{value: "*", weights: only("*")}, {value: "identity", weights: only("identity")}, {value: "deflate", weights: only("deflate")},
		{value: "gzip;q=1.000", weights: only("gzip")}, {value: "gzip;q=0", weights: map[string]int{"gzip": 0}}, {value: "gzip;q=0.000",
			weights: map[string]int{"gzip": 0}},
		{value: "gzip;Q=0", weights: map[string]int{"gzip": 0}}, {value: "gzip ; q=0", weights: map[string]int{"gzip": 0}},
		{value: "gzip\t;\tq=0", weights: map[string]int{"gzip": 0}},
		{value: "*;q=0", weights: map[string]int{"*": 0}}, {value: "identity;q=0", weights: map[string]int{"identity": 0}},
		{value: "identity;q=0, *;q=0", weights: map[string]int{"identity": 0, "*": 0}}, {value: "gzip;q=0.001",
			weights: map[string]int{"gzip": 1}},
		{value: ",gzip,,", weights: only("gzip")}, {value: "gzip, deflate, br, zstd", weights: map[string]int{"gzip": 1000, "deflate": 1000,
			"br": 1000, "zstd": 1000}},
		{value: "gzip;q=2", weights: map[string]int{}, open: true}, {value: "gzip;q=-1", weights: map[string]int{}, open: true},
		{value: "gzip;q=", weights: map[string]int{}, open: true},
		{value: "gzip;q=0.0001", weights: map[string]int{}, open: true}, {value: "gzip q=0", weights: map[string]int{}, open: true},
		{value: ";q=1", weights: map[string]int{}, open: true},
		{value: "gzip;level=9;q=0.5", weights: map[string]int{}, open: true}, {value: "gzip;q=1;q=0", weights: map[string]int{},
			open: true}, {value: "\"gzip\"", weights: map[string]int{}, open: true},
	}
	names := []string{"zstd", "br", "gzip", "identity", "*", "deflate", "compress", "dcb"}
	for range n {
		a := accepts{weights: map[string]int{}}
		random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		var items []string
		for _, name := range names[:1+random.IntN(6)] {
			w := []int{0, 0, 1, 200, 500, 500, 999, 1000, 1000}[random.IntN(9)]
			a.weights[name] = w
			text := []string{strings.TrimRight(fmt.Sprintf("%d.%03d", w/1000, w%1000), "0"), fmt.Sprintf("%d.%03d", w/1000,
				w%1000)}[random.IntN(2)]
			item := name + []string{";q=", "; q=", " ;Q="}[random.IntN(3)] + text
			if w == 1000 && random.IntN(2) == 0 {
				item = strings.ToUpper(name)
			}
			items = append(items, item)
		}
		a.value = strings.Join(items, []string{",", ", ", " , "}[random.IntN(3)])
		all = append(all, a)
	}
	return all
}

func (a accepts) lines(more ...string) []string {
	if a.absent {
		return more
	}
	return append([]string{"Accept-Encoding: " + a.value}, more...)
}

// codedFile is a file with its forms.
type codedFile struct {
	host, target string
	content      []byte
	favourites   []string
	forms        map[string]form
	siblings     map[string][]byte // what was made for it, verbatim; nil: the server makes it
}

// is judges the answer to who takes these codings: a form, whole, with the fields of this form alone.
func (f *codedFile) is(method string, codings []string) func(*http1test.Response) error {
	return func(res *http1test.Response) error {
		coding := res.Get("Content-Encoding")
		if res.Status != 200 || !slices.Contains(codings, coding) {
			return fmt.Errorf("%d, Content-Encoding %q, not %q", res.Status, coding, codings)
		}
		if !varies(res) || res.Get("ETag") != f.forms[coding].tag || res.Get("Content-Type") != "text/css; charset=utf-8" {
			return fmt.Errorf("%q: fields %q, forms %v", coding, res.Fields, f.forms)
		}
		if length := res.Get("Content-Length"); length != "" && length != strconv.Itoa(f.forms[coding].length) {
			return fmt.Errorf("%q: Content-Length %s, not %d", coding, length, f.forms[coding].length)
		}
		if method == "HEAD" {
			return nil
		}
		body, want := res.Body, f.content
		switch made, ok := f.siblings[coding]; {
		case ok:
			want = made
		case coding == "gzip":
			var err error
			if body, err = unzip(body); err != nil {
				return err
			}
		case coding != "":
			if len(body) != f.forms[coding].length || len(body) >= len(f.content) { // there is nothing to unpack it with here
				return fmt.Errorf("%q: %d bytes", coding, len(body))
			}
			return nil
		}
		if text := differ(body, want); text != "" {
			return fmt.Errorf("%q: %s", coding, text)
		}
		return nil
	}
}

func varies(res *http1test.Response) bool {
	for _, value := range res.Fields.All("Vary") {
		for name := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(name), "Accept-Encoding") {
				return true
			}
		}
	}
	return false
}

// learnForms asks for each form; the tags have to differ (RFC 9110, 8.8.3.3).
func (f *codedFile) learnForms(o *origin) {
	f.forms = map[string]form{}
	seen := map[string]bool{}
	for _, coding := range append([]string{""}, f.favourites...) {
		value := coding
		if coding == "" {
			value = "identity"
		}
		res := o.get(200, f.host, f.target, "Accept-Encoding: "+value)
		if res.Get("Content-Encoding") != coding || seen[res.Get("ETag")] || res.Get("ETag") == "" {
			o.t.Fatalf("%s%s: Content-Encoding %q, not %q, ETag %s, seen %v", f.host, f.target, res.Get("Content-Encoding"), coding,
				res.Get("ETag"), seen)
		}
		seen[res.Get("ETag")] = true
		f.forms[coding] = form{coding, res.Get("ETag"), len(res.Body)}
	}
}

// questions are what to ask about the forms: who gets which, and what a condition with the tag of one means for who gets another.
func (f *codedFile) questions(corpus []accepts) (questions []question) {
	add := func(method string, judge func(*http1test.Response) error, lines []string) {
		questions = append(questions, question{method, request(method, f.host, f.target, lines...), judge})
	}
	// with says that the answer is of a form, whatever its status.
	with := func(status int, tag string) func(*http1test.Response) error {
		return func(res *http1test.Response) error {
			if res.Status != status || res.Get("ETag") != tag || !varies(res) {
				return fmt.Errorf("%d with ETag %s, Vary %q, not %d with %s", res.Status, res.Get("ETag"), res.Fields.All("Vary"), status,
					tag)
			}
			return nil
		}
	}
	all := append([]string{""}, f.favourites...)
	for _, a := range corpus {
		codings := a.chosen(f.favourites)
		for _, method := range []string{"GET", "HEAD"} {
			add(method, f.is(method, codings), a.lines())
			for _, coding := range all {
				tag := f.forms[coding].tag
				match, none := []func(*http1test.Response) error{is(412)}, []func(*http1test.Response) error{f.is(method, codings)}
				if slices.Contains(codings, coding) {
					match, none = []func(*http1test.Response) error{f.is(method, codings)}, []func(*http1test.Response) error{with(304,
						tag)}
					if len(codings) > 1 {
						match, none = append(match, is(412)), append(none, f.is(method, codings))
					}
				}
				add(method, either(match...), a.lines("If-Match: "+tag))
				add(method, either(none...), a.lines("If-None-Match: "+tag))
				add(method, either(none...), a.lines("If-None-Match: W/"+tag))
			}
			var tags []string
			for _, coding := range all {
				tags = append(tags, f.forms[coding].tag)
			}
			var any []func(*http1test.Response) error
			for _, coding := range codings {
				any = append(any, with(304, f.forms[coding].tag))
			}
			add(method, either(any...), a.lines("If-None-Match: "+strings.Join(tags, ", ")))
		}
		// Ranges are of the file as it is, under its tag; a part of one form never goes to who has the beginning of another.
		part := func(res *http1test.Response) error {
			if res.Status != 206 || res.Fields.Has("Content-Encoding") || res.Get("ETag") != f.forms[""].tag || !varies(res) ||
				!bytes.Equal(res.Body, f.content[3:9]) {
				return fmt.Errorf("%d %q %q", res.Status, res.Fields, cut(string(res.Body)))
			}
			return nil
		}
		add("GET", part, a.lines("Range: bytes=3-8"))
		for _, coding := range all {
			judge := part
			if coding != "" {
				judge = f.is("GET", all)
			}
			add("GET", judge, a.lines("Range: bytes=3-8", "If-Range: "+f.forms[coding].tag))
		}
	}
	return questions
}

// Each form of a file is for who takes it, and is told from the others.
func TestStaticForms(t *testing.T) {
	t.Parallel()
	dir := newPlace(t)
	text := func(n int) (content []byte) {
		for i := 0; len(content) < n; i++ {
			content = fmt.Appendf(content, ".a%d { color: #%06x }\n", i, i*i)
		}
		return content[:n]
	}
	for _, sub := range []string{"made", "making"} {
		makeDir(t, filepath.Join(dir, sub))
		for _, n := range []int{3000, 40000} {
			name := filepath.Join(dir, sub, fmt.Sprintf("%d.css", n))
			writeFile(t, name, text(n))
			settle(t, name, longAgo)
		}
	}
	siblings := map[string][]byte{"zstd": []byte("not really zstd"), "br": []byte("not really brotli!"), "gzip": []byte("not really")}
	suffixes := map[string]string{"zstd": ".zst", "br": ".br", "gzip": ".gz"}
	for coding, content := range siblings {
		for _, n := range []int{3000, 40000} {
			name := filepath.Join(dir, "made", fmt.Sprintf("%d.css", n)) + suffixes[coding]
			writeFile(t, name, content)
			settle(t, name, longAgo.Add(time.Hour))
		}
	}
	// What is older than its file, or is no file, is no form of it.
	for _, name := range []string{"old.css", "odd.css", "half.css"} {
		writeFile(t, filepath.Join(dir, "made", name), text(3000))
		settle(t, filepath.Join(dir, "made", name), longAgo)
	}
	writeFile(t, filepath.Join(dir, "made", "old.css.gz"), siblings["gzip"])
	settle(t, filepath.Join(dir, "made", "old.css.gz"), longAgo.Add(-time.Hour))
	makeDir(t, filepath.Join(dir, "made", "odd.css.gz"))
	writeFile(t, filepath.Join(dir, "made", "half.css.br"), siblings["br"])

	// One child: each makes its own, and gives the file as it is to all but one of those who wait for it.
	o := startOrigin(t, dir, `children = 1
site "made" {
  hosts = ["made"]
  route "/" {
    static {
      root          = "made"
      precompressed = ["br", "zstd", "gzip"]
    }
  }
}
site "making" {
  hosts = ["making"]
  route "/" {
    static {
      root = "making"
      compress {}
    }
  }
}
site "settled" {
  route "/" {
    static { root = "." }
  }
}
`)
	o.learn("settled", dir)
	random := rand.New(rand.NewPCG(9110, 12))
	corpus := acceptCorpus(random, 80)
	var questions []question
	for _, n := range []int{3000, 40000} {
		for _, f := range []*codedFile{
			{host: "made", favourites: []string{"br", "zstd", "gzip"}, siblings: siblings},
			{host: "making", favourites: []string{"zstd", "br", "gzip"}},
		} {
			f.target, f.content = fmt.Sprintf("/%d.css", n), text(n)
			f.learnForms(o)
			questions = append(questions, f.questions(corpus)...)
		}
	}
	for _, name := range []string{"/old.css", "/odd.css"} {
		f := &codedFile{host: "made", target: name, content: text(3000)}
		f.learnForms(o)
		questions = append(questions, f.questions(corpus)...)
	}
	f := &codedFile{host: "made", target: "/half.css", content: text(3000), favourites: []string{"br"}, siblings: siblings}
	f.learnForms(o)
	questions = append(questions, f.questions(corpus)...)
	t.Logf("%d questions", len(questions))
	o.ask(questions)
}

func unzip(body []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

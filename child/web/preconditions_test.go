package web

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

var (
	changed = time.Date(2024, 5, 6, 7, 8, 9, 500, time.UTC)
	dates   = strings.NewReplacer(
		"SAME", "Mon, 06 May 2024 07:08:09 GMT", "OLDER", "Mon, 06 May 2024 07:08:08 GMT", "NEWER", "Mon, 06 May 2024 07:08:10 GMT",
		"RFC850", "Monday, 06-May-24 07:08:09 GMT", "ASCTIME", "Mon May  6 07:08:09 2024")
)

// representation is one with an entity tag and a date that is long past.
func representation(etag string) *Representation {
	p := &Representation{Size: 10, ETag: etag}
	p.SetModified(changed, true)
	return p
}

// asking makes a request of "Name: value" lines separated by '|'.
func asking(method, fields string) *Request {
	r := &Request{Method: method}
	for field := range strings.SplitSeq(dates.Replace(fields), "|") {
		if name, value, ok := strings.Cut(field, ":"); ok {
			r.Header.Add(name, strings.TrimSpace(value))
		}
	}
	return r
}

func TestEvaluate(t *testing.T) {
	for _, test := range []struct {
		section string // of RFC 9110
		method  string
		fields  string
		etag    string
		status  int
	}{
		{"13.1.1 If-Match", "GET", `If-Match: "a"`, `"a"`, 200},
		{"13.1.1", "GET", `If-Match: "b"`, `"a"`, 412},
		{"13.1.1", "GET", `If-Match: "b", "a"`, `"a"`, 200},
		{"13.1.1", "GET", `If-Match: "b"|If-Match: "a"`, `"a"`, 200},
		{"13.1.1 strong comparison", "GET", `If-Match: W/"a"`, `"a"`, 412},
		{"13.1.1 strong comparison", "GET", `If-Match: "a"`, `W/"a"`, 412},
		{"13.1.1 any", "PUT", `If-Match: *`, `"a"`, 200},
		{"13.1.1 any, without a tag", "PUT", `If-Match: *`, "", 200},
		{"13.1.1", "PUT", `If-Match: "b"`, `"a"`, 412},
		{"13.1.1", "DELETE", `If-Match: ""`, "", 412},
		{"13.1.2 If-None-Match", "GET", `If-None-Match: "a"`, `"a"`, 304},
		{"13.1.2", "HEAD", `If-None-Match: "a"`, `"a"`, 304},
		{"13.1.2 weak comparison", "GET", `If-None-Match: W/"a"`, `"a"`, 304},
		{"13.1.2 weak comparison", "GET", `If-None-Match: "a"`, `W/"a"`, 304},
		{"13.1.2 another method", "PUT", `If-None-Match: "a"`, `"a"`, 412},
		{"13.1.2 any", "PUT", `If-None-Match: *`, `"a"`, 412},
		{"13.1.2", "GET", `If-None-Match: "b"`, `"a"`, 200},
		{"8.8.3 W is upper case", "GET", `If-None-Match: w/"a"`, `"a"`, 200},
		{"8.8.3 a comma in a tag", "GET", `If-None-Match: "a,b" , "c"`, `"c"`, 304},
		{"8.8.3 a comma in a tag", "GET", `If-None-Match: "a,b"`, `"b"`, 200},
		{"8.8.3 a blank in a tag", "GET", `If-None-Match: "a b", "c"`, `"c"`, 200},
		{"8.8.3 no quotes", "GET", `If-None-Match: a`, `"a"`, 200},
		{"5.6.1 empty elements", "GET", `If-None-Match: ,, "b" ,,"a",`, `"a"`, 304},
		{"13.1.3 If-Modified-Since", "GET", `If-Modified-Since: SAME`, "", 304},
		{"13.1.3", "HEAD", `If-Modified-Since: NEWER`, "", 304},
		{"13.1.3", "GET", `If-Modified-Since: OLDER`, "", 200},
		{"13.1.3 another method", "POST", `If-Modified-Since: SAME`, "", 200},
		{"13.1.3 beside If-None-Match", "GET", `If-None-Match: "b"|If-Modified-Since: SAME`, `"a"`, 200},
		{"13.1.3 repeated", "GET", `If-Modified-Since: NEWER|If-Modified-Since: NEWER`, "", 200},
		{"13.1.3 repeated, the first the same", "GET", `If-Modified-Since: SAME|If-Modified-Since: OLDER`, "", 200},
		{"5.6.7 obsolete dates", "GET", `If-Modified-Since: RFC850`, "", 304},
		{"5.6.7 obsolete dates", "GET", `If-Modified-Since: ASCTIME`, "", 304},
		{"5.6.7 another zone", "GET", `If-Modified-Since: Monday, 06-May-24 07:08:09 PST`, "", 200},
		{"5.6.7 no date", "GET", `If-Modified-Since: 0`, "", 200},
		{"13.1.4 If-Unmodified-Since", "PUT", `If-Unmodified-Since: SAME`, "", 200},
		{"13.1.4", "PUT", `If-Unmodified-Since: OLDER`, "", 412},
		{"13.1.4 no date", "PUT", `If-Unmodified-Since: yesterday`, "", 200},
		{"13.1.4 beside If-Match", "PUT", `If-Match: "a"|If-Unmodified-Since: OLDER`, `"a"`, 200},
		{"13.1.5 If-Range", "GET", `Range: bytes=1-2|If-Range: "a"`, `"a"`, 206},
		{"13.1.5", "GET", `Range: bytes=1-2|If-Range: "b"`, `"a"`, 200},
		{"13.1.5 weak tags never match", "GET", `Range: bytes=1-2|If-Range: W/"a"`, `W/"a"`, 200},
		{"13.1.5 a date", "GET", `Range: bytes=1-2|If-Range: SAME`, `"a"`, 206},
		{"13.1.5 the date exactly", "GET", `Range: bytes=1-2|If-Range: NEWER`, `"a"`, 200},
		{"13.1.5 no date", "GET", `Range: bytes=1-2|If-Range: now`, `"a"`, 200},
		{"13.1.5 repeated", "GET", `Range: bytes=1-2|If-Range: "a"|If-Range: "a"`, `"a"`, 200},
		{"13.2.1 no representation is asked for", "OPTIONS", `If-None-Match: *`, `"a"`, 200},
		{"13.2.1", "TRACE", `If-Match: "b"`, `"a"`, 200},
		{"13.2.1", "CONNECT", `If-Unmodified-Since: OLDER`, "", 200},
		{"13.2.2 order", "GET", `If-Match: "b"|If-None-Match: "a"`, `"a"`, 412},
		{"13.2.2 order", "GET", `If-Match: "a"|If-None-Match: "a"`, `"a"`, 304},
		{"13.2.2 order", "GET", `If-Unmodified-Since: OLDER|If-None-Match: "a"`, `"a"`, 412},
		{"13.2.2 order", "GET", `Range: bytes=99-|If-None-Match: "a"`, `"a"`, 304},
		{"13.2.2 order", "GET", `Range: bytes=99-|If-Range: "b"`, `"a"`, 200},
		{"14.2 Range", "GET", `Range: bytes=1-2`, "", 206},
		{"14.2 GET only", "HEAD", `Range: bytes=1-2`, "", 200},
		{"14.2 GET only", "POST", `Range: bytes=99-`, "", 200},
		{"14.2 malformed", "GET", `Range: bytes=2-1`, "", 200},
		{"14.2 repeated", "GET", `Range: bytes=1-2|Range: bytes=4-5`, "", 200},
		{"15.5.17", "GET", `Range: bytes=99-`, "", 416},
		{"5.1 names in any case", "GET", `iF-nOnE-mAtCh: "a"`, `"a"`, 304},
		{"", "GET", `Accept: */*|Rang1: x|If-Naught: x`, "", 200},
	} {
		if v := representation(test.etag).Evaluate(asking(test.method, test.fields)); v.Status != test.status {
			t.Errorf("%s: %s %s (ETag %s): %d, want %d", test.section, test.method, test.fields, test.etag, v.Status, test.status)
		}
	}
}

// What does not exist yet (RFC 9110, 13.1.1 and 13.1.2), and what has no date (13.1.3 and 13.1.4).
func TestEvaluateWithoutRepresentation(t *testing.T) {
	for _, test := range []struct {
		method, fields string
		status         int
	}{
		{"PUT", "If-None-Match: *", 200},
		{"PUT", `If-Match: *`, 412},
		{"PUT", `If-Match: "a"`, 412},
		{"PUT", "If-Unmodified-Since: OLDER", 200},
		{"GET", "If-Modified-Since: NEWER", 200},
		{"GET", "Range: bytes=0-1", 200},
	} {
		if v := (*Representation)(nil).Evaluate(asking(test.method, test.fields)); v.Status != test.status {
			t.Errorf("%s %s: %d, want %d", test.method, test.fields, v.Status, test.status)
		}
	}
	undated := &Representation{Size: 10}
	for fields, status := range map[string]int{"If-Unmodified-Since: OLDER": 200, "If-Modified-Since: NEWER": 200, "Range: bytes=0-1|If-Range: SAME": 200} {
		if v := undated.Evaluate(asking("GET", fields)); v.Status != status {
			t.Errorf("without a date: %s: %d, want %d", fields, v.Status, status)
		}
	}
}

// A date of the last second could be that of two versions (RFC 9110, 8.8.2.2).
func TestIfRangeOfAnUnsettledDate(t *testing.T) {
	p := &Representation{Size: 10}
	p.SetModified(changed, false)
	if v := p.Evaluate(asking("GET", "Range: bytes=0-1|If-Range: SAME")); v.Status != 200 {
		t.Errorf("%d", v.Status)
	}
	if v := p.Evaluate(asking("GET", "If-Modified-Since: SAME")); v.Status != 304 {
		t.Errorf("If-Modified-Since: %d", v.Status)
	}
}

func TestEvaluateCosts(t *testing.T) {
	p := representation(`"a"`)
	for _, fields := range []string{"Accept: x", `If-None-Match: W/"b", "a"`, "If-Modified-Since: SAME", "If-Modified-Since: NEWER"} {
		r := asking("GET", fields)
		if n := testing.AllocsPerRun(100, func() { p.Evaluate(r) }); n != 0 {
			t.Errorf("%s: %v allocations", fields, n)
		}
	}
}

// FuzzEntityTags compares the parser of entity-tag lists with one that is written as a regular expression.
func FuzzEntityTags(f *testing.F) {
	for _, list := range []string{`"a"`, `W/"a"`, `"x,y" ,, W/"a"`, `*`, `"a" "b"`, `w/"a"`, `"a`, ``, ` , `, `""`, `"x",*`} {
		f.Add(list, "a")
	}
	tag := regexp.MustCompile(`^[ \t,]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*`)
	f.Fuzz(func(t *testing.T, list, opaque string) {
		etag := `"` + opaque + `"`
		if tagEnd(etag) != len(etag) {
			t.Skip()
		}
		var weakly, strongly bool
		if strings.Trim(list, " \t") == "*" {
			weakly, strongly = true, true
		}
		for rest := latin(list); ; {
			m := tag.FindStringSubmatch(rest)
			if m == nil {
				break
			}
			if m[2] == latin(etag) {
				weakly = true
				strongly = strongly || m[1] == ""
			}
			if rest = rest[len(m[0]):]; !strings.HasPrefix(rest, ",") {
				break
			}
		}
		if got := tagListed(list, etag, false); got != weakly {
			t.Errorf("%q in %q, weakly: %v", etag, list, got)
		}
		if got := tagListed(list, etag, true); got != strongly {
			t.Errorf("%q in %q, strongly: %v", etag, list, got)
		}
		if tagListed(list, "W/"+etag, true) && strings.Trim(list, " \t") != "*" {
			t.Errorf("a weak tag matches strongly in %q", list)
		}
	})
}

// latin makes a character of each byte, for regular expressions.
func latin(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

// FuzzDates: what is taken for a date is the same time in net/http, and its GMT; every date that we write is read back.
func FuzzDates(f *testing.F) {
	for _, s := range []string{"SAME", "RFC850", "ASCTIME", "Monday, 06-May-24 07:08:09 PST", "Mon, 06 May 2024 07:08:09 +0100", "0", ""} {
		f.Add(dates.Replace(s), int64(1e9))
	}
	f.Fuzz(func(t *testing.T, s string, seconds int64) {
		if got, ok := parseDate(s); ok {
			want, err := http.ParseTime(s)
			if err != nil || want.Unix() != got || strings.Contains(s, ",") && !strings.HasSuffix(s, "GMT") {
				t.Errorf("%q is %d, net/http: %v, %v", s, got, want, err)
			}
			seconds = got
		}
		if year := time.Unix(seconds, 0).UTC().Year(); year < 1 || year > 9999 {
			return
		}
		var p Representation
		p.SetModified(time.Unix(seconds, 0), true)
		if got, ok := parseDate(p.LastModified()); !ok || got != seconds {
			t.Errorf("%d was written as %q and read as %d", seconds, p.LastModified(), got)
		}
	})
}

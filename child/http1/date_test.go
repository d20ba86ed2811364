package http1

import (
	"net/http"
	"testing"
	"time"
)

var dateNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestAppendDate(t *testing.T) {
	zone := time.FixedZone("x", -7*3600)
	for at, want := range map[time.Time]string{
		time.Unix(784111777, 999999999):                    "Sun, 06 Nov 1994 08:49:37 GMT",
		time.Unix(0, 0):                                    "Thu, 01 Jan 1970 00:00:00 GMT",
		time.Date(2024, 2, 29, 23, 59, 59, 0, time.UTC):    "Thu, 29 Feb 2024 23:59:59 GMT",
		time.Date(2023, 12, 31, 20, 0, 0, 0, zone):         "Mon, 01 Jan 2024 03:00:00 GMT",
		time.Date(7, 1, 2, 3, 4, 5, 0, time.UTC):           "Tue, 02 Jan 0007 03:04:05 GMT",
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC):   "Fri, 31 Dec 9999 23:59:59 GMT",
		time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC):       "Fri, 31 Dec 9999 23:59:59 GMT",
		time.Date(-1, 12, 31, 23, 59, 59, 0, time.UTC):     "Sat, 01 Jan 0000 00:00:00 GMT",
		time.Date(123456, 12, 31, 23, 59, 59, 0, time.UTC): "Fri, 31 Dec 9999 23:59:59 GMT",
	} {
		if got := string(AppendDate([]byte("Date: "), at)); got != "Date: "+want {
			t.Errorf("%v: %q, want %q", at, got, want)
		}
	}
	for at := dateNow; at.Year() < 2031; at = at.Add(977*time.Minute + 13*time.Second) {
		if got, want := string(AppendDate(nil, at)), at.Format(http.TimeFormat); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestParseHTTPDate(t *testing.T) {
	example := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"Sun, 06 Nov 1994 08:49:37 GMT":     example,
		"Sunday, 06-Nov-94 08:49:37 GMT":    example,
		"Sun Nov  6 08:49:37 1994":          example,
		"Sun Nov 16 08:49:37 1994":          example.AddDate(0, 0, 10),
		"Mon, 06 Nov 1994 08:49:37 GMT":     example, // the wrong day of the week
		"Thu, 29 Feb 2024 23:59:59 GMT":     time.Date(2024, 2, 29, 23, 59, 59, 0, time.UTC),
		"Sat, 31 Dec 2016 23:59:60 GMT":     time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC),
		"Wednesday, 01-Jan-76 00:00:00 GMT": time.Date(2076, 1, 1, 0, 0, 0, 0, time.UTC),
		"Friday, 01-May-76 00:00:00 GMT":    time.Date(1976, 5, 1, 0, 0, 0, 0, time.UTC), // 50 years ahead and two months
		"Saturday, 01-Jan-77 00:00:00 GMT":  time.Date(1977, 1, 1, 0, 0, 0, 0, time.UTC),
		"Saturday, 01-Jan-00 00:00:00 GMT":  time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		"Sat, 01 Jan 0000 00:00:00 GMT":     time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		if got, ok := ParseHTTPDate(s, dateNow); !ok || !got.Equal(want) {
			t.Errorf("%q: %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{
		"", "0", "GMT", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 1994 08:49:37 gmt", "sun, 06 Nov 1994 08:49:37 GMT",
		"Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 NOV 1994 08:49:37 GMT", "Sun, 06 Nov 94 08:49:37 GMT", "Sun, 06 Nov 1994 8:49:37 GMT",
		"Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 06 Nov 1994 08:49:61 GMT", "Sun, 06 Nov 1994 08:49 GMT",
		"Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 31 Nov 1994 08:49:37 GMT", "Wed, 29 Feb 2023 00:00:00 GMT", "Wed, 29 Feb 1900 00:00:00 GMT",
		"Sun,  6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT ", " Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 +0000",
		"Sun Nov 6 08:49:37 1994", "Sun Nov 06 08:49:37 1994x", "Sun Nov  0 08:49:37 1994", "Sunday, 06-Nov-1994 08:49:37 GMT",
		"Sun, 06-Nov-94 08:49:37 GMT", "Someday, 06-Nov-94 08:49:37 GMT", "Sunday, 06 Nov 94 08:49:37 GMT", "1994-11-06T08:49:37Z", "784111777",
		"Sun, -6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:+7 GMT",
	} {
		if got, ok := ParseHTTPDate(s, dateNow); ok {
			t.Errorf("%q: %v", s, got)
		}
	}
	// 29 February 2000 is too far ahead, and 1900 had none.
	if got, ok := ParseHTTPDate("Tuesday, 29-Feb-00 00:00:00 GMT", time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC)); ok {
		t.Error(got)
	}
}

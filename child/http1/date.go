package http1

import "time"

const (
	dayNames   = "SunMonTueWedThuFriSat"
	monthNames = "JanFebMarAprMayJunJulAugSepOctNovDec"
)

var longDayNames = [...]string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}

// AppendDate appends t as an IMF-fixdate (RFC 9110, 5.6.7), 29 bytes, in GMT, without allocation. A time
// whose year has not four digits is sent as the nearest one that has.
func AppendDate(dst []byte, t time.Time) []byte {
	t = t.UTC()
	if year := t.Year(); year < 0 {
		t = time.Date(0, time.January, 1, 0, 0, 0, 0, time.UTC)
	} else if year > 9999 {
		t = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)
	}
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	weekday := 3 * int(t.Weekday())
	m := 3 * int(month-1)
	return append(dst,
		dayNames[weekday], dayNames[weekday+1], dayNames[weekday+2], ',', ' ',
		'0'+byte(day/10), '0'+byte(day%10), ' ',
		monthNames[m], monthNames[m+1], monthNames[m+2], ' ',
		'0'+byte(year/1000), '0'+byte(year/100%10), '0'+byte(year/10%10), '0'+byte(year%10), ' ',
		'0'+byte(hour/10), '0'+byte(hour%10), ':',
		'0'+byte(minute/10), '0'+byte(minute%10), ':',
		'0'+byte(second/10), '0'+byte(second%10), ' ', 'G', 'M', 'T')
}

// ParseHTTPDate parses an HTTP-date in any of its three formats (RFC 9110, 5.6.7). It is strict: case, spaces and
// digits are as in the grammar, the day exists in its month; only the day of the week need not be the right one.
// now serves the two-digit year of the rfc850-date: what seems more than 50 years ahead is in the past. A leap second
// is the first of the next minute.
func ParseHTTPDate(s string, now time.Time) (t time.Time, ok bool) {
	d := dateScanner{rest: s}
	var year, month, day, seconds int
	short := false // the year has two digits
	switch {
	case len(s) == 29 && s[3] == ',': // IMF-fixdate: Sun, 06 Nov 1994 08:49:37 GMT
		d.dayName()
		d.literal(", ")
		day = d.digits(2)
		d.literal(" ")
		month = d.month()
		d.literal(" ")
		year = d.digits(4)
		d.literal(" ")
		seconds = d.clock()
		d.literal(" GMT")
	case len(s) == 24 && s[3] == ' ': // asctime-date: Sun Nov  6 08:49:37 1994
		d.dayName()
		d.literal(" ")
		month = d.month()
		d.literal(" ")
		if len(d.rest) > 0 && d.rest[0] == ' ' {
			d.literal(" ")
			day = d.digits(1)
		} else {
			day = d.digits(2)
		}
		d.literal(" ")
		seconds = d.clock()
		d.literal(" ")
		year = d.digits(4)
	default: // rfc850-date: Sunday, 06-Nov-94 08:49:37 GMT
		d.longDayName()
		d.literal(", ")
		day = d.digits(2)
		d.literal("-")
		month = d.month()
		d.literal("-")
		year = d.digits(2)
		d.literal(" ")
		seconds = d.clock()
		d.literal(" GMT")
		year, short = fullYear(year, now), true
	}
	if d.bad || d.rest != "" || day < 1 || day > daysIn(year, month) {
		return time.Time{}, false
	}
	t = time.Date(year, time.Month(month), day, 0, 0, seconds, 0, time.UTC)
	if short && t.After(now.AddDate(50, 0, 0)) { // later in the very last year
		t = t.AddDate(-100, 0, 0)
		return t, t.Day() == day // else 29 February of a year that has none
	}
	return t, true
}

// fullYear gives the latest year with these last two digits that is at most 50 years after now.
func fullYear(year int, now time.Time) int {
	limit := now.UTC().Year() + 50
	century := limit - limit%100
	if century+year > limit {
		century -= 100
	}
	return century + year
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// dateScanner takes one element after the other off rest; after a mismatch it stays bad.
type dateScanner struct {
	rest string
	bad  bool
}

func (d *dateScanner) literal(s string) {
	if len(d.rest) < len(s) || d.rest[:len(s)] != s {
		d.bad = true
		return
	}
	d.rest = d.rest[len(s):]
}

func (d *dateScanner) digits(n int) (value int) {
	if len(d.rest) < n {
		d.bad = true
		return 0
	}
	for i := range n {
		c := d.rest[i]
		if c < '0' || c > '9' {
			d.bad = true
			return 0
		}
		value = value*10 + int(c-'0')
	}
	d.rest = d.rest[n:]
	return value
}

// name takes one of the names of three letters and gives its number from 0.
func (d *dateScanner) name(names string) int {
	if len(d.rest) >= 3 {
		for i := 0; i < len(names); i += 3 {
			if d.rest[:3] == names[i:i+3] {
				d.rest = d.rest[3:]
				return i / 3
			}
		}
	}
	d.bad = true
	return 0
}

func (d *dateScanner) dayName()   { d.name(dayNames) }
func (d *dateScanner) month() int { return d.name(monthNames) + 1 }

func (d *dateScanner) longDayName() {
	for _, name := range longDayNames {
		if len(d.rest) >= len(name) && d.rest[:len(name)] == name {
			d.rest = d.rest[len(name):]
			return
		}
	}
	d.bad = true
}

// clock takes hh:mm:ss and gives the seconds since midnight; second 60 is a leap second.
func (d *dateScanner) clock() int {
	hour := d.digits(2)
	d.literal(":")
	minute := d.digits(2)
	d.literal(":")
	second := d.digits(2)
	if hour > 23 || minute > 59 || second > 60 {
		d.bad = true
	}
	return (hour*60+minute)*60 + second
}

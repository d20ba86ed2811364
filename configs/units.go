package configs

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Durations and sizes, as they stand in a file.

// parseDuration reads "10s" or "1m30s".
func parseDuration(s string) (time.Duration, *Problem) {
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		return 0, &Problem{Message: "the duration " + Quote(s) + " is negative", Cure: "remove the minus"}
	}
	if err == nil && (s == "0" || s == "+0" || s[0] == '+') {
		err = fmt.Errorf("no unit or a sign")
	}
	if err == nil {
		return d, nil
	}
	p := &Problem{
		Message: Quote(s) + " is not a duration",
		Cure:    `write a number with its unit, like "10s" or "1m30s" (units: ms, s, m, h)`,
	}
	if fixed := mendDuration(s); fixed != "" {
		p.Cure = "write " + Quote(fixed) + " (units: ms, s, m, h)"
	}
	return 0, p
}

// mendDuration guesses the duration that was meant, "" for no guess.
func mendDuration(s string) string {
	compact := strings.ToLower(strings.Join(strings.Fields(s), ""))
	end := strings.TrimLeft(compact, "+0123456789.")
	number := strings.TrimPrefix(compact[:len(compact)-len(end)], "+")
	n, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return ""
	}
	unit, scale := "", 1.0
	switch end {
	case "", "s", "sec", "secs", "second", "seconds":
		unit = "s"
	case "ms", "msec", "milliseconds":
		unit = "ms"
	case "m", "min", "mins", "minute", "minutes":
		unit = "m"
	case "h", "hour", "hours", "hr", "hrs":
		unit = "h"
	case "d", "day", "days":
		unit, scale = "h", 24
	case "w", "week", "weeks":
		unit, scale = "h", 24*7
	default:
		return ""
	}
	fixed := strconv.FormatFloat(n*scale, 'f', -1, 64) + unit
	if d, err := time.ParseDuration(fixed); err != nil || d < 0 {
		return ""
	}
	return fixed
}

// sizeUnits are the units of a size, the largest of a kind first.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3},
	{"B", 1}, {"", 1},
}

// parseSize reads "64KiB", "10MB", "512B" or "512".
func parseSize(s string) (int64, *Problem) {
	unit := strings.TrimLeft(s, "0123456789")
	digits := s[:len(s)-len(unit)]
	for _, u := range sizeUnits {
		if unit != u.name || digits == "" {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n > math.MaxInt64/u.bytes {
			return 0, &Problem{Message: "the size " + Quote(s) + " is too large", Cure: "it must be less than 8 EiB"}
		}
		return n * u.bytes, nil
	}
	p := &Problem{
		Message: Quote(s) + " is not a size",
		Cure:    `write a whole number with its unit, like "64KiB" (1024) or "10MB" (1000), or the bytes alone`,
	}
	compact := strings.Join(strings.Fields(s), "")
	unit = strings.TrimLeft(compact, "0123456789")
	digits = compact[:len(compact)-len(unit)]
	if digits == "" {
		return 0, p
	}
	for _, u := range sizeUnits {
		if u.name != "" && strings.EqualFold(unit, u.name) {
			p.Cure = "write " + Quote(digits+u.name)
			return 0, p
		}
	}
	if i := strings.Index("kmgt", strings.ToLower(unit)); i >= 0 && len(unit) == 1 {
		binary := []string{"KiB", "MiB", "GiB", "TiB"}[i]
		decimal := []string{"kB", "MB", "GB", "TB"}[i]
		p.Cure = fmt.Sprintf("write %s (1024) or %s (1000)", Quote(digits+binary), Quote(digits+decimal))
	}
	return 0, p
}

func formatSize(n int64) string {
	for _, u := range sizeUnits[:4] {
		if n > 0 && n%u.bytes == 0 {
			return Quote(strconv.FormatInt(n/u.bytes, 10) + u.name)
		}
	}
	return strconv.FormatInt(n, 10)
}

// formatDuration is String without the zeros that say nothing: "1h0m0s" is
// "1h".
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

package master

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/board"
)

// The gates of an upgrade: what the new version's children have counted, the candidate, beside what the old version's have, the baseline.
// Each is what was counted in the same span of time. A new version is taken back for what it does worse than the old one, and not for what
// both do badly; and for no difference that mere chance explains, since a trial that is short sees few requests.

const (
	// enoughErrors is how many server errors are enough to judge a candidate that has finished few requests.
	enoughErrors = 5
	// judgedQuantile is that of the latencies that are compared.
	judgedQuantile = 0.99
	// deviations is by how many standard deviations a number must exceed what is allowed.
	deviations = 2
)

// trialFault says in one sentence why the candidate must not serve; "": nothing is known against it.
func trialFault(limits configs.Upgrade, candidate, baseline *board.Sums) string {
	if fault := errorFault(limits, candidate, baseline); fault != "" {
		return fault
	}
	return latencyFault(limits, candidate, baseline)
}

// errorFault judges the share of responses with status 500 and above.
func errorFault(limits configs.Upgrade, candidate, baseline *board.Sums) string {
	requests, errors := judged(candidate)
	if requests < uint64(limits.MinRequests) && errors < enoughErrors {
		return ""
	}
	share, before := percent(errors, requests), 0.0
	if n, e := judged(baseline); n > 0 {
		before = percent(e, n)
	}
	allowed := before + float64(limits.ErrorPercent)
	if share <= allowed || !beyondChance(errors, float64(requests)*allowed/100) {
		return ""
	}
	return fmt.Sprintf("the new version has answered %s of %s with a server error, which is %s %%, beside %s %% of the old one: upgrade.error_percent %d allows %s %%",
		thousands(int(errors)), plural(int(requests), "request", "requests"), decimal(share), decimal(before), limits.ErrorPercent, decimal(allowed))
}

// judged is how many requests were finished, and how many of them with a server error. The two are counted a turn of the loop apart.
func judged(s *board.Sums) (requests, errors uint64) {
	errors = s.Of(board.WordServerErrors)
	return max(s.Of(board.WordFinished), errors), errors
}

// latencyFault judges the slowest hundredth of the requests.
func latencyFault(limits configs.Upgrade, candidate, baseline *board.Sums) string {
	requests := candidate.Latency.Count()
	if least := uint64(limits.MinRequests); requests < least || baseline.Latency.Count() < least {
		return ""
	}
	before := baseline.Latency.Quantile(judgedQuantile) // µs, as all that follow
	allowed := max(before*uint64(limits.LatencyFactor), before+uint64(limits.LatencyFloor.Microseconds()))
	p99 := candidate.Latency.Quantile(judgedQuantile)
	if p99 <= allowed || !beyondChance(candidate.Latency.Above(allowed), float64(requests)*(1-judgedQuantile)) {
		return ""
	}
	return fmt.Sprintf("the new version's 99th percentile of latency is %s over %s, beside %s of the old one: upgrade.latency_factor %d and upgrade.latency_floor %q allow %s",
		micros(p99), plural(int(requests), "request", "requests"), micros(before), limits.LatencyFactor, limits.LatencyFloor, micros(allowed))
}

// beyondChance tells whether so many are more than what is expected by more than chance. The numbers of rare events spread by the square root
// of what is expected; where nothing is expected, one is too many.
func beyondChance(n uint64, expected float64) bool {
	return float64(n) > expected+deviations*math.Sqrt(expected)
}

// trialText says in a few words what a version has done: "1,204 requests, 0 errors, p99 2 ms".
func trialText(s *board.Sums) string {
	requests, errors := judged(s)
	text := plural(int(requests), "request", "requests") + ", " + plural(int(errors), "error", "errors")
	if s.Latency.Count() > 0 {
		text += ", p99 " + micros(s.Latency.Quantile(judgedQuantile))
	}
	return text
}

func percent(part, whole uint64) float64 { return 100 * float64(part) / float64(whole) }

// decimal writes a percentage with at most two digits behind the point.
func decimal(n float64) string { return strconv.FormatFloat(math.Round(n*100)/100, 'f', -1, 64) }

// micros writes a time in µs with two digits that count, such as "2 ms" or "1.2 s".
func micros(n uint64) string {
	switch d := time.Duration(min(n, math.MaxInt64/1000)) * time.Microsecond; {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 10*time.Millisecond:
		return strconv.FormatFloat(math.Round(d.Seconds()*1e4)/10, 'f', -1, 64) + " ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	default:
		return strconv.FormatFloat(math.Round(d.Seconds()*10)/10, 'f', -1, 64) + " s"
	}
}

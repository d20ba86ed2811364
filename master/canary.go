package master

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/board"
)

// The gates of an upgrade: what the new version's children have counted, the candidate, beside what the old version's have. A new version is
// taken back for what it does worse than the old one, and not for what both do badly; and for no difference that mere chance explains, since a
// trial that is short sees few requests.
//
// The two are not asked for the same. Connections that are open stay with the old version: the candidate sees the clients that come, and only
// them. Where those ask for other things than the ones that stay, the same program has another share of errors, or of slow answers, among them;
// and in the probation the old version has no such clients any more. So what the old version has done is held against the candidate in two
// ways, by requests and by connections that were accepted, and in two times, that of the trial and its children's whole life; and the
// candidate is excused by the largest number that comes of it.

const (
	// enoughErrors is how many server errors are enough to judge a candidate that has finished few requests.
	enoughErrors = 5
	// judgedQuantile is that of the latencies that are compared.
	judgedQuantile = 0.99
	// deviations is by how many standard deviations a number must exceed what is allowed. The gates are looked at again and again, and each
	// time chance has another try.
	deviations = 3
	// mostAlike bounds how many requests of a connection are taken for one in that: a client's requests tend to fail together.
	mostAlike = 3
	// mostSkew is how many times its share of the requests what the old version has done by connection may count for at most. Connections
	// that live long have so many requests each that all of the candidate's errors would be excused.
	mostSkew = 10
	// mostExcused is the part of the candidate's requests that connections excuse at most, and of those that are not expected the part that
	// is left to the chance of small samples: who fails all of them is found, and at once.
	mostExcused = 0.5
)

// A trial is what there is to judge by.
type trial struct {
	candidate *board.Sums // since its first child accepts
	since     *board.Sums // the old version in the same time
	ever      *board.Sums // the old version in its children's whole life
}

// baseline is what the old version has done in the same time; if that is too little to say anything, what it has done ever.
func (t *trial) baseline(limits configs.Upgrade) *board.Sums {
	if finished, _ := judged(t.since); finished >= uint64(limits.MinRequests) {
		return t.since
	}
	return t.ever
}

// fault says in one sentence why the candidate must not serve; "": nothing is known against it.
func (t *trial) fault(limits configs.Upgrade) string {
	if fault := t.errorFault(limits); fault != "" {
		return fault
	}
	return t.latencyFault(limits)
}

// errorFault judges the share of responses with status 500 and above.
func (t *trial) errorFault(limits configs.Upgrade) string {
	requests, errors := judged(t.candidate)
	if requests < uint64(limits.MinRequests) && errors < enoughErrors {
		return ""
	}
	more := float64(requests) * float64(limits.ErrorPercent) / 100
	before := t.excuse(limits, requests, func(s *board.Sums) uint64 { _, e := judged(s); return e })
	before.number += more
	before.variance += more
	if !t.exceeded(before, errors, requests) {
		return ""
	}
	return fmt.Sprintf("the new version has answered %s of %s with a server error, which is %s %%, beside %s %% of the old one%s: upgrade.error_percent %d allows %s %%",
		thousands(int(errors)), plural(int(requests), "request", "requests"), decimal(percent(errors, requests)),
		decimal(100*(before.number-more)/float64(requests)), before.whence, limits.ErrorPercent, decimal(100*before.number/float64(requests)))
}

// judged is how many requests were finished, and how many of them with a server error. The two are counted a turn of the loop apart.
func judged(s *board.Sums) (requests, errors uint64) {
	errors = s.Of(board.WordServerErrors)
	return max(s.Of(board.WordFinished), errors), errors
}

// latencyFault judges the slowest hundredth of the requests.
func (t *trial) latencyFault(limits configs.Upgrade) string {
	requests, baseline := t.candidate.Latency.Count(), t.baseline(limits)
	if least := uint64(limits.MinRequests); requests < least || baseline.Latency.Count() < least {
		return ""
	}
	before := baseline.Latency.Quantile(judgedQuantile) // µs, as all that follow
	allowed := max(before*uint64(limits.LatencyFactor), before+uint64(limits.LatencyFloor.Microseconds()))
	// By its definition a hundredth of the old version's requests may be above the quantile, wherever that is.
	few := float64(requests) * (1 - judgedQuantile)
	slow := expected{number: few, variance: few + few*float64(requests)/float64(baseline.Latency.Count())}
	p99, n := t.candidate.Latency.Quantile(judgedQuantile), t.candidate.Latency.Above(allowed)
	had := t.excuse(limits, requests, func(s *board.Sums) uint64 { return s.Latency.Above(allowed) })
	if p99 <= allowed || !t.exceeded(slow, n, requests) || !t.exceeded(had, n, requests) {
		return ""
	}
	return fmt.Sprintf("the new version's 99th percentile of latency is %s over %s, beside %s of the old one: upgrade.latency_factor %d and upgrade.latency_floor %q allow %s",
		micros(p99), plural(int(requests), "request", "requests"), micros(before), limits.LatencyFactor, limits.LatencyFloor, micros(allowed))
}

// expected is how many requests of a kind the candidate would have had if it were the old version, as far as is known from samples.
type expected struct {
	number, variance float64
	whence           string // for a sentence: what else than requests it was taken from
}

// excuse is the largest number of such requests that what the old version has had of them explains.
func (t *trial) excuse(limits configs.Upgrade, requests uint64, had func(*board.Sums) uint64) (most expected) {
	for _, s := range [...]*board.Sums{t.baseline(limits), t.ever} {
		finished, _ := judged(s)
		if finished == 0 {
			continue
		}
		n := float64(had(s))
		share := float64(requests) / float64(finished)
		e := proportional(n, share)
		if accepted := s.Of(board.WordAccepted); accepted > 0 {
			byConnections := min(float64(t.candidate.Of(board.WordAccepted))/float64(accepted), mostSkew*share)
			if other := proportional(n, byConnections); other.number > e.number {
				other.number = max(e.number, min(other.number, float64(requests)*mostExcused))
				other.whence = " on as many new connections"
				e = other
			}
		}
		if e.bound(1) > most.bound(1) {
			most = e
		}
	}
	return most
}

// proportional is what follows from n that were counted for a sample that is so many times as large. That n is as much a matter of chance as
// the number that it is held against.
func proportional(n, times float64) expected {
	return expected{number: times * n, variance: times*n + times*times*n}
}

// bound is the largest number that is still explained by chance, where so many come together. The numbers of rare events have their mean for
// a variance; the last summand is for means of about one and less, whose distribution is no bell.
func (e expected) bound(together float64) float64 {
	return e.number + deviations*math.Sqrt(together*e.variance) + together*deviations*deviations/4.
}

// exceeded reports whether so many of the candidate's requests are more than what is expected, by more than chance.
func (t *trial) exceeded(e expected, n, requests uint64) bool {
	together := 1.0
	if accepted := t.candidate.Of(board.WordAccepted); accepted > 0 {
		together = max(1, min(float64(requests)/float64(accepted), mostAlike))
	}
	known := expected{number: e.number, variance: e.number} // as if the old version's sample were without end
	most := max(known.bound(1), e.number+(float64(requests)-e.number)*mostExcused)
	return float64(n) > min(e.bound(together), most)
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

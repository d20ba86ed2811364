package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Load is what wrk reports of one run.
type Load struct {
	Requests int           // completed
	Bytes    int64         // received, heads included
	Duration time.Duration // of the run
	P99      time.Duration
}

// resultMark begins the line that wrkScript prints.
const resultMark = "bench-result "

// wrkScript is the Lua program that wrk runs: it asks depth requests at once, and prints
// its result as one line of name=value, so that no figure is rounded for people.
func wrkScript(depth int) string {
	pipeline := ""
	if depth > 1 {
		pipeline = fmt.Sprintf(`
local requests
init = function(args)
  local r = {}
  for i = 1, %d do r[i] = wrk.format() end
  requests = table.concat(r)
end
request = function() return requests end
`, depth)
	}
	return pipeline + `
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("` + resultMark + `duration_us=%d requests=%d bytes=%d p99_us=%d connect=%d read=%d write=%d status=%d timeout=%d\n",
    summary.duration, summary.requests, summary.bytes, latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
`
}

// parseWrk finds the result in wrk's output. Any failed request makes the run worthless.
func parseWrk(output []byte) (Load, error) {
	lines := bufio.NewScanner(bytes.NewReader(output))
	for lines.Scan() {
		_, line, ok := strings.Cut(lines.Text(), resultMark)
		if !ok {
			continue
		}
		values := make(map[string]int64)
		for field := range strings.FieldsSeq(line) {
			name, text, _ := strings.Cut(field, "=")
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return Load{}, fmt.Errorf("wrk: %s: %w", name, err)
			}
			values[name] = n
		}
		for _, kind := range []string{"connect", "read", "write", "status", "timeout"} {
			n, ok := values[kind]
			if !ok {
				return Load{}, fmt.Errorf("wrk: no count of %s errors in %q", kind, line)
			}
			if n > 0 {
				return Load{}, fmt.Errorf("wrk: %d %s errors", n, kind)
			}
		}
		l := Load{
			Requests: int(values["requests"]),
			Bytes:    values["bytes"],
			Duration: time.Duration(values["duration_us"]) * time.Microsecond,
			P99:      time.Duration(values["p99_us"]) * time.Microsecond,
		}
		if l.Bytes <= 0 || l.Duration <= 0 {
			return Load{}, errors.New("wrk: nothing was received")
		}
		return l, nil
	}
	return Load{}, fmt.Errorf("wrk: no result in its output: %q", output)
}

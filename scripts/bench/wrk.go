package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/http"
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

// wrkScript is the Lua program that wrk runs: it says what is asked for, and prints its result as one line of name=value, so that no
// figure is rounded for people.
//
// wrk by itself counts a status of 400 and more as an error. A checked run counts every answer whose status is not the case's. That costs
// wrk a copy of each answer, so a run that is measured is not checked, but the bytes of its answers are ([Case.check]).
func wrkScript(c Case, checked bool) string {
	status, response := "e.status", ""
	if checked {
		response = fmt.Sprintf(`
local threads = {}
setup = function(thread) table.insert(threads, thread) end
others = 0
response = function(status) if status ~= %d then others = others + 1 end end
`, cmp.Or(c.Status, http.StatusOK))
		status = `threads[1]:get("others")`
	}
	return c.requests() + response + `
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("` + resultMark + `duration_us=%d requests=%d bytes=%d p99_us=%d connect=%d read=%d write=%d status=%d timeout=%d\n",
    summary.duration, summary.requests, summary.bytes, latency:percentile(99),
    e.connect, e.read, e.write, ` + status + `, e.timeout))
end
`
}

// requests is Lua that makes the requests, "" where they are all the one that wrk makes by itself. What is random is the same in every run.
func (c Case) requests() string {
	const drawn = `
request = function() return requests[math.random(#requests)] end
`
	switch {
	case c.Files > 0:
		return fmt.Sprintf(`
local requests = {}
init = function(args)
  math.randomseed(1)
  for i = 0, %d - 1 do
    requests[i + 1] = wrk.format(nil, wrk.path .. string.format("%s", i %% %d, math.floor(i / %d) %% %d, i))
  end
end
`, c.Files, treeFormat, treeSections, treeSections, treeChapters) + drawn
	case c.Of > 0:
		return fmt.Sprintf(`
local requests = {}
init = function(args)
  math.randomseed(1)
  for i = 1, %d do
    local first = math.random(0, %d)
    wrk.headers["Range"] = string.format("bytes=%%d-%%d", first, first + %d)
    requests[i] = wrk.format()
  end
end
`, drawnRanges, c.Of-c.Body, c.Body-1) + drawn
	case c.Rows > 0:
		return fmt.Sprintf(`
local requests = {}
init = function(args)
  math.randomseed(1)
  for i = 1, %d do requests[i] = wrk.format(nil, wrk.path .. string.format("%s", i)) end
end
`, c.Rows, c.RowFormat) + drawn
	case c.Insert:
		return fmt.Sprintf(`
local requests = {}
init = function(args)
  math.randomseed(1)
  wrk.headers["Content-Type"] = "application/json"
  for i = 1, %d do
    requests[i] = wrk.format("POST", nil, nil, string.format('{"name":"item %%06d","price":%%d.5}', i, i %% 1000))
  end
end
`, drawnInserts) + drawn
	case c.Pipeline > 1:
		return fmt.Sprintf(`
local requests
init = function(args)
  local r = {}
  for i = 1, %d do r[i] = wrk.format() end
  requests = table.concat(r)
end
request = function() return requests end
`, c.Pipeline)
	}
	return ""
}

// drawnRanges is how many ranges wrk chooses from: making one for each request would be most of its work.
const drawnRanges = 16 << 10

// drawnInserts is the same for rows that are posted.
const drawnInserts = 4 << 10

// maxHead is longer than any answer's head, in bytes.
const maxHead = 1 << 10

// check compares the bytes that have come with those of the answers counted: a redirect, a 304 or a whole file in place of a range would
// be another number. What is under way at the end is in the bytes and not in the answers.
func (c Case) check(l Load) error {
	under := int64(c.Connections) * int64(max(c.Pipeline, 1))
	least, most := int64(l.Requests)*c.Body, (int64(l.Requests)+under)*(c.Body+maxHead)
	if l.Bytes < least || l.Bytes > most {
		return fmt.Errorf("wrk: %d bytes in %d answers, which is not %d bytes each", l.Bytes, l.Requests, c.Body)
	}
	return nil
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

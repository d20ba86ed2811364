package main

import (
	"strings"
	"testing"
	"time"
)

const wrkOutput = `Running 2s test @ http://127.0.0.1:8080/plain
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   413.83us  414.26us   9.32ms   96.53%
  186310 requests in 2.00s, 23.10MB read
Requests/sec:  92991.80
`

const wrkResult = "bench-result duration_us=2003511 requests=186310 bytes=24222330 p99_us=1410 connect=0 read=0 write=0 status=0 timeout=0\n"

func TestParseWrk(t *testing.T) {
	l, err := parseWrk([]byte(wrkOutput + wrkResult))
	if err != nil {
		t.Fatal(err)
	}
	want := Load{Requests: 186310, Bytes: 24222330, Duration: 2003511 * time.Microsecond, P99: 1410 * time.Microsecond}
	if l != want {
		t.Errorf("%+v, want %+v", l, want)
	}
}

func TestParseWrkRefuses(t *testing.T) {
	for name, output := range map[string]string{
		"no result":     wrkOutput,
		"nothing":       "",
		"failed reads":  strings.Replace(wrkResult, "read=0", "read=2", 1),
		"wrong status":  strings.Replace(wrkResult, "status=0", "status=9", 1),
		"no bytes":      strings.Replace(wrkResult, "bytes=24222330", "bytes=0", 1),
		"a field short": strings.Replace(wrkResult, " timeout=0", "", 1),
		"not a number":  strings.Replace(wrkResult, "p99_us=1410", "p99_us=nan", 1),
	} {
		if l, err := parseWrk([]byte(output)); err == nil {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

func TestWrkScript(t *testing.T) {
	if s := wrkScript(0); strings.Contains(s, "request = function") || !strings.Contains(s, "done = function") {
		t.Error(s)
	}
	if s := wrkScript(16); !strings.Contains(s, "for i = 1, 16 do") {
		t.Error(s)
	}
}

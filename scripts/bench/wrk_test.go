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
	for name, c := range map[string]struct {
		of       Case
		checked  bool
		has, not []string
	}{
		"one":       {Case{}, false, []string{"done = function", "e.status"}, []string{"request = function", "response = function"}},
		"pipelined": {Case{Pipeline: 16}, false, []string{"for i = 1, 16 do"}, nil},
		"checked":   {Case{}, true, []string{"status ~= 200", `get("others")`}, []string{"e.status"}},
		"tree": {Case{Files: 500}, false, []string{"0, 500 - 1", "\"" + treeFormat + "\", i % 20, math.floor(i / 20) % 10, i"},
			nil},
		"rows":    {Case{Rows: 500, RowFormat: "%015d"}, false, []string{"for i = 1, 500 do", `string.format("%015d", i)`}, []string{"POST"}},
		"inserts": {Case{Insert: true}, true, []string{`wrk.format("POST"`, `{"name":"item %06d","price":%d.5}`, "status ~= 200"}, nil},
		"ranges":  {Case{Of: 1000, Body: 16, Status: 206}, true, []string{"math.random(0, 984)", `"bytes=%d-%d", first, first + 15`, "status ~= 206"}, nil},
	} {
		s := wrkScript(c.of, c.checked)
		for _, want := range c.has {
			if !strings.Contains(s, want) {
				t.Errorf("%s: no %q in %s", name, want, s)
			}
		}
		for _, other := range c.not {
			if strings.Contains(s, other) {
				t.Errorf("%s: %q in %s", name, other, s)
			}
		}
	}
}

// Every file of a tree has a path of its own.
func TestTree(t *testing.T) {
	all := files(func(string) bool { return true })
	for _, c := range cases {
		n := 0
		for path := range all {
			if c.Files > 0 && strings.HasPrefix(path, c.Path+"/") {
				n++
			}
		}
		if n != c.Files {
			t.Errorf("%s: %d files, want %d", c.Name, n, c.Files)
		}
	}
	if len(files(func(string) bool { return false })) >= len(all) {
		t.Error("the files of a case that is not wanted are there")
	}
}

func TestCheckOfBytes(t *testing.T) {
	c := Case{Body: 1000, Connections: 2}
	for name, l := range map[string]struct {
		Load
		ok bool
	}{
		"heads and bodies":          {Load{Requests: 100, Bytes: 120_000}, true},
		"and two under way":         {Load{Requests: 100, Bytes: 202_000}, true},
		"bodies are missing":        {Load{Requests: 100, Bytes: 90_000}, false},
		"far longer":                {Load{Requests: 100, Bytes: 1_000_000}, false},
		"none whole, two under way": {Load{Requests: 0, Bytes: 1_500}, true},
	} {
		if err := c.check(l.Load); (err == nil) != l.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package configs

import (
	"fmt"
	"strconv"
	"time"
)

// The blocks of this package, in the same terms as those of modules.
// docs/config.md is the reference for operators; a test looks for each row there.

// Bounds of the timeouts of the top level: more is a slip of the unit.
const (
	day  = 24 * time.Hour
	week = 7 * day
)

// leastMemory is the least memory_limit in bytes: a child at rest stays below it, and a lower limit would replace children for ever.
const leastMemory = 64 << 20

// startMargin is what upgrade.timeout leaves, at the least, for the start of the new version and the proof of its children.
const startMargin = 5 * time.Second

func topLevel(schema *Schema) BlockSpec {
	limits, workers := schema.Limits, schema.Workers
	limits.Name, limits.Labels, limits.Repeat = "limits", nil, false
	workers.Name, workers.Labels, workers.Repeat = "workers", nil, false
	return BlockSpec{
		Attributes: []Attribute{
			{
				Name: "children", Type: Int, Default: 0, Words: map[string]any{"auto": 0}, Min: 1, Max: 1024,
				Doc: `number of children; "auto": one per usable core`,
			},
			{Name: "pin", Type: Bool, Default: false, Doc: "pin each child to a core"},
			{Name: "procs", Type: Int, Default: 1, Min: 1, Max: 1024, Doc: "threads of a child that run Go code at a time (GOMAXPROCS)"},
			{Name: "user", Type: String, Default: "", Example: `"www-data"`, Doc: `user of the children; "": no change`},
			{Name: "group", Type: String, Default: "", Example: `"www-data"`, Doc: `group of the children; "": the group of user, if set`},
			{Name: "control", Type: Path, Default: "", Example: `"/run/tined/control.sock"`, Doc: `control socket; "": found by the command line's rules`},
			{Name: "control_mode", Type: String, Default: "0660", Check: checkMode("control_mode"), Doc: "permissions of the control socket, octal"},
			{Name: "control_owner", Type: String, Default: "", Example: `"root"`, Doc: `owner of the control socket; "": the user of the master`},
			{Name: "control_group", Type: String, Default: "", Example: `"adm"`, Doc: `group of the control socket; "": the group of the master`},
			{Name: "runtime_dir", Type: Path, Default: "", Example: `"/run/tined"`, Doc: `runtime directory; "": the directory of the control socket`},
			{Name: "drain_timeout", Type: Duration, Default: "30s", Max: day, Doc: "how long exchanges may take to finish when a child stops"},
			{Name: "orphan_timeout", Type: Duration, Default: "60s", Max: day, Doc: "how long children of a dead master serve before they drain, unless a next one adopts them"},
			{
				Name: "retired_generations", Type: Int, Default: 32, Min: 1, Max: 1024,
				Doc: "earlier configurations that unfinished exchanges may still hold in a child after reloads; beyond it the oldest is ended",
			},
			{
				Name: "retired_timeout", Type: Duration, Default: "12h", Check: checkRetired,
				Doc: `how long unfinished exchanges may hold an earlier configuration; then they are ended; "0s": for ever`,
			},
			{
				Name: "balance", Type: String, Default: "auto", OneOf: []string{"auto", "off"},
				Doc: `whether idle connections move from children that have many to those that have few; "auto": when it is worth it`,
			},
			{Name: "poller", Type: String, Default: "epoll", OneOf: []string{"epoll", "poll", "select"}, Doc: "how the loop waits"},
			{
				Name: "trusted_proxies", Type: Strings, Default: []string{}, Example: `["10.0.0.0/8", "::1"]`,
				Doc: `peers that are believed when they tell a client's address: addresses, prefixes, "loopback", "private", "unix"`,
			},
			{
				Name: "forwarded_field", Type: String, Default: "auto", OneOf: []string{"auto", "X-Forwarded-For", "Forwarded"},
				Doc: `the field that trusted proxies tell it in; "auto": whichever is there`,
			},
			{Name: "include", Type: Strings, Example: `["conf.d/*.hcl"]`, Doc: "further files, by name or pattern, relative to this file"},
		},
		Blocks: []BlockSpec{
			listenSpec(),
			siteSpec(schema),
			{
				Name: "log",
				Doc:  "the server's own log",
				Attributes: []Attribute{
					{Name: "level", Type: String, Default: "info", OneOf: []string{"debug", "info", "warn", "error"}, Doc: "the least level that is logged"},
					{Name: "format", Type: String, Default: "auto", OneOf: []string{"auto", "human", "json"}, Doc: `"auto": human on a terminal, else json`},
					{Name: "file", Type: Path, Default: "", Example: `"/var/log/tined/tined.log"`, Doc: `where to; "": stderr`},
				},
			},
			{
				Name: "health",
				Doc:  "when a child is not fit any more",
				Attributes: []Attribute{
					{
						Name: "hang_timeout", Type: Duration, Default: "5s", Check: checkHang,
						Doc: `a child that has not moved for so long is killed and started again; "0s": never`,
					},
					{
						Name: "memory_limit", Type: Size, Default: 0, Example: `"1GiB"`, Check: checkMemory,
						Doc: "resident memory of a child beyond which another takes its place; 0: none",
					},
				},
			},
			upgradeSpec(),
			limits,
			workers,
		},
	}
}

func upgradeSpec() BlockSpec {
	return BlockSpec{
		Name: "upgrade",
		Doc:  "how long an upgrade is on trial, and what it is taken back for",
		Attributes: []Attribute{
			{
				Name: "timeout", Type: Duration, Default: "60s", Min: startMargin, Max: time.Hour,
				Doc: "how long an upgrade may take from its start to the end of the probation; then it is taken back",
			},
			{
				Name: "canary", Type: Duration, Default: "5s", Check: checkTrial("canary"),
				Doc: `how long one child of the new version serves beside the old ones; "0s": it is left out`,
			},
			{
				Name: "probation", Type: Duration, Default: "10s", Check: checkTrial("probation"),
				Doc: `how long all children of the new version serve before the old ones leave; "0s": it is left out`,
			},
			{
				Name: "min_requests", Type: Int, Default: 50, Min: 1, Max: 1_000_000,
				Doc: "requests that the new version must have finished before its share of errors and its latency are judged",
			},
			{
				Name: "error_percent", Type: Int, Default: 1, Min: 0, Max: 100,
				Doc: "percentage points by which the share of answers with status 500 and above may exceed the old version's",
			},
			{
				Name: "latency_factor", Type: Int, Default: 3, Min: 1, Max: 1000,
				Doc: "times the old version's 99th percentile of latency that the new version's may be",
			},
			{
				Name: "latency_floor", Type: Duration, Default: "50ms", Max: time.Minute,
				Doc: "a 99th percentile that is greater by no more than this is no fault, whatever the factor",
			},
		},
		Check: checkUpgrade,
	}
}

// checkTrial bounds a time for which the new version is watched.
func checkTrial(name string) func(any) error {
	return func(v any) error {
		return zeroOr(name, "it is left out", v.(time.Duration), 100*time.Millisecond, 30*time.Minute)
	}
}

// checkUpgrade refuses a timeout that would take back every upgrade.
func checkUpgrade(b *Block) []Problem {
	timeout, canary, probation := b.Duration("timeout"), b.Duration("canary"), b.Duration("probation")
	least := canary + probation + startMargin
	if timeout >= least {
		return nil
	}
	at := "timeout"
	for _, name := range []string{"probation", "canary"} {
		if !b.Has("timeout") && b.Has(name) {
			at = name
		}
	}
	return []Problem{{
		At: at,
		Message: fmt.Sprintf("timeout %s leaves too little beside canary %s and probation %s: every upgrade would be taken back",
			literalOf(timeout), literalOf(canary), literalOf(probation)),
		Cure: fmt.Sprintf("it must be at least %s, which is both and %s to start the new version; raise it, or shorten them",
			literalOf(least), literalOf(startMargin)),
	}}
}

func listenSpec() BlockSpec {
	return BlockSpec{
		Name: "listen", Labels: []string{"NAME"}, Repeat: true,
		Doc: "an address to listen on",
		Attributes: []Attribute{
			{Name: "address", Type: String, Required: true, Example: `"127.0.0.1:8080"`, Doc: "IP:port, [v6]:port, :port, localhost:port or unix:PATH"},
			{Name: "deferred", Type: Bool, Default: false, Doc: "accept a connection only once its first bytes are there (TCP_DEFER_ACCEPT)"},
			{Name: "backlog", Type: Int, Default: 0, Min: 0, Max: 65535, Doc: "connections that may wait to be accepted; 0: as many as the kernel allows (net.core.somaxconn)"},
			{Name: "mode", Type: String, Default: "0660", Check: checkMode("mode"), Doc: "permissions of a unix socket, octal"},
			{Name: "trusted_proxies", Type: Strings, Example: `["10.0.0.0/8", "::1"]`, Doc: "as at the top level, which is the default"},
			{Name: "proxy_protocol", Type: Bool, Default: false, Example: "true", Doc: "connections begin with a PROXY header, version 1 or 2; only trusted_proxies may connect"},
		},
		Check:    checkListen,
		reserved: []string{"tls", "protocols"},
	}
}

// checkMode refuses what is no permissions in octal.
func checkMode(attribute string) func(any) error {
	return func(v any) error {
		text := v.(string)
		if n, err := strconv.ParseUint(text, 8, 32); err != nil || n > 0o777 || len(text) > 4 {
			return Problem{
				Message: attribute + " " + Quote(text) + " is not a file mode",
				Cure:    `write three octal digits, like "0660" (owner and group) or "0666" (everybody)`,
			}
		}
		return nil
	}
}

func checkHang(v any) error {
	return zeroOr("hang_timeout", "never", v.(time.Duration), time.Second, time.Hour)
}

func checkRetired(v any) error {
	return zeroOr("retired_timeout", "for ever", v.(time.Duration), time.Second, week)
}

// zeroOr refuses a duration that is neither within bounds nor zero, which has a meaning of its own.
func zeroOr(name, zero string, d, low, high time.Duration) error {
	if d == 0 || low <= d && d <= high {
		return nil
	}
	return Problem{
		Message: fmt.Sprintf("%s cannot be %s", name, literalOf(d)),
		Cure:    fmt.Sprintf(`it may be from %s to %s, or "0s": %s`, literalOf(low), literalOf(high), zero),
	}
}

func checkMemory(v any) error {
	if n := v.(int64); n != 0 && n < leastMemory {
		return Problem{
			Message: "memory_limit cannot be " + formatSize(n) + ": a child at rest may hold that much",
			Cure:    "it must be at least " + formatSize(leastMemory) + ", or 0 for no limit",
		}
	}
	return nil
}

// checkListen refuses options that the kind of socket does not have.
func checkListen(b *Block) []Problem {
	a, p := parseAddress(b.String("address"))
	if p != nil {
		p.At = "address"
		return []Problem{*p}
	}
	if a.Network == "unix" && b.Has("deferred") {
		return []Problem{{At: "deferred", Message: "a unix socket has no deferred", Cure: "remove it"}}
	}
	if a.Network == "tcp" && b.Has("mode") {
		return []Problem{{At: "mode", Message: fmt.Sprintf("mode is for unix sockets, and %s is none", b.String("address")), Cure: "remove it"}}
	}
	return nil
}

func siteSpec(schema *Schema) BlockSpec {
	site := BlockSpec{
		Name: "site", Labels: []string{"NAME"}, Repeat: true,
		Doc: "hosts with their routes",
		Attributes: []Attribute{
			{Name: "hosts", Type: Strings, Example: `["example.com", "*.example.org"]`, Doc: "names that the site answers for; none: it is the default site"},
			{Name: "listen", Type: Strings, Example: `["main"]`, Doc: "names of listeners; none: all of them"},
		},
		Blocks: []BlockSpec{
			{
				Name: "access_log",
				Doc:  "a log line per request",
				Attributes: []Attribute{
					{Name: "format", Type: String, Default: "combined", OneOf: []string{"combined", "common", "json"}, Doc: "the form of a line"},
					{Name: "file", Type: Path, Default: "stdout", Words: map[string]any{"stdout": "stdout"}, Doc: `a file, or "stdout"`},
				},
			},
			routeSpec(schema),
		},
	}
	site.Blocks = append(site.Blocks, schema.Middleware...)
	return site
}

func routeSpec(schema *Schema) BlockSpec {
	route := BlockSpec{
		Name: "route", Labels: []string{"PATTERN"}, Repeat: true,
		Doc: "a pattern and the module that answers",
		// Patterns are compared by their key, which knows more.
		equalLabels: true,
	}
	for _, m := range schema.Modules {
		m.module = true
		route.Blocks = append(route.Blocks, m)
	}
	if limits := schema.RouteLimits; len(limits.Attributes) > 0 {
		limits.Name, limits.Labels, limits.Repeat = "limits", nil, false
		route.Blocks = append(route.Blocks, limits)
	}
	route.Blocks = append(route.Blocks, schema.Middleware...)
	return route
}

package configs

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// Quote writes s as a quoted text of the native syntax.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case (r == '$' || r == '%') && strings.HasPrefix(s[i+1:], "{"):
			b.WriteRune(r)
			b.WriteRune(r)
		case r == unicode.ReplacementChar || unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func quoteAll(list []string) []string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = Quote(s)
	}
	return quoted
}

// orList joins words: "a", "a or b", "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}

// asProblem turns the error of a check into a problem.
func asProblem(err error) Problem {
	var p Problem
	if errors.As(err, &p) {
		return p
	}
	var pointer *Problem
	if errors.As(err, &pointer) && pointer != nil {
		return *pointer
	}
	return Problem{Message: err.Error()}
}

// DidYouMean returns `did you mean "x"?` for the known word that is closest to
// word, and "" when none is close. Modules use it for names of their own.
func DidYouMean(word string, known []string) string {
	if w := closest(word, known); w != "" {
		return "did you mean " + Quote(w) + "?"
	}
	return ""
}

// synonyms are what the same things are called elsewhere.
var synonyms = map[string]string{
	"server": "site", "virtualhost": "site", "virtual_host": "site", "vhost": "site",
	"server_name": "hosts", "domains": "hosts", "names": "hosts",
	"location": "route", "handle": "route", "path": "route",
	"bind": "listen", "port": "listen", "listener": "listen", "listeners": "listen",
	"worker_processes": "children", "processes": "children", "nproc": "children",
	"gomaxprocs": "procs", "threads": "procs", "cpu_affinity": "pin", "worker_cpu_affinity": "pin",
	"logging": "log", "error_log": "log", "accesslog": "access_log",
	"includes": "include", "import": "include", "socket": "control", "socket_mode": "control_mode", "socket_group": "control_group",
	"healthcheck": "health", "health_check": "health", "watchdog": "health", "max_memory": "memory_limit", "memory_max": "memory_limit",
	"worker_shutdown_timeout": "drain_timeout", "graceful_timeout": "drain_timeout", "shutdown_timeout": "drain_timeout",
	"set_real_ip_from": "trusted_proxies", "real_ip_from": "trusted_proxies", "real_ip_header": "forwarded_field",
	"accept_proxy": "proxy_protocol", "proxyprotocol": "proxy_protocol",
	"ssl": "tls", "return": "respond", "response": "respond", "files": "static", "file_server": "static",
	"document_root": "root", "dir": "root", "directory": "root", "url": "to", "target": "to", "code": "status",
}

// closest returns the known word that is nearest to word by edit distance, ""
// when all are farther than a third of the word's length (one edit at least).
// A synonym, and a shared beginning, count too.
func closest(word string, known []string) string {
	word = strings.ToLower(word)
	if s, ok := synonyms[word]; ok && slices.Contains(known, s) {
		return s
	}
	if len(word) > 64 {
		return ""
	}
	best, least := "", max(1, (len(word)+1)/3)+1
	for _, k := range known {
		if d := distance(word, strings.ToLower(k)); d < least && d < max(len(k), 2) {
			best, least = k, d
		}
	}
	if best != "" {
		return best
	}
	for _, k := range known {
		if n := sharedPrefix(word, strings.ToLower(k)); n >= 4 && 3*n >= 2*len(word) {
			return k
		}
	}
	return ""
}

func sharedPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// distance counts the insertions, deletions, replacements and swaps of two
// neighbours that lead from a to b.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

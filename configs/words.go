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
// word, how to write it where the word alone would not help, and "" when none is
// close. Modules use it for names of their own.
func DidYouMean(word string, known []string) string {
	if s, ok := synonyms[strings.ToLower(word)]; ok {
		switch w := s.in(known); {
		case w != "" && w == s.words[0] && s.cure != "":
			return s.cure
		case w == "route" && slices.Contains(s.words, "static"):
			return `that is a matter of static { } in a route "PATTERN" { }`
		}
	}
	if w := closest(word, known); w != "" {
		return "did you mean " + Quote(w) + "?"
	}
	return ""
}

// meansOneOf reports whether elsewhere a name means first of all one of those
// that are known here.
func meansOneOf(name string, known []string) bool {
	s, ok := synonyms[strings.ToLower(name)]
	return ok && slices.Contains(known, s.words[0])
}

// A synonym is what a thing is called here: of words the first that the place
// knows. With a cure, that stands for the question after the first of them.
type synonym struct {
	words []string
	cure  string
}

func (s synonym) in(known []string) string {
	for _, w := range s.words {
		if slices.Contains(known, w) {
			return w
		}
	}
	return ""
}

// synonyms are what the same things are called elsewhere.
var synonyms = gather([]synonymRow{
	{"server virtualhost virtual_host vhost", "site", ""},
	{"server_name domains names", "hosts", ""},
	{"location", "route files", ""},
	{"handle handle_path", "route", ""},
	{"bind port listener listeners", "listen", ""},
	{"worker_processes processes nproc", "children", ""},
	{"gomaxprocs threads", "procs", ""},
	{"cpu_affinity worker_cpu_affinity", "pin", ""},
	{"logging error_log", "log", ""},
	{"accesslog", "access_log", ""},
	{"includes import", "include", ""},
	{"socket", "control", ""},
	{"socket_mode", "control_mode", ""},
	{"socket_group", "control_group", ""},
	{"healthcheck health_check watchdog", "health", ""},
	{"max_memory memory_max", "memory_limit", ""},
	{"worker_shutdown_timeout graceful_timeout shutdown_timeout", "drain_timeout", ""},
	{"set_real_ip_from real_ip_from", "trusted_proxies", ""},
	{"real_ip_header", "forwarded_field", ""},
	{"accept_proxy proxyprotocol", "proxy_protocol", ""},
	{"ssl", "tls", ""},
	{"return response", "respond", ""},
	{"files file_server", "static route", ""},
	{"url target", "to", ""},
	{"code", "status", ""},
	{"gz", "gzip", ""},
	{"brotli", "br compress", ""},
	{"zst zstandard", "zstd", ""},

	// What a static block has under other names.
	{"document_root documentroot docroot directory", "root static route", ""},
	{"dir folder", "root directory static route", ""},
	{"root", "static route", ""},
	{"alias", "root static route", `write root = "DIR"; as with alias, what the route's pattern says is no part of it`},
	{"path", "route root paths file", ""},
	{"page uri", "file", ""},
	{"autoindex autoindex_format autoindex_exact_size browse directory_listing dirlist", "listing static route", ""},
	{"directory_index directoryindex index_file index_files", "index static route", ""},
	{"try_files", "try static route",
		`write try = ["{path}", "{path}/", "{path}.html"], or fallback { file = "/index.html" } to send one file for all that is missing`},
	{"rewrite", "try redirect", ""},
	{"spa single_page fallback_file", "fallback static route", ""},
	{"expires cache_control max_age", "headers static route",
		`write headers = { Cache-Control = "max-age=3600" }, or the same in files "PATTERN" { } for some of the files`},
	{"add_header set_header", "headers static route", ""},
	{"cors", "headers static route", `write headers = { Access-Control-Allow-Origin = "*" }`},
	{"error_page error_pages error_document errordocument handle_errors not_found", "error static route",
		`write error "404" { file = "/404.html" }, and the same for each other status`},
	{"gzip_static brotli_static zstd_static", "precompressed static route", `write precompressed = ["br", "gzip"]`},
	{"gzip zstd deflate encode compression", "compress", ""},
	{"follow_symlinks followsymlinks disable_symlinks", "symlinks static route", ""},
	{"dotfiles show_hidden", "hidden static route", ""},
	{"hide", "access static route", `write access "NAME" { } with paths = ["PATTERN"] and allow = "none" in it`},
	{"content_types mime_types mime addtype add_type default_type", "types static route", ""},
	{"charset", "types static route", "remove it: text is sent as UTF-8, and types sets what is to be otherwise"},
	{"auth", "access static route", ""},
	{"auth_basic", "realm access static route", ""},
	{"basic_auth basicauth", "users access static route", ""},
	{"htpasswd password_file auth_basic_user_file authuserfile", "users_file access static route", ""},
	{"password passwords user username", "users access", ""},
	{"token bearer", "tokens access", ""},
	{"deny", "allow access static route", `write allow = "none", or from for the addresses that may`},
	{"ip ips addresses networks cidr remote_ip", "from access", ""},
	{"limit_except", "methods access static route", ""},
	{"dav webdav dav_methods put upload uploads", "write static route", ""},
	{"create_full_put_path mkdir", "create_directories", ""},
	{"dav_access permissions chmod", "mode", ""},
	{"client_max_body_size max_body_size request_body max_size", "max_bytes body write limits", ""},
	{"gzip_types", "types", ""},
	{"gzip_comp_level level compression_level", "gzip_level", ""},
	{"gzip_min_length min_length minimum_length", "min_bytes", ""},
	{"encodings algorithms formats", "codings", ""},
	{"limit max file_limit", "max_entries", ""},
	{"sort_by order_by", "sort", ""},
	{"cache_dir cache_directory cache_path", "directory", ""},
})

// A synonymRow gives several names, separated by blanks, the same meaning.
type synonymRow struct{ names, words, cure string }

func gather(rows []synonymRow) map[string]synonym {
	m := map[string]synonym{}
	for _, r := range rows {
		for name := range strings.FieldsSeq(r.names) {
			if _, twice := m[name]; twice {
				panic("configs: a second synonym of " + name)
			}
			m[name] = synonym{strings.Fields(r.words), r.cure}
		}
	}
	return m
}

// closest returns the known word that is nearest to word by edit distance, ""
// when all are farther than a third of the word's length (one edit at least).
// A synonym, and a shared beginning, count too.
func closest(word string, known []string) string {
	word = strings.ToLower(word)
	if w := synonyms[word].in(known); w != "" {
		return w
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

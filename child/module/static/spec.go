package static

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tined/tined/child/access"
	"github.com/tined/tined/child/coding"
	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/configs"
)

// Spec describes static { }.
func (Module) Spec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "static",
		Doc:  "serves the files below a directory",
		Attributes: []configs.Attribute{
			{Name: "root", Type: configs.Path, Required: true, Doc: "directory whose files are served", Example: `"/srv/www"`},
			{Name: "index", Type: configs.Strings, Default: []string{"index.html"},
				Doc: "names of the file that is served for a directory, the first that exists"},
			{Name: "try", Type: configs.Strings, Example: `["{path}", "{path}.html"]`,
				Doc: "what is looked for, the first that exists; {path} is the path of the request"},
			{Name: "headers", Type: configs.StringMap, Doc: "further header fields of files and redirects"},
			{Name: "types", Type: configs.StringMap, Doc: "Content-Types by extension (\".foo\") or name, beside the built-in table"},
			{Name: "nosniff", Type: configs.Bool, Default: true, Doc: "send X-Content-Type-Options: nosniff"},
			{Name: "symlinks", Type: configs.String, Default: linksBeneath, OneOf: []string{linksBeneath, linksFollow, linksRefuse},
				Doc: "which symlinks are followed: those that stay beneath the root, all, or none"},
			{Name: "hidden", Type: configs.Bool, Default: false, Doc: "serve names that start with a dot"},
			{Name: "precompressed", Type: configs.Strings, Example: `["zstd", "br", "gzip"]`,
				Doc: "codings whose siblings (a.css.zst, .br, .gz) are sent to who accepts them, the favourite first"},
		},
		Blocks: []configs.BlockSpec{
			{
				Name: "files", Labels: []string{"pattern"}, Repeat: true, Doc: "header fields of the files that a pattern is for",
				Attributes: []configs.Attribute{
					{Name: "headers", Type: configs.StringMap, Required: true, Doc: "further header fields", Example: `{ Cache-Control = "no-cache" }`},
				},
				Check: func(b *configs.Block) []configs.Problem {
					return append(checkGlobs("", b.Label(0)), checkFields(b)...)
				},
			},
			compressSpec(),
			listingSpec(),
			{
				Name: "access", Labels: []string{"name"}, Repeat: true, Doc: "who may have which files; the first that is for a request decides",
				Attributes: append([]configs.Attribute{
					{Name: "paths", Type: configs.Strings, Default: []string{"**"}, Doc: "patterns of the names that it is for"},
					{Name: "methods", Type: configs.Strings, Example: `["PUT", "DELETE"]`, Doc: "the methods that it is for; unset: all"},
					{Name: "allow", Type: configs.String, OneOf: []string{"all", "none"}, Doc: "everybody or nobody, in place of from, users and tokens"},
				}, access.Attributes()...),
				Check: checkAccess,
			},
			writeSpec(),
			{
				Name: "error", Labels: []string{"status"}, Repeat: true, Doc: "the file that is sent with an error",
				Attributes: pageAttributes("/404.html"),
				Check: func(b *configs.Block) []configs.Problem {
					problems := checkPage(b)
					if status, err := strconv.Atoi(b.Label(0)); err != nil || !slices.Contains(pageStatus, status) {
						problems = append(problems, configs.Problem{Message: fmt.Sprintf("error %q is not one of static's", b.Label(0)),
							Cure: "write one of " + statusList()})
					}
					return problems
				},
			},
			{
				Name: "fallback", Doc: "the file that is sent with 200 for what does not exist: of a single-page application",
				Attributes: pageAttributes("/index.html"), Check: checkPage,
			},
		},
		Check: check,
	}
}

// pageStatus are the errors that may have a page.
var pageStatus = []int{400, 401, 403, 404, 405, 409, 412, 413, 415, 416, 500, 503, 507}

func statusList() string {
	var list []string
	for _, status := range pageStatus {
		list = append(list, strconv.Itoa(status))
	}
	return strings.Join(list, ", ")
}

func pageAttributes(example string) []configs.Attribute {
	return []configs.Attribute{
		{Name: "file", Type: configs.String, Required: true, Doc: "name of the file, from the root", Example: strconv.Quote(example)},
		{Name: "headers", Type: configs.StringMap, Doc: "further header fields"},
	}
}

// written are the fields that this module writes itself.
var written = []string{"Accept-Ranges", "Content-Encoding", "Content-Range", "Content-Type", "ETag", "Last-Modified", "Location"}

func check(b *configs.Block) []configs.Problem {
	problems := append(checkFields(b), coding.CheckCodings("precompressed", b.Strings("precompressed"))...)
	problems = append(problems, checkReach(b)...)
	for i, name := range b.Strings("index") {
		if !validName(name) || strings.Contains(name, "/") {
			problems = append(problems, configs.Problem{At: "index", Item: i + 1, Message: fmt.Sprintf("%q is no name of a file in a directory", name),
				Cure: `write names such as "index.html"`})
		}
	}
	for i, candidate := range b.Strings("try") {
		if rest, ok := strings.CutPrefix(candidate, pathWord); ok && !strings.ContainsAny(rest, "{}\x00") && (rest == "/" || !strings.Contains(rest, "/")) {
			continue
		}
		if rest, ok := strings.CutPrefix(candidate, "/"); ok && !strings.Contains(rest, "{") && (rest == "" || validName(strings.TrimSuffix(rest, "/"))) {
			continue
		}
		problems = append(problems, configs.Problem{At: "try", Item: i + 1, Message: fmt.Sprintf("%q is nothing to try", candidate),
			Cure: `write "{path}", "{path}/", "{path}.html", or a file such as "/index.html"`})
	}
	types := b.StringMap("types")
	for _, name := range slices.Sorted(maps.Keys(types)) {
		switch {
		case strings.LastIndexByte(name, '.') > 0 && name[0] == '.':
			problems = append(problems, configs.Problem{At: "types", Message: fmt.Sprintf("%q is more than an extension: that begins at the last dot", name),
				Cure: "write " + configs.Quote(name[strings.LastIndexByte(name, '.'):])})
		case strings.HasPrefix(name, "*."):
			problems = append(problems, configs.Problem{At: "types", Message: fmt.Sprintf("%q would be the name of one file", name),
				Cure: "write " + configs.Quote(name[1:]) + " for an extension"})
		case name == "" || strings.Contains(name, "/") || name == ".":
			problems = append(problems, configs.Problem{At: "types", Message: fmt.Sprintf("%q is no extension and no name of a file", name),
				Cure: `write ".foo", or "Dockerfile"`})
		case !strings.Contains(types[name], "/") || !web.ValidFieldValue(types[name]):
			problems = append(problems, configs.Problem{At: "types", Message: fmt.Sprintf("%q is no content type", types[name]),
				Cure: `write for example "text/plain; charset=utf-8"`})
		}
	}
	if b.Block("write") != nil && !slices.ContainsFunc(b.Blocks("access"), changes) {
		problems = append(problems, configs.Problem{At: "write", Message: "nobody may write: no access block is for PUT or DELETE, and without one they are refused",
			Cure: `add an access block with methods = ["PUT", "DELETE"] and tokens, users or from`})
	}
	return problems
}

// changes reports whether an access block may be for a method that changes files.
func changes(b *configs.Block) bool {
	methods := b.Strings("methods")
	return len(methods) == 0 || slices.Contains(methods, "PUT") || slices.Contains(methods, "DELETE")
}

// checkFields looks at the attribute headers.
func checkFields(b *configs.Block) (problems []configs.Problem) {
	fields := b.StringMap("headers")
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if other := seen[strings.ToLower(name)]; other != "" {
			problems = append(problems, configs.Problem{At: "headers", Message: other + " and " + name + " are the same field: case does not matter in names",
				Cure: "remove one of them"})
		}
		seen[strings.ToLower(name)] = name
		switch {
		case !web.ValidFieldName(name):
			problems = append(problems, configs.Problem{At: "headers", Message: fmt.Sprintf("%q is no field name (RFC 9110, 5.1)", name),
				Cure: "use letters, digits and '-'"})
		case web.ServerField(name):
			problems = append(problems, configs.Problem{At: "headers", Message: name + " is written by the server", Cure: "remove it"})
		case slices.ContainsFunc(written, func(own string) bool { return strings.EqualFold(own, name) }):
			problems = append(problems, configs.Problem{At: "headers", Message: name + " is written by static for each file", Cure: "remove it"})
		case !web.ValidFieldValue(fields[name]):
			problems = append(problems, configs.Problem{At: "headers", Message: "the value of " + name + " holds control characters",
				Cure: "write it on one line"})
		}
	}
	return problems
}

// validName reports whether name, which may have slashes inside, is one of a file below a root.
func validName(name string) bool {
	if len(name) > maxName || strings.Contains(name, "\x00") {
		return false
	}
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || segment == "." || segment == ".." || len(segment) > 255 {
			return false
		}
	}
	return true
}

func checkGlobs(at string, patterns ...string) (problems []configs.Problem) {
	for i, pattern := range patterns {
		if strings.Contains(pattern, "|") || strings.HasSuffix(pattern, "$") || strings.HasPrefix(pattern, "^") {
			problems = append(problems, configs.Problem{At: at, Item: i + 1, Message: fmt.Sprintf("the pattern %q looks like a regular expression", pattern),
				Cure: `patterns are like those of a shell: write for example "*.{js,css}", or a backslash before a character that is meant`})
		} else if _, err := parseGlob(pattern); err != nil {
			problems = append(problems, configs.Problem{At: at, Item: i + 1, Message: fmt.Sprintf("the pattern %q: %v", pattern, err),
				Cure: `write for example "*.html" or "/private/**"`})
		}
	}
	return problems
}

func checkPage(b *configs.Block) []configs.Problem {
	problems := checkFields(b)
	if !validName(strings.TrimPrefix(b.String("file"), "/")) {
		problems = append(problems, configs.Problem{At: "file", Message: fmt.Sprintf("%q is no name of a file below the root", b.String("file")),
			Cure: `write for example "/404.html"`})
	}
	return problems
}

// methods are those that static knows.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete}

// checkReach finds access blocks that no request can come to, since one before them is for all.
func checkReach(b *configs.Block) (problems []configs.Problem) {
	all := ""
	for _, inner := range b.Blocks("access") {
		if all != "" {
			return append(problems, configs.Problem{At: "access", Message: fmt.Sprintf("access %q is never asked: access %q before it is for every file and method",
				inner.Label(0), all), Cure: fmt.Sprintf("put access %q last", all)})
		}
		if len(inner.Strings("methods")) == 0 && slices.ContainsFunc(inner.Strings("paths"), func(p string) bool { return p == "**" || p == "/**" || p == "/" }) {
			all = inner.Label(0)
		}
	}
	return nil
}

func checkAccess(b *configs.Block) []configs.Problem {
	problems := append(checkGlobs("paths", b.Strings("paths")...), access.Check(b)...)
	if len(b.Strings("paths")) == 0 {
		problems = append(problems, configs.Problem{At: "paths", Message: "an access block without paths is for nothing", Cure: `leave paths out to mean all`})
	}
	for i, method := range b.Strings("methods") {
		if !slices.Contains(methods, method) {
			cure := "the methods are GET, HEAD, PUT, DELETE"
			if slices.Contains(methods, strings.ToUpper(method)) {
				cure = "write " + configs.Quote(strings.ToUpper(method)) + ": the case of methods matters"
			}
			problems = append(problems, configs.Problem{At: "methods", Item: i + 1, Message: fmt.Sprintf("static knows no method %q", method), Cure: cure})
		}
	}
	conditions := b.Has("from") || b.Has("users") || b.Has("users_file") || b.Has("tokens")
	switch {
	case b.Has("allow") && conditions:
		problems = append(problems, configs.Problem{At: "allow", Message: "allow says who may, and so do from, users, users_file and tokens", Cure: "keep one of them"})
	case !b.Has("allow") && !conditions:
		problems = append(problems, configs.Problem{Message: fmt.Sprintf("access %q does not say who may", b.Label(0)),
			Cure: `add allow = "all", allow = "none", from, users, users_file or tokens`})
	}
	return problems
}

// optionsOf reads a block that has been checked.
func optionsOf(b *configs.Block) options {
	o := options{
		root: b.Path("root"), index: b.Strings("index"), try: b.Strings("try"), headers: b.StringMap("headers"), types: b.StringMap("types"),
		nosniff: b.Bool("nosniff"), symlinks: b.String("symlinks"), hidden: b.Bool("hidden"), precompressed: coding.List(b.Strings("precompressed")),
		bounds: defaultBounds,
	}
	for _, inner := range b.Blocks("files") {
		o.files = append(o.files, fieldsOption{inner.Label(0), inner.StringMap("headers")})
	}
	for _, inner := range b.Blocks("access") {
		rule := accessOption{name: inner.Label(0), paths: inner.Strings("paths"), methods: inner.Strings("methods"), allow: inner.String("allow")}
		if rule.allow == "" {
			rule.who = access.OptionsOf(inner)
		}
		o.access = append(o.access, rule)
	}
	for _, inner := range b.Blocks("error") {
		status, _ := strconv.Atoi(inner.Label(0)) // was checked
		o.pages = append(o.pages, pageOf(inner, status))
	}
	if inner := b.Block("fallback"); inner != nil {
		o.fallback = []pageOption{pageOf(inner, http.StatusOK)}
	}
	if inner := b.Block("compress"); inner != nil {
		o.compress = compressOptionsOf(inner)
	}
	if inner := b.Block("listing"); inner != nil {
		o.listing = listingOptionsOf(inner)
	}
	if inner := b.Block("write"); inner != nil {
		o.write = writeOptionsOf(inner)
	}
	return o
}

func pageOf(b *configs.Block, status int) pageOption {
	return pageOption{status: status, file: strings.TrimPrefix(b.String("file"), "/"), headers: b.StringMap("headers")}
}

// options are the configuration of a server.
type options struct {
	root          string
	index, try    []string
	headers       map[string]string
	files         []fieldsOption
	types         map[string]string
	nosniff       bool
	symlinks      string
	hidden        bool
	precompressed []coding.Coding
	compress      *compressOptions // nil: off
	listing       *listingOptions  // nil: off
	access        []accessOption
	write         *writeOptions // nil: off
	pages         []pageOption
	fallback      []pageOption // one, or none

	prefix string
	bounds bounds
	claims *module.Claims
	log    func(module.Level, string, ...module.Field)
}

// A fieldsOption is files "GLOB" { }.
type fieldsOption struct {
	pattern string
	headers map[string]string
}

// An accessOption is access "NAME" { }.
type accessOption struct {
	name           string
	paths, methods []string
	allow          string
	who            access.Options // unless allow is set
}

// A pageOption is error "404" { } or fallback { }.
type pageOption struct {
	status  int
	file    string // below the root
	headers map[string]string
}

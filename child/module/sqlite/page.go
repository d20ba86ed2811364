package sqlite

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/web"
)

// The page is one document: style and script stand in it, so that it needs no paths of its own below the route.
//
//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

//go:embed page.js
var pageScript string

// pagePolicy allows the page its own style and script, by their hashes, and requests to its own server. No text can become a script there: the
// browser refuses the functions that would make one of it (https://www.w3.org/TR/trusted-types/).
func pagePolicy() string {
	return "default-src 'none'; script-src " + hashOf(pageScript) + "; style-src " + hashOf(pageStyle) + "; connect-src 'self'; img-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'" // img-src: /favicon.ico
}

// hashOf is the source expression of an inline element (https://www.w3.org/TR/CSP3/, 2.3.1).
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// pageFields are the field lines that the page is sent with.
func pageFields() []web.Field {
	return []web.Field{
		{Name: "Content-Type", Value: "text/html; charset=utf-8"},
		{Name: "Content-Security-Policy", Value: pagePolicy()},
		{Name: "X-Content-Type-Options", Value: "nosniff"},
		{Name: "Referrer-Policy", Value: "no-referrer"},
		{Name: "Cross-Origin-Opener-Policy", Value: "same-origin"},
		{Name: "Cache-Control", Value: "no-cache"},
	}
}

// pageHTML returns the page: all queries that are declared, whoever may use them. It is the same for the same configuration.
func (s *service) pageHTML() []byte {
	var b []byte
	for text := pageText; ; {
		before, rest, more := strings.Cut(text, "{{")
		b = append(b, before...)
		if !more {
			return b
		}
		var name string
		name, text, _ = strings.Cut(rest, "}}")
		switch name {
		case "style":
			b = append(b, pageStyle...)
		case "script":
			b = append(b, pageScript...)
		case "base":
			b = appendText(b, s.base)
		case "summary":
			b = s.appendSummary(b)
		case "credentials":
			b = s.appendCredentials(b)
		case "contents":
			b = s.appendContents(b)
		case "databases":
			b = s.appendDatabases(b)
		default:
			panic("sqlite: the page has no " + strconv.Quote(name))
		}
	}
}

func (s *service) appendSummary(b []byte) []byte {
	queries, databases := 0, len(s.order)
	for _, d := range s.order {
		queries += len(d.order)
	}
	if s.pattern != nil {
		databases--
	}
	if databases > 0 || s.pattern == nil {
		b = appendCount(b, databases, "database", "databases")
	}
	if s.pattern != nil {
		if databases > 0 {
			b = append(b, " and "...)
		}
		b = append(b, "all files of a directory"...)
	}
	b = append(b, ", "...)
	return appendCount(b, queries, "query", "queries")
}

func appendCount(b []byte, n int, one, many string) []byte {
	b = append(strconv.AppendInt(b, int64(n), 10), ' ')
	if n == 1 {
		return append(b, one...)
	}
	return append(b, many...)
}

// appendCredentials writes the fields for a name and password, or a token: those that some role takes.
func (s *service) appendCredentials(b []byte) []byte {
	basic, bearer := false, false
	for _, r := range s.roles {
		a, o := r.schemes()
		basic, bearer = basic || a, bearer || o
	}
	if !basic && !bearer {
		return b
	}
	b = append(b, `<details class="credentials" id="credentials"><summary>Credentials <span id="signed" class="soft">none</span></summary>
<form id="sign" autocomplete="off">
<label for="scheme">Send</label>
<select id="scheme"><option value="">what the browser knows</option>`...)
	if basic {
		b = append(b, `<option value="basic">name and password</option>`...)
	}
	if bearer {
		b = append(b, `<option value="bearer">a token</option>`...)
	}
	b = append(b, `</select>
<div class="basic" hidden><label for="user">Name</label><input id="user" autocapitalize="off" spellcheck="false">
<label for="password">Password</label><input id="password" type="password" autocomplete="off"></div>
<div class="bearer" hidden><label for="token">Token</label><input id="token" type="password" autocomplete="off" spellcheck="false"></div>
<p class="soft">They stay in this page, and are gone when it is closed.</p>
</form></details>
`...)
	return b
}

// appendContents writes links to the databases, if there are several, and the field that finds a query, if there are many.
func (s *service) appendContents(b []byte) []byte {
	queries := 0
	list := s.listed()
	for _, d := range list {
		queries += len(d.order)
	}
	if queries > 8 {
		b = append(b, `<p class="find"><label for="find">Find a query</label> <input id="find" type="search" autocomplete="off" spellcheck="false"> `+
			`<span id="hits" role="status" class="soft"></span></p>`+"\n"...)
	}
	if len(list) < 2 {
		return b
	}
	b = append(b, `<nav aria-label="Databases"><ul>`...)
	for i, d := range list {
		b = append(b, `<li><a href="#database-`+strconv.Itoa(i+1)+`"><bdi>`...)
		b = appendText(b, s.title(d))
		b = append(b, `</bdi></a></li>`...)
	}
	return append(b, "</ul></nav>\n"...)
}

// title is what a database is called on the page.
func (s *service) title(d *database) string {
	if d == s.pattern {
		return "every other file"
	}
	return d.name
}

func (s *service) appendDatabases(b []byte) []byte {
	ids, _ := s.operationIDs()
	for i, d := range s.listed() {
		id := "database-" + strconv.Itoa(i+1)
		b = append(b, `<section aria-labelledby="`+id+`"><h2 id="`+id+`"><bdi>`...)
		b = appendText(b, s.title(d))
		b = append(b, "</bdi></h2>\n"...)
		if d == s.pattern {
			b = append(b, `<p class="soft">These queries are for every database of the directory that is not listed by its name.</p>`+"\n"...)
		}
		if d.raw.read {
			b = append(b, `<p class="soft">`...)
			b = s.appendRaw(b, d)
			b = append(b, "</p>\n"...)
		}
		if len(d.order) == 0 {
			b = append(b, `<p class="soft">It has no queries.</p>`+"\n"...)
		}
		for _, q := range d.order {
			b = s.appendQuery(b, d, q, ids[q])
		}
		b = append(b, "</section>\n"...)
	}
	return b
}

// appendRaw says where SQL of the client's own goes, and whose.
func (s *service) appendRaw(b []byte, d *database) []byte {
	b = append(b, "SQL of one’s own: <code>"...)
	b = appendText(b, s.base+s.prefix(d)+rawPrefix+"/query")
	if d.raw.write {
		b = append(b, "</code>, <code>"...)
		b = appendText(b, s.base+s.prefix(d)+rawPrefix+"/execute")
	}
	b = append(b, "</code>. "...)
	b = appendText(b, whoMay(d.raw.roles))
	return append(b, '.')
}

// appendQuery writes one query, and the form to try it.
func (s *service) appendQuery(b []byte, d *database, q *query, id string) []byte {
	template := s.template(d, q)
	b = append(b, `<details class="query" id="`+id+`"><summary><span class="method`...)
	if !q.reads() {
		b = append(b, ` writes`...)
	}
	b = append(b, `">`...)
	b = appendText(b, q.method)
	b = append(b, `</span> <code>`...)
	b = appendText(b, s.base+template)
	b = append(b, `</code> <span class="name"><bdi>`...)
	b = appendText(b, q.name)
	b = append(b, `</bdi></span></summary><div class="body">`+"\n"...)
	if q.doc != "" {
		b = append(b, `<p>`...)
		b = appendText(b, sentences(q.doc))
		b = append(b, "</p>\n"...)
	}
	b = append(b, `<p class="soft">`...)
	b = appendText(b, sentences(whoMay(q.access), q.about()))
	b = append(b, "</p>\n"...)
	b = append(b, `<form class="try" autocomplete="off" novalidate data-method="`...)
	b = appendText(b, q.method)
	b = append(b, `" data-path="`...)
	b = appendText(b, template)
	b = append(b, '"')
	if !q.tried() {
		b = append(b, ` data-shown`...)
	}
	b = append(b, ">\n"...)
	if d == s.pattern {
		b = appendField(b, id, 0, &param{name: d.wildcard(), typ: typeText, in: inPath, required: true, doc: "the database’s name, as its file’s"})
	}
	for i := range q.params {
		b = appendField(b, id, i+1, &q.params[i])
	}
	b = append(b, `<div class="send">`...)
	if q.answersRows() {
		asTable := "JSON"
		if q.tried() {
			asTable += ", as a table"
		}
		b = append(b, `<label for="`+id+`-as">Answer</label> <select id="`+id+`-as" class="as"><option value="application/json">`+asTable+
			`<option value="application/x-ndjson">NDJSON<option value="text/csv">CSV</select> `...)
	}
	switch {
	case q.tried():
		b = append(b, `<button>Try</button>`...)
	case q.reads():
		b = append(b, `<button>Show the command</button> <span class="soft">This page sends GET only.</span>`...)
	default:
		b = append(b, `<button>Show the command</button> <span class="soft">It writes, so this page does not send it.</span>`...)
	}
	b = append(b, ` <span class="state soft" role="status"></span></div>`+"\n</form>\n"+`<div class="answer" hidden></div>`+"\n</div></details>\n"...)
	return b
}

// tried reports whether the page sends q itself.
func (q *query) tried() bool { return q.method == http.MethodGet && q.reads() }

// appendField writes a parameter's label, control and hint. The control has no name, which could hide a property of its form from the script.
func appendField(b []byte, form string, number int, p *param) []byte {
	id := form + "-" + strconv.Itoa(number)
	b = append(b, `<div class="field"><label for="`+id+`"><bdi>`...)
	b = appendText(b, p.name)
	b = append(b, `</bdi></label>`...)
	attributes := ` id="` + id + `" aria-describedby="` + id + `-hint" data-in="` + string(p.in) + `" data-type="` + string(p.typ) + `"`
	if p.required || p.in == inPath {
		attributes += ` required`
	}
	attributes += ` data-param="` + string(appendText(nil, p.name)) + `"`
	choices := p.oneOf
	if p.typ == typeBoolean {
		choices = []string{"true", "false"}
	}
	switch long := p.in == inBody && (p.typ == typeText && p.maxLen > 200 || p.typ == typeJSON || p.typ == typeBlob); {
	case len(choices) > 0:
		b = append(b, `<select`+attributes+`>`...)
		if !p.required || p.typ == typeBoolean {
			b = append(b, `<option value="">`...)
			if text := p.fallbackText(); text != "" {
				b = appendText(b, "("+text+")")
			}
		}
		for _, one := range choices {
			b = append(b, `<option value="`...)
			b = appendText(b, one)
			b = append(b, `">`...)
			b = appendText(b, one)
		}
		b = append(b, `</select>`...)
	case long:
		b = append(b, `<textarea rows="2" spellcheck="false"`+attributes+`></textarea>`...)
	default:
		b = append(b, `<input autocapitalize="off" spellcheck="false"`+p.keyboard()+attributes+` placeholder="`...)
		b = appendText(b, p.fallbackText())
		b = append(b, `">`...)
	}
	if p.nullable && p.in == inBody {
		b = append(b, `<label class="null"><input type="checkbox" data-null> null</label>`...)
	}
	b = append(b, `<p class="hint" id="`+id+`-hint">`...)
	b = appendText(b, p.hint())
	return append(b, "</p></div>\n"...)
}

// keyboard asks a phone for digits, where a sign cannot be needed: some have none beside them.
func (p *param) keyboard() string {
	switch {
	case p.typ == typeInteger && p.minInt != nil && *p.minInt >= 0:
		return ` inputmode="numeric"`
	case p.typ == typeNumber && p.min != nil && *p.min >= 0:
		return ` inputmode="decimal"`
	}
	return ""
}

// fallbackText is the default as it would be typed; "" without one.
func (p *param) fallbackText() string {
	text := p.defaultJSON()
	if text == nil {
		return ""
	}
	if p.fallback.Kind == engine.Text {
		return string(p.fallback.Bytes)
	}
	return strings.Trim(string(text), `"`)
}

// hint says in words what may be typed.
func (p *param) hint() string {
	list := []string{string(p.typ)}
	switch p.typ {
	case typeBlob:
		list[0] = "bytes, as base64"
	case typeJSON:
		list[0] = "JSON"
	}
	switch {
	case p.minInt != nil || p.maxInt != nil:
		list = append(list, between(integerBound(p.minInt), integerBound(p.maxInt)))
	case p.min != nil || p.max != nil:
		list = append(list, between(numberBound(p.min), numberBound(p.max)))
	case (p.minLen > 0 || p.maxLen > 0 && p.maxLen != maxLength) && len(p.oneOf) == 0:
		list = append(list, p.bounds())
	}
	if p.pattern != nil {
		source := strings.TrimSuffix(strings.TrimPrefix(p.pattern.String(), `\A(?:`), `)\z`)
		list = append(list, "of the form "+source)
	}
	if !p.required && p.in != inPath {
		word := "may be left out"
		if text := p.fallbackText(); text != "" {
			word += ": " + text
		}
		list = append(list, word)
	}
	list = slices.DeleteFunc(list, func(s string) bool { return s == "" })
	text := strings.Join(list, ", ")
	if p.doc != "" {
		text = strings.TrimSuffix(p.doc, ".") + " (" + text + ")"
	}
	return text
}

// between says a range: "1 to 9", "1 or more", "9 or less".
func between[N ~string](least, most *N) string {
	switch {
	case least != nil && most != nil:
		return string(*least) + " to " + string(*most)
	case least != nil:
		return string(*least) + " or more"
	case most != nil:
		return string(*most) + " or less"
	}
	return ""
}

// appendText appends s as text or as the value of an attribute in double quotes. A control character, what is not UTF-8, and what turns the direction
// of text become U+FFFD: nothing that is shown looks like something else (Unicode Standard Annex 9, 2).
func appendText(b []byte, s string) []byte {
	for _, c := range s {
		switch {
		case c == '&':
			b = append(b, "&amp;"...)
		case c == '<':
			b = append(b, "&lt;"...)
		case c == '>':
			b = append(b, "&gt;"...)
		case c == '"':
			b = append(b, "&#34;"...)
		case c < ' ' && c != '\n' && c != '\t', c >= 0x7f && c < 0xa0, c >= 0x202a && c <= 0x202e, c >= 0x2066 && c <= 0x2069:
			b = utf8.AppendRune(b, utf8.RuneError)
		default:
			b = utf8.AppendRune(b, c)
		}
	}
	return b
}

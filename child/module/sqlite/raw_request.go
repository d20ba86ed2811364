package sqlite

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/web"
)

const (
	// rawStatements is how many statements one request may hold.
	rawStatements = 1000
	// rawLongestWait is the longest time in the queue that a client can ask for; beyond it the database's configuration decides.
	rawLongestWait = 5 * time.Second
)

// rawOptions are what the query string and Accept ask for. As in rqlite a flag is set by its name; its value says nothing.
//
// Parameters that are checked as rqlite checks them and change nothing: redirect, noparse, norwrandom, norwtime (statements are not
// rewritten), retries, noleader, linearizable_timeout, and raft_index, whose member of the answer is left out where there is no such index.
type rawOptions struct {
	transaction bool // the statements are done together, or none of them
	associative bool // a row is an object
	timings     bool // results and the answer tell how long they took, in seconds
	pretty      bool // indented by 4 spaces
	blobArray   bool // a blob is an array of its bytes, else base64 (RFC 4648, 4)
	queue       bool // the answer is that of a queued write
	problem     bool // an error is an answer of its own, with its status (RFC 9457)
	level       string
	wait        time.Duration // in the queue of writers; 0: as configured
	dbTimeout   time.Duration // 0: as configured
}

// admit reads the request. allow is set for a 405 and for OPTIONS, which is no error.
func (x *rawExchange) admit(r *web.Request, endpoint string) (allow string, e *engine.Error) {
	switch endpoint {
	case rawQuery:
		allow = "GET, HEAD, OPTIONS, POST"
	case rawExecute, rawRequest:
		allow = "OPTIONS, POST"
	default:
		return "", engine.Errorf(engine.CodeNotFound, "raw SQL is answered at db/query, db/execute and db/request")
	}
	get := endpoint == rawQuery && (r.Method == http.MethodGet || r.Method == http.MethodHead)
	switch {
	case r.Method == http.MethodOptions:
		return allow, nil
	case !get && r.Method != http.MethodPost:
		return allow, engine.Errorf(engine.CodeMethod, "db/%s takes %s", endpoint, allow)
	case !get && rawForeign(r):
		return "", engine.Errorf(engine.CodeDenied, "a browser has sent this for a page of another site")
	}
	sql, e := x.options.read(r.RawQuery, x.database.path == "")
	if e != nil {
		return "", e
	}
	if get {
		if sql == "" {
			return "", engine.Errorf(engine.CodeRequest, "a GET needs the statement as its parameter q")
		}
		x.list = []engine.Statement{{SQL: sql}}
	} else if x.list, e = x.content(r, endpoint); e != nil {
		return "", e
	}
	return "", x.measure()
}

// rawForeign reports whether a browser sends r for a page of another origin. Such a page can send a text or a form anywhere, from the address and
// with the password of whoever reads it; SQL is taken under those types too. Fetch Metadata tells (https://www.w3.org/TR/fetch-metadata/, 2.3),
// and where that is not sent, over plain HTTP, Origin (RFC 6454, 7). Clients other than browsers send neither.
func rawForeign(r *web.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return false
	case "":
	default:
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || !strings.EqualFold(u.Host, r.Host)
}

// content reads the statements of a POST.
func (x *rawExchange) content(r *web.Request, endpoint string) ([]engine.Statement, *engine.Error) {
	if c := r.Header.Get("Content-Encoding"); c != "" && !strings.EqualFold(c, "identity") {
		x.w.Header().Set("Accept-Encoding", "identity") // RFC 9110, 15.5.16
		return nil, engine.Errorf(engine.CodeMediaType, "the content is encoded: send it as it is")
	}
	t := r.MediaType()
	if strings.HasPrefix(t, "multipart/") {
		return nil, engine.Errorf(engine.CodeMediaType, "the content is %s: send application/json, or one statement as text/plain", rawShort(t))
	}
	content, err := r.Body.Bytes()
	switch {
	case errors.Is(err, web.ErrBodyTooLarge):
		return nil, engine.Errorf(engine.CodeTooLarge, "the content is larger than this server takes")
	case err != nil:
		return nil, engine.Errorf(engine.CodeRequest, "the content could not be read to its end")
	}
	// rqlite looks at the type for this alone: clients send JSON under any name, and curl -d under that of a form.
	if t == "text/plain" && endpoint != rawRequest {
		if at := rawInvalid(content); at >= 0 {
			return nil, engine.Errorf(engine.CodeRequest, "the content is not UTF-8 at byte %d", at+1)
		}
		return []engine.Statement{{SQL: string(content)}}, nil
	}
	list, e := rawParse(content)
	if e != nil && len(bytes.TrimSpace(content)) == 0 {
		if x.options.queue { // a client that waits for what it has queued before: that is done
			return nil, nil
		}
		e.Message = "there are no statements: the content is empty"
	}
	return list, e
}

// measure holds the statements against the bounds before any of them is run.
func (x *rawExchange) measure() *engine.Error {
	if len(x.list) > rawStatements {
		return engine.Errorf(engine.CodeTooLarge, "there are %d statements, and %d are allowed in one request", len(x.list), rawStatements)
	}
	for i := range x.list {
		if most := x.policy.MaxSQL; most > 0 && len(x.list[i].SQL) > most {
			return engine.Errorf(engine.CodeTooLarge, "statement %d has %d bytes, and %d are allowed", i+1, len(x.list[i].SQL), most)
		}
	}
	return nil
}

// read reads the query string and returns its statement. cluster: the database is not a file, so that freshness means something.
func (o *rawOptions) read(search string, cluster bool) (sql string, e *engine.Error) {
	values, err := url.ParseQuery(search)
	if err != nil {
		return "", engine.Errorf(engine.CodeRequest, "the query string is malformed: %s", rawShort(err.Error()))
	}
	o.transaction, o.associative, o.timings = values.Has("transaction"), values.Has("associative"), values.Has("timings")
	o.pretty, o.blobArray, o.queue = values.Has("pretty"), values.Has("blob_array"), values.Has("queue")
	durations := make(map[string]time.Duration)
	for _, name := range []string{"timeout", "db_timeout", "freshness", "linearizable_timeout"} {
		if !values.Has(name) {
			continue
		}
		d, err := time.ParseDuration(values.Get(name))
		if err != nil || d < 0 {
			return "", engine.Errorf(engine.CodeRequest, "%s is not a duration as in 500ms or 2s", name)
		}
		durations[name] = d
	}
	if values.Has("retries") {
		if _, err := strconv.Atoi(values.Get("retries")); err != nil {
			return "", engine.Errorf(engine.CodeRequest, "retries is not a whole number")
		}
	}
	if values.Has("freshness_strict") && !values.Has("freshness") {
		return "", engine.Errorf(engine.CodeRequest, "freshness_strict needs freshness beside it")
	}
	if o.dbTimeout = durations["db_timeout"]; durations["timeout"] <= rawLongestWait {
		o.wait = durations["timeout"]
	}
	switch o.level = strings.ToLower(values.Get("level")); o.level {
	case "", "none", "weak", "linearizable", "strong":
	case "auto":
		o.level = ""
	default:
		return "", engine.Errorf(engine.CodeRequest, "level is none, weak, linearizable, strong or auto")
	}
	// A file is always fresh: what was acknowledged is read at every level.
	if cluster && o.level == "none" && durations["freshness"] > 0 {
		return "", engine.Errorf(engine.CodeRequest, "freshness is not passed on to a cluster: ask with level=weak")
	}
	sql = values.Get("q")
	if sql == "" && values.Has("q") {
		return "", engine.Errorf(engine.CodeRequest, "the parameter q is empty")
	}
	if at := rawInvalid([]byte(sql)); at >= 0 {
		return "", engine.Errorf(engine.CodeRequest, "the parameter q is not UTF-8 at byte %d", at+1)
	}
	return sql, nil
}

// rawWantsProblem reports whether Accept names application/problem+json itself: a wildcard is what clients of rqlite send.
func rawWantsProblem(r *web.Request) bool {
	for _, field := range r.Header.Values("Accept") {
		for member := range strings.SplitSeq(field, ",") {
			name, params, _ := strings.Cut(member, ";")
			if !strings.EqualFold(strings.TrimSpace(name), "application/problem+json") {
				continue
			}
			wanted := true
			for p := range strings.SplitSeq(params, ";") {
				if k, v, _ := strings.Cut(strings.TrimSpace(p), "="); strings.EqualFold(k, "q") {
					q, err := strconv.ParseFloat(v, 64)
					wanted = err == nil && q > 0 // RFC 9110, 12.4.2
				}
			}
			return wanted
		}
	}
	return false
}

// rawInvalid returns the place of the first byte of b that is not UTF-8, -1: there is none.
func rawInvalid(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	at := 0
	for {
		c, n := utf8.DecodeRune(b[at:])
		if c == utf8.RuneError && n <= 1 {
			return at
		}
		at += n
	}
}

// rawShort is what a client has sent, fit for a message.
func rawShort(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// A rawReader reads the content of a POST: an array whose members are statements, or arrays of a statement and its arguments. An argument
// without a name is a value, those with names are members of an object (https://rqlite.io/docs/api/api/#parameterized-statements). Errors
// count bytes from 1.
type rawReader struct {
	decoder *json.Decoder
	content []byte
}

// rawParse returns the statements of content.
func rawParse(content []byte) ([]engine.Statement, *engine.Error) {
	if at := rawInvalid(content); at >= 0 {
		return nil, engine.Errorf(engine.CodeRequest, "the content is not UTF-8 at byte %d", at+1)
	}
	p := rawReader{decoder: json.NewDecoder(bytes.NewReader(content)), content: content}
	p.decoder.UseNumber()
	return p.statements()
}

func (p *rawReader) statements() ([]engine.Statement, *engine.Error) {
	t, e := p.token()
	if e != nil {
		return nil, e
	}
	if t != json.Delim('[') {
		return nil, p.wrong("the content is not an array of statements")
	}
	var list []engine.Statement
	for p.decoder.More() {
		t, e := p.token()
		if e != nil {
			return nil, e
		}
		switch t := t.(type) {
		case string:
			list = append(list, engine.Statement{SQL: t})
		case json.Delim:
			if t != '[' {
				return nil, p.wrong("a statement is a string, or an array that begins with one")
			}
			s, e := p.parameterized()
			if e != nil {
				return nil, e
			}
			list = append(list, s)
		default:
			return nil, p.wrong("a statement is a string, or an array that begins with one")
		}
		if len(list) > rawStatements {
			return nil, engine.Errorf(engine.CodeTooLarge, "there are more than %d statements in one request", rawStatements)
		}
	}
	if _, e := p.token(); e != nil {
		return nil, e
	}
	switch _, err := p.decoder.Token(); {
	case err == nil:
		return nil, p.wrong("there is more content behind the array of statements")
	case !errors.Is(err, io.EOF):
		return nil, p.malformed(err)
	}
	if len(list) == 0 {
		return nil, engine.Errorf(engine.CodeRequest, "there are no statements: the array is empty")
	}
	return list, nil
}

// parameterized reads what is behind the '[' of a statement with arguments.
func (p *rawReader) parameterized() (s engine.Statement, e *engine.Error) {
	t, e := p.token()
	if e != nil {
		return s, e
	}
	sql, is := t.(string)
	if !is {
		return s, p.wrong("a statement is a string, or an array that begins with one")
	}
	s.SQL = sql
	for p.decoder.More() {
		t, e := p.token()
		if e != nil {
			return s, e
		}
		if t == json.Delim('{') {
			if s.Args, e = p.named(s.Args); e != nil {
				return s, e
			}
			continue
		}
		v, e := p.value(t)
		if e != nil {
			return s, e
		}
		s.Args = append(s.Args, engine.Arg{Value: v})
	}
	_, e = p.token()
	return s, e
}

// named reads what is behind the '{' of arguments with names.
func (p *rawReader) named(args []engine.Arg) ([]engine.Arg, *engine.Error) {
	seen := make(map[string]bool)
	for p.decoder.More() {
		t, e := p.token()
		if e != nil {
			return nil, e
		}
		name, is := t.(string)
		if !is || name == "" {
			return nil, p.wrong("a parameter has no name")
		}
		if seen[name] {
			return nil, p.wrong("the parameter %q is there twice", rawShort(name))
		}
		seen[name] = true
		if t, e = p.token(); e != nil {
			return nil, e
		}
		v, e := p.value(t)
		if e != nil {
			return nil, e
		}
		args = append(args, engine.Arg{Name: name, Value: v})
	}
	_, e := p.token()
	return args, e
}

// value returns the value that begins with token t.
func (p *rawReader) value(t json.Token) (engine.Value, *engine.Error) {
	switch t := t.(type) {
	case nil:
		return engine.Value{}, nil
	case bool:
		if t {
			return engine.IntegerOf(1), nil
		}
		return engine.IntegerOf(0), nil
	case string:
		if b, is := rawHex(t); is {
			return engine.BlobOf(b), nil
		}
		return engine.TextOf(t), nil
	case json.Number:
		return p.number(string(t))
	case json.Delim:
		if t == '[' {
			return p.array()
		}
	}
	return engine.Value{}, p.wrong("a parameter is a number, a string, a boolean, null, or an array of bytes")
}

// number keeps integers exact.
func (p *rawReader) number(s string) (engine.Value, *engine.Error) {
	if !strings.ContainsAny(s, ".eE") {
		i, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return engine.Value{}, p.wrong("%s does not fit into the 64 bits of an integer: write it with a fraction to have a real", rawShort(s))
		}
		return engine.IntegerOf(i), nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return engine.Value{}, p.wrong("%s is beyond what a real can hold", rawShort(s))
	}
	return engine.RealOf(f), nil
}

// array reads what is behind the '[' of a blob.
func (p *rawReader) array() (engine.Value, *engine.Error) {
	b := []byte{}
	for p.decoder.More() {
		t, e := p.token()
		if e != nil {
			return engine.Value{}, e
		}
		n, is := t.(json.Number)
		u, err := strconv.ParseUint(string(n), 10, 8)
		if !is || err != nil {
			return engine.Value{}, p.wrong("an array is a blob: its members are bytes from 0 to 255")
		}
		b = append(b, byte(u))
	}
	_, e := p.token()
	return engine.BlobOf(b), e
}

// rawHex decodes a string that is written as SQL's blob literals are, which rqlite takes for a blob: X'53514C'.
func rawHex(s string) ([]byte, bool) {
	s = strings.TrimSpace(s)
	if len(s) < 3 || s[0]|0x20 != 'x' || s[1] != '\'' || s[len(s)-1] != '\'' {
		return nil, false
	}
	b, err := hex.DecodeString(s[2 : len(s)-1])
	return b, err == nil
}

// token returns the next token; the end of the content is an error.
func (p *rawReader) token() (json.Token, *engine.Error) {
	t, err := p.decoder.Token()
	if err != nil {
		return nil, p.malformed(err)
	}
	return t, nil
}

// malformed says where the content is not JSON. The decoder has stopped before it has seen that byte.
func (p *rawReader) malformed(err error) *engine.Error {
	var all json.RawMessage
	if exact := json.Unmarshal(p.content, &all); exact != nil {
		err = exact
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && !strings.HasPrefix(syntax.Error(), "unexpected end") {
		return engine.Errorf(engine.CodeRequest, "the content is not JSON at byte %d: %s", syntax.Offset, syntax.Error())
	}
	return engine.Errorf(engine.CodeRequest, "the content ends, at byte %d, before its JSON does", len(p.content))
}

// wrong says that the content is not what it should be, at its last token.
func (p *rawReader) wrong(format string, args ...any) *engine.Error {
	return engine.Errorf(engine.CodeRequest, "%s (byte %d of the content)", fmt.Sprintf(format, args...), p.decoder.InputOffset())
}

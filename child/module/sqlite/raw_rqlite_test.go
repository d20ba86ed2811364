package sqlite

import (
	"bufio"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
	"github.com/tined/tined/child/module/sqlite/local"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

// testdata/raw_rqlite.txt is a conversation with rqlited v8.43.4 (started with -fk=true), in lines:
//
//	= SQL                          the schema
//	> METHOD endpoint content      a request, its content as text/plain if that stands before it
//	< status content               what rqlited has answered; a line feed is written \n
//	! status content               what is answered here, where that is other
//	# reason                       why it is other
//
// Members "time" are left out everywhere, "code" in what is answered here; of refused requests the status counts.
const rawConversation = "testdata/raw_rqlite.txt"

var (
	rawTimeMember = regexp.MustCompile(`,\s*"time":\s*[-0-9.e]+`)
	rawCodeMember = regexp.MustCompile(`,"code":"[a-z_]+"`)
)

// rawSaid is an answer as rawConversation has it.
func rawSaid(status int, content string) string {
	if status >= 400 {
		return strconv.Itoa(status)
	}
	content = rawCodeMember.ReplaceAllString(rawTimeMember.ReplaceAllString(content, ""), "")
	return strconv.Itoa(status) + " " + strings.ReplaceAll(strings.TrimSpace(content), "\n", `\n`)
}

// A rawTurn is a request of rawConversation with its answer.
type rawTurn struct {
	line                        int
	schema                      string
	method, endpoint, mediaType string
	content, want, here         string
}

func rawTurns(t *testing.T) []rawTurn {
	t.Helper()
	content, err := os.ReadFile(rawConversation)
	if err != nil {
		t.Fatal(err)
	}
	var turns []rawTurn
	lines := bufio.NewScanner(strings.NewReader(string(content)))
	for n := 1; lines.Scan(); n++ {
		kind, rest, _ := strings.Cut(lines.Text(), " ")
		switch kind {
		case "=":
			turns = append(turns, rawTurn{line: n, schema: rest})
		case ">":
			q := rawTurn{line: n, mediaType: "application/json"}
			q.method, rest, _ = strings.Cut(rest, " ")
			q.endpoint, q.content, _ = strings.Cut(rest, " ")
			if after, is := strings.CutPrefix(q.content, "text/plain "); is {
				q.mediaType, q.content = "text/plain", after
			}
			turns = append(turns, q)
		case "<":
			turns[len(turns)-1].want, turns[len(turns)-1].here = rest, rest
		case "!":
			turns[len(turns)-1].here = rest
		case "#", "":
		default:
			t.Fatalf("%s:%d: %s", rawConversation, n, kind)
		}
	}
	return turns
}

// The same conversation here, with a real file.
func TestRawSpeaksAsRqlite(t *testing.T) {
	turns := rawTurns(t)
	var schema []string
	for _, q := range turns {
		if q.schema != "" {
			schema = append(schema, q.schema)
		}
	}
	s := &service{log: func(message string, err error) { t.Error(message, err) }}
	d := &database{name: "shop", path: "/shop.db", engine: newRawFile(t, schema), raw: rawAccess{read: true, write: true}}
	who := rawRoleOfAll()
	for _, q := range turns {
		if q.schema != "" {
			continue
		}
		name, _, _ := strings.Cut(q.endpoint, "?")
		resp := webtest.Do(web.HandlerFunc(func(w *web.Response, r *web.Request) { s.serveRaw(w, r, d, name, who) }),
			webtest.Request{Method: q.method, Target: "/db/" + q.endpoint, Body: q.content, Header: map[string]string{"Content-Type": q.mediaType}})
		want := q.here
		if want[0] != '2' {
			want = want[:3]
		}
		if got := rawSaid(resp.Status, resp.Text()); got != want {
			t.Errorf("%s:%d: %s %s %s\n got %s\nwant %s", rawConversation, q.line, q.method, q.endpoint, q.content, got, want)
		}
	}
}

// The same conversation with rqlited itself, at the address of TINED_RQLITED, which must be one without tables: what is written down is what it says.
func TestRawConversationIsReal(t *testing.T) {
	address := os.Getenv("TINED_RQLITED")
	if address == "" {
		t.Skip("TINED_RQLITED is not set")
	}
	for _, q := range rawTurns(t) {
		if q.schema != "" {
			q.method, q.endpoint, q.mediaType, q.content = "POST", "execute", "text/plain", q.schema
		}
		request, err := http.NewRequest(q.method, "http://"+address+"/db/"+q.endpoint, strings.NewReader(q.content))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", q.mediaType)
		resp, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var content strings.Builder
		if _, err := bufio.NewReader(resp.Body).WriteTo(&content); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		want := q.want
		if want != "" && want[0] != '2' {
			want = want[:3]
		}
		if got := rawSaid(resp.StatusCode, content.String()); q.schema == "" && got != want {
			t.Errorf("%s:%d: %s %s %s\n got %s\nwant %s", rawConversation, q.line, q.method, q.endpoint, q.content, got, want)
		}
	}
}

// newRawFile makes a file with a schema, and serves it.
func newRawFile(t *testing.T, schema []string) *local.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shop.db")
	c, err := lite.Open(lite.Options{Path: path, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range schema {
		if err := c.Exec(sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := local.Open(local.Options{Path: path, Log: func(message string, err error) { t.Error(message, err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// A rawRoleOfAll may read and write all tables, and call all functions that raw SQL can have.
func rawRoleOfAll() *role {
	all := map[string]engine.Columns{"*": nil}
	return &role{name: "all", policy: &engine.Policy{Name: "all", Read: all, Write: all, Functions: map[string]bool{"*": true}}}
}

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
)

// besieged is a server with databases that hold secrets, and who attacks it.
type besieged struct {
	*origin
	dir     string
	client  *http.Client
	secrets map[string]string // by name: random words, so that one in an answer is no accident

	mu     sync.Mutex
	faults []string
}

// besiegedRoles are the roles of raw SQL: their tokens are their names. What each may read or write is in besiegedConfiguration.
var besiegedRoles = []string{"reader", "writer", "column", "wide"}

// tableSecrets are those that role "wide" may read.
var tableSecrets = []string{"item", "vault", "pin", "line", "paper", "mixed", "old"}

// schema makes the database shop. Its secrets stand in braces.
var besiegedSchema = []string{
	`CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT, secret TEXT, shout TEXT AS (upper(secret)))`,
	`CREATE INDEX items_secret ON items(secret)`,
	`CREATE INDEX items_lower ON items(lower(secret))`,
	`INSERT INTO items(id, name, secret) VALUES (1, 'nut', '{item}'), (2, 'bolt', '{item}x'), (3, 'nail', NULL)`,
	`CREATE TABLE vault(id INTEGER PRIMARY KEY, word TEXT UNIQUE CHECK (word <> '{schema}'))`,
	`INSERT INTO vault VALUES (1, '{vault}'), (2, '{vault}y')`,
	`CREATE TABLE accounts(id INTEGER PRIMARY KEY, handle TEXT UNIQUE CHECK (handle <> ''), pin TEXT)`,
	`INSERT INTO accounts VALUES (1, 'ann', '{pin}'), (2, 'bob', '{pin}z'), (3, 'cy', '{pin}w')`,
	`CREATE TABLE orders(id INTEGER PRIMARY KEY, item REFERENCES items(id), note TEXT, amount INTEGER CHECK (amount >= 0), code TEXT UNIQUE,
		note_length INTEGER AS (length(note)))`,
	`INSERT INTO orders(id, item, note, code) VALUES (1, 1, 'first', 'C1'), (2, 2, 'second', 'C2')`,
	`CREATE TABLE orders_old(id INTEGER PRIMARY KEY, item, note TEXT, amount INTEGER, code TEXT)`,
	`INSERT INTO orders_old VALUES (50, 1, '{old}', 1, 'C50')`,
	`CREATE TABLE lines(id INTEGER PRIMARY KEY, order_id REFERENCES orders(id) ON DELETE CASCADE ON UPDATE CASCADE, secret_note TEXT)`,
	`INSERT INTO lines VALUES (1, 1, '{line}'), (2, 2, '{line}v')`,
	`CREATE TABLE keys(vault REFERENCES vault(id))`,
	`CREATE TABLE tickets(id INTEGER PRIMARY KEY, note TEXT)`,
	`INSERT INTO tickets VALUES (1, 'open')`,
	`CREATE TABLE audit(text TEXT)`,
	`CREATE TRIGGER ticket_read AFTER INSERT ON tickets BEGIN UPDATE tickets SET note = (SELECT word FROM vault) WHERE id = new.id; END`,
	`CREATE TRIGGER ticket_log BEFORE UPDATE ON tickets BEGIN INSERT INTO audit SELECT word || '{schema}' FROM vault; END`,
	`CREATE TRIGGER ticket_end AFTER DELETE ON tickets BEGIN DELETE FROM vault; END`,
	`CREATE VIEW peek AS SELECT word FROM vault`,
	`CREATE VIEW members AS SELECT handle, pin FROM accounts`,
	`CREATE VIEW named AS SELECT name, secret FROM items`,
	`CREATE VIEW strangers AS SELECT * FROM items NATURAL JOIN vault`,
	`CREATE VIEW doors AS SELECT id FROM items`,
	`CREATE TRIGGER door_in INSTEAD OF INSERT ON doors BEGIN DELETE FROM vault; END`,
	`CREATE TRIGGER door_on INSTEAD OF UPDATE ON doors BEGIN UPDATE items SET name = secret; END`,
	`CREATE TRIGGER door_out INSTEAD OF DELETE ON doors BEGIN DELETE FROM items; END`,
	`CREATE VIRTUAL TABLE papers USING fts5(body)`,
	`INSERT INTO papers VALUES ('{paper} is a word')`,
	`CREATE VIRTUAL TABLE mixed USING fts5(title, hidden)`,
	`INSERT INTO mixed VALUES ('open', '{mixed} is a word')`,
	`CREATE VIRTUAL TABLE drafts USING fts5(body)`,
	`INSERT INTO drafts VALUES ('one two')`,
}

// besiegedConfiguration has places for the tokens of its roles.
const besiegedConfiguration = `
site "main" {
  route "/db/" {
    sqlite {
      directory = "data"
      readers   = 4
      timeout   = "1s"
      max_rows  = 5000
      max_bytes = "1MiB"
      role "reader" {
        tokens = ["{reader}"]
        read   = ["items(id, name)", "named", "peek(nothing)"]
      }
      role "writer" {
        tokens = ["{writer}"]
        read   = ["items(id, name)", "orders", "drafts"]
        write  = ["orders", "tickets", "drafts", "doors", "keys", "peek"]
      }
      role "column" {
        tokens = ["{column}"]
        read   = ["items(id, name)", "accounts(id, handle)", "mixed(title)", "members(handle)"]
        write  = ["accounts(handle)"]
      }
      role "wide" {
        tokens = ["{wide}"]
      }
      role "staff" {
        tokens = ["{staff}"]
      }
      role "local" {
        from  = ["loopback"]
        read  = ["notes"]
        write = ["notes"]
      }
      database "shop" {
        raw        = "write"
        raw_access = ["reader", "writer", "column", "wide"]
        query "item" {
          path = "items/{id}"
          sql  = "SELECT id, name FROM items WHERE id = :id"
          row  = "single"
          param "id" {
            type = "integer"
            min  = 1
          }
        }
        query "named" {
          path = "named/{name}"
          sql  = "SELECT id, name FROM items WHERE name = :name"
          param "name" {}
        }
        query "mixed" {
          sql = "SELECT count(*) AS n FROM mixed WHERE mixed MATCH :words"
          param "words" {
            default = "nothing"
          }
        }
        query "pages" {
          sql = "SELECT id, name FROM items ORDER BY id LIMIT :limit OFFSET :offset"
          page {
            size = 2
            max  = 3
          }
        }
        query "echo" {
          method = "POST"
          sql    = "SELECT :text AS text, :integer AS integer, :number AS number, :boolean AS boolean, :blob AS blob, :json AS json"
          param "text" {
            nullable = true
          }
          param "integer" {
            type     = "integer"
            nullable = true
          }
          param "number" {
            type     = "number"
            nullable = true
          }
          param "boolean" {
            type     = "boolean"
            nullable = true
          }
          param "blob" {
            type     = "blob"
            nullable = true
          }
          param "json" {
            type     = "json"
            nullable = true
          }
        }
        query "order" {
          method = "POST"
          path   = "orders"
          sql    = "INSERT INTO orders(note) VALUES (:note)"
          param "note" {}
        }
        query "pins" {
          sql    = "SELECT pin FROM accounts"
          access = ["staff"]
        }
        query "burn" {
          method = "DELETE"
          path   = "vault/{id}"
          sql    = "DELETE FROM vault WHERE id = :id"
          access = ["staff"]
          param "id" {
            type = "integer"
          }
        }
      }
      database "archive" {
        raw        = "read"
        raw_access = ["reader", "writer", "column", "wide"]
      }
      database "notes" {
        raw        = "write"
        raw_access = ["local"]
      }
      database "quiet" {
        query "hello" {
          sql = "SELECT 'hello' AS hello"
        }
      }
      database "*" {
        file = "tenant-*.db"
        query "hello" {
          sql = "SELECT 'hello' AS hello"
        }
      }
    }
  }
  route "/shop/" {
    sqlite {
      directory  = "data"
      database   = "shop"
      raw        = "read"
      raw_access = ["reader"]
      page       = false
      role "reader" {
        tokens = ["{reader}"]
        read   = ["items(id, name)"]
      }
    }
  }
  route "/files/" {
    static {
      root   = "data"
      hidden = true
    }
  }
}
`

// besiege starts the server.
func besiege(t *testing.T) *besieged {
	t.Helper()
	b := &besieged{dir: filepath.Join(newPlace(t), "data"), secrets: map[string]string{}}
	makeDir(t, b.dir)
	for _, name := range []string{"item", "vault", "pin", "line", "paper", "mixed", "old", "schema", "file"} {
		word := make([]byte, 16)
		for i := range word {
			word[i] = 'a' + randomByte(t)%26
		}
		b.secrets[name] = string(word)
	}
	b.make(t, "shop.db", besiegedSchema...)
	b.make(t, "archive.db", besiegedSchema...)
	b.make(t, "notes.db", "CREATE TABLE notes(text TEXT)", "INSERT INTO notes VALUES ('kept')")
	for _, name := range []string{"quiet.db", "vault.db", ".hidden.db", "tenant-a.db", "atenant-b.db"} {
		b.make(t, name, "CREATE TABLE vault(word TEXT)", "INSERT INTO vault VALUES ('{file}')")
	}
	configuration := besiegedConfiguration
	for _, role := range append([]string{"staff"}, besiegedRoles...) {
		sum := sha256.Sum256([]byte(role))
		configuration = strings.ReplaceAll(configuration, "{"+role+"}", "sha256:"+hex.EncodeToString(sum[:]))
	}
	b.origin = startOrigin(t, filepath.Dir(b.dir), configuration)
	b.client = &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	t.Cleanup(b.client.CloseIdleConnections)
	return b
}

func randomByte(t *testing.T) byte {
	t.Helper()
	var one [1]byte
	if _, err := rand.Read(one[:]); err != nil {
		t.Fatal(err)
	}
	return one[0]
}

// make makes a database.
func (b *besieged) make(t *testing.T, name string, statements ...string) {
	t.Helper()
	c, err := lite.Open(lite.Options{Path: filepath.Join(b.dir, name), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range statements {
		for secret, word := range b.secrets {
			sql = strings.ReplaceAll(sql, "{"+secret+"}", word)
		}
		if err := c.Exec(sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// guess replaces the names of secrets by how they begin.
func (b *besieged) guess(sql string) string {
	for name, word := range b.secrets {
		sql = strings.ReplaceAll(sql, "{"+name+"}", word[:6])
	}
	return strings.ReplaceAll(sql, "⏎", "\n")
}

// fault notes what is wrong.
func (b *besieged) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

// tellAll fails the test for what was noted.
func (b *besieged) tellAll(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, fault := range b.faults[:min(len(b.faults), maxTold)] {
		t.Error(fault)
	}
	if len(b.faults) > 0 {
		t.Errorf("%d answers are wrong", len(b.faults))
	}
	b.faults = nil
}

// leak returns the name of a secret that an answer holds and role may not know; "": none. A secret is known in its usual codings too.
func (b *besieged) leak(role string, answer []byte) string {
	text := bytes.ToLower(answer)
	for name, word := range b.secrets {
		if role == "wide" && slices.Contains(tableSecrets, name) {
			continue
		}
		for _, form := range []string{word, hex.EncodeToString([]byte(word)), strings.ToLower(base64.StdEncoding.EncodeToString([]byte(word[:15])))} {
			if bytes.Contains(text, []byte(form)) {
				return name
			}
		}
	}
	return ""
}

// A reply is what the server has answered.
type reply struct {
	status int
	body   []byte
	header http.Header
}

// refused reports whether nothing was done or told.
func (r *reply) refused() bool {
	return r.status >= 400 || bytes.Contains(r.body, []byte(`"error":`)) && !bytes.Contains(r.body, []byte(`"values"`)) &&
		!bytes.Contains(r.body, []byte(`"rows_affected"`)) && !bytes.Contains(r.body, []byte(`"rows"`))
}

// send sends a request as role, and judges what goes for all answers.
func (b *besieged) send(role, method, path, content, contentType string, lines ...string) *reply {
	request, err := http.NewRequestWithContext(context.Background(), method, "http://"+b.address+path, strings.NewReader(content))
	if err != nil {
		b.fault("%s %s: %v", method, path, err)
		return &reply{status: 400}
	}
	if role != "" {
		request.Header.Set("Authorization", "Bearer "+role)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	response, err := b.client.Do(request)
	if err != nil {
		b.fault("%s, %s %s %s: %v", role, method, path, cut(content), err)
		return &reply{status: 400}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) { // a stream that meets a limit is broken off
		b.fault("%s, %s %s %s: %v", role, method, path, cut(content), err)
	}
	r := &reply{response.StatusCode, body, response.Header}
	if leaked := b.leak(role, body); leaked != "" {
		b.fault("%s, %s %s %s: the answer holds the secret %s: %s", role, method, path, cut(content), leaked, cut(string(body)))
	}
	if r.status == 500 || r.status == 502 {
		b.fault("%s, %s %s %s: %d %s", role, method, path, cut(content), r.status, cut(string(body)))
	}
	if err == nil && r.status == 200 && strings.HasPrefix(r.header.Get("Content-Type"), "application/json") && !json.Valid(body) {
		b.fault("%s, %s %s %s: no JSON: %s", role, method, path, cut(content), cut(string(body)))
	}
	return r
}

// each runs what for all items, a few at a time.
func each[T any](items []T, what func(T)) {
	work := make(chan T)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for item := range work {
				what(item)
			}
		})
	}
	for _, item := range items {
		work <- item
	}
	close(work)
	wg.Wait()
}

// document is a request's content: statements in the shape of rqlite.
func document(statements ...any) string {
	content, err := json.Marshal(statements)
	if err != nil {
		panic(err)
	}
	return string(content)
}

// An attack is a statement of the list.
type attack struct{ class, sign, sql string }

func (b *besieged) attacks(t *testing.T) (list []attack) {
	t.Helper()
	for _, group := range sqliteAttacks {
		for line := range strings.SplitSeq(group.statements, "\n") {
			sign, sql, ok := strings.Cut(strings.TrimSpace(line), " ")
			if !ok && sign != "" || ok && !slices.Contains([]string{"!", "-", "+"}, sign) {
				t.Fatalf("class %s: %q", group.class, line)
			}
			if ok {
				list = append(list, attack{group.class, sign, b.guess(sql)})
			}
		}
	}
	return list
}

// content returns all rows of all tables of a file, by table; of its tables that roles may write only what they may not.
func (b *besieged) content(t *testing.T, name string) map[string][]string {
	t.Helper()
	c, err := lite.Open(lite.Options{Path: filepath.Join(b.dir, name), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	content := map[string][]string{}
	content["sqlite_schema"] = dump(t, c, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name")
	for _, table := range dump(t, c, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name") {
		switch {
		case table == "orders", strings.HasPrefix(table, "drafts"), table == "notes" && name != "notes.db":
		case table == "accounts":
			content[table] = dump(t, c, "SELECT id, pin FROM accounts ORDER BY id")
		default:
			content[table] = dump(t, c, `SELECT * FROM "`+table+`"`)
		}
	}
	if got := dump(t, c, "SELECT integrity_check FROM pragma_integrity_check"); !slices.Equal(got, []string{"ok"}) {
		t.Errorf("%s: %q", name, got)
	}
	return content
}

func dump(t *testing.T, c *lite.Conn, sql string) (lines []string) {
	t.Helper()
	rows, err := c.Start(context.Background(), nil, &engine.Statement{SQL: sql}, engine.Limits{})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer rows.Close()
	for rows.Next() {
		var line []string
		for i := range rows.Columns() {
			switch v := rows.Value(i); v.Kind {
			case engine.Text, engine.Blob:
				line = append(line, string(v.Bytes))
			case engine.Null:
				line = append(line, "NULL")
			default:
				line = append(line, strconv.FormatInt(v.Int, 10)+"/"+strconv.FormatFloat(v.Real, 'g', -1, 64))
			}
		}
		lines = append(lines, strings.Join(line, "|"))
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return lines
}

// children returns the processes below the master.
func (b *besieged) children(t *testing.T) []string {
	t.Helper()
	pid := b.log.cmd.Process.Pid
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Skip(err) // a kernel without it
	}
	list := strings.Fields(string(text))
	slices.Sort(list)
	return list
}

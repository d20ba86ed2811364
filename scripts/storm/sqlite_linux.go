package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Paths of the queries.
const (
	sqlLog   = "/db/shop/log"
	sqlLast  = "/db/shop/last"
	sqlTail  = "/db/shop/tail"
	sqlNever = "/db/shop/never"
)

const (
	// writeBar is what 99 of a hundred writes may take, with synchronous = FULL.
	writeBar = 100 * time.Millisecond
	// neverLimit is the limit of the query that never ends, and neverLate how much later its answer may come.
	neverLimit = time.Second
	neverLate  = 500 * time.Millisecond
	// hungTime is how long the others are measured, without that query and beside it; hungClients of them read, and as many write.
	hungTime    = 2 * time.Second
	hungClients = 8
	// hungGrowth is what their p99 may grow by: the query has one of the cores for itself, and they share what is left.
	hungGrowth = 50 * time.Millisecond
	// sqlEvery is the pause between a child that serves in the place of a killed one and the next kill.
	sqlEvery = 300 * time.Millisecond
)

// shopSchema: rows are never removed, so that ids have no gaps and the greatest is their number.
const shopSchema = `PRAGMA journal_mode = WAL;
CREATE TABLE log (id INTEGER PRIMARY KEY, writer INTEGER NOT NULL, seq INTEGER NOT NULL, note TEXT NOT NULL CHECK (note <> 'bad'));
CREATE TABLE outside (n INTEGER NOT NULL);`

// databaseText is the configuration.
func (t *trial) databaseText(folder string) string {
	return fmt.Sprintf(`children = %d

listen "main" {
  address  = %q
  deferred = %t
}

log {
  level = "info"
  file  = %q
}

site "storm" {
  listen = ["main"]
  route "/db/" {
    sqlite {
      directory = %q
      database "shop" {
        query "add" {
          method = "POST"
          path   = "log"
          sql    = "INSERT INTO log (writer, seq, note) VALUES (:writer, :seq, :note)"
          param "writer" {
            type = "integer"
          }
          param "seq" {
            type = "integer"
          }
          param "note" {
            max_length = 100
          }
        }
        query "row" {
          path = "log/{id}"
          sql  = "SELECT id, writer, seq, note FROM log WHERE id = :id"
          row  = "single"
          param "id" {
            type = "integer"
          }
        }
        query "last" {
          sql = "SELECT coalesce(max(id), 0) AS last FROM log"
          row = "single"
        }
        query "tail" {
          sql = "SELECT id, writer, seq, note FROM log ORDER BY id DESC LIMIT 20"
        }
        query "never" {
          sql     = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS most FROM n"
          row     = "single"
          timeout = %q
        }
      }
    }
  }
}
`, t.children, t.ground.address, t.deferred, filepath.Join(t.folder, "storm.log"), folder, neverLimit)
}

// databases is writers, readers and an outside program on one database; with kills, children and masters die; with full, its disk fills.
func (t *trial) databases() error {
	if _, err := exec.LookPath("sqlite3"); err != nil {
		return fmt.Errorf("the outside program: %w", err)
	}
	folder := filepath.Join(t.folder, "databases")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	if t.full {
		if err := mountRoom(folder); err != nil {
			return err
		}
	}
	path := filepath.Join(folder, "shop.db")
	if out, err := exec.Command("sqlite3", "-batch", path, shopSchema).CombinedOutput(); err != nil {
		return fmt.Errorf("make the database: %w: %s", err, out)
	}
	var err error
	if t.server, err = newServer(t, t.tined, t.databaseText(folder)); err != nil {
		return err
	}
	before, err := t.server.serving(t.children)
	if err != nil {
		return err
	}
	s := &sqlStorm{trial: t, jury: newSQLJury()}
	stop := make(chan struct{})
	outsider, err := s.startOutsider(path, stop)
	if err != nil {
		return err
	}
	s.clients(t.clients, stop, (*sqlClient).writer)
	s.clients(t.clients, stop, (*sqlClient).visitor)
	begin := time.Now()
	switch {
	case t.full:
		err = s.fillAgain(folder)
	case t.kills > 0:
		err = s.killProcesses()
	default:
		select {
		case <-time.After(t.over):
		case <-t.server.process.Ended():
			err = errors.New("the master has ended")
		}
	}
	took := time.Since(begin)
	close(stop)
	s.all.Wait()
	<-outsider.done
	if err != nil {
		return err
	}
	s.tellSpeed(took)
	if t.kills == 0 {
		after, err := t.server.serving(t.children)
		t.bar("the same processes", fmt.Sprint(slices.Equal(before, after)), "true", err == nil && slices.Equal(before, after))
		if err := s.hang(); err != nil {
			return err
		}
	}
	s.jury.report(t.report)
	t.note("the outside program: transactions", outsider.number)
	t.note("the outside program: times it held the lock for "+holdTime.String(), outsider.holds)
	t.note("the outside program: longest, ms", outsider.longest.Milliseconds())
	t.say("the outside program: no error", outsider.failure)
	return s.settle(path, outsider.number)
}

// tellSpeed tells what the requests took while all clients were there.
func (s *sqlStorm) tellSpeed(took time.Duration) {
	for _, name := range []string{sqlWrites, sqlReads} {
		p50, p99, longest, n := s.jury.times(name, 0)
		s.note(name+" a second", int(float64(n)/took.Seconds()))
		text := fmt.Sprintf("%s, %s, %s", inMillis(p50), inMillis(p99), inMillis(longest))
		if line := name + ": p50, p99, longest, ms"; name == sqlWrites && s.kills == nil && !s.trial.full {
			s.bar(line, text, "p99 under "+writeBar.String(), p99 < writeBar)
		} else {
			s.note(line, text)
		}
	}
	if s.trial.kills > 0 {
		s.note("requests that a kill has cut", s.cut)
	}
}

func inMillis(d time.Duration) string { return strconv.FormatFloat(float64(d)/1e6, 'f', 1, 64) }

// hang looks what a query that never ends does to the others: few clients, so that the machine has room for all of them.
func (s *sqlStorm) hang() error {
	measure := func(name string, hung int) map[string]time.Duration {
		s.phase(name)
		from := map[string]int{sqlWrites: s.jury.asked(sqlWrites), sqlReads: s.jury.asked(sqlReads)}
		stop := make(chan struct{})
		s.clients(hungClients, stop, (*sqlClient).idler)
		s.clients(hungClients, stop, (*sqlClient).visitor)
		s.clients(hung, stop, (*sqlClient).patient)
		time.Sleep(hungTime)
		close(stop)
		s.all.Wait()
		p99s := make(map[string]time.Duration)
		for what, n := range from {
			p50, p99, longest, _ := s.jury.times(what, n)
			s.note(fmt.Sprintf("%s: %s: p50, p99, longest, ms", name, what), fmt.Sprintf("%s, %s, %s", inMillis(p50), inMillis(p99), inMillis(longest)))
			p99s[what] = p99
		}
		return p99s
	}
	alone := measure("few clients", 0)
	beside := measure("beside a query that never ends", 1)
	for _, what := range []string{sqlWrites, sqlReads} {
		grown := beside[what] - alone[what]
		s.bar(what+": p99 grows beside a query that never ends, ms", inMillis(grown), hungGrowth.String(), grown <= hungGrowth)
	}
	_, _, longest, n := s.jury.times(sqlEnds, 0)
	s.bar("what never ends: ended, of which the slowest after, ms", fmt.Sprintf("%d, %s", n, inMillis(longest)), (neverLimit + neverLate).String(),
		n > 0 && longest <= neverLimit+neverLate)
	return nil
}

// patient returns what a client does that asks for what never ends.
func (c *sqlClient) patient(int) func() {
	return func() { c.exchange(sqlEnds, expectation{limit: true}, "GET", sqlNever, "", nil) }
}

// idler returns what a writer with pauses does.
func (c *sqlClient) idler(number int) func() {
	write := c.writer(number)
	return func() {
		time.Sleep(time.Duration(c.random.Int64N(int64(think))))
		write()
	}
}

// killProcesses kills children under load, and each fifth time the master, after which the next one takes the children over.
func (s *sqlStorm) killProcesses() error {
	masters := 0
	for i := range s.trial.kills {
		time.Sleep(sqlEvery)
		pids, err := s.server.serving(s.children)
		if err != nil {
			return err
		}
		s.phase(fmt.Sprintf("kill %d", i+1))
		if i%5 == 4 {
			if err := s.server.killMaster(); err != nil {
				return err
			}
			if err := s.server.start(s.server.binary); err != nil {
				return err
			}
			masters++
			continue
		}
		victim := pids[rand.IntN(len(pids))]
		s.killed()
		if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill child %d: %w", victim, err)
		}
		if err := s.succeeded(victim); err != nil {
			return err
		}
	}
	time.Sleep(sqlEvery)
	s.note("killed: children, masters", fmt.Sprintf("%d, %d", s.trial.kills-masters, masters))
	return nil
}

// settle holds the file against what the clients and the outside program know.
func (s *sqlStorm) settle(path string, outside int) error {
	query := func(sql string) (string, error) {
		out, code, err := s.server.run("sqlite3", "-batch", "-csv", "-cmd", ".timeout 10000", path, sql)
		if err == nil && code != 0 {
			err = fmt.Errorf("sqlite3: exit status %d: %s", code, out)
		}
		return strings.TrimSpace(out), err
	}
	intact, err := query("PRAGMA integrity_check")
	if err != nil {
		return err
	}
	s.bar("integrity_check", intact, "ok", intact == "ok")
	text, err := query("SELECT writer, seq, count(*) FROM log GROUP BY writer, seq")
	if err != nil {
		return err
	}
	found, err := foundRows(text)
	if err != nil {
		return err
	}
	a := s.jury.settle(found)
	s.bar("rows: acknowledged", a.acknowledged, "some", a.acknowledged > 0)
	s.note("rows: refused", a.refused)
	s.note("rows: of unknown outcome, of which there", fmt.Sprintf("%d, %d", a.unknown, a.landed))
	s.zero("rows: acknowledged and not there", a.missing)
	s.zero("rows: there more than once", a.twice)
	s.zero("rows: refused and there", a.ghosts)
	if a.example != "" {
		s.note("  the first of these", a.example)
	}
	gaps, err := query("SELECT max(id) - count(*) FROM log")
	if err != nil {
		return err
	}
	s.bar("gaps between the rows' numbers", gaps, "0", gaps == "0")
	theirs, err := query("SELECT count(*) - count(DISTINCT n), count(*) FROM outside")
	if err != nil {
		return err
	}
	// The last one may have been under way.
	ok := theirs == fmt.Sprintf("0,%d", outside) || theirs == fmt.Sprintf("0,%d", outside+1)
	s.bar("the outside program's rows: twice, in all", theirs, fmt.Sprintf("0,%d", outside), ok)
	return nil
}

// foundRows reads lines of writer, sequence number and count.
func foundRows(text string) (map[rowKey]int, error) {
	lines, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		return nil, err
	}
	found := make(map[rowKey]int, len(lines))
	for _, line := range lines {
		var n [3]int64
		for i := range n {
			if n[i], err = strconv.ParseInt(line[i], 10, 64); err != nil {
				return nil, err
			}
		}
		found[rowKey{n[0], n[1]}] = int(n[2])
	}
	return found, nil
}

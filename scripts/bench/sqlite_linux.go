package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/child/module/sqlite/lite"
	"github.com/tined/tined/scripts/internal/rig"
	"github.com/tined/tined/scripts/internal/stats"
)

// Those who take part in the cases of databases, beside tined and, for plaintext, tined-inline.
const (
	pocketbase = "pocketbase"
	// perRequest and perRequestLocked are `bench per-request`, with a connection for each request under way and with one behind a mutex.
	perRequest       = "tx-per-request"
	perRequestLocked = "tx-locked"
)

const (
	// rowCount is how many rows the table items has to begin with. hotRows of them are asked for in sqlite-hot.
	rowCount = 100_000
	hotRows  = 100
	// fewestRowBytes is the length of the shortest answer: a row of tined's, or that of an insert.
	fewestRowBytes = 37
	// writerProcesses serve in each server of sqlite-write.
	writerProcesses = 2
	// fillPatience bounds the making of PocketBase's database.
	fillPatience = time.Minute
)

// A databaseCase is a case whose servers have databases. Its servers take turns as those of a Case do.
type databaseCase struct {
	Case
	// against says what tined is held against: a server of the case, what is compared, and the bar. One with the Value 0 is for orientation.
	against []against
}

type against struct {
	server string
	Bar
}

const (
	ownRatio     = "req/s to its own plaintext's"
	ownCPURatio  = "CPU to its own plaintext's"
	pocketRatio  = "req/s to PocketBase's"
	writeRatio   = "req/s to a transaction per request"
	lockedRatio  = "req/s to one writer, a transaction each"
	itemsPath    = "/db/shop/items/"
	insertPath   = "/db/shop/items"
	pocketPath   = "/api/collections/items/records/"
	pocketFormat = "%015d"
)

var databaseCases = []databaseCase{
	{Case: Case{Name: "sqlite-point", Path: itemsPath, Body: fewestRowBytes, Connections: 64, Rows: rowCount, RowFormat: "%d"},
		against: []against{
			{inline, Bar{What: ownRatio, Value: 0.5, AtLeast: true}}, {inline, Bar{What: ownCPURatio}},
			{pocketbase, Bar{What: pocketRatio, Value: 5, AtLeast: true}}}},
	{Case: Case{Name: "sqlite-hot", Path: itemsPath, Body: fewestRowBytes, Connections: 64, Rows: hotRows, RowFormat: "%d"},
		against: []against{
			{inline, Bar{What: ownRatio, AtLeast: true}}, {inline, Bar{What: ownCPURatio}}, {pocketbase, Bar{What: pocketRatio, AtLeast: true}}}},
	{Case: Case{Name: "sqlite-write", Path: insertPath, Body: fewestRowBytes, Connections: 64, Insert: true},
		against: []against{
			{perRequest, Bar{What: writeRatio, Value: 4, AtLeast: true}}, {perRequestLocked, Bar{What: lockedRatio, AtLeast: true}}}},
}

// databaseRoute is tined's route of a directory of databases.
func databaseRoute(directory string) string {
	return fmt.Sprintf(`  route "/db/" {
    sqlite {
      directory = %q
      database "shop" {
        query "item" {
          path = "items/{id}"
          sql  = "SELECT id, name, price FROM items WHERE id = :id"
          row  = "single"
          param "id" {
            type = "integer"
            min  = 1
          }
        }
        query "add" {
          method = "POST"
          path   = "items"
          sql    = "INSERT INTO items (name, price) VALUES (:name, :price)"
          param "name" {
            max_length = 200
          }
          param "price" {
            type = "number"
          }
        }
      }
    }
  }
`, directory)
}

// makeShop makes the database shop.db in a new folder of b's, and returns the folder. Its files belong to whom the server's children become.
func (b *bench) makeShop(rows int) (string, error) {
	folder, err := os.MkdirTemp(b.folder, "shop-")
	if err != nil {
		return "", err
	}
	conn, err := lite.Open(lite.Options{Path: filepath.Join(folder, "shop.db"), Create: true})
	if err != nil {
		return "", err
	}
	for _, sql := range []string{
		"CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL NOT NULL)",
		fmt.Sprintf(`INSERT INTO items (id, name, price) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
  SELECT i, printf('item %%06d', i), i %% 1000 + 0.5 FROM n`, max(rows, 1)),
	} {
		if err == nil {
			err = conn.Exec(sql)
		}
	}
	return folder, errors.Join(err, conn.Close())
}

// databases runs a case of databases.
func (b *bench) databases(d databaseCase) (*Result, error) {
	servers, err := b.startDatabases(d)
	defer stop(servers)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Name, err)
	}
	result := &Result{Case: d.Name}
	measured := make([]string, len(servers)) // wrk's scripts
	for i, s := range servers {
		c := d.of(s.name)
		var checked string
		if measured[i], checked, err = b.scripts(c, s.name); err != nil {
			return nil, err
		}
		result.Figures = append(result.Figures, Figures{Server: s.name})
		if _, _, err := b.load(c, s, checked, time.Second); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", d.Name, s.name, err)
		}
	}
	for round := range b.rounds {
		for i, s := range servers {
			load, cpu, err := b.load(d.of(s.name), s, measured[i], b.seconds)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: round %d: %w", d.Name, s.name, round+1, err)
			}
			f := &result.Figures[i]
			f.Rate = append(f.Rate, float64(load.Requests)/load.Duration.Seconds())
			f.CPU = append(f.CPU, d.cost(load, cpu))
			f.P99 = append(f.P99, micros(int64(load.P99)))
			last := Figures{Rate: f.Rate[round:], CPU: f.CPU[round:], P99: f.P99[round:]}
			b.progress(d.Name, round, s.name, fmt.Sprintf("%10s req/s  %s  p99 %s  server's core %.0f %%",
				last.rate(), last.cost(false), last.p99(), 100*cpu.Seconds()/load.Duration.Seconds()))
		}
	}
	d.decide(result)
	return result, nil
}

// of is what a server of the case is asked for.
func (d databaseCase) of(server string) Case {
	switch c := d.Case; server {
	case inline:
		return Case{Name: c.Name, Path: plainPath, Body: int64(len(rig.Greeting)), Connections: c.Connections}
	case pocketbase:
		c.Path, c.RowFormat = pocketPath, pocketFormat
		return c
	default:
		return c
	}
}

// scripts writes those for wrk, and returns their paths: for what is measured, and for the second in which every status is looked at.
func (b *bench) scripts(c Case, server string) (measured, checked string, err error) {
	measured = filepath.Join(b.folder, c.Name+"-"+server+".lua")
	checked = filepath.Join(b.folder, c.Name+"-"+server+"-checked.lua")
	return measured, checked, cmp.Or(os.WriteFile(measured, []byte(wrkScript(c, false)), 0o644), os.WriteFile(checked, []byte(wrkScript(c, true)), 0o644))
}

// startDatabases starts the servers of a case. Those that have been started are returned with an error too.
func (b *bench) startDatabases(d databaseCase) (started []contender, err error) {
	add := func(name string, start func() (*rig.Server, error)) {
		if err != nil {
			return
		}
		var s *rig.Server
		if s, err = start(); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
			return
		}
		started = append(started, contender{name, d.of(name).Path, s})
	}
	if d.Insert {
		if err := b.tellDisk(d.Name); err != nil {
			return nil, err
		}
		add(tined, func() (*rig.Server, error) { return b.startShop(0, writerProcesses) })
		add(perRequest, func() (*rig.Server, error) { return b.startPerRequest(d.Connections/writerProcesses, writerProcesses) })
		add(perRequestLocked, func() (*rig.Server, error) { return b.startPerRequest(1, 1) })
		return started, err
	}
	add(tined, func() (*rig.Server, error) { return b.startShop(rowCount, 1) })
	if err == nil {
		started = append(started, contender{inline, plainPath, started[0].Server})
	}
	if _, e := os.Stat(b.programs[pocketbase]); e != nil {
		fmt.Printf("%s: %s is not there, so its bar is open (docs/bench.md says how it is built)\n", d.Name, b.programs[pocketbase])
	} else {
		add(pocketbase, b.startPocketBase)
	}
	for _, s := range started {
		if err == nil && s.name != inline {
			err = d.of(s.name).verify(s)
		}
	}
	return started, err
}

// verify looks whether the rows that are asked for are the ones that come.
func (c Case) verify(s contender) error {
	for _, row := range []int{1, 77, c.Rows} {
		answer, err := http.Get(s.URL(c.Path + fmt.Sprintf(c.RowFormat, row)))
		if err != nil {
			return err
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			return err
		}
		if want := fmt.Sprintf(`"name":"item %06d"`, row); answer.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			return fmt.Errorf("%s: row %d: %s, %.200q, which has not %s", s.name, row, answer.Status, body, want)
		}
	}
	return nil
}

// startShop starts tined with a database of its own.
func (b *bench) startShop(rows, children int) (*rig.Server, error) {
	shop, err := b.makeShop(rows)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp(b.folder, "tined-")
	if err != nil {
		return nil, err
	}
	return rig.Tined(b.crew, serverCore, b.programs[tined], folder, rig.Site{Root: b.root, Children: children, Routes: databaseRoute(shop)})
}

// startPerRequest starts `bench per-request` with a database of its own.
func (b *bench) startPerRequest(connections, processes int) (*rig.Server, error) {
	shop, err := b.makeShop(0)
	if err != nil {
		return nil, err
	}
	return rig.Other(b.crew, serverCore, nil, b.self, func(address string) []string {
		return []string{"per-request", "-listen", address, "-database", filepath.Join(shop, "shop.db"),
			"-connections", strconv.Itoa(connections), "-processes", strconv.Itoa(processes)}
	})
}

// startPocketBase starts PocketBase with the same rows.
func (b *bench) startPocketBase() (*rig.Server, error) {
	folder, err := os.MkdirTemp(b.folder, "pocketbase-")
	if err != nil {
		return nil, err
	}
	program, err := filepath.Abs(b.programs[pocketbase])
	if err != nil {
		return nil, err
	}
	fill, err := b.crew.Start(rig.AnyCore, nil, program, "fill", "--dir", folder, "--rows", strconv.Itoa(rowCount))
	if err != nil {
		return nil, err
	}
	defer fill.End()
	select {
	case <-fill.Ended():
	case <-time.After(fillPatience):
		return nil, fmt.Errorf("the database is not filled after %v: %s", fillPatience, fill.Output())
	}
	if _, err := fill.Wait(); err != nil {
		return nil, err
	}
	return rig.Other(b.crew, serverCore, nil, program, func(address string) []string {
		return []string{"serve", "--dir", folder, "--http", address}
	})
}

// decide compares round by round, as Result.decide does.
func (d databaseCase) decide(r *Result) {
	t := r.find(tined)
	for _, a := range d.against {
		other := r.find(a.server)
		if other == nil {
			continue
		}
		ratios := stats.Paired(t.CPU, other.CPU)
		if a.AtLeast {
			ratios = stats.Paired(t.Rate, other.Rate)
		}
		if j := judge(tined, a.Bar, ratios); a.Value == 0 {
			r.Reference = append(r.Reference, j)
		} else {
			r.Bars = append(r.Bars, j)
		}
	}
}

// fileSystems are names of those that statfs(2) tells by a number.
var fileSystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlayfs", unix.F2FS_SUPER_MAGIC: "f2fs",
}

// tellDisk prints where the databases are, and what it takes there until written bytes are durable.
func (b *bench) tellDisk(name string) error {
	var where unix.Statfs_t
	if err := unix.Statfs(b.folder, &where); err != nil {
		return fmt.Errorf("statfs %s: %w", b.folder, err)
	}
	kind, known := fileSystems[int64(where.Type)]
	if !known {
		kind = fmt.Sprintf("a file system of type %#x", where.Type)
	}
	took, err := syncTimes(filepath.Join(b.folder, "sync"))
	if err != nil {
		return err
	}
	doubt := ""
	if kind == "tmpfs" {
		doubt = ": nothing is durable there, and the figures say nothing of a disk (TMPDIR=…)"
	}
	fmt.Printf("%s: the databases are on %s in %s; 4 KiB more and fdatasync: median %v, p99 %v%s\n", name, kind, b.folder,
		took[len(took)/2].Round(time.Microsecond), took[len(took)*99/100].Round(time.Microsecond), doubt)
	return nil
}

// syncTimes are how long fdatasync(2) takes after 4 KiB more, sorted.
func syncTimes(name string) ([]time.Duration, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	defer os.Remove(name)
	defer f.Close()
	took := make([]time.Duration, 300)
	for i := range took {
		if _, err := f.Write(make([]byte, 4<<10)); err != nil {
			return nil, err
		}
		begin := time.Now()
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return nil, fmt.Errorf("fdatasync: %w", err)
		}
		took[i] = time.Since(begin)
	}
	slices.Sort(took)
	return took, nil
}

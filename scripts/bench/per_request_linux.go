package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/module/sqlite/lite"
	"github.com/tined/tined/scripts/internal/rig"
)

// busyTimeout is how long SQLite waits for others' transactions, as most programs have it. Who waited in vain tries once more.
const busyTimeout = 5 * time.Second

// runPerRequest is `bench per-request`: what is usually written for SQLite. An http.Server, a pool of connections, and for each request that
// writes a transaction of its own, which waits with busy_timeout for those of the other connections. It has tined's driver, WAL,
// synchronous = FULL, prepared statements, and SQLite's own checkpoints.
//
// With several processes the first one listens and serves nothing: the others share its socket.
func runPerRequest(args []string) error {
	flags := flag.NewFlagSet("per-request", flag.ExitOnError)
	address := flags.String("listen", "", "address")
	database := flags.String("database", "", "the database's file")
	connections := flags.Int("connections", 1, "connections to it, of each process")
	processes := flags.Int("processes", 1, "processes that serve")
	inherited := flags.Bool("inherited", false, "the socket is descriptor 3")
	_ = flags.Parse(args)

	if *processes > 1 {
		return shareSocket(*address, *processes, append(args, "-inherited", "-processes", "1"))
	}
	listener, err := listen(*address, *inherited)
	if err != nil {
		return err
	}
	pool, err := openPool(*database, *connections)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+plainPath, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, rig.Greeting) })
	mux.HandleFunc("POST "+insertPath, pool.insert)
	return http.Serve(listener, mux)
}

func listen(address string, inherited bool) (net.Listener, error) {
	if !inherited {
		return net.Listen("tcp4", address)
	}
	return net.FileListener(os.NewFile(3, "socket"))
}

// shareSocket runs processes that accept from one socket, until one of them ends.
func shareSocket(address string, processes int, args []string) error {
	l, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the death signal follows this thread
	ended := make(chan error, processes)
	for range processes {
		cmd := exec.Command(self, append([]string{"per-request"}, args...)...)
		cmd.ExtraFiles = []*os.File{socket}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
		if err := cmd.Start(); err != nil {
			return err
		}
		go func() { ended <- cmd.Wait() }()
	}
	return errors.Join(errors.New("a process has ended"), <-ended)
}

// A pool holds connections that nobody uses.
type pool chan *lite.Conn

func openPool(path string, connections int) (pool, error) {
	p := make(pool, connections)
	for range connections {
		c, err := lite.Open(lite.Options{Path: path})
		if err != nil {
			return nil, err
		}
		// 1000 pages is SQLite's own.
		for _, sql := range []string{fmt.Sprintf("PRAGMA busy_timeout = %d", busyTimeout.Milliseconds()), "PRAGMA wal_autocheckpoint = 1000"} {
			if err := c.Exec(sql); err != nil {
				return nil, err
			}
		}
		p <- c
	}
	return p, nil
}

// insert is the handler of POST.
func (p pool) insert(w http.ResponseWriter, r *http.Request) {
	var item struct {
		Name  string  `json:"name"`
		Price float64 `json:"price"`
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &item)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c := <-p
	id, err := insertOne(c, item.Name, item.Price)
	if err != nil && engine.ErrorOf(err).Code == engine.CodeBusy {
		id, err = insertOne(c, item.Name, item.Price)
	}
	p <- c
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	answer := fmt.Sprintf(`{"rows_affected":1,"last_insert_id":%d}`, id)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	_, _ = io.Copy(w, strings.NewReader(answer))
}

// insertOne is a transaction.
func insertOne(c *lite.Conn, name string, price float64) (id int64, err error) {
	if err := c.Exec("BEGIN IMMEDIATE"); err != nil {
		return 0, err
	}
	rows, err := c.Start(context.Background(), nil, &engine.Statement{
		SQL:  "INSERT INTO items (name, price) VALUES (?, ?)",
		Args: []engine.Arg{{Value: engine.TextOf(name)}, {Value: engine.RealOf(price)}},
		Kept: true,
	}, engine.Limits{})
	if err != nil {
		return 0, errors.Join(err, c.Exec("ROLLBACK"))
	}
	rows.Close()
	id = c.LastInsertID()
	return id, c.Exec("COMMIT")
}

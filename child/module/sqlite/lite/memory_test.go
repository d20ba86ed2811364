package lite

import (
	"path/filepath"
	"sync"
	"testing"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// A sort that has no end stops at the bound of memory, and the connection goes on.
func TestMemoryIsBounded(t *testing.T) {
	c, err := Open(Options{Path: Memory})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tls := libc.NewTLS()
	defer tls.Close()
	if set := lib.Xsqlite3_hard_heap_limit64(tls, 32<<20); set != maxHeap {
		t.Errorf("the bound was %d", set)
	}
	defer lib.Xsqlite3_hard_heap_limit64(tls, maxHeap)
	_, err = c.Start(t.Context(), nil, &engine.Statement{
		SQL: "WITH RECURSIVE n(i, b) AS (SELECT 1, zeroblob(100000) UNION ALL SELECT i + 1, zeroblob(100000) FROM n) SELECT i FROM n ORDER BY b, i",
	}, engine.Limits{})
	if err == nil || ErrorOf(err).Code != engine.CodeUnavailable {
		t.Errorf("%v", err)
	}
	rows, err := c.Start(t.Context(), nil, &engine.Statement{SQL: "SELECT 1"}, engine.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	rows.Close()
}

// Connections that are the first of a file at the same time all get it with a WAL.
func TestWALIsMadeAtOnce(t *testing.T) {
	for range 30 {
		path := filepath.Join(t.TempDir(), "a.db")
		old, err := Open(Options{Path: path, Create: true, KeepJournal: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := old.Exec("CREATE TABLE t (x)"); err != nil {
			t.Fatal(err)
		}
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		conns := make([]*Conn, 4)
		for i := range conns {
			all.Go(func() {
				var err error
				if conns[i], err = Open(Options{Path: path}); err != nil {
					t.Error(err, ErrorOf(err).Err)
				}
			})
		}
		all.Wait()
		for _, c := range conns {
			if c != nil && c.Close() != nil {
				t.Error("it cannot be closed")
			}
		}
	}
}

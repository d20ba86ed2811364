package upkeep

import (
	"sync"
	"testing"
	"time"

	"github.com/tined/tined/child/module/sqlite/lite"
)

// Under writers and readers who never pause the WAL stays bounded, and no writer that keeps to the turnstile meets a lock.
func TestWalUnderLoad(t *testing.T) {
	d, _ := newDatabase(t, "shop", 10)
	d.Settings.Checkpoint = Checkpointing{Size: 256 << 10, Every: time.Second, Alarm: 2 << 20}
	end := make(chan struct{})
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			c, err := open(d.Path)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.close()
			turnstile, err := lite.OpenTurnstile(d.Path)
			if err != nil {
				t.Error(err)
				return
			}
			defer turnstile.Close()
			for {
				select {
				case <-end:
					return
				default:
				}
				if err := turnstile.Lock(); err != nil {
					t.Error(err)
				}
				for _, sql := range []string{"BEGIN IMMEDIATE", "INSERT INTO items(text) SELECT printf('%01000d', 1) FROM items LIMIT 10", "COMMIT"} {
					if err := c.exec(t.Context(), sql); err != nil {
						t.Errorf("%s: %v", sql, err)
						return
					}
				}
				if err := turnstile.Unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 3 {
		all.Go(func() {
			c, err := open(d.Path)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.close()
			for {
				select {
				case <-end:
					return
				default:
					if _, err := c.rows(t.Context(), "SELECT count(*) FROM items WHERE id < 1000"); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	// It has been cut under load when it is empty or small after it was over its bound.
	w := &warden{database: d, warn: func(message string, fields ...any) { t.Errorf("%s %v", message, fields) }}
	cuts := 0
	for deadline := time.Now().Add(time.Minute); cuts < 3; {
		if time.Now().After(deadline) {
			t.Errorf("the WAL was cut %d times in a minute", cuts)
			break
		}
		if walSize(t, d) < d.Settings.Checkpoint.bound() {
			continue
		}
		if err := w.turn(t.Context(), time.Now()); err != nil {
			t.Error(err)
			break
		}
		if walSize(t, d) < d.Settings.Checkpoint.bound() {
			cuts++
		}
	}
	close(end)
	all.Wait()
}

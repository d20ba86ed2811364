package sqlite

import (
	"encoding/json"
	"sync"
	"testing"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/web"
	"github.com/tined/tined/child/web/webtest"
)

// While a sum moves between two rows, a transaction that reads them one after the other finds it whole, or says that it could not.
func TestRawReadTransactionIsOneContent(t *testing.T) {
	s := &service{log: func(message string, err error) { t.Error(message, err) }}
	d := &database{name: "shop", path: "/shop.db", engine: newRawFile(t, []string{
		"CREATE TABLE account(id INTEGER PRIMARY KEY, amount INTEGER NOT NULL)", "INSERT INTO account VALUES(1, 1000), (2, 1000)"}),
		raw: rawAccess{read: true, write: true}, limits: engine.Limits{MaxRows: 10}}
	who := rawRoleOfAll()
	ask := func(endpoint, content string) *webtest.Response {
		return webtest.Do(web.HandlerFunc(func(w *web.Response, r *web.Request) { s.serveRaw(w, r, d, endpoint, who) }),
			webtest.Request{Method: "POST", Target: "/?transaction", Body: content})
	}
	stop := make(chan struct{})
	var writing, reading sync.WaitGroup
	writing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			resp := ask("execute", `["UPDATE account SET amount = amount - 1 WHERE id = 1", "UPDATE account SET amount = amount + 1 WHERE id = 2"]`)
			if resp.Text() != `{"results":[{"rows_affected":1},{"rows_affected":1}]}` {
				t.Error(resp.Text())
				return
			}
		}
	})
	var mu sync.Mutex
	whole, busy := 0, 0
	for range 2 {
		reading.Go(func() {
			for range 200 {
				resp := ask("query", `["SELECT amount FROM account WHERE id = 1", "SELECT amount FROM account WHERE id = 2"]`)
				var said struct{ Results []struct{ Values [][]int } }
				mu.Lock()
				switch err := json.Unmarshal(resp.Body, &said); {
				case resp.Status == 503:
					busy++
				case err != nil || len(said.Results) != 2:
					t.Error(resp.Status, resp.Text(), err)
				case said.Results[0].Values[0][0]+said.Results[1].Values[0][0] != 2000:
					t.Error(resp.Text())
				default:
					whole++
				}
				mu.Unlock()
			}
		})
	}
	reading.Wait()
	close(stop)
	writing.Wait()
	if whole == 0 {
		t.Errorf("of 400 transactions none was read, and %d were refused", busy)
	}
	t.Logf("%d transactions were read, %d refused", whole, busy)
}

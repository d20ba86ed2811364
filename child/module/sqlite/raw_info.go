package sqlite

import (
	"encoding/json"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/tined/tined/child/module/sqlite/engine"
	"github.com/tined/tined/child/web"
)

// rawReadyTimeout is how long the database may take to show that it answers.
const rawReadyTimeout = 2 * time.Second

// rawReady is what the question for readiness may do: it reads no table.
var rawReady = &engine.Policy{Name: "readyz"}

// rawNode is this server as rqlite's clients expect a node to be: the only one of its cluster, hence the leader. Address and name are those by
// which the client has come. That is what gorqlite looks for: whom to send its statements to.
type rawNode struct {
	ID        string `json:"id"`
	APIAddr   string `json:"api_addr"`
	Addr      string `json:"addr"`
	Version   string `json:"version"`
	Voter     bool   `json:"voter"`
	Reachable bool   `json:"reachable"`
	Leader    bool   `json:"leader"`
}

// rawNodeOf returns the node that r was sent to.
func rawNodeOf(r *web.Request, d *database) rawNode {
	scheme := r.Scheme
	if scheme == "" {
		scheme = "http"
	}
	return rawNode{ID: d.name, APIAddr: scheme + "://" + r.Host, Addr: r.Host, Version: "tined", Voter: true, Reachable: true, Leader: true}
}

// serveRawInfo answers what rqlite's clients ask before they send SQL: name is "status", "nodes", "leader" or "readyz"
// (https://rqlite.io/docs/guides/monitoring-rqlite/). It tells only what is so here, in members that rqlite has too. Who may ask was decided
// by the caller.
func (s *service) serveRawInfo(w *web.Response, r *web.Request, d *database, name string) {
	x := rawExchange{service: s, w: w, database: d, ctx: r.Context()}
	x.options.problem = rawWantsProblem(r)
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		w.SetStatus(http.StatusNoContent)
		return
	default:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		x.refuse(engine.Errorf(engine.CodeMethod, "%s takes GET", name), -1)
		return
	}
	node := rawNodeOf(r, d)
	query := r.Query()
	switch name {
	case "nodes":
		if query.Get("ver") == "2" {
			x.info(map[string]any{"nodes": []rawNode{node}}, query.Has("pretty"))
			return
		}
		x.info(map[string]rawNode{node.ID: node}, query.Has("pretty"))
	case "leader":
		x.info(node, query.Has("pretty"))
	case "status":
		x.info(rawPart(rawStatus(&node), query.Get("key")), query.Has("pretty"))
	case "readyz":
		x.ready(query.Has("noleader"), query.Has("sync"))
	default:
		x.refuse(engine.Errorf(engine.CodeNotFound, "there is no %q here", rawShort(name)), -1)
	}
}

// rawStatus is what /status tells.
func rawStatus(n *rawNode) map[string]any {
	member := map[string]any{"id": n.ID, "addr": n.Addr, "suffrage": "voter"}
	return map[string]any{
		"build":   map[string]any{"version": n.Version},
		"http":    map[string]any{"auth": "enabled"},
		"node":    map[string]any{"current_time": time.Now().UTC()},
		"runtime": map[string]any{"GOARCH": runtime.GOARCH, "GOOS": runtime.GOOS, "version": runtime.Version()},
		"store": map[string]any{
			"leader":  map[string]any{"node_id": n.ID, "addr": n.Addr},
			"node_id": n.ID,
			"addr":    n.Addr,
			"nodes":   []any{member},
			"ready":   true,
		},
	}
}

// rawPart returns the member of v that key names, as in "store.leader": all of v without a key, and an empty object where there is none.
func rawPart(v any, key string) any {
	if key == "" {
		return v
	}
	for part := range strings.SplitSeq(key, ".") {
		object, is := v.(map[string]any)
		if !is {
			return v
		}
		if v, is = object[part]; !is {
			return struct{}{}
		}
	}
	return v
}

// info sends v.
func (x *rawExchange) info(v any, pretty bool) {
	content, err := json.Marshal(v)
	if err != nil {
		x.refuse(engine.ErrorOf(err), -1)
		return
	}
	if pretty {
		var indent rawIndent
		content = indent.append(nil, content)
	}
	x.w.Header().Set("Content-Type", rawContentType)
	x.w.Header().Set("Cache-Control", "no-store")
	x.w.SendBytes(content)
}

// ready answers in rqlite's words whether the database answers. alone: it is enough that the server does.
func (x *rawExchange) ready(alone, synced bool) {
	x.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	x.w.Header().Set("Cache-Control", "no-store")
	if alone {
		x.w.SendString("[+]node ok")
		return
	}
	rows, err := x.database.engine.Query(x.ctx, &engine.Query{Statement: engine.Statement{SQL: "SELECT 1"}, Policy: rawReady,
		Limits: engine.Limits{Timeout: rawReadyTimeout, MaxRows: 1}})
	if err == nil {
		rows.Next()
		err = rows.Err()
		rows.Close()
	}
	if err != nil {
		e := engine.ErrorOf(err)
		x.log(e)
		setRetryAfter(x.w.Header(), &engine.Error{Code: engine.CodeUnavailable, RetryAfter: e.RetryAfter})
		x.w.SetStatus(http.StatusServiceUnavailable)
		x.w.SendString("[+]node ok\n[+]leader ok\n[+]store not ready")
		return
	}
	said := "[+]node ok\n[+]leader ok\n[+]store ok"
	if synced { // nothing that was acknowledged is ever behind
		said += "\n[+]sync ok"
	}
	x.w.SendString(said)
}

package rqlite

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rqlited returns the program that real clusters are made of.
func rqlited(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("TINED_RQLITED"); path != "" {
		return path
	}
	path, err := filepath.Abs("../../../../bin/rqlited")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("there is no bin/rqlited (scripts/rqlite.sh builds it), and TINED_RQLITED names no other")
	}
	return path
}

// A testNode is a process of a cluster.
type testNode struct {
	id, http, raft string
	process        *exec.Cmd
	ended          chan struct{}
}

func (n *testNode) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := n.process.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// startNodes starts a cluster of so many nodes on the loopback, and ends it with the test.
func startNodes(t testing.TB, count int) []*testNode {
	t.Helper()
	program := rqlited(t)
	nodes := make([]*testNode, count)
	var joins []string
	for i := range nodes {
		nodes[i] = &testNode{id: fmt.Sprint(i), http: freeAddress(t), raft: freeAddress(t)}
		joins = append(joins, nodes[i].raft)
	}
	for _, n := range nodes {
		log, err := os.Create(filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"-node-id", n.id, "-http-addr", n.http, "-raft-addr", n.raft, "-fk"}
		if count > 1 {
			args = append(args, "-bootstrap-expect", fmt.Sprint(count), "-join", strings.Join(joins, ","))
		}
		n.process = exec.Command(program, append(args, filepath.Join(t.TempDir(), "data"))...)
		n.process.Stdout, n.process.Stderr = log, log
		n.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := n.process.Start(); err != nil {
			t.Fatal(err)
		}
		n.ended = make(chan struct{})
		go func() {
			_ = n.process.Wait() // it is killed
			close(n.ended)
		}()
		t.Cleanup(func() {
			_ = n.process.Process.Kill() // it may be gone
			<-n.ended
			if t.Failed() {
				if text, err := os.ReadFile(log.Name()); err == nil {
					t.Logf("log of node %s:\n%s", n.id, text[max(0, len(text)-2000):])
				}
			}
			if err := log.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return nodes
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// openNodes opens the cluster, and waits until it has a leader.
func openNodes(t testing.TB, nodes []*testNode, o Options) *Cluster {
	t.Helper()
	for _, n := range nodes {
		o.Nodes = append(o.Nodes, "http://"+n.http)
	}
	patient := o
	patient.Timeout = time.Minute
	first := open(t, patient)
	if err := first.readAll(t.Context(), "strong", "SELECT 1", nil, 1, noLimits, discard); err != nil {
		t.Fatal(err)
	}
	return open(t, o)
}

func open(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Log == nil {
		o.Log = func(message string, err error) { t.Logf("%s: %v", message, err) }
	}
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// leaderOf asks the nodes which of them leads.
func leaderOf(t testing.TB, nodes []*testNode) *testNode {
	t.Helper()
	for _, n := range nodes {
		response, err := http.Get("http://" + n.http + "/nodes?ver=2&timeout=1s")
		if err != nil {
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			continue
		}
		var list struct {
			Nodes []struct {
				ID     string `json:"id"`
				Leader bool   `json:"leader"`
			} `json:"nodes"`
		}
		if err := json.Unmarshal(body, &list); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		for _, l := range list.Nodes {
			for _, n := range nodes {
				if l.Leader && l.ID == n.id {
					return n
				}
			}
		}
	}
	t.Fatal("no node knows the leader")
	return nil
}

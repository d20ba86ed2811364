package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tined/tined/scripts/internal/rig"
)

// The site of the attacked server.
const (
	largeFile  = "10m.txt"
	largeSize  = 10 << 20
	smallFile  = "1k.txt"
	siteRoutes = `  route "GET /hello/{name}" {
    function "hello" {}
  }
  route "POST /echo" {
    function "echo" {}
  }
`
)

var smallContent = strings.Repeat("x", 1024)

// writeSite makes the files that the attacks ask for.
func writeSite(root string) error {
	if err := os.WriteFile(filepath.Join(root, smallFile), []byte(smallContent), 0o644); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(root, largeFile))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(strings.Repeat("x", largeSize))
	return err
}

// State is what can be known of the server from outside.
type State struct {
	Memory      int64  `json:"memoryBytes"`
	Descriptors int    `json:"descriptors"`
	Threads     int    `json:"threads"`
	Connections int    `json:"connections"`
	Workers     int    `json:"workers"`
	Busy        int    `json:"workersBusy"`
	Queued      int    `json:"queued"`
	Restarts    uint64 `json:"restarts"`
}

// status is the part of `tined status --json` that counts here.
type status struct {
	Children []struct {
		Restarts uint64 `json:"restarts"`
		Numbers  *struct {
			Connections int `json:"connections"`
			Workers     int `json:"workers"`
			WorkersBusy int `json:"workers_busy"`
			Queued      int `json:"queued"`
		} `json:"numbers"`
	} `json:"children"`
}

// look reads the server's state. A child that does not report is an error.
func look(binary string, s *rig.Server) (State, error) {
	var state State
	out, err := exec.Command(binary, "status", "--json", "--control", s.Control).Output()
	if err != nil {
		return state, fmt.Errorf("tined status: %w", err)
	}
	var told status
	if err := json.Unmarshal(out, &told); err != nil {
		return state, fmt.Errorf("tined status: %w", err)
	}
	for i, c := range told.Children {
		state.Restarts += c.Restarts
		if c.Numbers == nil {
			return state, fmt.Errorf("child %d does not report", i)
		}
		state.Connections += c.Numbers.Connections
		state.Workers += c.Numbers.Workers
		state.Busy += c.Numbers.WorkersBusy
		state.Queued += c.Numbers.Queued
	}
	tree := rig.Tree(s.Pid)
	if state.Memory, err = rig.OwnMemory(tree); err != nil {
		return state, err
	}
	if state.Descriptors, err = rig.Descriptors(tree); err != nil {
		return state, err
	}
	state.Threads, err = rig.Threads(tree)
	return state, err
}

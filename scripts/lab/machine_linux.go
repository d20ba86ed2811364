package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// describeMachine says what the figures depend on, and names neither host nor path.
func describeMachine(l *lab) (*Outcome, error) {
	info, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return nil, err
	}
	defer info.Close()
	model, err := parseModel(info)
	if err != nil {
		return nil, fmt.Errorf("/proc/cpuinfo: %w", err)
	}
	var names unix.Utsname
	if err := unix.Uname(&names); err != nil {
		return nil, fmt.Errorf("uname: %w", err)
	}
	kernel := string(names.Release[:max(0, bytes.IndexByte(names.Release[:], 0))])
	how := fmt.Sprintf("medians of %d interleaved rounds, %v of each contender a round", l.rounds, l.slice)
	if l.quick {
		how = "a quick run, whose figures mean nothing; `make lab` measures"
	}
	return &Outcome{Tables: []Table{{Head: []string{"measured", "on " + time.Now().UTC().Format(time.DateOnly)}, Rows: [][]string{
		{"processor", model},
		{"usable cores", fmt.Sprint(runtime.NumCPU())},
		{"system", "Linux " + kernel + ", " + runtime.GOARCH},
		{"Go", strings.TrimPrefix(runtime.Version(), "go")},
		{"how", how},
	}}}}, nil
}

// parseModel finds the processor's name in proc_cpuinfo(5); machines that give none have a
// number of the maker's.
func parseModel(r io.Reader) (string, error) {
	fallback := ""
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		switch strings.TrimSpace(key) {
		case "model name":
			return strings.Join(strings.Fields(value), " "), lines.Err()
		case "CPU implementer", "CPU part":
			fallback += strings.TrimSpace(key) + " " + strings.TrimSpace(value) + " "
		}
	}
	if fallback == "" {
		fallback = "not named by the system"
	}
	return strings.TrimSpace(fallback), lines.Err()
}

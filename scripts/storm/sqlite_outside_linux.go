package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"time"
)

const (
	// outsideEvery is the longest pause between two small transactions of the outside program, holdEvery how often it holds the lock for holdTime.
	outsideEvery = 20 * time.Millisecond
	holdEvery    = 10 * time.Second
	holdTime     = 300 * time.Millisecond
	// outsideBusy is its busy_timeout.
	outsideBusy = 10 * time.Second
)

// An outsider is the command sqlite3 with the server's database open, which writes a table of its own.
type outsider struct {
	storm   *sqlStorm
	input   io.WriteCloser
	output  *bufio.Reader
	random  *rand.Rand
	number  int // of transactions, each with one row
	longest time.Duration
	holds   int
	failure error
	refused int // on a full disk
	done    chan struct{}
}

// startOutsider starts one. It writes until stop is closed.
func (s *sqlStorm) startOutsider(path string, stop <-chan struct{}) (*outsider, error) {
	cmd := exec.Command("sqlite3", "-batch", path)
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	s.server.mu.Lock() // so that nobody else buries it
	if err = cmd.Start(); err == nil {
		s.server.own[cmd.Process.Pid] = true
	}
	s.server.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("the outside program: %w", err)
	}
	o := &outsider{storm: s, input: input, output: bufio.NewReader(output), random: rand.New(rand.NewPCG(1, 9)), done: make(chan struct{})}
	go func() {
		defer close(o.done)
		o.failure = o.work(stop)
		_ = input.Close()
		_ = cmd.Process.Kill() // what it has said is durable counts
		_ = cmd.Wait()
		s.server.disown(cmd.Process.Pid)
	}()
	return o, nil
}

// work writes.
func (o *outsider) work(stop <-chan struct{}) error {
	if _, err := fmt.Fprintf(o.input, ".timeout %d\nPRAGMA synchronous = FULL;\n", outsideBusy.Milliseconds()); err != nil {
		return err
	}
	held := time.Now()
	for {
		select {
		case <-stop:
			return nil
		case <-time.After(time.Duration(o.random.Int64N(int64(outsideEvery)))):
		}
		begin := time.Now()
		if begin.Sub(held) < holdEvery {
			if err := o.say(fmt.Sprintf("INSERT INTO outside (n) VALUES (%d);", o.number)); err != nil {
				return err
			}
		} else {
			if err := o.say("BEGIN IMMEDIATE; INSERT INTO outside (n) VALUES (" + fmt.Sprint(o.number) + ");"); err != nil {
				return err
			}
			time.Sleep(holdTime)
			if err := o.say("COMMIT;"); err != nil {
				return err
			}
			held = time.Now()
			o.holds++
			begin = begin.Add(holdTime)
		}
		o.number++
		o.longest = max(o.longest, time.Since(begin))
	}
}

// errOutside is an error that sqlite3 has printed.
var errOutside = errors.New("sqlite3")

// say runs SQL, and returns what it prints as an error. On a full disk it is said again until there is room.
func (o *outsider) say(sql string) error {
	const ready = "ready"
	for {
		if _, err := io.WriteString(o.input, sql+"\nSELECT '"+ready+"';\n"); err != nil {
			return err
		}
		printed := ""
		for {
			line, err := o.output.ReadString('\n')
			if err != nil {
				return err
			}
			if strings.TrimSpace(line) == ready {
				break
			}
			printed += line
		}
		switch {
		case printed == "":
			return nil
		case o.storm.full.Load() && strings.Contains(printed, "disk"): // "database or disk is full", "disk I/O error"
			o.refused++
			time.Sleep(busyPause)
		default:
			return fmt.Errorf("%w: %s", errOutside, strings.TrimSpace(printed))
		}
	}
}

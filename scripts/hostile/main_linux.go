package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/tined/tined/scripts/internal/rig"
)

const (
	// serverCore is tined's, loadCore the clients'.
	serverCore = rig.Core(0)
	loadCore   = rig.Core(1)
	children   = 2
	// lead is how long the attack works before the well-behaved client comes.
	lead = 200 * time.Millisecond
	// glance is how often the server's state is read.
	glance = 250 * time.Millisecond
	// steady is the growth and shrinking that settled memory may have.
	steady = 0.03
	// warmBound is how long the server may be restless after the warm-up.
	warmBound = 3 * time.Minute
	// warmth is how long the warm-up takes.
	warmth = 3 * time.Second
)

// siege is one run.
type siege struct {
	crew        *rig.Crew
	binary      string // tined's
	self        string
	server      *rig.Server
	connections int
	rate        int
	duration    time.Duration
	settle      time.Duration
	calm        time.Duration
	gross       bool
	before      State
}

func main() {
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == "attacker":
		err = runAttacker(os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "polite":
		err = runPolite(os.Args[2:])
	default:
		err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hostile:", err)
		os.Exit(1)
	}
}

func run() error {
	program := flag.String("tined", "bin/tined", "tined's binary")
	connections := flag.Int("connections", 300, "connections of the attacker, up to 10,000")
	seconds := flag.Float64("seconds", 30, "how long each attack takes")
	rate := flag.Int("rate", 200, "requests a second of the well-behaved client")
	settle := flag.Duration("settle", 180*time.Second, "how long the server may take to be as it was before, 0: what is left is not looked at")
	calm := flag.Duration("calm", 130*time.Second, "how long memory must not have changed to count as settled after the warm-up; Go collects an idle process every 2 minutes")
	which := flag.String("attack", "", "regular expression; attacks whose name it matches, else all")
	fail := flag.String("fail", "missed", "exit with 1 when a bar is `missed`, or only on gross breakage")
	file := flag.String("json", "", "write the results to this file too")
	list := flag.Bool("list", false, "list the attacks")
	flag.Parse()
	pattern, err := regexp.Compile(*which)
	if err != nil || flag.NArg() > 0 || *connections < 1 || *connections > 10_000 || *rate < 1 || *seconds <= 0 || *fail != "missed" && *fail != "gross" {
		flag.Usage()
		os.Exit(2)
	}
	var chosen []*attack
	for i := range attacks {
		if a := &attacks[i]; pattern.MatchString(a.name) {
			chosen = append(chosen, a)
		}
	}
	if *list {
		for _, a := range chosen {
			fmt.Printf("%-24s%s\n", a.name, a.about)
		}
		return nil
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no attack matches %q", *which)
	}
	s := &siege{
		connections: *connections, rate: *rate, settle: *settle, calm: *calm, gross: *fail == "gross",
		duration: time.Duration(*seconds * float64(time.Second)),
	}
	if s.binary, err = filepath.Abs(*program); err != nil {
		return err
	}
	if s.self, err = os.Executable(); err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "tined-hostile-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if err := rig.TakeOrphans(); err != nil {
		return err
	}
	defer rig.EndOrphans()
	s.crew = new(rig.Crew)
	defer s.crew.End()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-interrupted
		s.crew.End()
	}()

	results, err := s.lay(folder, chosen)
	if err := table(os.Stdout, results); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	if *file != "" {
		text, err := json.MarshalIndent(results, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(*file, text, 0o644); err != nil {
			return err
		}
	}
	failed := 0
	for i := range results {
		for _, text := range results[i].Missed {
			failed++
			fmt.Printf("hostile: %s: %s\n", results[i].Name, text)
		}
	}
	if failed > 0 {
		return errors.New("bars were missed")
	}
	fmt.Printf("hostile: %d attacks, all bars hold\n", len(results))
	return nil
}

// lay starts the server and runs one attack after the other against it.
func (s *siege) lay(folder string, chosen []*attack) ([]result, error) {
	if err := writeSite(folder); err != nil {
		return nil, err
	}
	core := serverCore
	if runtime.NumCPU() < 2 {
		core = rig.AnyCore
	}
	var err error
	s.server, err = rig.Tined(s.crew, core, s.binary, folder, rig.Site{Root: folder, Children: children, Routes: siteRoutes})
	if err != nil {
		return nil, err
	}
	if err := s.warm(); err != nil {
		return nil, err
	}
	var results []result
	for _, a := range chosen {
		r, err := s.mount(a)
		if err != nil {
			return results, fmt.Errorf("%s: %w: %s", a.name, err, s.server.Output())
		}
		r.Missed = r.verdict(a, s.gross, s.settle > 0)
		results = append(results, r)
		fmt.Printf("hostile: %s: %d connections, p99 %.1f ms, %d errors; memory %s, %s, %s after %.0f s; answers %s\n", a.name, r.Attack.Connections,
			r.Polite.P99, r.Polite.Errors, size(r.Before.Memory), size(r.Peak), size(r.After.Memory), r.Return, statuses(r.Attack.Answers))
	}
	return results, nil
}

// warm lets ordinary clients fill the server's pools, and takes the figures that everything
// has to return to.
func (s *siege) warm() error {
	attacker, err := s.attacker(&warmUp, warmth)
	if err != nil {
		return err
	}
	visitor, err := s.polite(warmth)
	if err != nil {
		return err
	}
	var attack attackReport
	if err := decode(attacker, &attack); err != nil {
		return err
	}
	var visit politeReport
	if err := decode(visitor, &visit); err != nil {
		return err
	}
	// Settled: no connection, no busy worker, and memory steady for a while.
	began := time.Now()
	low, since := State{}, time.Now()
	for {
		now, err := look(s.binary, s.server)
		if err != nil {
			return err
		}
		if low.Memory == 0 || now.Connections+now.Busy+now.Queued > 0 || now.Workers < low.Workers ||
			float64(now.Memory) < (1-steady)*float64(low.Memory) || float64(now.Memory) > (1+steady)*float64(low.Memory) {
			low, since = now, time.Now()
		}
		if time.Since(since) >= s.calm {
			s.before = now
			break
		}
		if time.Since(began) > warmBound+s.calm {
			return fmt.Errorf("the server does not settle after the warm-up within %v: %+v", warmBound+s.calm, now)
		}
		time.Sleep(glance)
	}
	fmt.Printf("hostile: after the warm-up (answers %s; p99 %.1f ms): memory %s, %d descriptors, %d threads, %d workers\n", statuses(attack.Answers),
		visit.P99, size(s.before.Memory), s.before.Descriptors, s.before.Threads, s.before.Workers)
	return nil
}

// mount runs one attack beside the well-behaved client and waits until its traces have gone.
func (s *siege) mount(a *attack) (result, error) {
	r := result{Name: a.name, Before: s.before}
	attacker, err := s.attacker(a, s.duration)
	if err != nil {
		return r, err
	}
	time.Sleep(lead)
	visitor, err := s.polite(max(s.duration-2*lead, lead))
	if err != nil {
		return r, err
	}
	stop, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		s.watch(&r.Peak, stop)
	}()
	if err = decode(attacker, &r.Attack); err == nil {
		err = decode(visitor, &r.Polite)
	}
	close(stop)
	<-watched
	if err != nil {
		return r, err
	}
	over := time.Now()
	for {
		if r.After, err = look(s.binary, s.server); err != nil {
			return r, err
		}
		r.Return = time.Since(over).Seconds()
		if returned(s.before, r.After, residue) || time.Since(over) > s.settle {
			return r, nil
		}
		time.Sleep(glance)
	}
}

// watch keeps the highest memory that it sees.
func (s *siege) watch(peak *int64, stop <-chan struct{}) {
	for {
		if n, err := rig.OwnMemory(rig.Tree(s.server.Pid)); err == nil {
			*peak = max(*peak, n)
		}
		select {
		case <-stop:
			return
		case <-time.After(glance):
		}
	}
}

// attacker starts an attack in the kernel's idle class, where it takes nothing from the well-behaved client. The warm-up
// must not be starved instead.
func (s *siege) attacker(a *attack, duration time.Duration) (*rig.Process, error) {
	command := []string{"chrt", "-i", "0", s.self, "attacker", "-address", s.server.Address, "-attack", a.name,
		"-connections", strconv.Itoa(s.connections), "-seconds", seconds(duration)}
	if a == &warmUp {
		command = command[3:]
	}
	return s.crew.Start(clientCore(), nil, command[0], command[1:]...)
}

func (s *siege) polite(duration time.Duration) (*rig.Process, error) {
	return s.crew.Start(clientCore(), nil, s.self, "polite", "-address", s.server.Address, "-rate", strconv.Itoa(s.rate), "-seconds", seconds(duration))
}

func clientCore() rig.Core {
	if runtime.NumCPU() < 2 {
		return rig.AnyCore
	}
	return loadCore
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) }

// decode waits for one of our own clients and reads its report.
func decode(p *rig.Process, into any) error {
	output, err := p.Wait()
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(output), into); err != nil {
		return fmt.Errorf("report %q: %w", output, err)
	}
	return nil
}

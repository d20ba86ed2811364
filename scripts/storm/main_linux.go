package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tined/tined/scripts/internal/link"
	"github.com/tined/tined/scripts/internal/rig"
)

// sizes of a run. What is 0 is as the scenario has it.
type sizes struct {
	children, kills, clients, idle, streams, uploads int
	rate, connects, reloads, cycles, upgrades        int
	over, link, canary, probation                    time.Duration
	seed                                             uint64
	tined, next, unruly                              string
	ways, cases                                      string // to hang, of rollback
	address, ask                                     string // of load
	deferred, full                                   bool
}

// scenario is one of the trials.
type scenario struct {
	name, about string
	sizes       sizes // those that it has without flags
	run         func(*trial) error
}

var scenarios = []scenario{
	{"kill", "children die by SIGKILL while clients connect", sizes{children: 2, kills: 10, clients: 16, idle: 200}, (*trial).kill},
	{"reload", "configurations change under load",
		sizes{children: 2, clients: 500, idle: 100, streams: 4, rate: 200, reloads: 24, over: 6 * time.Second, link: 50 * time.Millisecond}, (*trial).reload},
	{"vote", "reloads that fail, and children that die in them", sizes{children: 4, clients: 100, rate: 100}, (*trial).vote},
	{"scale", "the number of children changes under a storm of connects",
		sizes{children: 4, clients: 100, rate: 2000, connects: 12_000, cycles: 1, link: 50 * time.Millisecond}, (*trial).scale},
	{"hang", "the loop of a child stands still", sizes{children: 3, clients: 90, rate: 50, ways: "spin,SIGSTOP"}, (*trial).hang},
	{"master", "the master dies by SIGKILL, and another takes over", sizes{children: 2, clients: 200, idle: 100, streams: 2, rate: 200}, (*trial).master},
	{"upgrade", "the program is replaced while it serves",
		sizes{children: 2, clients: 200, idle: 200, streams: 2, uploads: 2, rate: 200, upgrades: 3, canary: shortTrial, probation: shortTrial,
			link: 50 * time.Millisecond}, (*trial).upgrade},
	{"handoff", "idle connections move to the next version on busy cores",
		sizes{children: 2, clients: 64, idle: 10_000, canary: shortTrial, probation: shortTrial}, (*trial).handoff},
	{"rollback", "the next version is sick, and is taken back",
		sizes{children: 2, clients: 100, idle: 50, streams: 1, uploads: 1, rate: 100, canary: shortTrial, probation: shortTrial,
			cases: "quits,errors,crash"}, (*trial).rollback},
	{"assault", "processes die by SIGKILL at any moment of an upgrade",
		sizes{children: 2, kills: 6, clients: 100, idle: 100, streams: 1, uploads: 1, rate: 100, canary: shortTrial, probation: shortTrial}, (*trial).assault},
	{"replace", "files are replaced while they are served",
		sizes{children: 2, clients: 32, streams: 16, rate: 1000, over: 8 * time.Second}, (*trial).replace},
	{"sqlite", "clients and an outside program write one database", sizes{children: 2, clients: 200, over: 3 * time.Second}, (*trial).databases},
	{visit, "clients for a server that is there already", sizes{clients: 50, idle: 50, streams: 2, uploads: 2, rate: 100}, (*trial).load},
}

// visit is the scenario that starts no server, and so is no part of all.
const visit = "load"

// trial is one run of a scenario.
type trial struct {
	*report
	sizes
	crew   *rig.Crew
	ground *ground
	folder string
	server *server
}

func main() {
	link.Admit()
	failed, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

func run() (failed bool, err error) {
	var given sizes
	names := make([]string, len(scenarios))
	for i, s := range scenarios {
		names[i] = s.name
	}
	chosen := flag.String("scenario", "kill", "what to do, one after the other: `all`, or some of "+strings.Join(names, ","))
	report := flag.String("json", "", "write the figures to `FILE` too")
	flag.StringVar(&given.tined, "tined", "bin/tined", "tined's binary")
	flag.StringVar(&given.next, "next", "bin/tined-next", "upgrade, handoff: a binary of tined's with another version, to go on with; without it tined's own")
	flag.StringVar(&given.unruly, "unruly", "bin/unruly", "the binary of scripts/storm/unruly")
	flag.IntVar(&given.children, "children", 0, "children, 2 at least")
	flag.IntVar(&given.kills, "kills", 0, "kill: children to kill, one after the other; master: masters; assault: any; sqlite: children, and each fifth time the master, 0: none")
	flag.IntVar(&given.clients, "clients", 0, "kill: clients that connect at the same time; else keep-alive clients; sqlite: writers, and as many readers. load: negative for none, and so with the next four")
	flag.IntVar(&given.idle, "idle", 0, "idle keep-alive connections")
	flag.IntVar(&given.streams, "streams", 0, "downloads that take seconds; replace: slow clients")
	flag.IntVar(&given.uploads, "uploads", 0, "uploads that take seconds")
	flag.IntVar(&given.rate, "rate", 0, "connects a second; replace: files that are replaced by rename in a second")
	flag.IntVar(&given.connects, "connects", 0, "scale: connects in all")
	flag.IntVar(&given.reloads, "reloads", 0, "reload: reloads in all, an even number")
	flag.IntVar(&given.cycles, "cycles", 0, "scale: times that the number of children falls and rises again")
	flag.IntVar(&given.upgrades, "upgrades", 0, "upgrade: how many, one after the other")
	flag.DurationVar(&given.canary, "canary", 0, "upgrade, handoff, rollback, assault: the canary's time; the real default is 5s")
	flag.DurationVar(&given.probation, "probation", 0, "upgrade, handoff, rollback, assault: the probation's time; the real default is 10s")
	flag.Uint64Var(&given.seed, "seed", 0, "assault: seed of the moments; 0: another one in each run")
	flag.StringVar(&given.cases, "cases", "", "rollback: `all`, or some of "+caseNames())
	flag.StringVar(&given.ways, "ways", "", "hang: some of spin,block,wedge,SIGSTOP")
	flag.DurationVar(&given.over, "over", 0, "reload, kill: the time that all of them take together; master: how long the load goes on after each; load: its longest time, without a signal; replace, sqlite: how long")
	seconds := flag.Int("seconds", 0, "replace, sqlite: how long, in seconds: -over in short")
	flag.StringVar(&given.address, "address", "127.0.0.1:80", "load: where the server listens")
	flag.StringVar(&given.ask, "ask", "", "load: ask for this `PATH` too, where an answer of 500 is no failure")
	flag.DurationVar(&given.link, "link", 0, "round trip of a link between clients and server; negative: loopback")
	flag.BoolVar(&given.full, "full", false, "sqlite: the database's disk fills, in place of the rest")
	flag.BoolVar(&given.deferred, "deferred", false, "TCP_DEFER_ACCEPT on the listener")
	flag.Parse()
	if *seconds > 0 {
		given.over = time.Duration(*seconds) * time.Second
	}
	var todo []scenario
	for _, s := range scenarios {
		for name := range strings.SplitSeq(*chosen, ",") {
			if name == s.name || name == "all" && s.name != visit {
				todo = append(todo, s)
			}
		}
	}
	if len(todo) == 0 || flag.NArg() > 0 || given.children == 1 || given.children < 0 || given.reloads%2 != 0 || *seconds < 0 {
		flag.Usage()
		os.Exit(2)
	}
	if given.full {
		if err := ownMounts(); err != nil {
			return false, err
		}
	}
	for _, binary := range []*string{&given.tined, &given.next, &given.unruly} {
		if *binary, err = filepath.Abs(*binary); err != nil {
			return false, err
		}
	}
	if err := rig.TakeOrphans(); err != nil {
		return false, err
	}
	defer rig.EndOrphans()
	crew := new(rig.Crew)
	defer crew.End()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-interrupted
		crew.End()
	}()
	var all []*trial
	for _, s := range todo {
		t, err := s.try(crew, given)
		if err != nil {
			return true, fmt.Errorf("%s: %w", s.name, err)
		}
		all = append(all, t)
		failed = failed || t.failed()
	}
	if *report != "" {
		err = writeReports(*report, all)
	}
	return failed, err
}

func writeReports(path string, all []*trial) error {
	var out []any
	for _, t := range all {
		out = append(out, t.report)
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// try runs a scenario and prints its table. Where there can be no link, it runs on loopback and says so.
func (s scenario) try(crew *rig.Crew, given sizes) (*trial, error) {
	t := &trial{report: &report{Scenario: s.name, About: s.about}, sizes: given.or(s.sizes), crew: crew}
	var err error
	if t.folder, err = os.MkdirTemp("", "tined-storm-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(t.folder)
	place := newGround
	if s.name == visit {
		place = t.guest
	}
	t.ground, err = place(t.link)
	if why, ok := errors.AsType[*link.UnavailableError](err); ok {
		t.note("on loopback", why.Error())
		t.ground, err = place(0)
	}
	if err != nil {
		return nil, err
	}
	defer t.ground.close()
	begin := time.Now()
	err = s.run(t)
	if t.server != nil {
		if e := t.server.end(); err == nil {
			err = e
		}
		if t.server.process != nil {
			t.server.process.End()
		}
		close(t.server.ended)
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, t.server.last())
		} else if t.failed() {
			fmt.Fprintln(os.Stderr, t.server.last())
		}
	}
	t.Seconds = time.Since(begin).Seconds()
	if l := t.ground.link; l != nil {
		n := l.Count()
		t.note("link: packets", n.Carried)
		t.note("link: longest delay beyond its own, ms", n.Longest.Milliseconds())
		if n.Dropped > 0 {
			t.doubt("the link has dropped %d packets: this machine is too slow for it", n.Dropped)
		}
	}
	if e := t.table(os.Stdout); err == nil {
		err = e
	}
	return t, err
}

// or fills what is not given.
func (s sizes) or(own sizes) sizes {
	for _, n := range []struct{ given, own *int }{
		{&s.children, &own.children}, {&s.kills, &own.kills}, {&s.clients, &own.clients}, {&s.idle, &own.idle}, {&s.streams, &own.streams},
		{&s.rate, &own.rate}, {&s.connects, &own.connects}, {&s.reloads, &own.reloads}, {&s.cycles, &own.cycles},
		{&s.uploads, &own.uploads}, {&s.upgrades, &own.upgrades},
	} {
		if *n.given == 0 {
			*n.given = *n.own
		}
	}
	if s.ways == "" {
		s.ways = own.ways
	}
	if s.cases == "" {
		s.cases = own.cases
	}
	for _, d := range []struct{ given, own *time.Duration }{
		{&s.over, &own.over}, {&s.link, &own.link}, {&s.canary, &own.canary}, {&s.probation, &own.probation},
	} {
		if *d.given == 0 {
			*d.given = *d.own
		}
	}
	return s
}

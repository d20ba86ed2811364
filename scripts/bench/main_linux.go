package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tined/tined/scripts/internal/rig"
)

// The server under test has one core, its load the other.
const (
	serverCore rig.Core = 0
	loadCore   rig.Core = 1
)

// When to exit with 1, besides when a measurement fails.
const (
	failNever  = "never"
	failGross  = "gross"  // a figure is worse than twice its bar
	failMissed = "missed" // a bar is missed
)

// bench is one comparison.
type bench struct {
	rounds   int
	seconds  time.Duration // of one round of one server
	settle   time.Duration // before memory is read
	servers  []string
	deferred bool
	copied   bool              // nginx without sendfile
	programs map[string]string // server to program
	self     string            // this program
	folder   string
	root     string // of the site
	crew     *rig.Crew
	verbose  bool
	twice    bool // a gross figure is measured again before it is believed
}

func main() {
	client := map[string]func([]string) error{"hog": runHog, "open-loop": runOpenLoop, "sleepers": runSleepers, "readers": runReaders, "per-request": runPerRequest}
	if len(os.Args) > 1 && client[os.Args[1]] != nil {
		if err := client[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "bench %s: %v\n", os.Args[1], err)
			os.Exit(1)
		}
		return
	}
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		code = 1
	}
	os.Exit(code)
}

func run() (code int, err error) {
	rounds := flag.Int("rounds", minRounds, "rounds of every server in every case; fewer than 15 leave the bars open")
	seconds := flag.Int("seconds", 3, "seconds of one server in one round")
	pattern := flag.String("case", "", "run only the cases that match this expression (plaintext-64 … new-connection, idle-8000, sqlite-point, sqlite-hot, sqlite-write, blocked, slow-readers)")
	fair := flag.Bool("fair", false, "the fairness bar too: the p99 of 64 connections beside one that does as much as it can")
	blocked := flag.Bool("blocked", false, "the bar of blocked handlers too: the p99 of one route beside another whose handlers all sleep")
	readers := flag.Bool("readers", false, "the bar of slow readers too: the p99 of a small file beside 500 clients that read a long one slowly")
	file := flag.String("json", "", "write all figures of all rounds to this file")
	servers := flag.String("servers", "nginx,tined,limit", "who takes part")
	deferred := flag.Bool("deferred", false, "TCP_DEFER_ACCEPT on every server")
	sendfile := flag.Bool("sendfile", true, "nginx's sendfile; without it small files are cheaper, and long ones dearer")
	fail := flag.String("fail", failNever, "exit with 1 on: never, gross (a figure worse than twice its bar), missed (a missed bar)")
	tinedProgram := flag.String("tined", "bin/tined", "tined's binary")
	limitProgram := flag.String("limit", "bin/limit", "the limit's binary (scripts/limit)")
	sleeperProgram := flag.String("sleeper", "bin/sleeper", "the binary for -blocked (scripts/sleeper)")
	nginxProgram := flag.String("nginx", "nginx", "nginx's binary")
	pocketbaseProgram := flag.String("pocketbase", "bin/pocketbase", "the binary of scripts/pocketbase; where there is none, the sqlite cases do without it")
	quiet := flag.Bool("quiet", false, "print only the table")
	flag.Parse()
	wanted, err := regexp.Compile(*pattern)
	if err != nil {
		return 1, fmt.Errorf("-case: %w", err)
	}
	if *rounds < 1 || *seconds < 1 || flag.NArg() > 0 || (*fail != failNever && *fail != failGross && *fail != failMissed) {
		flag.Usage()
		return 2, nil
	}
	if runtime.NumCPU() < 2 {
		return 1, errors.New("two cores are needed, one for the server and one for its load")
	}

	b := &bench{
		rounds: *rounds, seconds: time.Duration(*seconds) * time.Second, settle: time.Duration(*seconds) * time.Second,
		servers: strings.Split(*servers, ","), deferred: *deferred, copied: !*sendfile, crew: new(rig.Crew), verbose: !*quiet, twice: *fail == failGross,
		programs: map[string]string{nginx: *nginxProgram, tined: *tinedProgram, limit: *limitProgram, sleeper: *sleeperProgram, pocketbase: *pocketbaseProgram},
	}
	if b.self, err = os.Executable(); err != nil {
		return 1, err
	}
	if err := b.look(*blocked); err != nil {
		return 1, err
	}
	if b.folder, err = os.MkdirTemp("", "tined-bench-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(b.folder)
	if err := rig.TakeOrphans(); err != nil {
		return 1, err
	}
	defer rig.EndOrphans()
	defer b.crew.End()
	// On a signal every process is ended, and what was being measured fails.
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-interrupted
		b.crew.End()
	}()
	site := files(wanted.MatchString)
	if *readers {
		site[slowPath] = slowSize
	}
	if err := b.makeSite(site); err != nil {
		return 1, err
	}

	results, err := b.all(wanted, *fair, *blocked, *readers)
	table(os.Stdout, results)
	if err != nil {
		return 1, err
	}
	if *file != "" {
		if err := save(*file, results); err != nil {
			return 1, err
		}
	}
	return verdict(results, *fail), nil
}

// verdict is the exit code, and the last line.
func verdict(results []*Result, fail string) int {
	counts := make(map[Verdict]int)
	gross := 0
	for _, r := range results {
		for _, j := range r.Bars {
			counts[j.Verdict]++
			if j.grossly(j.Interval) {
				gross++
				fmt.Printf("%s: %s is %s, grossly worse than the bar of %g\n", r.Case, j.What, digits(j.Interval.Median), j.Value)
			}
		}
	}
	fmt.Printf("bars: %d hold, %d missed, %d open\n", counts[Holds], counts[Missed], counts[Open])
	if (fail == failMissed && counts[Missed] > 0) || (fail != failNever && gross > 0) {
		return 1
	}
	return 0
}

// look finds all programs before anything is measured.
func (b *bench) look(blocked bool) error {
	for _, name := range []string{"wrk", "taskset", "chrt"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%w (make deps installs it)", err)
		}
	}
	for _, server := range b.servers {
		if !slices.Contains([]string{nginx, tined, limit}, server) {
			return fmt.Errorf("-servers: %q is none of nginx, tined, limit", server)
		}
	}
	needed := slices.Clone(b.servers)
	if blocked {
		needed = append(needed, sleeper)
	}
	for _, server := range needed {
		program := b.programs[server]
		path, err := exec.LookPath(program)
		if err != nil && !strings.Contains(program, "/") {
			path, err = exec.LookPath(filepath.Join("/usr/sbin", program))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", server, err)
		}
		if b.programs[server], err = filepath.Abs(path); err != nil {
			return err
		}
	}
	return nil
}

// longFile is the length in bytes from which a file is all holes: what matters of it is that its pages are in memory.
const longFile = 16 << 20

// makeSite writes the files that the servers serve, and reads the long ones once.
func (b *bench) makeSite(all map[string]int64) error {
	b.root = filepath.Join(b.folder, "www")
	if err := os.Mkdir(b.root, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(b.folder, 0o755); err != nil { // a server that has given up root reads it
		return err
	}
	for path, size := range all {
		name := filepath.Join(b.root, path)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		text := strings.Repeat(rig.Greeting+"\n", int(size%longFile)/len(rig.Greeting)+1)
		if err := os.WriteFile(name, []byte(text[:size%longFile]), 0o644); err != nil {
			return err
		}
		if size < longFile {
			continue
		}
		if err := os.Truncate(name, size); err != nil {
			return err
		}
		if err := readThrough(name); err != nil {
			return err
		}
	}
	return nil
}

// readThrough brings a file into the page cache.
func readThrough(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	// io.Discard would read in pieces of 8 KiB.
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return err
}

// all runs the cases that are wanted, and returns those that were finished.
func (b *bench) all(wanted *regexp.Regexp, fair, blocked, readers bool) ([]*Result, error) {
	var results []*Result
	add := func(run func() (*Result, error)) error {
		r, err := run()
		if err == nil && b.twice && r.gross() {
			fmt.Printf("%s: a figure is grossly worse than its bar, so all is measured again\n", r.Case)
			r, err = run()
		}
		if err == nil {
			results = append(results, r)
		}
		return err
	}
	for _, c := range cases {
		if wanted.MatchString(c.Name) {
			if err := add(func() (*Result, error) { return b.compare(c) }); err != nil {
				return results, err
			}
		}
	}
	if wanted.MatchString(idleCase) {
		if err := add(b.idle); err != nil {
			return results, err
		}
	}
	for _, d := range databaseCases {
		if wanted.MatchString(d.Name) && slices.Contains(b.servers, tined) {
			if err := add(func() (*Result, error) { return b.databases(d) }); err != nil {
				return results, err
			}
		}
	}
	if fair {
		if err := add(b.fairness); err != nil {
			return results, err
		}
	}
	if blocked && wanted.MatchString(blockedCase) {
		if err := add(b.blocked); err != nil {
			return results, err
		}
	}
	if readers && wanted.MatchString(readersCase) {
		if err := add(b.slowReaders); err != nil {
			return results, err
		}
	}
	return results, nil
}

// progress prints what one server did in one round.
func (b *bench) progress(name string, round int, server, line string) {
	if b.verbose {
		fmt.Printf("%-14s round %2d/%d  %-6s %s\n", name, round+1, b.rounds, server, line)
	}
}

func save(file string, results []*Result) error {
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

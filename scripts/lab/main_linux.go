package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"time"
)

// commands are what the lab starts itself as.
var commands = map[string]func([]string) error{"peers": runPeers, "acceptor": runAcceptor}

func main() {
	if len(os.Args) > 1 && commands[os.Args[1]] != nil {
		if err := commands[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintf(os.Stderr, "lab %s: %v\n", os.Args[1], err)
			os.Exit(1)
		}
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func run() error {
	quick := flag.Bool("quick", false, "a few seconds of everything: proves that it works, and measures nothing")
	only := flag.String("only", "", "run only the experiments that match this expression")
	page := flag.String("page", "", "the page; plots and data go to the folder beside it that has its name (docs/lab.md; with -quick: only print)")
	redraw := flag.Bool("draw", false, "measure nothing: write tables and plots from the saved data")
	limit := flag.Duration("limit", 10*time.Minute, "give up after this time")
	flag.Parse()
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if flag.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	if *page == "" && !*quick {
		*page = "docs/lab.md"
	}
	r := new(report)
	if *page != "" {
		if r, err = openReport(*page); err != nil {
			return err
		}
	}
	if *redraw && *page != "" {
		return r.write()
	}
	// A wait in the kernel cannot be called off. The processes that the lab has started end with it.
	expired := time.AfterFunc(*limit, func() {
		fmt.Fprintf(os.Stderr, "lab: not done after %v: something else keeps the machine busy, or hangs (-limit)\n", *limit)
		os.Exit(1)
	})
	defer expired.Stop()

	l, err := newLab(*quick)
	if err != nil {
		return err
	}
	started, found := time.Now(), 0
	for _, e := range experiments {
		if !wanted.MatchString(e.name) {
			continue
		}
		found++
		from := time.Now()
		fmt.Printf("%-10s %s\n", e.name, e.question)
		outcome, err := e.run(l)
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		outcome.Name = e.name
		r.put(*outcome)
		fmt.Printf("%-10s %.1f s\n", "", time.Since(from).Seconds())
	}
	if found == 0 {
		return fmt.Errorf("-only: no experiment matches %q", *only)
	}
	if *page == "" {
		for i := range r.outcomes {
			fmt.Print(r.outcomes[i].markdown("."))
		}
		return nil
	}
	if err := r.write(); err != nil {
		return err
	}
	fmt.Printf("%s written after %.0f s\n", *page, time.Since(started).Seconds())
	return nil
}

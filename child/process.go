package child

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/tined/tined/configs"
	"github.com/tined/tined/netcore/control"
)

// This file is what of a configuration concerns the process and not the generation. It changes with a commit, and a commit ends whatever
// the operator has set beside the configuration.

// configure takes over c. It runs on the agent, before the commit of c's generation.
func (ch *child) configure(c *configs.Config, format string) {
	ch.begin(c.Poller)
	if !ch.options.Hosted {
		runtime.GOMAXPROCS(max(1, c.Procs)) // before the pools, which go by it
		ch.pin(c.Pin)
	}
	ch.logFormat = format
	ch.logger.Store(newLogger(format, c.Log.Level, ch.sink, ch.index))
	ch.mu.Lock()
	ch.drainTimeout, ch.orphanTimeout = c.DrainTimeout, c.OrphanTimeout
	ch.mu.Unlock()
	ch.poolMu.Lock()
	ch.pool = workerOptions("", c.Workers)
	ch.resizeLocked()
	ch.poolMu.Unlock()
}

// setLogLevel sets how loud the child's lines are until the next commit.
func (ch *child) setLogLevel(level string) error {
	switch level {
	case "debug", "info", "warn", "error":
		ch.logger.Store(newLogger(ch.logFormat, level, ch.sink, ch.index))
		return nil
	}
	return fmt.Errorf("there is no log level %q", level)
}

// resize sets the numbers of workers until the next commit. Raised, the pools have their workers before the gates let more requests in.
func (ch *child) resize(least, most int) {
	ch.poolMu.Lock()
	ch.pool.Min, ch.pool.Max = least, most
	ch.resizeLocked()
	ch.poolMu.Unlock()
	ch.loop.call(func() {
		ch.loop.resize(most)
		ch.answer(&control.Resized{})
	})
}

// resizeLocked gives all pools the present numbers.
func (ch *child) resizeLocked() {
	for _, p := range ch.pools {
		p.Resize(ch.pool)
	}
}

// usableCores returns the cores that the process may use; nil if the system does not say.
func usableCores() *unix.CPUSet {
	var usable unix.CPUSet
	if err := unix.SchedGetaffinity(0, &usable); err != nil || usable.Count() == 0 {
		return nil
	}
	return &usable
}

// pin binds the process to one of the cores that it was started with, by its index, or lets it use all of them again. Where that cannot be
// it says so and serves on: the cores are a matter of speed alone.
func (ch *child) pin(on bool) {
	if on == ch.pinned || ch.cores == nil {
		return
	}
	set := *ch.cores
	if on {
		set = nthCore(ch.cores, ch.index%ch.cores.Count())
	}
	if err := setAffinity(&set); err != nil {
		if errors.Is(err, unix.EPERM) { // the kernel itself forbids nobody the own threads
			ch.cores = nil // a filter lasts as long as the process: there is nothing to try again
			err = fmt.Errorf("%w: a filter of system calls forbids it, and the child serves on all cores; in a systemd unit"+
				" SystemCallFilter=sched_setaffinity allows it, by `systemctl edit`", err)
		}
		ch.logLine(levelWarn, "pin", "error", err)
		return
	}
	ch.pinned = on
}

// nthCore is the set of the core number n, from 0, of those in from.
func nthCore(from *unix.CPUSet, n int) (one unix.CPUSet) {
	for cpu := range len(from) * 64 {
		if !from.IsSet(cpu) {
			continue
		}
		if n == 0 {
			one.Set(cpu)
			break
		}
		n--
	}
	return one
}

// setAffinity binds every thread of the process: sched_setaffinity(2) knows only threads, and Go has several from the start. A thread that
// is made meanwhile has the cores of the one that made it, so it looks again until there is none that it has not seen.
func setAffinity(set *unix.CPUSet) error {
	seen := make(map[int]bool)
	for {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		before := len(seen)
		for _, thread := range threads {
			var tid int
			if _, err := fmt.Sscan(thread.Name(), &tid); err != nil || seen[tid] {
				continue
			}
			seen[tid] = true
			if err := unix.SchedSetaffinity(tid, set); err != nil && !errors.Is(err, unix.ESRCH) {
				return os.NewSyscallError("sched_setaffinity", err)
			}
		}
		if len(seen) == before {
			return nil
		}
	}
}

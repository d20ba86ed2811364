package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/tined/tined/scripts/internal/rig"
	"github.com/tined/tined/scripts/internal/stats"
)

// contender is a running server that takes part in a case, and what it is asked for.
type contender struct {
	name string
	path string
	*rig.Server
}

// start starts every server for a case, each in a folder of its own, all pinned to the
// same core. Only one of them has work at a time.
func (b *bench) start(c Case) ([]contender, error) {
	var started []contender
	for _, name := range c.servers(b.servers) {
		folder, err := os.MkdirTemp(b.folder, name+"-")
		if err != nil {
			return nil, err
		}
		if err := os.Chmod(folder, 0o755); err != nil {
			return nil, err
		}
		site := rig.Site{Root: b.root, Children: 1, Deferred: b.deferred, Copied: b.copied, Routes: pooledRoute}
		var s *rig.Server
		switch name {
		case nginx:
			s, err = rig.Nginx(b.crew, serverCore, b.programs[name], folder, site)
		case tined:
			s, err = rig.Tined(b.crew, serverCore, b.programs[name], folder, site)
		case limit:
			s, err = rig.Limit(b.crew, serverCore, b.programs[name], c.Body, c.Close, b.deferred)
		}
		if err != nil {
			stop(started)
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
		if c.ToInline.Value != 0 {
			started = append(started, contender{inline, plainPath, s})
		}
		started = append(started, contender{name, c.Path, s})
	}
	return started, nil
}

// servers are those of all that take part in a case.
func (c Case) servers(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(name string) bool {
		return c.ToInline.Value != 0 && name != tined || c.many() && name == limit
	})
}

func stop(servers []contender) {
	for _, s := range servers {
		s.End()
	}
}

// compare runs a case: one round after the other, in each one server after the other.
func (b *bench) compare(c Case) (*Result, error) {
	script := filepath.Join(b.folder, c.Name+".lua")
	checked := filepath.Join(b.folder, c.Name+"-checked.lua")
	for path, text := range map[string]string{script: wrkScript(c, false), checked: wrkScript(c, true)} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	servers, err := b.start(c)
	if err != nil {
		return nil, err
	}
	defer stop(servers)
	result := &Result{Case: c.Name, PerByte: c.PerByte}
	for _, s := range servers {
		result.Figures = append(result.Figures, Figures{Server: s.name})
		// Heaps, caches and the kernel's tables are what they will be.
		if _, _, err := b.load(c, s, checked, time.Second); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", c.Name, s.name, err)
		}
	}
	for round := range b.rounds {
		for i, s := range servers {
			load, cpu, err := b.load(c, s, script, b.seconds)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: round %d: %w", c.Name, s.name, round+1, err)
			}
			f := &result.Figures[i]
			f.Rate = append(f.Rate, float64(load.Requests)/load.Duration.Seconds())
			f.CPU = append(f.CPU, c.cost(load, cpu))
			f.Bytes = append(f.Bytes, float64(load.Bytes)/load.Duration.Seconds())
			last := Figures{Rate: f.Rate[round:], CPU: f.CPU[round:]}
			if load.P99 > 0 { // wrk loses count of pipelined answers
				last.P99 = []float64{micros(int64(load.P99))}
				f.P99 = append(f.P99, last.P99...)
			}
			b.progress(c.Name, round, s.name, fmt.Sprintf("%10s req/s  %s  p99 %s  server's core %.0f %%",
				last.rate(), last.cost(c.PerByte), last.p99(), 100*cpu.Seconds()/load.Duration.Seconds()))
		}
	}
	result.decide(c)
	return result, nil
}

// cost of a load: µs of CPU per request, or seconds per GB.
func (c Case) cost(l Load, cpu time.Duration) float64 {
	if c.PerByte {
		return cpu.Seconds() / (float64(l.Bytes) / 1e9)
	}
	return micros(int64(cpu)) / float64(l.Requests)
}

// decide compares round by round: what disturbs a round disturbs all its servers.
func (r *Result) decide(c Case) {
	n, t, l, i := r.find(nginx), r.find(tined), r.find(limit), r.find(inline)
	ratio := func(of, to *Figures, bar Bar) (Judged, bool) {
		if of == nil || to == nil || bar.Value == 0 {
			return Judged{}, false
		}
		if bar.AtLeast && r.PerByte {
			return judge(of.Server, bar, stats.Paired(of.Bytes, to.Bytes)), true
		}
		if bar.AtLeast {
			return judge(of.Server, bar, stats.Paired(of.Rate, to.Rate)), true
		}
		return judge(of.Server, bar, stats.Paired(of.CPU, to.CPU)), true
	}
	if j, ok := ratio(t, n, c.ToNginx); ok {
		r.Bars = append(r.Bars, j)
	}
	if j, ok := ratio(t, n, c.Also); ok {
		r.Bars = append(r.Bars, j)
	}
	if j, ok := ratio(t, l, c.ToLimit); ok {
		r.Bars = append(r.Bars, j)
	}
	if j, ok := ratio(t, i, c.ToInline); ok {
		r.Bars = append(r.Bars, j)
	}
	if j, ok := ratio(l, n, c.ToNginx); ok {
		r.Reference = append(r.Reference, j)
	}
	if c.ToNginx.AtLeast && c.Also.Value == 0 { // wrk may be slower than the server: CPU tells what that hides
		for _, f := range []*Figures{t, l} {
			if j, ok := ratio(f, n, Bar{What: cpuRatio, Value: 1}); ok {
				r.Reference = append(r.Reference, j)
			}
		}
	}
}

// load runs wrk against a server, and returns with its report the CPU time that all the
// server's processes have used for it.
func (b *bench) load(c Case, s contender, script string, d time.Duration) (Load, time.Duration, error) {
	tree := rig.Tree(s.Pid)
	before, err := rig.CPU(tree)
	if err != nil {
		return Load{}, 0, err
	}
	args := []string{"-t1", "-c" + strconv.Itoa(c.Connections), "-d" + strconv.Itoa(int(d.Seconds())) + "s",
		"--timeout", "10s", "-s", script}
	if c.Close {
		args = append(args, "-H", "Connection: close")
	}
	wrk, err := b.crew.Start(loadCore, nil, "wrk", append(args, s.URL(s.path))...)
	if err != nil {
		return Load{}, 0, err
	}
	defer wrk.End()
	output, err := wrk.Wait()
	if err != nil {
		return Load{}, 0, err
	}
	after, err := rig.CPU(tree)
	if err != nil {
		return Load{}, 0, fmt.Errorf("a process of the server has ended: %w: %s", err, s.Output())
	}
	same := func(x, y rig.Member) bool { return x.Pid == y.Pid }
	if now := rig.Tree(s.Pid); !slices.EqualFunc(tree, now, same) {
		return Load{}, 0, errors.New("the server's processes have changed under load")
	}
	report, err := parseWrk([]byte(output))
	if err != nil {
		return Load{}, 0, fmt.Errorf("%w: %s", err, s.Output())
	}
	if err := c.check(report); err != nil {
		return Load{}, 0, err
	}
	if report.Requests == 0 && !c.PerByte {
		return Load{}, 0, errors.New("no request was completed")
	}
	return report, after - before, nil
}

// idle measures the memory of idle connections, each time of a server that has just been
// started.
func (b *bench) idle() (*Result, error) {
	result := &Result{Case: idleCase}
	for _, name := range b.servers {
		result.Figures = append(result.Figures, Figures{Server: name})
	}
	for round := range min(b.rounds, idleRounds) {
		servers, err := b.start(Case{Name: idleCase, Body: int64(len(rig.Greeting))})
		if err != nil {
			return nil, err
		}
		for i, s := range servers {
			all, further, err := idle(s.Server, b.settle)
			if err != nil {
				stop(servers)
				return nil, fmt.Errorf("%s: %s: %w: %s", idleCase, s.name, err, s.Output())
			}
			f := &result.Figures[i]
			f.Memory = append(f.Memory, all)
			f.Slope = append(f.Slope, further)
			b.progress(idleCase, round, s.name, fmt.Sprintf("%.0f bytes a connection, %.0f each of the second half", all, further))
		}
		stop(servers)
	}
	for _, f := range result.Figures {
		j := judge(f.Server, idleBar, f.Memory)
		if f.Server == tined {
			result.Bars = append(result.Bars, j)
		} else {
			result.Reference = append(result.Reference, j)
		}
	}
	return result, nil
}

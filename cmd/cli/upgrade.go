package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tined/tined/master"
)

const (
	// longestUpgrade and longestCanary are what the configuration may say, at the most.
	longestUpgrade = time.Hour
	longestCanary  = 30 * time.Minute
)

// upgrading are the flags of the commands that put another executable in the server's place.
type upgrading struct {
	timeout, canary  time.Duration
	binary, previous string
	asJSON, brief    bool

	request master.UpgradeRequest
	act     func(*master.Client, context.Context, master.UpgradeRequest, func(master.UpgradeProgress) error) (*master.Upgrade, error)
	what    string // "the upgrade"
}

func (a *app) upgradeCommand() *cobra.Command {
	u := &upgrading{act: (*master.Client).Upgrade, what: "the upgrade"}
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Go on with a new version of the program",
		Long: `Upgrade puts the executable that is on disk now in the place of the one that runs, without a
lost connection. The new version is started beside the old one and proves its children; then
one of them accepts for the time of upgrade.canary, then all of them for that of
upgrade.probation, while the old ones wait. If it crashes, answers with more errors or is
slower than the old one, or has not come so far by upgrade.timeout, it is taken back: the old
version serves on, and the status is 1. Otherwise the old version's connections move to it.

Each step is printed as it comes. The command waits until the old version is gone: what it
has begun it finishes, at most drain_timeout long. The upgrade goes on without the command.
With -c FILE the master is found by what FILE says; what is read is the file that the master
was started with.
Who has replaced the file of the version that serves, as packages do, and has a copy of it,
says so with --previous: rollback goes back to the copy then. --brief says in one line at the
end which version serves, with how many children, how many connections have moved to it, and
how many have failed: were closed though their clients had done nothing to end them.
The status is 2 for a wrong command line, 3 when no master is running, 4 when the command
has waited in vain; status and events say what has become of it then.`,
		Example: fmt.Sprintf(`  %[1]s upgrade
  %[1]s upgrade --binary ./%[1]s --canary 1m --timeout 5m
  %[1]s upgrade --brief --previous /usr/local/lib/%[1]s/%[1]s-1.0
  %[1]s upgrade --json`, name),
		Args:              u.check,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.upgrade(cmd.Context(), u) },
	}
	cmd.Flags().StringVar(&u.binary, "binary", "", "go on with the executable `PATH` (default: the path of the one that serves)")
	cmd.Flags().StringVar(&u.previous, "previous", "", "`PATH` of a copy of the executable that serves now; rollback goes back to it")
	u.flags(cmd)
	return cmd
}

func (a *app) rollbackCommand() *cobra.Command {
	u := &upgrading{act: (*master.Client).Rollback, what: "the rollback"}
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Go back to the version before the last upgrade",
		Long: `Rollback is an upgrade, with all of its steps, to the executable that served before the last
one: its file, or the copy that upgrade --previous PATH has named. That must still be on disk
and be the same; status says so. With another copy, use upgrade --binary PATH.
The status is 1 when it is refused or taken back, 2 for a wrong command line, 3 when no
master is running, 4 when the command has waited in vain.`,
		Example: fmt.Sprintf(`  %[1]s rollback
  %[1]s rollback --canary 0s`, name),
		Args:              u.check,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.upgrade(cmd.Context(), u) },
	}
	u.flags(cmd)
	return cmd
}

func (u *upgrading) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.DurationVar(&u.timeout, "timeout", 0, "take it back after `DURATION` (default: upgrade.timeout)")
	flags.DurationVar(&u.canary, "canary", 0, "watch the first child for `DURATION`, 0s: not at all (default: upgrade.canary)")
	flags.BoolVar(&u.asJSON, "json", false, "print each step as a line of JSON")
	flags.BoolVar(&u.brief, "brief", false, "print one line, at the end")
	noFlagCompletion(cmd, "timeout")
	noFlagCompletion(cmd, "canary")
}

// check is the command's check of arguments and flags, and makes the request of them.
func (u *upgrading) check(cmd *cobra.Command, args []string) error {
	for _, d := range []struct {
		flag      string
		value     time.Duration
		low, high time.Duration
		to        **int64
	}{{"timeout", u.timeout, time.Millisecond, longestUpgrade, &u.request.TimeoutMillis}, {"canary", u.canary, 0, longestCanary, &u.request.CanaryMillis}} {
		if !cmd.Flags().Changed(d.flag) {
			continue
		}
		if d.value < d.low || d.value > d.high {
			return failure(exitUsage, "--%s cannot be %s; it may be from %s to %s", d.flag, d.value, d.low, d.high)
		}
		millis := d.value.Milliseconds()
		*d.to = &millis
	}
	for _, p := range []struct {
		flag, value string
		to          *string
	}{{"binary", u.binary, &u.request.Binary}, {"previous", u.previous, &u.request.Previous}} {
		if flag := cmd.Flags().Lookup(p.flag); flag == nil || !flag.Changed {
			continue
		}
		if p.value == "" {
			return failure(exitUsage, "--%s needs the path of an executable", p.flag)
		}
		path, err := filepath.Abs(p.value)
		if err != nil {
			return failure(exitFailed, "--%s %s: %w", p.flag, p.value, err)
		}
		*p.to = path
	}
	if u.brief && u.asJSON {
		return failure(exitUsage, "--brief and --json exclude each other")
	}
	return noArguments(cmd, args)
}

// upgrade asks for it and prints what comes.
func (a *app) upgrade(ctx context.Context, u *upgrading) error {
	bound := longestUpgrade
	if u.request.TimeoutMillis != nil {
		bound = u.timeout
	}
	ctx, cancel := within(ctx, bound+changeBound) // the master keeps the first; the old version's last connections may take the other
	defer cancel()
	return a.ask(func(c *master.Client) error {
		before, err := oneStatus(ctx, c)
		if err != nil {
			return err
		}
		outcome, err := u.act(c, ctx, u.request, func(p master.UpgradeProgress) error { return a.step(u, p) })
		switch {
		case err != nil:
			return err
		case outcome == nil:
			return a.whoServes(ctx, c, u, before)
		case !outcome.Done:
			return failure(exitFailed, "%s has not come about: %s; version %s serves on", u.what, outcome.Reason, outcome.From)
		case u.asJSON:
			return nil
		case u.brief:
			return a.briefly(ctx, c, outcome)
		}
		return a.printf("%s: version %s serves, after %s\n", a.program.Name, outcome.To, took(outcome.Seconds))
	})
}

// step prints a piece of news. The reason of a failure is printed once, at the end.
func (a *app) step(u *upgrading, p master.UpgradeProgress) error {
	if u.asJSON {
		text, err := json.Marshal(p)
		if err != nil {
			return err
		}
		return a.printf("%s\n", text)
	}
	if u.brief || p.Outcome != nil && !p.Outcome.Done {
		return nil
	}
	return a.printf("%s: %s\n", a.program.Name, p.Text)
}

// briefly says in one line what has come of an upgrade that is done. It is over whatever becomes of the question who serves.
func (a *app) briefly(ctx context.Context, c *master.Client, outcome *master.Upgrade) error {
	moved := fmt.Sprintf("%s moved, %d failed", counted(outcome.Moved, "connection", "connections"), outcome.Failed())
	now, err := oneStatus(ctx, c)
	switch {
	case errors.Is(err, master.ErrNotRunning):
		return fmt.Errorf("version %s has taken the server over (%s), and then: %w", outcome.To, moved, err)
	case err != nil:
		return a.printf("%s %s: %s; its children are not known: %v\n", a.program.Name, outcome.To, moved, err)
	}
	return a.printf("%s\n", a.briefText(now, moved))
}

// briefText is "prog 1.1.0: 4 of 4 children, 118 connections moved, 0 failed; undo: prog rollback".
func (a *app) briefText(s *master.Status, moved string) string {
	text := fmt.Sprintf("%s %s: %s, %s", a.program.Name, s.Version, readyText(s), moved)
	if s.Rollback != "" {
		text += fmt.Sprintf("; undo: %s rollback", a.program.Name)
	}
	return text
}

// counted is a number of things, for people.
func counted(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// whoServes finds out how an upgrade has ended whose master has gone without a word about it.
func (a *app) whoServes(ctx context.Context, c *master.Client, u *upgrading, before *master.Status) error {
	now, err := oneStatus(ctx, c)
	switch {
	case errors.Is(err, master.ErrNotRunning):
		return failure(exitNotRunning, "the master was killed in the middle of %s, and no other one has taken its place: %w; its children serve until orphan_timeout has passed, start it with `%s run`",
			u.what, err, a.program.Name)
	case err != nil:
		return err
	case now.Pid == before.Pid:
		if last := now.LastUpgrade; last != nil && !last.Done && (before.LastUpgrade == nil || last.At.After(before.LastUpgrade.At)) {
			return failure(exitFailed, "%s has not come about: %s; version %s serves on", u.what, last.Reason, now.Version)
		}
		return failure(exitFailed, "the news of %s have ended too early; version %s serves, pid %d: `%s status` shows what has become of it",
			u.what, now.Version, now.Pid, a.program.Name)
	case now.Version == before.Version && now.Predecessor == nil && (now.LastUpgrade == nil || !now.LastUpgrade.Done):
		return failure(exitFailed, "the master was killed in the middle of %s; another one serves, pid %d, and it is of version %s as well: `%s events` shows how it has begun",
			u.what, now.Pid, now.Version, a.program.Name)
	}
	switch {
	case u.asJSON:
		return nil
	case u.brief:
		return a.printf("%s\n", a.briefText(now, fmt.Sprintf("how many connections moved is not known, the master before was killed in the middle of %s", u.what)))
	}
	return a.printf("%s: version %s serves, pid %d; the master before it was killed in the middle of %s\n", a.program.Name, now.Version, now.Pid, u.what)
}

func (a *app) balanceCommand() *cobra.Command {
	timeout := changeBound
	asJSON := false
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "balance",
		Short: "Spread the connections evenly over the children",
		Long: `Balance moves connections on which nothing goes on from children that have many to those
that have few; clients notice nothing. With balance = "auto" the server does it by itself
when it is worth it. It returns when they are there, and says when something was in the way.
The status is 3 when no master is running, 4 when --timeout has passed; it goes on then.`,
		Example: fmt.Sprintf("  %[1]s balance\n  %[1]s balance --json", name),
		Args: func(cmd *cobra.Command, args []string) error {
			if timeout < 0 {
				return failure(exitUsage, "--timeout %s is negative; write for example 30s", timeout)
			}
			return noArguments(cmd, args)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := within(cmd.Context(), timeout)
			defer cancel()
			return a.ask(func(c *master.Client) error {
				b, err := c.Balance(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(b)
				}
				return a.printf("%s: %s\n", name, balanceText(b))
			})
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", changeBound, "give up waiting after `DURATION`; 0: never")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print how it ended as JSON")
	noFlagCompletion(cmd, "timeout")
	return cmd
}

// balanceText is for people.
func balanceText(b *master.Balance) string {
	text := fmt.Sprintf("%s moved, %v before, %v after", counted(uint64(b.Moved), "connection", "connections"), b.Before, b.After)
	if b.Moved == 0 {
		text = fmt.Sprintf("no connection moved: the children have %v", b.After)
	}
	if b.Reason != "" {
		text += "; " + b.Reason
	}
	return text
}

// upgradeText is what the status says of upgrades, a line each.
func upgradeText(s *master.Status) string {
	text := ""
	if u := s.Upgrade; u != nil {
		to := u.Binary
		if u.To != "" {
			to = "version " + u.To
		}
		text += fmt.Sprintf("an upgrade from version %s to %s is under way for %s, asked for by %s: %s\n", u.From, to, age(u.Seconds), orNobody(u.By), u.Stage)
	}
	if p := s.Predecessor; p != nil {
		text += fmt.Sprintf("version %s leaves, pid %d: children %d, connections %d, in flight %d", p.Version, p.Pid, p.Children, p.Connections, p.InFlight)
		if p.Until.Unix() > 0 { // it has said so
			text += "; ended at " + p.Until.Local().Format(time.TimeOnly) + " at the latest"
		}
		text += "\n"
	}
	if u := s.LastUpgrade; u != nil {
		at := u.At.Local().Format(time.DateTime)
		if u.Done {
			text += fmt.Sprintf("last upgrade %s by %s: from version %s to %s, after %s\n", at, orNobody(u.By), u.From, u.To, took(u.Seconds))
		} else {
			text += fmt.Sprintf("last upgrade %s by %s has not come about: %s\n", at, orNobody(u.By), u.Reason)
		}
	}
	if s.Rollback != "" {
		text += fmt.Sprintf("a rollback goes back to version %s\n", s.Rollback)
	}
	return text
}

// orNobody stands for an author that is not known: of an upgrade whose master has not told it on.
func orNobody(by string) string {
	if by == "" {
		return "somebody"
	}
	return by
}

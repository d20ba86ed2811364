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
	timeout, canary time.Duration
	binary          string
	asJSON          bool

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
The status is 2 for a wrong command line, 3 when no master is running, 4 when the command
has waited in vain; status and events say what has become of it then.`,
		Example: fmt.Sprintf(`  %[1]s upgrade
  %[1]s upgrade --binary ./%[1]s --canary 1m --timeout 5m
  %[1]s upgrade --json`, name),
		Args:              u.check,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.upgrade(cmd.Context(), u) },
	}
	cmd.Flags().StringVar(&u.binary, "binary", "", "go on with the executable `PATH` (default: the path of the one that serves)")
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
one. That file must still be on disk and be the same; when a package has replaced it, name a
copy of it with upgrade --binary PATH.
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
	if flag := cmd.Flags().Lookup("binary"); flag != nil && flag.Changed {
		if u.binary == "" {
			return failure(exitUsage, "--binary needs the path of an executable")
		}
		path, err := filepath.Abs(u.binary)
		if err != nil {
			return failure(exitFailed, "--binary %s: %w", u.binary, err)
		}
		u.request.Binary = path
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
	if p.Outcome != nil && !p.Outcome.Done {
		return nil
	}
	return a.printf("%s: %s\n", a.program.Name, p.Text)
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
	if u.asJSON {
		return nil
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
	text := fmt.Sprintf("%d connections moved, %v before, %v after", b.Moved, b.Before, b.After)
	switch b.Moved {
	case 0:
		text = fmt.Sprintf("no connection moved: the children have %v", b.After)
	case 1:
		text = fmt.Sprintf("1 connection moved, %v before, %v after", b.Before, b.After)
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
	return text
}

// orNobody stands for an author that is not known: of an upgrade whose master has not told it on.
func orNobody(by string) string {
	if by == "" {
		return "somebody"
	}
	return by
}

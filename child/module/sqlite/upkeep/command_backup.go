package upkeep

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tined/tined/child/module"
)

func (o *CommandOptions) backupCommand() module.Command {
	return module.Command{
		Name: "backup", Args: "[NAME...]", MaxArgs: -1,
		Short: "Make backups now",
		Long: `Backup copies databases into the directory of their block backup, or into DIR, while others read
and write. A copy is one file, NAME-TIME.db, with the time in UTC. It is checked before it
counts, and then surplus ones are removed as keep and keep_for say; with --to nothing is
removed. A copy that fails leaves nothing behind. Without a NAME it is all databases that have
a block backup.`,
		Example: `  {program} db backup
  {program} db backup shop
  {program} db backup shop --to /mnt/usb`,
		Setup: func(flags *flag.FlagSet) func(context.Context, *module.Call) error {
			to := flags.String("to", "", "make them in `DIR`")
			return func(ctx context.Context, c *module.Call) error { return o.backup(ctx, c, *to) }
		},
	}
}

func (o *CommandOptions) backup(ctx context.Context, c *module.Call, to string) error {
	list, _, err := o.databases(c, c.Args)
	if err == nil && to != "" {
		to, err = filepath.Abs(to)
	}
	if err != nil {
		return err
	}
	failed, made := false, 0
	for _, d := range list {
		b := d.Settings.Backup
		switch {
		case to != "":
			b = &Backups{Directory: to, Keep: 1 << 30, Check: checkFull}
		case b == nil && len(c.Args) == 0:
			continue
		case b == nil:
			return fmt.Errorf("%s has no block backup: add one, or say where with --to DIR", d.Name)
		}
		begun := time.Now()
		one, err := Backup(ctx, d, b, begun)
		if err != nil {
			failed = true
			if err := say(c.Stderr, "%s: %v\n", c.Program, interrupted(ctx, err)); err != nil || ctx.Err() != nil {
				return trouble(true)
			}
			continue
		}
		made++
		if err := say(c.Stdout, "%s: %s, %s, checked, in %s\n", d.Name, one.Path, bytesText(one.Size), lasted(time.Since(begun))); err != nil {
			return err
		}
	}
	if made == 0 && !failed {
		return fmt.Errorf("no database has a block backup: add one, or name a database and say where with --to DIR")
	}
	return trouble(failed)
}

func (o *CommandOptions) restoreCommand() module.Command {
	return module.Command{
		Name: "restore", Args: "[NAME [BACKUP]]", MaxArgs: 2,
		Short: "Restore a database from a backup, or try whether that could be done",
		Long: `Restore gives a database the content of a backup: BACKUP is a path, the name of one in the
directory of backups, or newest. Without BACKUP it lists those that there are.

The backup is checked first, and what is there now is saved as NAME-TIME.before-restore.db.
Then the content is written in one transaction: the server need not be stopped, and its
readers see the old content or the new one. Its writers wait meanwhile, or are told to come
again. On a terminal it asks before it begins; elsewhere it needs --force. --force also takes
a backup that lacks tables which the database has, or is of another application.

With --to FILE a new file is made, and nothing else is touched. With --drill the newest backup
of every database, or of NAME, is restored into a temporary folder, checked and counted; the
status is 1 if one could not be relied on, or is older than twice the time between two.`,
		Example: `  {program} db restore shop
  {program} db restore shop newest
  {program} db restore shop shop-20260301T033000Z.db --to /tmp/shop.db
  {program} db restore --drill`,
		Setup: func(flags *flag.FlagSet) func(context.Context, *module.Call) error {
			to := flags.String("to", "", "make a new `FILE` of the backup")
			force := flags.Bool("force", false, "do not ask, and take a backup that does not fit")
			drill := flags.Bool("drill", false, "only try whether backups can be restored")
			return func(ctx context.Context, c *module.Call) error {
				switch {
				case *drill && (*to != "" || *force || len(c.Args) > 1):
					return usage("--drill takes a NAME only: it restores nothing that stays")
				case *drill:
					return o.drill(ctx, c)
				case len(c.Args) == 0:
					return usage("restore takes the NAME of a database")
				}
				return o.restore(ctx, c, *to, *force)
			}
		},
	}
}

func (o *CommandOptions) restore(ctx context.Context, c *module.Call, to string, force bool) error {
	list, _, err := o.databases(c, c.Args[:1])
	if err != nil {
		return err
	}
	d := list[0]
	if len(c.Args) == 1 {
		return listCopies(c, d)
	}
	backup, err := findCopy(d, c.Args[1])
	if err != nil {
		return err
	}
	if to != "" {
		if to, err = filepath.Abs(to); err != nil {
			return err
		}
		if err := RestoreTo(ctx, backup, to); err != nil {
			return interrupted(ctx, err)
		}
		return say(c.Stdout, "%s: made of %s, checked\n", to, backup)
	}
	if !force {
		if !c.Terminal {
			return fmt.Errorf("this replaces the content of %s: confirm it with --force", d.Path)
		}
		yes, err := ask(c, fmt.Sprintf("replace the content of %s with that of %s?", d.Path, backup))
		if err != nil {
			return err
		}
		if !yes {
			return fmt.Errorf("nothing was changed")
		}
	}
	done, err := Restore(ctx, d, backup, force, time.Now())
	if err != nil {
		return interrupted(ctx, err)
	}
	saved := "there was nothing before"
	if done.Saved.Path != "" {
		saved = "what was there is " + done.Saved.Path
	}
	return say(c.Stdout, "%s: restored from %s, %d tables; %s\n", d.Name, backup, done.Tables, saved)
}

// findCopy finds a backup by what an operator calls it.
func findCopy(d Database, name string) (string, error) {
	b := d.Settings.Backup
	if name == "newest" {
		if b == nil {
			return "", fmt.Errorf("%s has no block backup: name a file", d.Name)
		}
		list, err := copies(b.Directory, d.Name)
		if err == nil && len(list) == 0 {
			err = fmt.Errorf("%w of %s in %s", errNoBackup, d.Name, b.Directory)
		}
		if err != nil {
			return "", err
		}
		return list[0].Path, nil
	}
	if b != nil && !strings.Contains(name, "/") {
		path := filepath.Join(b.Directory, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return filepath.Abs(name)
}

func listCopies(c *module.Call, d Database) error {
	b := d.Settings.Backup
	if b == nil {
		return usage("%s has no block backup: name a file as BACKUP", d.Name)
	}
	list, err := copies(b.Directory, d.Name)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fmt.Errorf("%w of %s in %s: make one with `%s db backup %s`", errNoBackup, d.Name, b.Directory, c.Program, d.Name)
	}
	return columns(c.Stdout, "BACKUP\tAGE\tSIZE", func(w io.Writer) {
		for _, one := range list {
			fmt.Fprintf(w, "%s\t%v\t%s\n", filepath.Base(one.Path), time.Since(one.Time).Truncate(time.Second), bytesText(one.Size))
		}
	})
}

func (o *CommandOptions) drill(ctx context.Context, c *module.Call) error {
	list, _, err := o.databases(c, c.Args)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", c.Program+"-drill-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	bad := false
	var done []Drill
	for _, d := range list {
		if d.Settings.Backup == nil && len(c.Args) == 0 {
			continue
		}
		k := RunDrill(ctx, d, folder, time.Now())
		if ctx.Err() != nil {
			return interrupted(ctx, ctx.Err())
		}
		bad = bad || k.Err != nil
		done = append(done, k)
	}
	if len(done) == 0 {
		return fmt.Errorf("no database has a block backup: there is nothing to try")
	}
	err = columns(c.Stdout, "DATABASE\tBACKUP\tSIZE\tTABLES\tROWS\tTOOK\tRESULT", func(w io.Writer) {
		for _, k := range done {
			name, size, result := "-", "-", "ok"
			if k.Backup.Path != "" {
				name, size = filepath.Base(k.Backup.Path), bytesText(k.Backup.Size)
			}
			if k.Err != nil {
				result = "BAD: " + k.Err.Error()
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\n", k.Database, name, size, k.Tables, k.Rows, lasted(k.Took), result)
		}
	})
	if err != nil {
		return err
	}
	return trouble(bad)
}

package upkeep

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tined/tined/child/module"
)

func (o *CommandOptions) checkCommand() module.Command {
	return module.Command{
		Name: "check", Args: "[NAME...]", MaxArgs: -1,
		Short: "Check databases, their files and their backups",
		Long: `Check looks at databases, all if none is named: their integrity, foreign keys, write-ahead log
and free pages, the kind of file system, whether the user of the children may read and write
what it must, which migrations are left, and how old the newest backup is. The server may run.
What is wrong is followed by what to do, and the status is 1 then.

The integrity of a large database takes as long as reading it does; --quick leaves out whether
indexes fit their tables.`,
		Example: `  {program} db check
  {program} db check shop --quick`,
		Setup: func(flags *flag.FlagSet) func(context.Context, *module.Call) error {
			quick := flags.Bool("quick", false, "do not compare indexes with their tables")
			return func(ctx context.Context, c *module.Call) error { return o.check(ctx, c, *quick) }
		},
	}
}

func (o *CommandOptions) check(ctx context.Context, c *module.Call, quick bool) error {
	list, config, err := o.databases(c, c.Args)
	if err != nil {
		return err
	}
	bad := false
	for _, d := range list {
		findings := Inspect(ctx, d, Inspection{Quick: quick, User: config.User, Group: config.Group, Now: time.Now()})
		if ctx.Err() != nil {
			return interrupted(ctx, ctx.Err())
		}
		if err := say(c.Stdout, "%s\n", d.Name); err != nil {
			return err
		}
		t := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
		for _, f := range findings {
			fmt.Fprintf(t, "  %s\t%s\n", f.What, f.Value)
			if f.Cure != "" {
				bad = true
				fmt.Fprintf(t, "\tTROUBLE: %s\n", f.Cure)
			}
		}
		if err := t.Flush(); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
	}
	return trouble(bad)
}

func (o *CommandOptions) migrateCommand() module.Command {
	return module.Command{
		Name: "migrate", Args: "[NAME...]", MaxArgs: -1,
		Short: "Apply migrations, try them, or show which are left",
		Long: `Migrate applies the files of the directory that a database's attribute migrations names, in the
order of their numbers and each once: 0001_create.sql, 0002_prices.sql. Each file is one
transaction. A start and a reload of the server do the same, before they serve: this command
is for trying them, and for a server that does not run. Without a NAME it is all databases
that have migrations.

With --dry-run all that are left are applied in one transaction, which is then undone: what is
wrong shows with file, line and column. The server's writers wait meanwhile. With --status
nothing is applied; the status is 0 whether or not some are left.`,
		Example: `  {program} db migrate shop --dry-run
  {program} db migrate --status
  {program} db migrate shop`,
		Setup: func(flags *flag.FlagSet) func(context.Context, *module.Call) error {
			dry := flags.Bool("dry-run", false, "apply them, and undo it")
			status := flags.Bool("status", false, "show which were applied, and which are left")
			return func(ctx context.Context, c *module.Call) error {
				if *dry && *status {
					return usage("--dry-run and --status exclude each other")
				}
				return o.migrate(ctx, c, *dry, *status)
			}
		},
	}
}

func (o *CommandOptions) migrate(ctx context.Context, c *module.Call, dry, status bool) error {
	list, _, err := o.databases(c, c.Args)
	if err != nil {
		return err
	}
	failed, with := false, 0
	for _, d := range list {
		if d.Settings.Migrations == "" {
			if len(c.Args) > 0 {
				return fmt.Errorf("%s has no migrations: set migrations = \"DIR\" in its block", d.Name)
			}
			continue
		}
		with++
		if err := migrateOne(ctx, c, d, dry, status); err != nil {
			failed = true
			if err := say(c.Stderr, "%s: %s: %v\n", c.Program, d.Name, interrupted(ctx, err)); err != nil {
				return err
			}
		}
	}
	if with == 0 {
		return fmt.Errorf("no database has migrations: set migrations = \"DIR\" in a block database")
	}
	return trouble(failed)
}

func migrateOne(ctx context.Context, c *module.Call, d Database, dry, status bool) error {
	switch {
	case status:
		return showMigrations(ctx, c.Stdout, d)
	case dry:
		todo, err := Rehearse(ctx, d.Path, d.Settings.Migrations)
		if err != nil {
			return err
		}
		if len(todo) == 0 {
			return say(c.Stdout, "%s: nothing is left to apply\n", d.Name)
		}
		return say(c.Stdout, "%s: would apply %s\n", d.Name, strings.Join(todo, ", "))
	}
	applied, err := Migrate(ctx, d.Path, d.Settings.Migrations)
	if len(applied) > 0 {
		err = firstOf(say(c.Stdout, "%s: applied %s\n", d.Name, strings.Join(applied, ", ")), err)
	} else if err == nil {
		err = say(c.Stdout, "%s: nothing is left to apply\n", d.Name)
	}
	return err
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func showMigrations(ctx context.Context, w io.Writer, d Database) error {
	list, err := readMigrations(d.Settings.Migrations)
	if err != nil {
		return err
	}
	var applied []appliedMigration
	if _, err := os.Stat(d.Path); err == nil {
		c, err := open(d.Path)
		if err != nil {
			return err
		}
		defer c.close()
		if applied, err = c.applied(ctx); err != nil {
			return err
		}
	}
	todo, mistakes := pending(list, applied)
	err = columns(w, d.Name+"\tAPPLIED", func(w io.Writer) {
		for _, a := range applied {
			fmt.Fprintf(w, "%s\t%s\n", a.name, a.appliedAt)
		}
		for _, m := range todo {
			fmt.Fprintf(w, "%s\tno\n", m.name)
		}
	})
	return firstOf(err, mistakes)
}

func (o *CommandOptions) promoteCommand() module.Command {
	return module.Command{
		Name: "promote", Args: "NAME", MinArgs: 1, MaxArgs: 1,
		Short: "Copy a database into an rqlite cluster",
		Long: `Promote copies a database file into an empty rqlite cluster, compares both row by row, and
prints what to change in the configuration so that the cluster serves the same queries. The
file stays as it is. What is written to it after the copy has begun is not in the cluster:
stop who writes before, and change the configuration after.`,
		Example: `  {program} db promote shop --to http://10.0.0.1:4001
  {program} db promote shop --to http://10.0.0.1:4001,http://10.0.0.2:4001,http://10.0.0.3:4001`,
		Setup: func(flags *flag.FlagSet) func(context.Context, *module.Call) error {
			to := flags.String("to", "", "the cluster's nodes, `URL`s with commas between them")
			replace := flags.Bool("replace", false, "what the cluster has may be lost")
			return func(ctx context.Context, c *module.Call) error { return o.promote(ctx, c, *to, *replace) }
		},
	}
}

func (o *CommandOptions) promote(ctx context.Context, c *module.Call, to string, replace bool) error {
	nodes := strings.Split(to, ",")
	for _, node := range nodes {
		if u, err := url.Parse(node); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return usage("%q is no node: write --to http://HOST:4001", node)
		}
	}
	list, _, err := o.databases(c, c.Args)
	if err != nil {
		return err
	}
	d := list[0]
	if o.Promote == nil {
		return fmt.Errorf("this program knows no clusters")
	}
	if err := o.Promote(ctx, resolved(d.Path), nodes, replace, c.Stderr); err != nil {
		return interrupted(ctx, err)
	}
	for i, node := range nodes {
		nodes[i] = fmt.Sprintf("%q", withoutPassword(node))
	}
	return say(c.Stdout, `%s is in the cluster, and the same. Put this into its block, in the place of file,
backup, checkpoint and migrations, and reload:

  database %q {
    engine = "rqlite"
    nodes  = [%s]
    ...
  }
`, d.Name, d.Name, strings.Join(nodes, ", "))
}

// withoutPassword is a URL as it may be shown.
func withoutPassword(node string) string {
	u, err := url.Parse(node)
	if err != nil {
		return node
	}
	u.User = nil
	return u.String()
}

package upkeep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/configs"
)

// CommandOptions are what the commands need of the module that brings them.
type CommandOptions struct {
	// Databases returns the files that a block of the module serves: declared ones, and those that are in its directory now. Databases of
	// clusters are left out.
	Databases func(block *configs.Block) ([]Database, error)
	// Promote copies the database at path into the cluster of these nodes, and verifies it; progress gets lines for people.
	Promote func(ctx context.Context, path string, nodes []string, replace bool, progress io.Writer) error
}

// Command is `db`, with all below it.
func Command(o CommandOptions) module.Command {
	return module.Command{
		Name:  "db",
		Short: "Look after the databases of sqlite blocks",
		Long: `Db looks after the database files that the sqlite blocks of the configuration name, and those in
their directories. A server may run meanwhile, and notices nothing but what is said below. A
NAME is the label of a block database, the name of a file in the directory without its ending,
or the path of a file that is one of these.

Run it as root, or as the user of the server: files that root makes are given to the owner of
what is there already.`,
		Example: `  {program} db check
  {program} db backup shop
  {program} db restore shop --drill`,
		Commands: []module.Command{o.backupCommand(), o.restoreCommand(), o.checkCommand(), o.migrateCommand(), o.promoteCommand()},
	}
}

// databases returns those that the arguments name; all of them if there are none.
func (o *CommandOptions) databases(c *module.Call, names []string) ([]Database, *module.Configuration, error) {
	config, err := c.Configuration()
	if err != nil {
		return nil, nil, err
	}
	if len(config.Routes) == 0 {
		return nil, nil, fmt.Errorf("%s has no sqlite block", config.Path)
	}
	var all []Database
	seen := map[string]bool{} // several routes may serve one file
	for _, r := range config.Routes {
		list, err := o.Databases(r.Block)
		if err != nil {
			return nil, nil, fmt.Errorf("route %q of site %q: %w", r.Pattern, r.Site, err)
		}
		for _, d := range list {
			if key := d.Name + "\x00" + d.Path; !seen[key] {
				seen[key] = true
				all = append(all, d)
			}
		}
	}
	if len(names) == 0 {
		return all, config, nil
	}
	var chosen []Database
	for _, name := range names {
		d, err := choose(all, name)
		if err != nil {
			return nil, nil, err
		}
		chosen = append(chosen, d)
	}
	return chosen, config, nil
}

// choose finds the database with a name, or a path.
func choose(all []Database, name string) (Database, error) {
	var found []Database
	var names []string
	path, err := filepath.Abs(name)
	for _, d := range all {
		if d.Name == name || err == nil && resolved(d.Path) == resolved(path) {
			found = append(found, d)
		}
		names = append(names, d.Name)
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1 && found[0].Path != found[1].Path:
		return Database{}, fmt.Errorf("there are %d databases %q: name one by its path, such as %s", len(found), name, found[0].Path)
	case len(found) > 1:
		return found[0], nil
	case len(names) == 0:
		return Database{}, fmt.Errorf("there is no database %q, and no other", name)
	}
	return Database{}, fmt.Errorf("there is no database %q; there are %s", name, strings.Join(names, ", "))
}

// trouble is for what has been said, line by line.
func trouble(is bool) error {
	if !is {
		return nil
	}
	return &module.StatusError{Status: module.StatusFailed}
}

func usage(format string, args ...any) error {
	return &module.StatusError{Status: module.StatusUsage, Err: fmt.Errorf(format, args...)}
}

// say prints for the caller.
func say(w io.Writer, format string, args ...any) error {
	if _, err := fmt.Fprintf(w, format, args...); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// columns prints rows below a heading.
func columns(w io.Writer, heading string, rows func(w io.Writer)) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, heading)
	rows(t)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// ask asks a question on the terminal.
func ask(c *module.Call, question string) (bool, error) {
	if err := say(c.Stderr, "%s [y/N] ", question); err != nil {
		return false, err
	}
	var answer string
	if _, err := fmt.Fscanln(c.Stdin, &answer); err != nil && answer == "" { // an empty line is no
		return false, nil
	}
	return strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes"), nil
}

// lasted is a time for people.
func lasted(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// interrupted is what a caller reads who has pressed ^C.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errors.New("interrupted; nothing is left half done")
	}
	return err
}

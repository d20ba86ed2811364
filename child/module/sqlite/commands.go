package sqlite

import (
	"context"
	"fmt"
	"io"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/module/sqlite/rqlite"
	"github.com/tined/tined/child/module/sqlite/upkeep"
	"github.com/tined/tined/configs"
)

// Command is `db`: what an operator does with the databases of a configuration.
func (*Module) Command() module.Command {
	return upkeep.Command(upkeep.CommandOptions{Databases: databasesOf, Promote: promote})
}

// databasesOf are the files that a block serves, those that are in its directory now included.
func databasesOf(b *configs.Block) ([]upkeep.Database, error) {
	set := setOf(b)
	if set.Found == nil {
		return set.Declared, nil
	}
	found, err := set.Found()
	return append(set.Declared, found...), err
}

// promote copies a file into a cluster, and compares every row.
func promote(ctx context.Context, path string, nodes []string, replace bool, progress io.Writer) error {
	step := ""
	report, err := rqlite.Promote(ctx, path, nodes, rqlite.PromoteOptions{Replace: replace}, func(p rqlite.Progress) {
		if line := p.Step + " " + p.Table; line != step {
			step = line
			fmt.Fprintln(progress, line)
		}
	})
	for _, t := range report.Tables {
		fmt.Fprintf(progress, "%s: %d rows are the same\n", t.Name, t.Rows)
	}
	return err
}

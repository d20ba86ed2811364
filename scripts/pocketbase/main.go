// Command pocketbase is PocketBase as `bench` measures it: the framework as its authors release it, without a plugin, and with two things more.
//
//	pocketbase fill --dir DIR --rows N    makes the collection `items` (id, name, price) that everybody may view, with N rows
//	pocketbase serve --dir DIR --http A   serves it, and GET /plain, by which bench knows that it is ready
//
// The rows' ids are their numbers from 1, with zeros before them to the 15 characters that an id has.
//
// It is a module of its own: PocketBase needs a newer Go than tined does, and its dependencies are none of tined's. docs/bench.md says how it is
// built.
package main

import (
	"fmt"
	"log"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase"
	"github.com/pocketbase/pocketbase/core"
	"github.com/spf13/cobra"
)

// The superuser whom PocketBase asks for. Nobody signs in: the collection is public, and bench's server listens on loopback.
const (
	superuser = "bench@example.com"
	password  = "not a secret of anybody"
)

func main() {
	app := pocketbase.NewWithConfig(pocketbase.Config{HideStartBanner: true})
	app.OnServe().BindFunc(func(e *core.ServeEvent) error {
		e.Router.GET("/plain", func(e *core.RequestEvent) error { return e.String(200, "Hello, World!") })
		return e.Next()
	})
	rows := 0
	fill := &cobra.Command{
		Use: "fill", Short: "make the collection items, filled with rows", Args: cobra.NoArgs, SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error { return fill(app, rows) },
	}
	fill.Flags().IntVar(&rows, "rows", 100_000, "how many")
	app.RootCmd.AddCommand(fill)
	if err := app.Start(); err != nil {
		log.Fatal(err)
	}
}

// fill makes the collection. Rows go in by SQL, which is what saving them one by one comes to.
func fill(app core.App, rows int) error {
	// What it makes of a new data directory when it is first served.
	if err := app.RunAllMigrations(); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	settings := app.Settings()
	settings.Logs.MaxDays = 0 // no request is logged: the others in the comparison log none
	if err := app.Save(settings); err != nil {
		return fmt.Errorf("save the settings: %w", err)
	}
	users, err := app.FindCollectionByNameOrId(core.CollectionNameSuperusers)
	if err != nil {
		return err
	}
	owner := core.NewRecord(users)
	owner.SetEmail(superuser)
	owner.SetPassword(password)
	if err := app.Save(owner); err != nil {
		return fmt.Errorf("save the superuser: %w", err)
	}
	everybody := ""
	items := core.NewBaseCollection("items")
	items.ViewRule, items.ListRule = &everybody, &everybody
	items.Fields.Add(&core.TextField{Name: "name"}, &core.NumberField{Name: "price"})
	if err := app.Save(items); err != nil {
		return fmt.Errorf("save the collection: %w", err)
	}
	return app.RunInTransaction(func(tx core.App) error {
		_, err := tx.DB().NewQuery(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {:rows})
INSERT INTO items (id, name, price) SELECT printf('%015d', i), printf('item %06d', i), i % 1000 + 0.5 FROM n`).Bind(dbx.Params{"rows": rows}).Execute()
		if err != nil {
			return fmt.Errorf("fill the collection: %w", err)
		}
		return nil
	})
}

package upkeep

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/configs"
)

func choreNames(list []module.Chore) (names []string) {
	for _, c := range list {
		names = append(names, c.Name)
	}
	return names
}

func choreCalled(t *testing.T, list []module.Chore, name string) module.Chore {
	t.Helper()
	for _, c := range list {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no chore %q", name)
	return module.Chore{}
}

func TestChores(t *testing.T) {
	shop, c := newDatabase(t, "shop", 10_000)
	shop = withBackups(t, shop)
	plain, _ := newDatabase(t, "plain", 10)
	found, _ := newDatabase(t, "found", 10)
	later, _ := newDatabase(t, "later", 10)
	files := []Database{found}
	set := Set{Declared: []Database{shop, plain}, Found: func() ([]Database, error) { return files, nil }, FoundSettings: withBackups(t, found).Settings}
	var logged []string
	list, err := Chores(set, func(_ module.Level, message string, fields ...module.Field) {
		logged = append(logged, message+" "+fields[0].Value.(string))
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := choreNames(list); !slices.Equal(got, []string{"checkpoint", "backup shop", "backup *"}) {
		t.Fatalf("%q", got)
	}
	before, err := os.Stat(shop.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := choreCalled(t, list, "checkpoint").Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(shop.Path); err != nil || after.Size() == before.Size() {
		t.Errorf("nothing was copied back: %v", err)
	}
	for range 2 { // the second one is not due
		if err := choreCalled(t, list, "backup shop").Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// A file that has appeared is looked after at the next run.
	if err := choreCalled(t, list, "backup *").Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	files = append(files, later)
	if err := choreCalled(t, list, "backup *").Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"backup made shop", "backup made found", "backup made later"}; !slices.Equal(logged, want) {
		t.Errorf("%q", logged)
	}
	if got, _ := copies(shop.Settings.Backup.Directory, "shop"); len(got) != 1 {
		t.Errorf("%v", got)
	}
	// What is gone is no mistake.
	c.close()
	os.Remove(shop.Path)
	if err := choreCalled(t, list, "checkpoint").Run(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := choreCalled(t, list, "checkpoint").Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A backup that fails is not tried again at every look.
func TestChoreFails(t *testing.T) {
	d, _ := newDatabase(t, "shop", 10)
	d = withBackups(t, d)
	d.Path = write(t, filepath.Join(t.TempDir(), "x.db"), strings.Repeat("no database ", 1000))
	list, err := Chores(Set{Declared: []Database{d}}, func(module.Level, string, ...module.Field) {})
	if err != nil {
		t.Fatal(err)
	}
	chore := choreCalled(t, list, "backup shop")
	wants(t, chore.Run(t.Context()), "back shop up", "tried again in 1m0s")
	if err := chore.Run(t.Context()); err != nil {
		t.Errorf("it is tried at once: %v", err)
	}
}

func TestChoresRefuse(t *testing.T) {
	d, _ := newDatabase(t, "shop", 10)
	d = withBackups(t, d)
	for want, directory := range map[string]string{
		"no such file":               filepath.Join(t.TempDir(), "none"),
		"is no directory":            d.Path,
		"lie among the databases in": filepath.Dir(d.Path),
	} {
		b := *d.Settings.Backup
		b.Directory = directory
		d.Settings.Backup = &b
		_, err := Chores(Set{Declared: []Database{d}}, nil)
		wants(t, err, `database "shop"`, want)
	}
}

// block decodes a database's block with what this package reads.
func block(t *testing.T, text string) (*configs.Block, configs.Diagnostics) {
	t.Helper()
	spec := configs.BlockSpec{Name: "sqlite", Blocks: []configs.BlockSpec{
		{Name: "database", Labels: []string{"name"}, Attributes: Attributes(), Blocks: Blocks()},
	}}
	config, diagnostics := configs.Resolve(&configs.Sources{Path: "/t.hcl", Dir: "/etc", Files: []configs.Source{{Name: "t.hcl", Bytes: []byte(`
listen "main" {
  address = "127.0.0.1:0"
}
site "main" {
  route "/" {
    sqlite {
      database "shop" {
` + text + `
      }
    }
  }
}
`)}}}, &configs.Schema{Modules: []configs.BlockSpec{spec}})
	if diagnostics.HasErrors() {
		return nil, diagnostics
	}
	return config.Sites[0].Routes[0].Block.Block("database"), diagnostics
}

func TestSettings(t *testing.T) {
	b, diagnostics := block(t, "")
	if b == nil {
		t.Fatal(diagnostics)
	}
	if s := SettingsOf(b); s != DefaultSettings() || s.Checkpoint != (Checkpointing{4 << 20, 30 * time.Second, 64 << 20}) {
		t.Errorf("%+v", s)
	}
	b, diagnostics = block(t, `migrations = "/m"
checkpoint {
  size = "1MiB"
}
backup {
  directory = "/b"
  at        = "03:30"
  keep_for  = "720h"
  check     = "quick"
}`)
	if b == nil {
		t.Fatal(diagnostics)
	}
	s := SettingsOf(b)
	if s.Migrations != "/m" || s.Checkpoint.Size != 1<<20 || *s.Backup != (Backups{"/b", 24 * time.Hour, "03:30", 7, 720 * time.Hour, "quick", time.Hour}) {
		t.Errorf("%+v %+v", s, s.Backup)
	}
	for text, want := range map[string]string{
		"backup {\n}": "backup needs directory",
		"backup {\n directory = \"/b\"\n at = \"3 in the night\"\n}":         `"3 in the night" is no time of day; write hours and minutes, such as "03:30"`,
		"backup {\n directory = \"/b\"\n at = \"03:30\"\n every = \"1h\"\n}": "at is for one copy a day, and every is not 24h",
		"backup {\n directory = \"/b\"\n keep_for = \"1h\"\n}":               "copies would be removed before the next one is made",
		"backup {\n directory = \"/b\"\n keep = 0\n}":                        "keep",
		"backup {\n directory = \"/b\"\n check = \"none\"\n}":                "check",
		"checkpoint {\n alarm = \"5MiB\"\n}":                                 "alarm is less than twice size",
		"checkpoint {\n every = \"10ms\"\n}":                                 "every",
	} {
		if b, diagnostics := block(t, text); b != nil || !strings.Contains(diagnostics.Error(), want) {
			t.Errorf("%s: %v", text, diagnostics)
		}
	}
}

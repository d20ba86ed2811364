package upkeep

import (
	"fmt"
	"time"

	"github.com/tined/tined/configs"
)

// Database is one database file with what is to be done for it.
type Database struct {
	// Name is its name in messages and in those of its backups: letters, digits, '_', '-' and '.'.
	Name string
	// Path is that of its file, absolute.
	Path     string
	Settings Settings
}

// Settings say what is to be done for a database.
type Settings struct {
	Checkpoint Checkpointing
	// Backup is nil if there are no scheduled backups.
	Backup *Backups
	// Migrations is a directory of .sql files; "": none.
	Migrations string
}

// Checkpointing says when the WAL is copied back into the database.
type Checkpointing struct {
	Size  int64         // bytes of the WAL from which it is copied back at the next look
	Every time.Duration // the WAL is copied back after so long in any case
	Alarm int64         // bytes of the WAL from which the log says who holds it up
}

// Backups says when and where copies are made.
type Backups struct {
	Directory string
	Every     time.Duration
	At        string        // "03:30", local time; "": Every after the last one
	Keep      int           // how many are kept
	KeepFor   time.Duration // older ones are removed too, but for the last; 0: any age
	Check     string        // "full" or "quick"
	Timeout   time.Duration
}

// The checks of a copy.
const (
	checkFull  = "full"
	checkQuick = "quick"
)

// Attributes are those of a database's block that this package reads.
func Attributes() []configs.Attribute {
	return []configs.Attribute{
		{Name: "migrations", Type: configs.Path, Example: `"migrations/shop"`,
			Doc: "directory of files such as 0001_create.sql, which are applied once each, in their order, before a generation serves"},
	}
}

// Blocks are those in a database's block that this package reads.
func Blocks() []configs.BlockSpec { return []configs.BlockSpec{checkpointSpec(), backupSpec()} }

func checkpointSpec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "checkpoint", Doc: "when the write-ahead log is copied back into the database",
		Attributes: []configs.Attribute{
			{Name: "size", Type: configs.Size, Default: "4MiB", Min: "64KiB", Max: "16GiB", Doc: "size of the log from which it is copied back at once"},
			{Name: "every", Type: configs.Duration, Default: "30s", Min: "1s", Max: "24h", Doc: "time after which it is copied back whatever its size"},
			{Name: "alarm", Type: configs.Size, Default: "64MiB", Min: "256KiB", Max: "1TiB",
				Doc: "size of the log from which a warning names the reader that holds it up"},
		},
		Check: func(b *configs.Block) []configs.Problem {
			if b.Size("alarm") >= 2*b.Size("size") {
				return nil
			}
			return []configs.Problem{{At: "alarm", Message: "alarm is less than twice size: every busy moment would be a warning",
				Cure: "raise alarm to at least twice size, or lower size"}}
		},
	}
}

func backupSpec() configs.BlockSpec {
	return configs.BlockSpec{
		Name: "backup", Doc: "copies of the database, made while it is served",
		Attributes: []configs.Attribute{
			{Name: "directory", Type: configs.Path, Required: true, Example: `"/var/backups/tined"`,
				Doc: "where the copies are; it must exist, and the user of the children must be able to write there"},
			{Name: "every", Type: configs.Duration, Default: "24h", Min: "1m", Max: "8760h",
				Doc: "time from one copy to the next, measured from the newest that is in the directory"},
			{Name: "at", Type: configs.String, Example: `"03:30"`, Check: checkTimeOfDay,
				Doc: "time of day (local) of a copy a day; unset: whenever every has passed"},
			{Name: "keep", Type: configs.Int, Default: 7, Min: 1, Max: 10000, Doc: "how many copies are kept"},
			{Name: "keep_for", Type: configs.Duration, Default: "0s", Max: "87600h",
				Doc: "copies that are older are removed too, but never the newest; 0s: any age is kept"},
			{Name: "check", Type: configs.String, Default: checkFull, OneOf: []string{checkFull, checkQuick},
				Doc: "how a copy is checked before it counts: PRAGMA integrity_check or quick_check, which does not compare indexes with their tables"},
			{Name: "timeout", Type: configs.Duration, Default: "1h", Min: "1s", Max: "24h", Doc: "how long making and checking a copy may take"},
		},
		Check: func(b *configs.Block) (problems []configs.Problem) {
			if b.Has("at") && b.Duration("every") != 24*time.Hour {
				problems = append(problems, configs.Problem{At: "every", Message: "at is for one copy a day, and every is not 24h", Cure: "remove at, or every"})
			}
			if keep := b.Duration("keep_for"); keep > 0 && keep < b.Duration("every") {
				problems = append(problems, configs.Problem{At: "keep_for", Message: "copies would be removed before the next one is made",
					Cure: "make keep_for several times as long as every"})
			}
			return problems
		},
	}
}

func checkTimeOfDay(v any) error {
	if _, err := time.Parse("15:04", v.(string)); err != nil {
		return configs.Problem{Message: fmt.Sprintf("%q is no time of day", v), Cure: `write hours and minutes, such as "03:30"`}
	}
	return nil
}

// SettingsOf reads a database's block, whose spec has Attributes and Blocks among its own.
func SettingsOf(b *configs.Block) Settings {
	s := Settings{Migrations: b.Path("migrations"), Checkpoint: checkpointing(b.Block("checkpoint"))}
	if k := b.Block("backup"); k != nil {
		s.Backup = &Backups{Directory: k.Path("directory"), Every: k.Duration("every"), At: k.String("at"),
			Keep: k.Int("keep"), KeepFor: k.Duration("keep_for"), Check: k.String("check"), Timeout: k.Duration("timeout")}
	}
	return s
}

// DefaultSettings are those of a database that no block describes.
func DefaultSettings() Settings { return Settings{Checkpoint: checkpointing(nil)} }

func checkpointing(b *configs.Block) Checkpointing {
	if b == nil {
		var err error
		if b, err = configs.NewBlock(checkpointSpec(), nil); err != nil {
			panic(fmt.Sprintf("upkeep: the defaults of checkpoint: %v", err))
		}
	}
	return Checkpointing{Size: b.Size("size"), Every: b.Duration("every"), Alarm: b.Size("alarm")}
}

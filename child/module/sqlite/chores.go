package sqlite

import (
	"path/filepath"
	"slices"

	"github.com/tined/tined/child/module"
	"github.com/tined/tined/child/module/sqlite/upkeep"
	"github.com/tined/tined/configs"
)

// Chores are the checkpoints and backups of a block's files, which the housekeeper does.
func (*Module) Chores(b *configs.Block, env *module.Env) ([]module.Chore, error) {
	return upkeep.Chores(setOf(b), env.Log)
}

// setOf is the databases of a block as far as they are files.
func setOf(b *configs.Block) upkeep.Set {
	var set upkeep.Set
	directory := b.Path("directory")
	names := map[string]bool{}
	for _, d := range b.Blocks("database") {
		names[d.Label(0)] = true
		if d.String("engine") != engineFile || d.Label(0) == everyFile {
			continue
		}
		set.Declared = append(set.Declared, upkeep.Database{Name: d.Label(0), Path: filepath.Join(directory, fileOf(d)), Settings: upkeep.SettingsOf(d)})
	}
	every := slices.IndexFunc(b.Blocks("database"), func(d *configs.Block) bool { return d.Label(0) == everyFile })
	if name := b.String("database"); name != "" && !names[name] && every < 0 {
		set.Declared = append(set.Declared, upkeep.Database{Name: name, Path: filepath.Join(directory, name+".db"), Settings: upkeep.DefaultSettings()})
	}
	if every >= 0 {
		block := b.Blocks("database")[every]
		set.FoundSettings = upkeep.SettingsOf(block)
		set.Found = func() ([]upkeep.Database, error) {
			found, err := namesIn(directory, fileOf(block))
			var list []upkeep.Database
			for _, name := range found {
				path := pathIn(directory, fileOf(block), name)
				declared := slices.ContainsFunc(set.Declared, func(d upkeep.Database) bool { return d.Path == path })
				if !names[name] && !declared {
					list = append(list, upkeep.Database{Name: name, Path: path, Settings: set.FoundSettings})
				}
			}
			return list, err
		}
	}
	return set
}

// fileOf is the name of a database's file, or with a * that of many.
func fileOf(d *configs.Block) string {
	if d.Has("file") {
		return d.String("file")
	}
	return d.Label(0) + ".db" // "*.db" of database "*"
}

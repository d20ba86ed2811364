package upkeep

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A migration is one file of a directory.
type migration struct {
	version int
	name    string // of the file: "0001_create.sql"
	sha256  string // of its bytes, in hex
	path    string
	text    string
	parts   []part
}

// migrationName: at least four digits, so that names sort as versions do.
var migrationName = regexp.MustCompile(`^(\d{4,9})_[A-Za-z0-9][A-Za-z0-9_.-]*\.sql$`)

// maxMigration bounds a file in bytes.
const maxMigration = 64 << 20

// readMigrations reads those of a directory, in their order. Files that do not end in .sql, and those whose names begin with a dot, are none. All
// mistakes are in the error, each with its file.
func readMigrations(directory string) ([]migration, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	var list []migration
	var mistakes []error
	for _, e := range entries {
		if e.IsDir() || e.Name()[0] == '.' || filepath.Ext(e.Name()) != ".sql" {
			continue
		}
		path := filepath.Join(directory, e.Name())
		match := migrationName.FindStringSubmatch(e.Name())
		if match == nil {
			mistakes = append(mistakes, fmt.Errorf("%s: the name of a migration is a number of four digits, _ and a name, such as 0001_create.sql", path))
			continue
		}
		m := migration{name: e.Name(), path: path}
		m.version, _ = strconv.Atoi(match[1]) // nine digits fit
		if err := m.read(); err != nil {
			mistakes = append(mistakes, err)
		}
		list = append(list, m)
	}
	slices.SortStableFunc(list, func(a, b migration) int { return a.version - b.version })
	for i := 1; i < len(list); i++ {
		before, m := &list[i-1], &list[i]
		switch {
		case before.version == m.version:
			mistakes = append(mistakes, fmt.Errorf("%s has the number of %s: give it the next free one", m.path, before.name))
		case before.version+1 != m.version:
			mistakes = append(mistakes, fmt.Errorf("%s follows %s: there is no migration %04d between them; add it, or number without gaps",
				m.path, before.name, before.version+1))
		}
	}
	return list, errors.Join(mistakes...)
}

func (m *migration) read() error {
	info, err := os.Stat(m.path)
	if err != nil {
		return fmt.Errorf("read a migration: %w", err)
	}
	if info.Size() > maxMigration {
		return fmt.Errorf("%s has %d bytes, more than %d: load data by another way than migrations", m.path, info.Size(), maxMigration)
	}
	text, err := os.ReadFile(m.path)
	if err != nil {
		return fmt.Errorf("read a migration: %w", err)
	}
	sum := sha256.Sum256(text)
	m.text, m.sha256 = string(text), hex.EncodeToString(sum[:])
	m.parts = split(m.text)
	var mistakes []error
	for i := range m.parts {
		if why := m.parts[i].refused(); why != "" {
			mistakes = append(mistakes, m.errorAt(m.parts[i].offset, errors.New(why)))
		}
	}
	if len(m.parts) == 0 {
		mistakes = append(mistakes, fmt.Errorf("%s holds no statement: write one, or remove the file", m.path))
	}
	return errors.Join(mistakes...)
}

// errorAt is an error with the place of a byte of the file.
func (m *migration) errorAt(offset int, err error) error {
	line, column := place(m.text, offset)
	return fmt.Errorf("%s:%d:%d: %w", m.path, line, column, err)
}

// An appliedMigration is a row of the table that remembers.
type appliedMigration struct {
	version   int
	name      string
	sha256    string
	appliedAt string
}

// pending compares the files with what a database remembers, and returns what is to be applied. The error names every file that is not what was
// applied.
//
// That the database has migrations behind the last file is fine: the files are of an older release, whose queries still work if the newer
// migrations were made with care.
func pending(list []migration, applied []appliedMigration) ([]migration, error) {
	files := map[int]*migration{}
	for i := range list {
		files[list[i].version] = &list[i]
	}
	last := 0
	if len(list) > 0 {
		last = list[len(list)-1].version
	}
	newest := -1
	var mistakes []error
	for _, a := range applied {
		newest = max(newest, a.version)
		m := files[a.version]
		switch {
		case m == nil && a.version > last:
		case m == nil:
			mistakes = append(mistakes, fmt.Errorf("the migration %s was applied on %s, and its file is gone: bring it back", a.name, a.appliedAt))
		case m.sha256 != a.sha256:
			mistakes = append(mistakes, fmt.Errorf("%s has changed since it was applied on %s as %s: "+
				"bring its old text back, and write the change as a new file, %04d_….sql",
				m.path, a.appliedAt, shortSum(a.sha256), max(last, newest)+1))
		}
	}
	var todo []migration
	for _, m := range list {
		if m.version > newest {
			todo = append(todo, m)
		}
	}
	if newest >= 0 && len(todo) > 0 && todo[0].version > newest+1 {
		mistakes = append(mistakes, fmt.Errorf("the database is at migration %04d, and the files begin with %s: the ones between are missing",
			newest, todo[0].name))
	}
	for _, m := range list { // one that came in late would run behind those that were written after it
		if m.version <= newest && !slices.ContainsFunc(applied, func(a appliedMigration) bool { return a.version == m.version }) &&
			slices.ContainsFunc(applied, func(a appliedMigration) bool { return a.version < m.version }) {
			mistakes = append(mistakes, fmt.Errorf("%s was not applied, and later ones were: give it the number %04d", m.path, max(last, newest)+1))
		}
	}
	return todo, errors.Join(mistakes...)
}

// shortSum is as much of a sum as a person compares.
func shortSum(sum string) string { return "sha256 " + sum[:min(12, len(sum))] }

// versions names migrations: "0003_a.sql, 0004_b.sql".
func versions(list []migration) string {
	names := make([]string, len(list))
	for i, m := range list {
		names[i] = m.name
	}
	return strings.Join(names, ", ")
}

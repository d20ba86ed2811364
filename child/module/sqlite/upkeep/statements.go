package upkeep

import (
	"fmt"
	"strings"
)

// A part is one statement of a file.
type part struct {
	sql    string
	offset int      // of sql in the file, in bytes
	words  []string // its first words, in upper case, six at most
}

// split takes a file apart into its statements, as sqlite3_complete (https://www.sqlite.org/c3ref/complete.html) sees them: a semicolon ends a
// statement, but within CREATE TRIGGER only one behind an END that follows a semicolon does. What holds no token is left out. Nothing is said
// of whether a statement is right: SQLite says that.
func split(text string) []part {
	var parts []part
	var p part
	begun, trigger := false, false
	var last [2]string // the tokens before the present one, as far as they matter: ";" and words
	for at := 0; at < len(text); {
		kind, end := token(text, at)
		switch {
		case kind == tokenSpace:
		case kind == tokenSemicolon && !begun: // an empty statement
		case kind == tokenSemicolon && (!trigger || last[0] == ";" && last[1] == "END"):
			p.sql = text[p.offset:end]
			parts = append(parts, p)
			p, begun, trigger, last = part{}, false, false, [2]string{}
		default:
			if !begun {
				begun, p.offset = true, at
			}
			word := strings.ToUpper(text[at:end])
			if kind == tokenWord && len(p.words) < 6 {
				p.words = append(p.words, word)
				trigger = trigger || createsTrigger(p.words)
			}
			last = [2]string{last[1], word}
		}
		at = end
	}
	if begun {
		p.sql = strings.TrimRight(text[p.offset:], " \t\r\n\f")
		parts = append(parts, p)
	}
	return parts
}

func createsTrigger(words []string) bool {
	if len(words) > 1 && words[0] == "EXPLAIN" {
		words = words[1:]
		if len(words) > 2 && words[0] == "QUERY" && words[1] == "PLAN" {
			words = words[2:]
		}
	}
	return len(words) == 2 && words[0] == "CREATE" && words[1] == "TRIGGER" ||
		len(words) == 3 && words[0] == "CREATE" && (words[1] == "TEMP" || words[1] == "TEMPORARY") && words[2] == "TRIGGER"
}

type tokenKind uint8

const (
	tokenSpace tokenKind = iota // or a comment
	tokenSemicolon
	tokenWord
	tokenOther // a literal, a quoted name, one byte of anything else
)

// token returns what begins at a place, and where it ends. What is not closed goes to the end of the text.
func token(text string, at int) (tokenKind, int) {
	rest := text[at:]
	switch c := rest[0]; {
	case strings.IndexByte(" \t\r\n\f", c) >= 0:
		return tokenSpace, at + 1
	case strings.HasPrefix(rest, "--"):
		return tokenSpace, at + ended(rest, "\n", 2)
	case strings.HasPrefix(rest, "/*"):
		return tokenSpace, at + ended(rest, "*/", 2)
	case at == 0 && strings.HasPrefix(rest, "\ufeff"): // a byte order mark
		return tokenSpace, len("\ufeff")
	case c == ';':
		return tokenSemicolon, at + 1
	case c == '\'' || c == '"' || c == '`': // a doubled quote inside is two literals to this function, which does no harm
		return tokenOther, at + ended(rest, string(c), 1)
	case c == '[':
		return tokenOther, at + ended(rest, "]", 1)
	case wordByte(c):
		end := 1
		for end < len(rest) && wordByte(rest[end]) {
			end++
		}
		return tokenWord, at + end
	}
	return tokenOther, at + 1
}

// ended returns where text ends that closes with the delimiter, behind the first from bytes.
func ended(text, delimiter string, from int) int {
	if i := strings.Index(text[from:], delimiter); i >= 0 {
		return from + i + len(delimiter)
	}
	return len(text)
}

func wordByte(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// refused says why a statement cannot stand in a migration, and what to do; "" if it can.
func (p *part) refused() (why string) {
	first := ""
	if len(p.words) > 0 {
		first = p.words[0]
	}
	switch {
	case p.sql[0] == '.':
		return "this is a command of the sqlite3 shell, and not SQL: remove it"
	case strings.IndexByte(p.sql, 0) >= 0:
		return "the statement holds a zero byte: remove it"
	}
	switch first {
	case "BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE":
		return fmt.Sprintf("%s cannot stand in a migration: each file is one transaction already; remove it, or make two files", first)
	case "ATTACH", "DETACH":
		return first + " cannot stand in a migration: it concerns one database; give the other one a directory of its own"
	case "VACUUM":
		return "VACUUM cannot run in a transaction, and each file is one: run it by hand"
	case "PRAGMA":
		if len(p.words) > 1 && migrationPragmas[p.words[1]] {
			return ""
		}
		return "this PRAGMA cannot stand in a migration: it would have no effect in a transaction, or is the server's to set; remove it" +
			" (foreign keys are off while a migration runs, and checked before it is committed)"
	}
	return ""
}

// migrationPragmas are those that work in a transaction, and change what is kept in the file or only this transaction.
var migrationPragmas = map[string]bool{"USER_VERSION": true, "APPLICATION_ID": true, "DEFER_FOREIGN_KEYS": true, "LEGACY_ALTER_TABLE": true}

// place returns line and column of a byte of text, both from 1; the column counts bytes.
func place(text string, offset int) (line, column int) {
	before := text[:min(max(offset, 0), len(text))]
	return strings.Count(before, "\n") + 1, len(before) - strings.LastIndexByte(before, '\n')
}

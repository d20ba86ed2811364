package lite

import "strings"

// joinsByName reports whether sql has one of the keywords NATURAL and USING. SQLite does not ask the authorizer about the columns that they
// compare (3.54: sqlite3ProcessJoin makes them without it), so that
//
//	WITH guess(password) AS (VALUES ('…')) SELECT 1 FROM guess NATURAL JOIN users
//
// would tell a role what it may not read. ON does the same, and is asked about. In a view or a trigger they stay possible: their text is the
// operator's.
func joinsByName(sql string) bool {
	for i := 0; i < len(sql); {
		next := tokenEnd(sql, i)
		if isIdentifier(sql[i]) && (next-i == len("natural") || next-i == len("using")) {
			if word := lower(sql[i:next]); word == "natural" || word == "using" {
				return true
			}
		}
		i = next
	}
	return false
}

// replacesRows reports whether sql has the keywords UPDATE OR REPLACE, INSERT OR REPLACE or REPLACE INTO, which delete the rows that are in the
// way of a unique column, also in the UPDATEs of the triggers that they fire (https://www.sqlite.org/lang_createtrigger.html: the outer
// statement's policy holds). SQLite does not ask the authorizer whether those rows may be deleted.
func replacesRows(sql string) bool {
	var before, last string // the two words in front
	for i := 0; i < len(sql); {
		next := tokenEnd(sql, i)
		token := sql[i:next]
		i = next
		if skipSpace(token) == "" && token != ";" { // space or a comment
			continue
		}
		switch token = lower(token); {
		case token == "into" && last == "replace", token == "replace" && last == "or" && (before == "update" || before == "insert"):
			return true
		}
		before, last = last, token
	}
	return false
}

// tokenEnd returns where the token that begins at i ends, as SQLite's tokenizer has it (sqlite3GetToken), for all tokens that can hide a word. What
// is not closed, and is no token to SQLite, ends with sql.
func tokenEnd(sql string, i int) int {
	rest := sql[i:]
	switch c := rest[0]; {
	case strings.HasPrefix(rest, "\xef\xbb\xbf"): // a byte order mark is space where a token may begin
		return i + 3
	case isIdentifier(c):
		n := 1
		for n < len(rest) && (isIdentifier(rest[n]) || rest[n] == '$') {
			n++
		}
		return i + n
	case c == '$' || c == '@' || c == ':' || c == '#':
		return i + variableEnd(rest)
	case c == '?': // ?1natural is a parameter and a keyword
		n := 1
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		return i + n
	case c == '\'' || c == '"' || c == '`':
		for n := 1; n < len(rest); n++ {
			if rest[n] != c {
				continue
			}
			if n+1 == len(rest) || rest[n+1] != c { // a doubled one stands for itself
				return i + n + 1
			}
			n++
		}
		return len(sql)
	case c == '[':
		return after(sql, i+1, "]")
	case strings.HasPrefix(rest, "--"):
		return after(sql, i+2, "\n")
	case strings.HasPrefix(rest, "/*") && len(rest) > 2:
		return after(sql, i+2, "*/")
	}
	return i + 1
}

func after(sql string, from int, end string) int {
	if n := strings.Index(sql[from:], end); n >= 0 {
		return from + n + len(end)
	}
	return len(sql)
}

// variableEnd returns the length of a parameter, which may go on in parentheses with anything but space: $name::more(x'y).
func variableEnd(s string) int {
	n := 0
	for i := 1; i < len(s); i++ {
		switch {
		case isIdentifier(s[i]) || s[i] == '$':
			n++
		case s[i] == '(' && n > 0:
			for i++; i < len(s) && s[i] != ')' && strings.IndexByte(" \t\n\v\f\r", s[i]) < 0; i++ {
			}
			return min(i+1, len(s))
		case s[i] == ':' && i+1 < len(s) && s[i+1] == ':':
			i++
		default:
			return i
		}
	}
	return len(s)
}

// isIdentifier reports whether a byte can stand in a name, but for the '$', which cannot begin one.
func isIdentifier(c byte) bool {
	return c == '_' || c >= 0x80 || (c >= '0' && c <= '9') || (c|0x20 >= 'a' && c|0x20 <= 'z')
}

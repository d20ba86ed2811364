package rqlite

import "strings"

// tokenKind is as far as tokens are told apart here.
type tokenKind uint8

const (
	tokenWord     tokenKind = iota // a keyword or a bare name
	tokenName                      // "x", `x` or [x]
	tokenString                    // 'x'
	tokenNumber                    // and a blob, X'41'
	tokenVariable                  // ?, ?1, :x, @x, $x
	tokenSymbol                    // one character of the rest
)

// A token is a piece of a statement that is neither space nor a comment.
type token struct {
	kind       tokenKind
	start, end int // sql[start:end]
}

// lex splits a statement as SQLite's tokenizer does (src/tokenize.c). What is no token of it, such as a string that does not end, ends with the
// statement: SQLite has compiled the statement before anything relies on this.
func lex(sql string) []token {
	var tokens []token
	for i := 0; i < len(sql); {
		start := i
		c := sql[i]
		switch {
		case c == ' ' || c >= '\t' && c <= '\r':
			i++
			continue
		case c == '-' && strings.HasPrefix(sql[i:], "--"):
			i = after(sql, i, "\n")
			continue
		case c == '/' && strings.HasPrefix(sql[i:], "/*"):
			i = after(sql, i+2, "*/")
			continue
		}
		kind := tokenSymbol
		switch {
		case (c == 'x' || c == 'X') && i+1 < len(sql) && sql[i+1] == '\'':
			kind, i = tokenNumber, quoted(sql, i+1, '\'')
		case wordByte(c) && (c < '0' || c > '9') && c != '$':
			kind, i = tokenWord, word(sql, i)
		case c >= '0' && c <= '9', c == '.' && i+1 < len(sql) && sql[i+1] >= '0' && sql[i+1] <= '9':
			kind, i = tokenNumber, number(sql, i)
		case c == '\'':
			kind, i = tokenString, quoted(sql, i, '\'')
		case c == '"' || c == '`':
			kind, i = tokenName, quoted(sql, i, c)
		case c == '[':
			kind, i = tokenName, after(sql, i, "]")
		case c == '?' || c == ':' || c == '@' || c == '$' || c == '#':
			kind, i = tokenVariable, word(sql, i+1)
		default:
			i++
		}
		tokens = append(tokens, token{kind, start, i})
	}
	return tokens
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

func word(sql string, i int) int {
	for i < len(sql) && wordByte(sql[i]) {
		i++
	}
	return i
}

// number ends behind digits, a point and an exponent; it need not be a good one.
func number(sql string, i int) int {
	for i < len(sql) {
		c := sql[i]
		exponent := (c == '+' || c == '-') && (sql[i-1] == 'e' || sql[i-1] == 'E')
		if !wordByte(c) && c != '.' && !exponent {
			break
		}
		i++
	}
	return i
}

// quoted ends behind the quote that is not doubled.
func quoted(sql string, i int, quote byte) int {
	for i++; i < len(sql); i++ {
		if sql[i] != quote {
			continue
		}
		if i+1 < len(sql) && sql[i+1] == quote {
			i++
			continue
		}
		return i + 1
	}
	return len(sql)
}

func after(sql string, i int, end string) int {
	if n := strings.Index(sql[i:], end); n >= 0 {
		return i + n + len(end)
	}
	return len(sql)
}

func (t token) text(sql string) string { return sql[t.start:t.end] }

func (t token) is(sql, keyword string) bool {
	return t.kind != tokenName && t.kind != tokenString && strings.EqualFold(sql[t.start:t.end], keyword)
}

// quoteName writes a name as SQL.
func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// quoteText writes a text as SQL.
func quoteText(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

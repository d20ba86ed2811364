package web

import (
	_ "embed"
	"strings"
	"sync"
)

// typeTable is the whole table of content types: a type, then the extensions it belongs to. The machine's /etc/mime.types is never
// asked, so that a file has the same type everywhere.
//
//go:embed types.txt
var typeTable string

// types maps an extension in lower case, without its dot, to a Content-Type.
var types = sync.OnceValue(func() map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(typeTable) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		value := words[0]
		if isText(value) {
			value += "; charset=utf-8"
		}
		for _, extension := range words[1:] {
			m[extension] = value
		}
	}
	return m
})

// isText reports whether a type takes the parameter charset. JSON has none: it is UTF-8 by definition (RFC 8259, 8.1).
func isText(mediaType string) bool {
	return strings.HasPrefix(mediaType, "text/") || strings.HasSuffix(mediaType, "+xml") ||
		mediaType == "application/xml" || mediaType == "application/xml-dtd"
}

// plainNames are names without an extension that everybody reads as text.
const plainNames = " authors changelog changes contributing contributors copying copyright dockerfile install license licence maintainers makefile news notice readme thanks todo version "

// TypeByName returns the Content-Type of the file called name by its extension, or "" if it tells nothing. The table, of about 700
// extensions, is part of the program; the machine's is never asked. Text is taken for UTF-8.
func TypeByName(name string) string {
	name = name[strings.LastIndexByte(name, '/')+1:]
	dot := strings.LastIndexByte(name, '.')
	if dot >= 0 {
		return types()[strings.ToLower(name[dot+1:])]
	}
	if name != "" && strings.Contains(plainNames, " "+strings.ToLower(name)+" ") {
		return "text/plain; charset=utf-8"
	}
	return ""
}

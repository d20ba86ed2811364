package rqlite

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tined/tined/child/module/sqlite/engine"
)

// arrange brings arguments into the order of a statement's parameters, which is how they are sent: rqlite's own named parameters would be
// looked up under three prefixes.
func arrange(args []engine.Arg, parameters []string) ([]engine.Value, error) {
	values := make([]engine.Value, len(parameters))
	given := make([]bool, len(parameters))
	for place, arg := range args {
		found := false
		if arg.Name == "" {
			if found = place < len(parameters); found {
				values[place], given[place] = arg.Value, true
			}
		}
		for i, name := range parameters {
			if arg.Name != "" && name == arg.Name {
				values[i], given[i], found = arg.Value, true, true
			}
		}
		if !found && arg.Name == "" {
			return nil, engine.Errorf(engine.CodeParameter, "there are %d arguments for %d parameters", len(args), len(parameters))
		}
		if !found {
			return nil, engine.Errorf(engine.CodeParameter, "the statement has no parameter :%s", arg.Name)
		}
	}
	for i, ok := range given {
		if ok {
			continue
		}
		if parameters[i] != "" {
			return nil, engine.Errorf(engine.CodeParameter, "the parameter :%s is missing", parameters[i])
		}
		return nil, engine.Errorf(engine.CodeParameter, "the parameter with the number %d is missing", i+1)
	}
	return values, nil
}

// appendStatement appends a statement as rqlite takes it: ["SQL",value,…].
func appendStatement(dst []byte, sql string, values []engine.Value) ([]byte, error) {
	dst = appendString(append(dst, '['), sql)
	for i, v := range values {
		var err error
		if dst, err = appendValue(append(dst, ','), v); err != nil {
			e := engine.ErrorOf(err)
			e.Message = "the argument with the number " + strconv.Itoa(i+1) + " " + e.Message
			return nil, e
		}
	}
	return append(dst, ']'), nil
}

// appendValue appends a value as http/request_parser.go of rqlite reads it.
func appendValue(dst []byte, v engine.Value) ([]byte, error) {
	switch v.Kind {
	case engine.Integer:
		return strconv.AppendInt(dst, v.Int, 10), nil
	case engine.Real:
		switch {
		case math.IsNaN(v.Real):
			return append(dst, "null"...), nil
		case math.IsInf(v.Real, 0):
			return nil, engine.Errorf(engine.CodeParameter, "is infinite, which the cluster cannot take")
		}
		begin := len(dst)
		dst = strconv.AppendFloat(dst, v.Real, 'g', -1, 64)
		// Without them rqlite takes it for an integer.
		if !strings.ContainsAny(string(dst[begin:]), ".e") {
			dst = append(dst, ".0"...)
		}
		return dst, nil
	case engine.Text:
		if !utf8.Valid(v.Bytes) {
			return nil, engine.Errorf(engine.CodeParameter, "is a text that is no UTF-8, which the cluster cannot take")
		}
		if looksLikeBlob(string(v.Bytes)) {
			return nil, engine.Errorf(engine.CodeParameter, "is a text that the cluster would take for a blob: %.20s", v.Bytes)
		}
		return appendString(dst, string(v.Bytes)), nil
	case engine.Blob:
		dst = append(dst, '[')
		for i, b := range v.Bytes {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendUint(dst, uint64(b), 10)
		}
		return append(dst, ']'), nil
	}
	return append(dst, "null"...), nil
}

// looksLikeBlob reports whether rqlite makes a blob of a text: db.ParseHex.
func looksLikeBlob(text string) bool {
	text = strings.TrimSpace(text)
	if len(text) < 3 || text[0] != 'x' && text[0] != 'X' || text[1] != '\'' || text[len(text)-1] != '\'' {
		return false
	}
	_, err := hex.DecodeString(text[2 : len(text)-1])
	return err == nil
}

// appendString appends text, which is UTF-8, as JSON.
func appendString(dst []byte, text string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

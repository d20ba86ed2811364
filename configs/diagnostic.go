package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Position is a place in a configuration file. Lines and columns count from 1,
// columns in characters (code points). Line is 0 where only the file is known.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// String formats the position as file:line:column.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Severity says whether a diagnostic refuses the configuration.
type Severity uint8

const (
	// Error refuses the configuration.
	Error Severity = iota
	// Warning is worth a look; the configuration is used.
	Warning
)

// String returns "error" or "warning".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// MarshalText encodes the severity by its name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *Severity) UnmarshalText(text []byte) error {
	switch string(text) {
	case "error":
		*s = Error
	case "warning":
		*s = Warning
	default:
		return fmt.Errorf("severity %q is neither error nor warning", text)
	}
	return nil
}

// Diagnostic is one mistake: where it is, what it is, and how to cure it.
type Diagnostic struct {
	File     string   `json:"file"`
	Line     int      `json:"line"`
	Column   int      `json:"column"`
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
	// Cure says in words what to write instead; it may hold several lines.
	Cure string `json:"cure,omitempty"`
}

// Position returns the place of the mistake.
func (d Diagnostic) Position() Position {
	return Position{File: d.File, Line: d.Line, Column: d.Column}
}

// String formats the diagnostic as "file:line:column: message; cure", with
// "warning: " before the message of a warning.
func (d Diagnostic) String() string {
	var b strings.Builder
	if place := d.Position().String(); place != "" {
		b.WriteString(place)
		b.WriteString(": ")
	}
	if d.Severity == Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(d.Message)
	if d.Cure != "" {
		b.WriteString("; ")
		b.WriteString(d.Cure)
	}
	return b.String()
}

// Diagnostics are all mistakes of one configuration, in the order of the files
// and of the places in them.
type Diagnostics []Diagnostic

// Error joins the diagnostics, one a line (a cure may take several).
func (ds Diagnostics) Error() string {
	lines := make([]string, len(ds))
	for i, d := range ds {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

// HasErrors tells whether at least one diagnostic is an error.
func (ds Diagnostics) HasErrors() bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return d.Severity == Error })
}

// Err returns the diagnostics as an error when one of them is an error, else
// nil.
func (ds Diagnostics) Err() error {
	if ds.HasErrors() {
		return ds
	}
	return nil
}

// Problem is a mistake found by a module's own check. The engine knows the
// file and turns it into a Diagnostic. It is an error too, so that a check that
// returns an error can give the cure apart from the message.
type Problem struct {
	// In is the block that At is in; nil: the one that is checked. A check of
	// a block may look into those that stand in it.
	In *Block
	// At names the attribute that is wrong, or the inner block, the first of
	// that name; "" is the block itself.
	At string
	// Item is the number of the item of the list At that is wrong, from 1; 0:
	// the whole.
	Item    int
	Message string
	Cure    string
	// Column says where in a text the mistake is: the byte, from 1; 0 is
	// unknown. It is used for the pattern of a route.
	Column int
}

// Error formats the problem as "message; cure".
func (p Problem) Error() string {
	if p.Cure == "" {
		return p.Message
	}
	return p.Message + "; " + p.Cure
}

// report collects diagnostics and orders them at the end.
type report struct {
	files []string // in reading order
	list  Diagnostics
}

func (r *report) add(severity Severity, at Position, message, cure string) {
	r.list = append(r.list, Diagnostic{
		File: at.File, Line: at.Line, Column: at.Column,
		Severity: severity, Message: message, Cure: cure,
	})
}

func (r *report) err(at Position, message, cure string)  { r.add(Error, at, message, cure) }
func (r *report) warn(at Position, message, cure string) { r.add(Warning, at, message, cure) }
func (r *report) problem(at Position, p *Problem)        { r.err(at, p.Message, p.Cure) }

// sorted returns the diagnostics by file (in reading order), line and column;
// an exact repetition is dropped.
func (r *report) sorted() Diagnostics {
	order := func(file string) int {
		if i := slices.Index(r.files, file); i >= 0 {
			return i
		}
		return len(r.files)
	}
	slices.SortStableFunc(r.list, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(order(a.File), order(b.File)),
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
		)
	})
	return slices.Compact(r.list)
}

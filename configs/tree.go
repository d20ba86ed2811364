package configs

import (
	"sort"
	"unicode/utf8"
)

// The tree: what both syntaxes are read into.

// bodyNode is the content of a file or of a block.
type bodyNode struct {
	attributes []attributeNode
	blocks     []blockNode
	damaged    bool // something in it was lost, and is reported
}

type attributeNode struct {
	name  string
	pos   Position // of the name
	value value
}

type blockNode struct {
	name   string
	pos    Position
	labels []labelNode
	body   bodyNode
	json   bool
}

type labelNode struct {
	text string
	pos  Position
}

// edit replaces remove bytes at an offset of a source by insert.
type edit struct {
	at, remove int
	insert     string
	mended     int // its offset in the mended copy
}

// locator finds positions in a source, also by offsets in its mended copy.
type locator struct {
	file  string
	src   []byte
	lines []int  // offset of each line
	edits []edit // in ascending order, none overlapping
}

func newLocator(file string, src []byte) *locator {
	l := &locator{file: file, src: src, lines: []int{0}}
	for i, c := range src {
		if c == '\n' {
			l.lines = append(l.lines, i+1)
		}
	}
	return l
}

// at returns the position of an offset in the source.
func (l *locator) at(offset int) Position {
	offset = max(0, min(offset, len(l.src)))
	line := sort.SearchInts(l.lines, offset+1)
	start := l.lines[line-1]
	return Position{File: l.file, Line: line, Column: utf8.RuneCount(l.src[start:offset]) + 1}
}

// mended returns the source with the edits applied, and lets original undo
// their shifts.
func (l *locator) mended(edits []edit) []byte {
	sort.SliceStable(edits, func(i, j int) bool { return edits[i].at < edits[j].at })
	out := make([]byte, 0, len(l.src)+2*len(edits))
	from := 0
	l.edits = l.edits[:0]
	for _, e := range edits {
		if e.at < from {
			continue // overlaps the one before: that one decides
		}
		out = append(out, l.src[from:e.at]...)
		e.mended = len(out)
		out = append(out, e.insert...)
		from = e.at + e.remove
		l.edits = append(l.edits, e)
	}
	return append(out, l.src[from:]...)
}

// original returns the offset in the source that an offset in the mended copy
// stands for.
func (l *locator) original(offset int) int {
	i := sort.Search(len(l.edits), func(i int) bool { return l.edits[i].mended > offset })
	if i == 0 {
		return offset
	}
	e := l.edits[i-1]
	if after := offset - e.mended - len(e.insert); after >= 0 {
		return e.at + e.remove + after
	}
	return e.at
}

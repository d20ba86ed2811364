package configs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
)

// Source is one configuration file as it was read.
type Source struct {
	// Name is the file's name for diagnostics: as the operator wrote it, so it
	// may be relative to the Dir of its Sources.
	Name  string
	Bytes []byte
}

// Sources are all files of one configuration: what a generation is made of.
type Sources struct {
	Path  string   // the root file, absolute; "" when there is none
	Dir   string   // the directory against which relative Names stand
	Files []Source // the root file first, then its includes in reading order
}

// dir returns the absolute directory of a file.
func (s *Sources) dir(name string) string { return filepath.Dir(s.abs(name)) }

// abs returns the absolute, clean name of a file; links are not followed.
func (s *Sources) abs(name string) string {
	if !filepath.IsAbs(name) {
		name = filepath.Join(s.Dir, name)
	}
	return filepath.Clean(name)
}

// sourcesMagic starts every encoding; the digit is its version.
const sourcesMagic = "tined sources 1\n"

// Encode returns the sources as bytes, the same for equal sources: the magic,
// Path, Dir, the number of files, and name and bytes of each; a text is its
// length (an unsigned varint) and its bytes.
func (s *Sources) Encode() []byte {
	b := []byte(sourcesMagic)
	text := func(t []byte) {
		b = binary.AppendUvarint(b, uint64(len(t)))
		b = append(b, t...)
	}
	text([]byte(s.Path))
	text([]byte(s.Dir))
	b = binary.AppendUvarint(b, uint64(len(s.Files)))
	for _, f := range s.Files {
		text([]byte(f.Name))
		text(f.Bytes)
	}
	return b
}

// DecodeSources reads what Encode wrote. The result keeps no reference to b.
func DecodeSources(b []byte) (*Sources, error) {
	rest, ok := bytes.CutPrefix(b, []byte(sourcesMagic))
	if !ok {
		return nil, errors.New("decode sources: not an encoding of this version")
	}
	var failed error
	number := func() uint64 {
		n, size := binary.Uvarint(rest)
		if size <= 0 || failed != nil {
			failed = errors.New("decode sources: cut off")
			return 0
		}
		rest = rest[size:]
		return n
	}
	text := func() []byte {
		n := number()
		if n > uint64(len(rest)) {
			failed = errors.New("decode sources: cut off")
			return nil
		}
		t := bytes.Clone(rest[:n])
		rest = rest[n:]
		return t
	}
	s := &Sources{Path: string(text()), Dir: string(text())}
	for n := number(); n > 0 && failed == nil; n-- {
		s.Files = append(s.Files, Source{Name: string(text()), Bytes: text()})
	}
	if failed != nil {
		return nil, failed
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("decode sources: %d bytes too many", len(rest))
	}
	return s, nil
}

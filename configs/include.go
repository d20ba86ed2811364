package configs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxIncludeDepth is how deep includes may nest; the root file is at 0.
const maxIncludeDepth = 8

// maxFiles bounds the files of one configuration, since children get them all
// in one piece of memory.
const maxFiles = 4096

// Read loads the root file and, through its includes, all others, each once.
// Names in include are relative to the file that contains them; patterns are
// those of filepath.Glob, match no dot files, and may match nothing. Read
// reports what cannot be read; the content is judged by Resolve, which also
// works on the incomplete sources that come with errors. The sources are nil
// when the root file itself cannot be read.
func Read(path string) (*Sources, Diagnostics) {
	dir, err := os.Getwd()
	if err != nil && !filepath.IsAbs(path) {
		return nil, Diagnostics{{File: path, Message: "the working directory is unknown: " + reason(err), Cure: "give the path from /"}}
	}
	rd := &reader{report: &report{}, sources: &Sources{Dir: dir}, read: make(map[string]bool)}
	rd.sources.Path = rd.sources.abs(path)
	bytes, p := readFile(rd.sources.Path)
	if p != nil {
		return nil, Diagnostics{{File: path, Message: p.Message, Cure: p.Cure}}
	}
	rd.add(path, bytes, nil)
	rd.files = make([]string, len(rd.sources.Files))
	for i, f := range rd.sources.Files {
		rd.files[i] = f.Name
	}
	return rd.sources, rd.sorted()
}

// reader follows includes.
type reader struct {
	*report
	sources *Sources
	read    map[string]bool // by absolute name
}

// add takes a file over and follows its includes. stack holds the absolute
// names of the files that include it, the root first.
func (rd *reader) add(name string, bytes []byte, stack []string) {
	src := Source{Name: name, Bytes: bytes}
	rd.sources.Files = append(rd.sources.Files, src)
	abs := rd.sources.abs(name)
	rd.read[abs] = true
	stack = append(slices.Clip(stack), abs)

	spec := topLevel(&Schema{})
	include := spec.attribute("include")
	for _, n := range parse(src, &spec, &report{}).body.attributes {
		if n.name != include.Name || n.value.kind != listValue {
			continue
		}
		if _, mistakes := include.decode(n.value, ""); len(mistakes) > 0 {
			continue // Resolve reports them
		}
		for _, item := range n.value.items {
			rd.include(item.text, item.pos, stack)
		}
	}
}

// include follows one name or pattern.
func (rd *reader) include(pattern string, at Position, stack []string) {
	if pattern == "" {
		rd.err(at, "an include is empty", `write a name or a pattern, like "conf.d/*.hcl"`)
		return
	}
	full := pattern
	if !filepath.IsAbs(full) {
		full = filepath.Join(filepath.Dir(at.File), pattern)
	}
	names := []string{full}
	if strings.ContainsAny(pattern, `*?[`) {
		var p *Problem
		if names, p = rd.expand(full, pattern); p != nil {
			rd.problem(at, p)
			return
		}
	}
	for _, name := range names {
		abs := rd.sources.abs(name)
		if i := slices.Index(stack, abs); i >= 0 {
			rd.cycle(at, stack[i:])
			continue
		}
		if rd.read[abs] {
			continue
		}
		if len(stack) > maxIncludeDepth {
			rd.err(at, fmt.Sprintf("includes nest deeper than %d files", maxIncludeDepth), "include "+Quote(pattern)+" from a file nearer to the root")
			return
		}
		if len(rd.sources.Files) >= maxFiles {
			rd.err(at, fmt.Sprintf("there are more than %d files", maxFiles), "join some of them")
			return
		}
		bytes, p := readFile(abs)
		if p != nil {
			rd.err(at, "cannot include "+Quote(pattern)+": "+p.Message, p.Cure)
			continue
		}
		rd.add(name, bytes, stack)
	}
}

// expand lists the files that a pattern matches. Dot files are what editors
// leave behind: only a pattern that begins with a dot finds them.
func (rd *reader) expand(full, pattern string) ([]string, *Problem) {
	names, err := filepath.Glob(rd.sources.abs(full))
	if err != nil {
		return nil, &Problem{Message: "the pattern " + Quote(pattern) + " is not well formed", Cure: "close its [, or write \\\\[ for a plain one"}
	}
	if !strings.HasPrefix(filepath.Base(full), ".") {
		names = slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(filepath.Base(name), ".") })
	}
	if filepath.IsAbs(full) {
		return names, nil
	}
	for i, name := range names { // as short as the operator wrote it
		if rel, err := filepath.Rel(rd.sources.Dir, name); err == nil {
			names[i] = rel
		}
	}
	return names, nil
}

func (rd *reader) cycle(at Position, ring []string) {
	if len(ring) == 1 {
		rd.err(at, "this file includes itself", "narrow the pattern, or move the other files into a folder of their own")
		return
	}
	rd.err(at, "the includes go in a circle: "+strings.Join(ring, " includes ")+" includes "+ring[0], "remove this one")
}

// readFile reads a regular file of a bearable size.
func readFile(path string) ([]byte, *Problem) {
	refuse := func(err error) ([]byte, *Problem) {
		p := &Problem{Message: reason(err)}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			p.Cure = "check the name"
		case errors.Is(err, fs.ErrPermission):
			p.Cure = "check who may read " + path
		}
		return nil, p
	}
	info, err := os.Stat(path)
	if err != nil {
		return refuse(err)
	}
	if info.IsDir() {
		return nil, &Problem{Message: Quote(path) + " is a directory", Cure: "name a file, or " + Quote(filepath.Join(path, "*.hcl"))}
	}
	if !info.Mode().IsRegular() { // a pipe could block for ever
		return nil, &Problem{Message: Quote(path) + " is not a regular file", Cure: "name one"}
	}
	f, err := os.Open(path)
	if err != nil {
		return refuse(err)
	}
	defer f.Close()
	bytes, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return refuse(err)
	}
	return bytes, nil
}

// reason is an error of the file system without its path, which the diagnostic
// names already.
func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

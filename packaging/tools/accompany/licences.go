package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/google/licensecheck"
	"golang.org/x/mod/module"
)

// part is something that is linked into the program: a module, or Go's own library.
type part struct {
	name, version string
	sum           string // of go.sum: "h1:…"; empty for Go's own
	licence       string // an SPDX expression
	holders       []string
	texts         []terms
}

// terms is a file with some.
type terms struct {
	name    string // within its module
	content string
}

// termsFile are the names under which terms stand. Notices have to be passed on with an Apache licence; Go has its patents in a file.
var termsFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents|unlicense)([-.].*)?$`)

// ours is tined's own licence.
const ours = "Apache-2.0"

// leastCoverage is how much of a licence's file must be known words, in percent. Names and years are not.
const leastCoverage = 75

// judged are texts that a person has read, since the scanner knows too few of their words: what they are, by their SHA-256. A text that changes is to
// be read again.
var judged = map[string][]string{
	// modernc.org/libc, LICENSE-3RD-PARTY.md: what of Go, musl and others it is made from.
	"f597097efe3d97021f89170746bd3a0fb9a8b6fb26b82043ed68a4e0283bee6c": {"BSD-2-Clause", "BSD-3-Clause", "MIT"},
	// modernc.org/sqlite, LICENSE-3RD-PARTY.md: the same of its parts.
	"4194f8e7119be72babd499db4f6f1f7547e36e8a7bffcb2b9c8df241b8f1576a": {"Apache-2.0", "BSD-3-Clause", "MIT", "MPL-2.0"},
	// modernc.org/sqlite, LICENSE-SQLITE: the public domain, which SPDX knows by SQLite's blessing.
	"8438c9c89b849131ead81d5435cb97fcf052df5b0b286dda8a2d4c29e6cb3fd0": {"blessing"},
	// modernc.org/memory, LICENSE-LOGO: the address of a picture, which is not in the program.
	"5ae5bee3072a841376451b48d8cfcec7188e10543926d5870828d36c8a750dc5": nil,
}

// parts are what the build information of the program names, each with its terms. That something has none is an error: it could not be
// passed on. modules is the module cache, goroot where Go is.
func parts(build *buildinfo.BuildInfo, modules, goroot string) ([]part, error) {
	goVersion, _, _ := strings.Cut(build.GoVersion, " ")
	std := part{name: "std", version: strings.TrimPrefix(goVersion, "go")}
	if err := std.read(goroot, "install Go as its authors publish it, with its licence"); err != nil {
		return nil, err
	}
	all := []part{std}
	for _, d := range build.Deps {
		d = effective(d)
		if d.Version == "" {
			return nil, fmt.Errorf("%s is linked in from the folder %s, which is nobody's release: build without replacements", d.Path, d.Path)
		}
		escapedPath, err := module.EscapePath(d.Path)
		if err != nil {
			return nil, err
		}
		escapedVersion, err := module.EscapeVersion(d.Version)
		if err != nil {
			return nil, err
		}
		p := part{name: d.Path, version: d.Version, sum: d.Sum}
		folder := filepath.Join(modules, filepath.FromSlash(escapedPath)+"@"+escapedVersion)
		if err := p.read(folder, fmt.Sprintf("fetch it: go mod download %s@%s", d.Path, d.Version)); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b part) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

func effective(d *debug.Module) *debug.Module {
	for d.Replace != nil {
		d = d.Replace
	}
	return d
}

// read finds the part's terms below its folder: those of the whole, and those of code in it that came from elsewhere.
func (p *part) read(folder, cure string) error {
	if _, err := os.Stat(folder); err != nil {
		return fmt.Errorf("the licence of %s %s is not at hand: %w; %s", p.name, p.version, err, cure)
	}
	known := map[string]bool{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			if path != folder && (p.name == "std" || entry.Name() == "testdata") {
				return fs.SkipDir // Go's own terms are at its top
			}
			return nil
		case !termsFile.MatchString(entry.Name()) || strings.HasSuffix(entry.Name(), ".go"):
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		p.texts = append(p.texts, terms{filepath.ToSlash(name), tidy(content)})
		p.holders = append(p.holders, holders(string(content))...)
		upper := strings.ToUpper(entry.Name())
		if strings.HasPrefix(upper, "NOTICE") || strings.HasPrefix(upper, "PATENTS") {
			return nil // they go with a licence
		}
		if names, read := judged[fmt.Sprintf("%x", sha256.Sum256(content))]; read {
			for _, name := range names {
				known[name] = true
			}
			return nil
		}
		found := licensecheck.Scan(content)
		if found.Percent < leastCoverage {
			return fmt.Errorf("%s of %s %s is no licence that is known (%.0f %% of its words are): read it, and teach packaging/tools/accompany/licences.go what it is",
				name, p.name, p.version, found.Percent)
		}
		for _, m := range found.Match {
			if !m.IsURL {
				known[m.ID] = true
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(known) == 0 {
		return fmt.Errorf("%s %s has no licence in %s: it cannot be passed on", p.name, p.version, folder)
	}
	p.licence = strings.Join(slices.Sorted(maps.Keys(known)), " AND ")
	slices.Sort(p.holders)
	p.holders = slices.Compact(p.holders)
	return nil
}

// tidy makes a text of one kind of lines, without blanks at their ends.
func tidy(content []byte) string {
	var out strings.Builder
	for line := range strings.Lines(strings.TrimSpace(strings.ReplaceAll(string(content), "\r\n", "\n"))) {
		out.WriteString(strings.TrimRight(line, " \t\n") + "\n")
	}
	return out.String()
}

// copyrightLine is one that says since when a work is whose. Licences also speak of copyright in general, and have places to fill in.
var copyrightLine = regexp.MustCompile(`^\W*(?i:copyright)[: ]+(?:(?:\([cC]\)|©) *)?(.*[0-9]{4}.*)$`)

// holders finds who has the copyright, as the text says it.
func holders(text string) []string {
	var found []string
	for line := range strings.Lines(text) {
		if m := copyrightLine.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			found = append(found, strings.TrimSpace(strings.ReplaceAll(m[1], "All rights reserved.", "")))
		}
	}
	return found
}

const thirdPartyHead = `The executable /usr/bin/tined contains the software of others that is listed here, under
the terms that follow. tined's own are those of the Apache License, version 2.0.

`

// thirdParty is the file with all terms, each once, with the list of what they apply to.
func thirdParty(all []part) []byte {
	var out bytes.Buffer
	out.WriteString(thirdPartyHead)
	for _, p := range all {
		fmt.Fprintf(&out, "    %s: %s\n", p.title(), p.licence)
	}
	var order []string
	of := map[string][]string{}
	for _, p := range all {
		for _, t := range p.texts {
			if of[t.content] == nil {
				order = append(order, t.content)
			}
			of[t.content] = append(of[t.content], p.title()+", "+t.name)
		}
	}
	for _, content := range order {
		out.WriteString("\n" + strings.Repeat("=", 80) + "\n")
		for _, name := range of[content] {
			out.WriteString(name + "\n")
		}
		out.WriteString(strings.Repeat("=", 80) + "\n\n" + content)
	}
	return out.Bytes()
}

// expression is what all of the program is under, tined's own terms first.
func expression(all []part) string {
	others := map[string]bool{}
	for _, p := range all {
		for id := range strings.SplitSeq(p.licence, " AND ") {
			others[id] = true
		}
	}
	delete(others, ours)
	return strings.Join(append([]string{ours}, slices.Sorted(maps.Keys(others))...), " AND ")
}

// title is the part's name for people.
func (p part) title() string {
	if p.name == "std" {
		return "Go's library and runtime, " + p.version
	}
	return p.name + " " + p.version
}

// copyright is Debian's file: packaging/copyright, and a paragraph for each part.
func copyright(head []byte, all []part) []byte {
	var out bytes.Buffer
	out.Write(bytes.TrimSpace(head))
	out.WriteString("\n")
	named := map[string]bool{}
	var licences []string
	for _, p := range all {
		who := p.holders
		if len(who) == 0 {
			who = []string{"the authors of " + p.name}
		}
		licence := strings.ReplaceAll(p.licence, " AND ", " and ")
		fmt.Fprintf(&out, "\nFiles: %s/*\nCopyright: %s\nLicense: %s\n", p.name, strings.Join(who, "\n           "), licence)
		for one := range strings.SplitSeq(licence, " and ") {
			if !named[one] {
				named[one] = true
				licences = append(licences, one)
			}
		}
	}
	slices.Sort(licences)
	for _, one := range licences {
		if one == ours {
			continue // in the head
		}
		fmt.Fprintf(&out, "\nLicense: %s\n The text stands in /usr/share/doc/tined/third-party.txt, once for each of those\n whom it names.\n", one)
	}
	return out.Bytes()
}

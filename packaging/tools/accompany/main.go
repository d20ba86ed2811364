// Accompany writes what accompanies the program in its packages: the manual, the pages for operators, completions for shells, the licences
// of what is linked in, the list of its parts (SBOM) and the changelogs. packaging/build.sh runs it.
//
//	accompany version VERSION   print the version of the packages
//	accompany write FLAGS       write all of it into a folder
//
// The same inputs give the same bytes: there is no clock and no environment in what it writes.
package main

import (
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tined/tined/cmd/cli"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "accompany: %v\n", err)
		os.Exit(1)
	}
}

// papers are what is written, and from what.
type papers struct {
	binary   string // the executable that is packed
	arch     string // what it must be for, as Go names it; "": anything
	version  string // as the program tells it
	source   string // the root of the source tree
	packager string // NAME <ADDRESS>
	modules  string // Go's module cache
	goroot   string // where Go is
	date     time.Time
	out      string
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "version":
		version, err := packageVersion(args[1])
		if err != nil {
			return err
		}
		_, err = fmt.Println(version)
		return err
	case len(args) > 0 && args[0] == "write":
		var p papers
		var epoch int64
		flags := flag.NewFlagSet("accompany write", flag.ContinueOnError)
		flags.StringVar(&p.binary, "binary", "", "the executable")
		flags.StringVar(&p.arch, "arch", "", "the architecture that it must be for")
		flags.StringVar(&p.version, "version", "", "its version")
		flags.StringVar(&p.source, "source", ".", "the root of the source tree")
		flags.StringVar(&p.packager, "packager", "", "who signs the changelogs: NAME <ADDRESS>")
		flags.StringVar(&p.modules, "modules", "", "Go's module cache")
		flags.StringVar(&p.goroot, "goroot", "", "where Go is")
		flags.Int64Var(&epoch, "date", 0, "the date of everything, in seconds since 1970")
		flags.StringVar(&p.out, "out", "", "the directory to write to")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		p.date = time.Unix(epoch, 0).UTC()
		return p.write()
	}
	return fmt.Errorf("write `accompany version VERSION` or `accompany write FLAGS`")
}

func (p *papers) write() error {
	build, err := buildinfo.ReadFile(p.binary)
	if err != nil {
		return fmt.Errorf("%s tells nothing of what it is made of: %w; package a program that Go has built with modules", p.binary, err)
	}
	for _, s := range build.Settings {
		if s.Key == "GOARCH" && p.arch != "" && s.Value != p.arch {
			return fmt.Errorf("%s is for %s, and the package for %s: build it with GOARCH=%[3]s, or make a package with ARCH=%[2]s", p.binary, s.Value, p.arch)
		}
	}
	for _, step := range []func() error{
		p.writeChangelogs, p.writeCompletions, p.writeManual, p.writeDocs,
		func() error { return p.writeParts(build) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// writeParts writes what the program consists of, and on what terms.
func (p *papers) writeParts(build *buildinfo.BuildInfo) error {
	all, err := parts(build, p.modules, p.goroot)
	if err != nil {
		return err
	}
	head, err := os.ReadFile(filepath.Join(p.source, "packaging", "copyright"))
	if err != nil {
		return err
	}
	list, err := p.sbom(build, all)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"copyright": copyright(head, all), "third-party.txt": thirdParty(all), "tined.cdx.json": list,
		"licence": []byte(expression(all) + "\n"),
	} {
		if err := p.file(name, content); err != nil {
			return err
		}
	}
	return nil
}

func (p *papers) writeChangelogs() error {
	text, err := os.ReadFile(filepath.Join(p.source, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	releases, err := parseChangelog(string(text))
	if err != nil {
		return err
	}
	releases = forVersion(releases, p.version, p.date)
	deb, err := debianChangelog(releases, p.packager)
	if err != nil {
		return err
	}
	rpm, err := rpmChangelog(releases, p.packager)
	if err != nil {
		return err
	}
	if err := p.file("changelog.yaml", rpm); err != nil {
		return err
	}
	return p.packed("changelog.gz", deb)
}

// writeCompletions writes what `tined completion SHELL` prints, under the names by which shells find it.
func (p *papers) writeCompletions() error {
	root := cli.Command(p.program())
	var bash, zsh, fish bytes.Buffer
	if err := root.GenBashCompletionV2(&bash, true); err != nil {
		return err
	}
	if err := root.GenZshCompletion(&zsh); err != nil {
		return err
	}
	if err := root.GenFishCompletion(&fish, true); err != nil {
		return err
	}
	if err := p.file("completions/bash/tined", bash.Bytes()); err != nil {
		return err
	}
	if err := p.file("completions/zsh/_tined", zsh.Bytes()); err != nil {
		return err
	}
	return p.file("completions/fish/tined.fish", fish.Bytes())
}

// program is cmd/tined as its command line sees it.
func (p *papers) program() cli.Program { return cli.Program{Name: "tined", Version: p.version} }

// file writes one file below out.
func (p *papers) file(name string, content []byte) error {
	name = filepath.Join(p.out, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, content, 0o644)
}

// packed is file with gzip's best, and without a name or a time inside.
func (p *papers) packed(name string, content []byte) error {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return p.file(name, out.Bytes())
}

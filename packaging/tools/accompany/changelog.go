package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// release is a section of CHANGELOG.md.
type release struct {
	version string    // as the heading has it
	date    time.Time // zero: unreleased
	changes []string  // each is one line
}

var heading = regexp.MustCompile(`^## v?([0-9][0-9A-Za-z.+~-]*) \((unreleased|[0-9]{4}-[0-9]{2}-[0-9]{2})\)$`)

// parseChangelog reads CHANGELOG.md: a heading "## VERSION (DATE)" or "## VERSION (unreleased)" for each version, the newest first, and
// below it the items of lists. Other paragraphs introduce them, and are left out, but for one that stands alone in its section.
func parseChangelog(text string) ([]release, error) {
	var releases []release
	var paragraphs []string
	open := false // the last item goes on in the next line
	finish := func() {
		if n := len(releases); n > 0 && len(releases[n-1].changes) == 0 {
			releases[n-1].changes = paragraphs
		}
		paragraphs = nil
	}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, " \t\r")
		if strings.HasPrefix(line, "## ") {
			parts := heading.FindStringSubmatch(line)
			if parts == nil {
				return nil, fmt.Errorf("CHANGELOG.md:%d: %q is no heading of a version; write \"## 1.2.0 (2006-01-02)\" or \"## 1.2.0 (unreleased)\"", i+1, line)
			}
			finish()
			r := release{version: parts[1]}
			if parts[2] != "unreleased" {
				date, err := time.Parse(time.DateOnly, parts[2])
				if err != nil {
					return nil, fmt.Errorf("CHANGELOG.md:%d: %q is no date; write for example 2006-01-02", i+1, parts[2])
				}
				r.date = date
			}
			releases = append(releases, r)
			open = false
			continue
		}
		if len(releases) == 0 {
			continue // the title and what stands below it
		}
		last := &releases[len(releases)-1]
		item, isItem := strings.CutPrefix(line, "- ")
		switch {
		case line == "":
			open = false
			paragraphs = append(paragraphs, "")
		case isItem:
			last.changes = append(last.changes, plain(item))
			open = true
		case open:
			last.changes[len(last.changes)-1] += " " + plain(strings.TrimSpace(line))
		case len(paragraphs) > 0 && paragraphs[len(paragraphs)-1] != "":
			paragraphs[len(paragraphs)-1] += " " + plain(line)
		default:
			paragraphs = append(paragraphs, plain(line))
		}
	}
	finish()
	for i := range releases {
		releases[i].changes = slices.DeleteFunc(releases[i].changes, func(c string) bool { return c == "" })
	}
	if len(releases) == 0 {
		return nil, fmt.Errorf("CHANGELOG.md has no version; write \"## 1.2.0 (unreleased)\"")
	}
	return releases, nil
}

var link = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)

// plain takes the marks of links out of a line of Markdown. Backquotes read well as they are.
func plain(line string) string { return link.ReplaceAllString(line, "$1") }

// forVersion makes the list begin with the version that is built. What is unreleased is what it brings; without a section of its own it
// says so. Without a date it is of now, the date of the packages.
func forVersion(releases []release, version string, now time.Time) []release {
	version = strings.TrimPrefix(version, "v")
	out := slices.Clone(releases)
	switch first := &out[0]; {
	case first.version == version || first.date.IsZero():
		first.version = version
		if first.date.IsZero() {
			first.date = now
		}
	default:
		out = append([]release{{version: version, date: now, changes: []string{"A version after " + first.version + ", without notes of its own."}}}, out...)
	}
	// One that never came out is told with the one after it.
	kept := out[:1]
	for _, r := range out[1:] {
		if !r.date.IsZero() {
			kept = append(kept, r)
		}
	}
	return kept
}

// debianChangelog is /usr/share/doc/tined/changelog.gz before it is packed (deb-changelog(5)).
func debianChangelog(releases []release, packager string) ([]byte, error) {
	var out bytes.Buffer
	for i, r := range releases {
		version, err := packageVersion(r.version)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out.WriteByte('\n')
		}
		fmt.Fprintf(&out, "tined (%s) unstable; urgency=medium\n\n", version)
		for _, c := range r.changes {
			out.WriteString(folded("  * ", "    ", c, 80))
		}
		fmt.Fprintf(&out, "\n -- %s  %s\n", packager, r.date.UTC().Format(time.RFC1123Z))
	}
	return out.Bytes(), nil
}

// rpmChangelog is the list as nfpm reads it for rpm, as JSON, which is YAML.
func rpmChangelog(releases []release, packager string) ([]byte, error) {
	type change struct {
		Note string `json:"note"`
	}
	type entry struct {
		Semver   string    `json:"semver"`
		Date     time.Time `json:"date"`
		Packager string    `json:"packager"`
		Changes  []change  `json:"changes"`
	}
	var entries []entry
	for _, r := range releases {
		version, err := packageVersion(r.version)
		if err != nil {
			return nil, err
		}
		// Tools for rpm take entries for days, and show them by noon in UTC.
		day := r.date.UTC().Truncate(24 * time.Hour).Add(12 * time.Hour)
		e := entry{Semver: version + "-1", Date: day, Packager: packager}
		for _, c := range r.changes {
			e.Changes = append(e.Changes, change{strings.TrimPrefix(strings.TrimRight(folded("- ", "  ", c, 78), "\n"), "- ")})
		}
		entries = append(entries, e)
	}
	return json.MarshalIndent(entries, "", "  ")
}

// folded breaks a text into lines of at most width characters, where its words allow it.
func folded(first, others, text string, width int) string {
	var out strings.Builder
	line := first
	fresh := true
	for _, word := range strings.Fields(text) {
		switch {
		case fresh:
			line += word
		case len(line)+1+len(word) > width:
			out.WriteString(line + "\n")
			line = others + word
		default:
			line += " " + word
		}
		fresh = false
	}
	return out.String() + line + "\n"
}

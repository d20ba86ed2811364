package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

const changes = `# Changes

What an operator notices.

- no item of a version

## 1.3.0 (unreleased)

- ` + "`tined x`" + ` does [more](docs/x.md), and says
  so in two lines.
- Another.

For programs with the library:

- A third.

Not in this version: HTTPS.

## 1.2.0 (2026-02-03)

The first version.
`

var now = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

func TestParseChangelog(t *testing.T) {
	releases, err := parseChangelog(changes)
	if err != nil {
		t.Fatal(err)
	}
	if len(releases) != 2 || releases[0].version != "1.3.0" || !releases[0].date.IsZero() || releases[1].date.Format(time.DateOnly) != "2026-02-03" {
		t.Fatalf("releases: %+v", releases)
	}
	want := []string{"`tined x` does more, and says so in two lines.", "Another.", "A third."}
	if got := releases[0].changes; strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("changes: %q, want %q", got, want)
	}
	if got := releases[1].changes; len(got) != 1 || got[0] != "The first version." {
		t.Errorf("a version without items: %q, want its paragraph", got)
	}
}

func TestParseChangelogRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"# Changes\n":                     "has no version",
		"# Changes\n\n## Next\n":          "CHANGELOG.md:3",
		"## 1.2.0\n":                      "CHANGELOG.md:1",
		"## 1.2.0 (2026-02-31)\n\n- a.\n": "is no date",
	} {
		if _, err := parseChangelog(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestForVersion(t *testing.T) {
	for _, c := range []struct{ text, version, want string }{
		{changes, "v1.3.0", "1.3.0 2026-05-06, 1.2.0 2026-02-03"},
		{changes, "1.2.0-5-gabcd", "1.2.0-5-gabcd 2026-05-06, 1.2.0 2026-02-03"},
		{"## 1.2.0 (2026-02-03)\n\n- a\n", "1.2.0", "1.2.0 2026-02-03"},
		{"## 1.2.0 (2026-02-03)\n\n- a\n", "1.2.0-1-gabcd", "1.2.0-1-gabcd 2026-05-06, 1.2.0 2026-02-03"},
		{"## 1.2.0 (2026-02-03)\n\n- a\n\n## 1.1.0 (unreleased)\n\n- b\n", "1.2.0", "1.2.0 2026-02-03"},
	} {
		releases, err := parseChangelog(c.text)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range forVersion(releases, c.version, now) {
			got = append(got, r.version+" "+r.date.Format(time.DateOnly))
			if len(r.changes) == 0 {
				t.Errorf("%s: %s says nothing", c.version, r.version)
			}
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: %s, want %s", c.version, strings.Join(got, ", "), c.want)
		}
	}
}

func TestDebianChangelog(t *testing.T) {
	out, err := debianChangelog([]release{
		{version: "1.3.0-rc.1", date: now, changes: []string{strings.Repeat("word ", 20) + "end."}},
		{version: "1.2.0", date: now.AddDate(0, -1, 0), changes: []string{"First."}},
	}, "A B <a@b.example>")
	if err != nil {
		t.Fatal(err)
	}
	want := `tined (1.3.0~rc.1) unstable; urgency=medium

  * word word word word word word word word word word word word word word word
    word word word word word end.

 -- A B <a@b.example>  Wed, 06 May 2026 07:08:09 +0000

tined (1.2.0) unstable; urgency=medium

  * First.

 -- A B <a@b.example>  Mon, 06 Apr 2026 07:08:09 +0000
`
	if string(out) != want {
		t.Errorf("%s\nwant\n%s", out, want)
	}
}

func TestRPMChangelog(t *testing.T) {
	out, err := rpmChangelog([]release{{version: "1.3.0-rc.1", date: now, changes: []string{"First."}}}, "A B <a@b.example>")
	if err != nil {
		t.Fatal(err)
	}
	var entries []struct {
		Semver  string
		Date    time.Time
		Changes []struct{ Note string }
	}
	if err := json.Unmarshal(out, &entries); err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Semver != "1.3.0~rc.1-1" || entries[0].Date.Hour() != 12 || entries[0].Changes[0].Note != "First." {
		t.Errorf("%s", out)
	}
}

// The file that is shipped can be read.
func TestOurChangelog(t *testing.T) {
	text, err := os.ReadFile("../../../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	releases, err := parseChangelog(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range releases {
		if _, err := packageVersion(r.version); err != nil || len(r.changes) == 0 {
			t.Errorf("%s: %v, %d changes", r.version, err, len(r.changes))
		}
	}
}

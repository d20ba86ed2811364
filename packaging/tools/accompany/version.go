package main

import (
	"fmt"
	"regexp"
	"strings"
)

// described is what `git describe` adds to the tag that it has found: the commits since, the last of them, and whether files differ from it.
var described = regexp.MustCompile(`^(.+?)(?:-([0-9]+)-g([0-9a-f]{4,40}))?(-dirty)?$`)

// semantic is a semantic version (semver.org): three numbers, what comes before its release, and metadata.
var semantic = regexp.MustCompile(`^((?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*))` +
	`(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?$`)

// packageVersion makes the version of the packages from the program's, so that dpkg and rpm sort it as it was meant: 1.2.0~rc.1 before
// 1.2.0, and 1.2.0+65.gabc123, which is 65 commits after 1.2.0, behind it. A hyphen would begin the packages' own revision, so none is left.
func packageVersion(version string) (string, error) {
	parts := described.FindStringSubmatch(strings.TrimPrefix(version, "v"))
	if parts == nil {
		return "", badVersion(version)
	}
	base, commits, commit, dirty := parts[1], parts[2], parts[3], parts[4] != ""
	parts = semantic.FindStringSubmatch(base)
	if parts == nil {
		return "", badVersion(version)
	}
	out, before, metadata := parts[1], parts[2], parts[3]
	if before != "" {
		out += "~" + before
	}
	var after []string
	if metadata != "" {
		after = append(after, metadata)
	}
	if commits != "" {
		after = append(after, commits, "g"+commit)
	}
	if dirty {
		after = append(after, "dirty")
	}
	if len(after) > 0 {
		out += "+" + strings.Join(after, ".")
	}
	return strings.ReplaceAll(out, "-", "."), nil
}

func badVersion(version string) error {
	return fmt.Errorf("VERSION=%q is no semantic version; write for example VERSION=1.2.0 or VERSION=1.2.0-rc.1", version)
}

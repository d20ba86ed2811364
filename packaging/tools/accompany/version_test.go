package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestPackageVersion(t *testing.T) {
	for _, c := range []struct{ version, want string }{
		{"1.2.0", "1.2.0"},
		{"v1.2.0", "1.2.0"},
		{"1.2.0-rc.1", "1.2.0~rc.1"},
		{"1.2.0-rc-1", "1.2.0~rc.1"},
		{"1.2.0-dirty", "1.2.0+dirty"},
		{"1.2.0-rc.1-dirty", "1.2.0~rc.1+dirty"},
		{"1.2.0-65-gabc123", "1.2.0+65.gabc123"},
		{"v1.2.0-65-gabc123-dirty", "1.2.0+65.gabc123.dirty"},
		{"0.1.0-dev", "0.1.0~dev"},
		{"0.1.0-dev-65-gabc123", "0.1.0~dev+65.gabc123"},
		{"1.2.0+build.5", "1.2.0+build.5"},
		{"1.2.0-rc.1+build-5", "1.2.0~rc.1+build.5"},
		{"1.2.0+build.5-3-gabcd", "1.2.0+build.5.3.gabcd"},
	} {
		if got, err := packageVersion(c.version); err != nil || got != c.want {
			t.Errorf("packageVersion(%q) = %q, %v; want %q", c.version, got, err, c.want)
		}
	}
	for _, bad := range []string{"", "v", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "latest", "1.2.3-", "1.2.3-rc..1", "1.2.3 ", "1.2.3/4", "1.2.3~rc1", "1.2.3\n4", "-dirty"} {
		if got, err := packageVersion(bad); err == nil || !strings.Contains(err.Error(), "VERSION=") {
			t.Errorf("packageVersion(%q) = %q, %v; want an error with the cure", bad, got, err)
		}
	}
}

// ordered are versions of the program in the order of their releases.
var ordered = []string{
	"0.1.0-dev", "0.1.0-dev-2-gabcd", "0.1.0-dev-10-g0abc", "0.1.0-rc.1", "0.1.0-rc.1-3-gabcd", "0.1.0-rc.2", "0.1.0-rc.10", "0.1.0",
	"0.1.0-1-gffff", "0.1.0-65-gabc123", "0.1.0-65-gabc123-dirty", "0.1.1", "0.2.0-alpha", "0.2.0-alpha.1", "0.2.0", "0.10.0", "1.0.0-rc.1", "1.0.0",
}

// What dpkg and rpm make of the versions is what counts.
func TestPackagesSortAsReleases(t *testing.T) {
	tools := map[string]func(a, b string) bool{}
	if _, err := exec.LookPath("dpkg"); err == nil {
		tools["dpkg"] = func(a, b string) bool { return exec.Command("dpkg", "--compare-versions", a, "lt", b).Run() == nil }
	}
	if _, err := exec.LookPath("rpm"); err == nil {
		tools["rpm"] = func(a, b string) bool {
			out, err := exec.Command("rpm", "--eval", "%{lua: print(rpm.vercmp('"+a+"', '"+b+"'))}").Output()
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(string(out)) == "-1"
		}
	}
	if len(tools) == 0 {
		t.Skip("neither dpkg nor rpm is installed")
	}
	var versions []string
	for _, v := range ordered {
		p, err := packageVersion(v)
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, p)
	}
	for name, less := range tools {
		for i := range versions[1:] {
			if a, b := versions[i], versions[i+1]; !less(a, b) || less(b, a) {
				t.Errorf("%s: %s does not come before %s", name, a, b)
			}
		}
	}
}

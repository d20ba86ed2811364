package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// modulePath is the module that this package belongs to, in the build information of a program that imports it.
const modulePath = "github.com/tined/tined"

// versionInfo is what version --json prints.
type versionInfo struct {
	Program string `json:"program"`
	Version string `json:"version"`
	// Library is the version of tined that the program is made with; it is empty in tined itself.
	Library string `json:"library,omitempty"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	// Commit is empty where the binary was built without its repository.
	Commit       string       `json:"commit,omitempty"`
	Modified     bool         `json:"modified,omitempty"`
	Dependencies []dependency `json:"dependencies"`
}

type dependency struct {
	Path    string `json:"path"`
	Version string `json:"version"`
}

func (a *app) versionCommand() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Version prints the program's version, the Go version and the platform on one line. With
--json it adds the commit and every module that was linked in.`,
		Example:           fmt.Sprintf("  %[1]s version\n  %[1]s version --json", a.program.Name),
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(*cobra.Command, []string) error { return a.version(asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with the commit and the dependencies")
	return cmd
}

func (a *app) version(asJSON bool) error {
	info := describeBuild(a.program)
	if asJSON {
		text, err := json.MarshalIndent(info, "", "  ")
		if err != nil {
			return err
		}
		return a.printf("%s\n", text)
	}
	library := ""
	if info.Library != "" {
		library = fmt.Sprintf(" (tined %s)", info.Library)
	}
	return a.printf("%s %s%s %s %s/%s\n", info.Program, info.Version, library, info.Go, info.OS, info.Arch)
}

// describeBuild reads what the Go tool has noted in the binary.
func describeBuild(p Program) versionInfo {
	info := versionInfo{
		Program: p.Name, Version: p.Version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		Dependencies: []dependency{},
	}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return info
	}
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			info.Commit = s.Value
		case "vcs.modified":
			info.Modified = s.Value == "true"
		}
	}
	for _, d := range build.Deps {
		if d.Path == modulePath {
			info.Library = d.Version
		}
		if d.Replace != nil {
			d = d.Replace
		}
		info.Dependencies = append(info.Dependencies, dependency{d.Path, d.Version})
	}
	return info
}

// builtVersion is the main module's version: a tag, a pseudo-version, or "(devel)".
func builtVersion() string {
	if build, ok := debug.ReadBuildInfo(); ok && build.Main.Version != "" {
		return build.Main.Version
	}
	return "(devel)"
}

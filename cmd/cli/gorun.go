package cli

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// byGoRun reports whether `go run` started this process, and tells the user what that means. Whoever works on a program wants one process
// that ^C ends, a debugger can hold and no supervisor restarts; whoever has built it wants to serve.
func (a *app) byGoRun() bool {
	if !builtByGoRun(a.executable) {
		return false
	}
	name := a.program.Name
	fmt.Fprintf(a.stderr, "%[1]s: one process, since `go run` started it; build it with `go build`, and ./%[1]s serves with one child per core\n", name)
	return true
}

// The Go tool runs a program where it has linked it, $GOTMPDIR/go-buildN/bNNN/exe/NAME, and from its second run on where it has kept it,
// $GOCACHE/XX/XX…-d/NAME: a folder named by the SHA-256 of the build in one named by its first byte.
var (
	linkedFolder = regexp.MustCompile(`/go-build[0-9]+/b[0-9]+/exe$`)
	cachedFolder = regexp.MustCompile(`/([0-9a-f]{2})/([0-9a-f]{64})-d$`)
)

// builtByGoRun tells by the place of an executable whether `go run` has built it. Test binaries are linked elsewhere.
func builtByGoRun(executable string) bool {
	folder := filepath.Dir(executable)
	if linkedFolder.MatchString(folder) {
		return true
	}
	cached := cachedFolder.FindStringSubmatch(folder)
	return cached != nil && strings.HasPrefix(cached[2], cached[1])
}

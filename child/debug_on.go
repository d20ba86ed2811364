//go:build tined_debug

package child

// debugBuild switches the checks of the loop's own invariants on: go test -tags tined_debug.
const debugBuild = true

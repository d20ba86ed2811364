//go:build !linux

package tined

// The build stops here, with this sentence.
const _ int = "tined runs on Linux only"

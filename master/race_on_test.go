//go:build race

package master

// raceEnabled says that the test runs under the race detector, where everything takes ten times as long.
const raceEnabled = true

// Package rig is what the benchmark and the kill storm share: it starts servers on free
// loopback ports, pinned and configured from nothing but a temporary folder, reads what
// the kernel knows of them from /proc, and ends them and their children by process id.
//
// Linux only, loopback only. Imports the standard library and golang.org/x/sys.
package rig

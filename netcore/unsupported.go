//go:build !linux

package netcore

// The build stops here on purpose: shards, board and pollers rest on Linux (SO_REUSEPORT groups, memfd, epoll).
var _ = tined_runs_on_Linux_only

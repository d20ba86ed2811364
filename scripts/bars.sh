#!/usr/bin/env bash
# The bars, scaled to about 10 s each, for CI: prints the figures, and fails only where one
# is so bad that noise does not explain it (docs/bench.md). Run by `make bars`.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

failed=0
# A case of each kind; `make bench` has them all.
bin/bench -rounds 1 -seconds 1 -blocked -fail gross \
  -case '^(plaintext-64|pipelined-16|new-connection|idle-8000|file-1k|file-64k|sqlite-point|sqlite-write|blocked)$' || failed=1
# Another version for the upgrades.
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=0.0.0-next' -o bin/tined-next ./cmd/tined || failed=1
# Continuity: two minutes in all, on a link with a delay where that matters and the machine permits one.
bin/storm -scenario all || failed=1
# Some of the worst, in 15 s. What is left of them takes longer to go, and is not looked at.
bin/hostile -seconds 2 -calm 1s -settle 0 -fail gross \
  -attack '^(pipeline-unread|tiny-chunks|slow-reader|garbage)$' || failed=1
exit "$failed"

#!/usr/bin/env bash
# The bars at full size. Prints every figure, and fails at the end when a bar is missed.
# Takes more than half an hour, and 10 minutes more for every fuzz target: leave the machine
# alone meanwhile. Run by `make soak`.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

failed=0
step() { # step COMMAND...
  echo "soak: $*"
  "$@" || failed=1
}

step bin/bench -rounds "${ROUNDS:-15}" -seconds "${SECONDS_EACH:-3}" -fair -fail missed -json bin/bench.json
step bin/storm -kills 50
step bin/storm -kills 50 -children 4 -clients 64
step scripts/fuzz.sh "${SOAK_FUZZTIME:-10m}"
exit "$failed"

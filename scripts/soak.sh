#!/usr/bin/env bash
# The bars at full size. Prints every figure, and fails at the end when a bar is missed.
# Usage: soak.sh [bench] [storm] [hostile] [fuzz], without a part all of them. The whole
# takes hours: leave the machine alone meanwhile. Run by `make soak`.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

failed=0
step() { # step COMMAND...
  echo "soak: $*"
  "$@" || failed=1
}

parts=("$@")
if [[ ${#parts[@]} -eq 0 ]]; then
  parts=(bench storm hostile fuzz)
fi
for part in "${parts[@]}"; do
  case $part in
    bench | storm | hostile | fuzz) ;;
    *)
      echo "soak: there is no part $part, but bench, storm, hostile and fuzz" >&2
      exit 2
      ;;
  esac
done
for part in "${parts[@]}"; do
  case $part in
    bench)
      step bin/bench -rounds "${ROUNDS:-15}" -seconds "${SECONDS_EACH:-3}" -fair -blocked -fail missed -json bin/bench.json
      ;;
    storm)
      step bin/storm -kills 50
      step bin/storm -kills 50 -children 4 -clients 64
      ;;
    hostile)
      step bin/hostile -connections 300 -seconds 30 -fail missed -json bin/hostile.json
      ;;
    fuzz)
      step scripts/fuzz.sh "${SOAK_FUZZTIME:-10m}"
      ;;
  esac
done
exit "$failed"

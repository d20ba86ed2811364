#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other. Usage: fuzz.sh DURATION
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:-30s}
passed=0
failed=0
# Only packages with a file that says "func Fuzz" are listed: building the others takes long.
mapfile -t folders < <(grep -rlE --include='*_test.go' '^func Fuzz[A-Z_]' . | xargs -r -n1 dirname | sort -u)
for folder in "${folders[@]}"; do
  for target in $(go test -list '^Fuzz' "$folder" | grep '^Fuzz' || true); do
    echo "fuzz: $folder $target for $time"
    if go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$folder"; then
      passed=$((passed + 1))
    else
      failed=$((failed + 1))
    fi
  done
done
if [[ $passed -eq 0 && $failed -eq 0 ]]; then
  echo "fuzz: no fuzz target was found" >&2
  exit 1
fi
echo "fuzz targets: $passed passed, $failed failed"
[[ $failed -eq 0 ]]

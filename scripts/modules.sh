#!/usr/bin/env bash
# Fetches the Go modules. A proxy that answers slowly or not at all gets three tries, and
# an error here is not mistaken for a failing test.
set -euo pipefail

for wait in 2 5 0; do
  if go mod download; then
    exit 0
  fi
  sleep "$wait"
done
echo "modules: go mod download failed three times" >&2
exit 1

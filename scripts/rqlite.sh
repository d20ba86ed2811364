#!/usr/bin/env bash
# Builds bin/rqlited, the server of rqlite clusters, that the tests of the sqlite module run. Does nothing if it is there.
# rqlite has a module of its own (scripts/rqlite), so that its dependencies are not tined's. It needs a C compiler and takes
# some minutes the first time.
set -euo pipefail
cd "$(dirname "$0")/.."

program=$PWD/bin/rqlited
if [[ -x $program ]]; then
  exit 0
fi
mkdir -p bin
cd scripts/rqlite
../modules.sh
CGO_ENABLED=1 go build -trimpath -ldflags '-s -w' -o "$program.new" github.com/rqlite/rqlite/v8/cmd/rqlited
mv "$program.new" "$program"

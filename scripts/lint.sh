#!/usr/bin/env bash
# All linters over all code. Prints every complaint, then fails. Run by `make lint`.
#
# The functions are called through step, which shellcheck cannot see:
# shellcheck disable=SC2317
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

failed=0
step() { # step NAME COMMAND...
  local name=$1
  shift
  if "$@"; then
    echo "lint: $name: ok"
  else
    echo "lint: $name: FAILED" >&2
    failed=1
  fi
}

formatted() {
  local files
  files=$(gofmt -l .) || return 1
  if [[ -n $files ]]; then
    printf 'not formatted (gofmt -w cures it):\n%s\n' "$files" >&2
    return 1
  fi
}

# staticcheck has a module of its own, so that its dependencies are not tined's.
tools() {
  (cd scripts/tools && go build -o ../../bin/staticcheck honnef.co/go/tools/cmd/staticcheck)
}

shells() {
  local files
  mapfile -t files < <({
    git ls-files -co --exclude-standard -- '*.sh' .ci/run
    git ls-files -co --exclude-standard -- packaging | while read -r f; do
      head -c 64 "$f" 2>/dev/null | head -n 1 | tr -d '\0' | grep -qE '^#!.*/(env )?(ba|da)?sh' && echo "$f"
    done
  } | sort -u)
  shellcheck "${files[@]}"
}

# packaging makes the packages with a module of its own too, for the same reason.
packaging() {
  (cd packaging/tools && "$@" ./...)
}

step gofmt formatted
step vet go vet ./...
step "vet -tags tined_debug" go vet -tags tined_debug ./...
step "build staticcheck" tools
step staticcheck bin/staticcheck ./...
step "staticcheck -tags tined_debug" bin/staticcheck -tags tined_debug ./...
step "vet packaging/tools" packaging go vet
step "staticcheck packaging/tools" packaging "$PWD/bin/staticcheck"
step shellcheck shells
exit "$failed"

#!/usr/bin/env bash
# Builds the packages twice, in two copies of the tree, at different times, with another umask, time zone, language and
# environment, and fails if a byte differs.
#
#   packaging/reproduce.sh VERSION
set -euo pipefail
cd "$(dirname "$0")/.."

version=${1:?write: packaging/reproduce.sh VERSION}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# copy makes a tree of its own of what git knows and does not ignore, with the repository where there is one.
copy() {
  mkdir -p "$1"
  if [[ -e .git ]]; then
    git ls-files -z -co --exclude-standard | while IFS= read -r -d '' f; do [[ ! -e $f ]] || printf '%s\0' "$f"; done |
      tar -c --null -T - | tar -x -C "$1"
    cp -r .git "$1/.git"
  else
    tar -c --exclude ./bin --exclude ./dist . | tar -x -C "$1"
  fi
}

build() { # build TREE OUT VARIABLE=VALUE...
  local tree=$1 out=$2 arch kind
  shift 2
  for arch in amd64 arm64; do
    for kind in deb rpm; do
      env "$@" OUT="$out" "$tree/packaging/build.sh" "$kind" "$version" "$arch" >/dev/null
    done
  done
}

copy "$work/one"
copy "$work/another place"
(umask 022 && build "$work/one" "$work/first" TZ=UTC LC_ALL=C)
# A clock in the packages would show now: times in archives are in seconds.
started=$(date +%s)
while [[ $(date +%s) -eq $started ]]; do sleep 0.05; done
find "$work/another place" -type f -not -path '*/.git/*' -not -name CHANGELOG.md -exec touch {} +
(
  umask 077
  build "$work/another place" "$work/second" TZ=Asia/Kathmandu LC_ALL=C.UTF-8 HOSTNAME=elsewhere USER=somebody GOAMD64=v3 CGO_ENABLED=1
)

(cd "$work/first" && sha256sum -- *) >"$work/first.sums"
(cd "$work/second" && sha256sum -- *) >"$work/second.sums"
if ! diff "$work/first.sums" "$work/second.sums" >&2; then
  echo "reproduce: two builds of $version differ: compare them with diffoscope" >&2
  exit 1
fi
echo "reproduce: $(wc -l <"$work/first.sums") packages, each twice the same"

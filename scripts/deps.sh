#!/usr/bin/env bash
# Installs what the tests, the linters and the benchmark need, when it is not there.
# Run by `make deps`. Idempotent, and quick when nothing is missing.
set -euo pipefail

# Servers live in /usr/sbin, which is not in everybody's PATH.
PATH=$PATH:/usr/sbin:/sbin

# command=package
needs=(
  gcc=gcc               # go test -race
  git=git               # the version
  nginx=nginx           # the benchmark's opponent
  wrk=wrk               # the benchmark's load
  taskset=util-linux    # the benchmark's pinning
  shellcheck=shellcheck # lint
  mmdebstrap=mmdebstrap # test-packages: a Debian
  buildah=buildah       # and the container image
  jq=jq
  curl=curl
  ip=iproute2
  xz=xz-utils
  sqlite3=sqlite3       # the program that writes to a database beside the server
)

missing=()
for need in "${needs[@]}"; do
  command -v "${need%%=*}" >/dev/null || missing+=("${need##*=}")
done
if [[ ${#missing[@]} -eq 0 ]]; then
  exit 0
fi

if ! command -v apt-get >/dev/null; then
  echo "deps: missing: ${missing[*]}. There is no apt-get here: install them by hand." >&2
  exit 1
fi
as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! sudo -n true 2>/dev/null; then
    echo "deps: missing: ${missing[*]}. Run as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo -n)
fi

# Debian starts a server when it installs one. Nobody asked for an nginx on port 80.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi

echo "deps: installing ${missing[*]}"
log=$(mktemp)
install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}" </dev/null >"$log" 2>&1
}
update() {
  "${as_root[@]}" apt-get update </dev/null >"$log" 2>&1
}
# The package lists of a machine are often absent or old: fetch them only then.
if ! install && ! { update && install; }; then
  cat "$log" >&2
  rm -f "$log"
  echo "deps: could not install: ${missing[*]}" >&2
  exit 1
fi
rm -f "$log"

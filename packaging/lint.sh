#!/usr/bin/env bash
# Holds the packages against the policies of Debian (lintian) and of rpm's distributions (rpmlint), reads the manual as
# mandoc does, and builds twice (packaging/reproduce.sh). Prints every complaint, then fails. Run by `make lint-packages`.
#
#   packaging/lint.sh VERSION
#
# A tool that is not installed fails it too: nothing was looked at.
#
# The functions are called through step, which shellcheck cannot see:
# shellcheck disable=SC2317
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

version=${1:?write: packaging/lint.sh VERSION}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

failed=0
step() { # step NAME COMMAND...
  local name=$1
  shift
  if "$@"; then
    echo "packages: $name: ok"
  else
    echo "packages: $name: FAILED" >&2
    failed=1
  fi
}

# has TOOL PACKAGE says what to install when TOOL is missing.
has() {
  command -v "$1" >/dev/null && return 0
  echo "$1 is missing: apt-get install $2" >&2
  return 1
}

# lowly runs a command without root's rights: a linter unpacks what it was given.
lowly() {
  if [[ $(id -u) -eq 0 ]]; then
    setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$work/home" "$@"
  else
    "$@"
  fi
}

build() {
  local arch
  for arch in amd64 arm64; do
    OUT=$work packaging/build.sh deb "$version" "$arch" >/dev/null && OUT=$work packaging/build.sh rpm "$version" "$arch" >/dev/null || return 1
  done
  chmod 644 "$work"/*.deb "$work"/*.rpm
}

# Tags of every severity are printed; those without an override fail.
debian() {
  local package found=0
  has lintian lintian || return 1
  for package in "$work"/*.deb; do
    lowly lintian --pedantic --display-info --fail-on error,warning,info,pedantic "$package" || found=1
  done
  return "$found"
}

rpms() {
  local output
  has rpmlint rpmlint && has cpio cpio || return 1
  # The names in the archive of an rpm begin with a slash. It is to be unpacked into a folder, not over this machine.
  mkdir -p "$work/bin"
  printf '#!/bin/sh\nexec %s --no-absolute-filenames "$@"\n' "$(command -v cpio)" >"$work/bin/cpio"
  chmod 755 "$work/bin/cpio"
  output=$(lowly env PATH="$work/bin:$PATH" TMPDIR="$work/tmp" rpmlint --config "$work/rpmlint.toml" "$work"/*.rpm 2>&1)
  if ! grep -q ' 0 errors, 0 warnings' <<<"$output"; then
    echo "$output" >&2
    return 1
  fi
}

# What groff and mandoc have to say about the pages.
manual() {
  local page complaints
  has dpkg-deb dpkg && has man man-db || return 1
  dpkg-deb -x "$work/tined_${version#v}_amd64.deb" "$work/root" || return 1
  complaints=$(
    for page in "$work"/root/usr/share/man/man*/*.gz; do
      MANWIDTH=80 man --warnings -l "$page" 2>&1 >/dev/null | sed "s|^|${page##*/}: |"
      if command -v mandoc >/dev/null; then
        zcat "$page" | mandoc -Tlint -Wstyle 2>&1 | sed "s|^|${page##*/}: |"
      fi
    done
  )
  [[ -z $complaints ]] || {
    echo "$complaints" >&2
    return 1
  }
}

mkdir -m 1777 "$work/tmp" "$work/home"
install -m 644 packaging/rpm/rpmlint.toml "$work/rpmlint.toml"
step build build
step lintian debian
step rpmlint rpms
step manual manual
step reproduce packaging/reproduce.sh "$version"
exit "$failed"

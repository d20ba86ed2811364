#!/usr/bin/env bash
# Installs, upgrades, breaks and removes the packages on a machine of its own: a Debian in a temporary folder, whose systemd runs in
# namespaces. Run by `make test-packages`.
#
#   packaging/test/run.sh [PART…]
#
# Without a part all of them, in this order: deb-first deb-upgrade deb-sick deb-refused deb-service deb-choices deb-night deb-remove rpm.
# A part brings the machine to where it begins by itself. Every check is a line that begins with ok or FAIL; what was printed meanwhile
# follows a FAIL, and all of it is kept with KEEP=1. The status is 1 when something has failed. Where no machine can be booted it is 0, and the only
# line says why.
#
# For those who work on the packages: PACKAGES=FOLDER keeps what is built and takes what is there, ROOT_TAR=FILE the same for the Debian.
# Both together make a part a matter of seconds. `-v` prints everything as it comes.
set -Eeuo pipefail
cd "$(dirname "$0")/../.."

all=(deb-first deb-upgrade deb-sick deb-refused deb-service deb-choices deb-night deb-remove rpm)
verbose=
if [[ ${1:-} == -v ]]; then
  verbose=1
  shift
fi
parts=("$@")
if [[ ${#parts[@]} -eq 0 ]]; then
  parts=("${all[@]}")
fi
for part in "${parts[@]}"; do
  if [[ " ${all[*]} " != *" $part "* ]]; then
    echo "packaging/test/run.sh: there is no part $part, but ${all[*]}" >&2
    exit 2
  fi
done

machine_name=tined-test-$$
temporary=${TMPDIR:-/var/tmp}
work=$(mktemp -d "$temporary/tined-test-$$.XXXXXX")
root=$work/root
log=$work/log
packages=${PACKAGES:-$work/packages}
mkdir -p "$work/bin" "$log" "$packages"
packages=$(realpath "$packages")
arch=$(go env GOARCH)

# shellcheck source=packaging/test/machine.sh
. packaging/test/machine.sh
# shellcheck source=packaging/test/verdict.sh
. packaging/test/verdict.sh
# shellcheck source=packaging/test/service.sh
. packaging/test/service.sh
# shellcheck source=packaging/test/deb.sh
. packaging/test/deb.sh
# shellcheck source=packaging/test/rpm.sh
. packaging/test/rpm.sh

# shellcheck disable=SC2317 # trap calls it
cleanup() {
  local status=$?
  trap '' INT TERM HUP
  set +e
  load_abandon
  machine_end
  jobs -p | while read -r pid; do kill "$pid" 2>/dev/null; done
  wait
  if [[ -n ${KEEP:-} && -d $log ]]; then
    mv "$log" "$temporary/test-packages-$$"
    echo "kept: $temporary/test-packages-$$"
  fi
  rm -rf --one-file-system "$work"
  exit "$status"
}
trap cleanup EXIT
# Checks do not come here: this is a command of the test itself that has failed.
trap 'echo "FAIL stopped at ${BASH_SOURCE[0]}, line $LINENO: $BASH_COMMAND"' ERR
trap 'exit 130' INT
trap 'exit 143' TERM HUP

why=$(machine_why_not)
if [[ -n $why ]]; then
  echo "test-packages: skipped, for this machine cannot boot another one: $why"
  exit 0
fi

machine_sweep_others "$temporary"

# Versions: the one that is there first, the next, and one that is sick in the way that a file says.
v1=1.0.0 v2=1.1.0 v3=1.2.0

build() { # build FORMAT VERSION
  local path=
  case $1 in
    deb) path=$packages/tined_$2_$arch.deb ;;
    rpm) path=$(rpm_path "$2") ;;
  esac
  [[ ! -e $path ]] || return 0
  if [[ $2 == "$v3" ]]; then
    FAST=1 BINARY=$work/bin/sick OUT=$packages packaging/build.sh "$1" "$2" "$arch"
  else
    FAST=1 OUT=$packages packaging/build.sh "$1" "$2" "$arch"
  fi
}

build_all() {
  local version format
  CGO_ENABLED=0 go build -o "$work/bin/storm" ./scripts/storm || return
  CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.name=tined -X main.version=$v3 -X main.told=$sickness" \
    -o "$work/bin/sick" ./scripts/storm/unruly || return
  for format in deb rpm; do
    [[ " ${parts[*]}" == *" $format"* ]] || continue
    for version in "$v1" "$v2" "$v3"; do
      build "$format" "$version" || return
    done
  done
}

begin=$(milliseconds)
build_all >"$log/build" 2>&1 &
builder=$!
if ! machine_make "$root" >"$log/make" 2>&1; then
  fail "a Debian to boot" "$log/make"
  exit 1
fi
made=$(since "$begin")
if ! wait "$builder"; then
  fail "packages" "$log/build"
  exit 1
fi
furnish
echo "== packages and a Debian ($made s of it) after $(since "$begin") s"
machine_boot "$root"

for part in "${parts[@]}"; do
  part_begin=$(milliseconds)
  echo "== $part"
  "part_${part//-/_}"
  echo "   $(since "$part_begin") s"
done
echo "== $passed checks ok, $failed FAILED, $(since "$begin") s in all"
exit $((failed > 0))

#!/usr/bin/env bash
# Builds a package of tined, and prints its path.
#
#   packaging/build.sh deb|rpm VERSION [amd64|arm64]
#
# VERSION is a semantic version, as `make` finds it. What is built goes to OUT (dist). BINARY is an executable to pack
# in place of one that is built here. SOURCE_DATE_EPOCH is the date of all files, in seconds since 1970; without it,
# that of the commit. The same inputs give the same bytes, wherever and whenever they are built. FAST=1 is for tests: it
# packs quickly, and large.
set -euo pipefail
export LC_ALL=C TZ=UTC GOTOOLCHAIN=local
umask 022

fail() {
  echo "packaging/build.sh: $*" >&2
  exit 1
}

usage="write: packaging/build.sh deb|rpm VERSION [amd64|arm64]"
if [[ $# -lt 2 || $# -gt 3 ]]; then
  echo "$usage" >&2
  exit 2
fi
format=$1 version=${2#v} arch=${3:-$(go env GOARCH)}
out=$(realpath -m "${OUT:-$(dirname "$0")/../dist}")
binary=${BINARY:+$(realpath -m "$BINARY")}
cd "$(dirname "$0")/.."
source=$PWD

case $arch in
amd64) machine=x86_64 ;;
arm64) machine=aarch64 ;;
*) fail "ARCH=$arch is not supported: packages are built for amd64 and arm64" ;;
esac
case $format in
deb) package=$out/tined_${version}_$arch.deb ;;
rpm) package=$out/tined-$version-1.$machine.rpm ;;
*) fail "there are no packages of the kind $format; $usage" ;;
esac
[[ -z $binary || -f $binary ]] || fail "BINARY=$BINARY is no file: name an executable, or leave BINARY out to build one"
mkdir -p "$out" || fail "OUT=$out cannot be made; its reason is above"
# A work tree whose state git cannot tell is not one without a state: the binary must know its commit.
repository=
if [[ -e .git ]]; then
  repository=$(git rev-parse --show-toplevel) || fail "git does not tell the commit; its reason is above"
fi

# tool runs a program of packaging/tools, built for this machine whatever the package is for.
tool() {
  local name=$1 path
  shift
  path=$(env -u GOOS -u GOARCH go -C "$source/packaging/tools" tool -n "$name")
  "$path" "$@"
}
package_version=$(tool accompany version "$version")

if [[ -z ${SOURCE_DATE_EPOCH:-} ]]; then
  if [[ -n $repository ]]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
  else
    SOURCE_DATE_EPOCH=$(stat -c %Y CHANGELOG.md) # archives of a commit carry its date
  fi
elif [[ ! $SOURCE_DATE_EPOCH =~ ^[0-9]+$ ]]; then
  fail "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH is no number of seconds since 1970; unset it, or write for example SOURCE_DATE_EPOCH=\$(date +%s)"
fi
export SOURCE_DATE_EPOCH

stage=$(mktemp -d)
unfinished=$out/.$$.${package##*/}
trap 'rm -rf "$stage" "$unfinished"' EXIT

# program puts the executable into the stage.
program() {
  if [[ -n $binary ]]; then
    cp "$binary" "$stage/tined"
    return
  fi
  # The least that the architecture has, so that it runs on every machine of its kind.
  env CGO_ENABLED=0 GOOS=linux GOARCH="$arch" GOAMD64=v1 GOARM64=v8.0 \
    go build -trimpath -buildvcs="$([[ -n $repository ]] && echo true || echo false)" \
    -ldflags "-s -w -X main.version=$version" -o "$stage/tined" ./cmd/tined
}

# alone prints a maintainer script that needs no other file: a line that ends in "# include" becomes the text of the
# file that it names, without the comment at its top.
alone() {
  awk -v folder="$(dirname "$1")" '
    /^# shellcheck source=/ { next }
    / # include$/ {
      file = $0
      sub(/.*dirname "\$0"\)\//, "", file)
      sub(/" # include$/, "", file)
      file = folder "/" file
      head = 1
      while ((got = (getline line < file)) > 0) {
        if (head && line ~ /^#/) continue
        if (head && line == "") { head = 0; continue }
        head = 0
        print line
      }
      if (got < 0) { print "cannot include " file > "/dev/stderr"; exit 1 }
      close(file)
      next
    }
    { print }' "$1"
}

# contents prints nfpm.yaml, with what nfpm cannot say by itself.
contents() {
  local line file licence compression=xz
  if [[ -n ${FAST:-} ]]; then
    [[ $format == deb ]] && compression=none || compression=gzip:1
  fi
  licence=$(<"$stage/licence")
  while IFS= read -r line; do
    # It knows no patterns for documentation: a line for each file.
    if [[ $line =~ ^(.*src: )\"(.*\*.*)\"(, dst: [^,]*)(, type: doc.*)$ ]]; then
      for file in "$stage"/${BASH_REMATCH[2]}; do
        echo "${BASH_REMATCH[1]}${file#"$stage/"}${BASH_REMATCH[3]}/${file##*/}${BASH_REMATCH[4]}"
      done
    else
      line=${line//\$\{LICENCE\}/$licence} # it does not replace these itself
      printf '%s\n' "${line//\$\{COMPRESSION\}/$compression}"
    fi
  done <packaging/nfpm.yaml
  if [[ $format == rpm ]]; then
    # It would give a deb's changelog the name of one that Debian has added to.
    echo "changelog: changelog.yaml"
  fi
}

# fill_stage makes the stage hold all that the packages do. Both kinds are made from the same.
fill_stage() {
  local script
  program
  mkdir -p "$stage"/scripts/{deb,rpm}
  cp -r packaging/{systemd,welcome,tined.hcl,logrotate.conf,needrestart.conf} LICENSE "$stage/"
  cp configs/dist/tined.hcl "$stage/example.hcl"
  cp packaging/deb/lintian-overrides "$stage/"
  for script in packaging/{deb/{preinst,postinst,prerm,postrm},rpm/{pre,post,preun,postun,posttrans}.sh}; do
    alone "$script" >"$stage/scripts/${script#packaging/}"
  done
  tool accompany write -binary "${binary:-$stage/tined}" -arch "$arch" -version "$version" -source . -date "$SOURCE_DATE_EPOCH" \
    -modules "$(go env GOMODCACHE)" -goroot "$(go env GOROOT)" \
    -packager "$(sed -n 's/^maintainer: //p' packaging/nfpm.yaml)" -out "$stage"
  contents >"$stage/nfpm.yaml"
  find "$stage" -type d -exec chmod 755 {} +
  find "$stage" -type f -exec chmod 644 {} +
  chmod 755 "$stage/tined"
  find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

fill_stage
if ! (cd "$stage" && PACKAGE_VERSION=$package_version ARCH=$arch tool nfpm package -f nfpm.yaml -p "$format" -t "$unfinished") >"$stage/nfpm.log" 2>&1; then
  cat "$stage/nfpm.log" >&2
  fail "nfpm has made no package; its reason is above"
fi
# A package appears whole or not at all.
mv "$unfinished" "$package"
echo "$package"

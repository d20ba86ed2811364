#!/usr/bin/env bash
# release.sh KEY builds what is published of a version, in dist/VERSION, and signs it.
# The version is that of the tag vX.Y.Z that is checked out. KEY is the name, address or
# fingerprint of a secret key that gpg has.
#
# The order: everything that could refuse the release is asked before anything is built;
# it is built in a clone of the tag, so that no file of the work tree gets in; it is
# signed; it is verified as those do it who download it; then it appears in dist/, whole.
#
# Two builds of a tag are equal, byte for byte, but for signatures. Where they are:
#   - SHA256SUMS.asc signs SHA256SUMS, which has the digest of every file.
#   - The rpms hold a signature each, since yum and dnf check every package by itself
#     (gpgcheck=1), also in a mirror that has no SHA256SUMS. SHA256SUMS.unsigned has the
#     digests that they had before: what those compare who build the tag again.
#   - The debs hold none: apt checks the signature of its repository, and no other.
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022

key=${1:-}
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"

fail() {
  echo "release: $*" >&2
  exit 1
}

# May it be released?

for need in git:git go:golang buildah:buildah jq:jq ar:binutils xz:xz-utils; do
  command -v "${need%:*}" >/dev/null || fail "${need%:*} is not installed: apt install ${need#*:}"
done
if [ -n "${UNSIGNED:-}" ]; then
  [ -z "$key" ] || fail "KEY and UNSIGNED contradict each other: leave one out"
elif [ -z "$key" ]; then
  fail "a release is signed: make release KEY=you@example.org (gpg --list-secret-keys shows your keys). To try without: make release UNSIGNED=1"
else
  for need in gpg:gnupg rpmsign:rpm rpmkeys:rpm; do
    command -v "${need%:*}" >/dev/null || fail "${need%:*} is not installed, and the packages cannot be signed: apt install ${need#*:}"
  done
fi

state=$(git status --porcelain) || fail "the version comes from a tag of git, and this is not its work tree: clone the repository"
[ -z "$state" ] || fail "the work tree has changes: commit, stash or remove them, so that what is released is what the tag says"$'\n'"$state"

semver='^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$'
mapfile -t tags < <(git tag --points-at HEAD | grep -E "$semver" || true)
[ ${#tags[@]} -gt 0 ] || fail "no tag vX.Y.Z is checked out: git checkout v1.2.0, or make one: git tag -a v1.2.0 -m 'tined 1.2.0'"
[ ${#tags[@]} -eq 1 ] || [ -n "${TAG:-}" ] || fail "this commit has the tags ${tags[*]}: name one, as in make release TAG=${tags[0]}"
tag=${TAG:-${tags[0]}}
[[ " ${tags[*]} " == *" $tag "* ]] || fail "TAG=$tag is not checked out: git checkout $tag (here is ${tags[*]})"
version=${tag#v}

# The section of the version, without its heading.
heading=$(awk -v version="$version" '$1 == "##" && $2 == version' CHANGELOG.md)
[ -n "$heading" ] || fail "CHANGELOG.md has no section \"## $version ($(date +%F))\": write it, commit, and make the tag anew"
[[ $heading =~ \ \([0-9]{4}-[0-9]{2}-[0-9]{2}\)$ ]] ||
  fail "CHANGELOG.md says \"$heading\": write \"## $version ($(date +%F))\", commit, and make the tag anew"
changes=$(awk -v version="$version" '$1 == "##" { found = $2 == version; next } found' CHANGELOG.md)
[ -n "${changes//[[:space:]]/}" ] || fail "the section of $version in CHANGELOG.md is empty: say what an operator notices"

out=$here/dist/$version
[ ! -e "$out" ] || fail "$out is there already: remove it to release $version anew"

fingerprint=
if [ -n "$key" ]; then
  mapfile -t keys < <(gpg --batch --with-colons --list-secret-keys -- "$key" 2>/dev/null |
    awk -F: '$1 == "sec" { primary = $2 !~ /[er]/ } $1 == "fpr" && primary { print $10; primary = 0 }')
  case ${#keys[@]} in
  0) fail "gpg has no secret key of \"$key\" that is valid: gpg --list-secret-keys shows those that it has" ;;
  1) fingerprint=${keys[0]} ;;
  *) fail "\"$key\" fits several secret keys, name one by its fingerprint: ${keys[*]}" ;;
  esac
  # Asks for the passphrase now, and not after everything has been built.
  complaint=$(gpg --yes --local-user "$fingerprint" --detach-sign --output /dev/null </dev/null 2>&1) ||
    fail "the key $fingerprint cannot sign: $complaint"
fi

# Build.

mkdir -p dist
scratch=$(mktemp -d dist/.release.XXXXXX)
scratch=$(realpath "$scratch")
cleanup() {
  chmod -R u+w "$scratch"
  rm -rf "$scratch"
}
trap cleanup EXIT
new=$scratch/$version source=$scratch/source
mkdir "$new"
git -c advice.detachedHead=false clone --quiet --branch "$tag" "$here" "$source"
[ "$(git -C "$source" rev-parse HEAD)" = "$(git rev-parse HEAD)" ] || fail "the tag $tag has moved: start anew"
SOURCE_DATE_EPOCH=$(git -C "$source" log -1 --format=%ct)
export SOURCE_DATE_EPOCH
# Variables that would put something else into the packages.
unset BINARY PACKAGE OUT FAST GOFLAGS GOEXPERIMENT

for arch in amd64 arm64; do
  echo "release: packages for $arch"
  deb=$(OUT=$new "$source/packaging/build.sh" deb "$version" "$arch" | tail -n 1)
  unpacked=$scratch/$arch
  mkdir "$unpacked"
  ar p "$deb" data.tar.xz | tar -xJ --no-same-owner -C "$unpacked"
  BINARY=$unpacked/usr/bin/tined OUT=$new "$source/packaging/build.sh" rpm "$version" "$arch" >/dev/null

  echo "release: container image for $arch"
  PACKAGE=$deb OUT=$new "$source/packaging/container/build.sh" "$version" "$arch" >/dev/null

  # The executable, with what belongs to it, for systems that have no package.
  folder=tined-$version-linux-$arch
  mkdir -p "$scratch/$folder"/{man,completions}
  docs=$unpacked/usr/share/doc/tined
  install -m 0755 "$unpacked/usr/bin/tined" "$scratch/$folder/tined"
  install -m 0644 "$source"/{LICENSE,README.md,CHANGELOG.md} "$docs/third-party.txt" "$docs/tined.cdx.json" "$scratch/$folder/"
  cp -r "$unpacked/usr/share/man"/* "$scratch/$folder/man/"
  find "$scratch/$folder/man" -name '*.gz' -exec gunzip {} +
  cp "$unpacked/usr/share/bash-completion/completions/tined" "$scratch/$folder/completions/tined.bash"
  cp "$unpacked/usr/share/zsh/vendor-completions/_tined" "$scratch/$folder/completions/"
  cp "$unpacked/usr/share/fish/vendor_completions.d/tined.fish" "$scratch/$folder/completions/"
  # Where README.md has its links to.
  cp -r "$source/docs" "$scratch/$folder/"
  mkdir "$scratch/$folder/configs"
  cp -r "$source/configs/dist" "$scratch/$folder/configs/"
  chmod -R u=rwX,go=rX "$scratch/$folder"
  tar --format=ustar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -C "$scratch" -c "$folder" |
    gzip -n -9 >"$new/$folder.tar.gz"
  install -m 0644 "$docs/tined.cdx.json" "$new/tined_${version}_$arch.cdx.json"
done
(cd "$new" && sha256sum -- * >"$scratch/sums" && mv "$scratch/sums" SHA256SUMS.unsigned)

# Sign.

if [ -n "$fingerprint" ]; then
  gpg --batch --armor --export "$fingerprint" >"$new/signing-key.asc"
  rpmsign --define "__gpg $(command -v gpg)" --define "_gpg_name $fingerprint" --addsign "$new"/*.rpm >"$scratch/rpmsign" 2>&1 ||
    fail "the rpms cannot be signed:"$'\n'"$(cat "$scratch/rpmsign")"
fi

notes() {
  cat <<NOTES
# tined $version

$(sed -e '/./,$!d' <<<"$changes")

## Install

Debian, Ubuntu:

    apt install ./tined_${version}_amd64.deb

Fedora, RHEL and their kin:

${fingerprint:+    rpm --import signing-key.asc
}    dnf install ./tined-$version-1.x86_64.rpm

As a container:

    docker load -i tined_${version}_amd64.docker.tar      # or podman load
    docker run -d -p 80:8080 --stop-timeout 15 localhost/tined:$version

The executable alone is in \`tined-$version-linux-amd64.tar.gz\`. Each is there for arm64 too (the rpm is called aarch64).
Where tined runs already, installing the package brings the running server to this version without a lost connection.

## Verify

NOTES
  if [ -n "$fingerprint" ]; then
    cat <<NOTES
The key is $fingerprint.

    gpg --import signing-key.asc
    gpg --verify SHA256SUMS.asc SHA256SUMS
    sha256sum --check --ignore-missing SHA256SUMS
    rpmkeys --checksig tined-$version-1.x86_64.rpm
NOTES
  else
    cat <<NOTES
This build is not signed: it is a trial, and not for publication.

    sha256sum --check --ignore-missing SHA256SUMS
NOTES
  fi
  cat <<NOTES

What is in it: \`tined_${version}_amd64.cdx.json\` (CycloneDX). To build the same bytes from the source, with
$(go version | awk '{ print $3 }') and $(command buildah --version | awk '{ print $1, $3 }'):

    git checkout $tag && make release UNSIGNED=1
    diff dist/$version/SHA256SUMS.unsigned SHA256SUMS.unsigned
NOTES
  if [ -n "$fingerprint" ]; then
    cat <<NOTES

There the rpms are without their signatures, as \`rpmsign --delsign\` makes them.
NOTES
  fi
}
notes >"$new/RELEASE_NOTES.md"
(cd "$new" && sha256sum -- * >"$scratch/sums" && mv "$scratch/sums" SHA256SUMS)
[ -z "$fingerprint" ] || gpg --local-user "$fingerprint" --armor --detach-sign --output "$new/SHA256SUMS.asc" "$new/SHA256SUMS"

# Verify, with nothing but what is published.

echo "release: verifying"
cd "$new"
sha256sum --check --quiet --strict SHA256SUMS || fail "SHA256SUMS does not fit the files"
if [ -n "$fingerprint" ]; then
  # A key ring that has the published key alone. The agent's socket has to have a short path.
  ring=$(mktemp -d)
  status=$(gpg --homedir "$ring" --batch --quiet --no-autostart --import signing-key.asc 2>&1 &&
    gpg --homedir "$ring" --batch --no-autostart --status-fd 1 --verify SHA256SUMS.asc SHA256SUMS 2>/dev/null) || status="refused: $status"
  rm -rf "$ring"
  grep -Eq "^\[GNUPG:\] VALIDSIG .* $fingerprint\$" <<<"$status" || fail "the signature of SHA256SUMS is not good:"$'\n'"$status"
  rpmkeys --dbpath "$scratch/rpmdb" --import signing-key.asc || fail "rpm cannot take the public key $fingerprint: choose one of a kind that it knows (RSA)"
  for package in *.rpm; do
    # Without a known key it would be content with digests alone.
    checked=$(rpmkeys --dbpath "$scratch/rpmdb" --checksig --verbose "$package" 2>&1) || checked="refused: $checked"
    if [[ $checked == refused:* ]] || ! grep -Eq 'Signature.*: OK$' <<<"$checked"; then
      fail "the signature of $package is not good:"$'\n'"$checked"
    fi
  done
  # Without their signatures the rpms are what others build.
  mkdir "$scratch/unsigned"
  cp -- *.rpm "$scratch/unsigned/"
  (cd "$scratch/unsigned" && rpmsign --delsign -- *.rpm >/dev/null && grep '\.rpm$' "$new/SHA256SUMS.unsigned" | sha256sum --check --quiet --strict -) ||
    fail "an rpm without its signature is not what was built"
fi
# The version that all of it says of itself, where the machine can run it.
mkdir "$scratch/trial"
tar -xzf "tined-$version-linux-$(go env GOARCH).tar.gz" -C "$scratch/trial"
says=$("$scratch/trial/tined-$version-linux-$(go env GOARCH)/tined" version --json | jq -r .version)
[ "$says" = "$version" ] || fail "the executable says that it is version $says, and not $version"

cd "$here"
mv "$new" "$out"
ls -l "$out"
echo "release: $out is complete${fingerprint:+, signed by $fingerprint}${UNSIGNED:+, and not signed}"

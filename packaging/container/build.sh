#!/usr/bin/env bash
# build.sh VERSION ARCH builds the container image tined:VERSION (one for another kind of
# machine: tined:VERSION-ARCH) in buildah's local storage, and two archives of it in OUT
# (dist/):
#
#   tined_VERSION_ARCH.docker.tar  for `docker load` and `podman load`
#   tined_VERSION_ARCH.oci.tar     an OCI image layout, for registries and other tools
#
# There are two because of the health check. It is a part of docker's image format; the
# OCI's only reserves its name, buildah leaves it out there, and podman does not look for
# it. So the image in the local storage and the first archive are in docker's format. In
# the second one the health check is put where the OCI's format has reserved the place:
# docker reads it there, and who does not know it passes over it. Both have the same layer.
#
# What is in the image comes out of the deb package: PACKAGE=FILE, or one that is built
# here (BINARY=PATH: with that executable). SOURCE_DATE_EPOCH is the image's time: as
# given, else the commit's. The same inputs give the same bytes. Prints the archives' paths.
set -euo pipefail

if [ $# -ne 2 ]; then
  echo "write: packaging/container/build.sh VERSION amd64|arm64" >&2
  exit 2
fi
version=${1#v} arch=$2

fail() {
  echo "container: $*" >&2
  exit 1
}

identify() { # identify FILE prints its digest and its size
  echo "sha256:$(sha256sum <"$1" | cut -d ' ' -f 1) $(stat -c %s "$1")"
}

# Its warnings are known here: no ranges in /etc/subuid, no health check in OCI's format.
buildah() {
  command buildah --log-level error "$@"
}

# The directory that the caller stands in is not ours; PACKAGE and OUT are relative to it.
out=$(realpath -m "${OUT:-$(dirname "$0")/../../dist}")
package=${PACKAGE:+$(realpath -m "$PACKAGE")}
[ -z "${BINARY:-}" ] || BINARY=$(realpath -m "$BINARY")
cd "$(dirname "$0")/../.."

case $arch in
amd64) variant= ;;
arm64) variant=v8 ;;
*) fail "no image for \"$arch\": ARCH is amd64 or arm64" ;;
esac
# A + begins the build's metadata in a version, and cannot be in an image's tag.
tag=${version//+/-}
[[ $tag =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] || fail "\"$version\" cannot be an image's tag: VERSION is one like 1.2.0"
# The same name for docker, podman and buildah, which nobody looks for in a registry.
name=localhost/tined:$tag

for need in buildah:buildah jq:jq ar:binutils xz:xz-utils; do
  type -P "${need%:*}" >/dev/null || fail "${need%:*} is not installed: apt install ${need#*:}"
done

epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null)} ||
  fail "there is neither SOURCE_DATE_EPOCH nor a commit to take the image's time from: set SOURCE_DATE_EPOCH"
export SOURCE_DATE_EPOCH=$epoch
# buildah writes times in the zone that it is in.
export TZ=UTC

scratch=$(mktemp -d)
container=
cleanup() {
  [ -z "$container" ] || buildah rm "$container" >/dev/null
  # Files of the package may be of a mode that keeps their owner from removing them.
  chmod -R u+w "$scratch"
  rm -rf "$scratch"
}
trap cleanup EXIT

# Not every machine can do the overlay that buildah would like best; copies can be done
# everywhere. A user without ranges in /etc/subuid has one id alone, which is enough for
# this image, whose files all belong to root.
if ! buildah info >"$scratch/info" 2>"$scratch/complaint"; then
  STORAGE_DRIVER=vfs buildah info >"$scratch/info" 2>/dev/null || fail "buildah cannot work here: $(cat "$scratch/complaint")"
  export STORAGE_DRIVER=vfs
fi

if [ -z "$package" ]; then
  package=$(OUT=$scratch/package packaging/build.sh deb "$version" "$arch" | tail -n 1)
fi
mkdir "$scratch/package.root"
ar p "$package" data.tar.xz | tar -xJ --no-same-owner -C "$scratch/package.root" ||
  fail "$package cannot be unpacked: PACKAGE is a deb of tined"
made_for=$(ar p "$package" control.tar.gz | tar -xzO ./control | awk '$1 == "Architecture:" { print $2 }')
[ "$made_for" = "$arch" ] || fail "$package is for $made_for, and the image for $arch: name the one for $arch, or none"

# The root file system: what a container needs of the package, and what an operating
# system would be there for. Modes are said, for umask has a word in all that is copied.
root=$scratch/root
install -d -m 0755 "$root"/{,usr,usr/bin,usr/share,usr/share/doc,etc,etc/tined,etc/tined/conf.d,run,var,var/lib}
install -m 0755 "$scratch/package.root/usr/bin/tined" "$root/usr/bin/tined"
for tree in usr/share/tined usr/share/doc/tined; do
  cp -r "$scratch/package.root/$tree" "$root/$tree"
done
chmod -R u=rwX,go=rX "$root/usr/share"
install -m 0644 packaging/container/{passwd,group} "$root/etc/"
install -m 0644 packaging/container/tined.hcl "$root/etc/tined/tined.hcl"
# The server has these as its user, or as whatever user a cluster gives it: one that is
# not known here, in a group of its own. There is no other in the container to keep out.
install -d -m 1777 "$root"/{run/tined,var/lib/tined,tmp}

# Of a tree that is as committed, and else of none.
revision=
if state=$(git status --porcelain 2>/dev/null) && [ -z "$state" ]; then
  revision=$(git rev-parse HEAD)
fi
url=$(awk '$1 == "module" { print "https://" $2 }' go.mod)

container=$(buildah from --format docker --arch "$arch" ${variant:+--variant "$variant"} scratch)
buildah copy --quiet --chown 0:0 "$container" "$root" / >/dev/null
# RUNTIME_DIRECTORY is where server and commands meet, whatever configuration is mounted:
# the user may have no name and no home.
buildah config \
  --os linux --arch "$arch" ${variant:+--variant "$variant"} \
  --created-by "packaging/container/build.sh $version $arch" \
  --user 65532:65532 \
  --workingdir / \
  --env PATH=/usr/bin \
  --env RUNTIME_DIRECTORY=/run/tined \
  --port 8080/tcp \
  --stop-signal SIGTERM \
  --entrypoint '["/usr/bin/tined"]' \
  --cmd 'run -c /etc/tined/tined.hcl' \
  --healthcheck 'CMD /usr/bin/tined status --health' \
  --healthcheck-interval 10s \
  --healthcheck-timeout 5s \
  --healthcheck-start-period 10s \
  --healthcheck-retries 3 \
  --label org.opencontainers.image.title=tined \
  --label "org.opencontainers.image.description=Prefork web server that changes its version while it serves" \
  --label "org.opencontainers.image.version=$version" \
  --label "org.opencontainers.image.created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)" \
  ${revision:+--label "org.opencontainers.image.revision=$revision"} \
  --label "org.opencontainers.image.url=$url" \
  --label "org.opencontainers.image.source=$url" \
  --label "org.opencontainers.image.documentation=$url/blob/main/docs/packages.md" \
  --label "org.opencontainers.image.vendor=tined" \
  --label "org.opencontainers.image.authors=The tined authors" \
  --label org.opencontainers.image.licenses=Apache-2.0 \
  "$container"
# buildah's own label names its version, which is no input of the image. The image goes
# to a directory first: docker's format names the container that it was made in and its
# host, by an id that is another one each time, and that has to go. Then it is taken into
# the storage.
files=$scratch/docker
buildah commit --quiet --rm --format docker --timestamp "$epoch" --identity-label=false "$container" "dir:$files" >/dev/null
container=
old=$(jq -r '.config.digest' "$files/manifest.json")
jq -cS 'del(.container, .container_config, .config.Hostname)' "$files/${old#*:}" >"$scratch/config"
health=$(jq -c '.config.Healthcheck' "$scratch/config")
[ "$health" != null ] || fail "the image has no health check: this buildah does not know docker's image format"
read -r digest size < <(identify "$scratch/config")
rm "$files/${old#*:}"
mv "$scratch/config" "$files/${digest#*:}"
jq -cS --arg digest "$digest" --argjson size "$size" '.config.digest = $digest | .config.size = $size' "$files/manifest.json" >"$scratch/manifest"
mv "$scratch/manifest" "$files/manifest.json"
image=$(buildah pull --quiet --arch "$arch" ${variant:+--variant "$variant"} "dir:$files")
# An image for other machines must not take the name of the one for this.
machine=$(jq -r '.host.arch' "$scratch/info")
if [ "$arch" = "$machine" ]; then
  buildah tag "$image" "$name"
else
  buildah tag "$image" "$name-$arch"
fi

mkdir -p "$out"
docker_archive=$out/tined_${version}_$arch.docker.tar
oci_archive=$out/tined_${version}_$arch.oci.tar
buildah push --quiet "$image" "docker-archive:$scratch/docker.tar:$name"

# The OCI layout: the configuration gets the health check, and every file from there up
# a new digest.
layout=$scratch/layout
buildah push --quiet --format oci "$image" "oci:$layout:$name"
blobs=$layout/blobs/sha256
manifest=$(jq -r '.manifests[0].digest' "$layout/index.json")
config=$(jq -r '.config.digest' "$blobs/${manifest#*:}")

jq -cS --argjson health "$health" '.config.Healthcheck = $health' "$blobs/${config#*:}" >"$scratch/config"
read -r digest size < <(identify "$scratch/config")
rm "$blobs/${config#*:}"
mv "$scratch/config" "$blobs/${digest#*:}"

jq -cS --arg digest "$digest" --argjson size "$size" '.config.digest = $digest | .config.size = $size' "$blobs/${manifest#*:}" >"$scratch/manifest"
read -r digest size < <(identify "$scratch/manifest")
rm "$blobs/${manifest#*:}"
mv "$scratch/manifest" "$blobs/${digest#*:}"

jq -cS --arg digest "$digest" --argjson size "$size" --arg arch "$arch" --arg variant "$variant" --arg name "$name" '
  .manifests[0].digest = $digest
  | .manifests[0].size = $size
  | .manifests[0].annotations."io.containerd.image.name" = $name
  | .manifests[0].platform = ({os: "linux", architecture: $arch} + if $variant == "" then {} else {variant: $variant} end)' \
  "$layout/index.json" >"$scratch/index"
mv "$scratch/index" "$layout/index.json"

chmod -R u=rwX,go=rX "$layout"
tar --format=ustar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner -C "$layout" -cf "$scratch/oci.tar" blobs index.json oci-layout

mv "$scratch/docker.tar" "$docker_archive"
mv "$scratch/oci.tar" "$oci_archive"
chmod 0644 "$docker_archive" "$oci_archive"
echo "$docker_archive"
echo "$oci_archive"

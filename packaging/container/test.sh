#!/usr/bin/env bash
# test.sh [DOCKER_ARCHIVE OCI_ARCHIVE] tests the container image without a container
# engine: it reads the image's configuration, and does with it what an engine does, in
# namespaces of its own. Without archives it builds them, of this tree. KEEP=1 keeps what
# it has written. Where the machine cannot do it, it says what is missing, and exits with 0.
#
# What has to hold:
#   1. The same inputs give the same archives. Both have the same layer and the same
#      configuration, with a health check.
#   2. As the image says it is run: serves, is healthy, logs to standard output and error,
#      reloads on SIGHUP, goes on with another version, ends what is in flight on SIGTERM.
#   3. With a root file system that cannot be written to; as a user that nobody knows, in
#      group 0 (as OpenShift does it) and in a group of its own.
#   4. What cannot serve says so and ends; without a server the health check says so.
set -euo pipefail

scripts=$(cd "$(dirname "$0")" && pwd)
archives=()
for archive; do
  archives+=("$(realpath "$archive")")
done
cd "$scripts/../.."

skip() {
  echo "container: skipped: $*"
  exit 0
}
[ "$(id -u)" -eq 0 ] || skip "without an engine only root can make the namespaces and users of a container"
for need in buildah jq ar xz curl ip nsenter unshare setpriv; do
  command -v "$need" >/dev/null || skip "$need is not installed"
done
# unshare(1) fails in containers that may not make namespaces, for one.
trial=$(unshare --pid --fork --mount --net --uts --ipc --kill-child true 2>&1) || skip "no namespaces here: $trial"

scratch=$(mktemp -d)
engines=() # pids of those that have been started
# shellcheck disable=SC2317 # called by the trap
cleanup() {
  for engine in ${engines[@]+"${engines[@]}"}; do
    kill -KILL "$engine" 2>/dev/null || true
  done
  wait
  if [ -n "${KEEP:-}" ]; then
    echo "container: kept $scratch"
  else
    rm -rf "$scratch"
  fi
}
trap cleanup EXIT

failures=0
ok() { echo "ok   $*"; }
bad() { # bad TEXT [FILE...] prints the files too
  echo "FAIL $1"
  shift
  for file; do
    echo "--- ${file#"$scratch"/}"
    cat "$file"
  done
  failures=$((failures + 1))
}
# expect TEXT GOT WANTED [FILE...]
expect() {
  if [ "$2" = "$3" ]; then
    ok "$1"
  else
    bad "$1: \"$2\", not \"$3\"" "${@:4}"
  fi
}
# holds TEXT COMMAND... expects the command to succeed; the container's log tells why not.
holds() {
  if "${@:2}" >"$scratch/output" 2>&1; then
    ok "$1"
  else
    bad "$1: not so" "$scratch/output" "$log"
  fi
}
log=/dev/null
# within SECONDS COMMAND... asks again until it says yes.
within() {
  local until=$((${EPOCHREALTIME//[!0-9]/} + $1 * 1000000))
  shift
  until "$@"; do
    [ "${EPOCHREALTIME//[!0-9]/}" -lt "$until" ] || return 1
    sleep 0.05
  done
}

version=0.0.0-container
arch=$(go env GOARCH)
if [ ${#archives[@]} -eq 0 ]; then
  # A storage of its own: no image of a test is left behind in the user's.
  printf '[storage]\ndriver = "vfs"\ngraphroot = "%s"\nrunroot = "%s"\n' "$scratch/graph" "$scratch/run" >"$scratch/storage.conf"
  export CONTAINERS_STORAGE_CONF=$scratch/storage.conf
  PACKAGE=$(OUT=$scratch packaging/build.sh deb "$version" "$arch" | tail -n 1)
  export PACKAGE
  for build in first second; do
    OUT=$scratch/$build packaging/container/build.sh "$version" "$arch" >"$scratch/built"
    mapfile -t archives <"$scratch/built"
  done
  holds "the same bytes when built twice" diff -r "$scratch/first" "$scratch/second"
elif [ ${#archives[@]} -ne 2 ]; then
  echo "write: packaging/container/test.sh [DOCKER_ARCHIVE OCI_ARCHIVE], both as packaging/container/build.sh has printed them" >&2
  exit 2
fi

# 1. The archives.
mkdir "$scratch/docker" "$scratch/oci" "$scratch/layer"
tar -xf "${archives[0]}" -C "$scratch/docker"
tar -xf "${archives[1]}" -C "$scratch/oci"
config=$scratch/docker/$(jq -r '.[0].Config' "$scratch/docker/manifest.json")
blob() {
  echo "$scratch/oci/blobs/${1/://}"
}
oci_manifest=$(blob "$(jq -r '.manifests[0].digest' "$scratch/oci/index.json")")
oci_config=$(blob "$(jq -r '.config.digest' "$oci_manifest")")
wrong=$(cd "$scratch/oci/blobs/sha256" && for file in *; do echo "$file  $file"; done | sha256sum --check --quiet 2>&1) || true
expect "the OCI archive's blobs are what their names say" "$wrong" ""
said() { # said FILE prints what both formats have, in one order
  jq -S '{architecture, os, created, layers: .rootfs.diff_ids,
    config: (.config | {User, ExposedPorts, Env, Entrypoint, Cmd, Healthcheck, Labels, StopSignal, WorkingDir})}' "$1"
}
said "$config" >"$scratch/docker.said"
said "$oci_config" >"$scratch/oci.said"
if diff "$scratch/docker.said" "$scratch/oci.said" >"$scratch/difference"; then
  ok "both archives say the same"
else
  bad "the archives differ" "$scratch/difference"
fi
expect "the health check" "$(jq -c '.config.Healthcheck.Test' "$oci_config")" '["CMD","/usr/bin/tined","status","--health"]'
expect "the signal that ends it" "$(jq -r '.config.StopSignal' "$config")" SIGTERM
expect "the port" "$(jq -r '.config.ExposedPorts | keys[]' "$config")" 8080/tcp
IFS=: read -r uid gid < <(jq -r '.config.User' "$config")
holds "it is not run as root, but as user $uid" [ "${uid:-0}" -gt 0 ]

# An engine unpacks the layer and makes the places where it mounts what is the kernel's.
tar -xpf "$scratch/docker/$(jq -r '.[0].Layers[0]' "$scratch/docker/manifest.json")" -C "$scratch/layer"
strangers=$(find "$scratch/layer" \( ! -user 0 -o ! -group 0 -o -perm /6000 -o \( -perm /022 ! -perm 1777 ! -type l \) \) -printf '%M %u:%g %P\n')
expect "every file is root's, and nobody else may write to it" "$strangers" ""
mkdir -p "$scratch/layer"/{proc,dev}
mapfile -t env < <(jq -r '.config.Env[]' "$config")
mapfile -t entrypoint < <(jq -r '.config.Entrypoint[]' "$config")
mapfile -t cmd < <(jq -r '.config.Cmd[]' "$config")
mapfile -t health < <(jq -r '.config.Healthcheck.Test[1:][]' "$config")

# become ARGUMENT... is process 1 until it is the container's. Bash gets it as text.
# shellcheck disable=SC2154 # the variables come with it
become() {
  set -e
  mount --make-rprivate /
  mount --bind "$root" "$root"
  if [ "$kind" = read-only ]; then
    mount -o remount,bind,ro "$root"
    mount -t tmpfs -o mode=1777 tmpfs "$root/run"
  fi
  mount -t proc proc "$root/proc"
  mount -t tmpfs -o mode=755 tmpfs "$root/dev"
  for device in null zero random urandom; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
  done
  ip link set lo up
  exec setpriv --no-new-privs --bounding-set=-all,+setuid,+setgid,+sys_chroot \
    env -i "${env[@]}" "$(command -v unshare)" --root="$root" --wd=/ --setgid "$group" --setuid "$user" "$@"
}

# start NAME KIND USER GROUP ARGUMENT... runs a container of that name. engine is the
# process whose exit status is the container's; one is process 1, as it is seen from here.
start() {
  name=$1 kind=$2 user=$3 group=$4
  shift 4
  root=$scratch/$name.root log=$scratch/$name.stderr access=$scratch/$name.stdout
  cp -a "$scratch/layer" "$root"
  [ ! -d "$scratch/$name.conf.d" ] || cp "$scratch/$name.conf.d"/* "$root/etc/tined/conf.d/"
  unshare --pid --fork --mount --net --uts --ipc --kill-child \
    bash -c "$(declare -p env root kind user group); $(declare -f become); become \"\$@\"" become "$@" >"$access" 2>"$log" </dev/null &
  engine=$!
  engines+=("$engine")
}
# inside ARGUMENT... runs something in the container, as `exec` of an engine does.
inside() {
  env -i "${env[@]}" "$(command -v nsenter)" --target "$one" --mount --pid --net --uts --ipc \
    --root --wd --setgid "$group" --setuid "$user" "$@"
}
get() { # get PATH [CURL'S OPTION...]
  nsenter --target "$one" --net curl --silent --show-error --fail --max-time 20 "${@:2}" "http://127.0.0.1:8080$1"
}
answers() {
  one=$(cat "/proc/$engine/task/$engine/children" 2>/dev/null) && one=${one% } && [ -n "$one" ] &&
    get / --output /dev/null 2>/dev/null
}
# up TEXT waits until the container answers.
up() {
  if within 10 answers; then
    ok "$1: serves"
  else
    bad "$1: does not answer" "$log" "$access"
    return 1
  fi
}
ended() { ! kill -0 "$engine" 2>/dev/null; }
# down TEXT waits for the container's end, and sees to its status.
down() {
  local status=0
  within 15 ended || kill -KILL "$engine"
  wait "$engine" || status=$?
  expect "$1: its exit status" "$status" 0 "$log"
}
healthy() {
  local status=0
  inside "${health[@]}" >"$scratch/health" 2>&1 || status=$?
  expect "$1: healthy" "$status" 0 "$scratch/health" "$log"
}

# 2. As the image says.
mkdir "$scratch/plain.conf.d"
cat >"$scratch/plain.conf.d/test.hcl" <<'HCL'
upgrade {
  canary    = "200ms"
  probation = "300ms"
}
site "test" {
  hosts = ["test.example"]
  route "/data/" {
    static {
      root = "/var/lib/tined"
    }
  }
}
HCL
start plain writable "$uid" "$gid" "${entrypoint[@]}" "${cmd[@]}"
if up "plain"; then
  get / --output "$scratch/page"
  holds "the welcome page" cmp "$scratch/page" packaging/welcome/index.html
  healthy "plain"
  expect "process 1 has the user and no capabilities" \
    "$(awk '/^(Uid|Gid|CapEff):/ { printf "%s ", $2 }' "/proc/$one/status")" "$uid $gid 0000000000000000 "
  holds "the access log is on standard output" within 5 grep -q '"GET / HTTP/1.1" 200' "$access"
  holds "the log is on standard error, in JSON" jq -e .msg "$log"

  # A reload, by the signal that an engine can send: to process 1.
  cat >"$root/etc/tined/conf.d/more.hcl" <<'HCL'
site "more" {
  hosts = ["more.example"]
  route "/" {
    respond {
      body = "more"
    }
  }
}
HCL
  kill -HUP "$one"
  reloaded() { [ "$(get / --header 'Host: more.example' 2>/dev/null)" = more ]; }
  holds "SIGHUP reloads" within 5 reloaded

  # Another version, which the container's user can execute and the image does not hold.
  CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=0.0.1-next" -o "$root/tmp/next" ./cmd/tined
  master=$(inside "${entrypoint[@]}" status --json | jq .pid)
  status=0
  inside "${entrypoint[@]}" upgrade --binary /tmp/next >"$scratch/upgrade" 2>&1 || status=$?
  expect "an upgrade in the container" "$status" 0 "$scratch/upgrade" "$log"
  expect "the next version serves" "$(inside "${entrypoint[@]}" status --json | jq -r .version)" 0.0.1-next
  holds "by another master" [ "$(inside "${entrypoint[@]}" status --json | jq .pid)" != "$master" ]
  healthy "after the upgrade"

  # What is in flight when an engine stops the container is finished.
  truncate -s 48M "$root/var/lib/tined/large"
  get /data/large --header 'Host: test.example' --limit-rate 24M --output "$scratch/large" &
  download=$!
  begun() { [ -s "$scratch/large" ]; }
  holds "a download has begun" within 5 begun
  kill -s "$(jq -r '.config.StopSignal' "$config")" "$one"
  status=0
  wait "$download" || status=$?
  expect "it goes on when the container is stopped" "$status $(stat -c %s "$scratch/large")" "0 $((48 << 20))" "$log"
  down "plain"
fi

# 3. Read-only, and users that nobody knows.
for case in "read-only $uid $gid" "read-only 1000660000 0" "writable 1000660000 0" "read-only 1234 1234"; do
  read -r kind user group <<<"$case"
  text="$kind, user $user, group $group"
  start "$kind-$user" "$kind" "$user" "$group" "${entrypoint[@]}" "${cmd[@]}"
  if up "$text"; then
    healthy "$text"
    kill -TERM "$one"
    down "$text"
  fi
done

# 4. What cannot serve.
once() { # once NAME ARGUMENT... runs a container to its end, and sets status
  status=0
  start "$1" writable "$uid" "$gid" "${@:2}"
  within 10 ended || kill -KILL "$engine"
  wait "$engine" || status=$?
}
once stranger "${health[@]}"
expect "the health check where no server is" "$status" 3 "$log" "$access"
mkdir "$scratch/mistake.conf.d"
echo 'sight "x" {}' >"$scratch/mistake.conf.d/mistake.hcl"
once mistake "${entrypoint[@]}" "${cmd[@]}"
expect "a mistake in the configuration" "$status" 1 "$log"
holds "is told with its place" grep -q 'conf.d/mistake.hcl:1:1' "$log"

if [ "$failures" -gt 0 ]; then
  echo "container: $failures of the checks have failed" >&2
  exit 1
fi
echo "container: all is well"

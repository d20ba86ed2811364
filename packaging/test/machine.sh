# shellcheck shell=bash disable=SC2154 # run.sh sets what is not set here
# A machine without a virtual one: a Debian in a folder, and systemd as the first process of namespaces of its own. Sourced by run.sh.
#
# It has its own processes, mounts, network (loopback alone), host name and cgroup. When this process ends, however it does, the machine ends too.

# What a machine needs beside the essential packages.
machine_packages=(apt-utils systemd systemd-sysv dbus init-system-helpers logrotate man-db needrestart rpm unattended-upgrades)

# Units that have nothing to do here, or would do something at a moment of their own.
machine_masked=(
  systemd-udevd.service systemd-logind.service systemd-timesyncd.service getty.target console-getty.service
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer man-db.timer logrotate.timer
)

machine_pid=     # of its systemd, as seen from here
machine_parent=  # of unshare, which started that
machine_booted=0 # how often
machine_last=    # what the last check of machine_why_not has said

# machine_why_not prints why this machine cannot boot another one, or nothing.
machine_why_not() {
  local tool
  if [[ $(id -u) -ne 0 ]]; then
    echo "only root may: run it as root"
    return
  fi
  for tool in unshare nsenter setpriv pivot_root; do
    if ! command -v "$tool" >/dev/null; then
      echo "$tool is missing: install util-linux"
      return
    fi
  done
  if ! command -v mmdebstrap >/dev/null && ! command -v apt-get >/dev/null; then
    echo "there is neither mmdebstrap nor apt-get to install it: this needs a Debian or one of its kin"
    return
  fi
  if ! machine_last=$(unshare --fork --pid --mount --uts --ipc --net --cgroup --kill-child \
    sh -c 'mount --make-rprivate / && mount -t proc proc /proc' 2>&1); then
    echo "no namespaces: ${machine_last//$'\n'/; }"
    return
  fi
  if ! machine_cgroups >/dev/null; then
    echo "no cgroup2 file system is mounted"
    return
  fi
  if ! machine_last=$(mkdir "$(machine_cgroups)/$machine_name" 2>&1); then
    echo "no cgroup of its own: $machine_last"
    return
  fi
  rmdir "$(machine_cgroups)/$machine_name"
}

# machine_cgroups prints where cgroup2 is mounted.
machine_cgroups() {
  awk '$3 == "cgroup2" { print $2; found = 1; exit } END { exit !found }' /proc/mounts
}

# machine_sources prints the lines of this machine's own distribution in apt's configuration.
machine_sources() {
  local id
  # shellcheck disable=SC1091 # every Debian has it
  id=$(. /etc/os-release && echo "$ID")
  # shellcheck disable=SC2016 # apt fills the words in
  apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(CREATED_BY)' |
    awk -F '|' -v id="$id" 'tolower($1) == id && $5 == "Packages" { print "deb", $2, $3, $4 }' | sort -u
}

# machine_make ROOT unpacks a Debian. With ROOT_TAR=FILE it is taken from that archive, which is made when it is not there.
machine_make() {
  local root=$1 suite sources packages unit
  mkdir -p "$root"
  if [[ -n ${ROOT_TAR:-} && -e $ROOT_TAR ]]; then
    tar -C "$root" --numeric-owner --xattrs -xf "$ROOT_TAR"
  else
    if ! command -v mmdebstrap >/dev/null; then
      { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends mmdebstrap; } </dev/null || return
    fi
    sources=$(machine_sources)
    if [[ -z $sources ]]; then
      apt-get update || return
      sources=$(machine_sources)
    fi
    if [[ -z $sources ]]; then
      echo "apt knows of no archive of this machine's distribution: \`apt-get indextargets\` has to show one" >&2
      return 1
    fi
    # shellcheck disable=SC1091
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    packages=$(IFS=, && echo "${machine_packages[*]}")
    # In a mount namespace: whatever ends it, no mount of this machine's stays below a folder that is removed.
    unshare --mount mmdebstrap --quiet --variant=minbase --format=directory --include="$packages" \
      --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
      --skip=check/empty "$suite" "$root" - <<<"$sources" || return
    if [[ -n ${ROOT_TAR:-} ]]; then
      tar -C "$root" --numeric-owner --xattrs -cf "$ROOT_TAR" .
    fi
  fi
  for unit in "${machine_masked[@]}"; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
  done
  : >"$root/etc/machine-id"
  echo tined-test >"$root/etc/hostname"
  printf '127.0.0.1 localhost tined-test\n' >"$root/etc/hosts"
  rm -f "$root/usr/sbin/policy-rc.d" "$root/etc/apt/sources.list"
  install -m 755 packaging/test/init.sh "$root/.init"
}

# machine_boot ROOT returns when the machine's systemd has come up.
machine_boot() {
  local root=$1 state='' deadline
  local cgroup
  cgroup=$(machine_cgroups)/$machine_name
  rm -f "$work/pid"
  mkdir -p "$cgroup"
  # The death signal follows from here to unshare, and from there to all that is in its namespaces.
  (
    echo "$BASHPID" >"$cgroup/cgroup.procs"
    exec setsid setpriv --pdeathsig KILL \
      unshare --fork --pid --mount --uts --ipc --net --cgroup --kill-child "$root/.init" "$root" "$work/pid"
  ) </dev/null >>"$work/boot.log" 2>&1 &
  machine_parent=$!
  deadline=$((SECONDS + 30))
  while [[ $SECONDS -lt $deadline ]] && kill -0 "$machine_parent" 2>/dev/null; do
    if [[ -s $work/pid ]]; then
      machine_pid=$(<"$work/pid")
      state=$(inside systemctl is-system-running 2>/dev/null) || true
      case $state in
        running | degraded)
          machine_booted=$((machine_booted + 1))
          return 0
          ;;
      esac
    fi
    sleep 0.05
  done
  echo "the machine does not come up: ${state:-no answer of systemd}" >&2
  cat "$work/boot.log" >&2
  return 1
}

# machine_reboot ROOT reboots it from inside.
machine_reboot() {
  local deadline=$((SECONDS + 60))
  inside systemctl reboot || true # the connection to systemd may end first
  while kill -0 "$machine_parent" 2>/dev/null; do
    if [[ $SECONDS -ge $deadline ]]; then
      echo "the machine does not go down within 60 s" >&2
      return 1
    fi
    sleep 0.05
  done
  machine_end
  machine_boot "$1"
}

# machine_end ends it at once and leaves nothing.
machine_end() {
  if [[ -n $machine_parent ]]; then
    kill -KILL "$machine_parent" 2>/dev/null || true
    wait "$machine_parent" 2>/dev/null || true
    machine_parent='' machine_pid=''
  fi
  machine_sweep "$(machine_cgroups)/$machine_name"
}

# machine_sweep CGROUP ends what is left in a cgroup, and removes it.
machine_sweep() {
  local folder
  [[ -d $1 ]] || return 0
  [[ ! -e $1/cgroup.kill ]] || echo 1 >"$1/cgroup.kill"
  # Processes that have been killed go when the kernel has time for it, the inner folders come before the outer ones.
  for _ in {1..100}; do
    while read -r folder; do
      rmdir "$folder" 2>/dev/null || true
    done < <(find "$1" -depth -type d 2>/dev/null)
    [[ -d $1 ]] || return 0
    sleep 0.05
  done
  echo "the cgroup $1 cannot be removed" >&2
}

# inside runs a command on the machine.
inside() {
  nsenter --target "$machine_pid" --all -- /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TERM=dumb "$@"
}

# beside runs a command of this machine's in the network of that one.
beside() {
  nsenter --target "$machine_pid" --net -- "$@"
}

# machine_sweep_others FOLDER removes what runs of this test have left that were killed: their machines have ended with them.
machine_sweep_others() {
  local left name
  for left in "$1"/tined-test-*.* "$(machine_cgroups)"/tined-test-*; do
    name=${left##*/tined-test-}
    if [[ -d $left && ${name%%.*} =~ ^[0-9]+$ ]] && ! kill -0 "${name%%.*}" 2>/dev/null; then
      if [[ $left == "$1"/* ]]; then
        rm -rf --one-file-system "$left"
      else
        machine_sweep "$left"
      fi
    fi
  done
}

# shellcheck shell=bash disable=SC2154 # run.sh sets what is not set here
# The parts for deb. Sourced by run.sh.

deb_path() { echo "/srv/packages/tined_$1_$arch.deb"; }

# apt_get is for an administrator who is not there to answer a question. Without a terminal of dpkg's own what scripts print on standard
# error is told from the rest.
apt_get() {
  call env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Dpkg::Use-Pty=0 "$@"
  # What dpkg says of what was asked for, and the tools that make the user and the links of every package that has some.
  sed -i -E "/^dpkg: warning: (downgrading |while removing tined, directory '.*' not empty)|^Creat(ing (user|group) 'tined'|ed symlink )/d" "$call_err"
}

# apt VERSION [FLAG…] installs a version.
apt() {
  apt_get --allow-downgrades "${@:2}" install "$(deb_path "$1")"
}

purge() {
  apt_get purge tined
}

# have VERSION [defaults] sees to it that a version is installed and serves, with the load's site.
have() {
  configure "${2:-}"
  rm -f "$root$sickness"
  look
  if [[ ${now[dpkg]:-} != "ii  $1" ]]; then
    apt "$1"
  fi
  {
    inside systemctl unmask tined
    inside systemctl enable tined
    inside systemctl reset-failed # five starts in a minute are all that the unit allows
    inside systemctl start tined
    look
    [[ ${now[runs]:-} == "$1" ]] || inside systemctl restart tined
    inside tined reload
  } >>"$log/calls" 2>&1 || {
    fail "version $1 does not serve" "$log/calls"
    return 1
  }
}

# gone sees to it that nothing of the package is there, and nothing that it leaves by policy.
gone() {
  look
  [[ -z ${now[dpkg]:-} || ${now[dpkg]} == un* ]] || purge
  if [[ -n ${now[rpm]:-} ]]; then
    call rpm --force-debian -e tined
    inside find /usr/share/fish /usr/share/zsh -depth -type d -empty -delete
  fi
  inside rm -rf /etc/tined /var/lib/tined /var/log/tined
  ! inside getent passwd tined >/dev/null || inside userdel tined
}

serving=(ActiveState=active SubState=running NRestarts=0 user=tined)

# everything lists the files of the machine, and the accounts: what a package may not leave. What dpkg, apt, systemd and the shadow tools
# write for themselves is not in it.
everything() {
  inside find / -xdev '(' -path /srv -o -path /var/cache -o -path /var/log -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/lib/systemd/catalog \
    -o -path /var/lib/systemd/timers -o -path /var/lib/systemd/random-seed -o -path /root -o -path /etc/.pwd.lock -o -name '*-' -path '/etc/*-' ')' -prune \
    -o -print | sort
  inside find /var/log /var/cache -path '*tined*'
  inside getent passwd
  inside getent group
}

part_deb_first() {
  local holder
  gone
  everything >"$log/before"

  # The port is taken.
  inside systemd-run --quiet --unit=holder python3 -m http.server 80
  if ! within 10 answers / 'Directory listing'; then
    fail "a holder of port 80"
    return
  fi
  apt "$v1"
  same "install, port 80 taken: status" 0 "$call_status"
  holder=$(inside systemctl show holder -p MainPID --value)
  says "it names the holder" "in use by python3.*$holder"
  is "it does not start, and is enabled" "dpkg=ii  $v1" ActiveState=inactive UnitFileState=enabled
  inside systemctl stop holder
  check "start when the port is free" inside systemctl start tined
  is "it serves" "${serving[@]}" "runs=$v1"
  purge
  quiet "purge"
  everything >"$log/after"
  check "purge leaves nothing, and takes nothing along: $(wc -l <"$log/after") files and accounts compared" diff "$log/before" "$log/after"

  apt "$v1"
  quiet "first install"
  is "it serves" "dpkg=ii  $v1" "disk=$v1" "runs=$v1" UnitFileState=enabled "${serving[@]}"
  check "the welcome page on port 80" answers / '/etc/tined'
  check "manual pages and completions are where they are looked for" inside sh -c 'man -w tined tined-upgrade tined.hcl && test -s /usr/share/bash-completion/completions/tined'
  inside systemd-analyze security --no-pager tined >"$log/security" || true
  same "exposure is at most 1.6" yes "$(awk '/Overall exposure level/ { for (i = 1; i <= NF; i++) if ($i ~ /^[0-9.]+$/) print ($i <= 1.6 ? "yes" : "no: " $i) }' "$log/security")"
}

# upgraded VERSION: apt has brought the running service to a version.
upgraded() {
  quiet "apt install $1"
  says "it says what has happened" "^tined $1: .*moved, 0 failed; undo: tined rollback\$"
  is "it is there" "dpkg=ii  $1" "disk=$1" "runs=$1" "${serving[@]}"
}

# kill_script kills the script that upgrades the running server as soon as it does.
kill_script() {
  # shellcheck disable=SC2016 # the inner shell's
  within 15 upgrading && inside sh -c 'kill -KILL $(grep -l "tined[.]postrm" /proc/[0-9]*/cmdline | tr -dc "0-9 \n")'
}

upgrading() {
  [[ $(inside tined status 2>/dev/null) == *'an upgrade from'*'is under way'* ]]
}

part_deb_upgrade() {
  local before killer
  have "$v1"
  look
  before=${now[MainPID]}
  load_begin
  apt "$v2"
  load_end "upgrade under load"
  upgraded "$v2"
  same "systemd knows another master" yes "$([[ ${now[MainPID]} != "$before" ]] && echo yes)"
  inside systemctl status --no-pager --lines=0 tined >"$log/status" || true
  check "systemctl status is readable: $(grep -m 1 Status: "$log/status" || true)" \
    grep -qE "Main PID: ${now[MainPID]} \(tined\)" "$log/status"
  call needrestart -b -r l
  same "services that needrestart would restart" 0 "$(grep -c 'SVC: tined' "$call_out" || true)"

  load_begin
  call tined rollback --brief
  load_end "rollback under load"
  quiet "tined rollback"
  says "it says what has happened" "^tined $v1: .*moved, 0 failed"
  is "the version before serves" "disk=$v2" "runs=$v1" "${serving[@]}"
  load_begin
  call tined upgrade --brief --binary /usr/bin/tined
  load_end "forward again under load"
  quiet "tined upgrade"
  is "the new one serves" "disk=$v2" "runs=$v2" "${serving[@]}"

  # A downgrade is an upgrade, and loopback hides losses.
  load_begin -link 50ms
  apt "$v1"
  load_end "downgrade under load with 50 ms of delay"
  upgraded "$v1"
  load_begin -link 50ms
  apt "$v2"
  load_end "upgrade under load with 50 ms of delay"
  upgraded "$v2"

  # The script is killed, as by a machine without memory: dpkg and the server must agree all the same.
  sed -i 's/timeout .*/timeout = "15s"/; s/canary .*/canary = "3s"/' "$root/etc/tined/conf.d/load.hcl"
  inside tined reload >>"$log/calls" 2>&1
  load_begin
  kill_script &
  killer=$!
  apt "$v1"
  load_end "downgrade whose script is killed, under load"
  check "the script was killed" wait "$killer"
  same "apt install $v1: status" 0 "$call_status"
  says "dpkg goes on by the other version's script" 'it looks like that went OK'
  is "it is there" "dpkg=ii  $v1" "disk=$v1" "runs=$v1" "${serving[@]}"
  configure
  inside tined reload >>"$log/calls" 2>&1
  apt "$v2"
  upgraded "$v2"

  look
  before=${now[MainPID]}
  apt "$v2" --reinstall
  quiet "reinstall"
  is "the same master serves" "dpkg=ii  $v2" "runs=$v2" "MainPID=$before" "${serving[@]}"
}

# What the third version suffers from, and what is then said.
sicknesses=(exit quit stuck mute errors hang)
declare -A reason=(
  [exit]='does not run.* status 3'
  [quit]='has ended before it was ready'
  [stuck]='not ready within .*; it was starting, and had not even claimed'
  [mute]='not ready within .*; it was starting its children'
  [errors]='the canary has found: .* server error'
  [hang]='hangs'
)

part_deb_sick() {
  local sick processes master kept more there=$v2 hasty=$v2+1
  have "$v2"
  for sick in "${sicknesses[@]}"; do
    if [[ $sick == hang ]]; then
      # Half a minute is the time that the scripts have for it. Here they get less.
      repack "$v2" "$hasty" 's/^patience=[0-9]*$/patience=3/' DEBIAN/postrm
      apt "$hasty"
      quiet "$sick: a package of little patience"
      there=$hasty
    fi
    within 15 settled
    processes=${now[processes]} master=${now[MainPID]} kept=${now[kept]}
    more=()
    [[ $sick != errors ]] || more=(-ask /hello/sick)
    load_begin "${more[@]}"
    echo "$sick" >"$root$sickness"
    apt "$v3"
    rm -f "$root$sickness"
    load_end "$sick: upgrade under load"
    refused "$sick: apt" "${reason[$sick]}"
    check "$sick: nothing of the other version runs" within 15 alone "$processes"
    is "$sick: the version before is there" "dpkg=ii  $there" "disk=$v2" "runs=$v2" "MainPID=$master" "kept=$kept" "${serving[@]}"
  done
  apt "$v3"
  upgraded "$v3"
  have "$v2"
}

# settled is true when no version leaves any more.
settled() {
  look
  [[ $(inside tined status --json) != *'"predecessor":{'* ]]
}

part_deb_refused() {
  local master line
  have "$v1"
  look
  master=${now[MainPID]}
  cp -p "$root/etc/tined/tined.hcl" "$log/tined.hcl"
  echo 'wokers = 3' >>"$root/etc/tined/tined.hcl"
  line=$(wc -l <"$root/etc/tined/tined.hcl")
  load_begin
  apt "$v2"
  load_end "upgrade with a wrong configuration, under load"
  refused "apt" "/etc/tined/tined.hcl:${line}[:,]1.*wokers"
  is "nothing has changed" "dpkg=ii  $v1" "disk=$v1" "runs=$v1" "MainPID=$master" "${serving[@]}"
  cp -p "$log/tined.hcl" "$root/etc/tined/tined.hcl"

  # The service runs a file that its own user could have written: root must neither run nor keep it.
  call install -o tined -m 755 /usr/bin/tined /var/lib/tined/own
  call tined upgrade --brief --binary /var/lib/tined/own
  quiet "upgrade to a file of the service's user"
  look
  master=${now[MainPID]}
  apt "$v2"
  refused "apt, while the service runs it" "cannot be kept"
  is "nothing has changed" "dpkg=ii  $v1" "disk=$v1" "MainPID=$master" "kept=${now[kept]}" "${serving[@]}"
  call rm /var/lib/tined/own
  call systemctl restart tined
  apt "$v2"
  upgraded "$v2"
}

part_deb_service() {
  local master under
  have "$v2"
  look
  master=${now[MainPID]}
  load_begin
  sed -i 's/body = "0"/body = "1"/' "$root/etc/tined/conf.d/load.hcl"
  call systemctl reload tined
  quiet "systemctl reload"
  check "it serves what is configured now" answers /plain 1 storm
  echo 'wokers = 3' >"$root/etc/tined/conf.d/wrong.hcl"
  call systemctl reload tined
  rm "$root/etc/tined/conf.d/wrong.hcl"
  same "systemctl reload of a wrong configuration fails" yes "$([[ $call_status -ne 0 ]] && echo yes)"
  load_end "reloads under load"
  is "the same master serves" "runs=$v2" "MainPID=$master" "${serving[@]}"

  # Logs are rotated, and written anew, by the service's user.
  call logrotate -f /etc/logrotate.d/tined
  quiet "logrotate"
  check "it serves" answers /plain 1 storm
  # shellcheck disable=SC2016 # the inner shell's
  check "the log goes on in a new file" within 5 inside sh -c 'cd /var/log/tined && test -s load.log.1 && test -s load.log && test "$(stat -c %U load.log)" = tined'

  load_begin -clients -1 -idle -1 -streams -1 -uploads -1 -rate 200
  for _ in 1 2; do
    call systemctl restart tined
    quiet "systemctl restart"
  done
  load_end "restarts under connects"
  is "another master serves" "runs=$v2" "${serving[@]}"

  load_begin -clients -1 -idle -1 -rate -1 -streams 4 -uploads 4
  load_stop
  under=$(sed -n 's/.* ending, \([0-9]*\) transfers.*/\1/p' "$load_err")
  call systemctl stop tined
  load_end "stop with $under transfers under way"
  quiet "systemctl stop"
  is "it has stopped" ActiveState=inactive MainPID=0
  same "nobody listens" no "$(answers / . && echo yes || echo no)"
  call systemctl start tined
  quiet "systemctl start"
  is "it serves" "runs=$v2" "${serving[@]}"

  machine_reboot "$root" 2>>"$log/calls"
  if within 15 answers /plain 1 storm; then
    is "after a reboot it serves" "runs=$v2" "${serving[@]}"
  else
    fail "after a reboot it does not serve" "$log/calls"
  fi
}

part_deb_choices() {
  local file master
  have "$v1"
  # Stopped.
  inside systemctl stop tined
  apt "$v2"
  quiet "upgrade of a stopped service"
  is "stopped stays stopped" "dpkg=ii  $v2" ActiveState=inactive UnitFileState=enabled
  # Disabled.
  inside systemctl disable tined 2>>"$log/calls"
  apt "$v1"
  quiet "downgrade of a disabled service"
  is "disabled stays disabled" "dpkg=ii  $v1" ActiveState=inactive UnitFileState=disabled
  # Disabled, and it runs.
  inside systemctl start tined
  apt "$v2"
  quiet "upgrade of a disabled service that runs"
  is "it runs, and stays disabled" "dpkg=ii  $v2" "runs=$v2" ActiveState=active UnitFileState=disabled
  # Masked, and it runs.
  inside systemctl reset-failed
  inside systemctl mask tined 2>>"$log/calls"
  look
  master=${now[MainPID]}
  load_begin
  apt "$v1"
  load_end "downgrade of a masked service that runs"
  quiet "apt install $v1"
  is "it runs on as it is" "dpkg=ii  $v1" "disk=$v1" "runs=$v2" "MainPID=$master" ActiveState=active
  # Masked.
  inside systemctl stop tined
  apt "$v2"
  quiet "upgrade of a masked service"
  is "masked stays masked" "dpkg=ii  $v2" ActiveState=inactive UnitFileState=masked
  apt "$v2" --reinstall
  is "also when it is installed again" "dpkg=ii  $v2" ActiveState=inactive UnitFileState=masked
  apt "$v1"
  inside systemctl unmask tined 2>>"$log/calls"
  inside systemctl enable --now tined 2>>"$log/calls"
  # policy-rc.d, in an upgrade and in a first install.
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod 755 "$root/usr/sbin/policy-rc.d"
  apt "$v2"
  quiet "upgrade under policy-rc.d"
  says "it says that the service was not touched" "policy-rc.d"
  is "the version before runs" "dpkg=ii  $v2" "disk=$v2" "runs=$v1" ActiveState=active
  inside systemctl stop tined # which the policy forbids too
  gone
  apt "$v1"
  quiet "first install under policy-rc.d"
  is "it is not started" "dpkg=ii  $v1" ActiveState=inactive UnitFileState=enabled
  rm "$root/usr/sbin/policy-rc.d"
  inside systemctl start tined
  inside systemctl reset-failed
  # A chroot, where no systemd runs: the machine's own folder, without its namespaces.
  inside systemctl stop tined
  file=$(deb_path "$v2")
  call unshare --mount sh -c "mount -t tmpfs tmpfs /run && DEBIAN_FRONTEND=noninteractive apt-get -y -q install $file"
  quiet "upgrade where no systemd runs"
  is "it is installed, and not started" "dpkg=ii  $v2" "disk=$v2" ActiveState=inactive
  inside systemctl start tined
  # What drop-ins have changed of the service holds for its upgrade too: who it is, what it reads, where it is found.
  inside mkdir -p /etc/systemd/system/tined.service.d
  printf '[Service]\nSupplementaryGroups=adm\nEnvironment=TINED_CONTROL=/run/tined/other.sock\nExecStart=\nExecStart=/usr/bin/tined run -c /etc/tined/other.hcl\n' \
    >"$root/etc/systemd/system/tined.service.d/other.conf"
  configure
  inside install -g adm -m 640 /etc/tined/tined.hcl /etc/tined/other.hcl
  inside systemctl daemon-reload
  inside systemctl restart tined
  apt "$v1"
  upgraded "$v1"
  inside rm -r /etc/systemd/system/tined.service.d /etc/tined/other.hcl
  inside systemctl daemon-reload
  inside systemctl reset-failed
  inside systemctl restart tined

  # A kernel without IPv6.
  inside mkdir -p /etc/systemd/system/tined.service.d
  printf '[Service]\nRestrictAddressFamilies=\nRestrictAddressFamilies=AF_UNIX AF_INET\n' >"$root/etc/systemd/system/tined.service.d/ipv4.conf"
  inside systemctl daemon-reload
  inside systemctl stop tined
  call systemctl start tined
  quiet "start without IPv6"
  check "it serves on all addresses of IPv4" inside sh -c "tined status | grep -q '0\.0\.0\.0:80'"
  inside rm -r /etc/systemd/system/tined.service.d
  inside systemctl daemon-reload
  inside systemctl restart tined
}

# repack FROM VERSION EDIT FILE makes a package of another one, with one file edited by sed.
repack() {
  local folder=$work/repack
  rm -rf "$folder"
  dpkg-deb --raw-extract "$root$(deb_path "$1")" "$folder"
  sed -i "s/^Version: .*/Version: $2/" "$folder/DEBIAN/control"
  cp "$folder/$4" "$folder.before"
  sed -i "$3" "$folder/$4"
  if cmp -s "$folder/$4" "$folder.before"; then
    fail "$3 has nothing to do in $4"
  fi
  if [[ -e $folder/DEBIAN/md5sums ]]; then
    (cd "$folder" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
  fi
  dpkg-deb -Znone --root-owner-group --build "$folder" "$root$(deb_path "$2")" >/dev/null
  rm -rf "$folder" "$folder.before"
}

# repository offers a package as an archive does, without a network: for unattended-upgrades.
repository() {
  local deb=$root$1 folder=$root/srv/archive
  rm -rf "$folder"
  mkdir -p "$folder"
  cp "$deb" "$folder/"
  {
    dpkg-deb --field "$deb"
    echo "Filename: ./${deb##*/}"
    echo "Size: $(stat -c %s "$deb")"
    echo "SHA256: $(sha256sum <"$deb" | cut -d ' ' -f 1)"
  } >"$folder/Packages"
  printf 'Origin: tined-test\nLabel: tined-test\nSuite: stable\nDate: %s\nSHA256:\n %s %s Packages\n' "$(LC_ALL=C date -Ru)" \
    "$(sha256sum <"$folder/Packages" | cut -d ' ' -f 1)" "$(stat -c %s "$folder/Packages")" >"$folder/Release"
  echo 'deb [trusted=yes] file:/srv/archive ./' >"$root/etc/apt/sources.list.d/archive.list"
  echo 'Unattended-Upgrade::Origins-Pattern { "origin=tined-test"; };' >"$root/etc/apt/apt.conf.d/99archive"
}

# part_deb_night: unattended upgrades, with the times of the package, and with a configuration that the administrator has edited.
part_deb_night() {
  local next=$v2+1
  gone
  have "$v1" defaults
  echo '# the administrator was here' >>"$root/etc/tined/tined.hcl"
  inside systemctl reload tined
  repository "$(deb_path "$v2")"
  inside apt-get -q update >>"$log/calls" 2>&1
  load_begin
  call unattended-upgrade
  load_end "unattended upgrade under load, with the times of the package"
  sed 's/\r*$//; s/.*\r//' "$root/var/log/unattended-upgrades/unattended-upgrades-dpkg.log" >>"$call_out"
  quiet "unattended-upgrade"
  says "its log says what has happened" "^tined $v2: .*moved, 0 failed; undo: tined rollback"
  is "it is there" "dpkg=ii  $v2" "disk=$v2" "runs=$v2" "${serving[@]}"
  check "the administrator's configuration is kept" grep -q 'the administrator was here' "$root/etc/tined/tined.hcl"
  rm -rf "$root/srv/archive" "$root/etc/apt/sources.list.d/archive.list" "$root/etc/apt/apt.conf.d/99archive"

  # The package has another configuration too: dpkg would ask.
  configure
  # shellcheck disable=SC2016 # sed's last line
  repack "$v2" "$next" '$a # the package was here' etc/tined/tined.hcl
  apt "$next" -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold
  same "a configuration that both have changed: status" 0 "$call_status"
  check "the administrator's is kept" grep -q 'the administrator was here' "$root/etc/tined/tined.hcl"
  check "the package's lies beside it" grep -q 'the package was here' "$root/etc/tined/tined.hcl.dpkg-dist"
  is "it serves" "dpkg=ii  $next" "runs=$v2" "${serving[@]}"
  rm -f "$root/etc/tined/tined.hcl.dpkg-dist" "$root$(deb_path "$next")"
}

part_deb_remove() {
  local left
  gone
  have "$v2"
  echo data | inside sh -c 'cat >/var/lib/tined/data && chown tined: /var/lib/tined/data'
  load_begin -clients -1 -idle -1 -rate -1 -streams 2 -uploads 2
  load_stop
  apt_get remove tined
  load_end "remove with transfers under way"
  quiet "remove"
  is "it is removed, and its configuration is not" "dpkg=rc  $v2" ActiveState=inactive MainPID=0
  check "the configuration is there" test -s "$root/etc/tined/tined.hcl" -a -s "$root/etc/tined/conf.d/load.hcl"
  check "no program is" test ! -e "$root/usr/bin/tined" -a ! -e "$root/usr/lib/tined"
  apt "$v2"
  quiet "install after remove"
  is "it serves" "dpkg=ii  $v2" "runs=$v2" UnitFileState=enabled "${serving[@]}"
  purge
  quiet "purge"
  look
  same "the package is gone" '' "${now[dpkg]:-}"
  left=$(inside find / -xdev -path '*tined*' '(' -path '/srv/*' -o -path '/var/cache/*' -o -path '/var/lib/apt/*' -o -path '/etc/hostname' ')' -prune -o -path '*tined*' -print | sort | tr '\n' ' ')
  same "what the administrator has made is left" "/etc/tined /etc/tined/conf.d /etc/tined/conf.d/load.hcl /var/lib/tined /var/lib/tined/data " "$left"
  gone
}

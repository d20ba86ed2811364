# shellcheck shell=bash disable=SC2154 # run.sh sets what is not set here
# The part for rpm, on the same Debian: its rpm knows the packages of Debian not, and is told not to ask for what the package needs. Sourced
# by run.sh.

rpm_path() {
  case $arch in
    amd64) echo "$packages/tined-$1-1.x86_64.rpm" ;;
    arm64) echo "$packages/tined-$1-1.aarch64.rpm" ;;
  esac
}

# rpm_call VERSION FLAG… installs, or upgrades.
rpm_call() {
  local file
  file=$(rpm_path "$1")
  call rpm --nodeps --force-debian "${@:2}" "/srv/packages/${file##*/}"
}

# What the third version suffers from here, and what is then said. deb has tried the rest.
rpm_sicknesses=(exit mute errors)

part_rpm() {
  local sick master kept processes more left
  gone
  inside find / -xdev -path '*tined*' -print | sort >"$log/before"
  rpm_call "$v1" -i
  quiet "rpm -i"
  is "it serves" "rpm=$v1" "disk=$v1" "runs=$v1" UnitFileState=enabled "${serving[@]}"
  check "the welcome page on port 80" answers / '/etc/tined'

  configure
  inside systemctl reload tined
  load_begin
  rpm_call "$v2" -U
  load_end "upgrade under load"
  quiet "rpm -U"
  says "it says what has happened" "^tined $v2: .*moved, 0 failed; undo: tined rollback\$"
  is "it is there" "rpm=$v2" "disk=$v2" "runs=$v2" "${serving[@]}"

  for sick in "${rpm_sicknesses[@]}"; do
    within 15 settled
    processes=${now[processes]} master=${now[MainPID]} kept=${now[kept]}
    more=()
    [[ $sick != errors ]] || more=(-ask /hello/sick)
    load_begin "${more[@]}"
    echo "$sick" >"$root$sickness"
    rpm_call "$v3" -U
    rm -f "$root$sickness"
    load_end "$sick: upgrade under load"
    says "$sick: rpm, status $call_status, says why" "^tined: .*${reason[$sick]}"
    says "$sick: and that the script has failed" 'posttrans.*scriptlet failed'
    check "$sick: nothing of the other version runs" within 15 alone "$processes"
    is "$sick: the version before is there" "disk=$v2" "runs=$v2" "MainPID=$master" "kept=$kept" "${serving[@]}"
    # The books follow.
    rpm_call "$v2" -U --oldpackage
    quiet "$sick: rpm -U --oldpackage"
    is "$sick: and in rpm's books" "rpm=$v2" "disk=$v2" "runs=$v2" "MainPID=$master" "${serving[@]}"
  done

  inside systemctl stop tined
  rpm_call "$v1" -U --oldpackage
  quiet "downgrade of a stopped service"
  is "stopped stays stopped" "rpm=$v1" "disk=$v1" ActiveState=inactive UnitFileState=enabled
  inside systemctl start tined

  load_begin -clients -1 -idle -1 -rate -1 -streams 2 -uploads 2
  load_stop
  call rpm --force-debian -e tined
  load_end "rpm -e with transfers under way"
  quiet "rpm -e"
  is "it has stopped" ActiveState=inactive MainPID=0
  inside find / -xdev -path '*tined*' -print | sort >"$log/after"
  left=$(comm -13 "$log/before" "$log/after" | tr '\n' ' ')
  same "what the administrator has made, and the folders of data and logs, are left" \
    "/etc/tined /etc/tined/conf.d /etc/tined/conf.d/load.hcl /var/lib/tined /var/log/tined /var/log/tined/load.log " "$left"
}

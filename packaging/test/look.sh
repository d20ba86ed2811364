#!/bin/sh
# On the machine: prints the state of package and service, a line KEY=VALUE each. Called by look in service.sh.

# shellcheck disable=SC2016 # dpkg's own words
dpkg-query -W -f 'dpkg=${db:Status-Abbrev} ${Version}\n' tined 2>/dev/null
rpm -q --qf 'rpm=%{VERSION}\n' tined 2>/dev/null | grep ^rpm=
systemctl show tined.service -p ActiveState,SubState,UnitFileState,MainPID,NRestarts,StatusText

# What the process runs, whatever is on disk.
pid=$(systemctl show tined.service -p MainPID --value)
if [ "$pid" != 0 ]; then
  echo "runs=$("/proc/$pid/exe" version | cut -d ' ' -f 2)"
  echo "user=$(getent passwd "$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status")" | cut -d : -f 1)"
fi
if [ -x /usr/bin/tined ]; then
  echo "disk=$(timeout 5 /usr/bin/tined version | cut -d ' ' -f 2)"
fi
echo "kept=$(find /usr/lib/tined -mindepth 1 2>/dev/null | sort | tr '\n' ' ')"
group=$(systemctl show tined.service -p ControlGroup --value)
if [ -n "$group" ]; then
  echo "processes=$(wc -l <"/sys/fs/cgroup$group/cgroup.procs")"
fi

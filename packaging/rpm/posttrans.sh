#!/bin/sh
# %posttrans: everything is in its place, and the scripts of the version before have run.
#
# The running service goes on with the new version, or the files of the version before are put back; status 1 makes rpm say so. Its
# books have the new version all the same: rpm cannot take an installation back.
set -e

# shellcheck source=packaging/live-upgrade.sh
. "$(dirname "$0")/../live-upgrade.sh" # include

unit=/usr/lib/systemd/system/$service
aside=$kept/replaced

# replaced says whether this upgrade has brought another content of file $1.
replaced() {
	[ -e "$aside/${1##*/}" ] && [ "$(fingerprint "$aside/${1##*/}")" != "$(fingerprint "$1")" ]
}

# put_back brings the files of the version before into their places, each in one step.
put_back() {
	for file in "$program" "$configuration" "$unit"; do
		replaced "$file" || continue
		rm -f "$file.tined"
		ln "$aside/${file##*/}" "$file.tined" 2>/dev/null || cp -p "$aside/${file##*/}" "$file.tined" || return 1
		mv -f "$file.tined" "$file" || return 1
		# A copy has the label of the folder that it comes from.
		! command -v restorecon >/dev/null || restorecon "$file" || true
		files="$files $file"
	done
	! systemd_runs || systemctl daemon-reload || true
}

# take_up brings the running service to the new configuration, where an upgrade of the executable has not done so: they are the same.
take_up() {
	now=$(running_pid)
	[ -n "$now" ] && [ "$now" = "$master" ] && replaced "$configuration" && ! forbidden reload || return 0
	"$program" reload -c "$configuration" >/dev/null
}

[ -d "$aside" ] || exit 0 # a first installation

# An upgrade goes on without the one who has asked for it: ^C, a lost terminal or a closed pipe must not keep this from learning its end.
trap '' HUP INT PIPE

files=
master=$(running_pid)
if live_upgrade && take_up; then
	rm -rf "$aside"
	exit 0
fi

if put_back; then
	rm -rf "$aside"
	complain "put back as before:$files; rpm counts the new version as installed all the same. When the cause is cured, reinstall it to try again"
else
	complain "the version before serves, but its files could not be put back from $aside: do that by hand, or a restart starts the new version"
fi
exit 1

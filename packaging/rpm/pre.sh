#!/bin/sh
# %pre COUNT: 1 for a first installation; 2 for an upgrade, a downgrade and a reinstallation.
#
# rpm replaces files and cannot go back. So what the service needs is kept aside until %posttrans knows that the new version is good:
# the executable, the configuration and the unit. A link costs nothing, and rpm puts new files beside the old ones, not into them.
set -e

# shellcheck source=packaging/live-upgrade.sh
. "$(dirname "$0")/../live-upgrade.sh" # include

unit=/usr/lib/systemd/system/$service

# put_aside keeps the files, anew: what an interrupted upgrade has left there is older than what the administrator has written since.
put_aside() {
	rm -rf "$kept/replaced" || return 1
	mkdir -p "$kept" && mkdir -m 0700 "$kept/replaced" || return 1
	for file in "$program" "$configuration" "$unit"; do
		copy=$kept/replaced/${file##*/}
		[ ! -e "$file" ] || ln "$file" "$copy" 2>/dev/null || cp -p "$file" "$copy" || return 1
	done
}

if [ "$1" -ge 2 ] && ! put_aside; then
	rm -rf "$kept/replaced"
	complain "the version before cannot be kept aside in $kept, and nothing has changed; is there room on its file system?"
	exit 1
fi

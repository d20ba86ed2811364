#!/bin/sh
# %postun COUNT: 0 for the removal; 1 when another version has come in place of this one: nothing is to be done then.
#
# rpm knows no purge: the user, /var/lib/tined and /var/log/tined stay, and so does a configuration that was edited, as tined.hcl.rpmsave.
set -e

if [ "$1" -eq 0 ]; then
	rm -rf /usr/lib/tined/replaced /usr/lib/tined/tined-* /usr/lib/tined/.tined.*
	rmdir /usr/lib/tined 2>/dev/null || true
	# `systemctl disable` leaves those of a masked unit.
	rm -f /etc/systemd/system/*.wants/tined.service
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload || true
		# Otherwise one that has failed would be listed for ever.
		systemctl --quiet reset-failed tined.service 2>/dev/null || true
	fi
fi

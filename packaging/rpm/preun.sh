#!/bin/sh
# %preun COUNT: 0 for the removal; 1 when another version has come in place of this one, whose %posttrans does what is to be done: this
# script must not touch the service then.
set -e

if [ "$1" -eq 0 ] && command -v systemctl >/dev/null; then
	# What fails says so itself, and does not keep the package from going.
	systemctl --quiet --no-reload disable tined.service || true
	# It ends when the last exchange has, or drain_timeout is over.
	[ ! -d /run/systemd/system ] || systemctl stop tined.service || true
fi

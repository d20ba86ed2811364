#!/bin/sh
# %post COUNT: 1 for a first installation; 2 for an upgrade, a downgrade and a reinstallation.
#
# An installation does not fail for a service that cannot start. An upgrade starts nothing and enables nothing: the running service goes on
# with the new version in %posttrans.
set -e

# shellcheck source=packaging/live-upgrade.sh
. "$(dirname "$0")/../live-upgrade.sh" # include

# user_and_folders makes the user that the service runs as, and what is his, also where there is no systemd.
user_and_folders() {
	if command -v systemd-sysusers >/dev/null; then
		SYSTEMD_LOG_LEVEL=warning systemd-sysusers tined.conf || return 1
	else
		getent group tined >/dev/null || groupadd --system tined || return 1
		getent passwd tined >/dev/null || useradd --system --gid tined --home-dir /var/lib/tined --no-create-home \
			--shell /sbin/nologin --comment 'tined web server' tined || return 1
	fi
	# It does not work in a chroot without /proc.
	systemd-tmpfiles --create tined.conf 2>/dev/null || install -d -m 0750 -o tined -g tined /var/lib/tined /var/log/tined
}

# first_installation enables the service as the presets of the distribution and of the administrator say, and starts what is enabled.
first_installation() {
	command -v systemctl >/dev/null || return 0
	state=$(systemctl is-enabled "$service" 2>/dev/null) || true
	case $state in
	masked*) ;; # nothing can be enabled then
	*)
		systemctl --quiet --no-reload preset "$service" || true # it says itself what is wrong
		state=$(systemctl is-enabled "$service" 2>/dev/null) || true
		;;
	esac
	systemd_runs || return 0
	systemctl daemon-reload || true
	case $state in
	enabled | enabled-runtime) forbidden start || start_service systemctl ;;
	masked*) echo "tined: the service is masked, and stays so until \`systemctl unmask tined\`" ;;
	*) echo "tined: the service is not enabled here by default; \`systemctl enable --now tined\` starts it, now and with the system" ;;
	esac
}

user_and_folders || complain "the user tined, or a folder of his, could not be made: without them the service does not start"
if [ "$1" -eq 1 ]; then
	first_installation
elif systemd_runs; then
	systemctl daemon-reload || true
fi

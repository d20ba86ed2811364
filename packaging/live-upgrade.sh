#!/bin/sh
# What the maintainer scripts of both kinds of package share: the running service goes on with the executable that a package has just put
# on disk, without a lost connection. packaging/build.sh puts this text in the place of the lines that end in "# include".

program=/usr/bin/tined
configuration=/etc/tined/tined.hcl
service=tined.service
kept=/usr/lib/tined
unset TINED_CONTROL TINED_ROLE TINED_INIT

# Everything that runs an executable which nobody has tried yet is bounded by so many seconds.
patience=30

# complain prints a sentence for the administrator.
complain() {
	printf 'tined: %s\n' "$*" >&2
}

# systemd_runs says whether systemd is the init process here: not in a chroot, not in most containers.
systemd_runs() {
	[ -d /run/systemd/system ]
}

# running_pid prints the pid of the service's master; nothing where the service does not run.
running_pid() {
	systemd_runs || return 0
	case $(systemctl show --property=ActiveState --value "$service" 2>/dev/null) in
	active | reloading) ;;
	*) return 0 ;;
	esac
	running=$(systemctl show --property=MainPID --value "$service" 2>/dev/null) || return 0
	case $running in
	'' | 0 | *[!0-9]*) ;;
	*) [ ! -e "/proc/$running/exe" ] || echo "$running" ;;
	esac
}

# forbidden says whether the administrator's policy keeps packages from doing $1 to services: start, restart.
forbidden() {
	[ -x /usr/sbin/policy-rc.d ] || return 1
	policy=0
	/usr/sbin/policy-rc.d "$service" "$1" >/dev/null 2>&1 || policy=$?
	[ "$policy" -eq 101 ]
}

# fingerprint prints what tells the content of a file from others.
fingerprint() {
	sha256sum <"$1" | cut -d ' ' -f 1
}

# as_service runs a command as the service's user: never more than that user may, with the control socket where the unit has it, and without
# a terminal that it could type into.
as_service() {
	user=$(systemctl show --property=User --value "$service" 2>/dev/null) || user=
	user=${user:-root}
	groups=$(id -G "$user" | tr ' ' ,)
	for group in $(systemctl show --property=SupplementaryGroups --value "$service" 2>/dev/null); do
		groups=$groups,$group
	done
	RUNTIME_DIRECTORY=/run/${service%.service} setsid --wait \
		setpriv --reuid="$user" --regid="$(id -g "$user")" --groups="$groups" --no-new-privs -- "$@"
}

# copy_image copies the image that process $1 runs, which is not on disk any more when a package has replaced it, to $2. A service executes
# what it likes: only a file that none but root can have written may come among root's. It is opened once, for the process may execute
# another one meanwhile.
copy_image() {
	{
		case $(stat --format=%u:%a -) in
		*[2367]? | *[2367]) return 1 ;;
		0:*) cat >"$2" && chmod 755 "$2" ;;
		*) return 1 ;;
		esac
	} <"/proc/$1/exe"
}

# keep_running keeps the image that process $1 runs, and prints the path of the copy. It is the client of the upgrade, since it is known to
# work, and what `tined rollback` goes back to.
keep_running() {
	copy=$kept/.tined.$$
	mkdir -p "$kept" && copy_image "$1" "$copy" && number=$(as_service timeout --kill-after=1 "$patience" "$copy" version | cut -d ' ' -f 2) || number=
	case $number in
	'' | *[!0-9A-Za-z.+-]*) ;;
	*)
		if mv -f "$copy" "$kept/tined-$number"; then
			echo "$kept/tined-$number"
			return 0
		fi
		;;
	esac
	rm -f "$copy"
	return 1
}

# checked asks the new executable, as the service's user, whether it would take the configuration.
checked() {
	status=0
	as_service timeout --kill-after=1 "$patience" "$program" check "$configuration" >/dev/null || status=$?
	case $status in
	0) return 0 ;;
	1) complain "the version that was to be installed refuses $configuration; correct it, or keep the version that serves" ;;
	124 | 137) complain "the version that was to be installed hangs: \`tined check\` has not ended within $patience s" ;;
	*) complain "the version that was to be installed does not run: \`tined check\` has ended with status $status" ;;
	esac
	return 1
}

# live_upgrade brings the running service to the executable on disk. It returns 0 when it serves or there was nothing to do, 1 when the
# version before serves on.
live_upgrade() {
	pid=$(running_pid)
	[ -n "$pid" ] || return 0
	if forbidden restart; then # which an upgrade amounts to
		echo "tined: policy-rc.d forbids to touch the running service: it goes on with the version before, until \`tined upgrade --binary $program\` or a restart"
		return 0
	fi
	# systemd forgets what a unit says when it is masked, and ends a service whose new master it does not listen to.
	if [ "$(systemctl show --property=NotifyAccess --value "$service" 2>/dev/null)" != all ]; then
		echo "tined: the running service goes on with the version before: its unit is masked, or its NotifyAccess= is not \"all\""
		return 0
	fi
	before=$(fingerprint "/proc/$pid/exe")
	[ "$before" != "$(fingerprint "$program")" ] || return 0
	if ! checked; then
		complain "nothing has changed: the service runs on as it is"
		return 1
	fi
	if ! old=$(keep_running "$pid"); then
		complain "the running executable cannot be kept in $kept for a rollback: is there room on its file system, and did root install it? nothing has changed; \`systemctl stop tined\` lets the upgrade pass"
		return 1
	fi
	status=0
	as_service "$old" upgrade --brief --binary "$program" --previous "$old" -c "$configuration" || status=$?
	case $status in
	0) ;;
	3)
		rm -f "$old"
		complain "the service runs, and its control socket is not where $configuration says: it goes on with the version before, until it is restarted"
		return 0
		;;
	*)
		# The upgrade goes on when its client is killed.
		while as_service timeout --kill-after=1 "$patience" "$old" status -c "$configuration" 2>/dev/null | grep -q '^an upgrade .* is under way'; do
			sleep 1
		done
		serving=
		pid=$(running_pid)
		[ -z "$pid" ] || serving=$(fingerprint "/proc/$pid/exe") || serving=
		if [ "$serving" != "$(fingerprint "$program")" ]; then
			[ "$serving" != "$before" ] || rm -f "$old"
			return 1
		fi
		# The new version serves after all: only the client has ended badly.
		;;
	esac
	for other in "$kept"/tined-*; do
		[ "$other" = "$old" ] || rm -f "$other"
	done
}

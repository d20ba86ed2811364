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

# settled waits while somebody stops or restarts the service, which starts what is on disk. What systemd starts again after a crash is better
# the version before, so that is not waited for.
settled() {
	left=$patience
	while [ "$left" -gt 0 ]; do
		case $(systemctl show --property=ActiveState --property=SubState --value "$service" 2>/dev/null) in
		*auto-restart*) return ;;
		*activating*) sleep 1 ;;
		*) return ;;
		esac
		left=$((left - 1))
	done
}

# forbidden says whether the administrator's policy keeps packages from doing $1 to services: start, restart.
forbidden() {
	[ -x /usr/sbin/policy-rc.d ] || return 1
	policy=0
	/usr/sbin/policy-rc.d "$service" "$1" >/dev/null 2>&1 || policy=$?
	[ "$policy" -eq 101 ]
}

# start_service starts the service by the command $1, after an installation, which does not fail for a service that cannot start.
start_service() {
	# Asked as root, it knows the holder of a port by name.
	if ! timeout --kill-after=1 "$patience" "$program" check --ports "$configuration" >/dev/null; then
		complain "the service is not started; free the port, or correct what is in ${configuration%/*}, then \`systemctl start tined\`"
	elif ! "$1" start "$service"; then
		why=$(systemctl show --property=StatusText --value "$service" 2>/dev/null) || why=
		complain "the service has not started${why:+: $why}; \`journalctl -u tined\` says more, \`systemctl start tined\` tries again"
	fi
}

# fingerprint prints what tells the content of a file from others.
fingerprint() {
	sha256sum <"$1" | cut -d ' ' -f 1
}

# known_by learns from process $1, the service's master, as whom it runs, and how commands find it: drop-ins of the unit may have changed both.
# What the process could have made up itself is used for commands that have no more rights than it has.
known_by() {
	identity=$(awk '
		$1 == "Uid:" { user = $2 }
		$1 == "Gid:" { group = $2 }
		$1 == "Groups:" { for (i = 2; i <= NF; i++) groups = groups "," $i }
		END { print "--reuid=" user, "--regid=" group, groups == "" ? "--clear-groups" : "--groups=" substr(groups, 2) }
	' "/proc/$1/status") || return 1
	in_use=$(tr '\0' '\n' <"/proc/$1/cmdline" | sed -nE '/^(-c|--config)$/ { n; p; q; }; s/^--config=//p')
	case $in_use in
	*[!0-9A-Za-z/._@+-]*) in_use=$configuration ;;
	/*) ;;
	*) in_use=$configuration ;;
	esac
	socket=$({
		tr '\0' '\n' <"/proc/$1/cmdline" | sed -n '/^--control$/ { n; p; }; s/^--control=//p'
		tr '\0' '\n' <"/proc/$1/environ" | sed -n 's/^TINED_CONTROL=//p'
	} | head -n 1)
	[ "$(running_pid)" = "$1" ] # and not another process, which has got its number since
}

# as_service runs a command as the service does: never with more rights, and without a terminal that it could type into.
as_service() {
	# shellcheck disable=SC2086 # words
	RUNTIME_DIRECTORY=/run/${service%.service} TINED_CONTROL=$socket setsid --wait setpriv $identity --no-new-privs -- "$@" </dev/null
}

# over waits until the server is about no upgrade any more, as the executable $1 sees it: for an hour, which is the longest upgrade.timeout.
over() {
	left=3600
	while [ "$left" -gt 0 ] &&
		as_service timeout --kill-after=1 "$patience" "$1" status -c "$in_use" 2>/dev/null | grep -q '^an upgrade .* is under way'; do
		sleep 1
		left=$((left - 1))
	done
}

# serves_from_disk says whether the service runs the executable that is on disk.
serves_from_disk() {
	pid=$(running_pid)
	[ -n "$pid" ] && [ "$(fingerprint "/proc/$pid/exe")" = "$(fingerprint "$program")" ]
}

# copy_image copies the image that process $1 runs, which is not on disk any more when a package has replaced it, to $2. A service executes
# what it likes: only a file that none but root can have written may come among root's. It is opened once, for the process may execute
# another one meanwhile.
copy_image() {
	{
		case $(stat --format=%u:%a -) in
		*[2367]? | *[2367]) return 1 ;;
		0:*) install -m 755 /dev/stdin "$2" ;;
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
	said=$kept/.tined.said
	mkdir -p "$kept"
	# Into a file: a pipe would be waited for as long as anything that the executable has started holds it.
	as_service timeout --kill-after=1 "$patience" "$program" check "$in_use" >/dev/null 2>"$said" || status=$?
	[ "$status" -eq 0 ] || cat "$said" >&2 # else they are warnings, as at every start
	rm -f "$said"
	[ "$status" -ne 0 ] || return 0
	case $status in
	1) complain "the version that was to be installed refuses $in_use; correct it, or keep the version that serves" ;;
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
	! serves_from_disk || return 0
	master=$pid
	before=$(fingerprint "/proc/$pid/exe")
	if ! known_by "$pid" || ! checked; then
		complain "nothing has changed: the service runs on as it is"
		return 1
	fi
	there=" $(echo "$kept"/tined-*) "
	if ! old=$(keep_running "$pid"); then
		complain "the running executable cannot be kept in $kept for a rollback: is there room on its file system, and did root install it? nothing has changed; \`systemctl stop tined\` lets the upgrade pass"
		return 1
	fi
	status=0
	as_service "$old" upgrade --brief --binary "$program" --previous "$old" -c "$in_use" || status=$?
	if [ "$status" -ne 0 ]; then
		# The upgrade goes on when its client is killed.
		over "$old"
		settled
		if ! serves_from_disk; then
			# A server that has gone back may run the copy that was there before.
			case $there in
			*" $old "*) ;;
			*) [ -z "$pid" ] || [ "$before" != "$(fingerprint "/proc/$pid/exe")" ] || rm -f "$old" ;;
			esac
			if [ "$status" -eq 3 ] && [ "$pid" = "$master" ]; then
				complain "the service runs, and its control socket is not where $in_use says: it goes on with the version before, until it is restarted"
				return 0
			fi
			return 1
		fi
		echo "tined: the new version serves all the same, by a restart or without the command that has waited for it; \`tined status\` shows how it is"
	fi
	for other in "$kept"/tined-*; do
		[ "$other" = "$old" ] || rm -f "$other"
	done
}

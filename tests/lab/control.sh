#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: a Linux guest in the background, with a shell on its console, and what the control
# socket does to it and says of it.
set -u
here=$(dirname "$0")
. "$here/lib.sh"

shown=0 # bytes of the console that were looked at
# Type a line, wait for what matches REGEX behind what was there, at most 60 s.
type_and_wait() { # LINE REGEX
	shown=$(stat -c %s typed)
	[ -z "$1" ] || printf '%s\n' "$1" >&7
	wait_for "$2"
}
wait_for() { # REGEX
	local n
	for n in $(seq 600); do
		tail -c +$((shown + 1)) typed | tr -d '\r' | grep -Eqa -- "$1" && return
		sleep 0.1
	done
	return 1
}
check() { # NAME COMMAND...: its output goes to a file that is shown if it fails
	local name=$1
	shift
	if "$@" >said 2>&1; then pass "$name"; else fail "$name" said; fi
}
says() { # REGEX WORD...: `trivm ctl guest WORD...` says it
	local regex=$1
	shift
	timeout 60 trivm ctl guest "$@" >answer 2>&1
	cat answer
	grep -Eq -- "$regex" answer
}

name="control: a Linux guest in the background"
if ! expect "$name" 0 started trivm run -m 256M -c 2 --daemonize --name guest --net user,ring=packed --rng; then
	finish
	exit
fi
mkfifo keys
: >typed
trivm console guest <keys >typed 2>console-err &
console=$!
exec 7>keys
if ! wait_for 'trivm:.*# '; then
	fail "$name: no shell on its console" typed
	trivm ctl guest quit
	finish
	exit
fi
pass "$name"
trivm ctl guest events >events &

type_and_wait 'ip link set eth0 up; sleep 1; echo carrier=$(cat /sys/class/net/eth0/carrier)' 'carrier=[01]'
check "control: its driver runs the card" says 'packed' net net0 rings
check "control: the device's place in the ring is known" says '^last_seen +[0-9]+/[01]' net net0 rings
check "control: the driver's status" says 'DRIVER_OK' devices
check "control: a cable pulled" says 'link +down' net net0 link down
check "control: the guest sees it" type_and_wait 'echo carrier=$(cat /sys/class/net/eth0/carrier)' '^carrier=0'
check "control: a cable plugged in" says 'link +up' net net0 link up
check "control: the guest sees that, too" type_and_wait 'sleep 1; echo carrier=$(cat /sys/class/net/eth0/carrier)' '^carrier=1'
check "control: exits are counted" says '^  exits +[1-9][0-9]* +[1-9]' stats

# Paused: it does nothing, for as long as it takes; then it goes on, and has noticed nothing.
type_and_wait 'dmesg -c >/dev/null; echo now=clear' '^now=clear'
check "control: pause" says paused pause
shown=$(stat -c %s typed)
printf 'echo after=pause\n' >&7
sleep 3
if tail -c +$((shown + 1)) typed | grep -qa 'after='; then
	fail "control: a paused guest does nothing" typed
else
	pass "control: a paused guest does nothing"
fi
check "control: resume" says running resume
check "control: it goes on" wait_for '^after=pause'
check "control: and its kernel does not complain" type_and_wait 'echo complaints=$(dmesg -r | grep -c "^<[0-3]>")' '^complaints=0'

check "control: a reset" says ending reset
shown=$(stat -c %s typed)
check "control: it boots anew, on the same console" wait_for 'trivm:.*# '
check "control: the power button" says running powerdown
for n in $(seq 600); do
	trivm ctl guest status >said 2>&1 || break
	sleep 0.1
done
check "control: an orderly end" test "$n" -lt 600
wait_for 'Power down|System halted|reboot: ' || fail "control: the guest's last words" typed
exec 7>&-
wait $console
wait
for what in link=down link=up paused resumed started guest-poweroff; do
	check "control: event $what" grep -q "$what" events
done
check "control: nothing is left behind" test -z "$(find /tmp/trivm-0 ! -type d ! -name '*.log')"
finish

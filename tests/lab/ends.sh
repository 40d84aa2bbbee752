#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Inside the lab: --exec as a function, and each way in which a guest can end, with its documented status.
set -u
here=$(dirname "$0")
. "$here/lib.sh"

# stdout of a command is exactly what it wrote; its status is ours.
name="--exec: output and status 0"
if timeout $limit trivm run --exec 'uname -s; nproc; echo "a  b" | tr a-z A-Z' >out 2>err; then
	printf 'Linux\n1\nA  B\n' >want
	if cmp -s out want && ! [ -s err ]; then pass "$name"; else cat err >>out; fail "$name" out; fi
else
	fail "$name" err
fi

for status in 7 1 255; do
	name="--exec: exit $status"
	expect "$name" $status out trivm run --exec "exit $status" && pass "$name"
done

name="--exec: a command that dies of a signal"
expect "$name" 137 out trivm run --exec 'kill -9 $$' && pass "$name"

name="--exec: many bytes, none lost or added"
if timeout $limit trivm run --exec 'i=0; while [ $i -lt 700 ]; do echo "line $i"; i=$((i+1)); done' >out 2>err; then
	i=0
	while [ $i -lt 700 ]; do echo "line $i"; i=$((i + 1)); done >want
	if cmp -s out want; then pass "$name"; else cmp out want >>err 2>&1; fail "$name" err; fi
else
	fail "$name" err
fi

name="poweroff: status 0"
echo poweroff | expect "$name" 0 out trivm run && pass "$name"

name="reboot: status 121"
echo 'reboot -f' | expect "$name" 121 out trivm run && pass "$name"

# A guest whose terminal is a pipe that stays open: it never reads an end of file.
mkfifo keys
exec 9<>keys
start() { # ARGUMENTS...: in the background, its process is $guest
	: >out
	trivm run "$@" <&9 >out 2>&1 &
	guest=$!
}
wait_for() { # TEXT TIMES: until its output has TEXT so often
	local n=0
	while [ $n -lt $((2 * limit)) ] && [ "$(grep -ac "$1" out)" -lt "$2" ]; do
		sleep 0.5
		n=$((n + 1))
	done
	[ "$(grep -ac "$1" out)" -ge "$2" ]
}
# Its status, or 99 if it is still there after 30 s.
end_of_guest() {
	local n=0
	while kill -0 "$guest" 2>/dev/null && [ $n -lt 60 ]; do
		sleep 0.5
		n=$((n + 1))
	done
	if kill -0 "$guest" 2>/dev/null; then
		kill -9 "$guest"
		wait "$guest" 2>/dev/null
		return 99
	fi
	wait "$guest" 2>/dev/null
}
judge() { # STATUS WANTED
	if [ "$1" -eq "$2" ]; then
		pass "$name"
	else
		echo "     status $1, not $2"
		fail "$name" out
	fi
}

name="reboot with --on-reset reboot: the guest comes back"
start --on-reset reboot
wait_for 'Welcome to trivm' 1
echo 'reboot -f' >&9
if wait_for 'Welcome to trivm' 2; then
	echo 'poweroff' >&9
	end_of_guest
	judge $? 0
else
	kill -9 $guest
	fail "$name" out
fi

name="panic: status 122"
expect "$name" 122 out trivm run --exec 'sleep 2; echo c >/proc/sysrq-trigger; sleep 60' &&
	{ grep -q 'kernel panicked' out && pass "$name" || fail "$name: no word of the panic" out; }

name="SIGTERM: an orderly shutdown, status 0"
start
wait_for 'Welcome to trivm' 1
sleep 3 # the power button's reader starts behind the shell
kill -TERM $guest
end_of_guest
judge $? 0

name="two SIGTERM: at once, status 143"
start
wait_for 'Welcome to trivm' 1
kill -TERM $guest
sleep 0.05
kill -TERM $guest
end_of_guest
judge $? 143

name="SIGTERM ends a running --exec"
start --exec 'echo started; sleep 500'
wait_for started 1
sleep 3
kill -TERM $guest
end_of_guest
judge $? 143
finish

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

name="reboot with --on-reset reboot: the guest comes back"
cat >in <<'E2'
stty -echo; if grep -q again /proc/cmdline; then echo; fi; echo "UP-""$(cut -d. -f1 /proc/uptime)"; reboot -f
E2
(cat in; sleep 100) | timeout -k 5 $limit trivm run --on-reset reboot >out 2>&1 &
pid=$!
n=0
while [ $n -lt 100 ] && [ "$(grep -ac 'Welcome to trivm' out)" -lt 2 ]; do sleep 1; n=$((n + 1)); done
if [ "$(grep -ac 'Welcome to trivm' out)" -ge 2 ]; then pass "$name"; else fail "$name" out; fi
pkill -9 -f on-reset
wait $pid 2>/dev/null

name="panic: status 122"
expect "$name" 122 out trivm run --exec 'sleep 2; echo c >/proc/sysrq-trigger; sleep 60' &&
	{ grep -q 'kernel panicked' out && pass "$name" || fail "$name: no word of the panic" out; }

# A guest at its prompt, then signals.
start_idle() {
	: >out
	sleep 1000 | trivm run >out 2>&1 &
	idle_job=$!
	local n=0
	while [ $n -lt "$limit" ] && ! grep -aq 'Welcome to trivm' out; do
		sleep 0.5
		n=$((n + 1))
	done
	sleep 2 # the power button's reader starts behind the shell
	idle=$(pgrep -xn trivm)
}
end_idle() { # waits for trivm's own status
	local n=0
	while kill -0 "$idle" 2>/dev/null && [ $n -lt 60 ]; do
		sleep 0.5
		n=$((n + 1))
	done
	if kill -0 "$idle" 2>/dev/null; then
		kill -9 "$idle"
		return 99
	fi
	wait $idle_job
}

name="SIGTERM: an orderly shutdown, status 0"
start_idle
kill -TERM "$idle"
end_idle
status=$?
if [ $status -eq 0 ]; then pass "$name"; else echo "     status $status"; fail "$name" out; fi

name="two SIGTERM: at once, status 143"
start_idle
kill -STOP "$idle"
kill -TERM "$idle"
kill -CONT "$idle"
kill -TERM "$idle"
sleep 0.05
kill -TERM "$idle" 2>/dev/null
end_idle
status=$?
if [ $status -eq 143 ]; then pass "$name"; else echo "     status $status"; fail "$name" out; fi

name="SIGTERM ends a running --exec"
trivm run --exec 'echo started; sleep 500' >out 2>&1 &
pid=$!
n=0
while [ $n -lt 120 ] && ! grep -aq started out; do sleep 0.5; n=$((n + 1)); done
sleep 2
kill -TERM $pid
wait $pid
status=$?
if [ $status -eq 143 ]; then pass "$name"; else echo "     status $status"; fail "$name" out; fi
finish

#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# lab/run itself, from outside: its statuses, its heartbeat, its terminal; and `make run` as a person
# uses it. lab-run.sh PTY, the program of tests/kvm/pty.c.
set -u
here=$(dirname "$0")
. "$here/lib.sh"
pty=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export TERM=xterm TMPDIR=$tmp

outcome() { # NAME STATUS REGEX COMMAND...: lab/run ends so, and its output or errors match
	local name=$1 status=$2 regex=$3
	shift 3
	expect "$name" "$status" "$tmp/out" "$@" || return
	if grep -qE "$regex" "$tmp/out"; then pass "$name"; else fail "$name: nothing like $regex" "$tmp/out"; fi
}

converse() { # NAME STEP... -- COMMAND...
	local name=$1
	shift
	expect "$name" 0 "$tmp/out" "$pty" -t "${steps:-$limit}" "$@" && pass "$name"
}

outcome "lab/run: output, errors and the status of the command" 7 '^lab-error$' \
	lab/run -- sh -c 'echo lab-error >&2; exit 7'
outcome "lab/run: a host that no longer answers its heartbeat is given up, with the reason" 125 \
	'no answer to a heartbeat for 5 s, while waiting for the command' \
	lab/run --silence 5 -- sh -c 'kill -9 $(pgrep -P 1 -f /lab/run/session | head -n 1); sleep 600'
outcome "lab/run: a stop that ends with a heartbeat is counted and printed" 0 \
	'the host stopped, and the heartbeat woke it: [1-9][0-9]* times, [0-9]+ ms at most' \
	lab/run -- sh -c 'heart=$(pgrep -P 1 -f /lab/run/session | head -n 1)
		for n in 1 2 3 4 5 6 7 8; do kill -STOP $heart; sleep 0.6; kill -CONT $heart; sleep 1; done'
outcome "lab/run: manual pages, the pages of docs/, an editor and less are there" 0 'TRIVM\(1\)' \
	lab/run -- sh -ec 'nano --version; less --version; test -s /lab/docs/README.md; test -s /lab/docs/control.md
		man trivm-switch >/dev/null; man trivm'
outcome "lab/run -t: refused without a terminal" 125 'not a terminal' lab/run -t -- true

converse "lab/run -t: a terminal of this size, the command's status" size 33x101 expect '33 101' \
	expect 'xterm' expect 'is a tty' status 3 -- \
	lab/run -t -- sh -c 'stty size; echo $TERM; test -t 0 && test -t 1 && test -t 2 && echo is a tty; exit 3'
converse "lab/run -t: resized with the outer terminal, the program is signalled" size 30x100 expect ready size 41x119 \
	expect '41 119' status 0 -- \
	lab/run -t -- bash -c 'trap "stty size; exit" WINCH; echo ready; while :; do sleep 0.1; done'
converse "lab/run -t: Ctrl-C goes to the program" expect ready raw send '\x03' expect 'got it' status 5 -- \
	lab/run -t -- bash -c 'trap "echo got it; exit 5" INT; echo ready; while :; do sleep 0.1; done'
converse "lab/run -t: Ctrl-A, Ctrl-Z and others arrive; Ctrl-] only when asked for" expect ready raw \
	send '\x01\x1a\x1c\x00' send '\x1d' expect 'goes on' send ']' send 'q' expect '011a1c001d71' status 0 -- \
	lab/run -t -- sh -c 'stty raw -echo; echo ready; head -c 6 | xxd -p'
converse "lab/run: a shell, Ctrl-] and another key goes on, x ends the lab" expect 'lab:' send 'echo a$((3*4))b\r' \
	expect a12b send '\x1d' expect 'goes on' send n send 'echo b$((4*5))c\r' expect b20c \
	send '\x1d' expect 'goes on' send x status 123 -- lab/run
converse "lab/run -t: killed by a signal, the terminal is as it was" expect ready raw signal TERM status 143 -- \
	lab/run -t -- sh -c 'echo ready; sleep 600'
converse "lab/run -t: what the command left running does not hold up the end" expect ready status 0 -- \
	lab/run -t -- sh -c 'setsid sleep 600 & sleep 600 & echo ready'

# A Linux guest's shell, by make run. 20 KB are pasted, in lines, at once.
for i in $(seq 400); do printf 'line %04d %s\n' $i 'of a text that is pasted into a terminal'; done >"$tmp/text"
sum=$(md5sum <"$tmp/text")
tr '\n' '\r' <"$tmp/text" >"$tmp/paste"
limit=1800 # for all steps together
steps=600
converse "make run: typed into, resized, pasted into, left by poweroff" size 30x100 expect 'Ctrl-A x quits' \
	expect 'trivm:~#' raw send 'echo a$((6*7))b\r' expect a42b send '\x01h' expect 'Ctrl-A b' size 41x119 \
	send 'stty -echo; echo paste-$((1+1)); cat >text; stty echo\r' expect paste-2 paste "$tmp/paste" send '\x04' \
	send 'md5sum <text\r' expect "${sum%% *}" send 'poweroff\r' status 0 -- make run
converse "make run: left by Ctrl-A x, its status is 123" expect 'Linux version' raw send '\x01x' status 123 -- tools/run

# The guest's terminal is a serial port, which has no size of its own. What is typed while the guest boots, and while it
# asks, arrives.
converse "trivm run: the guest asks the terminal for its size, and again by resize" answer 41x119 \
	expect 'Linux version' raw send 'echo early$((1+1))\r' expect early2 expect 'trivm:~#' send 'stty size\r' \
	expect '41 119' answer 50x132 send 'eval $(resize); echo $LINES-lines; stty size\r' expect '50-lines' \
	expect '50 132' send 'poweroff\r' status 0 -- lab/run -t -- trivm run
converse "trivm run: a terminal that does not answer has no size, and what is typed meanwhile arrives" \
	expect '\x1b[6n' raw send 'echo mean$((1+1))while; stty size\r' expect mean2while expect 'stty: standard input' \
	send 'resize || echo status-$?\r' expect 'resize: the terminal did not say its size' expect status-1 \
	send 'sh\r' expect 'trivm:~#' send 'echo nested$((1+1)); poweroff\r' expect nested2 status 0 -- lab/run -t -- trivm run

name="lab/run: every run's folder is gone afterwards"
if [ -z "$(find "$tmp" -maxdepth 1 -name 'trivm-lab.*')" ]; then pass "$name"; else fail "$name"; fi
finish

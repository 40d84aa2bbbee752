# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154,SC2016
# How trivm was started: closed descriptors, limits, a reader of its output that leaves.

descriptor() { # PID N
	readlink "/proc/$1/fd/$2"
}

# Each of 0 to 2 is what was given, or /dev/null; never a file of trivm's own. The rest is given by files.
closed() { # NAME CLOSED PROGRAM...: CLOSED: some of "0 1 2"
	local name=$1 closed=" $2 " pid fd want bad='' i
	shift 2
	: >"$tmp/out" && : >"$tmp/err" && : >"$tmp/typed"
	(
		exec <"$tmp/typed" >"$tmp/out" 2>"$tmp/err"
		for fd in $closed; do eval "exec $fd>&-"; done
		exec "$@"
	) &
	pid=$!
	for ((i = 0; i < 600; i++)); do
		[ -S "$tmp/process.sock" ] && break
		sleep 0.05
	done
	for fd in 0 1 2; do
		case $fd in 0) want=$tmp/typed ;; 1) want=$tmp/out ;; 2) want=$tmp/err ;; esac
		[[ $closed == *" $fd "* ]] && want=/dev/null
		[ "$(descriptor $pid $fd)" = "$want" ] || bad+=" $fd is '$(descriptor $pid $fd)', not $want;"
	done
	kill -KILL $pid
	wait $pid 2>/dev/null
	rm -f "$tmp/process.sock"
	if [ -n "$bad" ]; then
		fail "$name" "of its descriptors$bad"
	else
		pass "$name"
	fi
}
for which in 0 1 2 "0 1 2"; do
	closed "process: trivm run without descriptor $which" "$which" \
		"$trivm" run --control "$tmp/process.sock" -k "$guests/serial-echo.elf"
	closed "process: trivm-switch without descriptor $which" "$which" \
		"$build/trivm-switch" --port "$tmp/process.sock"
done

# A daemon, started without any. Its name is this test's own.
daemon_closed() {
	local name="process: --daemonize without descriptors" pid fd bad=''
	"$trivm" run --daemonize --name "closed-$$" --pid-file "$tmp/pid" -k "$guests/serial-echo.elf" <&- >&- 2>&-
	pid=$(cat "$tmp/pid")
	for fd in 0 1; do
		[ "$(descriptor "$pid" $fd)" = /dev/null ] || bad+=" $fd is '$(descriptor "$pid" $fd)'"
	done
	[[ $(descriptor "$pid" 2) == *"/closed-$$.log" ]] || bad+=" 2 is '$(descriptor "$pid" 2)'"
	"$trivm" ctl "closed-$$" quit >"$tmp/out" 2>"$tmp/err"
	if [ -n "$bad" ]; then
		fail "$name" "of its descriptors$bad"
	else
		pass "$name"
	fi
}
daemon_closed
run_limited bash -c '"$1" list <&- 2>&-' - "$trivm"
judge "process: trivm list without descriptors" 0

# Who reads the output leaves. 141 as with SIGPIPE; not after the guest's end, which does not come.
leaves() { # NAME INPUT TRIVM-OPTION...
	local name=$1 input=$2 stages
	shift 2
	: >"$tmp/err"
	printf '%b' "$input" | timeout -s KILL "$limit" "$trivm" run "$@" 2>"$tmp/err" | head -n 1 >"$tmp/out"
	stages=("${PIPESTATUS[@]}")
	status=${stages[1]}
	judge "$name" 141 '.'
}
leaves "process: the console's reader leaves" 'flood 30000000\r' -k "$guests/serial-echo.elf"
leaves "process: the console's reader leaves, and no reboot follows" 'flood 30000000\r' --on-reset reboot \
	-k "$guests/serial-echo.elf"

# `ulimit -f`: SIGXFSZ ends nobody.
limited() { # KIB COMMAND...
	(ulimit -f "$1" && shift && run_limited "$@"; exit "$status")
	status=$?
}
limited 1024 "$trivm" run -k "$guests/hello.elf"
judge "process: guest memory beyond ulimit -f" 2 '^trivm: error: -m 256M: .*1024 KiB \(ulimit -f\)'
head -c 4M /dev/zero >"$tmp/full"
flood_limited() {
	printf 'flood 20000\rquit\r' >"$tmp/typed"
	: >"$tmp/out"
	(ulimit -f 4096 && exec timeout -s KILL "$limit" "$trivm" run -m 2M -k "$guests/serial-echo.elf" <"$tmp/typed" \
		>>"$tmp/full" 2>"$tmp/err")
	status=$?
	if [ "$(grep -c 'dropped' "$tmp/err")" -ne 1 ]; then
		fail "process: output beyond ulimit -f" "there was not one warning"
	else
		judge "process: output beyond ulimit -f" 0 'standard output: File too large'
	fi
}
flood_limited
rm -f "$tmp/full"

# The other commands say by their status that their output was lost.
for words in help version; do
	run_limited bash -c '"$1" "$2" >/dev/full' - "$trivm" $words
	judge "process: trivm $words to a full disk" "1 120" 'standard output: (No space left|a write)'
done
(
	trap '' PIPE
	"$trivm" run -k "$guests/serial-echo.elf" --control "$tmp/process.sock" </dev/null >/dev/null 2>&1 &
	for ((i = 0; i < 600; i++)); do [ -S "$tmp/process.sock" ] && break; sleep 0.05; done
	timeout -s KILL "$limit" "$trivm" top -b -d 0.1 2>"$tmp/err" | head -n 1 >"$tmp/out"
	echo "${PIPESTATUS[0]}" >"$tmp/status"
	kill -KILL $!
) 2>/dev/null
read -r status <"$tmp/status"
judge "process: trivm top ends with its reader, SIGPIPE ignored" 1

# A guest learns from its clock that it was stopped, or Linux would report a lockup.
paused() { # NAME COMMAND...: what stops and continues the VM "clock"
	local name=$1
	shift
	: >"$tmp/out"
	"$trivm" run --control "$tmp/clock.sock" -k "$guests/kvmclock.elf" >"$tmp/out" 2>"$tmp/err" </dev/null &
	pid=$!
	if ! wait_line "$tmp/out" ready; then
		kill -KILL $pid
		wait $pid 2>/dev/null
		fail "$name" "the guest did not print 'ready'"
		return
	fi
	"$@"
	wait_pid $pid
	judge "$name" 0 '^stopped'
}
by_control() {
	local word
	for word in pause resume; do "$trivm" ctl --control "$tmp/clock.sock" $word >>"$tmp/err"; done
}
by_signal() {
	kill -STOP $pid
	while ! grep -q '^State:.*T' "/proc/$pid/status"; do sleep 0.01; done
	kill -CONT $pid
}
paused "process: pause and resume are noted in the guest's clock" by_control
paused "process: SIGSTOP and SIGCONT are noted in the guest's clock" by_signal

# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# SIGTERM is the power button; the second one is not.

for chip in split kernel; do
	signalled "signals: SIGTERM, guest polls ($chip)" 0 waiting TERM --irqchip $chip \
		-k "$guests/powerbutton.elf" -p mode=poll
	signalled "signals: SIGTERM, guest takes the interrupt ($chip)" 0 waiting TERM --irqchip $chip \
		-k "$guests/powerbutton.elf" -p mode=irq
done
signalled "signals: SIGINT is the button, too" 0 waiting INT -k "$guests/powerbutton.elf" -p mode=irq
signalled "signals: SIGHUP is the button, too" 0 waiting HUP -k "$guests/powerbutton.elf" -p mode=irq
signalled "signals: SIGTERM twice" 143 waiting "TERM TERM" -k "$guests/powerbutton.elf" -p mode=ignore
signalled "signals: SIGINT twice" 130 waiting "INT INT" -k "$guests/powerbutton.elf" -p mode=ignore
signalled "signals: SIGTERM twice, guest spins" 143 spinning "TERM TERM" -k "$guests/end.elf" -p how=spin
signalled "signals: SIGTERM twice, guest halted" 143 halting "TERM TERM" -k "$guests/end.elf" -p how=halt
signalled "signals: SIGTERM twice, 4 processors" 143 waiting "TERM TERM" -c 4 \
	-k "$guests/powerbutton.elf" -p mode=ignore

# nohup's SIGHUP, and the SIGINT of a script's background job, which Ctrl-C sends to the script: both stay ignored,
# so the SIGTERM that follows is the first signal, and the second SIGTERM ends it.
signals_ignored() { # NAME COMMAND...: starts trivm in the foreground
	local name=$1 pid
	shift
	: >"$tmp/out"
	(trap '' HUP INT && exec "$@") >"$tmp/out" 2>"$tmp/err" </dev/null &
	pid=$!
	if ! wait_line "$tmp/out" waiting; then
		kill -KILL $pid
		wait $pid 2>/dev/null
		fail "$name" "its guest did not print 'waiting' within 30 s"
		return
	fi
	kill -HUP $pid
	kill -INT $pid
	kill -TERM $pid
	if ! wait_line "$tmp/err" 'power off'; then
		kill -KILL $pid
		wait $pid 2>/dev/null
		fail "$name" "SIGTERM was not reported"
		return
	fi
	kill -TERM $pid
	wait_pid $pid
	judge "$name" 143 'Terminated: the guest is asked'
}
signals_ignored "signals: those ignored at the start stay ignored" "$trivm" run -v -k "$guests/powerbutton.elf" -p mode=ignore

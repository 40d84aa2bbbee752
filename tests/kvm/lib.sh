# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154,SC2034
# What tests/kvm/run and its parts share: running trivm on a guest, judging what came of it, counting.
#
# Settings: trivm, guests, pty (paths), tmp (a directory), no_kvm (why there is none, or empty). Results: passed, failed, skipped.

passed=0 failed=0 skipped=0
limit=${KVM_TEST_TIMEOUT:-60} # seconds a test may take; slow hosts may want more

since=$SECONDS

# Tests are meant to take milliseconds: who is slow is named.
pass() {
	local took=$((SECONDS - since))
	since=$SECONDS
	if [ $took -gt 2 ]; then
		echo "ok   $1 ($took s)"
	else
		echo "ok   $1"
	fi
	passed=$((passed + 1))
}

fail() { # NAME WHY: with what the last command printed
	local stream
	for stream in out err; do
		[ -s "$tmp/$stream" ] || continue
		echo "    std$stream:"
		head -c 12000 "$tmp/$stream" | cat -v | sed 's/^/    | /'
	done
	echo "FAIL $1: $2"
	since=$SECONDS
	failed=$((failed + 1))
}

skip() { # NAME WHY
	echo "skip $1: $2"
	skipped=$((skipped + 1))
}

# Run a command with a time limit: stdout and stderr go to files, the status to $status. SIGKILL, as trivm
# takes the first SIGTERM for the power button.
run_limited() {
	timeout -s KILL "$limit" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
}

# Every regular expression has to be found in stdout or stderr.
found_all() { # NAME REGEX...
	local name=$1 regex
	shift
	for regex in "$@"; do
		if ! grep -Eqa -- "$regex" "$tmp/out" "$tmp/err"; then
			fail "$name" "nothing in its output matches '$regex'"
			return 1
		fi
	done
}

judge() { # NAME STATUS REGEX...: what the last run_limited gave
	local name=$1 want=$2
	shift 2
	if [ "$status" -eq 137 ]; then
		fail "$name" "not done after $limit s"
	elif ! [[ " $want " == *" $status "* ]]; then
		fail "$name" "status $status instead of $want"
	elif found_all "$name" "$@"; then
		pass "$name"
	fi
}

# The plain case: NAME STATUS GUEST 'REGEX' TRIVM-OPTION...; no REGEX: ''
guest() {
	local name=$1 want=$2 kernel=$3 regex=$4
	shift 4
	run_limited "$trivm" run -k "$guests/$kernel" "$@"
	judge "$name" "$want" "${regex:-.}"
}

# A conversation on a terminal: NAME STEP... -- COMMAND...
converse() {
	local name=$1
	shift
	: >"$tmp/err"
	if TERM=xterm timeout -s KILL 120 "$pty" -t 30 "$@" >"$tmp/out" 2>"$tmp/err"; then
		pass "$name"
	else
		fail "$name" "the conversation went otherwise"
	fi
}

# The same with a VM: NAME STEP... -- TRIVM-OPTION...
terminal() {
	local words=()
	while [ "$1" != -- ]; do
		words+=("$1")
		shift
	done
	shift
	converse "${words[@]}" -- "$trivm" run "$@"
}

# Wait until the file FILE has a line that matches REGEX; false after 30 s.
wait_line() { # FILE REGEX
	local i
	for ((i = 0; i < 600; i++)); do
		grep -Eqa -- "$2" "$1" 2>/dev/null && return
		sleep 0.05
	done
	return 1
}

# Wait for process PID, at most 30 s; its status in $status.
wait_pid() {
	local i
	for ((i = 0; i < 600; i++)); do
		kill -0 "$1" 2>/dev/null || break
		sleep 0.05
	done
	if kill -0 "$1" 2>/dev/null; then
		kill -KILL "$1"
	fi
	wait "$1"
	status=$?
}

# Signals: NAME STATUS 'LINE-TO-WAIT-FOR' 'SIGNAL...' TRIVM-OPTION...; several signals come 0.3 s apart.
signalled() {
	local name=$1 want=$2 line=$3 signals=$4 pid sig
	shift 4
	: >"$tmp/out" # now, not when the child gets to it: an older test's line would be found
	# A script's background jobs ignore SIGINT, and trivm leaves ignored signals so.
	env --default-signal "$trivm" run "$@" >"$tmp/out" 2>"$tmp/err" </dev/null &
	pid=$!
	if ! wait_line "$tmp/out" "$line"; then
		kill -KILL $pid
		wait $pid 2>/dev/null
		fail "$name" "its guest did not print '$line' within 30 s"
		return
	fi
	for sig in $signals; do
		kill "-$sig" $pid
		sleep 0.3
	done
	wait_pid $pid
	judge "$name" "$want"
}

# Bad usage: one line on stderr that begins with "trivm: " and matches REGEX, nothing on stdout, status 2.
refused() { # NAME REGEX COMMAND...
	local name=$1 regex=$2 lines
	shift 2
	run_limited "$@"
	lines=$(wc -l <"$tmp/err")
	if [ "$status" -ne 2 ]; then
		fail "$name" "status $status instead of 2"
	elif [ "$lines" -ne 1 ] || ! grep -q '^trivm: ' "$tmp/err"; then
		fail "$name" "$lines lines on stderr, not one that begins with 'trivm: '"
	elif [ -s "$tmp/out" ]; then
		fail "$name" "it printed something on stdout"
	elif found_all "$name" "$regex"; then
		pass "$name"
	fi
}

# The same for what is only seen once /dev/kvm is open.
refused_with_kvm() {
	if [ -n "$no_kvm" ]; then
		skip "$1" "$no_kvm"
	else
		refused "$@"
	fi
}

result() { # SUITE
	echo "RESULT $1 $passed passed $failed failed $skipped skipped"
	[ "$failed" -eq 0 ]
}

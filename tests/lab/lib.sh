# SPDX-License-Identifier: BSD-2-Clause
# Sourced by the tests that run inside the lab's host: results, guests with a time limit.

passed=0 failed=0
limit=${LIMIT:-180} # seconds for one guest; an emulated one takes 10 to 30

pass() {
	echo "ok   $1"
	passed=$((passed + 1))
}

fail() { # NAME [FILE to show]
	[ -z "${2:-}" ] || tail -n 25 "$2" | cut -c1-200 | sed 's/^/     /'
	echo "FAIL $1"
	failed=$((failed + 1))
}

# NAME EXPECTED-STATUS FILE COMMAND...: run it with its output in FILE; the status must be the expected one
expect() {
	local name=$1 want=$2 out=$3 got
	shift 3
	timeout -k 5 "$limit" "$@" >"$out" 2>&1
	got=$?
	if [ "$got" = "$want" ]; then
		return 0
	fi
	case $got in
	124 | 137) echo "     not done after $limit s: $*" ;;
	*) echo "     status $got, not $want: $*" ;;
	esac
	fail "$name" "$out"
	return 1
}

finish() {
	echo "COUNT $passed $failed"
	[ "$failed" -eq 0 ]
}

# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154,SC2034
# The console on pipes and files: nothing is lost in either direction, however slow the other side is.

conversation() { # NAME STATUS INPUT REGEX...
	local name=$1 want=$2 input=$3
	shift 3
	printf '%b' "$input" | timeout -s KILL "$limit" "$trivm" run -k "$guests/serial-echo.elf" -p status=4 \
		>"$tmp/out" 2>"$tmp/err"
	status=$?
	judge "$name" "$want" "$@"
}

conversation "serial: lines come back" 4 'abc\nde f\nquit\n' '^echo: abc' '^echo: de f'
conversation "serial: an empty line" 4 '\nquit\n' '^echo: $'

# 20000 bytes in, with the sum that the guest computes (modulo 2^32).
digits=$(printf '0123456789%.0s' {1..2000})
want=$(awk 'BEGIN { for (i = 0; i < 20000; i++) s = (s * 31 + 48 + i % 10) % 4294967296; printf "%08x", s }')
conversation "serial: 20000 bytes of input arrive in order" 4 "sum 20000\n${digits}quit\n" \
	"sum of 20000 bytes: $want"

# 160 KB out to a reader that sleeps first: more than pipe and buffer hold.
printf 'flood 160000\nquit\n' | timeout -s KILL "$limit" "$trivm" run -k "$guests/serial-echo.elf" \
	2>"$tmp/err" | (sleep 2; cat) >"$tmp/out"
status=${PIPESTATUS[1]}
lines=$(grep -Ec '^[0-9]{8} \.' "$tmp/out")
inorder=$(grep -Eo '^[0-9]{8} ' "$tmp/out" | awk '$1 + 0 != NR - 1 { bad = 1 } END { print !bad }')
: >"$tmp/out"
if [ "$lines" -eq 2500 ] && [ "$inorder" -eq 1 ]; then
	judge "serial: 160 KB of output wait for a slow reader" 0
else
	fail "serial: 160 KB of output wait for a slow reader" "$lines lines of 2500, in order: $inorder"
fi

# The reader is gone: the run ends as a process that writes to a closed pipe.
{
	timeout -s KILL "$limit" "$trivm" run -k "$guests/hello.elf" -p status=6 2>"$tmp/err"
	echo $? >"$tmp/status"
} | true
status=$(cat "$tmp/status")
judge "serial: a reader that went away ends the run" 141

timeout -s KILL "$limit" "$trivm" run -k "$guests/hello.elf" -p status=6 >/dev/full 2>"$tmp/err" </dev/null
status=$?
judge "serial: a full disk does not stop the guest" 6

timeout -s KILL "$limit" "$trivm" run -k "$guests/hello.elf" -p status=6 >"$tmp/out" 2>"$tmp/err" <&-
status=$?
judge "serial: stdin closed" 6 'hello from pvh'

timeout -s KILL "$limit" "$trivm" run -k "$guests/hello.elf" -p status=6 2>"$tmp/err" >&- </dev/null
status=$?
judge "serial: stdout closed" 6

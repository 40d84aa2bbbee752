# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154,SC2034
# trivm top: what it prints of a guest that works, and its manners on a terminal.

mkdir -m 700 "$tmp/run-top"
export XDG_RUNTIME_DIR=$tmp/run-top

run_limited "$trivm" top --once
judge "top: no VM" 0 'No VM runs'
run_limited "$trivm" top
judge "top: no terminal" 1 'not a terminal; -b'
run_limited "$trivm" top -b one
judge "top: no such VM" 1 'one: no such VM'
run_limited "$trivm" top -b -d 0
judge "top: a wrong delay" 2 '-d 0: expected a number from 0.1'
run_limited "$trivm" top -b -n 1.5
judge "top: a wrong count" 2 'a whole number'
run_limited "$trivm" top one two
judge "top: two names" 2 'two: neither an option'

"$trivm" run --name busy -m 128M -k "$guests/net.elf" --net none,id=lan -p mode=tx >"$tmp/busy.log" 2>&1 </dev/null &
busy=$!
wait_line "$tmp/busy.log" ready
run_limited "$trivm" top -b -n 2 -d 0.5
judge "top: a batch" 0 '^trivm top  [0-9:]+  1 VM, every 0.5 s$' '^busy  running  up' \
	'^  0 +[0-9.]+ +[0-9.k]+ ' '^ +1 tx +0 +0 +[0-9.]+[kM]? +[1-9][0-9.k]*' '^  net-pair0 +datapath'
if [ "$(grep -c '^trivm top' "$tmp/out")" = 2 ]; then
	pass "top: as many pictures as asked for"
else
	fail "top: as many pictures as asked for" "$(grep -c '^trivm top' "$tmp/out") instead of 2"
fi

# What is right of the 80th column comes with a wider terminal.
converse "top: a terminal, which becomes wider; q" size 24x80 expect 'every 0.2 s' expect busy expect 'KEXIT/s' \
	size 30x140 expect BATCH size 5x20 pause 300 size 24x80 expect DROP/s send q status 0 -- "$trivm" top -d 0.2
converse "top: keys" size 4x80 expect 'every 0.2 s' expect busy send '\x1bOF' expect 'net-pair0' send '\x1bOH' \
	expect VCPU send xyz send Q status 0 -- "$trivm" top -d 0.2 busy
for signal in INT TERM HUP QUIT; do
	case $signal in INT) n=258 ;; TERM) n=271 ;; HUP) n=257 ;; QUIT) n=259 ;; esac
	converse "top: the terminal is restored after SIG$signal" size 24x80 expect busy signal $signal \
		status "$n" -- "$trivm" top -d 0.2
done
converse "top: it ends with the terminal" size 24x80 expect busy hangup pause 1000 -- "$trivm" top -d 0.2
run_limited env TERM=nosuch "$pty" -t 10 expect 'TERM=nosuch: no such terminal' status 1 -- "$trivm" top
judge "top: an unknown terminal" 0

# Guests come and go.
"$trivm" top -b -d 0.1 >"$tmp/batch" 2>&1 &
batch=$!
wait_line "$tmp/batch" '1 VM,'
"$trivm" run --name later -k "$guests/end.elf" -p how=spin >"$tmp/later.log" 2>&1 </dev/null &
later=$!
wait_line "$tmp/batch" '^later  running' && wait_line "$tmp/batch" '2 VMs,' && "$trivm" ctl busy quit >/dev/null
wait_pid $busy
: >"$tmp/batch"
wait_line "$tmp/batch" '^later  running' && wait_line "$tmp/batch" '1 VM,'
cp "$tmp/batch" "$tmp/out"
status=0
judge "top: VMs come and go" 0 '1 VM,' '^later  running'
kill $batch
wait_pid $batch
cp "$tmp/batch" "$tmp/out"
judge "top: a batch ends by SIGTERM" 143
"$trivm" ctl later quit >/dev/null 2>&1
wait_pid $later
unset XDG_RUNTIME_DIR

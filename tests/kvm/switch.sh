# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# trivm-switch with bare-metal guests on trivm's vhost-user NICs: frames there and back through it on both
# transports and in both ring formats, with its sandbox on; guests that are killed; an idle switch.

switch=$(dirname "$trivm")/trivm-switch
sw_pid=

switch_start() { # OPTION...: sockets a.sock and b.sock in $tmp
	rm -f "$tmp"/[ab].sock
	"$switch" --port "$tmp/a.sock,id=a" --port "$tmp/b.sock,id=b" --verbose --stats "$tmp/stats" \
		"$@" >"$tmp/sw.out" 2>"$tmp/sw.err" &
	sw_pid=$!
	for _ in {1..100}; do
		[ -S "$tmp/b.sock" ] && return
		sleep 0.05
	done
}

switch_end() { # NAME: it ends by SIGTERM, with status 0
	local sw_status
	kill -TERM $sw_pid
	wait $sw_pid
	sw_status=$?
	cat "$tmp/sw.err" >>"$tmp/err"
	[ $sw_status -eq 0 ] || fail "$1" "the switch ended with status $sw_status"
}

# The line of trivm for a guest at port $1
guest_at() { # PORT NET-WORDS GUEST-WORDS
	run_limited "$trivm" run -m 128M -k "$guests/net.elf" \
		--net "datapath=vhost-user,socket=$tmp/$1.sock,$2" -p "$3"
}

wait_for_line() { # REGEX FILE
	for _ in {1..200}; do
		grep -Eq "$1" "$2" && return
		sleep 0.05
	done
	return 1
}

there_and_back() { # NAME COUNT TRANSPORT RING SWITCH-OPTION...
	local name=$1 count=$2 where=transport=$3,ring=$4
	local words="transport=$3 ring=$4 ticks=60000000000 count=$2"
	shift 4
	# Two polled guests and a switch on a host with two processors: nothing is to be lost meanwhile.
	switch_start --wait 10000 "$@"
	timeout -s KILL "$limit" "$trivm" run -m 128M -k "$guests/net.elf" \
		--net "datapath=vhost-user,socket=$tmp/a.sock,$where" -p "mode=echo $words" >"$tmp/echo" 2>&1 </dev/null &
	local echo_pid=$!
	wait_for_line '^ready' "$tmp/echo"
	guest_at b "$where" "mode=txrx $words"
	cat "$tmp/echo" >>"$tmp/err"
	judge "$name" 0 "^tx packets $count " "^rx packets $count "
	wait $echo_pid
	switch_end "$name"
}

run_limited "$switch" --help
judge "switch: --help" 0 '--port PATH' '--uplink KIND'
run_limited "$switch" --version
judge "switch: --version" 0 '^trivm-switch [0-9]'
for bad in "" "--port" "--port ," "--port a,vlan=4095" "--port a,junk" "--port a --port a" "--port a --uplink junk" \
	"--port a --uplink tap,hostfwd=tcp::1-:2" "--port a --uplink user,mtu=65521" "--port a --uplink tap,mtu=67" "--port a --age 0" "--port a --poll=0" "--port a --wait x" "--junk"; do
	# shellcheck disable=SC2086
	run_limited "$switch" $bad
	judge "switch: wrong usage '$bad'" 2 'trivm-switch: error: .'
done
run_limited "$switch" --port /nowhere/a.sock
judge "switch: a socket that cannot be made" 1 '/nowhere/a.sock'

if [ -z "$no_kvm" ]; then
	for transport in pci mmio; do
		for ring in split packed; do
			there_and_back "switch: two guests on $transport, $ring rings" 2000 $transport $ring
		done
	done
	# Frames for more than one port are not waited with: no more than fit in a ring at once.
	there_and_back "switch: two guests, polling, user network" 200 pci packed --poll=1000 --uplink user

	# A guest that is killed in the middle: the other's port and the switch stay, and it can come again.
	switch_start --wait 100
	"$trivm" run -m 128M -k "$guests/net.elf" -p "mode=tx" \
		--net "datapath=vhost-user,socket=$tmp/a.sock" >/dev/null 2>&1 </dev/null &
	victim=$!
	wait_for_line 'port a: connected' "$tmp/sw.err"
	"$trivm" run -m 128M -k "$guests/net.elf" -p "mode=rx ring=packed" \
		--net "datapath=vhost-user,socket=$tmp/b.sock,ring=packed" >/dev/null 2>&1 </dev/null &
	other=$!
	wait_for_line 'port b: connected' "$tmp/sw.err"
	kill -KILL $victim
	wait $victim 2>/dev/null
	if wait_for_line 'port a: (disconnected|.*closed)' "$tmp/sw.err"; then
		: >"$tmp/sw.err"
		guest_at a ring=split "mode=tx count=100 ticks=60000000000"
		judge "switch: a guest is killed and comes back" 0 '^tx packets 100 '
	else
		fail "switch: a guest is killed" "the switch did not notice"
	fi
	kill -KILL $other 2>/dev/null
	wait $other 2>/dev/null
	switch_end "switch: a guest is killed"

	# Somebody else's socket is not taken away; a left over one is.
	switch_start
	run_limited "$switch" --port "$tmp/a.sock"
	judge "switch: a socket in use is refused" 1 'a.sock.*taken'
	kill -KILL $sw_pid
	wait $sw_pid 2>/dev/null
	switch_start
	kill -USR1 $sw_pid
	if wait_for_line '^port b state down' "$tmp/stats"; then
		pass "switch: after SIGKILL its socket is used again; SIGUSR1 shows counters"
	else
		fail "switch: SIGUSR1" "no counters"
	fi
	# Counters on a terminal, or on what else is a character device, are no forbidden system call.
	"$switch" --port "$tmp/tty.sock" >/dev/null 2>&1 &
	tty_pid=$!
	for _ in $(seq 100); do [ -S "$tmp/tty.sock" ] && break; sleep 0.1; done
	kill -USR1 $tty_pid
	sleep 0.2
	kill -TERM $tty_pid
	wait $tty_pid 2>/dev/null
	status=$?
	if [ $status = 0 ]; then
		pass "switch: counters on a character device"
	else
		fail "switch: counters on a character device" "status $status"
	fi
	# Idle, with a guest there: no processor time at all in a second.
	"$trivm" run -m 128M -k "$guests/net.elf" -p "mode=idle" \
		--net "datapath=vhost-user,socket=$tmp/a.sock" >/dev/null 2>&1 </dev/null &
	idle=$!
	wait_for_line 'port a: connected' "$tmp/sw.err"
	sleep 1
	before=$(cut -d ' ' -f 14,15 /proc/$sw_pid/stat)
	sleep 1
	after=$(cut -d ' ' -f 14,15 /proc/$sw_pid/stat)
	if [ "$before" = "$after" ]; then
		pass "switch: idle, no processor time in a second"
	else
		fail "switch: idle" "ticks (user, system) went from $before to $after"
	fi
	kill -KILL $idle
	wait $idle 2>/dev/null
	switch_end "switch: idle"
else
	skip "switch with guests" "$no_kvm"
fi

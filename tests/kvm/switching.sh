# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# A NIC that is switched between datapath=vmm (tap0) and vhost-user (trivm-switch on tap1) dozens of times while its
# bare-metal guest echoes: whatever the guest sends arrives, once. And every switch that cannot be is refused.

switchpeer=$(realpath -m "$build/tests/switchpeer")
switchrun=$(realpath tests/kvm/switchrun)

switched() { # NAME NET-WORDS GUEST-WORDS COUNT [SCRIPT]: what it says in $tmp/out; false: judged already
	mkdir -p "$tmp/sw"
	run_limited "$switchpeer" "$switchrun" "$tmp/sw" "$trivm" "$guests/net.elf" "$2" "$3" "$4" "${5:-}"
	if [ "$status" -eq 77 ]; then
		skip "$1" "$(tail -n 1 "$tmp/out")"
		return 1
	fi
	cat "$tmp/sw/console" >>"$tmp/err" 2>/dev/null
}

for transport in pci mmio; do
	for ring in split packed; do
		name="switching: $transport, $ring rings, 40 switches"
		if switched "$name" transport=$transport,ring=$ring "transport=$transport ring=$ring" 40; then
			judge "$name" 0 '^switches 40$' '^guest sent [0-9]+: 0 missing, 0 twice, 0 wrong$'
		fi
	done
	name="switching: $transport, exits and ioctls, no event index"
	if switched "$name" transport=$transport,notify=exit,inject=ioctl "transport=$transport event-idx=0" 20; then
		judge "$name" 0 '^switches 20$' '^guest sent [0-9]+: 0 missing, 0 twice, 0 wrong$'
	fi
done

refused_switches() { # NET-WORDS GUEST-WORDS
	local name="switching: refusals, $1 $2" line
	switched "$name" "$1" "$2" 2 "$(realpath tests/kvm/switchrefused.sh)" || return
	while read -r line; do
		fail "switching: $1: $line" "it should have been refused, and nothing changed"
	done < <(grep -E '^(NOT REFUSED|OTHERWISE|CHANGED|STUCK): ' "$tmp/out")
	while read -r line; do
		line=${line#refused: }
		pass "switching: $1: refused: ${line%%: *}"
	done < <(grep '^refused: ' "$tmp/out")
	judge "$name" 0 '^frames flow afterwards$' ': 0 missing, 0 twice, 0 wrong$'
}

refused_switches transport=pci,ring=split "transport=pci size=9000"
refused_switches transport=mmio,ring=packed "transport=mmio ring=packed"

# A switch that does not answer keeps its rings. Two owners of a ring damage the guest's memory: frames would be
# missing, or there twice, or the guest's driver at its end.
for words in transport=pci,ring=split transport=mmio,ring=packed; do
	name="switching: $words: the back-end is stopped and goes on"
	if switched "$name" $words "${words//,/ }" 2 "$(realpath tests/kvm/switchstopped.sh)"; then
		if grep -E '^(TAKEN AWAY|OTHERWISE|STILL HELD|the card is not)' "$tmp/out" >"$tmp/why"; then
			fail "$name" "$(head -n 1 "$tmp/why")"
		else
			judge "$name" 0 '^held$' '^gone on$' '^guest sent [0-9]+: 0 missing, 0 twice, 0 wrong$'
		fi
	fi
done

# No driver yet: nothing is handed over; what the next driver is offered has to be there all the same.
export XDG_RUNTIME_DIR=$tmp/runtime
mkdir -p "$XDG_RUNTIME_DIR" && chmod 700 "$XDG_RUNTIME_DIR"
: >"$tmp/out"
"$trivm" run --name idle -k "$guests/serial-echo.elf" --serial socket --net none,id=n >"$tmp/idle" 2>&1 </dev/null &
idle=$!
for ((i = 0; i < 200; i++)); do
	"$trivm" ctl --name idle status >"$tmp/out" 2>&1 && break
	sleep 0.05
done
run_limited "$trivm" ctl --name idle net n datapath "vmm,port=socket:$tmp/peer.sock,local=$tmp/own.sock"
judge "switching: no driver: a port without offloads is refused" 1 'not there yet, is offered: .*CSUM'
run_limited "$trivm" ctl --name idle net n datapath "vhost-user,socket=$tmp/f.sock,fallback=vmm,port=user"
judge "switching: no driver: a fallback without offloads is refused" 1 'fallback=vmm lacks what .* is offered: .*CSUM'
run_limited "$trivm" ctl --name idle --json net n datapath vmm,port=none
judge "switching: no driver: no ring is handed over" 0 '"driver":false,"rings":0'
"$trivm" ctl --name idle quit >"$tmp/out" 2>&1
wait_pid $idle

# fallback=: who has the card when the back-end is gone, and how the packets come back. (With traffic: the lab.)
back_end() {
	"$(dirname "$trivm")/trivm-switch" --port "$tmp/f.sock" >"$tmp/switch" 2>&1 </dev/null &
	back_end=$!
	for ((i = 0; i < 200; i++)); do [ ! -S "$tmp/f.sock" ] || return 0; sleep 0.05; done
}
kill_back_end() {
	kill -KILL $back_end
	wait $back_end 2>/dev/null
	rm -f "$tmp/f.sock"
}
card() { # NAME REGEX...: until the card is so; 10 s at most
	local name=$1 regex
	shift
	for ((i = 0; i < 200; i++)); do
		"$trivm" ctl --name cover --json net n >"$tmp/out" 2>"$tmp/err"
		status=$?
		for regex in "$@"; do
			grep -Eq -- "$regex" "$tmp/out" || { sleep 0.05; continue 2; }
		done
		break
	done
	judge "switching: fallback: $name" 0 "$@"
}
road() { run_limited "$trivm" ctl --name cover net n datapath "$1"; }

back_end
"$trivm" run --name cover -k "$guests/serial-echo.elf" --serial socket \
	--net "datapath=vhost-user,socket=$tmp/f.sock,fallback=vmm,port=none,id=n" >"$tmp/cover" 2>&1 </dev/null &
cover=$!
card "the back-end has the card" '"link":"up"' '"datapath":"vhost-user"'
kill_back_end
card "the fallback has it" '"link":"up"' '"datapath":"vmm"'
back_end
road "vhost-user,socket=$tmp/f.sock,fallback=vhost-net,port=tap:nosuchtap"
judge "switching: fallback: without failback the user takes it back" 0 '^datapath +vhost-user'
kill_back_end
card "one that cannot be had: the link is down" '"link":"down"' '"datapath":"vhost-user"'
# It is tried again meanwhile, and that is not news.
wait_line "$tmp/cover" 'the fallback does not do.*nosuchtap'
sleep 2.2
back_end
card "and up with the back-end" '"link":"up"' '"carrier":true' '"datapath":"vhost-user"'
kill_back_end
card "which is lost again" '"link":"down"'
back_end
card "which is there again" '"link":"up"' '"datapath":"vhost-user"'
if [ "$(grep -c 'the fallback does not do' "$tmp/cover")" = 2 ]; then
	pass "switching: fallback: that it cannot be had is said once each time"
else
	cp "$tmp/cover" "$tmp/err"
	fail "switching: fallback: that it cannot be had is said once each time" "it is said otherwise"
fi
road vmm,port=none # a back-end has one connection
road "vhost-user,socket=$tmp/f.sock,fallback=vmm,failback=on,port=none"
judge "switching: fallback: another one" 0 '^datapath +vhost-user'
kill_back_end
card "failback: it is away" '"link":"up"' '"datapath":"vmm"'
back_end
card "failback: it is back" '"link":"up"' '"datapath":"vhost-user"'
"$trivm" ctl --name cover quit >"$tmp/out" 2>&1
wait_pid $cover

# The back-end has offloads, the port of its fallback has none: the driver is offered none.
"$trivm" run --name cover -k "$guests/serial-echo.elf" --serial socket \
	--net "datapath=vhost-user,socket=$tmp/f.sock,fallback=vmm,port=user,id=n" >"$tmp/cover" 2>&1 </dev/null &
cover=$!
card "a port without offloads: the back-end has the card" '"link":"up"' '"datapath":"vhost-user"'
kill_back_end
card "a port without offloads: the fallback has it" '"link":"up"' '"datapath":"vmm"'
"$trivm" ctl --name cover quit >"$tmp/out" 2>&1
wait_pid $cover
wait_pid $back_end
unset XDG_RUNTIME_DIR

# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# `trivm trace`: frames that a guest echoes one by one, on both transports, with both ring formats and both
# ways of kicks: what happens to them is told in the right order, by the right threads.

# The journeys of one direction in $tmp/out: "points of one", a line each; those of whole packets only.
journeys() { # "sent by"|"received by"
	awk -v what="$1" '
		/ by the guest, ring / { if (on) print line; on = index($0, what) == 1; line = "" }
		on && $1 ~ /^[0-9]+\.[0-9]$/ { line = line " " $3 }
		/^(sent|received):/ { if (on) print line; on = 0 }' "$tmp/out"
}

# All journeys match ANY, from the first point to the last, without notes and the observer's; one at least matches
# ONE. (A datapath that is awake may take a chain before its kick comes.)
in_order() { # NAME WHAT ANY ONE
	local name=$1 bad
	journeys "$2" | sed -E 's/ (ring_avail|kicks_on|kicks_off|chain_unpop)\>//g' >"$tmp/journeys"
	bad=$(grep -vEx -- "$3" "$tmp/journeys")
	if [ -n "$bad" ]; then
		fail "$name" "another order: $bad"
	elif ! grep -qEx -- "$4" "$tmp/journeys"; then
		fail "$name" "none is$4: $(cat "$tmp/journeys")"
	else
		pass "$name"
	fi
}

# A guest that echoes a frame every 20 ms, a little late so that the datapath has gone to sleep, and a trace of it: OPTIONS GUEST-WORDS TRACE-OPTION...
trace_of() {
	local options=$1 words=$2 i
	shift 2
	rm -f "$tmp/net.sock" "$tmp/ctl.sock"
	: >"$tmp/guest"
	NETPEER_PAUSE_US=20000 "$build/tests/netpeer" "socket:$tmp/net.sock" 300 "$trivm" run -m 128M \
		-k "$guests/net.elf" --control "$tmp/ctl.sock" --net "socket:$tmp/net.sock,$options" \
		-p "mode=echo count=301 ticks=60000000000 think=3000000 $words" >"$tmp/guest" 2>&1 &
	peer=$!
	wait_line "$tmp/guest" '^ready' || true
	run_limited "$trivm" trace --control "$tmp/ctl.sock" "$@"
}

peer_done() {
	kill $peer 2>/dev/null
	"$trivm" ctl --control "$tmp/ctl.sock" quit >/dev/null 2>&1
	wait $peer 2>/dev/null
}

served='( chain_pop)+( port_write chain_push)+ used_show (irq_spared|irq_call( call_seen irq_deliver)?)( line_raise)?'
for transport in pci mmio; do
	for ring in split packed; do
		name="trace: $transport, $ring rings"
		trace_of transport=$transport,ring=$ring "transport=$transport ring=$ring" --packets 20 --tx
		judge "$name: ioeventfd" 0 '^net0: datapath vmm' 'Kicks: ioeventfd' 'transmit_frame\(\) devices/net/dp_vmm_tx.c:[0-9]' \
			"${ring}_flush\(\) devices/virtio/$ring.c:[0-9]" \
			'^sent: [0-9]+ packets .* written [0-9.]+, used [0-9.]+'
		in_order "$name: ioeventfd: order" "sent by" "( kick_seen)*$served" " kick_seen$served"
		if grep -q ' kick_exit ' "$tmp/out"; then
			fail "$name: an ioeventfd is no exit" "kick_exit"
		else
			pass "$name: an ioeventfd is no exit"
		fi
		# So many because the observer is late where CPUs are rare.
		run_limited "$trivm" trace --control "$tmp/ctl.sock" --tx --packets 30 --json
		judge "$name: observed" 0 '"thread":"observer","tid":[0-9]+,"point":"ring_avail"'
		run_limited "$trivm" trace --control "$tmp/ctl.sock" --rx --packets 2 --no-observer
		judge "$name: received" 0 '^received: [2-9] packets .* read [0-9.]+, used [0-9.]+' 'read_frame\(\)'
		in_order "$name: received: order" "received by" \
			"( port_seen)?(( chain_pop)* port_read( chain_push)+)+( chain_pop)* used_show (irq_spared|irq_call).*" \
			" port_seen( chain_pop)* port_read( chain_push)+( chain_pop)* used_show (irq_spared|irq_call).*"
		peer_done
		trace_of transport=$transport,ring=$ring,notify=exit "transport=$transport ring=$ring" --packets 3 --tx
		judge "$name: exits" 0 'Kicks: exits' '^ +[0-9.]+  vcpu0 +kick_exit ' \
			'^ +[0-9.]+  net-pair0 +kick_seen ' 'virtio_events_kick\(\) devices/virtio/events.c:[0-9]'
		in_order "$name: exits: order" "sent by" "( kick_exit| kick_seen)*( chain_pop)+( kick_exit)?${served#*+}" " kick_exit kick_seen$served"
		peer_done
	done
done

# A driver that waits for its interrupts: by irqfd, and by ioctl.
pings() { # NAME OPTIONS KICK ORDER REGEX...
	local name="trace: interrupts $1" kick=$3 order=$4
	rm -f "$tmp/ctl.sock"
	"$trivm" run -m 128M -k "$guests/net.elf" --control "$tmp/ctl.sock" --net "none,$2" \
		-p "mode=ping count=2000000" >"$tmp/guest" 2>&1 &
	peer=$!
	wait_line "$tmp/guest" '^ready' || true
	shift 4
	# With the first packet everything has found its way.
	run_limited "$trivm" trace --control "$tmp/ctl.sock" --tx --no-observer
	run_limited "$trivm" trace --control "$tmp/ctl.sock" --tx --packets 3 --no-observer
	judge "$name" 0 '^sent: 3 packets in 3 journeys;' "$@"
	in_order "$name: order" "sent by" ".*$order" "$kick$order"
	peer_done
}
pings "by irqfd" ring=split ' kick_seen' ' chain_pop frame_drop chain_push used_show irq_call' \
	'Interrupts: irqfd' 'pair_flush\(\) devices/net/dp_vmm.c'
pings "by ioctl" ring=split,inject=ioctl,notify=exit \
	' kick_exit kick_seen' ' chain_pop frame_drop chain_push used_show irq_ioctl irq_deliver msi_send' \
	'Interrupts: by the datapath' 'send_msi\(\) vmm/kvm_irq.c:[0-9]' 'KVM_SIGNAL_MSI: address 0xfee[0-9a-f]+,.*: [01]$'

# Usage, limits, and clients that go away.
trace_of ring=split "" --packets 2 --json
judge "trace: as JSON" 0 '^\{"trace":\{"trace":1,"id":"net0",.*"state":"done","events":\[\{"ns":'
"$trivm" trace --control "$tmp/ctl.sock" --packets 1000 --timeout 60 >"$tmp/killed" 2>&1 &
client=$!
sleep 0.5
run_limited "$trivm" trace --control "$tmp/ctl.sock"
judge "trace: one at a time" 1 'another trace runs'
kill -KILL $client
wait $client 2>/dev/null
for ((i = 0; i < 30; i++)); do
	run_limited "$trivm" trace --control "$tmp/ctl.sock" --packets 1
	[ "$status" -eq 1 ] && grep -q 'another trace' "$tmp/err" || break
	sleep 0.25
done
judge "trace: disarmed when its client is gone" 0 '^sent: '
run_limited "$trivm" trace --control "$tmp/ctl.sock" net9
judge "trace: a card that does not exist" 1 'nope|net9|no such network card'
run_limited "$trivm" trace --control "$tmp/ctl.sock" --packets 0
judge "trace: no packets" 1 'packets: not in 1'
run_limited "$trivm" ctl --control "$tmp/ctl.sock" call net.trace.read '{"trace":1}'
judge "trace: another's trace" 1 'trace 1 is over'
"$trivm" trace --control "$tmp/ctl.sock" --packets 1000 --timeout 60 >"$tmp/out" 2>"$tmp/err" &
client=$!
sleep 0.5
peer_done
wait_pid $client
judge "trace: a VM that ends meanwhile" 1 'closed the connection|reset by peer|[Bb]roken pipe'
refused "trace: an unknown option" '--frob' "$trivm" trace --frob
refused "trace: a value that is none" '--packets many' "$trivm" trace --packets many
refused "trace: a value that is missing" '--packets' "$trivm" trace --packets

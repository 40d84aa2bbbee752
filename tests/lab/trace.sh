#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: `trivm trace` of a guest's pings on each road, and the probes as the host's kernel finds
# them. trace.sh short|full
set -u
here=$(dirname "$0")
. "$here/lib.sh"
. "$here/net-lib.sh"

modprobe vhost_net
net_host
net_tap tap0

# A guest that pings four times a second, in the background: NAME --net-OPTIONS; its process in $guest.
pinging() {
	: >"guest-$1"
	timeout -k 5 "$limit" trivm run -m 256M -p ip=off --name "$1" --net "$2" --exec "
		ip link set eth0 up; ip addr replace $address dev eth0
		until ping -c 1 -W 1 $host >/dev/null; do :; done
		echo PINGING
		ping -i 0.25 -c 400 $host >/dev/null" >>"guest-$1" 2>&1 &
	guest=$!
	net_await $guest grep -qx PINGING "guest-$1"
}

# One trace: VM LABEL 'OPTION...' REGEX...: each is in what it says.
told() {
	local vm=$1 label=$2 options=$3 out="trace-$1-$2" regex
	shift 3
	# shellcheck disable=SC2086
	expect "trace: $vm: $label" 0 "$out" trivm trace $options --packets 2 --timeout 40 "$vm" || return
	for regex in "$@"; do
		grep -Eq -- "$regex" "$out" || {
			cat "$out"
			fail "trace: $vm: $label: no line like '$regex'"
			return
		}
	done
	[ -z "${SHOW:-}" ] || cat "$out"
	pass "trace: $vm: $label"
}

quit() {
	trivm ctl "$1" quit >/dev/null 2>&1
	wait "$guest" 2>/dev/null
}

sees='^ +[0-9.]+  observer +'

if pinging vmm tap:tap0; then
	told vmm sent --tx 'datapath vmm' 'Kicks: ioeventfd' 'Interrupts: irqfd' ' net-pair0 +kick_seen ' \
		' chain_pop ' ' port_write +[0-9]+ bytes' ' used_show ' 'transmit_frame\(\) devices/net/dp_vmm_tx.c:' \
		'^sent: [2-9] packets .* written [0-9.]+, used [0-9.]+'
	told vmm received --rx ' port_seen ' ' port_read +[0-9]+ bytes' ' used_show ' ' irq_call ' \
		'^received: [2-9] packets .* read [0-9.]+, used [0-9.]+, interrupt [0-9.]+'
else
	fail "trace: vmm: the guest does not ping" guest-vmm
fi
quit vmm

if pinging exits tap:tap0,notify=exit,inject=ioctl,transport=mmio; then
	told exits sent --tx 'Kicks: exits' ' vcpu0 +kick_exit ' ' net-pair0 +kick_seen ' ' port_write '
	told exits received --rx 'Interrupts: by the datapath' ' irq_ioctl ' ' irq_deliver ' ' line_raise ' 'kvm_irq.c:'
else
	fail "trace: exits: the guest does not ping" guest-exits
fi
quit exits

if pinging vhost tap:tap0,datapath=vhost-net; then
	told vhost sent --tx 'datapath vhost-net' "worker" "${sees}ring_avail " "${sees}ring_used " '^sent: '
	told vhost received --rx "${sees}ring_used " '^received: '
else
	fail "trace: vhost: the guest does not ping" guest-vhost
fi
quit vhost

trivm-switch --port "$PWD/sw.sock" --uplink tap,bridge=br0 >switch.log 2>&1 &
switch=$!
net_await $switch test -S sw.sock
if pinging user "datapath=vhost-user,socket=$PWD/sw.sock"; then
	told user sent --tx 'datapath vhost-user' 'back-end' "${sees}ring_avail " "${sees}ring_used " '^sent: '
	told user received --rx "${sees}ring_used " '^received: '
else
	fail "trace: user: the guest does not ping" guest-user
fi
quit user
kill $switch
finish

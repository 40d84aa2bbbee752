#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: sockets between guest and host (--vsock), over either transport, in both directions.
set -u
here=$(dirname "$0")
. "$here/lib.sh"
modprobe vhost_vsock
head -c 400000 /dev/urandom >blob
want=$(md5sum <blob)

# Bytes both ways, over connections that the guest makes and one that is made to it.
one() { # TRANSPORT
	local name="vsock: $1" out=vsock-$1 rc
	rm -f back
	socat -u FILE:blob VSOCK-LISTEN:1000 &
	socat -u VSOCK-LISTEN:1001 CREATE:back &
	(
		until grep -qs LISTENING "$out"; do sleep 0.2; done
		sleep 1
		socat -u FILE:blob VSOCK-CONNECT:7:2000
	) &
	expect "$name" 0 "$out" trivm run -m 256M --vsock "7,transport=$1" --exec '
		vsock connect 2 1000 </dev/null >got || exit 1
		echo "GOT $(md5sum <got)"
		vsock connect 2 1001 <got || exit 1
		echo LISTENING
		timeout 60 vsock listen 2000 </dev/null >called || exit 1
		echo "CALLED $(md5sum <called)"
		dmesg -r | sed -n "s/^<[0-3]>//p" | grep -iE "virtio|vsock" | sed "s/^/COMPLAINT /"'
	rc=$?
	kill $(jobs -p) 2>/dev/null
	wait
	[ $rc = 0 ] || return
	grep -qxF "GOT $want" "$out" || { fail "$name: from the host" "$out"; return; }
	grep -qxF "CALLED $want" "$out" || { fail "$name: a connection to the guest" "$out"; return; }
	cmp -s blob back || { fail "$name: to the host" "$out"; return; }
	if grep -q '^COMPLAINT' "$out"; then fail "$name: complaints in dmesg" "$out"; else pass "$name"; fi
}

# Two guests cannot have one context id.
in_use() {
	local name="vsock: a context id in use is refused" pid
	trivm run -m 256M --vsock 7 --exec 'sleep 60' >first 2>&1 &
	pid=$!
	sleep 5 # it is built by then
	if expect "$name" 2 second trivm run -m 256M --vsock 7 --exec true; then
		if grep -q 'another guest has this context id' second; then pass "$name"; else fail "$name" second; fi
	fi
	kill $pid
	wait $pid
}

# A guest that reboots has its context id again.
reboots() {
	local name="vsock: the guest reboots" out=vsock-reboot n
	for n in 1 2; do echo "time $n" | socat -u - VSOCK-LISTEN:1000; done &
	expect "$name" 0 $out trivm run -m 256M --vsock 7 --on-reset reboot --exec '
		time=$(vsock connect 2 1000 </dev/null) || exit 1
		echo "$time"
		[ "$time" = "time 2" ] || { reboot; sleep 60; }'
	n=$?
	kill $(jobs -p) 2>/dev/null
	wait
	[ $n = 0 ] || return
	if grep -qx 'time 1' $out && grep -qx 'time 2' $out; then pass "$name"; else fail "$name" $out; fi
}

one pci
one mmio
in_use
reboots
rmmod vhost_vsock
if expect "vsock: without the driver it says so" 2 none trivm run --vsock 7 --exec true; then
	if grep -q 'modprobe vhost_vsock' none; then pass "vsock: without the driver it says so"; else
		fail "vsock: without the driver it says so" none
	fi
fi
finish

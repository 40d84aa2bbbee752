# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# Sourced by the lab tests of the NIC, behind lib.sh: what its host side needs, and what a guest does to
# show that its NIC works.

# The bridge's, and a guest's on it.
host=192.168.77.1 address=192.168.77.2/24

# A bridge with an address for guests on taps, and behind it servers for HTTP, a count and iperf3.
net_host() {
	# An address of its own: otherwise it has the lowest of its ports', which change when a back-end with
	# a tap is killed and restarted. A guest that did not see its link go down has the old one for up to
	# 45 s more (ARP), unless the host has something to say to it.
	ip link add br0 address 02:00:c0:a8:4d:01 type bridge
	ip addr add $host/24 dev br0
	ip link set br0 up
	mkdir -p www/cgi-bin
	head -c 3000000 /dev/urandom >www/blob
	want=$(md5sum <www/blob)
	# How often it was asked for: a guest that reboots knows from it which time this is.
	cat >www/cgi-bin/count <<-END
		#!/bin/sh
		echo x >>$PWD/counted
		printf 'Content-Type: text/plain\r\n\r\n'
		wc -l <$PWD/counted
	END
	chmod +x www/cgi-bin/count
	busybox httpd -p 8080 -h www
	iperf3 -s -D >/dev/null
}

net_tap() { # NAME [multi_queue]: a tap on the bridge
	ip tuntap add dev "$1" mode tap ${2:+"$2"}
	ip link set "$1" master br0 up
}

# For --exec, with settings in front (net_settings): an address, a file over TCP with the right content,
# TCP both ways, UDP, all queue pairs, queues of another size, the driver unbound and bound, the link down and up.
# shellcheck disable=SC2154 # who sources this sets $here
cat "$here/queue-used.sh" - >net-guest <<'E2'
up() { ip link set eth0 up; [ -z "$ADDRESS" ] || ip addr replace "$ADDRESS" dev eth0; }
again() { up; [ -n "$ADDRESS" ] || udhcpc -n -q -i eth0 -s /etc/udhcpc.script >/dev/null 2>&1; }
ready() { # until the host answers
	n=0
	until ping -c 1 -W 1 "$HOST" >/dev/null 2>&1; do n=$((n + 1)); [ $n -lt 25 ] || return 1; done
}
# iperf3's server has one client at a time, and may still be busy with the last one's end.
flow() {
	for try in 1 2 3; do iperf3 "$@" && return 0; sleep 2; done
	return 1
}
# Has each pair carried packets, in the directions that it should?
pairs_used() {
	i=0
	while [ $i -lt "$1" ]; do
		for way in $WAYS; do
			[ "$(queue_used $way $i)" -gt 0 ] || return 1
		done
		i=$((i + 1))
	done
}
up
ready && echo PING
# One by one: this ping waits for the last of several no longer than a second or two round trips.
lossless() {
	for try in 1 2 3; do ping -c 1 -W 10 "$HOST" >/dev/null 2>&1 || return 1; done
}
lossless && echo NO-LOSS
echo "MD5 $(wget -q -T 60 -O - "http://$HOST:8080/blob" | md5sum)"
flow -c "$HOST" -t 2 >/dev/null 2>&1 && echo TCP-OUT
flow -c "$HOST" -t 2 -R >/dev/null 2>&1 && echo TCP-IN
flow -c "$HOST" -t 1 -u -b 2M >/dev/null 2>&1 && echo UDP
if [ "$QUEUES" -gt 1 ]; then
	ethtool -L eth0 combined "$QUEUES"
	flow -c "$HOST" -t 2 -P 8 >/dev/null 2>&1
	flow -c "$HOST" -t 2 -P 8 -R >/dev/null 2>&1
	pairs_used "$QUEUES" && echo PAIRS-USED
	ethtool -L eth0 combined 1
	ready && echo ONE-PAIR
fi
# Queues that stop and start one by one (ring reset): this driver does that over PCI only.
if [ "$TRANSPORT" = pci ]; then
	ethtool -G eth0 rx 64 tx 128 && ready && flow -c "$HOST" -t 1 >/dev/null 2>&1 && echo RESIZED
	ethtool -g eth0 | sed -n 's/^\([RT]X\):[ \t]*/SIZE \1 /p'
fi
dev=$(basename "$(readlink /sys/class/net/eth0/device)")
echo "$dev" >/sys/bus/virtio/drivers/virtio_net/unbind && [ ! -e /sys/class/net/eth0 ] && echo UNBOUND
echo "$dev" >/sys/bus/virtio/drivers/virtio_net/bind && [ -e /sys/class/net/eth0 ] && echo BOUND
again
ready && echo PING-AGAIN
ip link set eth0 down; again
ready && echo PING-AFTER-DOWN
dmesg -r | sed -n 's/^<[0-3]>//p' | grep -iE 'virtio|eth0|irq' | sed 's/^/COMPLAINT /'
echo ANSWER-END
E2

# net_guest NAME OUT HOST ADDRESS QUEUES VCPUS OPTIONS [PARAMS]: a guest with --net OPTIONS, and PARAMS for
# its kernel, does all of that. ADDRESS is empty where somebody answers DHCP. $net_ways: in which directions all
# pairs are used, if not in both.
net_guest() {
	local name=$1 out=$2 host=$3 address=$4 queues=$5 vcpus=$6 options=$7 params=${8:-} word words transport=pci
	[[ $options != *transport=mmio* ]] || transport=mmio
	expect "$name" 0 "$out" trivm run -m 256M --cpus "$vcpus" --net "$options" -p "${address:+ip=off} $params" --exec "HOST=$host
ADDRESS=$address
QUEUES=$queues
TRANSPORT=$transport
WAYS='${net_ways:-rx tx}'
$(cat net-guest)" || return
	words=(PING NO-LOSS "MD5 $want" TCP-OUT TCP-IN UDP UNBOUND BOUND PING-AGAIN PING-AFTER-DOWN ANSWER-END)
	[ $transport = mmio ] || words+=(RESIZED "SIZE RX 64" "SIZE TX 128")
	[ "$queues" = 1 ] || words+=(PAIRS-USED ONE-PAIR)
	for word in "${words[@]}"; do
		grep -qxF "$word" "$out" || { fail "$name: no $word" "$out"; return; }
	done
	if grep -q '^COMPLAINT' "$out"; then fail "$name: complaints in dmesg" "$out"; else pass "$name"; fi
}

net_await() { # PID COMMAND...: until COMMAND succeeds; status 1 if the process ends before
	local pid=$1
	shift
	until "$@"; do
		kill -0 "$pid" 2>/dev/null || return 1
		sleep 0.2
	done
}

net_asked() { [ "$(cat counted 2>/dev/null | wc -l)" -ge "$1" ]; } # has the guest, for the count, so often?

# net_link NAME OPTIONS: the cable is pulled out and plugged in: the guest, on a tap of the bridge, sees it;
# nothing passes meanwhile, and then it does.
net_link() {
	local name="$1: link down and up" out=link pid word
	rm -f counted
	: >$out # both sides append
	timeout -k 5 "$limit" trivm run -m 256M -p ip=off --name link --net "$2" --exec "
		ip link set eth0 up; ip addr replace $address dev eth0
		until ping -c 1 -W 1 $host >/dev/null; do :; done
		carrier() {
			n=0
			until [ \$(cat /sys/class/net/eth0/carrier) = \$1 ]; do
				n=\$((n + 1)); [ \$n -lt 300 ] || return 1; sleep 0.1
			done
		}
		wget -q -O - http://$host:8080/cgi-bin/count >/dev/null & # the link may be down before its answer
		carrier 0 && echo DOWN
		carrier 1 && echo UP
		until ping -c 1 -W 1 $host >/dev/null; do :; done
		ping -c 3 -W 2 $host | grep -q ' 0% packet loss' && echo NO-LOSS" >>$out 2>&1 &
	pid=$!
	net_await $pid net_asked 1 || echo "no sign of the guest" >>$out
	trivm ctl link net net0 link down >/dev/null || echo "ctl: down failed" >>$out
	net_await $pid grep -qx DOWN $out
	ping -c 2 -W 1 "${address%/*}" >/dev/null && echo PASSED-WHILE-DOWN >>$out
	trivm ctl link net net0 link up >/dev/null || echo "ctl: up failed" >>$out
	wait $pid
	for word in DOWN UP NO-LOSS; do
		grep -qx $word $out || { fail "$name: no $word" $out; return; }
	done
	if grep -qx PASSED-WHILE-DOWN $out; then fail "$name: packets passed" $out; else pass "$name"; fi
}

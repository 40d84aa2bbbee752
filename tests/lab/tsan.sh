#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: a trivm with gcc's thread sanitizer, put here as ./trivm, while everything happens at
# once: traffic on two NICs, a disk, random numbers and a console; drivers that come and go; and from
# the host's side pauses, links, another datapath, statistics, a reset. Not one report may be written.
# tsan.sh [SECONDS [WORDS]]: how long the host disturbs each guest; only the lines below with WORDS.
set -u
here=$(dirname "$0")
. "$here/lib.sh"
. "$here/net-lib.sh"
disturb=${1:-90}
limit=${LIMIT:-$((disturb * 3 + 900))}
export TRIVM_GUEST=/usr/local/lib/trivm/guest

# Each line: the NIC on a tap (TRANSPORT RING), the one on `user`.
lines="pci split mmio packed
mmio packed pci split"

if ! TSAN_OPTIONS=help=1 ./trivm version 2>&1 | grep -q ThreadSanitizer; then
	fail "tsan: ./trivm is not built with the thread sanitizer"
	finish
	exit 1
fi

net_host
modprobe vhost_net
for port in 5202 5203 5204; do iperf3 -s -D -p $port >/dev/null; done
# Rounds until the host says "stop". Streams may end early or stall, as the host cuts links: only those that
# never once came through are a failure.
cat >guest-script <<'E2'
nic() { # MAC: its interface, once there is one
	n=0
	until [ $n -ge 50 ]; do
		for d in /sys/class/net/*; do
			[ "$(cat "$d/address")" != "$1" ] || { basename "$d"; return; }
		done
		n=$((n + 1)); sleep 0.2
	done
}
up() {
	tap=$(nic 52:54:00:00:00:01) user=$(nic 52:54:00:00:00:02)
	ip link set "$tap" up; ip addr replace 192.168.77.2/24 dev "$tap"
	ip link set "$user" up; ip addr replace 10.0.2.15/24 dev "$user"
	ethtool -L "$tap" combined 2 >/dev/null 2>&1
}
ready() { # HOST: until it answers
	n=0
	until ping -c 1 -W 1 "$1" >/dev/null 2>&1; do n=$((n + 1)); [ $n -lt 60 ] || return 1; done
}
again() { # INTERFACE: its driver goes and comes
	dev=$(basename "$(readlink "/sys/class/net/$1/device")")
	echo "$dev" >/sys/bus/virtio/drivers/virtio_net/unbind
	echo "$dev" >/sys/bus/virtio/drivers/virtio_net/bind
}
io() {
	while :; do
		dd if=/dev/urandom of=/dev/vda bs=64k count=16 conv=fsync 2>/dev/null &
		dd if=/dev/vda of=/dev/null bs=16k skip=128 count=64 iflag=direct 2>/dev/null
		blkdiscard -o 8388608 -l 1048576 /dev/vda 2>/dev/null
		dd if=/dev/hwrng of=/dev/null bs=64 count=16 2>/dev/null
		head -c 4000 /dev/zero | tr '\0' x >/dev/hvc0
		wait $!
	done
}
streams() { # what has moved is said once
	timeout 15 iperf3 -c 192.168.77.1 -t 3 >/dev/null 2>&1 && touch /tmp/TCP-OUT
	timeout 15 iperf3 -c 192.168.77.1 -t 3 -R >/dev/null 2>&1 && touch /tmp/TCP-IN
	timeout 15 iperf3 -c 192.168.77.1 -u -b 2M -t 2 >/dev/null 2>&1 && touch /tmp/UDP
}
others() {
	timeout 15 iperf3 -c 192.168.77.1 -p 5203 -P 4 -t 3 >/dev/null 2>&1
	timeout 15 iperf3 -c 192.168.77.1 -p 5203 -u -R -b 2M -t 2 >/dev/null 2>&1
}
behind_slirp() {
	timeout 15 iperf3 -c 10.0.2.2 -p 5202 -t 2 >/dev/null 2>&1 && touch /tmp/USER-OUT
	timeout 15 iperf3 -c 10.0.2.2 -p 5202 -t 2 -R >/dev/null 2>&1 && touch /tmp/USER-IN
	timeout 15 iperf3 -c 10.0.2.2 -p 5204 -u -b 1M -t 2 >/dev/null 2>&1
}
up
ready 192.168.77.1 && ready 10.0.2.2 && echo CONNECTED
wget -q -O /dev/null http://192.168.77.1:8080/cgi-bin/ready
io &
round=0
# Not by wget's own -T, with which busybox' crashes.
until timeout 5 wget -q -O /dev/null http://192.168.77.1:8080/stop 2>/dev/null || [ $round -ge 200 ]; do
	streams & a=$!
	others & b=$!
	behind_slirp & c=$!
	# Every other round they may end by themselves.
	if [ $((round % 2)) = 1 ]; then
		sleep 2
		again "$tap"; again "$user"
		killall -q iperf3
	fi
	wait $a $b $c
	dmesg -c | grep -i segfault
	up
	ip link set "$tap" promisc on; ip link set "$tap" promisc off
	ethtool -G "$tap" rx 64 2>/dev/null; ethtool -G "$tap" rx 256 2>/dev/null
	ready 192.168.77.1
	round=$((round + 1))
	echo "ROUND $round"
done
echo "ROUNDS $round"
ready 192.168.77.1 && ready 10.0.2.2 && echo PING-AFTER
# The host is quiet now: these come through.
streams; behind_slirp
for f in TCP-OUT TCP-IN UDP USER-OUT USER-IN; do [ ! -e /tmp/$f ] || echo $f; done
echo ANSWER-END
E2

ctl() { # WORD...: an answer within a minute
	timeout 60 trivm ctl --name g "$@" >answer 2>&1 && return 0
	echo "     trivm ctl $*: $(tail -n 1 answer)"
	return 1
}

# One thing that somebody may do to a running machine. Counts in `did`; `last` is the road it is on.
disturb_once() { # ROADS...
	local road
	case $((RANDOM % 10)) in
	0 | 1 | 2) ctl pause && ctl net && ctl resume ;;
	3) ctl net "net$((RANDOM % 2))" link down && sleep 0.3 && ctl net net0 link up && ctl net net1 link up ;;
	4) ctl stats && ctl devices && ctl net net0 rings ;;
	5) ctl pause && ctl net net0 link down && ctl resume && ctl net net0 link up ;;
	*)
		road=$((RANDOM % $# + 1))
		road=${!road}
		# A back-end's socket has one connection.
		[[ $road = "$last" && $road = vhost-user* ]] || ctl net net0 datapath "$road" && last=$road
		;;
	esac || return 1
	did=$((did + 1))
	[ -z "${TSAN_VERBOSE:-}" ] || echo "     $SECONDS s: $did done, of the guest: $(tail -n 1 "$out" | cut -c1-80)"
}

one() { # TRANSPORT RING TRANSPORT RING
	local name="tsan: tap $1 $2, user $3 $4" out="tsan-$1-$2" roads did=0 wrong=0 last=vmm guest switch watcher word end status reset=
	local begin=$SECONDS
	rm -f log.* reports www/stop ready
	net_tap tap0 multi_queue
	net_tap tap1
	trivm-switch --port "$PWD/sw.sock" --uplink tap:tap1 >switch.log 2>&1 &
	switch=$!
	roads=(vmm "vhost-user,socket=$PWD/sw.sock" vmm)
	[ "$2" = packed ] || roads+=(vhost-net vhost-net)
	truncate -s 16M disk.img
	TSAN_OPTIONS="log_path=$PWD/log history_size=4 second_deadlock_stack=1" \
		timeout -k 30 "$limit" ./trivm run --name g -m 256M -c 2 -p ip=off --on-reset reboot \
		--net "tap:tap0,transport=$1,ring=$2,queues=2,mac=52:54:00:00:00:01" \
		--net "user,transport=$3,ring=$4,mac=52:54:00:00:00:02,pcap=net1.pcap" \
		--disk "disk.img,transport=$1" --rng "transport=$3" --console file:hvc0.log \
		--exec "$(cat guest-script)" >"$out" 2>&1 </dev/null &
	guest=$!
	# Shown at once, whatever happens later.
	(seen=0
	while sleep 3; do
		cat log.* >reports 2>/dev/null || continue
		tail -c "+$((seen + 1))" reports
		seen=$(stat -c %s reports)
	done) &
	watcher=$!
	until [ -e ready ] || ! kill -0 $guest 2>/dev/null; do sleep 0.2; done
	end=$((SECONDS + disturb))
	echo "     the guest is up after $((SECONDS - begin)) s"
	while [ $SECONDS -lt $end ] && kill -0 $guest 2>/dev/null; do
		# Once, half way, everything is built anew under load.
		if [ -z "$reset" ] && [ $SECONDS -gt $((end - disturb / 2)) ]; then
			reset=yes
			rm -f ready
			last=vmm
			ctl reset || wrong=$((wrong + 1))
			until [ -e ready ] || ! kill -0 $guest 2>/dev/null; do sleep 0.2; done
			end=$((SECONDS + disturb / 2))
		fi
		disturb_once "${roads[@]}" || wrong=$((wrong + 1))
		sleep 0.$((RANDOM % 9 + 1))
	done
	echo STOP >www/stop
	wait $guest
	status=$?
	[ "$status" != 0 ] || sleep 4 # the watcher's last look
	kill $switch $watcher 2>/dev/null
	wait $switch $watcher 2>/dev/null
	ip link del tap0
	ip link del tap1
	echo "     $did disturbances; $(grep -a '^ROUNDS' "$out")"
	if compgen -G 'log.*' >/dev/null; then
		fail "$name: $(cat log.* | grep -c '^WARNING') reports"
		return
	fi
	[ $status = 0 ] || { fail "$name: status $status" "$out"; return; }
	[ $wrong = 0 ] || { fail "$name: $wrong requests failed" "$out"; return; }
	for word in CONNECTED TCP-OUT TCP-IN UDP USER-OUT USER-IN PING-AFTER ANSWER-END; do
		grep -qx $word "$out" || { fail "$name: no $word" "$out"; return; }
	done
	pass "$name"
}

cat >www/cgi-bin/ready <<-END
	#!/bin/sh
	touch $PWD/ready
	printf 'Content-Type: text/plain\r\n\r\nok\n'
END
chmod +x www/cgi-bin/ready
while read -r tt tr ut ur <&3; do
	one "$tt" "$tr" "$ut" "$ur"
done 3< <(grep -e "^${2:-}" <<<"$lines")
finish

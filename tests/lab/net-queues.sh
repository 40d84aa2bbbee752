#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: what a NIC on a tap can do beyond moving packets: several queue pairs with traffic on
# each, offloads, jumbo frames, a driver that is taken away under load. net-queues.sh short|full
#
# Each line: TRANSPORT RING PAIRS DATAPATH
set -u
here=$(dirname "$0")
. "$here/lib.sh"

short="pci split 2 vmm
pci split 2 vhost-net"
full="pci split 2 vmm
mmio packed 2 vmm
pci packed 4 vmm
mmio split 4 vmm
pci split 2 vhost-net
mmio split 4 vhost-net"
modprobe vhost_net

ip tuntap add dev tap0 mode tap multi_queue vnet_hdr
ip addr add 192.168.77.1/24 dev tap0
ip link set tap0 mtu 9000 up
# A server for each direction's flows: iperf3 serves one client at a time.
iperf3 -s -D >/dev/null
iperf3 -s -D -p 5202 >/dev/null

cat "$here/queue-used.sh" - >guest-script <<'E2'
up() { ip link set eth0 up; ip addr replace 192.168.77.2/24 dev eth0; }
ready() { # until the host answers
	n=0
	until up; ping -c 1 -W 1 192.168.77.1 >/dev/null 2>&1; do n=$((n + 1)); [ $n -lt 25 ] || break; done
}
ready
read -r mtu </sys/class/net/eth0/mtu; echo "MTU $mtu"
# Larger than any usual frame, both ways (the answer has the same size).
ping -c 2 -s 8900 -W 2 192.168.77.1 | grep -q ' 0% packet loss' && echo JUMBO
ethtool -k eth0 | sed -n 's/^\(rx-checksumming\|tx-checksumming\|tcp-segmentation-offload\|scatter-gather\): \(on\|off\).*/\1 \2/p'
echo "PAIRS $(ethtool -l eth0 | grep Combined: | tr -dc '0-9\n' | tr '\n' ' ')"
cpu=0
while [ $cpu -lt "$QUEUES" ]; do
	iperf3 -A $cpu -c 192.168.77.1 -t 1 >/dev/null 2>&1
	iperf3 -A $cpu -c 192.168.77.1 -t 1 -R >/dev/null 2>&1
	cpu=$((cpu + 1))
done
queue=0
while [ $queue -lt "$QUEUES" ]; do
	echo "QUEUE rx $queue $(queue_used rx $queue)"
	echo "QUEUE tx $queue $(queue_used tx $queue)"
	queue=$((queue + 1))
done
# The driver comes and goes while frames are on their way in both directions.
dev=$(basename "$(readlink /sys/class/net/eth0/device)")
cd /sys/bus/virtio/drivers/virtio_net
n=0
while [ $n -lt 5 ]; do
	iperf3 -c 192.168.77.1 -t 3 >/dev/null 2>&1 &
	iperf3 -c 192.168.77.1 -p 5202 -t 3 -R >/dev/null 2>&1 &
	sleep 1
	echo "$dev" >unbind
	echo "$dev" >bind
	killall iperf3 2>/dev/null
	up
	n=$((n + 1))
done
ready
ping -c 3 -W 2 192.168.77.1 | grep -q ' 0% packet loss' && echo PING-AFTER-RESETS
dmesg -r | sed -n 's/^<[0-3]>//p' | grep -iE 'virtio|eth0|irq' | sed 's/^/COMPLAINT /'
echo ANSWER-END
E2

one() { # TRANSPORT RING PAIRS DATAPATH
	local name="net: $1, $2, $3 queue pairs, $4" out="queues-$1-$2-$3-$4" word dir i
	expect "$name" 0 "$out" trivm run -m 256M -c "$3" -p ip=off --net "tap:tap0,queues=$3,mtu=9000,transport=$1,ring=$2,datapath=$4" --exec "QUEUES=$3
$(cat guest-script)" || return
	for word in "MTU 9000" JUMBO "rx-checksumming on" "tx-checksumming on" "tcp-segmentation-offload on" \
		"scatter-gather on" "PAIRS $3 $3 " PING-AFTER-RESETS ANSWER-END; do
		grep -qxF "$word" "$out" || { fail "$name: no $word" "$out"; return; }
	done
	for dir in rx tx; do
		for i in $(seq 0 $(($3 - 1))); do
			grep -qE "^QUEUE $dir $i [1-9][0-9]+$" "$out" || { fail "$name: nothing on $dir queue $i" "$out"; return; }
		done
	done
	if grep -q '^COMPLAINT' "$out"; then fail "$name: complaints in dmesg" "$out"; else pass "$name"; fi
}

no_offloads() {
	local name="net: offloads=off" out=no-offloads
	expect "$name" 0 "$out" trivm run -m 256M --net "tap:tap0,offloads=off" --exec 'ethtool -k eth0' || return
	if grep -q '^tx-checksumming: off' "$out" && grep -q '^tcp-segmentation-offload: off' "$out"; then pass "$name"; else
		fail "$name: they are on" "$out"
	fi
}

case ${1:-short} in
full) lines=$full ;;
*) lines=$short ;;
esac
while read -r transport ring pairs datapath <&3; do
	one "$transport" "$ring" "$pairs" "$datapath"
done 3<<<"$lines"
ip link del tap0
ip tuntap add dev tap0 mode tap vnet_hdr
ip link set tap0 up
no_offloads
finish

#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: a NIC whose packets trivm moves itself, in every combination of transport, ring and
# port. Each line: TRANSPORT RING PORT. net.sh short|full
set -u
here=$(dirname "$0")
. "$here/lib.sh"

short="pci split user
mmio packed tap"
full="pci split user
pci packed user
mmio split user
mmio packed user
pci split tap
pci packed tap
mmio split tap
mmio packed tap"

# An interface of the host's for the guest's tap; a TCP server behind either port.
ip link add br0 type bridge
ip addr add 192.168.77.1/24 dev br0
ip link set br0 up
ip tuntap add dev tap0 mode tap
ip link set tap0 master br0 up
mkdir -p www
head -c 3000000 /dev/urandom >www/blob
want=$(md5sum <www/blob)
busybox httpd -p 8080 -h www
iperf3 -s -D >/dev/null

# What the guest does: an address, a file over TCP with the right content, TCP both ways, UDP, the driver
# unbound and bound, the link down and up. HOST and ADDRESS are put in front.
cat >guest-script <<'E2'
# Nobody answers DHCP on the tap, and the client takes addresses away when it asks again.
[ -z "$ADDRESS" ] || { sleep 1; killall udhcpc; } 2>/dev/null
up() { ip link set eth0 up; [ -z "$ADDRESS" ] || ip addr replace "$ADDRESS" dev eth0; }
ready() { # until the host answers
	n=0
	until ping -c 1 -W 1 "$HOST" >/dev/null 2>&1; do n=$((n + 1)); [ $n -lt 25 ] || return 1; done
}
up
ready && echo PING
ping -c 3 -W 2 "$HOST" | grep -q ' 0% packet loss' && echo NO-LOSS
echo "MD5 $(wget -q -O - "http://$HOST:8080/blob" | md5sum)"
iperf3 -c "$HOST" -t 2 >/dev/null 2>&1 && echo TCP-OUT
iperf3 -c "$HOST" -t 2 -R >/dev/null 2>&1 && echo TCP-IN
iperf3 -c "$HOST" -t 1 -u -b 2M >/dev/null 2>&1 && echo UDP
dev=$(basename "$(readlink /sys/class/net/eth0/device)")
echo "$dev" >/sys/bus/virtio/drivers/virtio_net/unbind && [ ! -e /sys/class/net/eth0 ] && echo UNBOUND
echo "$dev" >/sys/bus/virtio/drivers/virtio_net/bind && [ -e /sys/class/net/eth0 ] && echo BOUND
up
[ -n "$ADDRESS" ] || udhcpc -n -q -i eth0 -s /etc/udhcpc.script >/dev/null 2>&1
ready && echo PING-AGAIN
ip link set eth0 down; up
[ -n "$ADDRESS" ] || udhcpc -n -q -i eth0 -s /etc/udhcpc.script >/dev/null 2>&1
ready && echo PING-AFTER-DOWN
dmesg -r | sed -n 's/^<[0-3]>//p' | grep -iE 'virtio|eth0|irq' | sed 's/^/COMPLAINT /'
echo ANSWER-END
E2

one() { # TRANSPORT RING PORT
	local name="net: $1, $2, $3" out="net-$1-$2-$3" host address port word
	case $3 in
	user) host=10.0.2.2 address= port=user ;;
	*) host=192.168.77.1 address=192.168.77.2/24 port=tap:tap0 ;;
	esac
	expect "$name" 0 "$out" trivm run -m 256M --net "$port,transport=$1,ring=$2" --exec "HOST=$host
ADDRESS=$address
$(cat guest-script)" || return
	for word in PING NO-LOSS "MD5 $want" TCP-OUT TCP-IN UDP UNBOUND BOUND PING-AGAIN PING-AFTER-DOWN ANSWER-END; do
		grep -qxF "$word" "$out" || { fail "$name: no $word" "$out"; return; }
	done
	if grep -q '^COMPLAINT' "$out"; then fail "$name: complaints in dmesg" "$out"; else pass "$name"; fi
}

case ${1:-short} in
full) lines=$full ;;
*) lines=$short ;;
esac
while read -r transport ring port <&3; do
	one "$transport" "$ring" "$port"
done 3<<<"$lines"
finish

#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: a guest's MTU is that of its port, or mtu=, on each datapath; long frames arrive; and where a
# port carries less than the guest may send, the user reads it.
set -u
here=$(dirname "$0")
. "$here/lib.sh"
. "$here/net-lib.sh"

has() { # NAME FILE LINE...: each is a line of FILE
	local name=$1 file=$2 line
	shift 2
	for line; do grep -qxF -- "$line" "$file" || { fail "$name: no '$line'" "$file"; return; }; done
	pass "$name"
}

says() { # NAME FILE WORDS
	if grep -qF -- "$3" "$2"; then pass "$1"; else fail "$1: no '$3'" "$2"; fi
}

# For --exec: eth0's MTU, and one ping of $SIZE bytes, which is one frame, to $HOST.
up='echo "MTU $(cat /sys/class/net/eth0/mtu)"
ip link set eth0 up
[ -z "$ADDRESS" ] || ip addr replace "$ADDRESS" dev eth0
n=0; until ping -c 1 -W 1 "$HOST" >/dev/null; do n=$((n + 1)); [ $n -lt 25 ] || break; done
ping -c 1 -W 10 -s "$SIZE" "$HOST" | grep -q " 0% packet loss" && echo "LONG $SIZE"
'
tapped="HOST=$host ADDRESS=$address"
usered="HOST=10.0.2.2 ADDRESS="

net_host
net_tap tap0
net_tap tap1
ip link set tap0 mtu 1450
ip link set br0 mtu 9000 2>/dev/null

for datapath in vmm vhost-net; do
	name="mtu: of the tap, $datapath"
	expect "$name" 0 tap trivm run -m 256M -p ip=off --net "tap:tap0,datapath=$datapath" --exec "$tapped SIZE=1400
	$up
	ip link set eth0 mtu 1451 2>/dev/null || echo NOT-ABOVE" && has "$name" tap "MTU 1450" "LONG 1400" NOT-ABOVE
done

name="mtu: user network"
expect "$name" 0 user trivm run -m 256M --net user,mtu=9000 --exec "$usered SIZE=8000
	$up" && has "$name" user "MTU 9000" "LONG 8000"

trivm-switch --port sw.sock --uplink user,mtu=9000 >sw.out 2>&1 & switch=$!
for ((i = 0; i < 100; i++)); do [ -S sw.sock ] && break; sleep 0.1; done
name="mtu: trivm-switch's user network"
expect "$name" 0 user trivm run -m 256M --net datapath=vhost-user,socket=sw.sock,mtu=9000 --exec "$usered SIZE=8000
	$up" && has "$name" user "MTU 9000" "LONG 8000"
kill $switch
wait $switch
trivm-switch --port sw.sock --uplink user >sw.out 2>&1 & switch=$!
for ((i = 0; i < 100; i++)); do [ -S sw.sock ] && break; sleep 0.1; done
name="mtu: trivm-switch says what its uplink does not carry"
expect "$name" 0 user trivm run -m 256M -p ip=off --net datapath=vhost-user,socket=sw.sock,mtu=9000 --exec true &&
	says "$name" sw.out "its MTU is 9000, that of uplink user is 1500"
kill $switch

# A switch to a port that carries less, and to one that is made for this NIC.
name="mtu: of a larger tap"
ip link set tap1 mtu 9000
timeout -k 5 "$limit" trivm run -m 256M -p ip=off --name m --net tap:tap1 --exec "$tapped SIZE=8000
	$up
	wget -q -O - http://$host:8080/cgi-bin/count >/dev/null
	sleep 1000" >long 2>long.err &
guest=$!
net_await $guest net_asked 1 || echo "no sign of the guest" >>long
has "$name" long "MTU 9000" "LONG 8000"
trivm ctl m net net0 datapath vmm,port=tap:tap0 >reply 2>&1
says "mtu: the reply of a switch to a smaller port" reply "MTU of tap0 is 1450"
ip link set tap0 mtu 9000
trivm ctl m quit >/dev/null
wait $guest
says "mtu: the log of that switch" long.err "sudo ip link set tap0 mtu 9000"

# mtu= is the tap's, too.
ip link set tap0 mtu 1450
name="mtu: of the option"
expect "$name" 0 option trivm run -m 256M -p ip=off --net tap:tap0,mtu=9000 --exec "$tapped SIZE=8000
	$up" && has "$name" option "MTU 9000" "LONG 8000" && has "mtu: the interface has the option's" /sys/class/net/tap0/mtu 9000
finish

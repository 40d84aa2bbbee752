#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: a NIC whose packets the host's kernel moves (datapath=vhost-net). vhost.sh short|full
#
# Each line: TRANSPORT QUEUES OPTIONS
set -u
here=$(dirname "$0")
. "$here/lib.sh"
. "$here/net-lib.sh"

short="pci 1 offloads=on
mmio 2 offloads=on"
full="pci 1 offloads=on
mmio 1 offloads=on
pci 2 offloads=on
mmio 2 offloads=on
pci 4 poll-us=50
pci 1 offloads=off
pci 1 notify=exit
pci 1 inject=ioctl
mmio 1 notify=exit,inject=ioctl"

modprobe vhost_net
net_host
net_tap tap0
net_tap tapm multi_queue
dmesg -C

one() { # TRANSPORT QUEUES OPTIONS
	local tap=tap0
	[ "$2" = 1 ] || tap=tapm
	net_guest "vhost-net: $1, $2 pairs, $3" "vhost-$1-$2-$3" $host $address "$2" "$2" \
		"tap:$tap,datapath=vhost-net,transport=$1,queues=$2,$3"
}

# Without MSI the device has one level-triggered pin, which the kernel's worker cannot drive: trivm does.
on_intx() {
	net_guest "vhost-net: INTx" vhost-intx $host $address 1 1 tap:tap0,datapath=vhost-net pci=nomsi
}

# Vectors are masked, changed and unmasked while packets come.
vectors() {
	local name="vhost-net: vectors move under load" out=vectors
	expect "$name" 0 $out trivm run -m 256M -p ip=off -c 2 --net tap:tap0,datapath=vhost-net --exec "
		ip link set eth0 up; ip addr replace $address dev eth0
		until ping -c 1 -W 1 $host >/dev/null; do :; done
		irqs=\$(sed -n 's/^ *\([0-9]*\):.*virtio.*put.*/\1/p' /proc/interrupts)
		iperf3 -c $host -t 4 -R >/dev/null 2>&1 &
		flow=\$!
		n=0
		while kill -0 \$flow 2>/dev/null; do
			n=\$((n + 1))
			for i in \$irqs; do echo \$((n % 2)) >/proc/irq/\$i/smp_affinity_list; done
		done
		wait \$flow && echo FLOWED
		[ \$n -gt 20 ] && echo MOVED
		ping -c 3 -W 2 $host | grep -q ' 0% packet loss' && echo NO-LOSS" || return
	for word in FLOWED MOVED NO-LOSS; do
		grep -qx $word $out || { fail "$name: no $word" $out; return; }
	done
	pass "$name"
}

# The tap on a bridge of Open vSwitch's kernel datapath.
on_ovs() {
	local log=$PWD/ovs db=$PWD/ovs.db sock=$PWD/ovs.sock
	local ovs="ovs-vsctl --db=unix:$sock --timeout=30"
	modprobe openvswitch
	mkdir -p /var/run/openvswitch /var/log/openvswitch
	ovsdb-tool create "$db" /usr/share/openvswitch/vswitch.ovsschema >"$log" 2>&1
	ovsdb-server --detach --remote="punix:$sock" "$db" >>"$log" 2>&1
	ovs-vswitchd --detach "unix:$sock" >>"$log" 2>&1
	if ! $ovs add-br ovs0 >>"$log" 2>&1; then
		fail "vhost-net: on Open vSwitch: no bridge" "$log"
		return
	fi
	ip addr add 192.168.78.1/24 dev ovs0
	ip link set ovs0 up
	ip tuntap add dev tapo mode tap
	ip link set tapo up
	$ovs add-port ovs0 tapo
	net_guest "vhost-net: on Open vSwitch's kernel datapath" vhost-ovs 192.168.78.1 192.168.78.2/24 1 1 \
		"tap:tapo,datapath=vhost-net"
	$ovs del-br ovs0
}

# A macvtap has a device file of its own, which is handed over; the host cannot be reached over one
# on the same link, so the server's end of a veth pair is in a network namespace.
on_macvtap() {
	ip netns add far
	ip link add near type veth peer name veth-far netns far
	ip netns exec far ip addr add 192.168.79.1/24 dev veth-far
	ip netns exec far ip link set veth-far up
	ip link set near up
	ip netns exec far busybox httpd -p 8080 -h www
	ip netns exec far iperf3 -s -D >/dev/null
	ip link add mvt0 link near address 52:54:00:12:34:56 type macvtap mode bridge
	ip link set mvt0 up
	[ -e "/dev/tap$(cat /sys/class/net/mvt0/ifindex)" ] || mknod "/dev/tap$(cat /sys/class/net/mvt0/ifindex)" c \
		$(tr : ' ' <"/sys/class/net/mvt0/tap$(cat /sys/class/net/mvt0/ifindex)/dev")
	net_guest "vhost-net: on a macvtap" vhost-macvtap 192.168.79.1 192.168.79.2/24 1 1 \
		"fd:3,datapath=vhost-net,mac=52:54:00:12:34:56" 3<>"/dev/tap$(cat /sys/class/net/mvt0/ifindex)"
	ip link del mvt0
	ip netns del far
}

# A guest that reboots itself comes up with a NIC that works, and the first machine left nothing behind.
reboots() { # TRANSPORT
	local name="vhost-net: $1, the guest reboots" out=reboot
	rm -f counted
	expect "$name" 0 $out trivm run -m 256M -p ip=off --on-reset reboot \
		--net "tap:tap0,datapath=vhost-net,transport=$1" --exec "
			ip link set eth0 up; ip addr replace $address dev eth0
			n=0
			until time=\$(wget -q -O - http://$host:8080/cgi-bin/count); do
				n=\$((n + 1)); [ \$n -lt 25 ] || exit 1
			done
			echo BOOT \$time
			[ \$time -ge 3 ] || { reboot; sleep 60; }" || return
	for n in 1 2 3; do
		grep -qx "BOOT $n" $out || { fail "$name: no boot $n" $out; return; }
	done
	pass "$name"
}

# What cannot be done says so, before anything is built.
refuses() { # STATUS WORDS OPTIONS
	local name="vhost-net: $3 is refused" out=refused
	expect "$name" "$1" $out trivm run --net "$3" || return
	if grep -q "$2" $out; then pass "$name"; else fail "$name: not with '$2'" $out; fi
}

# CPU time of trivm's threads in ticks, but for the vCPUs', of which the kernel does not say exactly what is the
# guest's, and vhost-net's worker, which is a thread of trivm since Linux 6.4.
cpu() { # PID
	local sum=0 f s
	for f in /proc/"$1"/task/*; do
		[[ $(cat "$f/comm") =~ ^(vcpu|vhost-[0-9]) ]] && continue
		read -r -a s <<<"$(sed 's/.*) //' "$f/stat")"
		sum=$((sum + s[11] + s[12]))
	done
	echo $sum
}

stats() { # PID: exits, those to user space (port and memory-mapped), trivm's ticks, vhost's worker's
	local k=/sys/kernel/debug/kvm worker
	# A process of the kernel's until Linux 6.4, then a thread of trivm.
	worker=$(pgrep -x "vhost-$1" | head -n 1)
	[ -n "$worker" ] || worker=$(grep -lx "vhost-$1" /proc/"$1"/task/*/comm | head -n 1 | cut -d/ -f5)
	echo "$(cat $k/exits) $(($(cat $k/io_exits) + $(cat $k/mmio_exits))) $(cpu "$1")" \
		"$([ -z "$worker" ] || sed 's/.*) //' /proc/"$worker"/stat | cut -d' ' -f13)"
}

# What trivm has to do while TCP flows to the guest: exits to user space and CPU time.
cost() { # DATAPATH: prints and leaves the figures; status 0 if the run was good
	local out=cost-$1 pid vmm before after a b
	rm -f counted
	timeout -k 5 "$limit" trivm run -m 256M -p ip=off --net "tap:tap0,datapath=$1" --exec "
		ip link set eth0 up; ip addr replace $address dev eth0
		until ping -c 1 -W 1 $host >/dev/null; do :; done
		wget -q -O - http://$host:8080/cgi-bin/count >/dev/null
		sleep 1
		iperf3 -c $host -t 5 -R >/dev/null && echo GOOD
		wget -q -O - http://$host:8080/cgi-bin/count >/dev/null
		sleep 3" >"$out" 2>&1 &
	pid=$!
	net_await $pid net_asked 1 || return 1
	vmm=$(pgrep -P $pid -x trivm)
	before=$(stats "$vmm") packets=$(cat /sys/class/net/tap0/statistics/tx_packets)
	net_await $pid net_asked 2 || return 1
	after=$(stats "$vmm") packets=$(($(cat /sys/class/net/tap0/statistics/tx_packets) - packets))
	wait $pid
	grep -qx GOOD "$out" && [ "$packets" -gt 100 ] || return 1
	read -r -a a <<<"$before"
	read -r -a b <<<"$after"
	user_exits=$((b[1] - a[1])) ours=$((b[2] - a[2])) worker=$((${b[3]:-0} - ${a[3]:-0}))
	echo "     $1: $packets packets to the guest; $((b[0] - a[0])) exits, $user_exits to user space;" \
		"CPU ticks beside the vCPU's: trivm $ours, vhost's worker $worker"
}

# With vhost-net the packets are the worker's work, and nobody else's; with vmm they are trivm's.
costs() {
	local name="vhost-net: trivm takes no part"
	[ -d /sys/kernel/debug/kvm ] || mount -t debugfs none /sys/kernel/debug
	cost vmm || { fail "$name: no figures for vmm" cost-vmm; return; }
	if [ "$ours" -lt 10 ] || [ "$worker" != 0 ]; then
		fail "$name: the measure is wrong: with vmm it does"
		return
	fi
	cost vhost-net || { fail "$name: no figures" cost-vhost-net; return; }
	if [ $((user_exits * 50)) -gt "$packets" ]; then
		fail "$name: more than an exit to user space for 50 packets"
	elif [ "$worker" -lt 10 ] || [ $((ours * 10)) -gt "$worker" ]; then
		fail "$name: trivm used a tenth of the worker's time, or more"
	else
		pass "$name"
	fi
}

case ${1:-short} in
full) lines=$full ;;
*) lines=$short ;;
esac
while read -r transport queues options <&3; do
	one "$transport" "$queues" "$options"
done 3<<<"$lines"
[ "${1:-short}" = short ] || { net_link "vhost-net" tap:tap0,datapath=vhost-net; on_intx; vectors; on_ovs; on_macvtap; reboots mmio; }
reboots pci
refuses 120 "split rings only" tap:tap0,datapath=vhost-net,ring=packed
refuses 2 "to a tap only" user,datapath=vhost-net
refuses 2 "record them on the tap" tap:tap0,datapath=vhost-net,pcap=x.pcap
costs
# KVM says of every Linux guest that it writes a register of AMD's that KVM does not have.
if dmesg -l emerg,alert,crit,err | grep -v 'Unhandled WRMSR(0xc0010007)' >host-complaints; then
	fail "vhost-net: the host's kernel complains" host-complaints
else
	pass "vhost-net: no complaint of the host's kernel"
fi
finish

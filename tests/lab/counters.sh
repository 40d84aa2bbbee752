#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: what trivm counts while a Linux guest sends and receives, on each road, beside what KVM and
# the host's interfaces count; and that what cannot be known is said to be that. counters.sh short|full
set -u
here=$(dirname "$0")
. "$here/lib.sh"
. "$here/net-lib.sh"

modprobe vhost_net
net_host
net_tap tap0
net_tap tap1

# The numbers of the lines of FILE that begin with KEY: their sum; "-" if one is not known.
value() { # FILE KEY [COLUMN]
	awk -v key="$2" -v column="${3:-0}" '$1 == key {
		for (i = 2; i <= NF; i++)
			if (!column || i == column + 1) { sum += $i; unknown = unknown || $i == "-" }
		found = 1
	} END { print found ? (unknown ? "-" : sum) : "none" }' "$1"
}
sum() { # FILE KEY...
	local file=$1 all=0 key
	shift
	for key; do all=$((all + $(value "$file" "$key"))); done
	echo $all
}
within() { # NAME A B: by 2 %
	local d=$(($2 > $3 ? $2 - $3 : $3 - $2))
	if [ "$2" -gt 0 ] && [ $((d * 50)) -le "$3" ]; then
		pass "$1: $2, $3"
	else
		fail "$1: $2, $3"
	fi
}
is() { # NAME GOT WANT: a number, "-", or "some"
	if [ "$2" = "$3" ] || { [ "$3" = some ] && [ "$2" != - ] && [ "$2" -gt 0 ]; }; then
		pass "$1: $2"
	else
		fail "$1: $2, not $3"
	fi
}

# A guest on the road NAME that has sent and received; its counts in the files kvm and net.
counted() { # NAME OPTIONS
	local name="counters: $1" out=counted-$1 pid
	rm -f counted
	timeout -k 5 "$limit" trivm run -m 256M -c 2 -p ip=off --name road --net "$2,id=n" --exec "
		ip link set eth0 up; ip addr replace $address dev eth0
		until ping -c 1 -W 1 $host >/dev/null; do :; done
		iperf3 -c $host -t 2 >/dev/null && iperf3 -c $host -t 2 -R >/dev/null && echo GOOD
		wget -q -O - http://$host:8080/cgi-bin/count >/dev/null
		sleep 1000" >"$out" 2>&1 &
	pid=$!
	if net_await $pid net_asked 1 && trivm ctl road stats >kvm 2>>"$out" && trivm ctl road net n stats >net 2>>"$out"; then
		trivm ctl road quit >/dev/null
		wait $pid
		if grep -q '^GOOD' "$out"; then
			packets=$(value net packets)
			[ "$packets" != - ] || [ "$(value net to_guest_packets)" = none ] ||
				packets=$(sum net to_guest_packets from_guest_packets)
			echo "     $1: packets $packets; exits $(value kvm exits), to trivm $(sum kvm "${user[@]}");" \
				"kicks by exit $(value net kicks_exit), by ioeventfd $(value net kicks_ioeventfd);" \
				"interrupts by irqfd $(value net interrupts_irqfd), by ioctl $(value net interrupts_ioctl)"
			return 0
		fi
	fi
	kill $pid 2>/dev/null
	wait $pid
	fail "$name" "$out"
	return 1
}
user=(user_pio_in user_pio_out user_mmio_read user_mmio_write)
role() { awk -v role="$1" '$3 == role && $5 > 0 { n++ } END { print n + 0 }' kvm; } # threads of it that have worked

# --- The VMM's own thread ---

if counted vmm tap:tap0; then
	within "counters: vmm: exits by trivm and by KVM" "$(sum kvm "${user[@]}")" "$(sum kvm io_exits mmio_exits)"
	within "counters: vmm: packets to the guest, of the ring and the tap" "$(value net packets 1)" "$(value net to_guest_packets)"
	within "counters: vmm: packets from the guest" "$(value net packets 2)" "$(value net from_guest_packets)"
	is "counters: vmm: kicks by ioeventfd" "$(value net kicks_ioeventfd 2)" some
	is "counters: vmm: kicks by exit" "$(value net kicks_exit)" 0
	is "counters: vmm: interrupts by irqfd" "$(value net interrupts_irqfd)" "$(value net interrupts)"
	is "counters: vmm: threads of the datapath" "$(role datapath)" 1
fi

# --- With exits and calls ---

if counted vmm+exit tap:tap0,notify=exit,inject=ioctl; then
	within "counters: vmm+exit: exits by trivm and by KVM" "$(sum kvm "${user[@]}")" "$(sum kvm io_exits mmio_exits)"
	is "counters: vmm+exit: kicks by ioeventfd" "$(value net kicks_ioeventfd)" 0
	kicks=$(value net kicks_exit 2)
	is "counters: vmm+exit: kicks by exit" "$kicks" some
	[ "$kicks" -le "$(value kvm user_mmio_write)" ] || fail "counters: vmm+exit: more kicks than writes to memory"
	is "counters: vmm+exit: interrupts by irqfd" "$(value net interrupts_irqfd)" 0
	within "counters: vmm+exit: interrupts by ioctl, and those that the driver wanted" \
		"$(value net interrupts_ioctl)" "$(value net interrupts)"
fi

# --- The host's kernel ---

if counted vhost-net tap:tap0,datapath=vhost-net; then
	within "counters: vhost-net: exits by trivm and by KVM" "$(sum kvm "${user[@]}")" "$(sum kvm io_exits mmio_exits)"
	is "counters: vhost-net: packets of the rings" "$(value net packets)" -
	is "counters: vhost-net: packets of the tap" "$(value net to_guest_packets)" some
	is "counters: vhost-net: kicks by ioeventfd" "$(value net kicks_ioeventfd 2)" some
	is "counters: vhost-net: interrupts by irqfd" "$(value net interrupts_irqfd)" -
	is "counters: vhost-net: the kernel's worker" "$(role vhost-worker)" 1
fi

# --- Another process ---

trivm-switch --port "$PWD/s.sock" --uplink tap:tap1 >switch-log 2>&1 &
switch=$!
until [ -S s.sock ]; do sleep 0.1; done
if counted vhost-user "datapath=vhost-user,socket=$PWD/s.sock"; then
	within "counters: vhost-user: exits by trivm and by KVM" "$(sum kvm "${user[@]}")" "$(sum kvm io_exits mmio_exits)"
	is "counters: vhost-user: packets of the rings" "$(value net packets)" -
	is "counters: vhost-user: kicks by ioeventfd" "$(value net kicks_ioeventfd)" -
	is "counters: vhost-user: an interface" "$(value net to_guest_packets)" none
	is "counters: vhost-user: the back-end's threads" "$(role backend)" 2 # one unmaps memory
fi
kill $switch
wait $switch
finish

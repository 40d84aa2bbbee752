#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# lab-net.sh [ROUNDS]: inside the lab, the NIC of trivm beside the one of QEMU. NAMES="qemu default ..." chooses guests,
# WHAT="tcp-in ping ..." what is measured.
#
# All guests run at once, with the same kernel, initramfs and command, each on a tap of its own; while one
# is measured the others sleep. Each round measures every guest in turn, every other one in the opposite
# order, so that what disturbs the machine disturbs all of them. Figures are medians over the rounds, ratios are medians of each
# round's ratio to the first guest of NAMES.
set -u
rounds=${1:-5}
seconds=${SECONDS_EACH:-2}
guest=/usr/local/lib/trivm/guest
common="-m 192M"

# NAME: the words of --net behind the port, or qemu, or qemu-vhost (with vhost=on).
# NAMES="qemu-vhost vhost-net vhost-net-mmio" is the second road beside QEMU's,
# NAMES="qemu-testpmd testpmd testpmd-mmio testpmd-packed" the third: each with a testpmd of its own between it
# and its tap. That polls, so the others' are stopped while one is measured; with a second processor in the lab
# (lab/run --qemu -smp --qemu 2) it has that one. Further words may follow any of trivm's: vhost-net+queue-size=1024.
names=${NAMES:-qemu default notify-exit inject-ioctl exit-ioctl mmio packed}

say() { echo "lab-net: $*" >&2; }

words() {
	local words=
	case ${1%%+*} in
	notify-exit) words=,notify=exit ;;
	inject-ioctl) words=,inject=ioctl ;;
	exit-ioctl) words=,notify=exit,inject=ioctl ;;
	mmio) words=,transport=mmio ;;
	packed) words=,ring=packed ;;
	vhost-net) words=,datapath=vhost-net ;;
	vhost-net-mmio) words=,datapath=vhost-net,transport=mmio ;;
	testpmd-mmio) words=,transport=mmio ;;
	testpmd-packed) words=,ring=packed ;;
	default | testpmd) ;;
	*) say "no guest is called $1"; exit 1 ;;
	esac
	[[ $1 != *+* ]] || words+=,${1#*+}
	echo "$words"
}

declare -A pmd # NAME: its testpmd
start_testpmd() { # NAME TAP DIR: makes the tap and the socket DIR/sock
	local dir=$PWD/$3
	# Each from a standard input without an end, at which it would end.
	sleep 100000 | exec dpdk-testpmd --lcores "0@0,1@$(($(nproc) - 1))" --no-huge -m 256 --no-pci --no-telemetry \
		--file-prefix "$2" --vdev "net_vhost0,iface=$dir/sock,queues=1" --vdev "net_tap0,iface=$2" -- \
		--total-num-mbufs=8192 --forward-mode=io --auto-start >"$dir/testpmd.log" 2>&1 &
	pmd[$1]=$!
	for _ in $(seq 300); do
		[ -S "$dir/sock" ] && ip link show "$2" >/dev/null 2>&1 && return 0
		sleep 0.1
	done
	say "$1: no testpmd within 30 s"
	tail -20 "$dir/testpmd.log" >&2
	exit 1
}
is_awake() { # NAME STOP|CONT: the one that polls for it
	[ -z "${pmd[$1]:-}" ] || kill "-$2" "${pmd[$1]}"
}

start() { # NAME NUMBER
	local net=192.168.$((100 + $2)) tap=bench$2 dir=guest-$2 command words vhost=off memory=() netdev port
	mkdir -p "$dir/trivm"
	command="ip link set eth0 up; ip addr add $net.2/24 dev eth0; iperf3 -s -D; sleep 100000"
	port=tap:$tap
	case $1 in
	*testpmd*)
		start_testpmd "$1" "$tap" "$dir"
		port=datapath=vhost-user,socket=$PWD/$dir/sock
		memory=(-object memory-backend-memfd,id=m,size=192M,share=on -numa node,memdev=m
			-chardev "socket,id=c,path=$PWD/$dir/sock")
		netdev=vhost-user,id=n,chardev=c
		;;
	*) ip tuntap add dev "$tap" mode tap vnet_hdr ;;
	esac
	ip addr add "$net.1/24" dev "$tap"
	ip link set "$tap" up
	[ "$1" != qemu-vhost ] || vhost=on
	netdev=${netdev:-tap,id=n,ifname=$tap,script=no,downscript=no,vhost=$vhost}
	if [[ $1 == qemu* ]]; then
		printf '#!/bin/sh\n%s\n' "$command" >"$dir/trivm/exec"
		chmod 755 "$dir/trivm/exec"
		(cd "$dir" && find trivm | busybox cpio -o -H newc 2>/dev/null) >"$dir/exec.cpio"
		cat "$guest/initrd.img" "$dir/exec.cpio" >"$dir/initrd"
		qemu-system-x86_64 -M q35 -enable-kvm -cpu host $common -nographic -nodefaults -serial "file:$dir/log" \
			-kernel "$guest/vmlinuz" -initrd "$dir/initrd" -append "console=ttyS0 quiet ip=off" \
			"${memory[@]}" -netdev "$netdev" \
			-device virtio-net-pci,netdev=n,disable-legacy=on,romfile= >"$dir/errors" 2>&1 </dev/null &
	else
		words=$(words "$1") || exit 1
		trivm run $common -p ip=off --net "$port$words" --exec "$command" >"$dir/log" 2>&1 </dev/null &
	fi
	for _ in $(seq 90); do
		ping -c 1 -W 1 "$net.2" >/dev/null 2>&1 && is_awake "$1" STOP && return 0
	done
	say "$1: the guest did not answer within 90 s"
	cat "$dir/log" "$dir/errors" 2>/dev/null | tail -20 >&2
	exit 1
}

# One measurement: a number on standard output, or nothing where it did not end.
measure() { # WHAT ADDRESS
	local limit=$((10 * seconds + 20))
	case $1 in
	tcp-in) timeout $limit iperf3 -f m -c "$2" -t $seconds 2>&1 | awk '/receiver/ {print $7}' ;;
	tcp-out) timeout $limit iperf3 -f m -c "$2" -t $seconds -R 2>&1 | awk '/receiver/ {print $7}' ;;
	# A payload of 22 bytes makes a frame of 64. "12/345 (3%)": lost and sent.
	udp-in) timeout $limit iperf3 -c "$2" -t $seconds -u -b 0 -l 22 2>&1 | udp_rate ;;
	udp-out) timeout $limit iperf3 -c "$2" -t $seconds -u -b 0 -l 22 -R 2>&1 | udp_rate ;;
	ping) timeout $limit ping -q -c 100 -i 0.005 "$2" 2>&1 | awk -F/ '/^rtt/ {print 1000 * $5}' ;;
	esac
}
udp_rate() {
	awk '/receiver/ {for (i = 1; i <= NF; i++) if ($i ~ /^[0-9]+\/[0-9]+$/) {split($i, n, "/"); split($3, t, "-"); print (n[2] - n[1]) / t[2]}}'
}

modprobe vhost_net
n=0
declare -A address # NAME: its guest's
for name in $names; do
	address[$name]=192.168.$((100 + n)).2
	say "starting a guest: $name"
	start "$name" $n
	n=$((n + 1))
done
sleep 2
: >figures
for round in $(seq "$rounds"); do
	say "round $round of $rounds"
	for what in ${WHAT:-tcp-in tcp-out udp-in udp-out ping}; do
		for name in $([ $((round % 2)) = 1 ] && echo "$names" || tac -s ' ' <<<"$names "); do
			is_awake "$name" CONT
			value=$(measure $what "${address[$name]}")
			is_awake "$name" STOP
			echo "$round $what $name $value" | tee -a figures
			# The emulated host loses a guest now and then; with it, nothing can be compared.
			[ -n "$value" ] || ping -c 1 -W 30 "${address[$name]}" >/dev/null || { say "$name stands still"; exit 1; }
		done
	done
done
kill $(jobs -p) 2>/dev/null

# Medians, and medians of ratios to the first guest in the same round (for ping: its time over ours).
awk -v names="$names" '
function median(list, n,   i, j, t) {
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && list[j] < list[j - 1]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
	return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}
NF < 4 { missing++; next }
{ value[$1, $2, $3] = $4; if ($1 > rounds) rounds = $1 }
END {
	reference = names; sub(/ .*/, "", reference)
	printf "%-14s %22s %22s %22s %22s %20s\n", "", "TCP to guest, Mbit/s", "TCP from, Mbit/s", "64 B to guest, pkt/s", "64 B from, pkt/s", "round trip, us"
	k = split(names, name, " "); m = split("tcp-in tcp-out udp-in udp-out ping", what, " ")
	for (i = 1; i <= k; i++) {
		line = sprintf("%-14s", name[i])
		for (j = 1; j <= m; j++) {
			c = 0; d = 0
			for (r = 1; r <= rounds; r++) {
				v = value[r, what[j], name[i]]; q = value[r, what[j], reference]
				if (v == "") continue
				list[++c] = v + 0
				if (q + 0 > 0 && v + 0 > 0) ratio[++d] = what[j] == "ping" ? q / v : v / q
			}
			line = line sprintf(" %12.0f (%5.2fx)", c ? median(list, c) : 0, d ? median(ratio, d) : 0)
		}
		print line
	}
	if (missing) print missing " measurements failed"
}' figures

#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: a NIC whose datapath is switched while TCP and UDP run through it, between vmm, vhost-net
# and vhost-user (trivm-switch), all on one bridge. switching.sh short|full [PART...]; a part is the number of a
# line below, or rebound, failover-vmm, failover-vhost-net.
#
# Each line: TRANSPORT RING PAIRS SWITCHES OPTIONS [vectors]. Packed rings: the kernel's vhost-net has none.
# vectors: meanwhile the guest moves its interrupts from one CPU to the other, for which its kernel masks and
# unmasks their MSI-X entries.
set -u
here=$(dirname "$0")
. "$here/lib.sh"
. "$here/net-lib.sh"
limit=${LIMIT:-400}

short="pci split 1 15 offloads=on vectors
mmio packed 2 10 offloads=on"
full="pci split 1 75 offloads=on
mmio split 2 75 offloads=on
pci packed 2 75 offloads=on
mmio packed 1 75 offloads=off
pci split 2 40 offloads=on vectors
pci packed 1 30 offloads=on vectors
pci split 1 30 notify=exit,inject=ioctl"

# What is lost shall be lost on the road, not because a server on a busy machine was not in time.
echo 16000000 >/proc/sys/net/core/rmem_max
echo 16000000 >/proc/sys/net/core/rmem_default
echo 10000 >/proc/sys/net/core/netdev_max_backlog
net_host
modprobe vhost_net
for port in 5202 5203; do iperf3 -s -D -p $port >/dev/null; done
dmesg -C

# Three streams at once, for as long as the host switches: it says "stop" by a file on its web server.
cat >guest-script <<'E2'
echo 16000000 >/proc/sys/net/core/rmem_max
echo 16000000 >/proc/sys/net/core/rmem_default
ip link set eth0 up
# The usual queueing discipline drops what has waited for long, in the guest itself: here all is to pass.
tc qdisc replace dev eth0 root pfifo limit 10000
ip addr add 192.168.77.2/24 dev eth0
n=0
until ping -c 1 -W 1 192.168.77.1 >/dev/null 2>&1; do n=$((n + 1)); [ $n -lt 25 ] || exit 3; done
ethtool -L eth0 combined "$PAIRS" 2>/dev/null
dmesg -n 1; dmesg -c >/dev/null
wget -q -O /dev/null http://192.168.77.1:8080/cgi-bin/ready
iperf3 -c 192.168.77.1 -t "$SECONDS_IN_ALL" -b 20M >tcp 2>&1 &
a=$!
iperf3 -c 192.168.77.1 -p 5202 -u -b 200K -l 100 -t "$SECONDS_IN_ALL" -f k >udp-out 2>&1 &
b=$!
iperf3 -c 192.168.77.1 -p 5203 -u -b 200K -l 100 -t "$SECONDS_IN_ALL" -R -f k >udp-in 2>&1 &
c=$!
irqs=$(sed -n 's/^ *\([0-9]*\):.*virtio.*put.*/\1/p' /proc/interrupts)
moves=0
while [ "$VECTORS" = vectors ] && kill -0 $a; do
	moves=$((moves + 1))
	for i in $irqs; do echo $((moves % 2)) >/proc/irq/$i/smp_affinity_list; done
	sleep 0.05
done 2>/dev/null
wait $a && wait $b && wait $c && echo STREAMS-COMPLETE
[ "$VECTORS" != vectors ] || [ $moves -lt 5 ] || echo MOVED
for f in tcp udp-out udp-in; do sed -n "s/.*\(sender\|receiver\)/$f &/p" $f; grep -i error $f; done
ping -c 3 -W 2 192.168.77.1 | grep -q ' 0% packet loss' && echo PING-AFTER
# The emulated machine's clocks are not what this is about.
dmesg -r | grep -v -i -E 'clocksource|hrtimer|ADDRCONF' | sed 's/^/DMESG /'
echo ANSWER-END
E2

# Each test has a tap for trivm and one for trivm-switch, and a guest, $guest, which says that it is ready by a
# request to the web server.
start_switch() {
	trivm-switch --port "$PWD/sw.sock" --uplink tap:tap1 >switch.log 2>&1 &
	switch=$!
}
set_up() { # [multi_queue]
	rm -f ready
	net_tap tap0 ${1:+"$1"}
	net_tap tap1
	start_switch
}
wait_ready() {
	local i
	for i in $(seq 600); do [ ! -e ready ] || break; kill -0 $guest 2>/dev/null || break; sleep 0.2; done
}
end_guest() { # SECONDS that it may still take
	local i
	for i in $(seq $(($1 * 5))); do kill -0 $guest 2>/dev/null || break; sleep 0.2; done
	kill $guest 2>/dev/null
}
take_down() { # sets $status, the guest's
	wait $guest
	status=$?
	kill $switch
	wait $switch 2>/dev/null
	ip link del tap0
	ip link del tap1
}

# What a switch did: its gap goes to the file `gaps`.
switch() { # SPEC
	local answer
	answer=$(trivm ctl --json g net net0 datapath "$1" 2>&1) || {
		echo "     to $1: $answer"
		return 1
	}
	[[ $answer =~ \"gap_us\":\ *([0-9]+) ]] && echo "${BASH_REMATCH[1]} $1" >>gaps
}

one() { # TRANSPORT RING PAIRS SWITCHES OPTIONS [vectors]
	local name="switching: $1, $2, $3 pairs, $5${6:+, $6 moved}, up to $4 times" out="switching-$1-$2-$3-$5-${6:-}" roads n=0 seconds last=vmm i
	local multi= spec wrong=0 guest switch status cpus=$3
	[ "${6:-}" != vectors ] || cpus=2
	[ "$3" = 1 ] || multi=multi_queue
	set_up $multi
	roads=(vmm "vhost-user,socket=$PWD/sw.sock")
	[ "$2" = packed ] || roads+=(vhost-net)
	seconds=$(($4 * 2 + 6))
	: >gaps
	trivm run --name g -m 256M -c "$cpus" -p ip=off --net "tap:tap0,transport=$1,ring=$2,queues=$3,$5" --exec "PAIRS=$3
SECONDS_IN_ALL=$seconds VECTORS=${6:-}
$(cat guest-script)" >"$out" 2>&1 </dev/null &
	guest=$!
	wait_ready
	sleep 1
	while [ $n -lt "$4" ] && kill -0 $guest 2>/dev/null; do
		spec=${roads[RANDOM % ${#roads[@]}]}
		# A back-end's socket has one connection; vmm to vmm and vhost-net to vhost-net do work.
		[ "$spec" != "$last" ] || [[ $spec != vhost-user* && $((RANDOM % 4)) = 0 ]] || continue
		case $((RANDOM % 8)) in
		0) trivm ctl g pause >/dev/null && { switch "$spec" || wrong=$((wrong + 1)); } && trivm ctl g resume >/dev/null ;;
		*) switch "$spec" || wrong=$((wrong + 1)) ;;
		esac
		last=$spec
		n=$((n + 1))
		sleep 0.$((RANDOM % 9 + 1))
	done
	trivm ctl g net net0 stats >stats 2>&1
	end_guest $((seconds * 2 + 120))
	take_down
	sort -n gaps | awk '{g[NR] = $1} END {if (NR) printf "     %d switches, gap in us: median %d, worst %d\n", NR, g[int((NR + 1) / 2)], g[NR]}'
	grep -a -E '^(tcp|udp-out|udp-in) ' "$out" | sed 's/^/     /'
	grep -hE '[1-9]' stats | grep -E 'drop|direction' | sed 's/^/     /'
	awk '/^Udp: [0-9]/ {print "     host: UDP receive errors " $4 ", of these for want of room " $6}' /proc/net/snmp
	awk '$2 != "00000000" || $3 != "00000000" {print "     host: softnet drops " $2 " squeezed " $3}' /proc/net/softnet_stat
	grep -E 'tx_(full|size|offload|down) [1-9]|rx_malformed [1-9]' switch.log | sed 's/^/     trivm-switch: /'
	[ $status = 0 ] || { fail "$name: the guest ended with $status" "$out"; return; }
	[ $wrong = 0 ] || { fail "$name: $wrong switches failed" "$out"; return; }
	# On a busy machine the streams end before; that all of what was done is right is what counts.
	[ "$(wc -l <gaps)" -ge $(($4 / 3)) ] || { fail "$name: $(wc -l <gaps) switches" "$out"; return; }
	for i in STREAMS-COMPLETE PING-AFTER ANSWER-END ${6:+MOVED}; do
		grep -qx $i "$out" || { fail "$name: no $i" "$out"; return; }
	done
	# What the guest sent arrived, all of it: iperf3 counts by sequence numbers.
	grep -qE '^udp-out .* 0/[0-9]+ \(0%\)  receiver' "$out" || { fail "$name: datagrams of the guest were lost" "$out"; return; }
	if grep -q '^DMESG' "$out"; then fail "$name: messages of the guest's kernel" "$out"; else pass "$name"; fi
}

# Meanwhile the guest's driver goes and comes back, so that a switch meets it at any point of that. Each time
# it has to work. TRANSPORT COUNT: of rebinds; switches are made until they are done.
rebound() {
	local name="switching: $1, the driver is unbound and bound $2 times" out="rebound-$1" n=0 wrong=0 guest switch status spec answer
	set_up
	timeout "$limit" trivm run --name g -m 256M -p ip=off --net "tap:tap0,transport=$1" --exec '
		up() { ip link set eth0 up && ip addr replace 192.168.77.2/24 dev eth0; }
		answers() {
			n=0
			until ping -c 1 -W 1 192.168.77.1 >/dev/null 2>&1; do n=$((n + 1)); [ $n -lt 25 ] || return 1; done
		}
		up; answers || exit 3
		wget -q -O /dev/null http://192.168.77.1:8080/cgi-bin/ready
		dev=$(basename "$(readlink /sys/class/net/eth0/device)")
		i=0
		while [ $i -lt '"$2"' ]; do
			ping -i 0.01 192.168.77.1 >/dev/null 2>&1 &
			echo "$dev" >/sys/bus/virtio/drivers/virtio_net/unbind
			kill $!
			echo "$dev" >/sys/bus/virtio/drivers/virtio_net/bind
			up; answers || { echo "STUCK after $i"; break; }
			i=$((i + 1))
		done
		echo "REBOUND $i"
		wget -q -O - http://192.168.77.1:8080/blob | md5sum
		dmesg -r | sed -n "s/^<[0-4]>//p" | grep -E "virtio|eth0|NETDEV" | sed "s/^/COMPLAINT /"' >"$out" 2>&1 </dev/null &
	guest=$!
	wait_ready
	while kill -0 $guest 2>/dev/null; do
		for spec in "vhost-user,socket=$PWD/sw.sock" vhost-net vmm; do
			# At the end the control socket goes, under our hands.
			answer=$(trivm ctl g net net0 datapath "$spec" 2>&1) && n=$((n + 1)) || { kill -0 $guest 2>/dev/null && sleep 1; kill -0 $guest 2>/dev/null && { echo "     to $spec: $answer"; wrong=$((wrong + 1)); }; }
			sleep 0.0$((RANDOM % 10))
		done
	done
	take_down
	if [ $status != 0 ]; then
		fail "$name: the guest ended with $status" "$out"
	elif [ $wrong != 0 ] || [ $n -lt 3 ]; then
		fail "$name: $wrong of $n switches failed" "$out"
	elif ! grep -qx "REBOUND $2" "$out" || ! grep -qF "$want" "$out"; then
		fail "$name: it did not work each time" "$out"
	elif grep -q '^COMPLAINT' "$out"; then
		fail "$name: complaints of the guest's kernel" "$out"
	else
		pass "$name"
		echo "     $n switches meanwhile"
	fi
}

# The back-end is killed and started again, as often as COUNT; meanwhile the fallback has the packets.
# FALLBACK TRANSPORT COUNT
failovers() {
	local name="failover to $1: $2, up to $3 kills" out="failover-$1-$2" n=0 seconds guest switch status i lost=0
	set_up
	seconds=$(($3 * 4 + 6))
	trivm run --name g -m 256M -p ip=off \
		--net "port=tap:tap0,datapath=vhost-user,socket=$PWD/sw.sock,fallback=$1,failback=on,transport=$2" --exec "PAIRS=1
SECONDS_IN_ALL=$seconds VECTORS=
$(cat guest-script)" >"$out" 2>&1 </dev/null &
	guest=$!
	road() { # DATAPATH: wait until it has the packets
		for i in $(seq 100); do
			trivm ctl --json g net net0 2>/dev/null | grep -q "\"datapath\": *\"$1\"" && return 0
			# A guest whose streams have ended is not a lost datapath: its status and output say.
			kill -0 $guest 2>/dev/null || return 1
			sleep 0.1
		done
		echo "     waited 10 s for $1"
		trivm ctl g net
		lost=$((lost + 1))
		return 1
	}
	wait_ready
	while [ $n -lt "$3" ] && kill -0 $guest 2>/dev/null; do
		road vhost-user || break
		sleep 0.$((RANDOM % 9 + 1))
		kill -9 $switch
		wait $switch 2>/dev/null
		road "$1" || break
		sleep 0.$((RANDOM % 5 + 1))
		start_switch
		n=$((n + 1))
	done
	end_guest $((seconds * 2 + 120))
	take_down
	grep -a -E '^(tcp|udp-out|udp-in) .*receiver' "$out" | sed 's/^/     /'
	[ $status = 0 ] || { fail "$name: the guest ended with $status" "$out"; return; }
	echo "     $n kills"
	[ $lost = 0 ] && [ $n -ge $(($3 / 3)) ] || { fail "$name: $n kills, $lost without a change of roads" "$out"; return; }
	for i in STREAMS-COMPLETE PING-AFTER ANSWER-END; do
		grep -qx $i "$out" || { fail "$name: no $i" "$out"; return; }
	done
	if grep -q '^DMESG' "$out"; then fail "$name: messages of the guest's kernel" "$out"; else pass "$name"; fi
}

cat >www/cgi-bin/ready <<-END
	#!/bin/sh
	touch $PWD/ready
	printf 'Content-Type: text/plain\r\n\r\nok\n'
END
chmod +x www/cgi-bin/ready

case ${1:-short} in
full) lines=$full kills=50 rebinds=30 ;;
*) lines=$short kills=3 rebinds=3 ;;
esac
shift
parts=$*
wanted() { [ -z "$parts" ] || [[ " $parts " == *" $1 "* ]]; }

line=0
while read -r transport ring pairs switches options vectors <&3; do
	line=$((line + 1))
	! wanted $line || one "$transport" "$ring" "$pairs" "$switches" "$options" "$vectors"
done 3<<<"$lines"
if wanted rebound; then
	rebound pci $rebinds
	[ $rebinds = 3 ] || rebound mmio $rebinds
fi
! wanted failover-vmm || failovers vmm pci $kills
! wanted failover-vhost-net || failovers vhost-net mmio $kills
if dmesg -l err,warn | grep -v -i -E 'promiscuous|kvm|hrtimer|clocksource'; then fail "switching: messages of the host's kernel"; else pass "switching: the host's kernel is silent"; fi
finish

#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: a NIC whose packets another process moves (datapath=vhost-user): DPDK's testpmd, Open
# vSwitch with DPDK (which connects to us), and trivm-switch. vhost-user.sh short|full [BACKEND...]; kills TIMES RING BACKEND
#
# Each line: BACKEND TRANSPORT RING QUEUES
#
# testpmd and Open vSwitch poll: in a lab of two processors (lab/run --qemu -smp --qemu 2) they have the
# last one and leave the other to the guest, which has one vCPU, also for two pairs of queues.
set -u
here=$(dirname "$0")
. "$here/lib.sh"
. "$here/net-lib.sh"

short="testpmd pci split 2
testpmd mmio packed 1
ovs pci split 1
ovs mmio packed 2
switch pci packed 1
switch mmio split 2"
full=$(for b in testpmd ovs switch; do
	for t in pci mmio; do
		for r in split packed; do
			for q in 1 2; do echo $b $t $r $q; done
		done
	done
done)

poller=$(($(nproc) - 1)) # the processor of those that poll
net_host
modprobe tun
dmesg -C
mkfifo stdin
exec 9<>stdin # testpmd ends with its standard input

# wait_for WHAT COMMAND...: until it is true, 30 s at most
wait_for() {
	local what=$1 n=0
	shift
	until "$@" >/dev/null 2>&1; do
		n=$((n + 1))
		[ $n -lt 300 ] || { echo "     waited 30 s for $what"; return 1; }
		sleep 0.1
	done
}

# A back-end: BACKEND_start QUEUES sets $pid and $socket (what --net has to say) and plugs its other side
# into br0; BACKEND_kill kills it, as by accident.

testpmd_start() {
	dpdk-testpmd --lcores "0@0,1@$poller" --no-huge -m 256 --no-pci --no-telemetry \
		--vdev "net_vhost0,iface=$PWD/pmd.sock,queues=$1" --vdev net_tap0,iface=dtap0 -- \
		--total-num-mbufs=8192 --rxq="$1" --txq="$1" --forward-mode=io --auto-start \
		<stdin >>testpmd.log 2>&1 &
	pid=$!
	socket=socket=$PWD/pmd.sock
	wait_for "testpmd's socket" test -S pmd.sock &&
		wait_for "testpmd's tap" ip link set dtap0 master br0 up
}
testpmd_kill() {
	kill -9 "$pid"
	wait "$pid" 2>/dev/null
	rm -f pmd.sock # it would find it in its way
}

# The database server outlives the switch.
ovs_start() {
	socket=socket=$PWD/ovs.sock,server
	if ! [ -S /run/openvswitch/db.sock ]; then
		# It takes no other memory than large pages.
		mkdir -p /dev/hugepages && mount -t hugetlbfs none /dev/hugepages
		echo 160 >/proc/sys/vm/nr_hugepages
		ovsdb-tool create ovs.db /usr/share/openvswitch/vswitch.ovsschema
		ovsdb-server --remote=punix:/run/openvswitch/db.sock --detach --pidfile --log-file=ovsdb.log ovs.db
		ovs-vsctl --no-wait init
		ovs-vsctl --no-wait set Open_vSwitch . other_config:dpdk-init=true "other_config:pmd-cpu-mask=$((1 << poller))" \
			other_config:dpdk-lcore-mask=1 other_config:dpdk-socket-mem=256 \
			other_config:pmd-maxsleep=500 `# or it keeps the only processor from the guest` \
			'other_config:dpdk-extra="--no-pci --no-telemetry"'
		ovs-vsctl --no-wait add-br ovsbr -- set bridge ovsbr datapath_type=netdev -- \
			add-port ovsbr vhu0 -- set interface vhu0 type=dpdkvhostuserclient \
			"options:vhost-server-path=$PWD/ovs.sock"
	fi
	ovs-vswitchd --log-file="$PWD/ovs.log" unix:/run/openvswitch/db.sock >>ovs.out 2>&1 &
	pid=$!
	# While it starts it takes the interface down once more. It has started when it has taken up a change.
	wait_for "the switch" ovs-vsctl --timeout=10 set bridge ovsbr external_ids:started=$pid &&
		wait_for "the switch's interface" ip link set ovsbr master br0 up
}
ovs_kill() {
	kill -9 "$pid"
	wait "$pid" 2>/dev/null
	ip link del ovsbr 2>/dev/null # the tap is persistent, and the next one's
	return 0
}

switch_start() {
	trivm-switch --port "$PWD/switch.sock" --uplink tap,bridge=br0 >>switch.log 2>&1 &
	pid=$!
	socket=socket=$PWD/switch.sock
	wait_for "the switch's socket" test -S switch.sock
}
switch_kill() {
	kill -9 "$pid"
	wait "$pid" 2>/dev/null
	return 0
}

log_of() { case $1 in testpmd) echo testpmd.log ;; ovs) echo ovs.log ;; switch) echo switch.log ;; esac; }

one() { # BACKEND TRANSPORT RING QUEUES
	local name="vhost-user: $1, $2, $3, $4 pairs"
	local net_ways
	# trivm-switch hands frames to the queue with the number of the one that they came from, and its
	# uplink has one; Open vSwitch has a queue for each of its polling threads, of which it has one here.
	[ "$1" = testpmd ] || net_ways=tx
	"$1_start" "$4" || { fail "$name: no $1" "$(log_of "$1")"; return; }
	net_guest "$name" "vu-$1-$2-$3-$4" $host $address "$4" 1 \
		"datapath=vhost-user,$socket,transport=$2,ring=$3,queues=$4,wait=60" ||
		tail -n 15 "$(log_of "$1")" | cut -c1-200 | sed 's/^/     /'
	"$1_kill"
}

# A guest that reboots itself: the machine is built anew, and connects anew.
reboots() { # BACKEND TRANSPORT RING
	local name="vhost-user: $1, $2, $3, the guest reboots" out=reboot-$1-$2-$3
	rm -f counted
	"$1_start" 1 || { fail "$name: no $1" "$(log_of "$1")"; return; }
	if expect "$name" 0 "$out" trivm run -m 256M -p ip=off --on-reset reboot \
		--net "datapath=vhost-user,$socket,transport=$2,ring=$3,wait=60" --exec "
			ip link set eth0 up; ip addr replace $address dev eth0
			n=0
			until time=\$(wget -q -O - http://$host:8080/cgi-bin/count); do
				n=\$((n + 1)); [ \$n -lt 25 ] || exit 1
			done
			echo BOOT \$time
			[ \$time -ge 3 ] || { reboot; sleep 60; }"; then
		if grep -qx "BOOT 3" "$out"; then pass "$name"; else fail "$name: no third boot" "$out"; fi
	fi
	"$1_kill"
}

# The back-end is killed again and again, while files are fetched and bytes are sent. What has to hold: each
# file is whole, connections outlive it, at the end everything works as before, and trivm has as many
# descriptors and as much memory as at first.
killed() { # BACKEND RING TIMES
	local name="vhost-user: $1, $2, killed $3 times" out=killed-$1-$2 vm n=0 fds before= data data_before
	rm -f www/stop counted
	"$1_start" 1 || { fail "$name: no $1" "$(log_of "$1")"; return; }
	timeout -k 5 $((limit + 12 * $3)) trivm run -m 256M -p ip=off \
		--net "datapath=vhost-user,$socket,ring=$2,wait=60" --exec "
			ip link set eth0 up; ip addr replace $address dev eth0
			until ping -c 1 -W 1 $host >/dev/null 2>&1; do :; done
			wget -q -O - http://$host:8080/cgi-bin/count >/dev/null
			while :; do dd if=/dev/zero bs=1000 count=2000 2>/dev/null | nc -w 60 $host 5300; done &
			sender=\$!
			while ! wget -q -O - http://$host:8080/stop >/dev/null 2>&1; do
				wget -q -O /tmp/blob http://$host:8080/blob
				status=\$?
				# What has begun ends well. A connection may not begin: nobody answers ARP.
				[ ! -s /tmp/blob ] && [ \$status != 0 ] && echo NOT-BEGUN && continue
				echo \"MD5 \$(md5sum </tmp/blob)\"; echo \"    \$(wc -c </tmp/blob) bytes, status \$status\"
				rm /tmp/blob
			done
			kill \$sender; killall nc; sleep 1
			cat /sys/class/net/eth0/carrier_changes
			for try in 1 2 3 4 5; do ping -c 1 -W 10 $host >/dev/null 2>&1 || echo LOSS; done
			iperf3 -c $host -t 2 >/dev/null 2>&1 && echo TCP-OUT
			iperf3 -c $host -t 2 -R >/dev/null 2>&1 && echo TCP-IN
			ping -c 300 -i 0.01 -s 1400 $host | grep -q ' 0% packet loss' && echo WHOLE-RING
			dmesg -r | sed -n 's/^<[0-4]>//p' | grep -E 'virtio|eth0|NETDEV' | sed 's/^/COMPLAINT /'
			echo ANSWER-END" >"$out" 2>&1 &
	vm=$!
	wait_for "the guest" test -s counted || { fail "$name: the guest did not come up" "$out"; kill $vm; "$1_kill"; return; }
	while [ $n -lt "$3" ]; do
		sleep 0.$((RANDOM % 10))
		"$1_kill"
		"$1_start" 1 || { fail "$name: it did not start again" "$(log_of "$1")"; kill $vm; return; }
		n=$((n + 1))
		# Wait until it is in use again: half of the time until packets flow.
		wait_for "a connection" connected || break
		fds=$(ls /proc/"$(pgrep -x trivm)"/fd 2>/dev/null | wc -l)
		before=${before:-$fds}
		data=$(awk '/^VmData/ {print $2}' /proc/"$(pgrep -x trivm)"/status 2>/dev/null)
		[ $n -gt 5 ] || data_before=$data # what is allocated once is
		[ $((n % 2)) = 0 ] || { net_moves || break; }
	done
	touch www/stop
	wait $vm
	status=$?
	"$1_kill"
	if [ $status != 0 ] || [ $n != "$3" ]; then
		fail "$name: status $status after $n times" "$out"
	elif grep '^MD5' "$out" | grep -qvxF "MD5 $want"; then
		grep -A 1 '^MD5' "$out" | grep -vF "$want" | sed 's/^/     /'
		fail "$name: a file that is not whole" "$out"
	elif ! grep -q '^MD5' "$out"; then
		fail "$name: no file" "$out"
	elif grep -q '^COMPLAINT' "$out"; then
		fail "$name: complaints in dmesg" "$out"
	elif grep -q '^LOSS' "$out"; then
		fail "$name: a ping was lost at the end" "$out"
	elif [ "$fds" -gt $((before + 1)) ]; then
		fail "$name: $before descriptors at first, $fds at the end" "$out"
	elif [ "$data" -gt $((data_before + 1024)) ]; then
		fail "$name: $data_before kB of its own memory at first, $data at the end" "$out"
	else
		for word in TCP-OUT TCP-IN WHOLE-RING ANSWER-END; do
			grep -qx $word "$out" || { fail "$name: no $word" "$out"; return; }
		done
		pass "$name"
		echo "     $(grep -c '^MD5' "$out") files of 3 MB meanwhile, $(wc -c <received) bytes sent; trivm: $fds descriptors, $data kB"
	fi
}
connected() { ss -xp | grep -q "ESTAB.*$(basename "${socket%%,*}")"; }
net_moves() { # more packets came from the guest than a moment ago
	local before
	before=$(cat /sys/class/net/br0/statistics/rx_packets)
	wait_for "packets" eval '[ $(cat /sys/class/net/br0/statistics/rx_packets) -gt '$((before + 20))' ]'
}

# What cannot be done says so, before anything is built.
refuses() { # STATUS WORDS OPTIONS
	local name="vhost-user: $3 is refused" out=refused
	expect "$name" "$1" $out trivm run --net "$3" || return
	if grep -q "$2" $out; then pass "$name"; else fail "$name: not with '$2'" $out; fi
}

reboots="pci split"
times=0
case ${1:-short} in
full)
	lines=$full
	reboots=$(for t in pci mmio; do for r in split packed; do echo $t $r; done; done)
	;;
kills)
	lines='' reboots='' times=$2 kills_ring=$3
	shift 2
	;;
*) lines=$short ;;
esac
shift
backends=${*:-testpmd ovs switch}
socat -u TCP-LISTEN:5300,reuseaddr,fork OPEN:received,creat,append 2>/dev/null &
listener=$!

while read -r backend transport ring queues <&3 && [ -n "$backend" ]; do
	[[ " $backends " != *" $backend "* ]] || one "$backend" "$transport" "$ring" "$queues"
done 3<<<"$lines"
for backend in $backends; do
	while read -r transport ring <&3 && [ -n "$transport" ]; do
		reboots "$backend" "$transport" "$ring"
	done 3<<<"$reboots"
	[ "$times" = 0 ] || killed "$backend" "$kills_ring" "$times"
done
kill $listener
refuses 120 "no vhost-user back-end within 1 s" "datapath=vhost-user,socket=$PWD/none,wait=1"
refuses 2 "there is no directory" datapath=vhost-user,socket=/nowhere/none
refuses 2 "the back-end is the port" tap,datapath=vhost-user,socket=x
# KVM says of every Linux guest that it writes a register of AMD's that KVM does not have.
if dmesg -l emerg,alert,crit,err | grep -v 'Unhandled WRMSR(0xc0010007)' >host-complaints; then
	fail "vhost-user: the host's kernel complains" host-complaints
else
	pass "vhost-user: no complaint of the host's kernel"
fi
finish

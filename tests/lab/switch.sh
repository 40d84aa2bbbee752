#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: trivm-switch with several guests and the user network as its uplink, all as an ordinary
# user: every guest reaches every other one and the outside; one that is killed leaves the others alone. And
# QEMU as a front-end. switch.sh short|full
set -u
here=$(dirname "$0")
. "$here/lib.sh"
limit=${LIMIT:-400}

# What the guests say to each other they say through the host's web server.
mkdir -p www/cgi-bin said
chmod 777 said
head -c 1000000 /dev/urandom >www/blob
want=$(md5sum <www/blob)
cat >www/cgi-bin/say <<-END
	#!/bin/sh
	: >"$PWD/said/\$QUERY_STRING"
	printf 'Content-Type: text/plain\r\n\r\n'
	ls $PWD/said
END
chmod +x www/cgi-bin/say
busybox httpd -p 127.0.0.1:8080 -h www

# say-WORD-ME-... and wait until all have said it.
cat >guest-script <<'E2'
say() { wget -q -O - "http://10.0.2.2:8080/cgi-bin/say?$1"; }
meet() { # WORD WHOM: until so many have said it
	local n=0
	until [ "$(say "$1-$ME" | grep -c "^$1-")" -ge "$2" ]; do n=$((n + 1)); [ $n -lt 120 ] || { echo "waited for: $1"; exit 3; }; sleep 1; done
}
# iperf3's server has one client at a time, and may still be busy with the last one's end.
flow() { # OPTIONS
	for try in 1 2 3; do
		iperf3 "$@" >flow 2>&1 && return 0
		sed -n "s/^iperf3: /$*: attempt $try: /p" flow
		sleep 2
	done
	return 1
}
# Nothing may be lost; how long an answer takes says only how busy the host is. One by one, because
# this ping waits for the last of several no longer than one second or twice as long as the others took.
reaches() { # WORD NUMBER-ADDRESS
	for try in 1 2; do
		ping -c 1 -W 10 "${2#*-}" >ping || { cat ping; return 1; }
	done
	echo "$1 ${2%%-*}"
}
n=0
until A=$(ip -4 -o addr show dev eth0 | sed -n 's/.*inet \([^/]*\).*/\1/p'); [ "$A" ]; do n=$((n + 1)); [ $n -lt 60 ] || exit 4; sleep 1; done
say "at-$ME-$A" >/dev/null
iperf3 -s -D
meet here "$N"
all=$(say here-"$ME" | sed -n 's/^at-//p')
for other in $all; do
	[ "${other%%-*}" = "$ME" ] || reaches PING "$other"
done
meet pinged "$N"
next=$(echo "$all" | sed -n "s/^$((ME + 1))-//p")
[ $((ME % 2)) = 0 ] || { flow -c "$next" -t 2 && flow -c "$next" -t 2 -R && echo IPERF; }
meet measured "$N"
echo "MD5 $(wget -q -O - http://10.0.2.2:8080/blob | md5sum)"
meet fetched "$N"
# The last one is killed now.
[ "$ME" != "$N" ] || sleep 600
until say fetched-"$ME" | grep -q '^killed$'; do sleep 1; done
for other in $all; do
	case ${other%%-*} in "$ME" | "$N") continue ;; esac
	reaches STILL "$other"
done
echo "MD5-STILL $(wget -q -O - http://10.0.2.2:8080/blob | md5sum)"
dmesg -r | sed -n 's/^<[0-3]>//p' | grep -iE 'virtio|eth0|irq' | sed 's/^/COMPLAINT /'
echo ANSWER-END
E2

user() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
chmod 666 /dev/kvm
chmod 755 .

wait_for() { # SECONDS WHAT COMMAND...
	local n=0 seconds=$1 what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		n=$((n + 1))
		[ $n -lt $((seconds * 5)) ] || { echo "     waited $seconds s for $what"; return 1; }
		sleep 0.2
	done
}
all_said() { [ "$(find said -name "$1-*" | wc -l)" -ge "$2" ]; }

guests() { # N OPTIONS: N guests, trivm's
	local name="switch: $1 guests, $2" n=$1 i k ports=() pids=() switch dir
	dir=$(mktemp -d /tmp/switch.XXXX)
	chown 65534:65534 "$dir"
	rm -f said/*
	for i in $(seq "$n"); do ports+=(--port "$dir/$i.sock"); done
	user trivm-switch "${ports[@]}" --uplink user >switch.log 2>&1 &
	switch=$!
	for i in $(seq "$n"); do
		user timeout -k 5 "$limit" trivm run -m 160M --control none \
			--net "datapath=vhost-user,socket=$dir/$i.sock,$2" --exec "ME=$i
N=$n
$(cat guest-script)" >"out-$i" 2>&1 </dev/null &
		pids[i]=$!
	done
	if wait_for "$limit" "the guests' work" all_said fetched "$n"; then
		pkill -9 -P "${pids[n]}" trivm
		: >said/killed
		for i in $(seq $((n - 1))); do wait "${pids[i]}"; done
	fi
	kill -USR1 $switch && wait_for 10 "the switch's counts" grep -q '^switch refused' switch.log
	kill "${pids[@]}" $switch 2>/dev/null
	wait
	grep -E 'tx_(full|size|offload|down) [1-9]|rx_malformed [1-9]' switch.log | sed 's/^/     trivm-switch: /'
	for i in $(seq $((n - 1))); do
		for k in $(seq "$n"); do
			[ "$k" = "$i" ] || grep -qx "PING $k" "out-$i" || { fail "$name: guest $i does not reach $k" "out-$i"; return; }
			[ "$k" = "$i" ] || [ "$k" = "$n" ] || grep -qx "STILL $k" "out-$i" ||
				{ fail "$name: guest $i does not reach $k any more" "out-$i"; return; }
		done
		[ $((i % 2)) = 0 ] || grep -qx IPERF "out-$i" || { fail "$name: no iperf3 from guest $i" "out-$i"; return; }
		for k in "MD5 $want" "MD5-STILL $want" ANSWER-END; do
			grep -qxF "$k" "out-$i" || { fail "$name: guest $i: no $k" "out-$i"; return; }
		done
		! grep -q ^COMPLAINT "out-$i" || { fail "$name: guest $i complains" "out-$i"; return; }
	done
	pass "$name"
}

# A guest of QEMU's beside one of ours.
qemu_front() {
	local name="switch: QEMU's vhost-user beside trivm's" guest=/usr/local/lib/trivm/guest switch pid qemu
	rm -f said/* ./*.sock
	trivm-switch --port "$PWD/1.sock" --port "$PWD/2.sock" --uplink user >switch.log 2>&1 &
	switch=$!
	mkdir -p q/trivm
	{ printf '#!/bin/sh\nME=2\nN=2\n'; cat guest-script; } >q/trivm/exec
	chmod 755 q/trivm/exec
	(cd q && find trivm | busybox cpio -o -H newc 2>/dev/null) | cat "$guest/initrd.img" - >q/initrd
	qemu-system-x86_64 -M q35 -enable-kvm -cpu host -m 192M -nographic -nodefaults -serial file:q/log \
		-object memory-backend-memfd,id=m,size=192M,share=on -numa node,memdev=m \
		-kernel "$guest/vmlinuz" -initrd q/initrd -append "console=ttyS0 quiet" \
		-chardev "socket,id=c,path=$PWD/2.sock" -netdev vhost-user,id=n,chardev=c \
		-device virtio-net-pci,netdev=n,disable-legacy=on,romfile= >q/errors 2>&1 </dev/null &
	qemu=$!
	timeout -k 5 "$limit" trivm run -m 160M --net "datapath=vhost-user,socket=$PWD/1.sock" --exec "ME=1
N=2
$(cat guest-script)" >out-1 2>&1 </dev/null &
	pid=$!
	if wait_for "$limit" "both guests' work" all_said fetched 2; then
		kill -9 $qemu
		: >said/killed
		wait $pid
	fi
	kill $pid $qemu $switch 2>/dev/null
	wait
	for k in "PING 2" IPERF "MD5 $want" "MD5-STILL $want" ANSWER-END; do
		grep -qxF "$k" out-1 || { cat q/errors; fail "$name: no $k" out-1; return; }
	done
	pass "$name"
}

case ${1:-short} in
full) guests 2 ring=split && guests 4 ring=packed && guests 4 transport=mmio && qemu_front ;;
*) guests 2 ring=split && qemu_front ;;
esac
finish

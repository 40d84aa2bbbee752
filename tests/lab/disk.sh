#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: disks. First raw ones in the default guest, in the combinations of transport and ring
# that net.sh has; then a whole Debian system, put here as root.img, that loses its power while it
# writes. disk.sh short|full
set -u
here=$(dirname "$0")
. "$here/lib.sh"
guest=/usr/local/lib/trivm/guest

# TRANSPORT RING WHAT: the file itself; past the page cache; a block device of the host's
short="pci split file
mmio packed direct
pci packed loop"
full="pci split file
pci packed file
pci packed loop
mmio split file
mmio packed file
mmio packed direct"

hash_of() { # FILE [BYTES]
	head -c "${2:-1000000000}" "$1" | md5sum | cut -d' ' -f1
}

# --- Raw disks: vda to write, vdb read-only ---

head -c 5000192 /dev/urandom >shared.img # 9766 sectors
shared=$(hash_of shared.img)

# LOGICAL is what O_DIRECT demands; the sum of what was written is compared by the host as well.
cat >guest-script <<'E2'
q=/sys/block/vda/queue
echo "SERIAL $(cat /sys/block/vda/serial) $(cat /sys/block/vdb/serial)"
echo "SIZE $(blockdev --getsize64 /dev/vda) $(blockdev --getsize64 /dev/vdb)"
echo "RO $(cat /sys/block/vda/ro) $(cat /sys/block/vdb/ro)"
echo "CACHE $(cat $q/write_cache)"
[ "$(cat $q/discard_max_bytes)" -gt 0 ] && [ "$(cat $q/write_zeroes_max_bytes)" -gt 0 ] && echo DISCARD
echo "SHARED $(md5sum </dev/vdb)"
dd if=/dev/zero of=/dev/vdb bs=512 count=1 conv=fsync 2>/dev/null || echo RO-REFUSED
dd if=/dev/urandom of=/dev/vda bs=64k count=128 conv=fsync 2>/dev/null && echo WRITTEN
echo "SUM $(dd if=/dev/vda bs=64k count=128 2>/dev/null | md5sum)"
sync
echo 3 >/proc/sys/vm/drop_caches
echo "AGAIN $(dd if=/dev/vda bs=64k count=128 2>/dev/null | md5sum)"
# Several at once, each with its own part.
for i in 2 3 4 5; do
	yes "part $i" | dd of=/dev/vda bs=64k count=16 seek=$((i * 128)) iflag=fullblock conv=fsync 2>/dev/null &
done
wait
echo 3 >/proc/sys/vm/drop_caches
good=0
for i in 2 3 4 5; do
	[ "$(dd if=/dev/vda bs=64k count=16 skip=$((i * 128)) 2>/dev/null | md5sum)" = \
		"$(yes "part $i" | dd bs=64k count=16 iflag=fullblock 2>/dev/null | md5sum)" ] && good=$((good + 1))
done
echo "PARTS $good"
# The last sector, and nothing behind it.
last=$(($(blockdev --getsz /dev/vda) - 1))
echo end | dd of=/dev/vda bs=512 seek=$last conv=sync,fsync 2>/dev/null && echo LAST
dd if=/dev/zero of=/dev/vda bs=512 seek=$((last + 1)) count=1 2>/dev/null || echo NO-FURTHER
blkdiscard -o 16777216 -l 16777216 /dev/vda && echo DISCARDED
dev=$(basename "$(readlink /sys/block/vda/device)")
echo "$dev" >/sys/bus/virtio/drivers/virtio_blk/unbind && [ ! -e /sys/block/vda ] && echo UNBOUND
echo "$dev" >/sys/bus/virtio/drivers/virtio_blk/bind && [ -e /sys/block/vda ] && echo BOUND
echo "REBOUND $(dd if=/dev/vda bs=64k count=128 2>/dev/null | md5sum)"
dmesg -r | sed -n 's/^<[0-3]>//p' | grep -iE 'virtio|vd[ab]|i/o error|irq' | grep -v 'vdb.*read-only' | sed 's/^/COMPLAINT /'
echo ANSWER-END
E2

stored() { stat -c %b "$1"; } # in 512 bytes

raw() { # TRANSPORT RING WHAT
	local name="disk: $1, $2, $3" out="disk-$1-$2-$3" disk=scratch.img word sum before
	truncate -s 64M scratch.img
	# What is to be discarded is there before.
	head -c 16777216 /dev/urandom | dd of=scratch.img bs=1M seek=16 conv=notrunc,fsync 2>/dev/null
	before=$(stored scratch.img)
	case $3 in
	direct) disk=$disk,direct ;;
	loop)
		modprobe loop
		disk=$(losetup -f --show scratch.img) || { fail "$name: no loop device"; return; }
		;;
	esac
	expect "$name" 0 "$out" trivm run -m 256M \
		--disk "$disk,serial=LAB-1,transport=$1,ring=$2" \
		--disk "shared.img,ro,transport=$1,ring=$2" --exec "$(cat guest-script)" || return
	[ "$3" != loop ] || losetup -d "$disk" # writes back what is cached
	sum=$(sed -n 's/^SUM \([0-9a-f]*\) .*/\1/p' "$out")
	for word in "SERIAL LAB-1 disk1" "SIZE 67108864 5000192" "RO 0 1" "CACHE write back" DISCARD \
		"SHARED $shared  -" RO-REFUSED WRITTEN "AGAIN $sum  -" "PARTS 4" LAST NO-FURTHER DISCARDED \
		UNBOUND BOUND "REBOUND $sum  -" ANSWER-END; do
		grep -qxF "$word" "$out" || { fail "$name: no $word" "$out"; return; }
	done
	! grep -q '^COMPLAINT' "$out" || { fail "$name: complaints in dmesg" "$out"; return; }
	[ "$(hash_of scratch.img 8388608)" = "$sum" ] || { fail "$name: the file has something else" "$out"; return; }
	[ "$(tail -c 512 scratch.img | head -n 1)" = end ] || { fail "$name: the last sector" "$out"; return; }
	[ "$(hash_of shared.img)" = "$shared" ] || { fail "$name: the read-only disk was written" "$out"; return; }
	# The 16 MiB are given back, 8 and 4 were written.
	[ "$(stored scratch.img)" -lt $((before - 4096)) ] || { fail "$name: nothing was discarded" "$out"; return; }
	rm scratch.img
	pass "$name"
}

# --- In use by another ---

in_use() {
	local name="disk: one that is in use is refused" pid n=0
	truncate -s 1M busy.img
	trivm run -m 128M --disk busy.img --exec 'sleep 1000' >busy.out 2>&1 &
	pid=$!
	until [ -e "/proc/$pid/fd" ] && find "/proc/$pid/fd" -lname '*/busy.img' 2>/dev/null | grep -q .; do
		sleep 0.2
		n=$((n + 1))
		[ $n -lt 100 ] || break
	done
	if expect "$name" 2 busy2.out trivm run -m 128M --disk busy.img --exec true; then
		if grep -q 'busy.img: in use by another' busy2.out; then pass "$name"; else fail "$name: says" busy2.out; fi
	fi
	kill -9 $pid
	wait $pid 2>/dev/null
	rm busy.img
}

# --- Grown while the guest has it ---

grown() { # TRANSPORT
	local name="disk: $1: the guest sees a larger file after ctl disk resize" out="grown-$1" pid
	truncate -s 8M grows.img
	# shellcheck disable=SC2016
	trivm run -m 128M --name grown --disk "grows.img,id=data,transport=$1" --exec '
		echo "BEFORE $(blockdev --getsize64 /dev/vda)"
		for i in $(seq 600); do
			[ "$(blockdev --getsize64 /dev/vda)" = 8388608 ] || break
			sleep 0.1
		done
		echo "AFTER $(blockdev --getsize64 /dev/vda)"
		echo end | dd of=/dev/vda bs=512 seek=$((64 * 2048 - 1)) conv=sync,fsync 2>/dev/null && echo LAST' >"$out" 2>&1 &
	pid=$!
	if await 180 "^BEFORE 8388608" "$out"; then
		truncate -s 64M grows.img
		trivm ctl grown disk data resize >>"$out" 2>&1
		await 180 "^LAST" "$out" || wait $pid 2>/dev/null
	fi
	if grep -qx 'AFTER 67108864' "$out" && grep -qx LAST "$out" && [ "$(tail -c 512 grows.img | head -n 1)" = end ]; then
		pass "$name"
	else
		fail "$name" "$out"
	fi
	trivm ctl grown quit >/dev/null 2>&1 || kill -9 $pid 2>/dev/null
	wait $pid 2>/dev/null
	rm grows.img
}

# --- A system on a disk ---

# Wait until FILE has a line that matches, at most SECONDS: the guest's output.
await() { # SECONDS REGEX FILE
	local n=0
	until grep -aqE "$2" "$3"; do
		sleep 0.5
		n=$((n + 1))
		[ $n -lt $(($1 * 2)) ] && kill -0 "$pid" 2>/dev/null || return 1
	done
}

power_cut() { # TRANSPORT RING
	local name="disk: Debian, $1, $2: what was synced outlives a power cut" out="debian-$1-$2" want got
	cp --sparse=always root.img cut.img
	rm -f keys
	mkfifo keys
	trivm run -k $guest/vmlinuz -i $guest/initrd.img -m 512M -p "console=ttyS0 quiet root=/dev/vda" \
		--disk "cut.img,transport=$1,ring=$2" <keys >"$out" 2>&1 &
	pid=$!
	exec 4>keys
	if ! await "$limit" 'login:' "$out"; then
		fail "$name: no login after $limit s" "$out"
	else
		echo root >&4
		# The markers are in two pieces: the echo of what is typed does not have them.
		cat >&4 <<'E2'
PS1=; stty -echo
echo "STATE "$(systemctl is-system-running --wait)
head -c 6000000 /dev/urandom >/root/blob; mkdir -p /root/many
for i in $(seq 100); do echo "file $i" >/root/many/$i; done; sync
echo "SUM "$(md5sum </root/blob | cut -d' ' -f1) END
while :; do dd if=/dev/urandom of=/root/noise bs=64k count=40 conv=fsync; rm /root/noise; done 2>/dev/null &
sleep 2; echo "NOW"" CUT"
E2
		if ! await "$limit" '^NOW CUT' "$out"; then
			fail "$name: it did not get to write" "$out"
		fi
	fi
	kill -9 $pid
	wait $pid 2>/dev/null
	exec 4>&-
	grep -aq '^NOW CUT' "$out" || return
	want=$(sed -n 's/^SUM \([0-9a-f]*\) END.*/\1/p' "$out")
	grep -aqE '^STATE running' "$out" || { fail "$name: not all units started" "$out"; return; }
	# It was cut in the middle of it: there is something to replay.
	dumpe2fs -h cut.img 2>/dev/null | grep -q needs_recovery || { fail "$name: nothing to recover" "$out"; return; }
	e2fsck -E journal_only cut.img >"$out.fsck" 2>&1
	e2fsck -fn cut.img >>"$out.fsck" 2>&1 || { fail "$name: e2fsck" "$out.fsck"; return; }
	got=$(debugfs -R 'cat /root/blob' cut.img 2>/dev/null | md5sum | cut -d' ' -f1)
	[ -n "$want" ] && [ "$got" = "$want" ] || { fail "$name: the file is $got, was $want" "$out"; return; }
	got=$(debugfs -R 'ls -p /root/many' cut.img 2>/dev/null | grep -c '/100644/')
	[ "$got" = 100 ] || { fail "$name: $got of 100 files" "$out"; return; }
	rm cut.img
	pass "$name"
}

case ${1:-short} in
full) lines=$full cuts="pci split
mmio packed" ;;
*) lines=$short cuts="pci split" ;;
esac
while read -r transport ring what <&3; do
	raw "$transport" "$ring" "$what"
done 3<<<"$lines"
in_use
grown pci
grown mmio
while read -r transport ring <&3; do
	power_cut "$transport" "$ring"
done 3<<<"$cuts"
finish

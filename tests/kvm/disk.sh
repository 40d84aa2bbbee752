# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# Disks: a bare-metal driver on both transports and ring formats, files that cannot be used.

# COUNT sectors that begin and end with their own numbers
numbered() {
	local i word
	for ((i = 0; i < $1; i++)); do
		word="\\x$(printf %02x $((i % 256)))\\x$(printf %02x $((i / 256)))\\0\\0"
		# shellcheck disable=SC2059
		printf "$word%0504d$word" 0
	done
}

numbered 64 >"$tmp/shared.img"
shared=$(md5sum <"$tmp/shared.img")
for transport in pci mmio; do
	for ring in split packed; do
		for way in '' ,notify=exit,inject=ioctl; do
			name="disk: $transport, $ring${way/,/, }"
			truncate -s 0 "$tmp/disk.img"
			truncate -s 1M "$tmp/disk.img"
			run_limited "$trivm" run -k "$guests/blk.elf" \
				--disk "$tmp/disk.img,serial=KVM-1,transport=$transport,ring=$ring$way" \
				-p "transport=$transport ring=$ring sectors=2048 serial=KVM-1"
			bad=$(od -An -v -t u4 -w512 "$tmp/disk.img" |
				awk 'NR <= 512 && ($1 != NR - 1 || $NF != NR - 1) { n++ } END { print n + 0 }')
			if [ "$status" = 0 ] && [ "$bad" != 0 ]; then
				fail "$name" "$bad of 512 sectors of the file are wrong"
			else
				judge "$name" 0 "^disk on $transport, $ring ring of 64, 2048 sectors" ' 0 failed'
			fi
		done
	done
done
# The guest flushes once, after its last write was completed.
run_limited strace -f -o "$tmp/trace" -e trace=pwritev,fdatasync "$trivm" run -k "$guests/blk.elf" \
	--disk "$tmp/disk.img" -p "sectors=2048 serial=disk0"
name="disk: a flush is an fdatasync()"
if ! grep -q 'pwritev(' "$tmp/trace"; then
	fail "$name" "strace saw no write: $(head -n 3 "$tmp/trace")"
elif [ "$(grep -c 'fdatasync(.*= 0$' "$tmp/trace")" != 1 ] ||
	[ "$(grep -n 'fdatasync(' "$tmp/trace" | cut -d: -f1)" -lt "$(grep -n 'pwritev' "$tmp/trace" | tail -n 1 | cut -d: -f1)" ]; then
	fail "$name" "not one, after the last write: $(grep -n 'fdatasync' "$tmp/trace"; wc -l <"$tmp/trace")"
else
	judge "$name" 0 ' 0 failed'
fi
guest "disk: direct, four queues" 0 blk.elf ' 0 failed' --disk "$tmp/disk.img,direct,queues=4" -p "sectors=2048 serial=disk0"
guest "disk: read-only" 0 blk.elf ' 0 failed' --disk "$tmp/shared.img,ro,id=shared" -p "sectors=64 serial=shared ro=1"
if [ "$(md5sum <"$tmp/shared.img")" = "$shared" ]; then
	pass "disk: read-only: the file is as it was"
else
	fail "disk: read-only: the file is as it was" "it is not"
fi

printf '' >"$tmp/empty.img"
truncate -s 1000 "$tmp/odd.img"
refused "disk: missing" 'none.img: no such file; .*truncate' "$trivm" run -k "$guests/hello.elf" --disk "$tmp/none.img"
refused "disk: a directory" 'a directory' "$trivm" run -k "$guests/hello.elf" --disk "$tmp"
refused "disk: empty" 'empty.img: empty' "$trivm" run -k "$guests/hello.elf" --disk "$tmp/empty.img"
refused "disk: 1000 bytes" 'odd.img: 1000 bytes are not a multiple of 512' "$trivm" run -k "$guests/hello.elf" --disk "$tmp/odd.img"
ln -s disk.img "$tmp/symlink.img"
ln "$tmp/disk.img" "$tmp/hard.img"
mkdir -p "$tmp/way"
for again in disk.img symlink.img hard.img way/../disk.img; do
	refused "disk: the same one twice ($again)" "$again: this virtual machine has it already, as disk0 " \
		"$trivm" run -k "$guests/hello.elf" --disk "$tmp/disk.img" --disk "$tmp/$again"
done
refused "disk: the same one twice, once read-only" 'has it already, as own ' \
	"$trivm" run -k "$guests/hello.elf" --disk "$tmp/disk.img,ro,id=own" --disk "$tmp/symlink.img"
exec 8<>"$tmp/disk.img"
if python3 -c 'import fcntl, struct; fcntl.fcntl(8, 37, struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 0, 0))'; then
	refused "disk: in use by another program" 'disk.img: in use by another' \
		"$trivm" run -k "$guests/hello.elf" --disk "$tmp/disk.img"
else
	fail "disk: in use by another program" "the test could not lock the file"
fi
exec 8<&-

# An image that is not raw: refused, unless the user says so, or the guest itself has written it.
printf 'QFI\373\0\0\0\003%0504d' 0 >"$tmp/x.qcow2"
refused "disk: a qcow2 image" 'x.qcow2: is a qcow2 image.*qemu-img convert -O raw .*format=raw' \
	"$trivm" run -k "$guests/hello.elf" --disk "$tmp/x.qcow2"
refused "disk: a qcow2 image, read-only" 'x.qcow2: is a qcow2 image' \
	"$trivm" run -k "$guests/hello.elf" --disk "$tmp/x.qcow2,ro"
refused "disk: format=qcow2" 'format=qcow2: expected raw' "$trivm" run -k "$guests/hello.elf" --disk "$tmp/x.qcow2,format=qcow2"
guest "disk: a qcow2 image with format=raw" 0 hello.elf 'hello from' --disk "$tmp/x.qcow2,format=raw"
truncate -s 1M "$tmp/own.img"
# A file that grows while the guest has it.
truncate -s 1M "$tmp/grows.img"
: >"$tmp/out"
"$trivm" run --control "$tmp/grows.sock" -k "$guests/end.elf" -p how=halt --disk "$tmp/grows.img,id=data" >"$tmp/console" 2>"$tmp/err" </dev/null &
pid=$!
if wait_line "$tmp/console" halting; then
	run_limited "$trivm" ctl --control "$tmp/grows.sock" disk
	judge "disk: ctl disk" 0 "^data +.*/grows.img +1048576 +no"
	truncate -s 3M "$tmp/grows.img"
	run_limited "$trivm" ctl --control "$tmp/grows.sock" disk data resize
	judge "disk: a larger file" 0 'size +3145728'
	truncate -s 2M "$tmp/grows.img"
	run_limited "$trivm" ctl --control "$tmp/grows.sock" disk data resize
	judge "disk: a smaller file is refused" 1 'grows.img: has 2097152 bytes, less than the 3145728'
	run_limited "$trivm" ctl --control "$tmp/grows.sock" --json disk data
	judge "disk: the size is as it was" 0 '"size":3145728'
	run_limited "$trivm" ctl --control "$tmp/grows.sock" disk none resize
	judge "disk: resize of a disk that there is not" 1 'none: there is no such disk'
	"$trivm" ctl --control "$tmp/grows.sock" quit >/dev/null
	wait_pid $pid
else
	kill -KILL $pid
	fail "disk: a file that grows" "the guest did not start"
fi

name="disk: a guest that has written an image to it may boot again"
: >"$tmp/out"
"$trivm" run --control "$tmp/own.sock" -k "$guests/end.elf" -p how=halt --disk "$tmp/own.img" >"$tmp/out" 2>"$tmp/err" </dev/null &
pid=$!
if wait_line "$tmp/out" halting; then
	printf 'QFI\373\0\0\0\003' | dd of="$tmp/own.img" conv=notrunc status=none
	: >"$tmp/out"
	"$trivm" ctl --control "$tmp/own.sock" reset >/dev/null 2>>"$tmp/err"
	wait_line "$tmp/out" halting && "$trivm" ctl --control "$tmp/own.sock" quit >/dev/null
	wait_pid $pid
	judge "$name" 123
else
	kill -KILL $pid
	fail "$name" "the guest did not start"
fi

guest "disk: the same one twice, read-only" 0 hello.elf 'hello from' --disk "$tmp/disk.img,ro" --disk "$tmp/disk.img,ro"

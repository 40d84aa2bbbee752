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
refused "disk: the same one twice" 'disk.img: in use by another' "$trivm" run -k "$guests/hello.elf" --disk "$tmp/disk.img" --disk "$tmp/disk.img"
guest "disk: the same one twice, read-only" 0 hello.elf 'hello from' --disk "$tmp/disk.img,ro" --disk "$tmp/disk.img,ro"

# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154,SC2016
# Each image format and boot protocol, with what is handed over.

head -c 100000 /dev/zero | tr '\0' z >"$tmp/initrd"
head -c 99999 "$tmp/initrd" >"$tmp/odd-initrd"

guest "boot: ELF64 by PVH" 7 hello.elf 'hello from pvh' -p status=7
guest "boot: ELF32 by PVH" 7 hello32.elf 'hello from pvh' -p status=7
guest "boot: ELF64 without a note, by the 64-bit protocol" 7 hello-linux64.elf 'hello from linux64' -p status=7
for f in hello-multiboot.elf hello-multiboot32.elf hello-multiboot.bin; do
	guest "boot: Multiboot, $f" 7 $f "^cmdline: .*/$f status=7\$" -p status=7
	guest "boot: --boot multiboot, $f" 7 $f 'hello from multiboot' --boot multiboot -p status=7
	guest "boot: Multiboot, $f, without -p" 0 $f "^cmdline: .*/$f\$"
	guest "boot: Multiboot, $f: the initrd is a module" 0 $f 'initrd [0-9a-f]+000 \+ 99999' -i "$tmp/odd-initrd" -p initrd=z
done
guest "boot: a stack by PVH" 0 hello.elf '^stack 6000'
guest "boot: a stack by Multiboot" 0 hello-multiboot.elf '^stack 6000'
# A guess that was wrong is said to have been one; what a user asked for was none.
guest "boot: a program that is taken for Linux" 122 not-linux.elf "not-linux.elf': nothing in the file says.* was a guess"
run_limited "$trivm" run -k "$guests/not-linux.elf" --boot linux64
if grep -q guess "$tmp/err"; then
	fail "boot: a program that the user calls Linux" "it is said to be a guess"
else
	judge "boot: a program that the user calls Linux" 122
fi
run_limited "$trivm" run -k "$guests/hello-linux64.elf" -p status=7
if grep -q guess "$tmp/err"; then
	fail "boot: a right guess" "it is mentioned"
else
	judge "boot: a right guess" 7
fi
guest "boot: --boot linux64" 7 hello.elf 'hello from linux64' --boot linux64 -p status=7
guest "boot: bzImage" 7 hello.bzimage 'hello from linux64' --no-kvm-check -p status=7
# memtest86+ is so: the header counts 16 bytes where the file ends after 8 of them.
{
	cat "$guests/hello.bzimage"
	printf 'unpadded'
} >"$tmp/unpadded.bzimage"
sectors=$(od -An -tu4 -j $((0x1f4)) -N 4 "$guests/hello.bzimage")
printf '%08x' $((sectors + 1)) | sed 's/\(..\)\(..\)\(..\)\(..\)/\\x\4\\x\3\\x\2\\x\1/' >"$tmp/escapes"
printf '%b' "$(cat "$tmp/escapes")" | dd of="$tmp/unpadded.bzimage" bs=1 seek=$((0x1f4)) conv=notrunc status=none
run_limited "$trivm" run -k "$tmp/unpadded.bzimage" --no-kvm-check -p status=7
judge "boot: bzImage whose last 16 bytes are not all in the file" 7 'hello from linux64'
head -c -8 "$tmp/unpadded.bzimage" >"$tmp/truncated.bzimage"
refused "boot: bzImage that lacks 16 bytes" 'truncated' "$trivm" run -k "$tmp/truncated.bzimage" --no-kvm-check

guest "boot: command line" 0 hello.elf '^cmdline: a "b c"  d=\$x' -p 'a "b c"  d=$x'
guest "boot: initrd by PVH" 0 hello.elf 'initrd [0-9a-f]+ \+ 100000' -i "$tmp/initrd" -p initrd=z
guest "boot: initrd with a bzImage" 0 hello.bzimage 'initrd [0-9a-f]+ \+ 100000' --no-kvm-check \
	-i "$tmp/initrd" -p initrd=z
guest "boot: long command line" 0 hello.elf 'cmdline of 60009 bytes' -p "status=0 $(printf '%060000d' 0)"

for m in 128M 5G 64G; do
	guest "boot: -m $m" 0 memory.elf '0 failed' -m $m -p "ram=$(numfmt --from=iec --to-unit=1048576 $m)"
done
refused_with_kvm "boot: --prealloc of more than the host has" '-m 409600M --prealloc: .*the kernel would kill trivm' \
	"$trivm" run -k "$guests/hello.elf" -m 400G --prealloc
guest "boot: --prealloc" 0 memory.elf '0 failed' --prealloc -m 128M -p ram=128

# A Debian kernel, where KVM can only emulate: refused at once with the explanation.
run_limited "$trivm" run -k "$guests/hello.bzimage" -p status=7
if grep -q 'cannot run an ordinary kernel' "$tmp/err"; then
	judge "boot: ordinary kernels are refused where KVM cannot run them" "2 120" 'lab'
else
	judge "boot: bzImage without --no-kvm-check" 7
fi

run_limited "$trivm" run -k "$guests/hello.elf" --dump-fdt "$tmp/fdt"
if [ "$(head -c 4 "$tmp/fdt" 2>/dev/null | od -An -tx1 | tr -d ' ')" = d00dfeed ]; then
	judge "boot: --dump-fdt" 0
else
	fail "boot: --dump-fdt" "no device tree in the file"
fi

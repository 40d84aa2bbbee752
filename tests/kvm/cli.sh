# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# The command line: help, and one clear line with status 2 for everything that cannot be used. Most of it is
# refused before /dev/kvm is opened, so these run without one.

ok=$guests/hello.elf

run_limited "$trivm" help
judge "cli: help" 0 'Usage|usage'
run_limited "$trivm" run --help
judge "cli: run --help names the options" 0 '-k, --kernel' '-m, --memory' '-c, --cpus'
run_limited "$trivm" --version
judge "cli: --version" 0 '^trivm [0-9]'
run_limited "$trivm" doctor
judge "cli: doctor" "0 1" '/dev/kvm'
run_limited "$trivm" compare --help
judge "cli: compare --help" 0 '--modes' '--out'
refused "cli: compare with a road that there is not" "--modes fast.*vhost-net" "$trivm" compare --modes fast
if ! "$trivm" doctor >/dev/null 2>&1; then
	run_limited "$trivm" compare --modes vmm
	judge "cli: compare where no ordinary kernel can be run" 120 'lab|doctor'
fi
# Each remedy is on a line of its own and fits the node: a group to join, or an entry for the user; a tap needs more than the node.
if setpriv --reuid 65534 --regid 65534 --clear-groups "$trivm" --version >/dev/null 2>&1; then
	run_limited setpriv --reuid 65534 --regid 65534 --clear-groups "$trivm" doctor
	if grep -q 'try: ' "$tmp/out"; then
		fail "cli: doctor for another user" "a line says try:"
	else
		judge "cli: doctor for another user" "0 1" '^(--|ok)  tap ' 'remedy: sudo (ip tuntap add|setfacl|usermod|modprobe)'
	fi
else
	skip "cli: doctor for another user" "an ordinary user could not run $trivm"
fi
refused "cli: unknown command" 'frobnicate' "$trivm" frobnicate

# Kernels
printf '' >"$tmp/empty"
printf 'Dear guest,\nplease boot.\n' >"$tmp/letter"
head -c 40 "$ok" >"$tmp/short-header.elf"
head -c 3000 "$ok" >"$tmp/half.elf"
head -c 600 "$guests/hello.bzimage" >"$tmp/short-header.bzimage"
head -c 20000 "$guests/hello.bzimage" >"$tmp/half.bzimage"
patched() { # FROM TO OFFSET BYTES-IN-OCTAL-ESCAPES
	cp "$1" "$2"
	# shellcheck disable=SC2059
	printf "$4" | dd of="$2" bs=1 seek="$3" conv=notrunc status=none
}
patched "$ok" "$tmp/arm.elf" 18 '\267\000'
patched "$ok" "$tmp/huge-segment.elf" $((64 + 40)) '\000\000\000\000\100\000\000\000'
patched "$ok" "$tmp/wrapping-segment.elf" $((64 + 24)) '\000\360\377\377\377\377\377\377'
patched "$ok" "$tmp/wild-offset.elf" $((64 + 8)) '\000\000\000\000\000\000\000\177'
patched "$ok" "$tmp/many-headers.elf" 56 '\377\377'
patched "$guests/hello.bzimage" "$tmp/no64.bzimage" $((0x236)) '\000\000'
patched "$guests/hello.bzimage" "$tmp/old.bzimage" $((0x206)) '\004\002'
patched "$guests/hello.bzimage" "$tmp/huge.bzimage" $((0x260)) '\000\000\000\360'

refused "cli: kernel that does not exist" 'none.*(not|No such)' "$trivm" run -k "$tmp/none"
refused "cli: kernel that is a directory" "$tmp" "$trivm" run -k "$tmp"
refused "cli: empty kernel" 'empty' "$trivm" run -k "$tmp/empty"
refused "cli: text as kernel" 'letter' "$trivm" run -k "$tmp/letter"
for f in short-header.elf half.elf short-header.bzimage half.bzimage; do
	refused "cli: truncated kernel $f" "$f.*(truncated|short|ends)" "$trivm" run -k "$tmp/$f"
done
refused "cli: kernel for another processor" 'arm.elf.*(x86|processor|machine)' "$trivm" run -k "$tmp/arm.elf"
refused "cli: bzImage without a 64-bit entry" 'no64.*(64|32)' "$trivm" run -k "$tmp/no64.bzimage"
refused "cli: bzImage of an old boot protocol" 'old.bzimage' "$trivm" run -k "$tmp/old.bzimage"
for f in huge-segment.elf wrapping-segment.elf wild-offset.elf many-headers.elf huge.bzimage; do
	refused "cli: broken kernel $f" "$f" "$trivm" run --no-kvm-check -k "$tmp/$f"
done
refused "cli: --boot pvh without a PVH note" 'pvh|PVH' "$trivm" run --boot pvh -k "$guests/hello-linux64.elf"
refused "cli: --boot pvh with a bzImage" 'pvh|PVH' "$trivm" run --boot pvh -k "$guests/hello.bzimage"

# Initrd and command line
truncate -s 1G "$tmp/big-initrd"
refused_with_kvm "cli: initrd larger than memory" 'big-initrd|initrd' "$trivm" run -k "$ok" -m 128M -i "$tmp/big-initrd"
refused_with_kvm "cli: initrd that does not exist" 'none' "$trivm" run -k "$ok" -i "$tmp/none"
refused "cli: initrd without a kernel" '-i' "$trivm" run -i "$tmp/letter"
long=$(printf '%070000d' 0)
refused_with_kvm "cli: command line of 70000 bytes" '-p|command line' "$trivm" run -k "$ok" -p "$long"
refused_with_kvm "cli: command line longer than the bzImage takes" '-p|command line' \
	"$trivm" run --no-kvm-check -k "$guests/hello.bzimage" -p "${long:0:3000}"

# Numbers
for m in 0 1T -1 junk 12Q '' 1 99999999999999999999; do
	refused "cli: -m '$m'" '-m|memory' "$trivm" run -k "$ok" -m "$m"
done
for c in 0 5000 -1 two '' 1.5 99999999999999999999; do
	refused "cli: -c '$c'" '-c|cpus' "$trivm" run -k "$ok" -c "$c"
done

# Options
refused "cli: unknown long option" 'frobnicate' "$trivm" run -k "$ok" --frobnicate
refused "cli: unknown short option" '-z' "$trivm" run -k "$ok" -z
refused "cli: a word that is no option" 'word' "$trivm" run -k "$ok" word
refused "cli: option without its value" '-k' "$trivm" run -k
refused "cli: --boot with a wrong word" '--boot.*junk' "$trivm" run -k "$ok" --boot junk
refused "cli: --irqchip with a wrong word" '--irqchip.*junk' "$trivm" run -k "$ok" --irqchip junk
refused "cli: switch with a value" '--test-device' "$trivm" run -k "$ok" --test-device=yes
refused "cli: --exec with another guest" '--exec' "$trivm" run -k "$ok" --exec true
refused "cli: default guest that is not there" 'vmlinuz' env TRIVM_GUEST="$tmp/none" "$trivm" run

for mac in 00:00:00:00:00:00 ff:ff:ff:ff:ff:ff 01:00:5e:00:00:01; do
	refused "cli: mac=$mac" "mac=$mac.*neither zero" "$trivm" run -k "$ok" --net "user,mac=$mac"
done

# What is named at the start has to be possible. (No kernel's vhost-net has packed rings.)
refused_with_kvm "cli: a fallback without packed rings" \
	'ring=packed,fallback=vhost-net: on this host vhost-net lacks RING_PACKED.*use ring=split or another fallback' \
	"$trivm" run -k "$ok" --net "port=tap:t,datapath=vhost-user,socket=$tmp/none.sock,ring=packed,fallback=vhost-net"
refused_with_kvm "cli: a datapath to switch to without packed rings" 'switchable=vhost-net: .*lacks RING_PACKED' \
	"$trivm" run -k "$ok" --net none,ring=packed,switchable=vmm+vhost-net

# Near misses
refused "cli: near miss: a command" "rnu: unknown command .did you mean run" "$trivm" rnu
refused "cli: near miss: an option" '--memroy=1G: unknown option .did you mean --memory' "$trivm" run --memroy=1G
refused "cli: near miss: a beginning" 'did you mean --hugepages' "$trivm" run --huge
refused "cli: near miss: a value" 'did you mean linux64' "$trivm" run --boot linux
refused "cli: near miss: a key of --net" 'did you mean queues' "$trivm" run --net user,queue=2
refused "cli: near miss: a key of every device" 'did you mean transport' "$trivm" run --net user,transprot=mmio
refused "cli: near miss: a datapath" 'did you mean vhost-net' "$trivm" run --net tap,datapath=vhost_net
refused "cli: near miss: a port" 'did you mean user' "$trivm" run --net usr
refused "cli: near miss: one of two" 'did you mean packed' "$trivm" run --net user,ring=pakced
refused "cli: near miss: a key of --disk" 'did you mean queue-size' "$trivm" run --disk x,queuesize=4
refused "cli: near miss: a word of --disk" 'did you mean direct' "$trivm" run --disk x,dircet
refused "cli: near miss: a mode" 'did you mean vhost-net' "$trivm" compare --modes vmm,vhostnet
refused "cli: near miss: compare's option" 'did you mean --workload' "$trivm" compare --worklod tcp-in
refused "cli: no near word" '--frobnicate: unknown option; see' "$trivm" run --frobnicate
refused "cli: ctl: the word that is wrong" '^trivm: error: net net0 ring: no such word .did you mean rings.*expected: link, reset, datapath, stats, rings' \
	"$trivm" ctl web net net0 ring
refused "cli: ctl: a value that is wrong" 'net net0 link dwn: no such word .did you mean down.*; expected: up, down' \
	"$trivm" ctl web net net0 link dwn
refused "cli: ctl: a word is missing" 'net net0 link: a word is missing: up, down' "$trivm" ctl web net net0 link
refused "cli: ctl: a word too many" 'pause now: one word too many' "$trivm" ctl web pause now
refused "cli: ctl: a command with a slip" 'statsu: no such word of ctl .did you mean' "$trivm" ctl statsu
refused "cli: ctl: no word" 'ctl: a word is missing' "$trivm" ctl

# KVM
refused "cli: no /dev/kvm" 'none' "$trivm" run -k "$ok" --kvm "$tmp/none"
refused "cli: a file that is not KVM" 'letter' "$trivm" run -k "$ok" --kvm "$tmp/letter"
if [ "$(id -u)" -ne 0 ]; then
	: >"$tmp/locked" && chmod 000 "$tmp/locked"
	refused "cli: /dev/kvm not readable" 'locked.*(permission|Permission|opened)' \
		"$trivm" run -k "$ok" --kvm "$tmp/locked"
elif setpriv --reuid 65534 --regid 65534 --clear-groups "$trivm" --version >/dev/null 2>&1; then
	: >"$tmp/locked" && chmod 000 "$tmp/locked"
	cp "$ok" "$tmp/hello.elf"
	chmod 755 "$tmp"
	refused "cli: /dev/kvm not readable" 'locked.*(permission|Permission|opened)' \
		setpriv --reuid 65534 --regid 65534 --clear-groups "$trivm" run -k "$tmp/hello.elf" --kvm "$tmp/locked"
else
	skip "cli: /dev/kvm not readable" "root here, and an ordinary user could not run $trivm"
fi

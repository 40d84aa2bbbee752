#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: unmodified kernels boot. Each line of the matrix is
#	KERNEL FORMAT CPUS MEMORY
# KERNEL-FORMAT is a file in the current folder: cloud.bzimage, generic.vmlinux ...
#
# boot.sh short|full
set -u
here=$(dirname "$0")
. "$here/lib.sh"
initrd=/usr/local/lib/trivm/guest/initrd.img

short="cloud bzimage 1 128M
cloud vmlinux 2 256M
generic bzimage 4 256M
generic vmlinux 1 5G
cloud bzimage 2 5G"

full() {
	local k f c m
	for k in cloud generic; do
		for f in bzimage vmlinux; do
			for c in 1 2 4; do
				for m in 128M 5G; do
					echo "$k $f $c $m"
				done
			done
		done
	done
}

# What the guest is asked, through its shell on the serial port; END marks that the answer is whole.
cat >ask <<'E2'
PS1=; stty -echo
dmesg -r >/tmp/d
echo "CPUS $(nproc)"; echo "KERNEL $(uname -r)"; grep MemTotal: /proc/meminfo
awk '/^Node .* zone/ { zone = $4 } $1 == "managed" { print "ZONE", zone, $2 }' /proc/zoneinfo
grep -c 'ACPI: RSDP' /tmp/d | sed 's/^/RSDP /'; ls -d /sys/bus/acpi/devices/PNP0A08:00
sed -n 's/^<[0-4]>//p' /tmp/d | grep -iE 'acpi|irq|apic|pci |firmware bug' | sed 's/^/COMPLAINT /'
echo "ANSWER-""END"
poweroff
E2

# KERNEL FORMAT CPUS MEMORY
one() {
	local name="boot: $1 kernel, $2, -c $3, -m $4" out="boot-$1-$2-$3-$4" high
	# The shell reads its input when it is there; until then it waits in the port.
	expect "$name" 0 "$out" trivm run -k "$1.$2" -i "$initrd" -c "$3" -m "$4" \
		-p "console=ttyS0 panic=-1 quiet" <ask || return
	tr -d '\r' <"$out" >"$out.txt"
	grep -q '^ANSWER-END' "$out.txt" || { fail "$name: no answer from its shell" "$out.txt"; return; }
	grep -q "^CPUS $3\$" "$out.txt" || { fail "$name: wrong number of CPUs" "$out.txt"; return; }
	case $1 in
	cloud) grep -q '^KERNEL .*cloud-amd64' "$out.txt" ;;
	*) grep '^KERNEL ' "$out.txt" | grep -qv cloud ;;
	esac || { fail "$name: another kernel answered" "$out.txt"; return; }
	grep -q '^RSDP 1' "$out.txt" || { fail "$name: ACPI was not found" "$out.txt"; return; }
	grep -q '^/sys/bus/acpi/devices/PNP0A08:00' "$out.txt" || {
		fail "$name: no PCI host bridge in ACPI" "$out.txt"
		return
	}
	if grep -q '^COMPLAINT' "$out.txt"; then
		fail "$name: complaints in dmesg" "$out.txt"
		return
	fi
	if [ "$4" = 5G ]; then
		# Normal is the memory above 4 GiB: 2 GiB of it (pages of 4 KiB), and the kernel manages it.
		high=$(sed -n 's/^ZONE Normal //p' "$out.txt")
		[ "${high:-0}" -gt 400000 ] || { fail "$name: memory above 4 GiB is not used" "$out.txt"; return; }
	fi
	pass "$name"
}

case ${1:-short} in
full) lines=$(full) ;;
*) lines=$short ;;
esac
while read -r k f c m <&3; do
	one "$k" "$f" "$c" "$m"
done 3<<<"$lines"
finish

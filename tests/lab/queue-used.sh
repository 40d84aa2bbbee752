# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
# For guests (busybox sh): queue_used rx|tx N prints how much queue N of eth0 was used: packets, which the driver of
# Linux 6.1 counts for each queue. That of 6.12 does not tell them: then it is the queue's interrupts for rx, for
# which PCI has one for each queue, and its kicks otherwise.
queue_used() {
	used=$(ethtool -S eth0 | sed -n "s/^ *$1_queue_$2_packets: //p")
	if [ -z "$used" ] && [ "$1" = rx ]; then
		used=$(awk -v name="input.$2" '$NF ~ name "$" {for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) sum += $i; print sum + 0}' \
			/proc/interrupts)
	fi
	[ -n "$used" ] || used=$(ethtool -S eth0 | sed -n "s/^ *$1$2_kicks: //p")
	echo "${used:-0}"
}

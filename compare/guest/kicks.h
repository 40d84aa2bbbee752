/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which of the names that the NIC's driver gives its counters (ETHTOOL_GSTRINGS) counts the kicks of one queue:
 * "rx_queue_0_kicks", since Linux 6.10 "rx0_kicks", and beside it "rx_kicks", the sum of all queues, which would
 * count each kick twice.
 */
#ifndef TRIVM_COMPARE_GUEST_KICKS_H
#define TRIVM_COMPARE_GUEST_KICKS_H

/* @name: @len bytes, with zeros at the end where it is shorter. */
static inline int counts_kicks_of_a_queue(const char *name, long len)
{
	static const char end[] = "_kicks";
	const long end_len = sizeof(end) - 1;
	long n = 0;

	while (n < len && name[n])
		n++;
	n -= end_len;
	if (n < 1 || name[n - 1] < '0' || name[n - 1] > '9')
		return 0;
	for (long i = 0; i < end_len; i++)
		if (name[n + i] != end[i])
			return 0;
	return 1;
}

#endif

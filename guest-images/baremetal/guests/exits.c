/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Makes a known number of exits to the VMM and halts: out=N writes to a port and in=N reads of it,
 * write=N and read=N of memory; all where no device is.
 */
#include "bm.h"

#define NO_PORT   0xe80u
#define NO_DEVICE 0xd0000000ul /* in the PCI window, without a BAR */

int guest_main(void)
{
	uint64_t out = arg_num("out", 0), in = arg_num("in", 0);
	uint64_t write = arg_num("write", 0), read = arg_num("read", 0);
	unsigned wrong = 0;

	for (uint64_t i = 0; i < out; i++)
		outb(NO_PORT, (uint8_t)i);
	for (uint64_t i = 0; i < in; i++)
		inb(NO_PORT);
	for (uint64_t i = 0; i < write; i++)
		write32(NO_DEVICE, (uint32_t)i);
	for (uint64_t i = 0; i < read; i++)
		wrong += read32(NO_DEVICE) != UINT32_MAX;
	print("made, %u wrong\n", wrong);
	guest_halt();
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes one byte to COM1 and stays: for looking at a running VM's memory. */
#include "byte.inc"

	wrap_start
	write_byte
1:	hlt
	jmp	1b
	wrap_end

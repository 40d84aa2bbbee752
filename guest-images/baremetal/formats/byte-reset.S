/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes one byte to COM1 and resets: the least that a VM can do, for the start bench. */
#include "byte.inc"

	wrap_start
	write_byte
	movb	$0xfe, %al
	outb	%al, $0x64
1:	hlt
	jmp	1b
	wrap_end

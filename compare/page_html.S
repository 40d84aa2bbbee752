/* SPDX-License-Identifier: BSD-2-Clause */
/* The page as bytes, for page.c: see page.mk, which says where it is. */
	.section .rodata
	.globl	compare_page_html
	.globl	compare_page_html_size
	.type	compare_page_html, @object
	.type	compare_page_html_size, @object
compare_page_html:
	.incbin	COMPARE_PAGE
0:
	.size	compare_page_html, 0b - compare_page_html
	.balign	4
compare_page_html_size:
	.long	0b - compare_page_html
	.size	compare_page_html_size, 4
	.section .note.GNU-stack, "", @progbits

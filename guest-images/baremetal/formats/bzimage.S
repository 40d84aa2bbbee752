/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bzImage with a test guest in the place of a kernel: boot sector, one setup sector with the header of
 * Documentation/arch/x86/boot.rst (version 2.15), then the protected-mode part. Only the 64-bit entry works.
 */
#define PREF_ADDRESS 0x100000
#define XLF_KERNEL_64 1
#define LOADED_HIGH   1

	.text
	.globl	_start
_start:
	.org	0x1f1
	.byte	1			/* setup_sects */
	.word	0			/* root_flags */
	.long	(payload_end - payload + 15) / 16 /* syssize */
	.word	0			/* ram_size */
	.word	0xffff			/* vid_mode */
	.word	0			/* root_dev */
	.word	0xaa55			/* boot_flag */
	.byte	0xeb, header_end - 1f	/* jump */
1:	.ascii	"HdrS"
	.word	0x020f			/* version */
	.long	0			/* realmode_swtch */
	.word	0			/* start_sys_seg */
	.word	name - 0x200		/* kernel_version */
	.byte	0			/* type_of_loader */
	.byte	LOADED_HIGH		/* loadflags */
	.word	0			/* setup_move_size */
	.long	PREF_ADDRESS		/* code32_start */
	.long	0, 0			/* ramdisk_image, ramdisk_size */
	.long	0			/* bootsect_kludge */
	.word	0			/* heap_end_ptr */
	.byte	0, 0			/* ext_loader_ver, ext_loader_type */
	.long	0			/* cmd_line_ptr */
	.long	0x7fffffff		/* initrd_addr_max */
	.long	0x200000		/* kernel_alignment */
	.byte	0			/* relocatable_kernel */
	.byte	21			/* min_alignment */
	.word	XLF_KERNEL_64		/* xloadflags */
	.long	2047			/* cmdline_size */
	.long	0			/* hardware_subarch */
	.quad	0			/* hardware_subarch_data */
	.long	0, 0			/* payload_offset, payload_length */
	.quad	0			/* setup_data */
	.quad	PREF_ADDRESS		/* pref_address */
	.long	0x100000		/* init_size */
	.long	0			/* handover_offset */
	.long	0			/* kernel_info_offset */
header_end:
name:	.asciz	"0.0.0-trivm-test (a bare-metal guest, not Linux)"
	.org	0x400
payload:
	.incbin	"hello.payload"
	.balign	16
payload_end:

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's way out, one small program under several names:
 *
 *   vmexit [STATUS]             power off; trivm exits with STATUS (0 to 255)
 *   poweroff, halt              the same with status 0
 *   reboot                      ask for a reset
 *   powerbutton EVENT [STATUS]  wait for the power button (input device EVENT), end all
 *                               processes, and power off
 *
 * The status travels through one byte-wide I/O port of trivm (layout.h: the ACPI block at 0x600,
 * offset 3). A program of our own writes it, and not a shell command, because Debian's
 * cloud kernel has no /dev/port.
 */
#include <linux/fcntl.h>
#include <linux/reboot.h>
#include <linux/time_types.h>
#include <asm/ioctls.h>
#include <asm/signal.h>

#include "nolibc.h"

#define EXIT_STATUS_PORT 0x603

/* Time that processes get between SIGTERM and SIGKILL, and init to note how its command ended. */
#define GRACE_NS 300000000L

/* The kernel's struct input_event has this size on 64-bit; a shorter read fails. */
#define INPUT_EVENT_SIZE 24

static void write_status(int status)
{
	/* Not on a machine without the port: there, a write does no harm and has no effect. */
	if (syscall3(__NR_ioperm, EXIT_STATUS_PORT, 1, 1) < 0) {
		complain("vmexit: no permission for the exit status port\n");
		return;
	}
	__asm__ volatile("outb %0, %1"
	                 :
	                 : "a"((unsigned char)status), "Nd"((unsigned short)EXIT_STATUS_PORT));
}

/* Wait until a serial line has sent everything: what its driver still holds at power-off is lost.
 */
static void drain(const char *tty)
{
	long fd = syscall3(__NR_open, (long)tty, O_RDWR | O_NOCTTY | O_NONBLOCK, 0);

	if (fd < 0)
		return;
	syscall3(__NR_ioctl, fd, TCSBRK, 1); /* what tcdrain() does */
	syscall3(__NR_close, fd, 0, 0);
}

static void leave(unsigned int how)
{
	drain("/dev/console");
	drain("/dev/ttyS1");
	syscall3(__NR_sync, 0, 0, 0);
	syscall4(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, how, 0);
	complain("vmexit: not permitted\n");
}

static int powerbutton(const char *event, int status)
{
	struct __kernel_timespec grace = {0, GRACE_NS};
	char buf[INPUT_EVENT_SIZE];
	long fd = syscall3(__NR_open, (long)event, O_RDONLY, 0);

	/* The device reports nothing but the button, so any event is a press. */
	if (fd < 0 || syscall3(__NR_read, fd, (long)buf, sizeof(buf)) <= 0) {
		complain("powerbutton: cannot read the input device\n");
		return 1;
	}
	/* All but init and this process; init may now end the machine before we do. */
	syscall3(__NR_kill, -1, SIGTERM, 0);
	syscall3(__NR_kill, -1, SIGCONT, 0);
	syscall3(__NR_nanosleep, (long)&grace, 0, 0);
	syscall3(__NR_kill, -1, SIGKILL, 0);
	write_status(status);
	leave(LINUX_REBOOT_CMD_POWER_OFF);
	return 1;
}

static int run(long argc, char **argv)
{
	const char *name = argv[0];
	int status = 0;

	for (const char *p = argv[0]; *p; p++)
		if (*p == '/')
			name = p + 1;

	if (same(name, "reboot")) {
		leave(LINUX_REBOOT_CMD_RESTART);
		return 1;
	}
	if (same(name, "powerbutton")) {
		if (argc > 2)
			status = (int)number(argv[2], 255);
		if (argc < 2 || status < 0) {
			complain("usage: powerbutton EVENT [STATUS]\n");
			return 2;
		}
		return powerbutton(argv[1], status);
	}
	if (same(name, "vmexit") && argc > 1) {
		status = (int)number(argv[1], 255);
		if (argc > 2 || status < 0) {
			complain("usage: vmexit [STATUS]   (0 to 255)\n");
			return 2;
		}
	}
	write_status(status);
	leave(LINUX_REBOOT_CMD_POWER_OFF);
	return 1;
}

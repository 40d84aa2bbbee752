/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * session: what `trivm run` has around the guest, which outlives the guest's reboots. Shared by
 * run.c (its life) and session_host.c (signals, terminal and consoles); main thread only.
 */
#ifndef TRIVM_VMM_SESSION_H
#define TRIVM_VMM_SESSION_H

#include "vmm/attach.h"
#include "vmm/config.h"
#include "vmm/control_vm.h"
#include "vmm/daemon.h"
#include "vmm/guest_image.h"
#include "vmm/machine.h"
#include "vmm/term.h"

#define SESSION_CONSOLE_END 4096 /* --exec: bytes of the guest's console that are kept */

struct session {
	struct config config;
	struct guest_image image;
	struct boot_image kernel;
	struct boot_initrd_part initrd[2];
	unsigned nr_initrd;
	uint8_t *exec_archive;
	char *cmdline;

	struct loop loop;
	struct chardev com1, com2;
	struct console_host console;
	struct term_keys keys;
	struct loop_source look; /* a timer: is our terminal's foreground ours again? */
	int look_fd;             /* -1: the console is not on a terminal */
	bool terminal_taken;
	int output_error; /* why standard output is broken: an errno, or 0 */
	int signal_fd;
	struct loop_source signals;
	int stop_signal;         /* the first one that came */
	int kill_signal;         /* the second: end now */
	struct machine *machine; /* a new one for each boot */
	uint64_t booted_ms;      /* CLOCK_MONOTONIC when this one started */
	char name[CONTROL_NAME_MAX + 1];
	struct control_vm control;
	struct jsonrpc methods;
	struct attach *serial; /* --serial socket */
	char console_path[CONTROL_PATH_MAX];
	struct daemon daemon;
};

/* Take the signals that were not ignored at the start. 0 or a negative errno. */
int session_open_signals(struct session *s, struct err *err);

/* The signal that asked to end a session whose loop does not run yet, or 0. Takes it. */
int session_waiting_signal(struct session *s);

/*
 * The terminal is the guest's from here on: raw, while trivm is in its foreground. Not before the
 * machine is built, which may wait for a vhost-user back-end: meanwhile Ctrl-C ends trivm. Does
 * nothing without a terminal, or if it is done already.
 */
void session_take_terminal(struct session *s);

/* Open the host's ends of the serial ports and of --console. 0 or a negative errno. */
int session_open_consoles(struct session *s, struct err *err);

/* Idempotent. The terminal's settings are term_restore()'s business. */
void session_close_terminal(struct session *s);

#endif

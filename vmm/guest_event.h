/* SPDX-License-Identifier: BSD-2-Clause */
/* guest_event: what a guest can ask of the machine as a whole, through whichever device it asks. */
#ifndef TRIVM_VMM_GUEST_EVENT_H
#define TRIVM_VMM_GUEST_EVENT_H

enum guest_event {
	GUEST_POWEROFF, /* ACPI sleep register, S5 */
	GUEST_RESET,    /* ACPI reset register, i8042 pulse, port 0xCF9 */
	GUEST_PANIC,    /* pvpanic: its kernel panicked; it may still write a dump or reboot */
	GUEST_CRASH,    /* triple fault, or KVM cannot go on */
};

/* Given to a device by the machine. raise() may be called from any thread, vCPUs' included. */
struct guest_event_sink {
	void (*raise)(void *opaque, enum guest_event event);
	void *opaque;
};

static inline void guest_event_raise(const struct guest_event_sink *sink, enum guest_event event)
{
	sink->raise(sink->opaque, event);
}

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * event: something that happened to a device or to the machine, for whoever watches the VM from
 * outside (docs/control.md lists the events). It changes nothing in the machine itself: that is
 * guest_event.h.
 */
#ifndef TRIVM_VMM_EVENT_H
#define TRIVM_VMM_EVENT_H

/*
 * post(): any thread, never blocks, copies what it is given. @event as in docs/control.md; @device
 * NULL: the machine as a whole; @detail a sentence for people, or NULL.
 */
struct event_sink {
	void (*post)(void *opaque, const char *event, const char *device, const char *detail);
	void *opaque;
};

/* NULL, or a sink without post(): nobody watches. */
static inline void event_post(const struct event_sink *sink, const char *event, const char *device,
                              const char *detail)
{
	if (sink && sink->post)
		sink->post(sink->opaque, event, device, detail);
}

#endif

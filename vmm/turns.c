/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/turns.h"

#include <sys/epoll.h>

#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define LOOK_MS 1 /* how often the timer looks while somebody waits */

static void on_timer(struct loop_source *src, uint32_t events)
{
	struct turns *t = container_of(src, struct turns, src);

	(void)events;
	fd_drain(t->timer);
	if (!turns_free(t) || t->grant(t->opaque))
		loop_timer_set(t->timer, LOOK_MS);
}

void turns_init(struct turns *t, struct loop *loop, bool (*grant)(void *opaque), void *opaque)
{
	*t = (struct turns){.loop = loop, .timer = -1, .grant = grant, .opaque = opaque};
}

void turns_close(struct turns *t)
{
	loop_remove(&t->src);
	fd_close(&t->timer);
}

bool turns_free(const struct turns *t)
{
	return clock_us() >= t->until_us;
}

bool turns_wait(struct turns *t)
{
	if (t->timer < 0) {
		t->timer = loop_timer_create();
		if (t->timer >= 0 && loop_add(t->loop, &t->src, t->timer, EPOLLIN, on_timer) < 0)
			fd_close(&t->timer);
	}
	if (t->timer < 0)
		return false;
	loop_timer_set(t->timer, LOOK_MS);
	return true;
}

void turns_used(struct turns *t, uint64_t began_us)
{
	uint64_t now = clock_us();

	t->until_us = now + (now - began_us);
}

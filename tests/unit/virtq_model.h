/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtq_model: an honest driver and a device take random turns on one queue, and everything that
 * can be known from outside is compared: which chains arrive and with what in them, what comes back
 * and when it can be seen, that no notification that was asked for is missing, and that none comes
 * that was not.
 */
#ifndef TRIVM_TESTS_VIRTQ_MODEL_H
#define TRIVM_TESTS_VIRTQ_MODEL_H

#include "tests/unit/virtq_driver.h"

struct model_config {
	bool packed;
	unsigned size;
	bool event_idx, indirect;
	unsigned total; /* chains */
};

struct model_chain {
	struct virtq_chain chain;
	struct iovec iov[DRV_PARTS];
};

struct model {
	struct model_config c;
	struct drv d;
	struct virtq q;
	uint64_t random;

	struct model_chain *inflight;
	unsigned nr_inflight;
	uint32_t *written; /* by id: what the device said */

	/* In chains. */
	unsigned added, popped, pushed, flushed, taken;
	/* In the units of event indexes: split: chains, packed: positions. */
	uint64_t flushed_at, pushed_at, taken_at, event_at;
	bool armed;       /* the driver wants an interrupt at event_at */
	bool first_flush; /* since the start of the queue */
	bool asleep;      /* the device waits for a kick */
	bool kicks_off;   /* the device said it needs none */
	unsigned interrupts, spared, kicks, sleeps, restarts;
};

static inline unsigned model_random(struct model *m, unsigned below)
{
	m->random = m->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(m->random >> 33) % below;
}

static inline void model_start(struct model *m, virtq_base_t base)
{
	struct virtq_config config = drv_config(&m->d);
	struct virtq_features f = {
		.packed = m->c.packed, .event_idx = m->c.event_idx, .indirect = m->c.indirect};
	struct err err = {0};

	if (virtq_start(&m->q, &config, f, base, &m->d.mem, &err) < 0)
		fail_msg("%s", err.msg);
	m->first_flush = true;
	/* A new owner does not know what the one before told the driver. */
	m->asleep = !virtq_kick_enable(&m->q);
	m->kicks_off = false;
}

static inline void model_add(struct model *m)
{
	unsigned burst = 1 + model_random(m, model_random(m, 4) ? 16 : m->c.size);
	unsigned done = 0;
	bool kick;

	for (; done < burst && m->added < m->c.total; done++) {
		unsigned n = 1 + model_random(m, m->c.size < DRV_PARTS ? m->c.size : DRV_PARTS);
		unsigned nr_out = model_random(m, n + 1);
		bool indirect = m->c.indirect && model_random(m, 2);

		if (drv_add(&m->d, nr_out, n - nr_out, indirect) < 0)
			break;
		m->added++;
	}
	if (!done)
		return;
	kick = drv_kick_wanted(&m->d);
	if (m->asleep)
		assert_true(kick);
	if (m->kicks_off && (m->c.packed || !m->c.event_idx))
		assert_false(kick);
	m->kicks += kick;
	if (kick)
		m->asleep = false;
}

static inline void model_check_out(struct model *m, const struct virtq_chain *chain)
{
	const struct drv_chain *want = &m->d.chains[chain->id];
	uint8_t buf[DRV_DATA_STEP];

	assert_true(chain->id < m->c.size && want->out_there);
	assert_int_equal(chain->nr_out, want->nr_out);
	assert_int_equal(chain->nr_in, want->nr_in);
	assert_int_equal(chain->out_len, want->out_len);
	assert_int_equal(chain->in_len, want->in_len);
	assert_int_equal(iov_copy_out(chain->iov, chain->nr_out, 0, buf, sizeof(buf)),
	                 want->out_len);
	for (unsigned i = 0; i < want->out_len; i++)
		assert_int_equal(buf[i],
		                 drv_pattern(chain->id, i / DRV_PART_SIZE, i % DRV_PART_SIZE));
}

static inline void model_pop(struct model *m)
{
	unsigned n = 1 + model_random(m, model_random(m, 4) ? 16 : m->c.size);

	if (m->asleep)
		return;
	while (n--) {
		struct model_chain *slot = &m->inflight[m->nr_inflight];
		int rc;

		assert_int_equal(virtq_more(&m->q), m->popped < m->added);
		if (m->popped == m->added && m->nr_inflight == m->c.size)
			return;
		rc = virtq_pop(&m->q, &slot->chain, slot->iov, DRV_PARTS);
		if (m->popped == m->added) {
			assert_int_equal(rc, 0);
			return;
		}
		if (rc != 1)
			fail_msg("pop: %d, %s", rc, m->q.broken ? m->q.broken : "not broken");
		model_check_out(m, &slot->chain);
		if (model_random(m, 8) == 0) {
			virtq_unpop(&m->q, &slot->chain);
			return;
		}
		m->nr_inflight++;
		m->popped++;
		assert_int_equal(m->q.inflight, m->nr_inflight);
	}
}

/* Complete one that is in flight, whichever. */
static inline void model_push(struct model *m)
{
	unsigned at = model_random(m, m->nr_inflight);
	struct model_chain *slot = &m->inflight[at];
	struct virtq_chain *chain = &slot->chain;
	uint32_t written = model_random(m, chain->in_len + 1);
	uint8_t buf[DRV_DATA_STEP];

	chain->iov = slot->iov; /* the slots move */
	memset(buf, 0x5a ^ chain->id, sizeof(buf));
	assert_int_equal(iov_copy_in(chain->iov + chain->nr_out, chain->nr_in, 0, buf, written),
	                 written);
	m->written[chain->id] = written;
	m->pushed_at += m->c.packed ? m->d.chains[chain->id].nr_desc : 1;
	virtq_push(&m->q, chain, written);
	m->pushed++;
	*slot = m->inflight[--m->nr_inflight];
}

/* Is an interrupt due for what was pushed since the last flush? -1: either is right. */
static inline int model_interrupt_due(const struct model *m)
{
	uint64_t window = m->c.packed ? m->c.size : 32768;

	if (!m->c.event_idx || (m->c.packed && !m->armed))
		return m->armed;
	if (m->first_flush)
		return true;
	/* An event index from long ago can look like one to come. */
	if (m->event_at + window <= m->pushed_at)
		return -1;
	return m->event_at >= m->flushed_at && m->event_at < m->pushed_at;
}

static inline void model_flush(struct model *m)
{
	int due = model_interrupt_due(m);
	bool wanted;

	/* Nothing shows before. */
	assert_int_equal(drv_has_used(&m->d), m->flushed > m->taken);
	wanted = virtq_flush(&m->q);
	if (m->pushed == m->flushed) {
		assert_false(wanted);
		return;
	}
	if (due >= 0)
		assert_int_equal(wanted, due);
	m->flushed = m->pushed;
	m->flushed_at = m->pushed_at;
	m->first_flush = false;
	m->interrupts += wanted;
	m->spared += !wanted;
	assert_true(drv_has_used(&m->d));
}

static inline void model_complete(struct model *m)
{
	unsigned n = model_random(m, model_random(m, 4) ? 16 : m->c.size) + 1;

	while (n-- && m->nr_inflight)
		model_push(m);
	if (model_random(m, 3))
		model_flush(m);
}

static inline void model_take(struct model *m)
{
	unsigned n = model_random(m, model_random(m, 4) ? 16 : m->c.size) + 1;

	while (n--) {
		uint32_t written = 0;
		int id;

		assert_int_equal(drv_has_used(&m->d), m->flushed > m->taken);
		id = drv_take(&m->d, &written);
		if (id < 0)
			break;
		m->taken++;
		m->taken_at += m->c.packed ? m->d.chains[id].nr_desc : 1;
		assert_int_equal(written, m->written[id]);
		for (unsigned i = 0; i < written; i++) {
			const uint8_t *in =
				drv_at(&m->d, drv_part((uint16_t)id, m->d.chains[id].nr_out));

			assert_int_equal(in[i], (uint8_t)(0x5a ^ id));
		}
	}
	if (model_random(m, 4) == 0) {
		drv_interrupt_off(&m->d);
		m->armed = false;
	} else if (model_random(m, 2)) {
		unsigned ahead = model_random(m, 2) ? 0 : model_random(m, m->c.size);

		drv_interrupt_at(&m->d, ahead);
		m->armed = true;
		m->event_at = m->taken_at + ahead;
	}
}

static inline void model_sleep(struct model *m)
{
	if (model_random(m, 2)) {
		virtq_kick_disable(&m->q);
		m->kicks_off = true;
		m->asleep = false;
		return;
	}
	m->kicks_off = false;
	/* Mostly a device sleeps when it has nothing left to take. */
	while (m->popped < m->added && m->nr_inflight < m->c.size && model_random(m, 1000))
		model_pop(m);
	assert_int_equal(virtq_kick_enable(&m->q), m->added > m->popped);
	m->asleep = m->added == m->popped;
	m->sleeps += m->asleep;
}

/* Another owner goes on where this one stops. */
static inline void model_restart(struct model *m)
{
	while (m->nr_inflight)
		model_push(m);
	model_flush(m);
	m->restarts++;
	model_start(m, virtq_base(&m->q));
}

static inline void model_init(struct model *m, const struct model_config *c)
{
	memset(m, 0, sizeof(*m));
	m->c = *c;
	m->random = c->size * 4u + c->event_idx * 2u + c->indirect;
	drv_init(&m->d, c->packed, c->size, c->event_idx);
	m->inflight = calloc(c->size + 1, sizeof(m->inflight[0]));
	m->written = calloc(c->size, sizeof(m->written[0]));
	assert_true(m->inflight && m->written);
	m->armed = true; /* zeroed memory says so: at position 0 */
	if (c->packed && c->event_idx)
		drv_interrupt_at(&m->d, 0);
	model_start(m, virtq_base_new(c->packed));
}

static inline void model_run(const struct model_config *c)
{
	struct model m;

	model_init(&m, c);
	while (m.taken < c->total) {
		switch (model_random(&m, 12)) {
		case 0:
		case 1:
		case 2:
			model_add(&m);
			break;
		case 3:
		case 4:
		case 5:
			model_pop(&m);
			break;
		case 6:
		case 7:
			model_complete(&m);
			break;
		case 8:
		case 9:
			model_take(&m);
			break;
		case 10:
			model_sleep(&m);
			break;
		default:
			if (model_random(&m, c->size > 1000 ? 4 : 16) == 0)
				model_restart(&m);
		}
	}
	/* The test saw what it is about. */
	if (!m.interrupts || !m.spared || !m.kicks || !m.sleeps || !m.restarts)
		fail_msg("size %u: %u interrupts, %u spared, %u kicks, %u sleeps, %u restarts",
		         c->size, m.interrupts, m.spared, m.kicks, m.sleeps, m.restarts);
	assert_int_equal(m.d.nr_out_there, 0);
	assert_int_equal(m.d.nr_free, c->size);
	assert_int_equal(m.q.inflight, 0);
	drv_destroy(&m.d);
	free(m.inflight);
	free(m.written);
}

/* All combinations of features for one size. */
static inline void model_run_all(bool packed, unsigned size, unsigned total)
{
	for (unsigned i = 0; i < 4; i++) {
		struct model_config c = {.packed = packed,
		                         .size = size,
		                         .event_idx = i & 1,
		                         .indirect = i & 2,
		                         .total = total};

		model_run(&c);
	}
}

#endif

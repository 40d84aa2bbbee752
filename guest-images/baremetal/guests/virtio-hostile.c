/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attacks on virtio devices, from "seed=": "ops=" random things done to all of them but one, by
 * each processor: accesses to every register of both transports, the MSI-X table and the
 * configuration space; queues set up rightly and half rightly; rings, tables and buffers changed
 * while devices look at them; notifications, resets in the middle. The one that is left out
 * ("victim=rng|net|disk", the last of its kind) is used as a driver should, in between and at the
 * end: it must not notice. At the end all others must work, too, once they are reset.
 *
 * The first processor attacks from CPL3, which is fast where CPL0 is emulated, but where a register
 * access takes longest: "exits=" says that one in so many operations is on registers, the others
 * are on memory. Further processors attack from CPL0, and do a hundredth as much.
 *
 * What would only hurt ourselves is left out: the addresses that devices are given are of memory
 * that is used for nothing else, or of none; messages are plain interrupts, which we never take;
 * BARs are moved only to where nobody is.
 */
#include "virtio.h"

/* Our memory: what devices only read by right (rings, tables), what they write, and buffers.
 * Nothing is behind it: a length that is too long hits nothing else. */
#define TABLES     0x2000000ul
#define TABLE_MASK 0x1fffff0u
#define USED       0x4000000ul
#define USED_MASK  0xfffff0u
#define BUFFERS    0x5000000ul
#define BUF_MASK   0xffffffu

#define NOWHERE 0xd0000000u /* a BAR there is in nobody's way */

#define TARGETS_MAX 8
#define QUEUES      4    /* of a target, that are set up */
#define EACH        2000 /* operations between two looks at the victim */
#define OTHERS      100  /* what further processors do is this part of it */
#define VICTIM_US   20000000

#define DESC_NEXT     1
#define DESC_WRITE    2
#define DESC_INDIRECT 4
#define PACKED_AVAIL  0x0080
#define PACKED_USED   0x8000

struct ring {
	uint64_t desc, driver;
	uint64_t device;
	uint16_t size, avail;
	bool wrap, packed, receives;
};

struct target {
	struct virtio_dev d;
	uint64_t regs, msix; /* pci: the BARs, where they are by right */
	uint32_t regs_size, msix_size;
	struct ring rings[QUEUES];
};

static struct target targets[TARGETS_MAX];
static unsigned nr_targets;
static struct virtio_dev victim;
static struct virtq victim_queue;
static uint8_t victim_buffer[256] __attribute__((aligned(16)));
static uint64_t victim_done;
static uint64_t answers; /* chains that targets gave back, about */
static uint64_t ops, exits;
static volatile uint64_t keep_reads;

/* xorshift64* (Vigna 2016) */
static uint32_t rnd(uint64_t *s)
{
	*s ^= *s >> 12;
	*s ^= *s << 25;
	*s ^= *s >> 27;
	return (uint32_t)(*s * 0x2545f4914f6cdd1dul >> 32);
}

/* ---- values ---- */

static uint32_t any_value(uint64_t *s)
{
	static const uint32_t some[] = {
		0, 1, 2, 3, 4, 7, 8, 0xf, 0x40, 0x80, 0x100, 0x400, 0xffff, 0x10000, 0xffffffff,
	};
	uint32_t r = rnd(s);

	return r & 1 ? some[(r >> 1) % ARRAY_SIZE(some)] : rnd(s);
}

/* An address that is no memory's, or at the very end of it. */
static uint64_t no_address(uint32_t r)
{
	switch (r & 3) {
	case 0:
		return 0xc0000000ul | r;
	case 1:
		return ~(uint64_t)(r >> 8);
	case 2:
		return 0x8000000000ul + r;
	default:
		return BUFFERS + BUF_MASK - (r >> 8 & 0xff);
	}
}

/* The halves of queue addresses: @reg is the offset from the first, desc, driver, device. */
static uint32_t address_half(uint64_t *s, unsigned which, bool high)
{
	uint32_t r = rnd(s);

	if (high)
		return r & 0x700 ? 0 : r;
	if (!(r & 0xf00))
		return 0xc0000000u | r;
	return which == 2 ? (uint32_t)USED + (r & USED_MASK) : (uint32_t)TABLES + (r & TABLE_MASK);
}

static void access(uint64_t addr, unsigned size, bool write, uint64_t v)
{
	switch (size) {
	case 1:
		write ? write8(addr, (uint8_t)v) : (void)(keep_reads += read8(addr));
		break;
	case 2:
		write ? write16(addr, (uint16_t)v) : (void)(keep_reads += read16(addr));
		break;
	case 4:
		write ? write32(addr, (uint32_t)v) : (void)(keep_reads += read32(addr));
		break;
	default:
		write ? write64(addr, v) : (void)(keep_reads += read64(addr));
	}
}

/* ---- registers ---- */

static void mmio_register(struct target *t, uint64_t *s)
{
	uint32_t r = rnd(s), reg = r >> 8 & (r & 0x80 ? 0xfff : 0x1fc);
	unsigned size = r & 8 ? 4 : 1u << (r & 3);
	uint64_t v = any_value(s);

	if (reg + size > 0x1000)
		return;
	if (size >= 4 && reg >= 0x78 && reg < 0xa8)
		v = address_half(s, (reg - 0x80) >> 4, reg & 4);
	access(t->d.base + reg, size, r & 0x30, v);
}

static void pci_register(struct target *t, uint64_t *s)
{
	uint32_t r = rnd(s), reg = r >> 8 & (r & 0x80 ? 0x3fff : 0x3f);
	unsigned size = r & 8 ? 4 : 1u << (r & 3);
	uint64_t v = any_value(s);

	if (!(r & 0xc0))
		reg = 0x3000 | (reg & 0x1f);
	if (reg + size > t->regs_size)
		return;
	if (size >= 4 && reg < 0x40 && reg > 0x1c)
		v = address_half(s, (reg - 0x20) >> 3, reg & 4);
	access(t->regs + reg, size, r & 0x30, v);
}

static void msix_table(struct target *t, uint64_t *s)
{
	uint32_t r = rnd(s), reg = r >> 8 & (t->msix_size - 1) & ~3u;
	uint64_t v = any_value(s);

	if (r & 1 && reg + 8 <= t->msix_size)
		v |= (uint64_t)any_value(s) << 32;
	if (r & 2)
		v = LAYOUT_LAPIC; /* most often a good address */
	access(t->msix + reg, r & 1 && reg + 8 <= t->msix_size ? 8 : 4, r & 0xc,
	       v & 0xfffff8fffffff8fful);
}

static void config_space(struct target *t, uint64_t *s)
{
	uint32_t r = rnd(s), reg = r >> 8 & (r & 0x80 ? 0xfff : 0xff);
	uint64_t addr = LAYOUT_ECAM + ((uint64_t)t->d.devfn << 12);
	unsigned size = 1u << r % 3;
	uint32_t v = any_value(s);

	reg &= ~(size - 1);
	if (reg >= 0x10 && reg < 0x28) {
		size = 4;
		reg &= ~3u;
		v = NOWHERE | (v & 0xffffff0);
	} else if (reg >= t->d.window + 16 && reg < t->d.window + 20) {
		size = 4;
		reg &= ~3u;
		v = (v | 0xc0000000) & ~0x700u;
	}
	access(addr + reg, size, r & 0x30, v);
}

static void any_register(struct target *t, uint64_t *s)
{
	uint32_t r = rnd(s);

	if (t->d.mmio)
		mmio_register(t, s);
	else if (r & 0x30)
		pci_register(t, s);
	else if (r & 0x40)
		msix_table(t, s);
	else
		config_space(t, s);
}

/* ---- memory ---- */

/* What a descriptor of this kind may lead to. */
static uint64_t buffer(uint64_t *s, uint16_t flags)
{
	uint32_t r = rnd(s);

	if (!(r & 0x1f00000))
		return no_address(r);
	if (flags & DESC_INDIRECT)
		return TABLES + (r & TABLE_MASK);
	return BUFFERS + (r & BUF_MASK);
}

static uint32_t length(uint64_t *s)
{
	uint32_t r = rnd(s);

	switch (r & 7) {
	case 0:
		return 0;
	case 1:
		return r;
	case 2:
		return r >> 8 & 0xffff;
	case 3:
		return (r >> 8 & 0xff) * 16;
	default:
		return r >> 8 & 0x7ff;
	}
}

static uint16_t some_flags(uint64_t *s)
{
	uint32_t r = rnd(s);
	uint16_t flags = 0;

	flags |= r & 7 ? 0 : DESC_NEXT;
	flags |= r & 8 ? DESC_WRITE : 0;
	flags |= r & 0x70 ? 0 : DESC_INDIRECT;
	return r & 0x3f00 ? flags : (uint16_t)(r >> 16);
}

static void descriptor(uint64_t at, uint64_t *s, uint16_t flags, uint16_t last, bool honest)
{
	*(volatile uint64_t *)at = honest ? BUFFERS + (rnd(s) & (BUF_MASK >> 1)) : buffer(s, flags);
	*(volatile uint32_t *)(at + 8) = honest ? 100 + (rnd(s) & 0x7ff) : length(s);
	*(volatile uint16_t *)(at + 12) = last;
	*(volatile uint16_t *)(at + 14) = flags;
}

/* A few chains of a driver that means it, more or less. */
static void fill(struct ring *q, uint64_t *s)
{
	bool honest = rnd(s) & 3, writable = q->receives;
	unsigned n = 1 + (rnd(s) & 7);

	while (n--) {
		uint16_t flags = honest ? (writable ? DESC_WRITE : 0) : some_flags(s);
		uint16_t at = (uint16_t)(q->avail % q->size);
		uint64_t e = q->desc + 16u * at;

		if (q->packed) {
			flags &= (uint16_t) ~(PACKED_AVAIL | PACKED_USED);
			flags |= q->wrap ? PACKED_AVAIL : PACKED_USED;
			descriptor(e, s, flags, (uint16_t)(rnd(s) & 0x1ff), honest);
			if (++q->avail >= q->size) {
				q->avail = 0;
				q->wrap = !q->wrap;
			}
			continue;
		}
		descriptor(e, s, 0, 0, honest);
		*(volatile uint32_t *)(e + 12) = flags | (uint32_t)(at + 1) % q->size << 16;
		*(volatile uint16_t *)(q->driver + 4 + 2u * at) = at;
		*(volatile uint16_t *)(q->driver + 2) = ++q->avail;
	}
}

/* Change memory anywhere; of descriptors all but the address. */
static void poke(struct target *t, uint64_t *s)
{
	struct ring *q = &t->rings[rnd(s) % QUEUES];
	uint32_t r = rnd(s);

	switch (r & 7) {
	case 0:
		*(volatile uint32_t *)(USED + (r >> 6 & USED_MASK)) = any_value(s);
		break;
	case 1:
		*(volatile uint64_t *)(BUFFERS + (r >> 6 & BUF_MASK & ~7u)) = any_value(s);
		break;
	case 2:
		*(volatile uint16_t *)(q->driver + 2 * (r >> 8 & 0xff)) = (uint16_t)any_value(s);
		break;
	case 3:
		*(volatile uint32_t *)(TABLES + (r >> 6 & TABLE_MASK) + 8 + (r >> 6 & 4)) =
			any_value(s);
		break;
	case 4: /* a table's entry */
		descriptor(TABLES + (r >> 6 & TABLE_MASK), s, some_flags(s), (uint16_t)rnd(s),
		           false);
		break;
	default: /* in the ring: what the device may be reading now */
		*(volatile uint32_t *)(q->desc + 16 * (r >> 8 & 0xff) % (16u * q->size) + 8 +
		                       (r >> 6 & 4)) = any_value(s);
	}
}

/* ---- a driver ---- */

static void put_back(struct target *t)
{
	uint64_t config = LAYOUT_ECAM + ((uint64_t)t->d.devfn << 12);

	if (t->d.mmio)
		return;
	write32(config + 0x10, (uint32_t)t->regs);
	write32(config + 0x14, (uint32_t)t->msix);
	write16(config + 4, 6);
}

/* The registers of both transports by their role. */
static void reg(struct target *t, unsigned pci, unsigned pci_size, unsigned mmio, uint32_t v)
{
	if (t->d.mmio)
		write32(t->d.base + mmio, v);
	else
		access(t->regs + pci, pci_size, true, v);
}

static void set_status(struct target *t, uint8_t v)
{
	reg(t, 0x14, 1, 0x70, v);
}

static void notify(struct target *t, uint32_t queue)
{
	reg(t, 0x3000 + 4 * (queue & 0x3ff), 2, 0x50, queue);
}

static void queue(struct target *t, uint64_t *s, unsigned i)
{
	struct ring *q = &t->rings[i];
	uint32_t r = rnd(s);

	q->size = (uint16_t)(r & 3 ? 1u << (r >> 8) % 9 : 1 + (r >> 8) % 256);
	q->avail = 0;
	q->wrap = true;
	if (q->packed) /* descriptors that are left from before may be available: no harm */
		q->avail = (uint16_t)(r & 0x40000000 ? 1 % q->size : 0);
	else
		*(volatile uint32_t *)q->driver = 0;
	if (!q->packed && *(volatile uint16_t *)(q->device + 2) < 0x1000) /* more was poked */
		answers += *(volatile uint16_t *)(q->device + 2);
	*(volatile uint32_t *)q->device = 0;
	reg(t, 0x16, 2, 0x30, i);
	reg(t, 0x18, 2, 0x38, q->size);
	reg(t, 0x20, 4, 0x80, (uint32_t)q->desc);
	reg(t, 0x28, 4, 0x90, (uint32_t)q->driver);
	reg(t, 0x30, 4, 0xa0, (uint32_t)q->device);
	if (!(r & 0x3c)) /* half right */
		reg(t, 0x20 + (r >> 16 & 0x14), 4, 0x80 + (r >> 15 & 0x24),
		    address_half(s, 2, r >> 18 & 1));
	reg(t, 0x1c, 2, 0x44, 1);
}

static void set_up(struct target *t, uint64_t *s)
{
	uint32_t r = rnd(s), leave_out = r & 1 ? 0 : rnd(s) & rnd(s);

	put_back(t);
	set_status(t, 0);
	set_status(t, 3);
	for (unsigned half = 0; half < 2; half++) {
		uint32_t offered;

		reg(t, 0, 4, 0x14, half);
		offered = read32(t->d.mmio ? t->d.base + 0x10 : t->regs + 4);
		offered &= half ? ~(leave_out & ~1u) : ~leave_out;
		if (half && !(r & 2))
			offered &= ~4u; /* split */
		for (unsigned i = 0; half && i < QUEUES; i++)
			t->rings[i].packed = offered & 4;
		reg(t, 8, 4, 0x24, half);
		reg(t, 0xc, 4, 0x20, offered);
	}
	set_status(t, 0xb);
	for (unsigned i = 0; i < QUEUES; i++)
		if (r >> (8 + 2 * i) & 3)
			queue(t, s, i);
	set_status(t, r & 0x30000 ? 0xf : (uint8_t)r);
}

/* ---- the attack ---- */

static void operation(uint64_t *s)
{
	uint32_t r = rnd(s), kind = r & 0xff;
	struct target *t = &targets[(r >> 8) % nr_targets];

	if (rnd(s) % exits)
		kind |= 0x80;
	else
		kind &= 0x7f;
	if (kind < 0x50)
		any_register(t, s);
	else if (kind < 0x64)
		notify(t, r >> 24 & 8 ? rnd(s) : (r >> 24) % QUEUES);
	else if (kind < 0x66 || (exits > 16 && kind < 0x74)) /* a hundred registers */
		set_up(t, s);
	else if (kind < 0x80)
		set_status(t, kind & 1 ? 0 : (uint8_t)(r >> 24));
	else if (kind < 0xc0)
		fill(&t->rings[(r >> 24) % QUEUES], s);
	else
		poke(t, s);
}

static uint64_t attack(uint64_t state)
{
	uint64_t s = state;

	for (unsigned n = EACH; n; n--)
		operation(&s);
	return s;
}

static uint64_t first_state(unsigned cpu)
{
	return (arg_num("seed", 1) + cpu * 1000) * 0x9e3779b97f4a7c15ul + 1;
}

static void other_cpu(unsigned cpu)
{
	uint64_t s = first_state(cpu);

	for (uint64_t n = 0; n < ops / OTHERS; n++)
		operation(&s);
}

/* ---- devices that have to work ---- */

/* Random bytes, a frame or text to send, or a disk's first sector. How many bytes the device is to
 * write.
 */
static uint32_t ask(const struct virtio_dev *d, struct virtq *q)
{
	static uint8_t header[16], status, sector[512], table[48] __attribute__((aligned(16)));
	const struct virtq_buf read[] = {{header, sizeof(header), false},
	                                 {sector, sizeof(sector), true},
	                                 {&status, 1, true}};

	switch (d->type) {
	case VIRTIO_ID_RNG:
		virtq_add(q, 0, victim_buffer, 64, true);
		return 64;
	case VIRTIO_ID_BLOCK:
		virtq_add_chain(q, 0, table, read, ARRAY_SIZE(read));
		return sizeof(sector) + 1;
	default:
		virtq_add(q, 0, victim_buffer, 12 + 60, false);
		return 0;
	}
}

/* One request of a device that is set up; false: it does not answer, or not so. */
static bool request(const struct virtio_dev *d, struct virtq *q)
{
	uint32_t len, expected = ask(d, q);
	uint64_t start = 0;
	int id;

	virtq_publish(q);
	while ((id = virtq_get(q, &len)) < 0)
		if (timed_out(&start, VICTIM_US))
			return false;
	return id == 0 && len == expected;
}

static bool bring_up(struct virtio_dev *d, struct virtq *q)
{
	if (!virtio_negotiate(d, VIRTIO_BIT(VIRTIO_F_EVENT_IDX) | VIRTIO_BIT(VIRTIO_F_INDIRECT)))
		return false;
	/* Of a NIC or a console the sending queue. */
	if (!virtio_queue(d, q, d->type == VIRTIO_ID_NET || d->type == VIRTIO_ID_CONSOLE, 16))
		return false;
	virtio_driver_ok(d);
	return true;
}

static uint64_t victim_request(uint64_t unused)
{
	(void)unused;
	return request(&victim, &victim_queue);
}

static void look_at_victim(void)
{
	bool ok = user_run(victim_request, 0);

	check(ok, "after %lu requests the victim does not answer, status %x", victim_done,
	      virtio_status(&victim));
	if (!ok)
		guest_exit(check_status());
	victim_done++;
}

/* ---- finding them ---- */

static void add(const struct virtio_dev *d)
{
	struct target *t = &targets[nr_targets];

	if (nr_targets == TARGETS_MAX)
		return;
	*t = (struct target){.d = *d};
	if (!d->mmio) {
		struct pci_bar regs = pci_bar_probe(d->devfn, 0), msix = pci_bar_probe(d->devfn, 1);

		t->regs = regs.base;
		t->regs_size = (uint32_t)regs.size;
		t->msix = msix.base;
		t->msix_size = (uint32_t)msix.size;
	}
	for (unsigned i = 0; i < QUEUES; i++) {
		uint64_t base = TABLES + (nr_targets * QUEUES + i) * 0x4000;

		t->rings[i] = (struct ring){.desc = base,
		                            .driver = base + 0x2000,
		                            .device = USED + base - TABLES,
		                            .size = 16,
		                            .receives = i % 2 == 0};
	}
	nr_targets++;
}

/* All of them, and then the victim taken out. */
static void find(uint16_t victim_type)
{
	struct virtio_dev d;
	unsigned v;

	for (unsigned slot = 0; slot < 32; slot++)
		if (virtio_probe_pci(&d, PCI_DEVFN(slot, 0)))
			add(&d);
	for (unsigned i = 0; i < LAYOUT_VIRTIO_MMIO_MAX; i++)
		if (virtio_probe_mmio(&d, LAYOUT_VIRTIO_MMIO + i * LAYOUT_VIRTIO_MMIO_STEP))
			add(&d);
	for (v = nr_targets; v && targets[v - 1].d.type != victim_type; v--)
		;
	if (!check(v && nr_targets > 1, "%u devices, and no victim among them", nr_targets))
		guest_exit(check_status());
	victim = targets[v - 1].d;
	targets[v - 1] = targets[--nr_targets];
}

/* ---- */

static void run(void)
{
	uint64_t s = first_state(0);

	for (uint64_t n = 0; n < ops; n += EACH) {
		s = user_run(attack, s);
		look_at_victim();
	}
}

static void all_recover(void)
{
	for (unsigned i = 0; i < nr_targets; i++) {
		struct virtio_dev *d = &targets[i].d;
		struct virtq q;

		put_back(&targets[i]);
		check(bring_up(d, &q) && request(d, &q), "device %u does not recover, status %x", i,
		      virtio_status(d));
	}
}

int guest_main(void)
{
	char word[8];
	unsigned others;

	arg_str("victim", word, sizeof(word));
	ops = arg_num("ops", 100000);
	exits = arg_num("exits", 128);
	find(!strcmp(word, "net")    ? VIRTIO_ID_NET
	     : !strcmp(word, "disk") ? VIRTIO_ID_BLOCK
	                             : VIRTIO_ID_RNG);
	print("%u targets, victim %s on %s\n", nr_targets, word, victim.mmio ? "mmio" : "pci");
	if (!check(bring_up(&victim, &victim_queue), "the victim does not start"))
		return check_status();
	look_at_victim();
	others = smp_start(other_cpu);
	run();
	while (ap_done < others)
		look_at_victim();
	all_recover();
	check(!(virtio_status(&victim) & VIRTIO_STATUS_NEEDS_RESET), "the victim is broken");
	check(answers, "no target ever did what it was asked for");
	print("done: %lu operations, %lu requests of the victim, %lu answers\n",
	      ops + ops / OTHERS * others, victim_done, answers);
	return check_status();
}

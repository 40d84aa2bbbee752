/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A polled virtio-net driver at full speed. The device is brought up at CPL0; frames move at CPL3,
 * which runs natively also where KVM emulates CPL0. Knows virtio-pci and virtio-mmio as trivm and
 * QEMU (microvm, q35) have them. Words:
 *
 *	transport=pci|mmio   the first NIC there (otherwise: on PCI, else in memory)
 *	ring=split|packed    the format (split)
 *	mode=tx              send as fast as possible
 *	mode=rx              receive and count
 *	mode=txrx            both
 *	mode=echo            send each frame back with its addresses swapped; with stamp=1 each
 *	                     gets a number of its own, 8 bytes at offset 18; with think=N that many
 *	                     TSC ticks later
 *	mode=idle            bring the NIC up, then halt for ever
 *	mode=kick            time count= notifications of an empty ring, at CPL3 and at CPL0
 *	mode=ping            time count= frames sent one by one, each until its interrupt has come
 *	                     (PCI); at CPL0, so that emulated instructions are part of it
 *	size=N               of sent frames (64); above 1518: one TCP segment of that size for the
 *	                     device to cut (HOST_TSO4), and as long ones are asked for (GUEST_TSO4)
 *	count=N              end after so many frames (sent, received, echoed)
 *	ticks=N              end after so many TSC ticks; with count= it is a limit whose passing is
 *	                     a failure
 *	warm=N               TSC ticks that are not counted, first
 *	queue=N batch=N      queue size (256) and frames between two looks at the device (64)
 *	rxbuf=N              bytes of a receive buffer (2048; 4096 with long segments)
 *	event-idx=0          without VIRTIO_F_EVENT_IDX
 *	stay=1               halt at the end, so that the device can be looked at
 *	exit-port=N          where to write the exit status, for QEMU's isa-debug-exit
 *
 * Interrupts are used by mode=ping only. Notifications are, where the device wants them: an exit
 * from CPL3 is expensive, so everything is done in batches.
 */
#include "virtio.h"

#define F_CSUM       0
#define F_GUEST_CSUM 1
#define F_MAC        5
#define F_GUEST_TSO4 7
#define F_GUEST_TSO6 8
#define F_HOST_TSO4  11
#define F_MRG_RXBUF  15
#define F_STATUS     16

#define RXQ      0
#define TXQ      1
#define RING_MAX 1024

/* struct virtio_net_hdr_v1 (5.1.6) */
struct net_hdr {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};
#define HDR_NEEDS_CSUM 1
#define HDR_GSO_TCPV4  1

#define ETH_LEN   14
#define FRAME_MAX 1518
#define STAMP_OFF 18
#define IP_OFF    ETH_LEN
#define TCP_OFF   (IP_OFF + 20)
#define DATA_OFF  (TCP_OFF + 20)
#define SEGMENT   1448 /* TCP payload of 1500 bytes, with time stamps */
#define SIZE_MAX_ (65535 + ETH_LEN)

#define BUFFERS 0x04000000ul /* from here on */
#define MIB     0x100000ul

enum {
	MODE_TX = 1,
	MODE_RX = 2,
	MODE_ECHO = 4,
	MODE_IDLE = 8,
	MODE_KICK = 16,
	MODE_PING = 32,
};

#define VECTOR  0x60
#define WAIT_US 1000000

static struct virtio_dev dev;
static struct virtq rxq, txq;
static unsigned mode, batch;
static uint32_t size, rxbuf, tx_stride;
static uint64_t count, ticks, warm;
static uint8_t mac[6];
static bool stamp;
static uint64_t think;

struct counters {
	uint64_t packets, bytes;
};
static struct counters rx, tx, rx_warm, tx_warm;
static uint64_t started, measured; /* TSC: when counting began, how long it took */
static unsigned rx_more;           /* buffers that the frame being received still has */
static uint64_t bad;               /* frames or buffers that should not be so */

/* Free transmit buffers. */
static uint16_t tx_free[RING_MAX];
static unsigned tx_nr_free;

static uint8_t *tx_buffer(unsigned id)
{
	return (uint8_t *)(BUFFERS + (uint64_t)id * tx_stride);
}

static uint8_t *rx_buffer(unsigned id)
{
	return tx_buffer(txq.size) + (uint64_t)id * rxbuf;
}

/* ---- frames ---- */

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* An IPv4 TCP segment; checksums are for the device and for nobody. */
static void make_segment(struct net_hdr *hdr, uint8_t *frame)
{
	hdr->flags = HDR_NEEDS_CSUM;
	hdr->gso_type = HDR_GSO_TCPV4;
	hdr->hdr_len = DATA_OFF;
	hdr->gso_size = SEGMENT;
	hdr->csum_start = TCP_OFF;
	hdr->csum_offset = 16;
	put16(frame + 12, 0x0800);
	frame[IP_OFF] = 0x45;
	put16(frame + IP_OFF + 2, size - ETH_LEN);
	frame[IP_OFF + 8] = 64;
	frame[IP_OFF + 9] = 6;
	put16(frame + IP_OFF + 12, 10u << 8);
	put16(frame + IP_OFF + 14, 2);
	put16(frame + IP_OFF + 16, 10u << 8);
	put16(frame + IP_OFF + 18, 1);
	put16(frame + TCP_OFF, 5001);
	put16(frame + TCP_OFF + 2, 5001);
	frame[TCP_OFF + 12] = 5 << 4;
	frame[TCP_OFF + 13] = 0x10; /* ACK */
}

static void make_frame(unsigned id)
{
	struct net_hdr *hdr = (struct net_hdr *)tx_buffer(id);
	uint8_t *frame = (uint8_t *)(hdr + 1);

	for (uint32_t i = 0; i < size; i++)
		frame[i] = (uint8_t)i;
	*hdr = (struct net_hdr){0};
	for (int i = 0; i < 6; i++) {
		frame[i] = i ? 0 : 2;
		frame[6 + i] = mac[i];
	}
	frame[5] = 1;
	put16(frame + 12, 0x88b5); /* IEEE 802's for experiments: nobody behind a tap takes it */
	if (size > FRAME_MAX)
		make_segment(hdr, frame);
}

static void swap_addresses(uint8_t *frame)
{
	for (int i = 0; i < 6; i++) {
		uint8_t b = frame[i];

		frame[i] = frame[6 + i];
		frame[6 + i] = b;
	}
}

/* Number what is sent: what is lost or sent twice on the way shows. */
static void put_stamp(uint8_t *frame, uint32_t len)
{
	static uint64_t next;

	if (len < STAMP_OFF + sizeof(next))
		return;
	for (unsigned i = 0; i < sizeof(next); i++)
		frame[STAMP_OFF + i] = (uint8_t)(next >> 8 * i);
	next++;
}

/* ---- moving them: at CPL3 ---- */

static void receive_add(unsigned id)
{
	virtq_add(&rxq, (uint16_t)id, rx_buffer(id), rxbuf, true);
}

/* Take back what was sent. */
static void transmit_reclaim(void)
{
	uint32_t len;
	int id;

	for (unsigned n = 0; n < batch && (id = virtq_get(&txq, &len)) >= 0; n++) {
		tx.packets++;
		if (mode & MODE_ECHO) {
			receive_add((unsigned)id);
		} else {
			tx.bytes += size;
			tx_free[tx_nr_free++] = (uint16_t)id;
		}
	}
}

static uint64_t tx_given;

static void transmit(void)
{
	unsigned n = 0;

	transmit_reclaim();
	while (tx_nr_free && n < batch && (!count || tx_given < count)) {
		unsigned id = tx_free[--tx_nr_free];

		virtq_add(&txq, (uint16_t)id, tx_buffer(id),
		          (uint32_t)sizeof(struct net_hdr) + size, false);
		tx_given++;
		n++;
	}
	if (n)
		virtq_publish(&txq);
}

/* A buffer with @len bytes: count it. True: it is a whole frame. */
static bool received(unsigned id, uint32_t len)
{
	const struct net_hdr *hdr = (const struct net_hdr *)rx_buffer(id);

	if (rx_more) {
		rx_more--;
		rx.bytes += len;
		return false;
	}
	if (len < sizeof(*hdr) + ETH_LEN || len > rxbuf || !hdr->num_buffers) {
		bad++;
		return false;
	}
	rx_more = hdr->num_buffers - 1u;
	rx.packets++;
	rx.bytes += len - (uint32_t)sizeof(*hdr);
	return !rx_more;
}

static void receive(void)
{
	unsigned added = 0, echoed = 0;
	uint32_t len;
	int id;

	for (unsigned n = 0; n < batch && (id = virtq_get(&rxq, &len)) >= 0; n++) {
		bool whole = received((unsigned)id, len);

		if (whole && mode & MODE_ECHO) {
			uint8_t *buf = rx_buffer((unsigned)id);

			*(struct net_hdr *)buf = (struct net_hdr){0};
			swap_addresses(buf + sizeof(struct net_hdr));
			for (uint64_t since = rdtsc(); rdtsc() - since < think;)
				;
			if (stamp)
				put_stamp(buf + sizeof(struct net_hdr),
				          len - (uint32_t)sizeof(struct net_hdr));
			virtq_add(&txq, (uint16_t)id, buf, len, false);
			tx.bytes += len - (uint32_t)sizeof(struct net_hdr);
			echoed++;
		} else {
			receive_add((unsigned)id);
			added++;
		}
	}
	if (echoed)
		virtq_publish(&txq);
	if (mode & MODE_ECHO) {
		uint64_t before = tx.packets;

		transmit_reclaim();
		added += (unsigned)(tx.packets - before);
	}
	if (added)
		virtq_publish(&rxq);
}

static bool enough(void)
{
	if (!count)
		return false;
	return (!(mode & (MODE_TX | MODE_ECHO)) || tx.packets >= count) &&
	       (!(mode & (MODE_RX | MODE_ECHO)) || rx.packets >= count);
}

/* Every page once, as a first touch is a fault; then the frames. */
static uint64_t prepare(uint64_t unused)
{
	(void)unused;
	for (uint8_t *p = tx_buffer(0); p < rx_buffer(rxq.size); p += 4096)
		*(volatile uint8_t *)p = 0;
	for (unsigned id = 0; mode & (MODE_TX | MODE_PING) && id < txq.size; id++) {
		make_frame(id);
		tx_free[tx_nr_free++] = (uint16_t)id;
	}
	for (unsigned id = 0; id < rxq.size; id++)
		receive_add(id);
	return 0;
}

static uint64_t drive(uint64_t unused)
{
	uint64_t begin = rdtsc();
	bool counting = !warm;

	(void)unused;
	started = begin;
	virtq_publish(&rxq);
	for (;;) {
		uint64_t now;

		if (mode & MODE_TX)
			transmit();
		if (mode & (MODE_RX | MODE_ECHO))
			receive();
		now = rdtsc();
		if (!counting && now - begin >= warm) {
			counting = true;
			started = now;
			rx_warm = rx;
			tx_warm = tx;
		}
		measured = now - started;
		if (enough() || (counting && ticks && measured >= ticks))
			return 0;
	}
}

/* ---- what notifications cost ---- */

static uint64_t kick(uint64_t n)
{
	uint64_t begin = rdtsc();

	for (uint64_t i = 0; i < n; i++)
		virtq_kick(&txq);
	return rdtsc() - begin;
}

static void time_kicks(void)
{
	uint64_t user = user_run(kick, count), kernel = kick(count);

	print("kick packets %lu bytes 0 ticks %lu\n", count, user);
	print("kick-cpl0 packets %lu bytes 0 ticks %lu\n", count, kernel);
}

static volatile unsigned interrupts;

static void on_interrupt(struct trap *t)
{
	(void)t;
	interrupts++;
	apic_eoi();
}

static void time_pings(void)
{
	uint64_t begin = rdtsc();
	uint32_t len;

	for (uint64_t i = 0; i < count; i++) {
		unsigned before = interrupts;
		uint64_t start = 0;

		virtq_want_interrupt(&txq);
		virtq_add(&txq, 0, tx_buffer(0), (uint32_t)sizeof(struct net_hdr) + size, false);
		virtq_publish(&txq);
		while (interrupts == before && !timed_out(&start, WAIT_US))
			irq_wait();
		if (!check(interrupts != before && virtq_get(&txq, &len) == 0,
		           "frame %lu: no interrupt", i))
			return;
	}
	print("ping packets %lu bytes %lu ticks %lu\n", count, count * size, rdtsc() - begin);
}

/* ---- bringing it up ---- */

__attribute__((noreturn)) static void finish(int status)
{
	uint64_t port = arg_num("exit-port", 0);

	if (arg_num("stay", 0)) {
		print("stays, status %u\n", (unsigned)status);
		guest_halt();
	}
	if (port) {
		print_flush();
		outb((uint16_t)port, (uint8_t)status);
	}
	guest_exit(status);
}

static unsigned parse_mode(const char *word)
{
	static const struct {
		const char *name;
		unsigned mode;
	} modes[] = {
		{"tx", MODE_TX},     {"rx", MODE_RX},     {"txrx", MODE_TX | MODE_RX},
		{"echo", MODE_ECHO}, {"idle", MODE_IDLE}, {"kick", MODE_KICK},
		{"ping", MODE_PING},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++)
		if (!strcmp(word, modes[i].name))
			return modes[i].mode;
	return 0;
}

static uint64_t wanted_features(void)
{
	uint64_t wanted = VIRTIO_BIT(F_MAC) | VIRTIO_BIT(F_STATUS) | VIRTIO_BIT(F_MRG_RXBUF);
	char ring[16];

	arg_str("ring", ring, sizeof(ring));
	if (!strcmp(ring, "packed"))
		wanted |= VIRTIO_BIT(VIRTIO_F_RING_PACKED);
	if (arg_num("event-idx", 1))
		wanted |= VIRTIO_BIT(VIRTIO_F_EVENT_IDX);
	if (size > FRAME_MAX)
		wanted |= VIRTIO_BIT(F_CSUM) | VIRTIO_BIT(F_GUEST_CSUM) | VIRTIO_BIT(F_HOST_TSO4) |
		          VIRTIO_BIT(F_GUEST_TSO4) | VIRTIO_BIT(F_GUEST_TSO6);
	return wanted;
}

static void read_words(void)
{
	char word[16];

	arg_str("mode", word, sizeof(word));
	mode = parse_mode(word);
	size = (uint32_t)arg_num("size", 64);
	count = arg_num("count", 0);
	ticks = arg_num("ticks", 0);
	warm = arg_num("warm", 0);
	stamp = arg_num("stamp", 0);
	think = arg_num("think", 0);
	batch = (unsigned)arg_num("batch", 64);
	rxbuf = (uint32_t)arg_num("rxbuf", size > FRAME_MAX ? 4096 : 2048);
	tx_stride = (uint32_t)(sizeof(struct net_hdr) + size + 2047) & ~2047u;
	if (!check(mode && size >= ETH_LEN && size <= SIZE_MAX_ && batch && rxbuf >= 64,
	           "words: mode '%s', size %u, batch %u, rxbuf %u", word, size, batch, rxbuf))
		finish(check_status());
}

static void check_memory(uint64_t end)
{
	uint64_t top = 0;

	for (unsigned i = 0; i < boot.nr_ranges; i++) {
		const struct boot_range *r = &boot.ranges[i];

		if (r->type == 1 && r->addr <= BUFFERS && r->addr + r->size > top)
			top = r->addr + r->size;
	}
	if (!check(top >= end, "%lu MiB of memory are not enough, %lu are", top / MIB,
	           (end + MIB - 1) / MIB))
		finish(check_status());
}

static void bring_up(void)
{
	enum virtio_where where = VIRTIO_ANYWHERE;
	uint64_t wanted = wanted_features();
	uint16_t queue = (uint16_t)arg_num("queue", 256);
	char word[16];

	if (arg_str("transport", word, sizeof(word)))
		where = strcmp(word, "pci") ? VIRTIO_MMIO : VIRTIO_PCI;
	if (!check(virtio_find(&dev, VIRTIO_ID_NET, where), "no NIC (transport '%s')", word))
		finish(check_status());
	if (!check(virtio_negotiate(&dev, wanted), "features %lx are refused, status %x",
	           dev.features, virtio_status(&dev)))
		finish(check_status());
	if (mode & MODE_PING) {
		apic_init();
		trap_set(VECTOR, on_interrupt);
		if (!check(virtio_interrupts(&dev, VECTOR), "no MSI-X"))
			finish(check_status());
	}
	check(!(wanted & ~dev.features), "features %lx are not offered", wanted & ~dev.features);
	for (unsigned i = 0; i < sizeof(mac); i++)
		mac[i] = read8(dev.config + i);
	if (!check(virtio_queue(&dev, &rxq, RXQ, queue) && virtio_queue(&dev, &txq, TXQ, queue),
	           "no queues") ||
	    !check(rxq.size <= RING_MAX && rxq.size <= txq.size, "queues of %u and %u", rxq.size,
	           txq.size))
		finish(check_status());
	check_memory((uint64_t)rx_buffer(rxq.size));
	virtio_driver_ok(&dev);
	print("NIC on %s at %lx, %s rings of %u, features %lx\n", dev.mmio ? "mmio" : "pci",
	      dev.mmio ? dev.base : dev.common, rxq.packed ? "packed" : "split", rxq.size,
	      dev.features);
}

static void report(const char *what, const struct counters *c, const struct counters *before)
{
	print("%s packets %lu bytes %lu ticks %lu\n", what, c->packets - before->packets,
	      c->bytes - before->bytes, measured);
}

int guest_main(void)
{
	read_words();
	bring_up();
	user_run(prepare, 0);
	print("ready\n");
	if (mode == MODE_IDLE) {
		virtq_publish(&rxq);
		guest_halt();
	}
	if (mode & (MODE_KICK | MODE_PING)) {
		if (mode & MODE_KICK)
			time_kicks();
		else
			time_pings();
		finish(check_status());
	}
	user_run(drive, 0);
	if (mode & (MODE_TX | MODE_ECHO))
		report("tx", &tx, &tx_warm);
	if (mode & (MODE_RX | MODE_ECHO))
		report("rx", &rx, &rx_warm);
	print("kicks rx %lu tx %lu\n", rxq.kicks, txq.kicks);
	check(!bad, "%lu receive buffers make no sense", bad);
	check(!count || enough(), "time is up before %lu frames", count);
	check(!(virtio_status(&dev) & VIRTIO_STATUS_NEEDS_RESET), "the device wants a reset");
	finish(check_status());
}

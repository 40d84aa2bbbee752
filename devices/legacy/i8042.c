/* SPDX-License-Identifier: BSD-2-Clause */
#include "devices/legacy/i8042.h"

#include <string.h>

#include "vmm/util.h"

#define CMD_WRITE_OUTPUT_PORT 0xd1
#define CMD_PULSE             0xf0 /* pulse the output port's lines whose bit is 0 in bits 0-3 */
#define CMD_PULSE_MASK        0xf0
#define OUTPUT_RESET          BIT(0) /* the processor's reset pin, active low */

static uint64_t read_data(void *opaque, uint64_t offset, unsigned size)
{
	(void)opaque, (void)offset, (void)size;
	return 0xff;
}

static void write_data(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	struct i8042 *k = opaque;
	bool reset;

	(void)offset, (void)size;
	pthread_mutex_lock(&k->lock);
	reset = k->output_port_next && !(value & OUTPUT_RESET);
	k->output_port_next = false;
	pthread_mutex_unlock(&k->lock);
	if (reset)
		guest_event_raise(&k->sink, GUEST_RESET);
}

static uint64_t read_status(void *opaque, uint64_t offset, unsigned size)
{
	(void)opaque, (void)offset, (void)size;
	return 0;
}

static void write_command(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	struct i8042 *k = opaque;

	(void)offset, (void)size;
	pthread_mutex_lock(&k->lock);
	k->output_port_next = value == CMD_WRITE_OUTPUT_PORT;
	pthread_mutex_unlock(&k->lock);
	if ((value & CMD_PULSE_MASK) == CMD_PULSE && !(value & OUTPUT_RESET))
		guest_event_raise(&k->sink, GUEST_RESET);
}

static const struct bus_ops data_ops = {
	.read = read_data,
	.write = write_data,
};
static const struct bus_ops command_ops = {
	.read = read_status,
	.write = write_command,
};

void i8042_init(struct i8042 *k, const struct guest_event_sink *sink)
{
	memset(k, 0, sizeof(*k));
	k->data.name = "i8042 data";
	k->data.size = 1;
	k->data.ops = &data_ops;
	k->data.opaque = k;
	k->command.name = "i8042 command";
	k->command.size = 1;
	k->command.ops = &command_ops;
	k->command.opaque = k;
	k->sink = *sink;
	pthread_mutex_init(&k->lock, NULL);
}

int i8042_add(struct i8042 *k, struct bus *pio, uint16_t base)
{
	int rc = bus_add(pio, &k->data, base);

	return rc < 0 ? rc : bus_add(pio, &k->command, base + 4u);
}

void i8042_reset(struct i8042 *k)
{
	pthread_mutex_lock(&k->lock);
	k->output_port_next = false;
	pthread_mutex_unlock(&k->lock);
}

void i8042_destroy(struct i8042 *k)
{
	if (!k->sink.raise)
		return;
	pthread_mutex_destroy(&k->lock);
	k->sink.raise = NULL;
}

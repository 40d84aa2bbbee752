/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bytes: wide accesses to devices that are 8 bits wide. The chipset turns them into byte accesses
 * at ascending ports, so that for example a 16-bit OUT to 0x70 sets the RTC's index and then its
 * data.
 */
#ifndef TRIVM_DEVICES_LEGACY_BYTES_H
#define TRIVM_DEVICES_LEGACY_BYTES_H

#include <stdint.h>

typedef uint8_t byte_read_fn(void *opaque, uint64_t offset);
typedef void byte_write_fn(void *opaque, uint64_t offset, uint8_t value);

static inline uint64_t bytes_read(byte_read_fn *read, void *opaque, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)read(opaque, offset + i) << (8 * i);
	return value;
}

static inline void bytes_write(byte_write_fn *write, void *opaque, uint64_t offset, unsigned size,
                               uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		write(opaque, offset + i, (uint8_t)(value >> (8 * i)));
}

#endif

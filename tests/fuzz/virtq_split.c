/* SPDX-License-Identifier: BSD-2-Clause */
/* The split ring (devices/virtio/split.c) against any driver. */
#include "tests/fuzz/virtq.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	fuzz_virtq(data, len, false);
	return 0;
}

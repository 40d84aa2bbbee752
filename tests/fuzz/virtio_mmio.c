/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-mmio's registers, and both devices behind them, against any driver. */
#include "tests/fuzz/mmio_dev.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = fuzz_begin(data, len);
	struct fuzz_dev *f = calloc(1, sizeof(*f));
	struct virtio_mmio *m = calloc(1, sizeof(*m));

	fuzz_check(f && m);
	mmio_dev_init(f, m, fuzz_u8(&in));
	while (fuzz_left(&in))
		dev_step(f, &in, fuzz_u8(&in) % DEV_STEPS);
	mmio_dev_destroy(f, m);
	free(m);
	free(f);
	return 0;
}

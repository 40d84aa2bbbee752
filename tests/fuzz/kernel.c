/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kernel images: any file, judged and, if it passes, loaded into a guest of a few MiB. The first
 * four bytes of the input are the request, the rest is the file.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "arch/x86/boot.h"
#include "arch/x86/layout.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/fd.h"

#define RAM_MAX MIB(24)

/* One mapping for all inputs: what was touched is given back after each. */
static uint8_t *ram(void)
{
	static uint8_t *at;

	if (!at) {
		at = mmap(NULL, RAM_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		          0);
		fuzz_check(at != MAP_FAILED);
	}
	return at;
}

static void load(const struct boot_image *img, uint8_t size, uint8_t bits)
{
	static const uint8_t initrd[5000] = {1};
	struct boot_initrd_part part = {.data = initrd, .len = sizeof(initrd)};
	struct mem_region region = {
		.size = MIB(2) + size % 22 * MIB(1) + KIB(4), .host = ram(), .fd = -1};
	struct platform platform = {.cpus = 2, .ram_low = region.size, .ioapic_pins = 24};
	char cmdline[2 * LAYOUT_CMDLINE_MAX];
	struct boot_request req = {
		.platform = &platform,
		.cmdline = cmdline,
		.initrd = &part,
		.nr_initrd = bits & 1,
		.fdt = bits & 2,
	};
	struct boot_entry entry = {0};
	struct err err = {0};
	struct memory mem;

	/* Short, or about the longest there can be. */
	memset(cmdline, 'a', sizeof(cmdline));
	cmdline[bits & 4 ? LAYOUT_CMDLINE_MAX - 8 + (bits >> 4) : (bits >> 4) * 100] = '\0';
	memory_init(&mem);
	fuzz_check(memory_add(&mem, &region) == 0);
	memory_freeze(&mem);
	if (boot_load(img, &req, &mem, &entry, &err) < 0)
		fuzz_check(err.msg[0]);
	else
		fuzz_check(entry.protocol == BOOT_LINUX64 || entry.protocol == BOOT_PVH ||
		           entry.protocol == BOOT_MULTIBOOT);
	madvise(ram(), RAM_MAX, MADV_DONTNEED);
}

static void check_image(const struct boot_image *img)
{
	fuzz_check(img->nr_segments >= 1 && img->nr_segments <= BOOT_SEGMENTS_MAX);
	fuzz_check(img->setup_header_len <= BOOT_SETUP_HEADER_MAX);
	for (unsigned i = 0; i < img->nr_segments; i++) {
		const struct boot_segment *s = &img->segments[i];

		fuzz_check(s->filesz <= img->size && s->offset <= img->size - s->filesz);
		fuzz_check(s->memsz >= s->filesz && s->paddr >= MIB(1));
		fuzz_check(s->memsz <= LAYOUT_HOLE_START &&
		           s->paddr <= LAYOUT_HOLE_START - s->memsz);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = fuzz_begin(data, len);
	enum boot_protocol protocol = (enum boot_protocol)(fuzz_u8(&in) % (BOOT_MULTIBOOT + 1));
	uint8_t size = fuzz_u8(&in), bits = fuzz_u8(&in);
	struct boot_image img;
	struct err err = {0};
	char path[32];
	int fd;

	fuzz_u8(&in);
	fd = memfd_create("kernel", MFD_CLOEXEC);
	fuzz_check(fd >= 0 && fd_write_full(fd, in.at, fuzz_left(&in)) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (boot_open(&img, path, protocol, &err) == 0) {
		check_image(&img);
		load(&img, size, bits);
	} else {
		fuzz_check(err.msg[0] && !strchr(err.msg, '\n') && img.fd == -1);
	}
	boot_close(&img);
	close(fd);
	return 0;
}

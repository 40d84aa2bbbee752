/* SPDX-License-Identifier: BSD-2-Clause */
#include "compare/guest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "compare/child.h"
#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/guest_image.h"
#include "vmm/util.h"

#define TAG_LEN    9
#define ANSWER_MAX 4096
#define RETRY_MS   500

/* The files, as they were built. */
__asm__(".section .rodata\n"
        "guest_exec_start: .incbin \"compare/guest/exec\"\n"
        "guest_exec_end:\n"
        "guest_peer_start: .incbin \"obj/compare/peer\"\n"
        "guest_peer_end:\n"
        ".previous\n");
extern const char guest_exec_start[], guest_exec_end[], guest_peer_start[], guest_peer_end[];

/* Copy all of @from to @to. */
static int copy(int from, int to)
{
	struct stat st;
	off_t left;

	if (fstat(from, &st) < 0)
		return -errno;
	for (left = st.st_size; left > 0;) {
		ssize_t n = sendfile(to, from, NULL, (size_t)left);

		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		left -= n;
	}
	return 0;
}

int guest_make_initrd(const char *base, const char *path, struct err *err)
{
	const struct guest_file files[] = {
		{"exec", guest_exec_start, (uintptr_t)guest_exec_end - (uintptr_t)guest_exec_start},
		{"peer", guest_peer_start, (uintptr_t)guest_peer_end - (uintptr_t)guest_peer_start},
	};
	static const char zeros[4];
	int from = open(base, O_RDONLY | O_CLOEXEC);
	int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint8_t *data = NULL;
	size_t len;
	off_t at;
	int rc = from < 0 ? -errno : to < 0 ? -errno : 0;

	if (rc == 0)
		rc = copy(from, to);
	/* An archive begins at a multiple of 4. */
	at = rc == 0 ? lseek(to, 0, SEEK_CUR) : 0;
	if (rc == 0 && at % 4)
		rc = fd_write_full(to, zeros, 4 - (size_t)(at % 4));
	if (rc == 0)
		rc = guest_image_archive(files, ARRAY_SIZE(files), &data, &len);
	if (rc == 0)
		rc = fd_write_full(to, data, len);
	if (rc < 0)
		err_errno(err, rc, "%s", from < 0 ? base : path);
	free(data);
	fd_close(&from);
	fd_close(&to);
	return rc;
}

/* --- Asking --- */

int guest_socket(const char *address, unsigned port, unsigned ms)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct timeval t = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (inet_pton(AF_INET, address, &a.sin_addr) != 1)
		rc = -EINVAL;
	else if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		rc = -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	if (rc < 0)
		fd_close(&fd);
	return rc < 0 ? rc : fd;
}

/* The text of the answer to @letter, in @buf. */
static int ask(const char *address, char letter, unsigned ms, char buf[ANSWER_MAX])
{
	uint64_t end = clock_ms() + ms;
	char tag[TAG_LEN];
	int fd = guest_socket(address, GUEST_STATS_PORT, RETRY_MS);

	if (fd < 0)
		return fd;
	tag[0] = letter;
	if (getrandom(tag + 1, TAG_LEN - 1, 0) != TAG_LEN - 1)
		memset(tag + 1, letter, TAG_LEN - 1);
	while (clock_ms() < end) {
		ssize_t n;

		if (child_stop_signal()) {
			fd_close(&fd);
			return -EINTR;
		}
		if (send(fd, tag, TAG_LEN, 0) < 0 || (n = recv(fd, buf, ANSWER_MAX - 1, 0)) < 0) {
			/* Nobody listens yet, or no way there: not faster than a lost answer. */
			if (errno != EAGAIN)
				child_sleep(RETRY_MS / 5);
			continue;
		}
		if (n >= TAG_LEN && memcmp(buf, tag, TAG_LEN) == 0) {
			memmove(buf, buf + TAG_LEN, (size_t)n - TAG_LEN);
			buf[n - TAG_LEN] = '\0';
			child_clean(buf);
			fd_close(&fd);
			return 0;
		}
	}
	fd_close(&fd);
	return -ETIMEDOUT;
}

int guest_ask_info(const char *address, unsigned ms, struct guest_info *info)
{
	char text[ANSWER_MAX];
	int rc = ask(address, 'i', ms, text);

	return rc < 0 ? rc : guest_parse_info(text, info);
}

int guest_ask_counts(const char *address, unsigned ms, struct guest_counts *counts)
{
	char text[ANSWER_MAX];
	int rc = ask(address, 's', ms, text);

	return rc < 0 ? rc : guest_parse_counts(text, counts);
}

/* --- What it says --- */

/* What stands behind "WORD " at the beginning of a line, without the line's end. */
static bool field(const char *text, const char *word, char *buf, size_t size)
{
	size_t len = strlen(word);

	while (text && *text) {
		if (strncmp(text, word, len) == 0 && text[len] == ' ') {
			snprintf(buf, size, "%.*s", (int)strcspn(text + len + 1, "\n"),
			         text + len + 1);
			return true;
		}
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	return false;
}

int guest_parse_info(const char *text, struct guest_info *info)
{
	char bits[80], number[16];

	memset(info, 0, sizeof(*info));
	if (!field(text, "release", info->release, sizeof(info->release)) ||
	    !field(text, "features", bits, sizeof(bits)) || strspn(bits, "01") != 64)
		return -EPROTO;
	/* The kernel writes them lowest first. */
	for (unsigned i = 0; i < 64; i++)
		info->features |= (uint64_t)(bits[i] == '1') << i;
	field(text, "iperf3", info->iperf3, sizeof(info->iperf3));
	if (field(text, "queue", number, sizeof(number)))
		info->queue_size = (unsigned)strtoul(number, NULL, 10);
	info->pairs = field(text, "pairs", number, sizeof(number))
	                      ? (unsigned)strtoul(number, NULL, 10)
	                      : 1;
	return 0;
}

/* " 62:   2   0  PCI-MSI 16385-edge  virtio0-input.0": the sum over the processors. */
static uint64_t line_interrupts(const char *line)
{
	const char *at = memchr(line, ':', strcspn(line, "\n"));
	uint64_t sum = 0;
	char *end;

	if (!at || memmem(line, strcspn(line, "\n"), "-config", 7))
		return 0;
	for (at++;; at = end) {
		unsigned long long n = strtoull(at, &end, 10);

		if (end == at || (*end != ' ' && *end != '\n'))
			return sum;
		sum += n;
	}
}

int guest_parse_counts(const char *text, struct guest_counts *counts)
{
	unsigned long long rx, tx;
	bool net = false;
	char number[24];

	memset(counts, 0, sizeof(*counts));
	counts->has_kicks = field(text, "kicks", number, sizeof(number));
	if (counts->has_kicks)
		counts->kicks = strtoull(number, NULL, 10);
	for (const char *line = text; line && *line; line = strchr(line, '\n')) {
		const char *eth;

		line += *line == '\n';
		eth = memmem(line, strcspn(line, "\n"), "eth0:", 5);
		if (!eth)
			counts->interrupts += line_interrupts(line);
		else if (sscanf(eth, "eth0: %*u %llu %*u %*u %*u %*u %*u %*u %*u %llu", &rx, &tx) ==
		         2)
			net = true;
	}
	if (!net)
		return -EPROTO;
	counts->rx_packets = rx;
	counts->tx_packets = tx;
	return 0;
}

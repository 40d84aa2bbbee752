/* SPDX-License-Identifier: BSD-2-Clause */
/* --disk: every word, and for every wrong value a line that names it and what was expected. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "vmm/disk_options.h"
#include "vmm/util.h"

static struct disk_options o;
static struct err err;

static void good(const char *text)
{
	err.msg[0] = '\0';
	if (disk_options_parse(&o, text, &err) != 0)
		fail_msg("%s: %s", text, err.msg);
}

static void refused(const char *text, const char *part)
{
	err.msg[0] = '\0';
	assert_int_equal(disk_options_parse(&o, text, &err), -22);
	if (!strstr(err.msg, part))
		fail_msg("%s: \"%s\" does not say \"%s\"", text, err.msg, part);
}

static void names(void **state)
{
	char text[1100];

	(void)state;
	good("/a/b.img");
	assert_string_equal(o.path, "/a/b.img");
	assert_false(o.ro || o.direct || o.packed || o.virtio.mmio);
	assert_true(o.discard);
	assert_int_equal(o.queues, 0);
	assert_int_equal(o.queue_size, 256);
	assert_string_equal(o.serial, "");
	assert_string_equal(o.id, "");
	good("a,,b,,,ro");
	assert_string_equal(o.path, "a,b,");
	assert_true(o.ro);
	good("a=b,,");
	assert_string_equal(o.path, "a=b,");
	assert_false(o.ro);
	good(",,");
	assert_string_equal(o.path, ",");
	memset(text, 'x', sizeof(text));
	text[1023] = '\0';
	good(text);
	assert_int_equal(strlen(o.path), 1023);
	strcpy(text + 1023, ",ro");
	good(text);
	assert_true(o.ro);
	strcpy(text + 1023, "x");
	refused(text, "longer than 1023 bytes");
}

static void words(void **state)
{
	(void)state;
	good("d,ro,direct,discard=off,queues=32,queue-size=1024,serial=A-1,id=root,ring=packed,"
	     "transport=mmio,notify=exit,inject=ioctl");
	assert_true(o.ro && o.direct && o.packed);
	assert_false(o.discard);
	assert_int_equal(o.queues, 32);
	assert_int_equal(o.queue_size, 1024);
	assert_string_equal(o.serial, "A-1");
	assert_string_equal(o.id, "root");
	assert_true(o.virtio.mmio && o.virtio.notify_exit && o.virtio.inject_ioctl);
	good("d,discard=on,ring=split,transport=pci,queues=1,queue-size=4");
	assert_true(o.discard);
	assert_false(o.packed || o.virtio.mmio);
	good("d,serial=12345678901234567890");
	assert_int_equal(strlen(o.serial), 20);
}

static void refusals(void **state)
{
	static const struct {
		const char *text, *part;
	} cases[] = {
		{"", "expected the name of a file"},
		{",ro", "expected the name of a file"},
		{"d,", "expected ro, direct or KEY=VALUE"},
		{"d,ro,", "expected ro, direct or KEY=VALUE"},
		{"d,rw", "--disk ...,rw: expected ro, direct"},
		{"d,ro=on", "--disk ro=on: unknown key"},
		{"d,color=red", "--disk color=red: unknown key"},
		{"d,discard=maybe", "discard=maybe: expected on or off"},
		{"d,queues=0", "queues=0: expected a number from 1 to 32"},
		{"d,queues=33", "from 1 to 32"},
		{"d,queues=-1", "queues=-1"},
		{"d,queues=1x", "queues=1x"},
		{"d,queue-size=2", "queue-size=2: expected a number from 4 to 1024"},
		{"d,queue-size=100", "a power of two"},
		{"d,queue-size=2048", "from 4 to 1024"},
		{"d,serial=", "serial=: expected 1 to 20 bytes"},
		{"d,serial=123456789012345678901", "1 to 20 bytes"},
		{"d,serial=a b", "printable ASCII"},
		{"d,serial=\x80", "printable ASCII"},
		{"d,id=", "id=: expected 1 to 31 bytes"},
		{"d,id=12345678901234567890123456789012", "1 to 31 bytes"},
		{"d,ring=round", "ring=round: expected split or packed"},
		{"d,transport=isa", "--disk transport=isa: expected pci or mmio"},
		{"d,notify=x", "ioeventfd or exit"},
		{"d,inject=x", "irqfd or ioctl"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		refused(cases[i].text, cases[i].part);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(words),
		cmocka_unit_test(refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

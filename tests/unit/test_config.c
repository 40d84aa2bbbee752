/* SPDX-License-Identifier: BSD-2-Clause */
/* config: every option, in every spelling, and one clear line for each mistake. */
#include <errno.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/config.h"
#include "vmm/util.h"

static struct config c;
static struct err err;

static int parse_argv(int argc, char **argv)
{
	config_default(&c);
	err.msg[0] = '\0';
	return config_parse(&c, argc, argv, &err);
}

/* Each argument is copied to its exact size, so that the sanitizer sees a read behind its end. */
static int parse_list(const char *const *args)
{
	char *argv[16];
	int argc = 0, rc;

	for (; args[argc]; argc++)
		argv[argc] = strdup(args[argc]);
	rc = parse_argv(argc, argv);
	for (int i = 0; i < argc; i++)
		free(argv[i]);
	return rc;
}

/* Strings of the configuration are borrowed from argv: these live as long as the test. */
#define PARSE(...) parse_argv((int)ARRAY_SIZE(((char *[]){__VA_ARGS__})), (char *[]){__VA_ARGS__})

#define FAILS(pattern, ...)                                                       \
	do {                                                                      \
		assert_true(parse_list((const char *[]){__VA_ARGS__, NULL}) < 0); \
		assert_line(pattern);                                             \
	} while (0)

/* The message is one line and says what @pattern says. */
static void assert_line(const char *pattern)
{
	regex_t re;

	assert_null(strchr(err.msg, '\n'));
	assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	if (regexec(&re, err.msg, 0, NULL, 0) != 0)
		fail_msg("\"%s\" does not match \"%s\"", err.msg, pattern);
	regfree(&re);
}

static void nothing_given(void **state)
{
	(void)state;
	assert_int_equal(parse_argv(0, NULL), 0);
	assert_null(c.kernel);
	assert_null(c.initrd);
	assert_null(c.cmdline);
	assert_null(c.exec);
	assert_null(c.name);
	assert_null(c.dump_fdt);
	assert_string_equal(c.kvm_path, "/dev/kvm");
	assert_int_equal(c.cpus, 1);
	assert_true(c.memory == MIB(256));
	assert_int_equal(c.boot, BOOT_AUTO);
	assert_int_equal(c.irqchip, IRQCHIP_SPLIT);
	assert_int_equal(c.on_reset, ON_RESET_EXIT);
	assert_int_equal(c.hugepages + c.prealloc + c.fdt + c.test_device + c.verbose + c.help +
	                         c.no_kvm_check,
	                 0);
}

static void everything_at_once(void **state)
{
	(void)state;
	assert_int_equal(PARSE("-k", "vmlinuz", "-i", "initrd", "-p", "quiet splash", "-c", "4"),
	                 0);
	assert_string_equal(c.kernel, "vmlinuz");
	assert_string_equal(c.initrd, "initrd");
	assert_string_equal(c.cmdline, "quiet splash");
	assert_int_equal(c.cpus, 4);

	assert_int_equal(PARSE("-m", "5G", "--name", "a", "--hugepages", "--prealloc", "--boot",
	                       "pvh", "--irqchip", "kernel", "--on-reset", "reboot", "--fdt",
	                       "--dump-fdt", "out", "--test-device", "--no-kvm-check", "--kvm",
	                       "/dev/other", "-v"),
	                 0);
	assert_true(c.memory == GIB(5));
	assert_string_equal(c.name, "a");
	assert_int_equal(c.hugepages, 1);
	assert_int_equal(c.prealloc, 1);
	assert_int_equal(c.boot, BOOT_PVH);
	assert_int_equal(c.irqchip, IRQCHIP_KERNEL);
	assert_int_equal(c.on_reset, ON_RESET_REBOOT);
	assert_int_equal(c.fdt, 1);
	assert_string_equal(c.dump_fdt, "out");
	assert_int_equal(c.test_device, 1);
	assert_int_equal(c.no_kvm_check, 1);
	assert_string_equal(c.kvm_path, "/dev/other");
	assert_int_equal(c.verbose, 1);
	assert_int_equal(PARSE("--exec", "exit 7"), 0);
	assert_string_equal(c.exec, "exit 7");
}

static void spellings(void **state)
{
	(void)state;
	/* -x V, -xV, --long V, --long=V. */
	assert_int_equal(PARSE("-c", "3"), 0);
	assert_int_equal(c.cpus, 3);
	assert_int_equal(PARSE("-c3"), 0);
	assert_int_equal(c.cpus, 3);
	assert_int_equal(PARSE("--cpus", "3"), 0);
	assert_int_equal(c.cpus, 3);
	assert_int_equal(PARSE("--cpus=3"), 0);
	assert_int_equal(c.cpus, 3);
	assert_int_equal(PARSE("-kvmlinuz"), 0);
	assert_string_equal(c.kernel, "vmlinuz");
	assert_int_equal(PARSE("--params=a=b --c"), 0); /* only the first '=' is ours */
	assert_string_equal(c.cmdline, "a=b --c");
	assert_int_equal(PARSE("--params="), 0);
	assert_string_equal(c.cmdline, "");
	assert_int_equal(PARSE("-p", "-v"), 0); /* a value may look like an option */
	assert_string_equal(c.cmdline, "-v");
	assert_int_equal(c.verbose, 0);
	assert_int_equal(PARSE("-c", "2", "-c", "3"), 0); /* the last one counts */
	assert_int_equal(c.cpus, 3);
}

static void switches_count(void **state)
{
	(void)state;
	assert_int_equal(PARSE("-v"), 0);
	assert_int_equal(c.verbose, 1);
	assert_int_equal(PARSE("-vv"), 0);
	assert_int_equal(c.verbose, 2);
	assert_int_equal(PARSE("-v", "--verbose", "-vvv"), 0);
	assert_int_equal(c.verbose, 5);
	FAILS("^-vx: unknown option", "-vx");
	FAILS("^-hv: unknown option", "-hv");
	FAILS("^-v=1: ", "-v=1");
}

static void help_wins_over_what_does_not_fit(void **state)
{
	(void)state;
	assert_int_equal(PARSE("-h"), 0);
	assert_int_equal(c.help, 1);
	assert_int_equal(PARSE("-k", "x", "--exec", "y", "--help"), 0);
	assert_int_equal(c.help, 1);
}

static void unknown_arguments(void **state)
{
	(void)state;
	FAILS("^vmlinuz: not an option.*-k", "vmlinuz");
	FAILS("^-: not an option", "-");
	FAILS("^: not an option", "");
	FAILS("^--: unknown option", "--");
	FAILS("^--=x: unknown option", "--=x");
	FAILS("^-z: unknown option", "-z");
	FAILS("^-z5: unknown option", "-z5");
	FAILS("^--nope: unknown option.*--help", "--nope");
	FAILS("^--nope=1: unknown option", "--nope=1");
	FAILS("^--cpu: unknown option", "--cpu", "2");     /* no abbreviations */
	FAILS("^--cpusx: unknown option", "--cpusx", "2"); /* nor more than the name */
	FAILS("^--kvmx=1: unknown option", "--kvmx=1");
	FAILS("^2: not an option", "-c", "2", "2");
}

static void cpus(void **state)
{
	static const char *const bad[] = {"0",   "-1",   "+1",   "",
	                                  " 1",  "1 ",   "1x",   "0x4",
	                                  "4.5", "4097", "5000", "99999999999999999999"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char want[96];

		snprintf(want, sizeof(want), "^-c %s%s: .*from 1 to 4096$",
		         bad[i][0] == '+' ? "\\" : "", bad[i]);
		FAILS(want, "-c", bad[i]);
	}
	assert_int_equal(PARSE("-c", "1"), 0);
	assert_int_equal(PARSE("-c", "4096"), 0);
	assert_int_equal(c.cpus, 4096);
}

static void memory(void **state)
{
	static const char *const bad[] = {"0",    "1M",    "1",           "513G",
	                                  "1T",   "2047K", "-1",          "x",
	                                  "1.5G", "",      "G",           "99999999999999999999",
	                                  "5X",   "5GG",   "17179869184T"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char want[96];

		snprintf(want, sizeof(want), "^-m %s: .*from 2M to 512G.*MiB", bad[i]);
		FAILS(want, "-m", bad[i]);
		FAILS(want, "--memory", bad[i]);
	}
	FAILS("^-m 2049K: .*4 KiB", "-m", "2049K");
	assert_int_equal(PARSE("-m", "2M"), 0);
	assert_int_equal(PARSE("-m", "2052K"), 0);
	assert_true(c.memory == KIB(2052));
	assert_int_equal(PARSE("-m", "512"), 0);
	assert_true(c.memory == MIB(512));
	assert_int_equal(PARSE("-m", "512G"), 0);
	assert_true(c.memory == GIB(512));
}

static void names(void **state)
{
	char longest[66], want[160];

	(void)state;
	memset(longest, 'n', sizeof(longest));
	longest[65] = '\0';
	snprintf(want, sizeof(want), "^--name %s: .*1 to 64", longest);
	FAILS(want, "--name", longest);
	longest[64] = '\0';
	assert_int_equal(PARSE("--name", longest), 0);
	FAILS("^--name : ", "--name", "");
	FAILS("^--name : ", "--name=");
	FAILS("^--name a/b: .*'/'", "--name", "a/b");
	FAILS("^--name \\.\\.: ", "--name", "..");
	FAILS("^--name -x: ", "--name", "-x");
	assert_int_equal(PARSE("--name", "a-b.c"), 0);
}

static void words(void **state)
{
	(void)state;
	FAILS("^--boot bios: expected one of: auto, linux64, pvh, multiboot$", "--boot", "bios");
	FAILS("^--boot : expected one of: auto, linux64, pvh, multiboot$", "--boot=");
	FAILS("^--boot PVH: ", "--boot", "PVH");
	FAILS("^--irqchip off: expected one of: split, kernel$", "--irqchip", "off");
	FAILS("^--on-reset halt: expected one of: exit, reboot$", "--on-reset=halt");
	assert_int_equal(PARSE("--boot", "auto"), 0);
	assert_int_equal(c.boot, BOOT_AUTO);
	assert_int_equal(PARSE("--boot", "linux64"), 0);
	assert_int_equal(c.boot, BOOT_LINUX64);
	assert_int_equal(PARSE("--irqchip", "split"), 0);
	assert_int_equal(c.irqchip, IRQCHIP_SPLIT);
	assert_int_equal(PARSE("--on-reset", "exit"), 0);
	assert_int_equal(c.on_reset, ON_RESET_EXIT);
}

static void vsock(void **state)
{
	(void)state;
	assert_int_equal(PARSE("-c", "1"), 0);
	assert_int_equal(c.vsock_cid, 0);
	assert_int_equal(PARSE("--vsock", "3"), 0);
	assert_int_equal(c.vsock_cid, 3);
	assert_int_equal(PARSE("--vsock=4294967294,transport=mmio,inject=ioctl"), 0);
	assert_int_equal(c.vsock_cid, 0xfffffffe);
	assert_true(c.vsock_options.mmio && c.vsock_options.inject_ioctl);
	FAILS("^--vsock: a value", "--vsock");
	FAILS("^--vsock 2: expected a context id from 3", "--vsock", "2");
	FAILS("^--vsock 4294967295: expected", "--vsock", "4294967295");
	FAILS("^--vsock 99999999999999999999: expected", "--vsock", "99999999999999999999");
	FAILS("^--vsock 3x: expected", "--vsock", "3x");
	FAILS("^--vsock -3: expected", "--vsock=-3");
	FAILS("^--vsock ring=packed|^--vsock ring: expected", "--vsock", "3,ring=packed");
	FAILS("^--vsock : expected transport", "--vsock", "3,");
}

static void console(void **state)
{
	char longest[128] = "file:";

	(void)state;
	assert_int_equal(PARSE("-c", "1"), 0);
	assert_false(c.console.present);
	assert_int_equal(PARSE("--console", "-c", "2"), 0);
	assert_true(c.console.present);
	assert_int_equal(c.console.kind, CONSOLE_PTY);
	assert_int_equal(PARSE("--console", "pty,transport=mmio"), 0);
	assert_true(c.console.virtio.mmio);
	assert_int_equal(PARSE("--console=notify=exit"), 0);
	assert_int_equal(c.console.kind, CONSOLE_PTY);
	assert_true(c.console.virtio.notify_exit);
	assert_int_equal(PARSE("--console", "file:a=b,transport=pci"), 0);
	assert_int_equal(c.console.kind, CONSOLE_FILE);
	assert_string_equal(c.console.path, "a=b");
	assert_int_equal(PARSE("--console", "socket:/run/x"), 0);
	assert_int_equal(c.console.kind, CONSOLE_SOCKET);
	assert_string_equal(c.console.path, "/run/x");
	assert_int_equal(PARSE("--console", "fd:7"), 0);
	assert_int_equal(c.console.kind, CONSOLE_FD);
	assert_int_equal(c.console.fd, 7);

	FAILS("^--console tty: expected pty, file:PATH", "--console", "tty");
	FAILS("^--console file:: a path has", "--console", "file:");
	FAILS("^--console fd:: expected", "--console", "fd:");
	FAILS("^--console fd:-1: expected", "--console", "fd:-1");
	FAILS("^--console fd:1x: expected", "--console", "fd:1x");
	FAILS("^--console transport=isa: expected", "--console", "pty,transport=isa");
	memset(longest + 5, 'a', 107);
	assert_int_equal(PARSE("--console", longest), 0);
	longest[5 + 107] = 'a';
	FAILS("a path has 1 to 107 bytes$", "--console", longest);
}

static void rng(void **state)
{
	(void)state;
	assert_int_equal(PARSE("-c", "2"), 0);
	assert_false(c.rng);
	assert_int_equal(PARSE("--rng"), 0);
	assert_true(c.rng && !c.rng_options.mmio && !c.rng_options.notify_exit);
	/* The value behind '=', as the next argument, or none before another option. */
	assert_int_equal(PARSE("--rng=transport=mmio"), 0);
	assert_true(c.rng && c.rng_options.mmio && !c.rng_options.inject_ioctl);
	assert_int_equal(PARSE("--rng", "notify=exit,inject=ioctl", "-c", "3"), 0);
	assert_true(c.rng_options.notify_exit && c.rng_options.inject_ioctl);
	assert_false(c.rng_options.mmio);
	assert_int_equal(c.cpus, 3);
	assert_int_equal(PARSE("--rng", "-c", "4"), 0);
	assert_true(c.rng && c.cpus == 4);
	/* The last one counts, as a whole. */
	assert_int_equal(PARSE("--rng=transport=mmio", "--rng", "inject=irqfd"), 0);
	assert_false(c.rng_options.mmio);
	FAILS("^--rng transport=isa: expected pci or mmio$", "--rng=transport=isa");
	FAILS("^--rng notify=: expected ioeventfd or exit$", "--rng", "notify=");
	FAILS("^--rng inject=exit: expected irqfd or ioctl$", "--rng", "inject=exit");
	FAILS("^--rng speed: expected transport=", "--rng", "transport=pci,speed=1");
	FAILS("^--rng transport: expected", "--rng", "transport");
	FAILS("^--rng : expected", "--rng=");
	FAILS("^--rng : expected", "--rng", "transport=pci,");
}

static void disks(void **state)
{
	(void)state;
	assert_int_equal(PARSE("--disk", "a.img,ro", "--disk=b.img,transport=mmio", "-c", "2"), 0);
	assert_int_equal(c.nr_disks, 2);
	assert_string_equal(c.disks[0].path, "a.img");
	assert_true(c.disks[0].ro && !c.disks[0].virtio.mmio);
	assert_string_equal(c.disks[1].path, "b.img");
	assert_true(!c.disks[1].ro && c.disks[1].virtio.mmio);
	FAILS("^--disk \\.\\.\\.,rw: expected ro", "--disk", "a.img,rw");
	FAILS("^--disk: a value .FILE.* is missing$", "--disk");
	config_default(&c);
	c.nr_disks = CONFIG_DISKS_MAX;
	assert_int_equal(config_parse(&c, 2, (char *[]){"--disk", "x"}, &err), -EINVAL);
	assert_line("^--disk x: at most 16 of them$");
}

static void what_does_not_go_together(void **state)
{
	(void)state;
	FAILS("^--exec: .*default guest.*-k", "--exec", "true", "-k", "vmlinuz");
	FAILS("^-i initrd: .*-k", "-i", "initrd");
	assert_int_equal(PARSE("-i", "initrd", "-k", "vmlinuz"), 0);
	assert_int_equal(PARSE("--exec", "true", "-p", "x"), 0);
}

/* A value that fills the message, and more: cut, not overrun. */
static void endless_values(void **state)
{
	char *value = malloc(100001);

	(void)state;
	memset(value, '9', 100000);
	value[100000] = '\0';
	FAILS("^-c 9999", "-c", value);
	FAILS("^-m 9999", "-m", value);
	FAILS("^--boot 9999", "--boot", value);
	FAILS("^--name 9999", "--name", value);
	FAILS("^9999", value);
	value[0] = value[1] = '-';
	FAILS("^--9999", value);
	assert_int_equal(strlen(err.msg), ERR_MSG_MAX - 1);
	free(value);
}

struct size_case {
	const char *text;
	int rc;
	uint64_t bytes;
};

static void sizes(void **state)
{
	static const struct size_case cases[] = {
		{"0", 0, 0},
		{"1", 0, MIB(1)},
		{"512", 0, MIB(512)},
		{"64K", 0, KIB(64)},
		{"64k", 0, KIB(64)},
		{"1KiB", 0, KIB(1)},
		{"3M", 0, MIB(3)},
		{"3MB", 0, MIB(3)},
		{"3Mb", 0, MIB(3)},
		{"3mib", -EINVAL, 0},
		{"3MiB", 0, MIB(3)},
		{"5G", 0, GIB(5)},
		{"1T", 0, GIB(1024)},
		{"007", 0, MIB(7)},
		{"17592186044415", 0, UINT64_C(17592186044415) << 20},
		{"17592186044416", -ERANGE, 0}, /* 2^44 MiB is 2^64 */
		{"16777215T", 0, UINT64_C(16777215) << 40},
		{"16777216T", -ERANGE, 0},
		{"18446744073709551615", -ERANGE, 0},
		{"18446744073709551616", -ERANGE, 0},
		{"18014398509481983K", 0, UINT64_C(18014398509481983) << 10},
		{"18014398509481984K", -ERANGE, 0},
		{"", -EINVAL, 0},
		{" 1", -EINVAL, 0},
		{"1 ", -EINVAL, 0},
		{"1 G", -EINVAL, 0},
		{"+1", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"M", -EINVAL, 0},
		{"1B", -EINVAL, 0},
		{"1P", -EINVAL, 0},
		{"1GiBs", -EINVAL, 0},
		{"1Gi", -EINVAL, 0},
		{"0x10", -EINVAL, 0},
		{"1e3", -EINVAL, 0},
		{"1.5G", -EINVAL, 0},
		{"1,5G", -EINVAL, 0},
		{"1\xe7", -EINVAL, 0},
		{"1-", -EINVAL, 0}, /* 'M' - 32, where only letters have a lower case */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct size_case *t = &cases[i];
		char *text = strdup(t->text);
		uint64_t bytes = 77;
		int rc = parse_size(text, &bytes);

		if (rc != t->rc || (rc == 0 && bytes != t->bytes))
			fail_msg("\"%s\": %d, %llu", text, rc, (unsigned long long)bytes);
		free(text);
	}
}

/* ---- the lists that help and completion are made of ---- */

static char *printed(void (*print)(FILE *))
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	print(out);
	fclose(out);
	return text;
}

/* Walk the words: every option exists, demands a value or takes none, and is in the help. */
static void every_option_is_consistent(void **state)
{
	char *words = printed(config_print_words), *help = printed(config_print_help);
	unsigned n = 0, with_value = 0;
	char *line, *rest = words;

	(void)state;
	while ((line = strsep(&rest, "\n")) && *line) {
		char *value = strchr(line, ' ');
		char with[64], want[96];

		assert_non_null(value);
		*value++ = '\0';
		n++;
		assert_non_null(strstr(help, line));
		if (*value == '[') {
			assert_non_null(strstr(help, value));
			assert_int_equal(parse_list((const char *[]){line, NULL}), 0);
			FAILS("expected", line, "nonsense");
			continue;
		}
		if (*value) {
			with_value++;
			assert_non_null(strstr(help, value));
			/* The name in the message may be the short one. */
			FAILS("^--?[a-z-]+: a value \\(.+\\) is missing$", line);
			assert_non_null(strstr(err.msg, value));
			continue;
		}
		assert_int_equal(parse_list((const char *[]){line, NULL}), 0);
		if (line[1] != '-')
			continue;
		snprintf(with, sizeof(with), "%s=1", line);
		snprintf(want, sizeof(want), "^%s=1: takes no value", line);
		FAILS(want, with);
		snprintf(with, sizeof(with), "%s=", line);
		FAILS("takes no value", with);
	}
	assert_true(n >= 20 && with_value >= 12);
	free(words);
	free(help);
}

/* docs/trivm.1 has them all, too. tests/unit/run starts us in the project's own folder. */
static void every_option_is_in_the_manual(void **state)
{
	char *words = printed(config_print_words), *line, *rest = words;
	static char page[100000];
	FILE *in = fopen("docs/trivm.1", "re");
	char want[64];

	(void)state;
	assert_non_null(in);
	page[fread(page, 1, sizeof(page) - 1, in)] = '\0';
	assert_true(feof(in));
	fclose(in);
	while ((line = strsep(&rest, "\n")) && *line) {
		*strchrnul(line, ' ') = '\0';
		/* As mdoc has them: ".It Fl k , Fl -kernel Ar file". */
		snprintf(want, sizeof(want), "Fl %s", line + 1);
		for (const char *at = page; (at = strstr(at, want)); at++)
			if (strchr(" \n", at[strlen(want)]))
				goto found;
		fail_msg("docs/trivm.1 lacks %s", line);
	found:;
	}
	free(words);
}

static void help_fits_a_terminal(void **state)
{
	char *help = printed(config_print_help), *line, *rest = help;

	(void)state;
	while ((line = strsep(&rest, "\n")) && *line) {
		assert_memory_equal(line, "  ", 2);
		if (strlen(line) > 120)
			fail_msg("too long: %s", line);
	}
	free(help);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_given),
		cmocka_unit_test(everything_at_once),
		cmocka_unit_test(spellings),
		cmocka_unit_test(switches_count),
		cmocka_unit_test(help_wins_over_what_does_not_fit),
		cmocka_unit_test(unknown_arguments),
		cmocka_unit_test(cpus),
		cmocka_unit_test(memory),
		cmocka_unit_test(names),
		cmocka_unit_test(words),
		cmocka_unit_test(rng),
		cmocka_unit_test(vsock),
		cmocka_unit_test(console),
		cmocka_unit_test(disks),
		cmocka_unit_test(what_does_not_go_together),
		cmocka_unit_test(endless_values),
		cmocka_unit_test(sizes),
		cmocka_unit_test(every_option_is_consistent),
		cmocka_unit_test(every_option_is_in_the_manual),
		cmocka_unit_test(help_fits_a_terminal),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

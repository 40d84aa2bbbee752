/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: one table of options. Parsing, `--help`, shell completion and the tests all
 * walk it, so an option exists in all of them or in none. Values are checked here as far as that is
 * possible without the host; what needs the host is checked by whoever talks to it.
 */
#include "vmm/config.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "devices/vsock/vsock.h"
#include "vmm/control_path.h"
#include "vmm/nearest.h"
#include "vmm/text.h"
#include "vmm/util.h"

struct option {
	char letter; /* 0: none */
	const char *name;
	const char *value; /* what follows, for people; NULL: a switch; in brackets: optional */
	const char *help;
	/* One of three: a function that judges the value, or a plain field of struct config. */
	int (*set)(struct config *config, const char *value, struct err *err);
	size_t string; /* offset of a const char *, for options with a value */
	size_t count;  /* offset of an unsigned that counts how often a switch was given */
};

#define SET(fn)       .set = (fn)
#define STRING(field) .string = offsetof(struct config, field)
#define COUNT(field)  .count = offsetof(struct config, field)

int parse_size(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	unsigned shift = 20;
	uint64_t n;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	if (*end) {
		const char *unit = strchr(units, *end >= 'a' && *end <= 'z' ? *end - 32 : *end);

		if (!unit)
			return -EINVAL;
		shift = (unsigned)(unit - units + 1) * 10;
		end++;
		if (end[0] == 'i' && end[1] == 'B')
			end += 2;
		else if (end[0] == 'B' || end[0] == 'b')
			end++;
	}
	if (*end)
		return -EINVAL;
	if (n > UINT64_MAX >> shift)
		return -ERANGE;
	*bytes = n << shift;
	return 0;
}

static int set_cpus(struct config *c, const char *value, struct err *err)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end || errno || n < 1 || n > CONFIG_CPUS_MAX)
		return err_set(err, -EINVAL, "-c %s: expected a number of CPUs from 1 to %u", value,
		               CONFIG_CPUS_MAX);
	c->cpus = (unsigned)n;
	return 0;
}

static int set_memory(struct config *c, const char *value, struct err *err)
{
	int rc = parse_size(value, &c->memory);

	if (rc < 0 || c->memory < CONFIG_MEMORY_MIN || c->memory > CONFIG_MEMORY_MAX)
		return err_set(
			err, -EINVAL,
			"-m %s: expected an amount of memory from 2M to 512G (a plain number "
			"is MiB)",
			value);
	if (c->memory % KIB(4))
		return err_set(err, -EINVAL, "-m %s: not a multiple of the 4 KiB page size", value);
	return 0;
}

static int set_name(struct config *c, const char *value, struct err *err)
{
	if (!control_name_valid(value) || !text_is_utf8(value))
		return err_set(err, -EINVAL,
		               "--name %s: expected 1 to 64 bytes of UTF-8 without '/' and control "
		               "characters, not beginning with '.' or '-'",
		               value);
	c->name = value;
	return 0;
}

struct word {
	const char *name;
	int value;
};

/* @value is one of the @n words, or the error lists them. */
static int set_word(const char *option, const char *value, const struct word *words, size_t n,
                    int *out, struct err *err)
{
	char list[128] = "", hint[NEAREST_HINT_MAX];
	struct nearest near = nearest_to(value);

	for (size_t i = 0; i < n; i++) {
		nearest_try(&near, words[i].name);
		if (strcmp(words[i].name, value) == 0) {
			*out = words[i].value;
			return 0;
		}
		if (i)
			strncat(list, ", ", sizeof(list) - strlen(list) - 1);
		strncat(list, words[i].name, sizeof(list) - strlen(list) - 1);
	}
	return err_set(err, -EINVAL, "%s %s: expected one of: %s%s", option, value, list,
	               nearest_hint(&near, hint));
}

static int set_boot(struct config *c, const char *value, struct err *err)
{
	static const struct word words[] = {{"auto", BOOT_AUTO},
	                                    {"linux64", BOOT_LINUX64},
	                                    {"pvh", BOOT_PVH},
	                                    {"multiboot", BOOT_MULTIBOOT}};
	int v = 0;
	int rc = set_word("--boot", value, words, ARRAY_SIZE(words), &v, err);

	c->boot = (enum boot_protocol)v;
	return rc;
}

static int set_irqchip(struct config *c, const char *value, struct err *err)
{
	static const struct word words[] = {{"split", IRQCHIP_SPLIT}, {"kernel", IRQCHIP_KERNEL}};
	int v = 0;
	int rc = set_word("--irqchip", value, words, ARRAY_SIZE(words), &v, err);

	c->irqchip = (enum irqchip)v;
	return rc;
}

static int set_on_reset(struct config *c, const char *value, struct err *err)
{
	static const struct word words[] = {{"exit", ON_RESET_EXIT}, {"reboot", ON_RESET_REBOOT}};
	int v = 0;
	int rc = set_word("--on-reset", value, words, ARRAY_SIZE(words), &v, err);

	c->on_reset = (enum on_reset)v;
	return rc;
}

static int set_serial(struct config *c, const char *value, struct err *err)
{
	static const struct word words[] = {{"stdio", false}, {"socket", true}};
	int v = 0;
	int rc = set_word("--serial", value, words, ARRAY_SIZE(words), &v, err);

	c->serial_socket = v;
	return rc;
}

static int set_net(struct config *c, const char *value, struct err *err)
{
	if (c->nr_nics == CONFIG_NICS_MAX)
		return err_set(err, -EINVAL, "--net %s: at most %u of them", value,
		               CONFIG_NICS_MAX);
	return net_options_parse(&c->nics[c->nr_nics++], value, err);
}

static int set_disk(struct config *c, const char *value, struct err *err)
{
	if (c->nr_disks == CONFIG_DISKS_MAX)
		return err_set(err, -EINVAL, "--disk %s: at most %u of them", value,
		               CONFIG_DISKS_MAX);
	return disk_options_parse(&c->disks[c->nr_disks++], value, err);
}

static int set_rng(struct config *c, const char *value, struct err *err)
{
	c->rng = true;
	return virtio_options_parse(&c->rng_options, "--rng", value, err);
}

static int set_console(struct config *c, const char *value, struct err *err)
{
	return console_options_parse(&c->console, value, err);
}

/* CID[,KEY=VALUE...] */
static int set_vsock(struct config *c, const char *value, struct err *err)
{
	unsigned long long cid;
	char *end;

	errno = 0;
	cid = strtoull(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || (*end && *end != ',') || errno ||
	    cid < VSOCK_CID_MIN || cid > VSOCK_CID_MAX)
		return err_set(err, -EINVAL,
		               "--vsock %s: expected a context id from %u to %u (below are the "
		               "host and reserved ones)",
		               value, VSOCK_CID_MIN, VSOCK_CID_MAX);
	c->vsock_cid = (uint32_t)cid;
	return virtio_options_parse(&c->vsock_options, "--vsock", *end ? end + 1 : NULL, err);
}

static const struct option options[] = {
	{'k', "kernel", "FILE", "kernel: bzImage, or ELF vmlinux (default: the default guest)",
         STRING(kernel)},
	{'i', "initrd", "FILE", "initial ramdisk for -k", STRING(initrd)},
	{'p', "params", "CMDLINE", "kernel command line; added to the default guest's own",
         STRING(cmdline)},
	{'c', "cpus", "N", "virtual CPUs (1)", SET(set_cpus)},
	{'m', "memory", "SIZE", "memory, as 512M or 5G (256M); a plain number is MiB",
         SET(set_memory)},
	{0, "exec", "CMD",
         "run one shell command in the default guest; its output is stdout, its exit status ours",
         STRING(exec)},
	{0, "name", "NAME", "name of the virtual machine", SET(set_name)},
	{0, "control", "PATH|none", "the control socket (by the name, see `trivm list`)",
         STRING(control)},
	{0, "serial", "stdio|socket",
         "where the serial console is: here, or where `trivm console` finds it", SET(set_serial)},
	{0, "daemonize", NULL, "go on in the background when the guest runs; --serial socket",
         COUNT(daemonize)},
	{0, "pid-file", "FILE", "write the process number to FILE when the guest runs",
         STRING(pid_file)},
	{0, "log-file", "FILE", "add messages to FILE once the guest runs", STRING(log_file)},
	{0, "hugepages", NULL, "guest memory from the host's 2 MiB huge pages", COUNT(hugepages)},
	{0, "prealloc", NULL, "allocate all guest memory at the start", COUNT(prealloc)},
	{0, "nested", NULL, "let the guest use VMX or SVM, to run virtual machines of its own",
         COUNT(nested)},
	{0, "boot", "auto|linux64|pvh|multiboot",
         "boot protocol (auto: what the kernel's file says)", SET(set_boot)},
	{0, "irqchip", "split|kernel",
         "where the I/O APIC is: in trivm (split, the default) or in KVM", SET(set_irqchip)},
	{0, "on-reset", "exit|reboot", "what to do when the guest resets itself (exit, status 121)",
         SET(set_on_reset)},
	{0, "fdt", NULL, "also hand over a device tree, for kernels with CONFIG_OF", COUNT(fdt)},
	{0, "dump-fdt", "FILE", "write the device tree to FILE and go on", STRING(dump_fdt)},
	{0, "net", "PORT[,KEY=VALUE...]",
         "a network card; PORT: user, tap, tap:NAME, fd:N, socket:PATH or none", SET(set_net)},
	{0, "disk", "FILE[,ro][,KEY=VALUE...]",
         "a disk (virtio): a raw image or a block device; the first is the guest's vda",
         SET(set_disk)},
	{0, "rng", "[KEY=VALUE,...]", "an entropy device (virtio); keys: transport, notify, inject",
         SET(set_rng)},
	{0, "console", "[WHERE][,KEY=VALUE...]",
         "a console (virtio), the guest's hvc0; WHERE: pty, file:PATH, socket:PATH or fd:N",
         SET(set_console)},
	{0, "vsock", "CID[,KEY=VALUE...]",
         "a socket device (virtio) with the guest's context id; keys as for --rng", SET(set_vsock)},
	{0, "test-device", NULL, "add the PCI test device", COUNT(test_device)},
	{0, "no-kvm-check", NULL, "do not refuse a kernel that this KVM may not be able to run",
         COUNT(no_kvm_check)},
	{0, "kvm", "PATH", "KVM's device (/dev/kvm)", STRING(kvm_path)},
	{'v', "verbose", NULL, "say what is done; twice: also what the guest does wrong",
         COUNT(verbose)},
	{'h', "help", NULL, "this list", COUNT(help)},
};

void config_default(struct config *config)
{
	memset(config, 0, offsetof(struct config, nics));
	config->cpus = 1;
	config->memory = MIB(256);
	config->kvm_path = KVM_DEVICE;
}

/* The option that @arg names; *@value is what stands behind '=' or the letter, or NULL. */
static const struct option *find_option(const char *arg, const char **value)
{
	*value = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option *o = &options[i];
		size_t len = strlen(o->name);

		if (arg[1] != '-') {
			if (!o->letter || arg[1] != o->letter)
				continue;
			if (arg[2])
				*value = arg + 2;
			return o;
		}
		if (strncmp(arg + 2, o->name, len) != 0)
			continue;
		if (arg[2 + len] == '=')
			*value = arg + 2 + len + 1;
		if (arg[2 + len] == '=' || arg[2 + len] == '\0')
			return o;
	}
	return NULL;
}

static bool value_is_optional(const struct option *o)
{
	return o->value && o->value[0] == '[';
}

/* Put @value (NULL for a switch, or none given) where @o says. */
static int apply(const struct option *o, struct config *config, const char *value, struct err *err)
{
	char *base = (char *)config;

	if (o->set)
		return o->set(config, value, err);
	if (o->value)
		*(const char **)(base + o->string) = value;
	else
		++*(unsigned *)(base + o->count);
	return 0;
}

/* How the user would write it. */
static const char *spelling(const struct option *o, char buf[40])
{
	if (o->letter)
		snprintf(buf, 40, "-%c", o->letter);
	else
		snprintf(buf, 40, "--%s", o->name);
	return buf;
}

/* The value of @o at argv[*@i], if it is not there already: *@i moves on if it is the next
 * argument.
 */
static int take_value(const struct option *o, int argc, char **argv, int *i, const char **value,
                      struct err *err)
{
	const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
	char name[40];

	if (!o->value && *value)
		return err_set(err, -EINVAL, "%s: takes no value", argv[*i]);
	if (!o->value || *value)
		return 0;
	/* Every other argument begins with '-': what does not is the optional value. */
	if (value_is_optional(o) && (!next || next[0] == '-'))
		return 0;
	if (!next)
		return err_set(err, -EINVAL, "%s: a value (%s) is missing", spelling(o, name),
		               o->value);
	*value = next;
	++*i;
	return 0;
}

static int check(const struct config *c, struct err *err)
{
	if (c->exec && c->kernel)
		return err_set(err, -EINVAL,
		               "--exec: works with the default guest only; leave out -k");
	if (c->exec && (c->daemonize || c->serial_socket))
		return err_set(err, -EINVAL,
		               "--exec: its output is ours; leave out --daemonize and --serial");
	if (c->initrd && !c->kernel)
		return err_set(err, -EINVAL,
		               "-i %s: the default guest has its own initrd; give -k as well",
		               c->initrd);
	return 0;
}

static int unknown_option(const char *arg, struct err *err)
{
	char hint[NEAREST_HINT_MAX], typed[NEAREST_WORD_MAX], known[ARRAY_SIZE(options)][24];
	struct nearest near;

	/* Without its value; with the dashes, so that the hint can be typed. */
	snprintf(typed, sizeof(typed), "%.*s", (int)strcspn(arg, "="), arg);
	near = nearest_to(typed);
	for (size_t i = 0; i < ARRAY_SIZE(options) && arg[1] == '-'; i++) {
		snprintf(known[i], sizeof(known[i]), "--%s", options[i].name);
		nearest_try(&near, known[i]);
	}
	return err_set(err, -EINVAL, "%s: unknown option%s; see `trivm run --help`", arg,
	               nearest_hint(&near, hint));
}

int config_parse(struct config *config, int argc, char **argv, struct err *err)
{
	for (int i = 0; i < argc; i++) {
		const struct option *o;
		const char *value;
		int rc;

		if (argv[i][0] != '-' || argv[i][1] == '\0')
			return err_set(err, -EINVAL,
			               "%s: not an option; a kernel is given by -k, see `trivm run "
			               "--help`",
			               argv[i]);
		o = find_option(argv[i], &value);
		if (!o)
			return unknown_option(argv[i], err);
		if (!o->value && value && argv[i][1] != '-') {
			/* -vv: the rest are more letters of the same kind of switch. */
			if (strspn(argv[i] + 1, "v") != strlen(argv[i] + 1))
				return err_set(err, -EINVAL, "%s: unknown option", argv[i]);
			for (size_t n = strlen(argv[i] + 1); n; n--)
				apply(o, config, NULL, err);
			continue;
		}
		rc = take_value(o, argc, argv, &i, &value, err);
		if (rc < 0)
			return rc;
		rc = apply(o, config, value, err);
		if (rc < 0)
			return rc;
	}
	return config->help ? 0 : check(config, err);
}

void config_print_help(FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option *o = &options[i];
		char left[48];

		snprintf(left, sizeof(left), "%c%c%c --%s %s", o->letter ? '-' : ' ',
		         o->letter ? o->letter : ' ', o->letter ? ',' : ' ', o->name,
		         o->value ? o->value : "");
		fprintf(out, "  %-30s %s\n", left, o->help);
	}
}

void config_print_words(FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option *o = &options[i];

		if (o->letter)
			fprintf(out, "-%c %s\n", o->letter, o->value ? o->value : "");
		fprintf(out, "--%s %s\n", o->name, o->value ? o->value : "");
	}
}

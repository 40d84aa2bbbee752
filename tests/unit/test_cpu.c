/* SPDX-License-Identifier: BSD-2-Clause */
/* cpu: whether a guest sees the host's virtualization extensions. */
#include <errno.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "arch/x86/cpu.h"
#include "vmm/util.h"

/* A host with both, which there is not, and leaf 0x8000000a. */
static void host(struct cpu_model *m, uint32_t leaf1, uint32_t leaf80000001)
{
	*m = (struct cpu_model){.cpus = 1};
	m->cpuid = calloc(1, sizeof(struct kvm_cpuid2) + 3 * sizeof(struct kvm_cpuid_entry2));
	assert_non_null(m->cpuid);
	m->cpuid->nent = 3;
	m->cpuid->entries[0] = (struct kvm_cpuid_entry2){.function = 1, .ecx = leaf1};
	m->cpuid->entries[1] = (struct kvm_cpuid_entry2){.function = 0x8000000a, .eax = 1};
	m->cpuid->entries[2] =
		(struct kvm_cpuid_entry2){.function = 0x80000001, .ecx = leaf80000001};
}

static void hidden_unless_wanted(void **state)
{
	struct cpu_model m;

	(void)state;
	host(&m, 0xffffffff, 0xffffffff);
	assert_int_equal(cpu_model_nested(&m, false, NULL), 0);
	assert_int_equal(m.cpuid->nent, 2);
	assert_int_equal(m.cpuid->entries[0].ecx, 0xffffffff & ~BIT(5));
	assert_int_equal(m.cpuid->entries[1].function, 0x80000001);
	assert_int_equal(m.cpuid->entries[1].ecx, 0xffffffff & ~BIT(2));
	cpu_model_destroy(&m);
}

static void there_if_wanted(void **state)
{
	struct cpu_model m;

	(void)state;
	host(&m, 0, BIT(2));
	assert_int_equal(cpu_model_nested(&m, true, NULL), 0);
	assert_int_equal(m.cpuid->nent, 3);
	assert_int_equal(m.cpuid->entries[2].ecx, BIT(2));
	cpu_model_destroy(&m);
	host(&m, BIT(5), 0);
	assert_int_equal(cpu_model_nested(&m, true, NULL), 0);
	assert_int_equal(m.cpuid->entries[0].ecx, BIT(5));
	cpu_model_destroy(&m);
}

static void refused_where_there_is_none(void **state)
{
	struct err err = {.msg = ""};
	struct cpu_model m;

	(void)state;
	host(&m, ~BIT(5), ~BIT(2));
	assert_int_equal(cpu_model_nested(&m, true, &err), -ENODEV);
	assert_non_null(strstr(err.msg, "--nested"));
	assert_int_equal(cpu_model_nested(&m, false, &err), 0);
	cpu_model_destroy(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hidden_unless_wanted),
		cmocka_unit_test(there_if_wanted),
		cmocka_unit_test(refused_where_there_is_none),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

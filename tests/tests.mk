# SPDX-License-Identifier: BSD-2-Clause
# The tests: see tests/README.md. Unit tests are built with the sanitizers, in their own tree.

UNIT_SANITIZE ?= address,undefined
UNIT_BUILD    := $(BUILD)/unit
UNIT_TESTS    := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
UNIT_BINS     := $(UNIT_TESTS:%=$(UNIT_BUILD)/%)

# One recursive make for the sanitized libraries, so that they have the same rules as the product's.
UNIT_LIBS := $(UNIT_BUILD)/libtrivm-switch.a $(UNIT_BUILD)/libtrivm.a
$(UNIT_LIBS) &: FORCE
	@$(MAKE) --no-print-directory BUILD=$(UNIT_BUILD) SANITIZE=$(UNIT_SANITIZE) \
		CFLAGS="-O1 -g" $(UNIT_LIBS)

$(UNIT_BUILD)/fakes.o: tests/unit/fakes.c | $(TOOLCHAIN)
	@mkdir -p $(@D)
	$(call do,CC,$<)$(CC) $(ALL_CFLAGS) -fsanitize=$(UNIT_SANITIZE) -O1 -g -MMD -MP -c -o $@ $<

$(UNIT_BUILD)/test_%: tests/unit/test_%.c $(UNIT_LIBS) $(UNIT_BUILD)/fakes.o
	$(call do,CC,$<)$(CC) $(ALL_CFLAGS) -I$(UNIT_BUILD) -fsanitize=$(UNIT_SANITIZE) -fno-sanitize-recover=all \
		-O1 -g -MMD -MP -o $@ $< $(UNIT_BUILD)/fakes.o $(UNIT_LIBS) \
		-lcmocka $(LIBS) $(SWITCH_LIBS)

unit-bins: $(UNIT_BINS)

# Whether the C of every test, bench and exercise still fits the library, in seconds: what a rename broke is said
# before the first long suite. (An exercise has parameters that its reader is to use.)
SYNTAX_SOURCES := $(wildcard tests/*/*.c compare/guest/*.c guest-images/linux/*.c lab/exercises/*/*.c \
	lab/exercises/*/*/*.c)
syntax: $(SYNTAX_SOURCES:%=%.syntax)
%.c.syntax: %.c | $(TOOLCHAIN)
	@$(CC) $(ALL_CFLAGS) $(if $(filter lab/%,$<),-Wno-unused-parameter) -fsyntax-only $<

# Programs of tests and benches that are not linked with the library.
PROGRAM_CFLAGS := -std=gnu11 -D_GNU_SOURCE -O2 -g -I. $(WARN)

include tests/page/page.mk
include tests/kvm/kvm.mk
include tests/fuzz/fuzz.mk
include tests/bench/bench.mk

test:
	@tools/deps build run test
	@$(MAKE) --no-print-directory all guest
	@MAKEFLAGS= tests/run style unit page kvm fuzz+lab

test-unit test-kvm test-fuzz test-lab test-style: test-%:
	@tools/deps build run test
	@$(MAKE) --no-print-directory all
	@MAKEFLAGS= tests/run $*

# The browser is large: it is installed when this is asked for by name, otherwise used where it is.
test-page:
	@tools/deps build page
	@$(MAKE) --no-print-directory all
	@MAKEFLAGS= tests/run page

# This tree on a fresh Debian of another release than this host's, or of the same. WORDS="build lab" chooses.
test-debian12 test-debian13: test-debian%:
	@tools/deps disk
	@MAKEFLAGS= tests/debian/run $* $(WORDS)

soak:
	@tools/deps build run test
	@$(MAKE) --no-print-directory all guest
	@MAKEFLAGS= SOAK=1 tests/run unit kvm fuzz lab

bench:
	@tools/deps build bench
	@$(MAKE) --no-print-directory all
	@MAKEFLAGS= tests/bench/run

FORCE:
.PHONY: FORCE syntax unit-bins test test-unit test-kvm test-fuzz test-lab test-style test-page test-debian12 test-debian13 soak bench
-include $(UNIT_BINS:%=%.d) $(UNIT_BUILD)/fakes.d

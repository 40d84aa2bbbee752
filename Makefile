# SPDX-License-Identifier: BSD-2-Clause
#
#   make            build/trivm, build/trivm-switch
#   make run        boot a Linux guest to a shell, here or in the lab (tools/run says which and why)
#   make test       unit, page, kvm, fuzz, lab and style tests; make test-unit ... for one of them
#   make test-debian13  build and short tests on a fresh Debian 13 (or test-debian12: 12)
#   make soak       the long forms of the tests
#   make compare    a guest on each road of its NIC, measured side by side, here or in the lab: build/compare/
#   make bench      start-up time and a NIC's throughput, against QEMU and plain programs
#   make guest lab  the default guest's image; the nested lab's image
#   make disk       a Debian system on a disk image, for --disk
#   make install    into PREFIX (/usr/local)
#   make format     clang-format over all sources (in the version that the style is defined by)
#
# CC=clang, CFLAGS=..., BUILD=dir, SANITIZE=address,undefined as usual. V=1 prints whole commands. Builds use all
# processors unless -j says otherwise; goals that run something run one after another.

BUILD  ?= build
PREFIX ?= /usr/local
CC     ?= cc
CFLAGS ?= -O2 -g
VERSION := 0.1

# In the make that was typed only: the ones that it starts share its processors. A -j on the command line is stronger
# than this one; one in the environment's MAKEFLAGS is looked for.
ifeq ($(MAKELEVEL)$(filter -j% --jobs%,$(shell echo "$$MAKEFLAGS")),0)
MAKEFLAGS += -j$(shell nproc)
endif
ifneq ($(filter clean run compare lab disk format test test-% soak bench bench-%,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif

# $(call do,WORD,FILE)COMMAND in a recipe: the line "WORD FILE" instead of the command, which V=1 shows, and -s neither.
silent = $(findstring s,$(firstword -$(MAKEFLAGS)))
do = $(if $(filter 1,$(V)),,@$(if $(silent),,printf '  %-8s%s\n' '$(1)' '$(2)' && ))

WARN := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wvla -Wmissing-prototypes \
	-Wstrict-prototypes
ALL_CFLAGS := -std=gnu11 -D_GNU_SOURCE -DTRIVM_VERSION='"$(VERSION)"' -I. -I$(BUILD) $(WARN) \
	-fstack-protector-strong -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE) \
	-fno-omit-frame-pointer -fno-sanitize-recover=all) $(CFLAGS)
ALL_LDFLAGS := -pthread -Wl,-z,relro,-z,now $(if $(SANITIZE),-fsanitize=$(SANITIZE)) $(LDFLAGS)
# Static: libraries less to load at each start.
LIBS := -l:libfdt.a -l:libjansson.a -l:libncursesw.a -l:libtinfo.a

TOOLCHAIN := $(BUILD)/toolchain
SOURCES := $(filter-out vmm/main.c,$(wildcard vmm/*.c arch/x86/*.c devices/*.c devices/*/*.c compare/*.c))
OBJECTS := $(SOURCES:%.c=$(BUILD)/obj/%.o) $(BUILD)/arch/x86/dsdt_aml.o $(BUILD)/obj/compare/page_html.o

# The switch: its parts in a library of their own, so that unit tests link them too.
SWITCH_OBJECTS := $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out switch/main.c,$(wildcard switch/*.c)))
SWITCH_LIBS    := -lseccomp

all: $(BUILD)/trivm $(BUILD)/trivm-switch
	@:
ifneq ($(shell $(CC) -include sys/sdt.h -E -x c /dev/null >/dev/null 2>&1 && echo yes),yes)
	@echo "note: built without probes for perf and bpftrace: no sys/sdt.h (Debian: systemtap-sdt-dev)"
endif

include arch/x86/acpi.mk
include compare/page.mk
include guest-images/baremetal/baremetal.mk
include tests/tests.mk

# Once, before anything is compiled: is all there?
$(TOOLCHAIN):
	@tools/toolchain '$(CC)' '$(IASL)' $@

$(BUILD)/obj/%.o: %.c | $(TOOLCHAIN)
	@mkdir -p $(@D)
	$(call do,CC,$<)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# What compare's guests run, and the object that has it inside (.incbin).
$(BUILD)/obj/compare/peer: compare/guest/peer.c compare/guest/kicks.h guest-images/linux/nolibc.h | $(TOOLCHAIN)
	@mkdir -p $(@D)
	$(call do,CC,$<)$(CC) -std=gnu11 -I. $(WARN) -Os -static -nostdlib -ffreestanding -fno-stack-protector -fno-pie \
		-fno-asynchronous-unwind-tables -Wl,--build-id=none,-z,noseparate-code -s -o $@ $<
$(BUILD)/obj/compare/guest.o: $(BUILD)/obj/compare/peer compare/guest/exec

$(BUILD)/libtrivm.a: $(OBJECTS)
	@rm -f $@
	$(call do,AR,$@)$(AR) rcs $@ $^

$(BUILD)/trivm: $(BUILD)/obj/vmm/main.o $(BUILD)/libtrivm.a
	$(call do,LD,$@)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/libtrivm-switch.a: $(SWITCH_OBJECTS)
	@rm -f $@
	$(call do,AR,$@)$(AR) rcs $@ $^

$(BUILD)/trivm-switch: $(BUILD)/obj/switch/main.o $(BUILD)/libtrivm-switch.a $(BUILD)/libtrivm.a
	$(call do,LD,$@)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(SWITCH_LIBS)

guest:
	@tools/deps run
	@guest-images/linux/build

lab:
	@tools/deps build run
	@$(MAKE) --no-print-directory all guest
	@lab/build

disk:
	@tools/deps run disk
	@guest-images/linux/build
	@guest-images/disk/build

run:
	@tools/deps build run
	@$(MAKE) --no-print-directory all guest
	@MAKEFLAGS= tools/run

compare:
	@tools/deps build run
	@$(MAKE) --no-print-directory all guest
	@MAKEFLAGS= tools/compare $(COMPARE)

install: all
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(BUILD)/trivm $(BUILD)/trivm-switch
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 docs/trivm.1 docs/trivm-switch.1
	install -D -m 644 tools/trivm.bash-completion \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/trivm
	install -D -m 644 tools/trivm-switch.bash-completion \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/trivm-switch
	if [ -e $(BUILD)/guest/vmlinuz ]; then \
		install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/trivm/guest $(BUILD)/guest/vmlinuz \
			$(BUILD)/guest/initrd.img; fi

format:
	git ls-files '*.c' '*.h' | xargs tools/clang-format -i

clean:
	rm -rf $(BUILD)/obj $(BUILD)/trivm $(BUILD)/trivm-switch $(BUILD)/libtrivm*.a $(BUILD)/unit $(BUILD)/baremetal

.PHONY: all guest lab disk run compare install format clean
-include $(OBJECTS:.o=.d) $(SWITCH_OBJECTS:.o=.d) $(BUILD)/obj/vmm/main.d $(BUILD)/obj/switch/main.d

# SPDX-License-Identifier: BSD-2-Clause
# Fuzz targets (libFuzzer, needs clang): each tests/fuzz/NAME.c becomes $(BUILD)/fuzz/NAME. Linked
# against a library of their own, with coverage and the sanitizers.

FUZZ_BUILD   := $(BUILD)/fuzz
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
FUZZ_BINS    := $(FUZZ_TARGETS:%=$(FUZZ_BUILD)/%)
FUZZ_CC      ?= clang
FUZZ_SANITIZE := address,undefined

FUZZ_LIBS := $(FUZZ_BUILD)/libtrivm-switch.a $(FUZZ_BUILD)/libtrivm.a
$(FUZZ_LIBS) &: FORCE
	@$(MAKE) --no-print-directory BUILD=$(FUZZ_BUILD) CC=$(FUZZ_CC) SANITIZE=$(FUZZ_SANITIZE) \
		CFLAGS="-O1 -g -fsanitize=fuzzer-no-link" $(FUZZ_LIBS)

$(FUZZ_BUILD)/fakes.o: tests/unit/fakes.c
	@mkdir -p $(@D)
	$(call do,CC,$<)$(FUZZ_CC) $(ALL_CFLAGS) -fsanitize=fuzzer-no-link,$(FUZZ_SANITIZE) \
		-fno-sanitize-recover=all -O1 -g -MMD -MP -c -o $@ $<

$(FUZZ_BINS): $(FUZZ_BUILD)/%: tests/fuzz/%.c $(FUZZ_LIBS) $(FUZZ_BUILD)/fakes.o
	$(call do,CC,$<)$(FUZZ_CC) $(ALL_CFLAGS) -I$(FUZZ_BUILD) -fsanitize=fuzzer,$(FUZZ_SANITIZE) \
		-fno-sanitize-recover=all -O1 -g -MMD -MP -o $@ $< $(FUZZ_BUILD)/fakes.o \
		$(FUZZ_LIBS) -lcmocka $(LIBS) $(SWITCH_LIBS)

fuzz: $(FUZZ_BINS)

.PHONY: fuzz
-include $(FUZZ_BINS:%=%.d) $(FUZZ_BUILD)/fakes.d

# SPDX-License-Identifier: BSD-2-Clause
# What tests/page/run needs: the page of given results. To be included by tests/tests.mk.

$(BUILD)/page/write: tests/page/write.c $(BUILD)/libtrivm.a
	@mkdir -p $(@D)
	$(call do,CC,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

# SPDX-License-Identifier: BSD-2-Clause
# What tests/kvm/run needs besides trivm: the bare-metal guests and a program that plays the terminal.

$(BUILD)/tests/pty: tests/kvm/pty.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g $(WARN) -o $@ $<

.PHONY: kvm-bins
kvm-bins: baremetal $(BUILD)/tests/pty

# SPDX-License-Identifier: BSD-2-Clause
# What tests/kvm/run needs besides trivm: the bare-metal guests, a program that plays the terminal, and those
# that are the other end of a NIC.

$(BUILD)/tests/pty: tests/kvm/pty.c
	@mkdir -p $(@D)
	$(call do,CC,$@)$(CC) $(PROGRAM_CFLAGS) -o $@ $<

$(BUILD)/tests/netpeer: tests/kvm/netpeer.c tests/bench/nettap.c tests/bench/nettap.h
	@mkdir -p $(@D)
	$(call do,CC,$@)$(CC) $(PROGRAM_CFLAGS) -pthread -o $@ tests/kvm/netpeer.c tests/bench/nettap.c

$(BUILD)/tests/switchpeer: tests/kvm/switchpeer.c tests/bench/nettap.c tests/bench/nettap.h
	@mkdir -p $(@D)
	$(call do,CC,$@)$(CC) $(PROGRAM_CFLAGS) -pthread -o $@ tests/kvm/switchpeer.c tests/bench/nettap.c

$(BUILD)/tests/ctlflood: tests/kvm/ctlflood.c
	@mkdir -p $(@D)
	$(call do,CC,$@)$(CC) $(PROGRAM_CFLAGS) -o $@ $<

$(BUILD)/tests/vupeer: tests/kvm/vupeer.c $(BUILD)/libtrivm.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^

$(BUILD)/tests/switchfront: tests/kvm/switchfront.c tests/unit/switch_rig.h $(BUILD)/libtrivm-switch.a \
		$(BUILD)/libtrivm.a
	@mkdir -p $(@D)
	$(call do,CC,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.c %.a,$^) -lcmocka $(SWITCH_LIBS)

$(BUILD)/tests/fusedisk: tests/kvm/fusedisk.c
	@mkdir -p $(@D)
	$(call do,CC,$@)$(CC) $(PROGRAM_CFLAGS) -o $@ $<

.PHONY: kvm-bins
kvm-bins: baremetal $(BUILD)/tests/ctlflood $(BUILD)/tests/fusedisk $(BUILD)/tests/pty \
	$(BUILD)/tests/netpeer $(BUILD)/tests/switchfront $(BUILD)/tests/switchpeer $(BUILD)/tests/vupeer

# SPDX-License-Identifier: BSD-2-Clause
# Benches. Included by the root Makefile, which sets BUILD, CC, CFLAGS and builds $(BUILD)/trivm.
#   make bench-start    what starting and ending a VM costs; BENCH_ROUNDS=15
#   make bench-switch   trivm-switch beside DPDK's testpmd; SWITCH_ROUNDS=5
#   make bench-ports    two ports of trivm-switch beside a hostile one of each kind; PORTS_ROUNDS=3
#   make bench-net      frames through a NIC; BENCH_NET_ROUNDS=5
#   make bench-lab      trivm's roads beside QEMU's with Linux guests in the lab; NAMES="qemu-vhost vhost-net" and WHAT=tcp-in
#                       as in lab-net.sh, BENCH_NET_ROUNDS=5
#   make bench-gap      how long a NIC rests when its datapath is switched; BENCH_SWITCHES=200

BENCH_OUT    := $(BUILD)/bench
BENCH_ROUNDS ?= 15
BENCH_NET_ROUNDS ?= 5
BENCH_SWITCHES ?= 200
BENCH_LAB_TIMEOUT ?= 1800

$(BENCH_OUT)/bare_kvm: tests/bench/bare_kvm.c
	@mkdir -p $(@D)
	$(call do,CC,$@)$(CC) $(PROGRAM_CFLAGS) -o $@ $<

$(BENCH_OUT)/startbench: tests/bench/startbench.c tests/bench/measure.c tests/bench/measure.h
	@mkdir -p $(@D)
	$(call do,CC,$@)$(CC) $(PROGRAM_CFLAGS) -o $@ tests/bench/startbench.c tests/bench/measure.c

$(BENCH_OUT)/netbench: $(addprefix tests/bench/,netbench.c netrun.c netrun.h nettap.c nettap.h)
	@mkdir -p $(@D)
	$(call do,CC,$@)$(CC) $(PROGRAM_CFLAGS) -pthread -o $@ $(filter %.c,$^)

$(BENCH_OUT)/netplain: $(addprefix tests/bench/,netplain.c nettap.c nettap.h)
	@mkdir -p $(@D)
	$(call do,CC,$@)$(CC) $(PROGRAM_CFLAGS) -pthread -o $@ $(filter %.c,$^)

$(BENCH_OUT)/switchgen: tests/bench/switchgen.c $(BUILD)/libtrivm-switch.a $(BUILD)/libtrivm.a
	@mkdir -p $(@D)
	$(call do,CC,$@)$(CC) $(ALL_CFLAGS) -MMD -MP -o $@ $< $(BUILD)/libtrivm-switch.a $(BUILD)/libtrivm.a $(SWITCH_LIBS)
-include $(BENCH_OUT)/switchgen.d

.PHONY: bench-ports bench-gap bench-lab bench-switch bench-start bench-net bench-build
bench-build: $(BENCH_OUT)/bare_kvm $(BENCH_OUT)/startbench $(BM_OUT)/byte-reset.elf \
	$(BM_OUT)/byte-reset.bin $(BM_OUT)/byte-halt.elf $(BM_OUT)/byte-halt.bin \
	$(BENCH_OUT)/netbench $(BENCH_OUT)/netplain $(BM_OUT)/net.elf

bench-start: bench-build $(BUILD)/trivm
	$(BENCH_OUT)/startbench --rounds $(BENCH_ROUNDS) --json $(BENCH_OUT)/start.json $(BUILD)

bench-net: bench-build $(BUILD)/trivm
	$(BENCH_OUT)/netbench --rounds $(BENCH_NET_ROUNDS) --json $(BENCH_OUT)/net.json $(BUILD)

bench-switch: $(BENCH_OUT)/switchgen $(BUILD)/trivm-switch
	tests/bench/switch

bench-ports: $(BUILD)/tests/switchfront $(BUILD)/trivm-switch
	tests/bench/ports

# Two processors: one for the guest, one for whoever moves its packets.
bench-lab: lab
	lab/run --timeout $(BENCH_LAB_TIMEOUT) --qemu -smp --qemu 2 --put tests/bench/lab-net.sh -- \
		env NAMES="$(NAMES)" WHAT="$(WHAT)" bash lab-net.sh $(BENCH_NET_ROUNDS)

bench-gap: $(BUILD)/trivm $(BUILD)/trivm-switch $(BM_OUT)/net.elf $(BUILD)/tests/switchpeer
	tests/bench/gap $(BUILD) $(BENCH_SWITCHES)

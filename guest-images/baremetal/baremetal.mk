# SPDX-License-Identifier: BSD-2-Clause
# The bare-metal test guests: build/baremetal/NAME.elf (and .bzimage, .bin forms of some), built by the
# host's compiler and binutils. Included by the root Makefile; wants BUILD and CC.

BM      := guest-images/baremetal
BM_OUT  := $(BUILD)/baremetal
BM_LD   ?= ld
BM_OBJCOPY ?= objcopy

BM_FLAGS := -std=gnu11 -O2 -g -ffreestanding -nostdlib -fno-pic -fno-pie -mcmodel=small -mno-red-zone \
	-mgeneral-regs-only -fcf-protection=none -fno-stack-protector -fno-asynchronous-unwind-tables \
	-fno-strict-aliasing -ffunction-sections -fdata-sections -I$(BM)/lib -I. -Wall -Wextra -Wshadow \
	-Wconversion -Wno-sign-conversion -Wvla -Wmissing-prototypes -Wstrict-prototypes -MMD -MP
BM_LDFLAGS := -nostdlib -static --gc-sections -z noexecstack -z max-page-size=4096 --build-id=none \
	--no-warn-rwx-segments

BM_LIB_SRC := $(wildcard $(BM)/lib/*.c $(BM)/lib/*.S)
BM_LIB_OBJ := $(patsubst $(BM)/lib/%,$(BM_OUT)/lib/%.o,$(BM_LIB_SRC))
BM_GUESTS  := $(patsubst $(BM)/guests/%.c,%,$(wildcard $(BM)/guests/*.c))
BM_FILES   := $(BM_GUESTS:%=$(BM_OUT)/%.elf) $(BM_OUT)/byte-reset.elf $(BM_OUT)/byte-reset.bin \
	$(BM_OUT)/byte-halt.elf $(BM_OUT)/byte-halt.bin $(BM_OUT)/hello32.elf \
	$(BM_OUT)/hello-linux64.elf $(BM_OUT)/hello.bzimage $(BM_OUT)/hello-multiboot.elf \
	$(BM_OUT)/hello-multiboot32.elf $(BM_OUT)/hello-multiboot.bin $(BM_OUT)/not-linux.elf

.PHONY: baremetal
.SECONDARY: $(BM_LIB_OBJ) $(BM_GUESTS:%=$(BM_OUT)/%.o) $(BM_OUT)/byte-reset.o $(BM_OUT)/byte-halt.o
baremetal: $(BM_FILES)

$(BM_OUT)/lib/%.o: $(BM)/lib/% $(BM)/baremetal.mk | $(TOOLCHAIN)
	@mkdir -p $(@D)
	$(call do,CC,$<)$(CC) $(BM_FLAGS) -c -o $@ $<

$(BM_OUT)/%.o: $(BM)/guests/%.c $(BM)/baremetal.mk | $(TOOLCHAIN)
	@mkdir -p $(@D)
	$(call do,CC,$<)$(CC) $(BM_FLAGS) -c -o $@ $<

$(BM_OUT)/%.elf: $(BM_OUT)/%.o $(BM_LIB_OBJ) $(BM)/link.ld
	$(call do,LD,$@)$(BM_LD) $(BM_LDFLAGS) -T $(BM)/link.ld -o $@ $< $(BM_LIB_OBJ)

# The same program in the other formats that a loader has to know.
$(BM_OUT)/hello32.elf: $(BM_OUT)/hello.elf
	$(call do,OBJCOPY,$@)$(BM_OBJCOPY) -O elf32-i386 --strip-debug $< $@

$(BM_OUT)/lib/start-nopvh.o: $(BM)/lib/start.S $(BM)/baremetal.mk | $(TOOLCHAIN)
	@mkdir -p $(@D)
	$(call do,CC,$<)$(CC) $(BM_FLAGS) -DNO_PVH_NOTE -c -o $@ $<

BM_LIB_NOPVH := $(BM_OUT)/lib/start-nopvh.o $(filter-out %/start.S.o,$(BM_LIB_OBJ))
$(BM_OUT)/hello-linux64.elf: $(BM_OUT)/hello.o $(BM_LIB_NOPVH) $(BM)/link.ld
	$(call do,LD,$@)$(BM_LD) $(BM_LDFLAGS) -T $(BM)/link.ld -o $@ $< $(BM_LIB_NOPVH)

# Multiboot: ELF of either class, entered at e_entry, and a flat binary whose header has the addresses.
$(BM_OUT)/lib/start-multiboot.o: $(BM)/lib/start.S $(BM)/baremetal.mk
	@mkdir -p $(@D)
	$(CC) $(BM_FLAGS) -DNO_PVH_NOTE -DMULTIBOOT=3 -c -o $@ $<

$(BM_OUT)/lib/start-multiboot-flat.o: $(BM)/lib/start.S $(BM)/baremetal.mk
	@mkdir -p $(@D)
	$(CC) $(BM_FLAGS) -DNO_PVH_NOTE -DMULTIBOOT=0x10003 -c -o $@ $<

$(BM_OUT)/hello-multiboot%elf: $(BM_OUT)/hello.o $(BM_OUT)/lib/start-multiboot%o $(BM_LIB_OBJ) $(BM)/link.ld
	$(BM_LD) $(BM_LDFLAGS) -T $(BM)/link.ld -e multiboot_start -o $@ $(filter-out %/start.S.o %.ld,$^)

$(BM_OUT)/hello-multiboot32.elf: $(BM_OUT)/hello-multiboot.elf
	$(BM_OBJCOPY) -O elf32-i386 --strip-debug $< $@

$(BM_OUT)/hello-multiboot.bin: $(BM_OUT)/hello-multiboot-flat.elf
	$(BM_OBJCOPY) -O binary -R .note $< $@

$(BM_OUT)/not-linux.elf: $(BM)/formats/not-linux.S $(BM)/link.ld
	$(CC) -c -o $@.o $<
	$(BM_LD) $(BM_LDFLAGS) -T $(BM)/link.ld -e start -o $@ $@.o

$(BM_OUT)/hello.payload: $(BM_OUT)/hello.elf
	$(call do,OBJCOPY,$@)$(BM_OBJCOPY) -O binary -R .note $< $@

$(BM_OUT)/hello.bzimage: $(BM)/formats/bzimage.S $(BM_OUT)/hello.payload
	$(call do,CC,$<)$(CC) -c -Wa,-I$(BM_OUT) -o $@.o $<
	@$(BM_LD) -nostdlib --oformat binary -Ttext 0 -e 0 -o $@ $@.o

# The bench guests: 14 bytes that mean the same in 16, 32 and 64 bit.
$(BM_OUT)/byte-%.o: $(BM)/formats/byte-%.S $(BM)/formats/byte.inc $(BM)/baremetal.mk | $(TOOLCHAIN)
	@mkdir -p $(@D)
	$(call do,CC,$<)$(CC) -c -o $@ $<

$(BM_OUT)/byte-%.elf: $(BM_OUT)/byte-%.o
	$(call do,LD,$@)$(BM_LD) $(BM_LDFLAGS) -T $(BM)/link.ld -e start -o $@ $<

# As firmware: 64 KiB that end at 4 GiB, the code at the reset vector.
$(BM_OUT)/byte-%.bin: $(BM)/formats/byte-%.S $(BM)/formats/byte.inc | $(TOOLCHAIN)
	@mkdir -p $(@D)
	$(call do,CC,$<)$(CC) -DFLAT -c -o $@.o $<
	@$(BM_LD) -nostdlib --oformat binary -Ttext 0 -e 0 -o $@ $@.o

-include $(wildcard $(BM_OUT)/*.d $(BM_OUT)/lib/*.d)

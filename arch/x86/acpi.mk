# SPDX-License-Identifier: BSD-2-Clause
# The DSDT: preprocessed, compiled by iasl, and put into the program by dsdt_aml.S. To be included; uses BUILD and CC.

IASL ?= iasl
DSDT_AML := $(BUILD)/arch/x86/dsdt.aml

# -we: warnings are errors; -vw 2158: let Offset() stand where it says what is so anyway.
$(DSDT_AML): arch/x86/dsdt.asl arch/x86/layout.h arch/x86/acpi_params.h arch/x86/acpi.mk | $(TOOLCHAIN)
	@mkdir -p $(@D)
	$(call do,IASL,$<)$(CC) -E -P -x assembler-with-cpp -I. $< -o $(@:.aml=.i.asl)
	@$(IASL) -vs -vi -we -vw 2158 -p $@ $(@:.aml=.i.asl) >$(@:.aml=.said) 2>&1 || { cat $(@:.aml=.said); false; }

$(BUILD)/arch/x86/dsdt_aml.o: arch/x86/dsdt_aml.S $(DSDT_AML)
	$(call do,AS,$<)$(CC) -DDSDT_AML='"$(DSDT_AML)"' -c $< -o $@

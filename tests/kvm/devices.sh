# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# What the guest sees: buses, interrupts, clocks, tables; with both kinds of interrupt controller.

for chip in split kernel; do
	guest "devices: buses ($chip)" 0 bus.elf ' 0 failed' --irqchip $chip
	guest "devices: ACPI tables ($chip)" 0 acpi-tables.elf 'table DSDT' --irqchip $chip -c 3 -p cpus=3
	guest "devices: CPUID, MSRs, timer ($chip)" 0 cpu.elf ' 0 failed' --irqchip $chip
	guest "devices: UART ($chip)" 0 serial-irq.elf ' 0 failed' --irqchip $chip
	guest "devices: RTC ($chip)" 0 rtc.elf ' 0 failed' --irqchip $chip -p "now=$(date +%s)"
	guest "devices: PCI, MSI-X, INTx ($chip)" 0 pci.elf ' 0 failed' --irqchip $chip --test-device
	for c in 1 2 4; do
		guest "devices: $c processors ($chip)" 0 smp.elf "^$c processors" --irqchip $chip -c $c -p cpus=$c
	done
done
guest "devices: PCI with memory above 4 GiB" 0 pci.elf ' 0 failed' --test-device -m 5G
guest "devices: 300 processors" 0 smp.elf '^300 processors, last APIC id 299, x2apic' -c 300 -p cpus=300
refused "devices: 300 processors with KVM's own I/O APIC" '--irqchip split' \
	"$trivm" run -k "$guests/smp.elf" -c 300 --irqchip kernel
guest "devices: topology of 4 processors" 0 cpu.elf ' 0 failed' -c 4 -p cpus=4
guest "devices: code at CPL3" 0 user.elf ' 0 failed'

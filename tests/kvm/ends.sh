# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# Every way in which a guest can end, and the status that trivm gives for it.

guest "ends: power off" 0 end.elf 'ending by poweroff' -p how=poweroff
guest "ends: power off with a status" 33 end.elf 'ending by poweroff' -p "how=poweroff status=33"
guest "ends: power off with status 255" 255 end.elf '' -p "how=poweroff status=255"
guest "ends: ACPI reset" 121 end.elf '' -p "how=reset status=33"
guest "ends: reset by the keyboard controller" 121 end.elf '' -p "how=keyboard status=33"
guest "ends: reset by port 0xcf9" 121 end.elf '' -p "how=cf9 status=33"
for chip in split kernel; do
	guest "ends: INIT to the first processor, by itself ($chip)" 121 end.elf '' -p how=init --irqchip $chip
	guest "ends: INIT to the first processor, by another ($chip)" 121 end.elf '' -c 2 -p how=init-by-other --irqchip $chip
done
guest "ends: one byte, then reset" 121 byte-reset.elf '^A'
guest "ends: panic" 122 end.elf 'panicked' -p how=panic
guest "ends: triple fault" 122 end.elf 'triple fault' -p how=triple
guest "ends: triple fault shows registers" 122 end.elf 'rip [0-9a-f]{16}' -p how=triple

# Where KVM only emulates CPL0 it says that it cannot; on other hosts the processor just does it.
run_limited "$trivm" run -k "$guests/emulfail.elf"
if [ "$status" -eq 0 ]; then
	judge "ends: popcnt (this host's KVM runs it)" 0 'popcnt works: 8'
else
	judge "ends: an instruction that KVM does not emulate" 122 'rax feedc0de12345678' \
		'instruction bytes: f3 48 0f b8' 'rip [0-9a-f]{16}'
fi
guest "ends: a jump to where nothing is" 122 end.elf 'crashed' -p how=wild-jump

# Reset and boot again.
terminal "ends: --on-reset reboot" expect ready send 'one\r' expect 'echo: one' send 'reset\r' \
	expect ready send 'two\r' expect 'echo: two' send 'quit\r' status 9 -- \
	--on-reset reboot -k "$guests/serial-echo.elf" -p status=9

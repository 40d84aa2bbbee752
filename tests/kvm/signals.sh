# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# SIGTERM is the power button; the second one is not.

for chip in split kernel; do
	signalled "signals: SIGTERM, guest polls ($chip)" 0 waiting TERM --irqchip $chip \
		-k "$guests/powerbutton.elf" -p mode=poll
	signalled "signals: SIGTERM, guest takes the interrupt ($chip)" 0 waiting TERM --irqchip $chip \
		-k "$guests/powerbutton.elf" -p mode=irq
done
signalled "signals: SIGINT is the button, too" 0 waiting INT -k "$guests/powerbutton.elf" -p mode=irq
signalled "signals: SIGHUP is the button, too" 0 waiting HUP -k "$guests/powerbutton.elf" -p mode=irq
signalled "signals: SIGTERM twice" 143 waiting "TERM TERM" -k "$guests/powerbutton.elf" -p mode=ignore
signalled "signals: SIGINT twice" 130 waiting "INT INT" -k "$guests/powerbutton.elf" -p mode=ignore
signalled "signals: SIGTERM twice, guest spins" 143 spinning "TERM TERM" -k "$guests/end.elf" -p how=spin
signalled "signals: SIGTERM twice, guest halted" 143 halting "TERM TERM" -k "$guests/end.elf" -p how=halt
signalled "signals: SIGTERM twice, 4 processors" 143 waiting "TERM TERM" -c 4 \
	-k "$guests/powerbutton.elf" -p mode=ignore

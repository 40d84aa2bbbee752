# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
#
# The lab's machine: sourced by lab/build, which boots it once to save its state, and by lab/run.
#
# Starting it from the saved state takes a fraction of the time of a boot. For that to work
# the two must describe the very same machine, hence this file; every device must be one that
# the emulator can save (its NVMe cannot, virtio can); and what differs from run to run must be
# read by the host after the state was saved: it waits for a word on ttyS3 before it reads
# the second disk.

lab_memory=4096 # MiB
lab_disk=8G     # size of the second disk, a sparse file: fixed, for the driver knows it already

# One processor. QEMU's emulation of SVM has faults that end guests and, more often with two
# processors, each emulated by a thread of its own (docs/qemu-svm.md). Two, by --qemu -smp --qemu 2,
# are for what cannot do without: processes that poll beside a guest.
lab_cpus=1
lab_accel="tcg,thread=multi"

# lab_emulator_key: what the fixed emulator is made from, but for the version of its source.
lab_emulator_key() {
	(
		cd "$top/lab/emulator"
		cat build devices.mak [0-9]*/*.patch
	) | sha256sum | cut -c1-16
}

# lab_fixed_emulator: the path of the one that lab/build --fixed-emulator made, of several the one
# of the newest source; fails where there is none.
lab_fixed_emulator() {
	local found
	found=$(printf '%s\n' "$top/build/cache/emulator/$(lab_emulator_key)"-*/qemu-system-x86_64 |
		sort -V | tail -n 1)
	[ -x "$found" ] && echo "$found"
}

# lab_choose_emulator WORD: sets lab_emulator, a path or command. WORD is "distribution", "fixed",
# or a path; empty: $LAB_EMULATOR, and without that the fixed one where it is built, else the
# distribution's. Fails, and says why on standard error, where there is no such emulator.
lab_choose_emulator() {
	local word=${1:-${LAB_EMULATOR:-}}
	case $word in
	"") lab_emulator=$(lab_fixed_emulator) || lab_emulator=qemu-system-x86_64 ;;
	distribution) lab_emulator=qemu-system-x86_64 ;;
	fixed)
		lab_emulator=$(lab_fixed_emulator) || {
			echo "lab: --emulator fixed: it is not built; lab/build --fixed-emulator builds it" >&2
			return 1
		}
		;;
	*/*) lab_emulator=$word ;;
	*)
		echo "lab: --emulator '$word': expected distribution, fixed, or a path" >&2
		return 1
		;;
	esac
	command -v "$lab_emulator" >/dev/null || {
		[ "$lab_emulator" = qemu-system-x86_64 ] &&
			echo "lab: qemu-system-x86_64 is missing; tools/deps run installs it" >&2 ||
			echo "lab: --emulator '$word': there is no such program" >&2
		return 1
	}
}

# lab_machine DIR RUN: sets the array "machine". DIR has the lab's image; RUN is the run's own
# folder, made by lab_run_dir, with the file "disk". The caller adds the accelerator, the memory,
# and the chardev "console".
lab_machine() {
	machine=(
		"$lab_emulator" -name trivm-lab
		-nodefaults -no-user-config -display none -no-reboot
		-cpu "EPYC,+svm,+npt" -smp "$lab_cpus"
		-kernel "$1/vmlinuz" -initrd "$1/initrd.img"
		-drive "file=$1/root.img,if=none,id=root,format=raw,snapshot=on"
		-device "virtio-blk-pci,drive=root,addr=3"
		-drive "file=$2/disk,if=none,id=work,format=raw"
		-device "virtio-blk-pci,drive=work,addr=4"
		-device "isa-serial,chardev=console,index=0"
		# Plain files: a port that writes to one never has to wait, so nothing is lost however
		# slow the reader is. Interrupts of their own: ports that share one lose events.
		-chardev "file,id=out,path=$2/out" -device "isa-serial,chardev=out,index=1"
		-chardev "file,id=err,path=$2/err" -device "isa-serial,chardev=err,index=2,irq=5"
		-chardev "pipe,id=words,path=$2/words" -device "isa-serial,chardev=words,index=3,irq=7"
		# The terminal of lab/run -t: unlike a serial port it has flow control.
		-device "virtio-serial-pci,max_ports=2,addr=5" -chardev "pipe,id=terminal,path=$2/terminal"
		-device "virtserialport,chardev=terminal,nr=1"
		-chardev "pipe,id=monitor,path=$2/monitor" -mon "chardev=monitor"
	)
	# An emulator that is not where it would be installed looks for its BIOS beside itself.
	case $lab_emulator in
	*/*) machine+=(-L /usr/share/qemu -L /usr/share/seabios) ;;
	esac
}

# The kernel's command line. No self-tests of ciphers and no mitigations: together they are a good
# part of the boot under emulation. No check of the timer, which on a busy machine comes
# late enough to look broken.
lab_append="console=ttyS0 quiet panic=-1 no_timer_check cryptomgr.notests mitigations=off"

# lab_errors FILE: what the emulator said, without its warnings about the CPU model.
lab_errors() { grep -v "TCG doesn't support requested feature" "$1" || true; }

# The monitor's command, before a state is saved or restored, to leave memory out of it that is a
# shared mapping of a file.
lab_ignore_shared="migrate_set_capability x-ignore-shared on"

# lab_run_dir RUN: what lab_machine expects in RUN, except for the disk's content.
lab_run_dir() {
	: >"$1/out"
	: >"$1/err"
	mkfifo "$1"/{words,terminal,monitor}.{in,out}
}

# lab_state_dir DIR: where in DIR, the image's folder, the state is that this emulator saved.
lab_state_dir() {
	case $lab_emulator in
	qemu-system-x86_64) echo "$1/state.distribution" ;;
	"$top"/build/cache/emulator/*) echo "$1/state.fixed" ;;
	*) echo "$1/state.$(sha256sum <<<"$lab_emulator" | cut -c1-16)" ;;
	esac
}

# A saved state belongs to one build of the emulator and to one description of the machine.
lab_state_stamp() {
	local machine
	lab_machine . .
	{
		stat -L -c '%n %s %Y' "$(command -v "$lab_emulator")"
		echo "$lab_memory $lab_disk $lab_append ${machine[*]}"
		cat "$1/stamp"
	} | sha256sum | cut -d' ' -f1
}

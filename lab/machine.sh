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

# One processor. With two, each emulated by a thread of its own, guests of several vCPUs now and
# then take the host's kernel down: after an exit from the guest it runs with the guest's GS base
# (seen with QEMU 7.2, one boot in four of a guest with two vCPUs; none in dozens with one
# processor).
lab_cpus=1
lab_accel="tcg,thread=multi"

# lab_machine DIR RUN: sets the array "machine". DIR has the lab's image; RUN is the run's own
# folder, made by lab_run_dir, with the file "disk". The caller adds the accelerator, the memory,
# and the chardev "console".
lab_machine() {
	machine=(
		qemu-system-x86_64 -name trivm-lab
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

# The saved state belongs to one version of the emulator and to one description of the machine.
lab_state_stamp() {
	local machine
	lab_machine . .
	{
		qemu-system-x86_64 --version
		echo "$lab_memory $lab_disk $lab_append ${machine[*]}"
		cat "$1/stamp"
	} | sha256sum | cut -d' ' -f1
}

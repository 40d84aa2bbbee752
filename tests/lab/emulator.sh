#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# On this host, not in the lab: which emulator lab/run takes (lab/machine.sh), and that each set of corrections has the
# same members. What the corrections mend is shown by `switching` with two processors.
set -u
cd "$(dirname "$0")/../.." || exit 1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0
is() { # NAME WANTED GOT
	if [ "$2" = "$3" ]; then
		passed=$((passed + 1))
		echo "ok   emulator: $1"
	else
		failed=$((failed + 1))
		echo "FAIL emulator: $1: expected '$2', got '$3'"
	fi
}

# A checkout of its own, in which no emulator is built, and a program of the distribution's name.
mkdir -p "$tmp/build/cache/emulator" "$tmp/bin"
cp -r lab "$tmp/lab"
printf '#!/bin/sh\n' >"$tmp/bin/qemu-system-x86_64"
chmod +x "$tmp/bin/qemu-system-x86_64"
choose() ( # [WORD]: the emulator and the folder of its state, or what was said
	top=$tmp PATH=$tmp/bin:$PATH
	. lab/machine.sh
	lab_choose_emulator "${1:-}" 2>&1 && echo "$lab_emulator $(lab_state_dir L)"
)
key() (top=$tmp && . lab/machine.sh && lab_emulator_key)
built() { # VERSION: as lab/build --fixed-emulator leaves it
	mkdir -p "$tmp/build/cache/emulator/$(key)-$1"
	cp "$tmp/bin/qemu-system-x86_64" "$tmp/build/cache/emulator/$(key)-$1/"
	echo "$tmp/build/cache/emulator/$(key)-$1/qemu-system-x86_64"
}
unset LAB_EMULATOR
distribution="qemu-system-x86_64 L/state.distribution"

is "the distribution's where no other is built" "$distribution" "$(choose)"
is "fixed, which is not built" "lab: --emulator fixed: it is not built; lab/build --fixed-emulator builds it" "$(choose fixed)"
is "a word that is none" "lab: --emulator 'nix': expected distribution, fixed, or a path" "$(choose nix)"
is "a path where no program is" "lab: --emulator '/none': there is no such program" "$(choose /none)"
old=$(built 9.0) new=$(built 10.0)
is "of two that are built the newer" "$new L/state.fixed" "$(choose)"
is "the distribution's by its word" "$distribution" "$(choose distribution)"
is "the distribution's by LAB_EMULATOR" "$distribution" "$(LAB_EMULATOR=distribution choose)"
is "an option before LAB_EMULATOR" "$new L/state.fixed" "$(LAB_EMULATOR=distribution choose fixed)"
a=$(choose "$tmp/bin/qemu-system-x86_64")
is "a path has a state of its own" yes "$([[ $a == "$tmp/bin/qemu-system-x86_64 L/state."* && $a != *state.[df]i* ]] && echo yes)"
echo "# changed" >>"$tmp/lab/emulator/devices.mak"
is "none that another recipe made" "$distribution" "$(choose)"
# Those that this machine has find their firmware: with none a machine of kind q35 does not start.
firmware() ( # WORD
	top=$PWD
	. lab/machine.sh
	lab_choose_emulator "$1" && lab_machine . . || return
	local options=() i
	for i in "${!machine[@]}"; do
		[ "${machine[$i]}" != -L ] || options+=(-L "${machine[$((i + 1))]}")
	done
	echo quit | timeout 60 "$lab_emulator" -nodefaults -display none -cpu EPYC -S \
		-machine q35 -monitor stdio "${options[@]}" 2>&1 >/dev/null | grep -v "TCG doesn't support"
	echo "status ${PIPESTATUS[1]}"
)
is "the distribution's finds its firmware" "status 0" "$(firmware distribution)"
if (top=$PWD && . lab/machine.sh && lab_fixed_emulator >/dev/null); then
	is "the fixed one finds its firmware" "status 0" "$(firmware fixed)"
else
	echo "skip emulator: the fixed one finds its firmware: it is not built (lab/build --fixed-emulator)"
fi
for set in lab/emulator/[0-9]*; do
	is "corrections for ${set##*/}" "$(cd lab/emulator/10.0 && ls)" "$(cd "$set" && ls)"
done
: "$old"
echo "COUNT $passed $failed"
[ $failed -eq 0 ]

#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: exercises.sh FOLDER [NN...]: the exercises in FOLDER (lab/exercises, with its programs built), or those whose
# names begin so. Each one's check fails before anything was done, and says why; the model solution runs; then it passes;
# and it does not pass with answers that are only numbers.
set -u
here=$(dirname "$0")
. "$here/lib.sh"
folder=$(cd "$1" && pwd)
shift
PATH=$folder/bin:$PATH

# What a learner left behind: guests, switches, back-ends, interfaces.
clean() {
	local name link pid
	for name in $(trivm list 2>/dev/null | awk 'NR > 1 {print $1}'); do
		trivm ctl --name "$name" quit >/dev/null 2>&1
	done
	for name in trivm trivm-switch back-end; do
		for pid in $(pgrep -x $name); do kill "$pid" 2>/dev/null; done
		for _ in $(seq 100); do
			pgrep -x $name >/dev/null || break
			sleep 0.1
		done
	done
	for link in br0 tap0 tap1 tap2 quiet0; do ip link del $link 2>/dev/null; done
	rm -f /tmp/*.sock /tmp/sw.stats
}

check_fails() { # WHEN
	if timeout 280 ./check >"$out" 2>&1; then
		fail "$name: check passes $1" "$out"
	elif ! grep -q '^missing: ' "$out"; then
		fail "$name: check does not say what is missing, $1" "$out"
	else
		pass "$name: check fails $1: $(grep -m 1 '^missing: ' "$out" | cut -c10-100)"
	fi
}

one() { # FOLDER OF ONE EXERCISE
	local name=${1##*/} out=$PWD/out.${1##*/} key
	cd "$1" || return
	echo "     $name at $SECONDS s"
	clean
	check_fails "with nothing done"
	if ! timeout 280 solution/run >"$out" 2>&1; then
		fail "$name: the model solution" "$out"
	elif sed 's/^/     | /' answers 2>/dev/null; timeout 280 ./check >"$out" 2>&1 && grep -qx pass "$out"; then
		pass "$name: check passes after the model solution"
	else
		fail "$name: check after the model solution" "$out"
	fi
	# The same state, but answers without thought.
	if [ -e answers ]; then
		sed -i 's/=.*/=1/' answers
		check_fails "with all answers 1"
	fi
	clean
}

work=$PWD
for number in "${@:-}"; do
	for exercise in "$folder/$number"*/check; do
		cd "$work" || exit 1
		one "${exercise%/check}"
	done
done
finish

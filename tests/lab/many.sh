#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Inside the lab: N boots in a row, none of which may hang or answer wrongly. many.sh N
set -u
here=$(dirname "$0")
. "$here/lib.sh"
n=${1:-3}
for i in $(seq "$n"); do
	cpus=$((i % 2 + 1))
	name="boot $i of $n (-c $cpus)"
	expect "$name" 42 out trivm run -c $cpus --exec 'echo "answer $(nproc)"; exit 42' || continue
	if [ "$(cat out)" = "answer $cpus" ]; then pass "$name"; else fail "$name" out; fi
done
finish

#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: docs.sh PAGE...: the commands of the teaching pages' sh blocks, beside the folder exercises, in the
# order in which a learner types them; each one succeeds. What a page only shows, with a $ in front, is not run.
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
top=$PWD

page() { # FILE
	local doc=$top/$1 blocks b status
	blocks=$(grep -c '^```sh' "$doc")
	[ "$blocks" -gt 0 ] || { fail "$1: no commands"; return; }
	for ((b = 1; b <= blocks; b++)); do
		awk -v n="$b" '/^```sh/ {k++; inside = 1; next} /^```/ {inside = 0} inside && k == n' "$doc" >"$top/block"
		: >"$top/bad"
		trap 'status=$?; echo "     status $status: $BASH_COMMAND" >>"$top/bad"' ERR
		. "$top/block" >"$top/out" 2>&1
		trap - ERR
		sed 's/^/     | /' "$top/out" | cut -c1-180
		if [ -s "$top/bad" ]; then fail "$1: block $b" "$top/bad"; else pass "$1: block $b"; fi
	done
	cd "$top" || exit 1
	for guest in $(trivm list | awk 'NR > 1 {print $1}'); do trivm ctl --name "$guest" quit >/dev/null; done
	for b in $(pgrep -x trivm-switch); do kill "$b"; done
	while pgrep -x trivm >/dev/null || pgrep -x trivm-switch >/dev/null; do sleep 0.1; done
	for b in br0 tap0 tap1 tap2 quiet0; do ip link del $b 2>/dev/null; done
}

for doc; do page "$doc"; done
finish

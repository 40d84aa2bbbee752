#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: the commands of docs/switching.md (put beside this: switching-doc.sh DOC), one block after the other,
# as a learner types them.
set -u
here=$(dirname "$0")
. "$here/lib.sh"
doc=$1

# Block N of the page; "guest" and "refused" are marked by a word behind the fence.
block() { # N
	awk -v n="$1" '/^```sh/ {k++; inside = 1; next} /^```/ {inside = 0} inside && k == n' "$doc"
}
kind() { awk -v n="$1" '/^```sh/ && ++k == n {print $2}' "$doc"; }
blocks=$(grep -c '^```sh' "$doc")

for ((b = 1; b <= blocks; b++)); do
	block $b >block
	echo "     block $b: $(head -n 1 block)"
	case $(kind $b) in
	guest)
		bash ./block >guest.out 2>&1 </dev/null &
		guest=$!
		for ((i = 0; i < 300; i++)); do grep -q 'seq=2 ' guest.out && break; sleep 0.2; done
		grep -q 'seq=2 ' guest.out && pass "the guest pings" || fail "the guest pings" guest.out
		;;
	refused)
		while read -r line; do
			if bash -c "$line" >out 2>&1; then fail "refused: $line" out; else pass "refused: $(tail -n 1 out)"; fi
		done <block
		;;
	*)
		# In this shell: it keeps variables and jobs. What is typed shall succeed, line by line.
		status=0
		trap 'status=$?; echo "     status $status: $BASH_COMMAND" >>bad' ERR
		: >bad
		. ./block >"out.$b" 2>&1
		trap - ERR
		sed 's/^/     | /' "out.$b" | cut -c1-150
		if [ -s bad ]; then fail "block $b" bad; else pass "block $b"; fi
		;;
	esac
	sleep 1
done
wait $guest
sed 's/^/     | /' guest.out | tail -n 100 | cut -c1-100
[ "$(grep -c '^64 bytes' guest.out)" -gt 15 ] && pass "pings all the way" || fail "pings all the way" guest.out
finish

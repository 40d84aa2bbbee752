# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# The host's storage does not answer (a file system in user space whose server is stopped): neither a vCPU that
# resets the disk nor the main loop waits for it, and trivm can be ended.

if [ ! -r /dev/fuse ] || [ ! -w /dev/fuse ]; then
	skip "stuck disk" "/dev/fuse cannot be opened"
elif ! unshare -rm true 2>/dev/null; then
	skip "stuck disk" "there are no user namespaces"
else
	build=$build tmp=$tmp trivm=$trivm guests=$guests unshare -rm tests/kvm/stuckrun >"$tmp/stuck" 2>&1
	grep -v '^COUNT ' "$tmp/stuck"
	if [[ $(tail -n 1 "$tmp/stuck") =~ ^COUNT\ ([0-9]+)\ ([0-9]+)$ ]]; then
		passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
	else
		fail "stuck disk" "no counts"
	fi
fi

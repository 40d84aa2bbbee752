# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# The host's storage does not answer (a file system in user space whose server is stopped): neither a vCPU that
# resets the disk nor the main loop waits for it, and trivm can be ended. The same with a capture to a FIFO whose
# reader sleeps.

export XDG_RUNTIME_DIR=$tmp/runtime
mkdir -p "$XDG_RUNTIME_DIR" && chmod 700 "$XDG_RUNTIME_DIR"

stuck_capture() {
	local name="stuck capture: control answers, and two SIGTERMs end it" reader pid
	rm -f "$tmp/fifo"
	mkfifo "$tmp/fifo"
	sleep 300 <"$tmp/fifo" &
	reader=$!
	"$trivm" run --name stuck -m 128M -k "$guests/net.elf" -p "mode=tx ticks=900000000000" \
		--net "user,id=net0,pcap=$tmp/fifo" >"$tmp/out" 2>"$tmp/err" </dev/null &
	pid=$!
	if ! wait_line "$tmp/err" 'pcap=.*frames are missing'; then
		fail "$name" "the FIFO was never full"
	elif ! timeout -s KILL 30 "$trivm" ctl stuck net net0 link down >"$tmp/ctl" 2>&1; then
		fail "$name" "ctl: $(head -c 300 "$tmp/ctl")"
	fi
	# Two that come at once are one for the kernel.
	for _ in {1..100}; do
		kill -TERM $pid 2>/dev/null || break
		sleep 0.2
	done
	wait_pid $pid
	judge "$name" 143 'its end is not written' '[0-9]+ frames are missing in it'
	kill $reader
}
stuck_capture

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

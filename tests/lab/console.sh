#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: hvc0 (--console) over both transports: output, input, a shell on it, a reader that is
# slow and one that is not there.
set -u
here=$(dirname "$0")
. "$here/lib.sh"
head -c 200000 /dev/urandom | base64 >text
sum=$(md5sum <text)

# Both ways over a socket: the guest asks, takes as many bytes as there are, and sends them back. The
# terminal's settings are gone when the last one closes it.
one() { # TRANSPORT
	local name="console: $1, socket" out=console-$1 rc
	rm -f sock back
	socat UNIX-LISTEN:sock 'SYSTEM:head -n 1 >asked; cat text; cat >back' &
	until [ -S sock ]; do sleep 0.1; done
	expect "$name" 0 "$out" trivm run -m 256M --console "socket:sock,transport=$1" --exec "
		exec 3<>/dev/hvc0
		stty raw -echo <&3
		echo GO >&3
		timeout 60 head -c $(wc -c <text) <&3 >got
		echo \"MD5 \$(md5sum <got)\"
		cat got >&3
		dmesg -r | sed -n 's/^<[0-3]>//p' | grep -iE 'virtio|hvc' | sed 's/^/COMPLAINT /'"
	rc=$?
	[ $rc = 0 ] || kill $(jobs -p) 2>/dev/null
	wait
	[ $rc = 0 ] || return
	grep -qxF "MD5 $sum" "$out" || { fail "$name: to the guest" "$out"; return; }
	cmp -s text back || { fail "$name: from the guest: $(cmp text back 2>&1)"; return; }
	if grep -q '^COMPLAINT' "$out"; then fail "$name: complaints in dmesg" "$out"; else pass "$name"; fi
}

to_file() {
	local name="console: file, and the kernel's own messages"
	if expect "$name" 0 file-out trivm run -m 256M --console file:log -p "console=hvc0" --exec \
		'echo from-the-guest >/dev/hvc0; echo "<3>from-the-kernel" >/dev/kmsg; sleep 1'; then
		if grep -q from-the-guest log && grep -q from-the-kernel log; then pass "$name"; else
			fail "$name" log
		fi
	fi
}

# A shell on the terminal that trivm makes; and output that nobody reads ends in no time.
on_pty() {
	local name="console: pty, a shell" pid tty n reader
	trivm run -m 256M --console --exec '
		echo READY >/dev/hvc0
		setsid sh -i </dev/hvc0 >/dev/hvc0 2>&1
		dd if=/dev/zero bs=1024 count=400 2>/dev/null | tr "\0" x >/dev/hvc0
		echo PRINTED' >pty-out 2>&1 &
	pid=$!
	until tty=$(sed -n 's/.*hvc0 is at //p' pty-out) && [ -n "$tty" ]; do sleep 0.1; done
	exec 4<>"$tty"
	cat <&4 >typed &
	reader=$!
	# Until its prompt: what is typed before is thrown away when it sets up the terminal.
	for n in $(seq 900); do grep -qs '~ #' typed && break; sleep 0.1; done
	echo 'echo $((6 * 7))-answer' >&4
	for n in $(seq 300); do grep -qs 42-answer typed && break; sleep 0.1; done
	kill $reader
	echo exit >&4
	exec 4>&-
	for n in $(seq 600); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
	if kill -9 $pid 2>/dev/null; then fail "$name: the guest did not end" pty-out; return; fi
	wait
	if ! grep -q 42-answer typed; then
		fail "$name: no answer" typed
	elif ! grep -qx PRINTED pty-out; then
		fail "$name: output without a reader" pty-out
	else
		pass "$name"
	fi
}

one pci
one mmio
to_file
on_pty
finish

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

# Both ways over a socket: the guest copies what comes, up to its end mark, and sends it back.
one() { # TRANSPORT
	local name="console: $1, socket" out=console-$1 rc
	rm -f sock back
	# The other side: sends the text, keeps what comes.
	socat UNIX-LISTEN:sock 'SYSTEM:cat text; echo END; cat >back' &
	until [ -S sock ]; do sleep 0.1; done
	expect "$name" 0 "$out" trivm run -m 256M --console "socket:sock,transport=$1" --exec '
		stty -F /dev/hvc0 raw -echo
		exec 3<>/dev/hvc0
		while read -r line <&3 && [ "$line" != END ]; do echo "$line"; done >got
		echo "MD5 $(md5sum <got)"
		cat got >&3
		dmesg -r | sed -n "s/^<[0-3]>//p" | grep -iE "virtio|hvc" | sed "s/^/COMPLAINT /"'
	rc=$?
	wait
	[ $rc = 0 ] || return
	grep -qxF "MD5 $sum" "$out" || { fail "$name: to the guest" "$out"; return; }
	cmp -s text back || { fail "$name: from the guest: $(cmp text back 2>&1)"; return; }
	if grep -q '^COMPLAINT' "$out"; then fail "$name: complaints in dmesg" "$out"; else pass "$name"; fi
}

to_file() {
	local name="console: file, and the kernel's own messages"
	if expect "$name" 0 file-out trivm run -m 256M --console file:log -p "console=hvc0" --exec \
		'echo from-the-guest >/dev/hvc0; echo from-the-kernel >/dev/kmsg; sleep 1'; then
		if grep -q from-the-guest log && grep -q from-the-kernel log; then pass "$name"; else
			fail "$name" log
		fi
	fi
}

# A shell on the terminal that trivm makes; and output that nobody reads ends in no time.
on_pty() {
	local name="console: pty, a shell" pid tty n
	trivm run -m 256M --console --exec '
		(while :; do setsid sh </dev/hvc0 >/dev/hvc0 2>&1; done) &
		while [ ! -e /done ]; do sleep 0.2; done
		kill $!
		dd if=/dev/zero bs=1024 count=400 2>/dev/null | tr "\0" x >/dev/hvc0
		echo PRINTED' >pty-out 2>&1 &
	pid=$!
	until tty=$(sed -n 's/.*hvc0 is at //p' pty-out) && [ -n "$tty" ]; do sleep 0.1; done
	(
		sleep 12
		printf 'echo $((6 * 7))-answer\n'
		sleep 3
		printf 'touch /done\n'
		sleep 1
	) | socat -t 3 - "$tty,rawer" >typed &
	for n in $(seq 600); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
	if kill -9 $pid 2>/dev/null; then fail "$name: the guest did not end" pty-out; return; fi
	wait
	if ! grep -q 42-answer typed; then
		fail "$name: no answer" typed
	elif ! grep -q PRINTED pty-out; then
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

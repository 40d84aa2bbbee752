# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154,SC2016
# On a terminal: keys, and that it is as before afterwards, whatever the way out (each `status` checks it).

echo_guest=(-k "$guests/serial-echo.elf")
button=(-k "$guests/powerbutton.elf" -p)

terminal "terminal: typing, then power off" expect ready raw send 'hello\r' expect 'echo: hello' \
	send 'quit\r' status 0 -- "${echo_guest[@]}"
terminal "terminal: Ctrl-A x quits" expect ready send '\x01x' status 123 -- "${echo_guest[@]}"
terminal "terminal: Ctrl-A x quits a guest that spins" expect spinning send '\x01x' status 123 -- \
	-k "$guests/end.elf" -p how=spin
terminal "terminal: Ctrl-A h lists the keys" expect ready send '\x01h' expect 'Ctrl-A x' send 'x\r' \
	expect 'echo: x' send 'quit\r' status 0 -- "${echo_guest[@]}"
terminal "terminal: Ctrl-A b sends a break" expect ready send '\x01b' pause 200 send 'break?\r' \
	expect 'breaks: 1' send 'quit\r' status 0 -- "${echo_guest[@]}"
terminal "terminal: Ctrl-A Ctrl-A types one Ctrl-A" expect ready send 'a\x01\x01b\r' expect 'echo: a\x01b' \
	send 'quit\r' status 0 -- "${echo_guest[@]}"
# 30000 bytes at once: the guest adds them up.
digits=$(printf '0123456789%.0s' {1..3000})
want=$(awk 'BEGIN { for (i = 0; i < 30000; i++) s = (s * 31 + 48 + i % 10) % 4294967296; printf "%08x", s }')
printf 'sum 30000\r%squit\r' "$digits" >"$tmp/paste"
terminal "terminal: what is pasted arrives whole" expect ready raw paste "$tmp/paste" \
	expect "sum of 30000 bytes: $want" status 0 -- "${echo_guest[@]}"
# More than is kept for a guest that takes nothing: the keys still work.
head -c 2000000 /dev/zero | tr '\0' z >"$tmp/paste"
terminal "terminal: Ctrl-A x after 2 MB pasted into a guest that spins" expect spinning raw paste "$tmp/paste" \
	expect 'the guest does not take it' send '\x01x' status 123 -- -k "$guests/end.elf" -p how=spin
"$trivm" run --daemonize --name stuck-$$ -k "$guests/end.elf" -p how=spin >"$tmp/out" 2>"$tmp/err"
converse "terminal: trivm console, Ctrl-A x after 2 MB pasted into a guest that spins" expect detaches raw \
	paste "$tmp/paste" send '\x01x' expect detached status 0 -- "$trivm" console stuck-$$
"$trivm" ctl stuck-$$ quit >"$tmp/out" 2>"$tmp/err"
terminal "terminal: Ctrl-C goes to the guest" expect ready raw send 'a\x03b\r' expect 'echo: a\x03b' \
	send 'quit\r' status 0 -- "${echo_guest[@]}"
terminal "terminal: restored after SIGTERM" expect waiting raw signal TERM status 0 -- "${button[@]}" mode=irq
terminal "terminal: restored after two SIGTERM" expect waiting raw signal TERM expect 'power button' \
	signal TERM status 143 -- "${button[@]}" mode=ignore
terminal "terminal: restored after SIGQUIT" expect waiting raw signal QUIT status 259 -- "${button[@]}" mode=irq
terminal "terminal: restored after SIGABRT" expect waiting raw signal ABRT status 262 -- "${button[@]}" mode=irq
terminal "terminal: restored while stopped" expect ready raw signal TSTP cooked signal CONT raw \
	send 'on\r' expect 'echo: on' send 'quit\r' status 0 -- "${echo_guest[@]}"
terminal "terminal: restored after a reset" expect ending status 121 -- -k "$guests/end.elf" -p how=reset
terminal "terminal: restored after a triple fault" expect 'triple fault' status 122 -- \
	-k "$guests/end.elf" -p how=triple
terminal "terminal: restored after a panic" expect panic status 122 -- -k "$guests/end.elf" -p how=panic
terminal "terminal: untouched by bad usage" expect 'trivm: ' status 2 -- "${echo_guest[@]}" -m 0
terminal "terminal: untouched by a kernel that is refused" expect 'trivm: ' status 2 -- -k /dev/null
terminal "terminal: its end is a SIGHUP, the power button" expect waiting raw hangup status 0 -- "${button[@]}" mode=irq

# Job control, by a real shell: raw exactly while trivm is in the foreground, never stopped for being in the background.
job() { # NAME STEP...: the shell's prompt has come; ends the shell
	local name=$1
	shift
	rm -f "$tmp/job.pid"
	converse "$name" expect 'sh> ' "$@" cooked send 'exit 7\r' status 7 -- \
		env PS1='sh> ' bash --noediting --norc --noprofile -i
}
start="$trivm run --pid-file $tmp/job.pid -k $guests/serial-echo.elf"
job "terminal: a background job is brought to the foreground" send "$start &\r" expect ready cooked \
	send 'jobs\r' expect Running send 'fg\r' raw send 'a\x03b\r' expect 'echo: a\x03b' send 'quit\r' expect 'sh> '
job "terminal: stopped, then in the foreground" send "$start\r" expect ready raw \
	run "kill -TSTP \$(cat $tmp/job.pid)" cooked expect Stopped send 'fg\r' raw send 'on\r' expect 'echo: on' \
	send 'quit\r' expect 'sh> '
job "terminal: stopped, in the background, in the foreground" send "$start\r" expect ready raw \
	run "kill -TSTP \$(cat $tmp/job.pid)" cooked expect Stopped send 'bg\r' expect ' &' \
	send 'echo $((6*7))1\r' expect 421 send 'jobs\r' expect Running cooked send 'fg\r' raw \
	send 'on\r' expect 'echo: on' send 'quit\r' expect 'sh> '
job "terminal: stopped by SIGSTOP, then in the foreground" send "$start\r" expect ready raw \
	run "kill -STOP \$(cat $tmp/job.pid)" expect Stopped cooked send 'fg\r' raw send 'on\r' expect 'echo: on' \
	send 'quit\r' expect 'sh> '
job "terminal: ends in the background" send "$start &\r" expect ready run "while kill -TERM \$(cat $tmp/job.pid); do sleep 0.1; done 2>/dev/null" \
	send 'wait $!; echo status=$?\r' expect 'status=143'
job "terminal: trivm console in the background and back" \
	send "$trivm run --daemonize --name job-$$ -k $guests/serial-echo.elf\r" expect 'sh> ' \
	send "$trivm console job-$$ &\r" expect 'detaches' cooked send 'jobs\r' expect Running send 'fg\r' raw \
	send 'on\r' expect 'echo: on' send 'quit\r' expect 'ended' expect 'sh> '

# A NIC whose vhost-user back-end is waited for: the terminal is not raw yet, so Ctrl-C ends trivm.
terminal "terminal: Ctrl-C while trivm waits for a back-end" expect 'waiting for a vhost-user back-end' cooked \
	send '\x03' status 130 -- "${echo_guest[@]}" -m 128M \
	--net "datapath=vhost-user,socket=$tmp/absent.sock,wait=on"

# The default guest asks the terminal for its size only where one can answer: then its command line says so. A
# guest that prints its command line is in the default one's place.
mkdir -p "$tmp/default"
cp "$guests/hello.elf" "$tmp/default/vmlinuz"
head -c 512 /dev/zero | tr '\0' z >"$tmp/default/initrd.img"
default=(env TRIVM_GUEST="$tmp/default" "$trivm" run -p initrd=z)
base='cmdline: console=ttyS0 panic=-1'
converse "terminal: the default guest's command line says that a terminal is there, before -p" \
	expect "$base trivm.tty initrd=z\r" status 0 -- "${default[@]}"
converse "terminal: a dumb terminal is not asked" expect "$base initrd=z\r" status 0 -- env TERM=dumb "${default[@]}"
converse "terminal: standard output in a pipe is not asked" expect "$base initrd=z\r" status 0 -- \
	bash -c 'set -o pipefail; "$@" | cat' bash "${default[@]}"
converse "terminal: standard input from a file, the terminal is not asked" expect "$base initrd=z\r" status 0 -- \
	bash -c '"$@" </dev/null' bash "${default[@]}"
converse "terminal: in the background the terminal is not asked" expect "$base initrd=z\r" status 0 -- \
	bash -c 'set -m; "$@" & wait $!' bash "${default[@]}"
terminal "terminal: another kernel's command line is its own" expect 'cmdline: a b\r' status 0 -- \
	-k "$guests/hello.elf" -p 'a b'

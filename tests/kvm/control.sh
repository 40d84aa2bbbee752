# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# The control socket and its clients, daemons and their consoles, with guests that run.

export XDG_RUNTIME_DIR=$tmp/runtime
mkdir -p "$XDG_RUNTIME_DIR" && chmod 700 "$XDG_RUNTIME_DIR"
sockets=$XDG_RUNTIME_DIR/trivm

# A guest in the background by the name NAME: NAME TRIVM-OPTION...; its process in $daemon
daemon_start() {
	local name=$1
	shift
	run_limited "$trivm" run --daemonize --name "$name" --pid-file "$tmp/$name.pid" "$@"
	daemon=$(cat "$tmp/$name.pid" 2>/dev/null)
	[ "$status" -eq 0 ] && [ -n "$daemon" ] && kill -0 "$daemon" 2>/dev/null
}

# Wait until process PID has ended (it is not our child), at most 30 s.
daemon_gone() {
	local i
	for ((i = 0; i < 600; i++)); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.05
	done
	kill -KILL "$1"
	return 1
}

# Attach to the console of VM NAME: what it prints goes to $tmp/console, what is written to fd 7 is typed.
attach() {
	rm -f "$tmp/keys" && mkfifo "$tmp/keys"
	: >"$tmp/console"
	"$trivm" console "$1" <"$tmp/keys" >"$tmp/console" 2>"$tmp/err" &
	console=$!
	exec 7>"$tmp/keys"
}

detach() {
	exec 7>&-
	kill $console 2>/dev/null
	wait $console 2>/dev/null
}

ctl() { # NAME STATUS REGEX WORD...: one `trivm ctl` that ends with STATUS and says what matches
	local name=$1 want=$2 regex=$3
	shift 3
	run_limited "$trivm" ctl "$@"
	judge "$name" "$want" "$regex"
}

if ! daemon_start one -k "$guests/serial-echo.elf" --net none,id=lan --rng; then
	fail "control: a guest in the background" "status $status, process '$daemon'"
	return
fi
pass "control: a guest in the background"

ctl "control: status" 0 'state +running' status
ctl "control: status as JSON" 0 '^\{"name":"one",.*"state":"running"' --json one status
run_limited "$trivm" list
judge "control: list" 0 "^one +$daemon +running"
ctl "control: a name alone" 2 'one: is a virtual machine; what is it to do' one
ctl "control: an id that there is not" 1 'net9: there is no such network card; .trivm ctl NAME net. ' net net9 link up
ctl "control: devices" 0 '^lan +net +pci 00:' devices
ctl "control: network cards" 0 'link +up|^lan .* up ' net
ctl "control: a cable pulled" 0 'link +down' one net lan link down
ctl "control: it stays out" 0 'link +down|^lan .* down ' net lan
ctl "control: counters" 0 'drop_link' net lan stats
ctl "control: rings of a card without a driver" 0 '^state +off|^0 +off' net lan rings
ctl "control: KVM's counts and threads" 0 '^  exits +[1-9]' stats
found_all "control: the threads have names" ' vcpu0 +vcpu +[0-9]+' && pass "control: the threads have names"
ctl "control: unknown card" 1 'nope' net nope link up
ctl "control: unknown method" 1 'no such method' call nope
ctl "control: wrong parameters" 1 'parameter id' call net.link '{"up":true}'
ctl "control: parameters that are not JSON" 2 'not a JSON object' call net.link '{'
ctl "control: words that mean nothing" 2 'ctl --help' one frobnicate now
ctl "control: a VM that does not run" 1 'two.sock' two status
refused "control: a name that is taken" 'one.sock.*another running VM' "$trivm" run --name one -k "$guests/hello.elf"

# Pausing: the guest prints nothing while it is paused, and everything afterwards.
attach one
ctl "control: pause" 0 'paused' pause
printf 'hello\n' >&7
ctl "control: paused" 0 'state +paused' status
kill -USR1 "$daemon" # the registers are shown, and the guest stays paused
wait_line "$sockets/one.log" 'rip'
ctl "control: a dump leaves it paused" 0 'state +paused' status
if grep -q 'echo: hello' "$tmp/console"; then
	fail "control: a paused guest does nothing" "it answered"
else
	pass "control: a paused guest does nothing"
fi
ctl "control: resume" 0 'running' resume
if wait_line "$tmp/console" 'echo: hello'; then
	pass "control: it goes on where it was"
else
	fail "control: it goes on where it was" "no answer on its console within 30 s"
fi
detach

# Events
"$trivm" ctl one events >"$tmp/events" 2>&1 &
events=$!
# Until it is subscribed, what happens is not told.
for ((i = 0; i < 200; i++)); do
	for way in up down; do
		"$trivm" ctl one net lan link $way >"$tmp/out" 2>"$tmp/err"
	done
	[ -s "$tmp/events" ] && break
	sleep 0.05
done
"$trivm" ctl one pause >"$tmp/out" && "$trivm" ctl one resume >"$tmp/out"
for what in 'link device=lan link=(up|down)' paused resumed; do
	if wait_line "$tmp/events" "$what"; then
		pass "control: event $what"
	else
		fail "control: event $what" "it was not told within 30 s"
	fi
done

# Terminal
: >"$tmp/err"
if timeout -s KILL 120 "$pty" -t 30 expect 'Ctrl-A x detaches' raw send 'again\r' expect 'echo: again' \
	send '\x01h' expect 'detach: the guest goes on' send '\x01b' pause 200 send 'break?\r' \
	expect 'breaks: 1' send '\x01x' expect detached status 0 -- "$trivm" console one >"$tmp/out" 2>"$tmp/err"; then
	pass "control: a console on a terminal, a break, detaching"
else
	fail "control: a console on a terminal, a break, detaching" "the conversation went otherwise"
fi
run_limited "$trivm" console two
judge "control: no such console" 1 'two: no VM'

# A thousand clients, most of them hostile. The console is served by the same loop.
rss() { sed -n 's/^VmHWM:[ \t]*\([0-9]*\) kB/\1/p' "/proc/$daemon/status"; }
before=$(rss)
"$build/tests/ctlflood" "$sockets/one.sock" 1000 5 >"$tmp/flood" 2>&1 &
flood=$!
sleep 1
attach one
for i in 1 2 3; do
	printf 'during %d\n' $i >&7
	sleep 0.5
done
if wait_line "$tmp/console" 'echo: during 3' && kill -0 $flood 2>/dev/null; then
	pass "control: a guest is served during a flood of clients"
else
	fail "control: a guest is served during a flood of clients" \
		"no answers on its console: $(tr '\n' ' ' <"$tmp/console")"
fi
detach
wait $flood
status=$?
cp "$tmp/flood" "$tmp/out"
judge "control: honest clients among a thousand are answered" 0 'honest answers, 0 wrong'
grown=$(($(rss) - before))
if [ "$grown" -lt 4096 ]; then # lines of 64 KiB from 32 clients are 2 MiB
	pass "control: the flood took $grown KiB"
else
	fail "control: memory is bounded" "it grew by $grown KiB"
fi
ctl "control: afterwards all is as before" 0 'state +running' status

# The ends
ctl "control: reset" 0 'ending' reset
for ((i = 0; i < 100; i++)); do
	"$trivm" ctl one status >"$tmp/out" 2>"$tmp/err"
	grep -q 'boots *2' "$tmp/out" && break
	sleep 0.05
done
judge "control: it has booted anew" 0 'boots +2'
ctl "control: quit" 0 'ending' quit
daemon_gone "$daemon" || fail "control: quit" "it did not end within 30 s"
wait_line "$tmp/events" 'started' && wait $events
status=$?
cp "$tmp/events" "$tmp/out"
judge "control: events end with the machine" 0 'started boots=2'
leftover=$(find "$sockets" ! -type d)
if [ "$leftover" = "$sockets/one.log" ] && [ ! -e "$tmp/one.pid" ]; then
	pass "control: nothing is left behind but the log"
else
	fail "control: nothing is left behind but the log" "$leftover"
fi

daemon_start two -k "$guests/powerbutton.elf" -p mode=irq
attach two
wait_line "$tmp/console" waiting
ctl "control: the power button" 0 'running' two powerdown
if daemon_gone "$daemon"; then
	pass "control: an orderly end"
else
	fail "control: an orderly end" "it did not end within 30 s"
fi
detach

# A crashed one is not listed, and its name is free.
daemon_start three -k "$guests/end.elf" -p how=spin && kill -KILL "$daemon" && daemon_gone "$daemon"
run_limited "$trivm" list
if [ "$status" -eq 0 ] && [ ! -s "$tmp/out" ] && [ ! -e "$sockets/three.sock" ]; then
	pass "control: a crashed one is not listed"
else
	fail "control: a crashed one is not listed" "it is, or its socket is still there"
fi
if daemon_start three -k "$guests/end.elf" -p how=triple; then
	daemon_gone "$daemon"
	cp "$sockets/three.log" "$tmp/out"
	status=0
	judge "control: the last words of a daemon are in its log" 0 'triple fault'
elif wait_line "$sockets/three.log" 'triple fault'; then # it was gone before we looked
	pass "control: the last words of a daemon are in its log"
else
	fail "control: the last words of a daemon are in its log" "they are not"
fi

# What keeps a daemon from running is said by the command.
refused "control: a daemon whose kernel is missing" 'nokernel' "$trivm" run --daemonize -k "$tmp/nokernel"
refused "control: a daemon whose /dev/kvm is missing" 'none' \
	"$trivm" run --daemonize -k "$guests/hello.elf" --kvm "$tmp/none"
refused "control: a pid file that cannot be written" '--pid-file' \
	"$trivm" run --daemonize --pid-file "$tmp/none/pid" -k "$guests/powerbutton.elf"
refused "control: a log that cannot be written" '--log-file' \
	"$trivm" run --log-file "$tmp/none/log" -k "$guests/hello.elf"
refused "control: --exec in the background" '--exec' "$trivm" run --daemonize --exec true
chmod 755 "$sockets"
refused "control: a directory that others can enter" 'mode 0700' "$trivm" run --name x -k "$guests/hello.elf"
run_limited "$trivm" run -k "$guests/hello.elf"
judge "control: without a name it runs all the same" 0 'no control socket.*mode 0700'
chmod 700 "$sockets"
guest "control: --control none" 0 hello.elf '' --control none

# Names that are not UTF-8: files are shown with U+FFFD, what a client has to send is refused.
latin=$(printf 'caf\351')
mkdir -p "$tmp/$latin"
cp "$guests/serial-echo.elf" "$tmp/$latin/guest.elf"
if daemon_start latin -k "$tmp/$latin/guest.elf" --net "socket:$tmp/$latin/s.sock,server,pcap=$tmp/$latin/x.pcap"; then
	ctl "control: status with a kernel's name in Latin-1" 0 'caf�/guest.elf' --json latin status
	ctl "control: a port's name in Latin-1" 0 'caf�/s.sock' --json latin net
	run_limited "$trivm" list
	judge "control: list with a kernel's name in Latin-1" 0 'latin .* running .*caf�/guest.elf'
	ctl "control: words that are not UTF-8" 2 'is not UTF-8' latin net net0 datapath "vmm,port=socket:$tmp/$latin/t"
	run_limited "$trivm" ctl latin net net0 datapath "vmm,port=tap:$(printf '\033')[2J"
	if grep -q "$(printf '\033')" "$tmp/err"; then
		fail "control: control characters do not reach the terminal" "they do"
	else
		judge "control: control characters do not reach the terminal" 1 '\?\[2J'
	fi
	"$trivm" ctl latin quit >/dev/null
	daemon_gone "$daemon"
else
	fail "control: a kernel's name in Latin-1" "status $status"
fi
refused "control: --name in Latin-1" '--name.*UTF-8' "$trivm" run --name "$latin" -k "$guests/hello.elf"
refused "control: id= in Latin-1" 'id=.*UTF-8' "$trivm" run --net "none,id=$latin" -k "$guests/hello.elf"
refused "control: a disk's id= in Latin-1" 'id=.*UTF-8' "$trivm" run --disk "$guests/hello.elf,id=$latin" -k "$guests/hello.elf"

leftover=$(find "$sockets" ! -name '*.log' ! -type d)
if [ -z "$leftover" ]; then
	pass "control: no socket is left"
else
	fail "control: no socket is left" "$leftover"
fi
unset XDG_RUNTIME_DIR

# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# A NIC whose vhost-user back-end (tests/kvm/vupeer.c) does what it must not: trivm answers its control socket,
# ends when it is asked to, and the packets go on with another datapath.

vupeer=$(realpath -m "$build/tests/vupeer")
export XDG_RUNTIME_DIR=$tmp/peers
mkdir -p "$XDG_RUNTIME_DIR" && chmod 700 "$XDG_RUNTIME_DIR"
peer_pid='' vm_pid=''

peer() { # WORD...: starts one, at $tmp/p.sock
	: >"$tmp/peer"
	"$vupeer" "$tmp/p.sock" "$@" >"$tmp/peer" 2>&1 </dev/null &
	peer_pid=$!
	wait_line "$tmp/peer" '^listening'
}

# With a file system of its own it cannot be killed before that answers.
peer_end() { kill -TERM $peer_pid 2>/dev/null; kill -CONT $peer_pid 2>/dev/null; wait $peer_pid 2>/dev/null; }

vm() { # NET-WORDS GUEST-WORDS: a guest with a driver, at the back-end
	: >"$tmp/console"
	"$trivm" run --name peers -m 128M -k "$guests/net.elf" --serial socket -p "ticks=60000000000 $2" \
		--net "datapath=vhost-user,socket=$tmp/p.sock,id=n,$1" >"$tmp/console" 2>&1 </dev/null &
	vm_pid=$!
}

ctl() { run_limited timeout -s KILL 10 "$trivm" ctl --name peers "$@"; }

vm_quit() { # NAME: it answers, and ends within 10 s
	local i
	"$trivm" ctl --name peers quit >"$tmp/out" 2>"$tmp/err" &
	for ((i = 0; i < 200; i++)); do
		kill -0 $vm_pid 2>/dev/null || break
		sleep 0.05
	done
	cat "$tmp/console" >>"$tmp/err"
	if kill -0 $vm_pid 2>/dev/null; then
		kill -KILL $vm_pid
		wait $vm_pid 2>/dev/null
		fail "$1" "trivm does not end within 10 s of 'quit'"
		return
	fi
	wait $vm_pid
	status=$?
	judge "$1" 123
}

# Eventfds are shared, O_NONBLOCK with them, and a count can be at its maximum.
for transport in pci mmio; do
	for what in block full; do
		name="peers: $transport: a back-end that makes eventfds blocking ($what)"
		peer $what
		vm "transport=$transport" "mode=idle transport=$transport"
		if ! wait_line "$tmp/peer" '^SET_VRING_KICK ring 1'; then
			fail "$name" "no ring was started"
		else
			ctl --json net n datapath vmm,port=none
			judge "$name: away" 0 '"rings": ?2'
			ctl net n datapath "vhost-user,socket=$tmp/p.sock"
			judge "$name: and back" 0 '^datapath +vhost-user'
		fi
		vm_quit "$name: quit"
		peer_end
	done
done
name="peers: exits and ioctls: eventfds that block"
peer full
vm "notify=exit,inject=ioctl" "mode=idle"
wait_line "$tmp/peer" '^SET_VRING_KICK ring 1'
vm_quit "$name: quit"
peer_end

# The memory is sealed.
name="peers: a back-end that cuts the guest's memory"
peer truncate
vm transport=pci "mode=idle"
wait_line "$tmp/peer" '^SET_VRING_ENABLE ring 1'
ctl net n rings
judge "$name: the rings can be looked at" 0 'ring'
if grep -q '^cut' "$tmp/peer"; then fail "$name" "it could"; fi
vm_quit "$name: quit"
peer_end
# A back-end that is stopped keeps its rings: no fallback, no other datapath, until it goes on, is killed, or the
# user gives the rings up.
nic_is() { # NAME REGEX [NOT-REGEX]: within 30 s
	local i
	for ((i = 0; i < 600; i++)); do
		"$trivm" ctl --name peers --json net n >"$tmp/out" 2>"$tmp/err"
		status=$?
		grep -Eq -- "$2" "$tmp/out" && { [ -z "${3:-}" ] || ! grep -Eq -- "$3" "$tmp/out"; } && break
		sleep 0.05
	done
	judge "$1" 0 "$2"
	[ -z "${3:-}" ] || ! grep -Eq -- "$3" "$tmp/out" || fail "$1" "$3"
}

stopped() { # NAME NET-WORDS: a guest runs, its back-end is stopped, and trivm has noticed
	peer
	vm "$2" "mode=idle"
	wait_line "$tmp/peer" '^SET_VRING_ENABLE ring 1'
	kill -STOP $peer_pid
	"$trivm" ctl --name peers net n link down >"$tmp/out" 2>&1 # something that it has to be asked for
	"$trivm" ctl --name peers net n link up >"$tmp/out" 2>&1
	nic_is "$1: its rings are held" "\"rings_held_by\": ?$peer_pid"
	grep -Eq '"link": ?"down"' "$tmp/out" || fail "$1" "the link is up"
	cp "$tmp/console" "$tmp/out"
	judge "$1: the user is told" 0 "error: n: .*process $peer_pid\\) does not answer.*kill -KILL $peer_pid"
}

name="peers: a stopped back-end"
stopped "$name" transport=pci,fallback=vmm,port=none
ctl net n datapath vmm,port=none
judge "$name: no other datapath" 1 'has not given the rings back: end it'
kill -CONT $peer_pid
nic_is "$name: it goes on: the NIC does" '"link": ?"up"' rings_held_by
vm_quit "$name: quit"
peer_end

name="peers: a stopped back-end that is killed"
stopped "$name" transport=mmio,fallback=vmm,port=none
kill -KILL $peer_pid; wait $peer_pid 2>/dev/null
nic_is "$name: the fallback has the rings" '"link": ?"up".*"datapath": ?"vmm"' rings_held_by
vm_quit "$name: quit"
peer_end

name="peers: a stopped back-end whose rings are given up"
stopped "$name" transport=pci
ctl net n reset
judge "$name: reset" 0 '^link +down'
ctl --json devices
judge "$name: its driver is told" 0 NEEDS_RESET
if "$trivm" ctl --name peers --json net n | grep -q rings_held_by; then fail "$name" "they are held"; fi
vm_quit "$name: quit"
peer_end

name="peers: quit with a stopped back-end"
stopped "$name" transport=pci
vm_quit "$name"
peer_end

# A descriptor of a file whose file system does not answer never becomes trivm's: nothing waits for it, not even the
# end of the process.
name="peers: a back-end that sends a file that does not answer"
mkdir -p "$tmp/fuse"
if peer fuse="$tmp/fuse"; then
	vm transport=pci "mode=idle"
	wait_line "$tmp/peer" '^SET_INFLIGHT_FD'
	ctl net n
	judge "$name: the NIC can be asked" 0 '^link +up'
	vm_quit "$name: quit"
	if grep -q '^fuse: operation' "$tmp/peer"; then
		cp "$tmp/peer" "$tmp/err"
		fail "$name" "trivm asked that file system something"
	fi
elif grep -qE 'unshare|/dev/fuse|mount' "$tmp/peer"; then
	skip "$name" "no FUSE here: $(tail -n 1 "$tmp/peer")"
fi
peer_end
unset XDG_RUNTIME_DIR

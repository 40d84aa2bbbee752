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

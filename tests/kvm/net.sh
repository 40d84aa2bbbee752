# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# The NIC with a bare-metal driver at CPL3, on both transports and with both ring formats: every frame that
# is sent to it comes back, over a Unix socket and, where one can be made, a tap; without event indexes and
# with the other ways of notification, too.

netpeer=$(realpath -m "$build/tests/netpeer")
frames=2000
ticks=60000000000 # of the TSC: no host's is as fast as to reach it in 10 s

echo_guest() { # NAME PORT 'NET-WORD,...' 'GUEST-WORD...'
	local name=$1 port=$2 where=tap words=$4
	[ "$port" = socket ] && where=socket:$tmp/net.sock
	[ "$port" = tap ] && port=tap:tap0 || port=$where
	rm -f "$tmp/net.sock"
	run_limited "$netpeer" "$where" $frames "$trivm" run -m 128M -k "$guests/net.elf" \
		--net "$port,$3" -p "mode=echo count=$((frames + 1)) ticks=$ticks $words"
	if [ "$status" -eq 77 ]; then
		skip "$name" "$(tail -n 1 "$tmp/out")"
		return
	fi
	judge "$name" 0 "^tx packets $((frames + 1)) " "^rx packets $((frames + 1)) " ' 0 failed'
}

for transport in pci mmio; do
	for ring in split packed; do
		for port in socket tap; do
			echo_guest "net: echo on $transport, $ring rings, $port" $port \
				transport=$transport,ring=$ring "transport=$transport ring=$ring"
		done
		echo_guest "net: echo on $transport, $ring rings, no event index" socket \
			transport=$transport,ring=$ring "transport=$transport ring=$ring event-idx=0"
	done
	echo_guest "net: echo on $transport, exits and ioctls" socket \
		transport=$transport,notify=exit,inject=ioctl "transport=$transport"
done
guest "net: segments of 64 KiB into nothing" 0 net.elf '^tx packets 3000 bytes 195642000 ' -m 256M --net none \
	-p "mode=tx size=65214 count=3000 ticks=$ticks"
guest "net: no NIC" 1 net.elf 'no NIC' -m 128M -p mode=tx

# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# What is counted, beside what a guest says that it did.

sockets=$tmp/counters
mkdir -m 700 "$sockets"

# A guest NAME that stays, until it has printed REGEX: NAME REGEX TRIVM-OPTION...
counted_start() {
	local name=$1 regex=$2
	shift 2
	: >"$tmp/$name.log"
	"$trivm" run --control "$sockets/$name" "$@" >"$tmp/$name.log" 2>&1 </dev/null &
	vm=$!
	wait_line "$tmp/$name.log" "$regex"
}

counted_end() { # NAME
	"$trivm" ctl --control "$sockets/$1" quit >/dev/null 2>&1
	wait_pid $vm
}

# The lines of a VM's counts that begin with one of KEYS ("a|b"), without blanks in front: NAME KEYS WORD...
counts() {
	local name=$1 keys=$2
	shift 2
	"$trivm" ctl --control "$sockets/$name" "$@" 2>"$tmp/err" | sed -nE "s/^ +(($keys) )/\1/p" | tr -s ' '
}

same() { # NAME WANT GOT
	if [ "$2" = "$3" ]; then
		pass "$1"
	else
		fail "$1" "$3, and the guest says $2"
	fi
}

# --- Exits. What a guest prints are exits as well: two guests differ by what one makes in addition. ---

exits() { # WORDS: the counts of a guest with them
	if ! counted_start exits 'made, 0 wrong' -k "$guests/exits.elf" -p "$1"; then
		cp "$tmp/exits.log" "$tmp/out"
		echo 0 0 0 0
		return
	fi
	counts exits 'user_[a-z_]+' stats | sed -nE 's/^user_(pio|mmio)_[a-z]+ //p' | paste -s -d ' '
	counted_end exits
}

read -r in0 out0 read0 write0 <<<"$(exits '')"
read -r in1 out1 read1 write1 <<<"$(exits 'out=1000 in=500 write=300 read=200')"
same "counters: exits by writes to ports" 1000 $((out1 - out0))
same "counters: exits by reads of ports" 500 $((in1 - in0))
same "counters: exits by writes to memory" 300 $((write1 - write0))
same "counters: exits by reads of memory" 200 $((read1 - read0))

# --- Kicks, on each way, as often as the driver made them; a driver that was reset and one that was not. ---

for transport in pci mmio; do
	for way in exit ioeventfd; do
		: >"$tmp/out"
		counted_start kicks 'stays, status 0' -m 128M -k "$guests/net.elf" --net \
			"none,id=n,transport=$transport,notify=$way" -p "transport=$transport mode=tx count=20000 ticks=$((1 << 37)) stay=1"
		said=$(sed -n 's/^kicks rx \([0-9]*\) tx \([0-9]*\).*/\1 \2/p' "$tmp/kicks.log" | tr -d '\r')
		other=$([ $way = exit ] && echo ioeventfd || echo exit)
		same "counters: kicks by $way on $transport" "kicks_$way $said" "$(counts kicks "kicks_$way" net n stats)"
		same "counters: none by $other on $transport" "kicks_$other 0 0" "$(counts kicks "kicks_$other" net n stats)"
		same "counters: what was sent into nothing, on $transport" 'drop_link 0 20000' "$(counts kicks drop_link net n stats)"
		counted_end kicks
	done
done

counted_start threads 'ready' -k "$guests/net.elf" --net none,id=n -p 'mode=idle' -c 2
# A thread has its creator's name until it runs for the first time.
for ((i = 0; i < 100; i++)); do
	roles=$("$trivm" ctl --control "$sockets/threads" stats |
		awk '$3 ~ /^(main|vcpu|datapath|vhost-worker|backend)$/ { print $3 }' | sort | paste -s -d ' ')
	[ "$roles" != 'datapath main vcpu vcpu' ] || break
	sleep 0.05
done
same "counters: threads have roles" 'datapath main vcpu vcpu' "$roles"
for what in '^# TYPE trivm_vcpu_user_exits_total counter$' '^trivm_vcpu_exits_total{vm="[^"]*",vcpu="1"} [0-9]+$' \
	'^trivm_queue_kicks_total{vm="[^"]*",nic="n",queue="0",direction="rx",way="ioeventfd"} 1$'; do
	run_limited "$trivm" ctl --control "$sockets/threads" stats --prometheus
	judge "counters: for Prometheus: $what" 0 "$what"
done
counted_end threads

# --- A back-end in another process: what it does is not known here, and it is no 0; but who it is, is. ---

"$(dirname "$trivm")/trivm-switch" --port "$sockets/sw" >"$tmp/switch.log" 2>&1 &
backend=$!
for ((i = 0; i < 200; i++)); do
	[ ! -S "$sockets/sw" ] || break
	sleep 0.05
done
counted_start user 'stays, status 0' -m 128M -k "$guests/net.elf" --net "datapath=vhost-user,socket=$sockets/sw,id=n" \
	-p "mode=tx count=1000 ticks=$((1 << 37)) stay=1"
for key in packets kicks_ioeventfd interrupts_irqfd; do
	same "counters: a back-end's $key" "$key - -" "$(counts user $key net n stats)"
done
same "counters: kicks by exit, to a back-end" 'kicks_exit 0 0' "$(counts user kicks_exit net n stats)"
# One line for each of its threads.
same "counters: the back-end's process" "$backend" \
	"$("$trivm" ctl --control "$sockets/user" stats | awk '$3 == "backend" { print $4 }' | sort -u)"
# Back on a thread of ours, all is to be seen again.
"$trivm" ctl --control "$sockets/user" net n datapath vmm,port=none >"$tmp/out" 2>"$tmp/err"
same "counters: kicks that are to be seen again" 'kicks_ioeventfd 0 0' "$(counts user kicks_ioeventfd net n stats)"
same "counters: no back-end" '' "$("$trivm" ctl --control "$sockets/user" stats | awk '$3 == "backend" { print $4 }')"
counted_end user
kill $backend
wait_pid $backend

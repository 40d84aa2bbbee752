# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# Sourced by switchrun: switches that cannot be. Each has to be refused in one line, with cause and remedy, and
# frames go on by the road that was there.

packets() { # that the datapath vmm has taken from the guest
	ctl net n stats | tr '{' '\n' | sed -n 's/.*"direction":"\(tx\|transmit\)".*"packets":\([0-9]*\).*/\2/p'
}

flows() {
	local before now i
	before=$(packets)
	for ((i = 0; i < 100; i++)); do
		now=$(packets)
		[ "${now:-0}" -gt "${before:-0}" ] && return
		sleep 0.05
	done
	return 1
}

refuse() { # NAME REGEX SPEC [ID]
	local answer before after
	before=$(ctl net n)
	if answer=$("$trivm" ctl --name g net "${4:-n}" datapath "$3" 2>&1); then
		echo "NOT REFUSED: $1: $answer"
		return
	fi
	after=$(ctl net n)
	if [ "$(wc -l <<<"$answer")" -ne 1 ] || ! grep -Eq -- "$2" <<<"$answer"; then
		echo "OTHERWISE: $1: $answer"
	elif [ "$before" != "$after" ]; then
		echo "CHANGED: $1: $before -> $after"
	elif [[ $after =~ \"datapath\":\ ?\"vmm\" ]] && ! flows; then
		echo "STUCK: $1: $answer"
	else
		echo "refused: $1: $answer"
	fi
}

refusals() { # which hold whatever road is there now
	refuse "no such id on $1" 'nope' vmm nope
	refuse "no such word on $1" 'bogus' vmm,bogus=1
	refuse "no such road on $1" 'vdpa' vdpa
	refuse "what cannot change on $1" 'ring=packed.*cannot change' vmm,ring=packed
	refuse "no socket on $1" "$tmp/none.sock: no vhost-user back-end.*start it" "vhost-user,socket=$tmp/none.sock"
	refuse "no socket named on $1" 'socket=' vhost-user
	refuse "a tap that is in use on $1" 'tap:tap1: another program has it open: end it' vmm,port=tap:tap1
	[ -z "$no_vhost_net" ] || refuse "no vhost-net on $1" "$no_vhost_net" vhost-net
}

to vmm
if [ ! -e /dev/vhost-net ]; then
	no_vhost_net='/dev/vhost-net.*modprobe'
elif [[ $words = *ring=packed* ]]; then
	no_vhost_net='split rings only'
else
	no_vhost_net=
fi
refusals vmm
# A socket has no offloads: a driver that was given them cannot be made to forget them.
case $words in
*size=*) refuse "a port without offloads" 'lacks what the guest.s driver uses: .*(CSUM|TSO).*: start the guest with offloads=off' "vmm,port=socket:$tmp/peer.sock,local=$tmp/l.sock" ;;
esac
# The back-end serves one connection; a second is not answered.
to "$vu"
refuse "a back-end that is taken" 'does not agree.*use another port' "$vu"
refusals vhost-user
to vmm

# Requests are served one after the other: one that comes while a switch runs is neither refused nor lost nor
# mixed into it. The first of these waits a second for a back-end that does not come. In what order the others
# come is not known: two that want the back-end may follow each other, and then it is taken.
together() {
	local i first pids=() answers
	"$trivm" ctl --name g net n datapath "vhost-user,socket=$tmp/none.sock" >"$tmp/first" 2>&1 &
	first=$!
	for ((i = 0; i < 8; i++)); do
		"$trivm" ctl --name g --json net n datapath "$([ $((i % 2)) = 0 ] && echo vmm || echo "$vu")" >"$tmp/answer$i" 2>&1 &
		pids+=($!)
	done
	for i in "${!pids[@]}"; do
		wait "${pids[$i]}" || grep -q 'does not agree' "$tmp/answer$i" ||
			{ echo "OTHERWISE: switches at once: $(cat "$tmp/answer$i")"; return; }
	done
	wait $first
	answers=$(cat "$tmp"/answer[0-7] | grep -c -e '"gap_us"' -e 'does not agree')
	grep -q 'no vhost-user back-end' "$tmp/first" || echo "NOT REFUSED: the first of many: $(cat "$tmp/first")"
	to vmm
	if [ "$answers" != 8 ]; then
		echo "OTHERWISE: switches at once: $answers of 8 answers"
	elif ! flows; then
		echo "STUCK: switches at once"
	else
		echo "refused: the first of nine switches at once; the others are made"
	fi
}
together
flows && echo "frames flow afterwards"

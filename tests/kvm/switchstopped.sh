# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# Sourced by switchrun: the switch is stopped in the middle of everything, as by a debugger. Its rings stay its own:
# no other datapath gets them, whatever the user asks for. When it goes on it gives them back, and all is as before.

card() { # REGEX: until the card is so, 30 s at most
	local i
	for ((i = 0; i < 600; i++)); do
		ctl net n | grep -Eq -- "$1" && return
		sleep 0.05
	done
	echo "the card is not so: $1: $(ctl net n)"
	return 1
}

to "$vu"
for round in 1 2 3; do
	kill -STOP $switch
	for attempt in 1 2; do
		if answer=$(ctl net n datapath vmm 2>&1); then
			echo "TAKEN AWAY: round $round, attempt $attempt: $answer"
		elif ! grep -q "process $switch.*kill -KILL $switch.*net n reset" <<<"$answer"; then
			echo "OTHERWISE: $answer"
		fi
	done
	card '"link": ?"down"' && card "\"rings_held_by\": ?$switch" && echo "held"
	kill -CONT $switch
	card '"link": ?"up"'
	ctl net n | grep -q rings_held_by && echo "STILL HELD"
	to vmm
	to "$vu"
done
echo "gone on"

# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# trivm-switch with a front-end (tests/kvm/switchfront.c) that does what it must not: two other ports go on
# reaching each other, and the switch ends when it is asked to. That they do is checked, not how fast: the figures
# are those of make bench-ports.

switch=$(dirname "$trivm")/trivm-switch
front=$(realpath -m "$build/tests/switchfront")
sw_pid='' bad_pid=''

ports_start() { # OPTION...: ports a, b, and x for the hostile one
	rm -f "$tmp"/port.*
	"$switch" --port "$tmp/port.a,id=a" --port "$tmp/port.b,id=b" --port "$tmp/port.x,id=x" --stats "$tmp/stats" \
		"$@" >"$tmp/sw.out" 2>"$tmp/sw.err" &
	sw_pid=$!
	for _ in {1..600}; do
		[ -S "$tmp/port.x" ] && return
		sleep 0.05
	done
}

ports_end() { # NAME: it ends within 10 s of SIGTERM, with status 0
	local i
	kill -TERM $sw_pid
	for ((i = 0; i < 200; i++)); do
		kill -0 $sw_pid 2>/dev/null || break
		sleep 0.05
	done
	cat "$tmp/sw.err" >"$tmp/err"
	if kill -0 $sw_pid 2>/dev/null; then
		kill -KILL $sw_pid
		fail "$1" "the switch does not end within 10 s of SIGTERM"
		return
	fi
	wait $sw_pid
	status=$?
	judge "$1" 0
}

bad_start() { # WORD: false if it cannot be had here
	: >"$tmp/bad"
	"$front" "$tmp/port.x" "$1" >"$tmp/bad" 2>&1 </dev/null &
	bad_pid=$!
	for _ in {1..600}; do
		grep -q 'at work' "$tmp/bad" && return
		kill -0 $bad_pid 2>/dev/null || return 1
		sleep 0.05
	done
	return 1
}

bad_end() { kill -KILL $bad_pid 2>/dev/null; wait $bad_pid 2>/dev/null; }

others() { # NAME
	run_limited "$front" "$tmp/port.a" ping "$tmp/port.b" 300 100
	judge "$1: others reach each other" 0 '^ping: [0-9]+ round trips' '^stream: [0-9]+ frames'
}

others_alone() { # the hostile one's session is there: a second connection is refused
	wait_line "$tmp/sw.err" 'a second connection was refused'
}

for what in queues flood work block garbage fds space churn; do
	name="ports: $what"
	ports_start
	if bad_start $what; then
		others "$name"
	else
		cp "$tmp/bad" "$tmp/err"
		fail "$name" "the hostile front-end does not start"
	fi
	ports_end "$name: the switch ends"
	bad_end
done

# close() of such a file waits for its server: as long as that is silent, and the switch is asked to end.
name="ports: a file that does not answer"
mkdir -p "$tmp/fuse"
for how in answered unanswered; do
	ports_start
	if bad_start "fuse=$tmp/fuse"; then
		if ! wait_line "$tmp/bad" '^fuse: operation 25 is not answered'; then
			cp "$tmp/bad" "$tmp/err"
			fail "$name" "nothing waits for it"
		fi
		others "$name"
		if [ $how = answered ]; then
			kill -USR1 $bad_pid
			wait_line "$tmp/bad" '^answered'
		fi
		ports_end "$name, $how: the switch ends"
	elif grep -q '^skip' "$tmp/bad"; then
		skip "$name" "$(sed -n 's/^skip: //p' "$tmp/bad")"
		ports_end "$name: the switch ends"
	else
		cp "$tmp/bad" "$tmp/err"
		fail "$name" "the hostile front-end does not start"
	fi
	bad_end
done

# A front-end may send hundreds: the soft limit is not what bounds it.
name="ports: as many descriptors as the host allows"
rm -f "$tmp"/port.*
(
	ulimit -Sn 64
	exec "$switch" --port "$tmp/port.a" --port "$tmp/port.x" >"$tmp/sw.out" 2>"$tmp/sw.err"
) &
sw_pid=$!
for _ in {1..600}; do
	[ -S "$tmp/port.x" ] && break
	sleep 0.05
done
if bad_start fds && others_alone; then
	read -r _ _ _ soft hard _ < <(grep 'open files' "/proc/$sw_pid/limits")
	if [ "$soft" = "$hard" ]; then pass "$name"; else fail "$name" "limit $soft of $hard"; fi
else
	cat "$tmp/sw.err" "$tmp/bad" >"$tmp/err"
	fail "$name" "the front-end lost its session"
fi
bad_end
ports_end "$name: the switch ends"

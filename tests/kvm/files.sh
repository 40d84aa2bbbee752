# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# Files and sockets that two processes want: whose they are, and who removes them.

export XDG_RUNTIME_DIR=$tmp/run
mkdir -m 700 "$XDG_RUNTIME_DIR"
logs=$XDG_RUNTIME_DIR/trivm

# A second VM of a name that is taken leaves the first one's files alone, its empty log among them.
twice() { # NAME TRIVM-OPTION...: of the second
	local name=$1
	shift
	refused "$name" 'another running VM' "$trivm" run --name mine -k "$guests/hello.elf" "$@"
	if [ -e "$logs/mine.log" ] && [ -S "$logs/mine.sock" ] && "$trivm" ctl mine status >"$tmp/out" 2>"$tmp/err"; then
		pass "$name: the first one's log and socket stay"
	else
		fail "$name: the first one's log and socket stay" "there is: $(ls "$logs")"
	fi
}
run_limited "$trivm" run --daemonize --name mine --pid-file "$tmp/mine.pid" -k "$guests/serial-echo.elf"
judge "files: a daemon" 0
twice "files: a daemon's name, again" --daemonize
twice "files: a daemon's name, again, in the foreground"
twice "files: a daemon's name, again, elsewhere" --daemonize --control "$tmp/elsewhere.sock"
refused "files: a pid file that a running VM has" '--pid-file.*another running VM' \
	"$trivm" run --name yours --pid-file "$tmp/mine.pid" -k "$guests/serial-echo.elf"
pid=$(cat "$tmp/mine.pid")
if kill -0 "$pid" 2>/dev/null; then
	pass "files: the pid file is still the first one's"
else
	fail "files: the pid file is still the first one's" "it says '$pid'"
fi

# What was killed leaves its files, which the next one takes over.
kill -KILL "$pid"
run_limited "$trivm" run --daemonize --name mine --pid-file "$tmp/mine.pid" -k "$guests/serial-echo.elf"
judge "files: the files of one that was killed are taken over" 0
# A successor's files are not removed at the end: here, of one whose files a person removed.
pid=$(cat "$tmp/mine.pid")
rm "$tmp/mine.pid" "$logs/mine".*
run_limited "$trivm" run --daemonize --name mine --pid-file "$tmp/mine.pid" -k "$guests/serial-echo.elf"
judge "files: a successor" 0
# Two signals that are pending at once would be one if they were the same.
kill -TERM "$pid"
kill -HUP "$pid"
for ((i = 0; i < 600; i++)); do kill -0 "$pid" 2>/dev/null || break; sleep 0.05; done
if kill -0 "$pid" 2>/dev/null; then
	fail "files: a successor's files stay" "the first one does not end"
elif [ -s "$tmp/mine.pid" ] && [ -e "$logs/mine.log" ] && "$trivm" ctl mine quit >"$tmp/out" 2>"$tmp/err"; then
	pass "files: a successor's files stay"
else
	fail "files: a successor's files stay" "there is: $(ls "$logs" "$tmp/mine.pid" 2>&1)"
fi
unset XDG_RUNTIME_DIR

# The switch's socket.
: >"$tmp/err"
"$build/trivm-switch" --port "$tmp/port.sock" >"$tmp/out" 2>"$tmp/err" &
first=$!
for ((i = 0; i < 600; i++)); do [ -S "$tmp/port.sock" ] && break; sleep 0.05; done
rm "$tmp/port.sock"
"$build/trivm-switch" --port "$tmp/port.sock" >"$tmp/out" 2>>"$tmp/err" &
second=$!
for ((i = 0; i < 600; i++)); do [ -S "$tmp/port.sock" ] && break; sleep 0.05; done
kill -TERM $first
wait $first
if [ -S "$tmp/port.sock" ]; then
	pass "files: a switch leaves its successor's socket"
else
	fail "files: a switch leaves its successor's socket" "it is gone"
fi
kill -TERM $second
wait $second
if [ -e "$tmp/port.sock" ]; then
	fail "files: a switch removes its own socket" "it is there"
else
	pass "files: a switch removes its own socket"
fi

# Links that another user laid in a shared folder; only root can lay them for the test.
linked() { # OPTION PREFIX
	refused "files: $1 does not follow another user's link" 'symbolic link of another user' \
		"$trivm" run -k "$guests/hello.elf" --control none "$1" "$2$tmp/shared/link" "${@:3}"
}
if [ "$(id -u)" -eq 0 ]; then
	mkdir -m 1777 "$tmp/shared"
	chmod 1777 "$tmp/shared"
	echo precious >"$tmp/precious"
	ln -s "$tmp/precious" "$tmp/shared/link"
	chown -h 65534:65534 "$tmp/shared/link"
	linked --pid-file ''
	linked --log-file ''
	linked --dump-fdt ''
	linked --console file:
	linked --net none,pcap=
	if [ "$(cat "$tmp/precious")" = precious ]; then
		pass "files: the link's target is as it was"
	else
		fail "files: the link's target is as it was" "it says '$(cat "$tmp/precious")'"
	fi
else
	skip "files: links of another user" "only root can lay one"
fi

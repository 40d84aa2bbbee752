# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# Sourced by each exercise's check, from the exercise's folder. A check looks at what there is - running guests, processes,
# the file "answers" - says "missing: ..." for each thing that is not there or not right, and ends by verdict:
# "pass" and status 0, or status 1.

cd "$(dirname "${BASH_SOURCE[1]}")" || exit 1
PATH=$(cd .. && pwd)/bin:$PATH
missed=0

missing() {
	echo "missing: $*"
	missed=$((missed + 1))
}

verdict() {
	[ $missed = 0 ] || exit 1
	echo pass
	exit 0
}

need() { [ $missed = 0 ] || exit 1; } # what follows makes no sense without what came before

answer() { # KEY: its value in the file answers; the last line counts
	sed -n "s/^$1=[[:space:]]*//p" answers 2>/dev/null | tail -n 1 | tr -d '[:space:]'
}

have_answers() { # KEY...: all there?
	local key
	[ -e answers ] || { missing "the file answers, with the lines ${*/%/=...}"; return; }
	for key; do
		[ -n "$(answer "$key")" ] || missing "a line $key=... in answers"
	done
}

same() { # KEY VALUE WHAT: the answer has to be this number (0x... or decimal)
	local got
	got=$(answer "$1")
	[ -n "$got" ] || return
	[[ $got =~ ^(0x[0-9a-fA-F]+|[0-9]+)$ ]] || { missing "$1=$got is not a number"; return; }
	((got == $2)) || missing "$1=$got is not $3"
}

# KEY MEASURED FACTOR SLACK: the answer lies between measured/FACTOR - SLACK and measured*FACTOR + SLACK
near() {
	local got
	got=$(answer "$1")
	[ -n "$got" ] || return
	[[ $got =~ ^[0-9]+(\.[0-9]+)?$ ]] || { missing "$1=$got is not a number"; return; }
	awk -v a="$got" -v m="$2" -v f="$3" -v s="$4" 'BEGIN { exit !(a >= m / f - s && a <= m * f + s) }' ||
		missing "$1=$got: measured just now: $2"
}

per() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f\n", a / b }'; } # A / B

# NAME PATH [WORDS OF CTL...]: one value of a reply, PATH as in vcpus.0.mmio_exits; nothing if it is not there
value() {
	local name=$1 path=$2
	shift 2
	trivm ctl --json --name "$name" "${@:-status}" 2>/dev/null | python3 -c '
import json, sys
try:
    x = json.load(sys.stdin)
    for k in sys.argv[1].split("."):
        x = x[int(k)] if k.isdigit() else x[k]
    print(x if not isinstance(x, bool) else str(x).lower())
except (ValueError, KeyError, IndexError, TypeError):
    pass' "$path"
}

guest_runs() { # NAME: says what is missing if not
	[ "$(value "$1" state)" = running ] || missing "a running guest named $1 (trivm list)"
}

datapath_of() { value "$1" 0.datapath net "$2"; } # NAME CARD

pings() { # ADDRESS COUNT [INTERVAL]: how many were answered, from here
	ping -q -c "$2" -i "${3:-0.05}" -W 1 "$1" 2>/dev/null | sed -n 's/.* \([0-9]*\) received.*/\1/p'
}

events_of() { # NAME: the file events is there, and was written while this guest ran
	local up
	[ -s events ] || { missing "the file events, from 'trivm ctl $1 events >events &'"; return; }
	up=$(value "$1" uptime)
	up=${up:-0}
	[ $(($(date +%s) - $(stat -c %Y events))) -le "${up%.*}" ] || missing "events of this guest: the file is older than it"
}

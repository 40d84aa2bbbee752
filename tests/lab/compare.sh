#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: trivm compare: what it writes is complete, agrees with others' counts, and shows what is known
# to be true; nothing of it is left, also when it is interrupted; what the host lacks is skipped. compare.sh short|full
set -u
here=$(dirname "$0")
. "$here/lib.sh"
limit=${LIMIT:-500}

# The state of the host that compare must leave as it found it.
state() {
	ip -o link | sed 's/^[0-9]*: //'
	ip netns list
	ip route
	ls -d /tmp/trivm-* 2>/dev/null
	ps -eL -o comm= | # threads, too: vhost-net's worker is one since Linux 6.4
		grep -E '^(trivm|qemu|iperf3|vhost-[0-9])'
	grep -c . /proc/mounts
}
state >before

nothing_left() { # NAME
	local n=0
	until state >after && cmp -s before after; do
		n=$((n + 1))
		[ $n -lt 50 ] || { diff before after >left; fail "$1: something is left" left; return; }
		sleep 0.2
	done
	pass "$1: nothing is left"
}

# look NAME FILE EXPRESSION: python, with the document as d, median(workload, road, metric) and check(what, road)
look() {
	if python3 - "$2" "$3" >looked 2>&1 <<-'END'; then pass "$1"; else fail "$1" looked; fi
		import json, sys
		d = json.load(open(sys.argv[1]))
		def result(w, r):
		    return next(x for x in d["results"] if x["workload"] == w and x["road"] == r)
		def median(w, r, m):
		    v = result(w, r)["metrics"][m]
		    print(w, r, m, v)
		    return v["median"]
		def check(what, road):
		    c = [c for c in d["checks"] if c["what"] == what and c["road"] == road]
		    print(*c, sep="\n")
		    return c
		sys.exit(0 if eval("(" + sys.argv[2] + ")") else 1)
	END
}

modes=vmm,vmm+exit,vhost-net with=() rounds=1
if [ "${1:-short}" = full ]; then
	modes=vmm,vmm+exit,vhost-net,vhost-user with=(--with qemu,qemu-vhost) rounds=2
fi
name="compare: $modes"
if expect "$name" 0 log trivm compare --modes $modes "${with[@]}" --rounds $rounds --seconds 1 \
	--workload udp-in,latency,idle --out out; then
	pass "$name"
	roads="[r['name'] for r in d['roads']]"
	look "$name: complete" out/compare.json \
		"d['complete'] and not d['skipped'] and len(d['results']) == 3 * len($roads) and all(
			s['error'] is None for r in d['results'] for s in r['samples'])"
	look "$name: every workload did something" out/compare.json \
		"all(median('udp-in', r, 'throughput') > 0 and median('latency', r, 'latency_p50_us') > 0 and
			median('latency', r, 'packets') > 100 for r in $roads)"
	look "$name: nothing that was checked is different" out/compare.json \
		"all(c['ok'] is not False or print(c) for c in d['checks'])"
	look "$name: packets, processor time, exits and kicks were checked" out/compare.json \
		"all(any(c['ok'] for c in check(w, 'vmm+exit')) for w in ['packets', 'cpu', 'exits', 'kicks'])"
	look "$name: exits per packet fall from vmm+exit to vmm to vhost-net" out/compare.json \
		"median('latency', 'vmm+exit', 'exits_user_per_packet') > 0.2 and
			median('latency', 'vmm+exit', 'exits_user_per_packet') >
			10 * median('latency', 'vmm', 'exits_user_per_packet') and
			median('latency', 'vmm', 'exits_user_per_packet') >=
			median('latency', 'vhost-net', 'exits_user_per_packet')"
	look "$name: who moves the packets pays for it" out/compare.json \
		"median('latency', 'vmm', 'cpu_datapath_us_per_packet') > 0 and
			median('latency', 'vmm', 'cpu_vhost_us_per_packet') == 0 and
			median('latency', 'vhost-net', 'cpu_datapath_us_per_packet') == 0 and
			median('latency', 'vhost-net', 'cpu_vhost_us_per_packet') > 0"
	if [ "$(wc -l <out/compare.csv)" = $((1 + 3 * rounds * $(grep -c '"boot_s"' out/compare.json))) ]; then
		pass "$name: CSV"
	else
		fail "$name: CSV" out/compare.csv
	fi
	# What a browser makes of the page is tests/page's.
	if grep -q '^<!DOCTYPE html>' out/compare.html && [ "$(tail -n 1 out/compare.html)" = '</html>' ] &&
		python3 -c "import json; page = open('out/compare.html').read().split('id=\"results\">')[1]
assert json.loads(page.split('</script>')[0])['when'] == json.load(open('out/compare.json'))['when']" 2>log; then
		pass "$name: page"
	else
		fail "$name: page" log
	fi
fi
nothing_left "$name"

# vhost-net is refused by its device: it is skipped, and the rest is measured; without privileges.
name="compare: what the host lacks"
chmod 000 /dev/vhost-net
cp "$(command -v trivm)" alone
expect "$name" 0 log setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all \
	env TRIVM_GUEST=/usr/local/lib/trivm/guest ./alone compare --modes vmm,vhost-net --workload latency \
	--rounds 1 --seconds 1 && {
	if grep -q 'vhost-net is skipped: /dev/vhost-net: Permission denied' log && grep -q '^vmm ' log; then
		pass "$name is skipped; an ordinary user"
	else
		fail "$name is skipped; an ordinary user" log
	fi
}
expect "$name: nothing is left to do" 120 log setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all \
	env TRIVM_GUEST=/usr/local/lib/trivm/guest ./alone compare --modes vhost-net &&
	pass "$name: nothing is left to do"
chmod 666 /dev/vhost-net
nothing_left "$name"

# One as $pid, that has come to round N.
until_round() { # N OPTION...
	local n=$1
	shift
	trivm compare --modes vmm,vhost-user --workload idle --rounds 100 --seconds 1 "$@" >log 2>&1 </dev/null &
	pid=$!
	for _ in $(seq "$limit"); do
		! grep -q "round $n of" log || break
		sleep 1
	done
}

# A signal, while guests run. (Not SIGINT, which the shell has its background commands ignore.)
name="compare: interrupted"
until_round 2 --out stopped
kill -TERM $pid
wait $pid
if [ $? = 143 ] && grep -q '^Interrupted' log; then pass "$name"; else fail "$name" log; fi
look "$name: the results until then" stopped/compare.json "not d['complete'] and d['results'][0]['samples']"
nothing_left "$name"

name="compare: killed"
until_round 1
kill -KILL $pid
wait $pid 2>/dev/null
# Its folder is all that stays, until the next one comes.
expect "$name: the next one" 0 log trivm compare --modes vmm --workload idle --rounds 1 --seconds 1
expect "$name: wrong usage" 2 log trivm compare --out /proc/none
nothing_left "$name"
finish

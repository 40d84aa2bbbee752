# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# The probes in the binary are those of docs/probes.md, with as many arguments; the scripts use no others.

# "NAME ARGUMENTS SIZE..." of each place of a probe in FILE, where several differ.
probes_of() {
	readelf -n "$1" 2>/dev/null | awk '
		/Provider: / { ours = $2 == "trivm" }
		ours && /Name: / { name = $2 }
		ours && /Arguments:/ {
			sizes = ""
			for (i = 2; i <= NF; i++) { sub(/@.*/, "", $i); sizes = sizes " " $i }
			print name, NF - 1 sizes
		}' | sort -u
}

# "NAME ARGUMENTS" from the table.
probes_documented() {
	awk -F'|' '/^\| `[a-z_]+` \|/ {
		gsub(/[` ]/, "", $2)
		n = $3 ~ /[^ ]/ ? split($3, a, ",") : 0
		print $2, n + 2
	}' docs/probes.md | sort -u
}

probes_documented >"$tmp/documented"
probes_of "$trivm" >"$tmp/probes"
: >"$tmp/err"
if ! [ -s "$tmp/probes" ]; then
	if echo | cc -include sys/sdt.h -E - >/dev/null 2>&1; then
		: >"$tmp/out"
		fail "probes: in the binary" "there are none"
	else
		skip "probes" "trivm was built without sys/sdt.h"
	fi
	return
fi
awk 'NR == FNR { want[$1] = $2; next }
	!($1 in want) { print "not documented: " $1; next }
	$1 in seen { print $1 ": arguments of different types, which perf does not take: " $0 }
	{ seen[$1] = 1 }
	want[$1] != $2 { print $1 ": " $2 " arguments, documented " want[$1] }
	END { for (p in want) if (!(p in seen)) print "not in the binary: " p }' \
	"$tmp/documented" "$tmp/probes" >"$tmp/out"
if [ -s "$tmp/out" ]; then
	fail "probes: as documented" "$(head -n 1 "$tmp/out")"
else
	pass "probes: as documented"
fi

probes_of "$build/trivm-switch" | cut -d' ' -f1 | sort -u >"$tmp/switch"
if grep -qx chain_pop "$tmp/switch" && grep -qx used_show "$tmp/switch"; then
	pass "probes: those of rings are in trivm-switch"
else
	fail "probes: those of rings are in trivm-switch" "$(tr '\n' ' ' <"$tmp/switch")"
fi

grep -ohE 'trivm:trivm:[a-z_]+' docs/probes/*.bt | cut -d: -f3 >"$tmp/used"
sed -n 's/^for p in \(.*\); do/\1/p' docs/probes/interrupts | tr ' ' '\n' >>"$tmp/used"
cut -d' ' -f1 "$tmp/documented" >"$tmp/names"
if [ "$(wc -l <"$tmp/used")" -ge 8 ] && ! grep -vxFf "$tmp/names" "$tmp/used" >"$tmp/out"; then
	pass "probes: the scripts use no others"
else
	fail "probes: the scripts use no others" "$(tr '\n' ' ' <"$tmp/out")"
fi

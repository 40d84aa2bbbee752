# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# Random accesses to all devices: trivm ends with a documented status, or its guest hangs and trivm still
# obeys signals. SOAK=1: many more.

hostile() { # NAME TRIVM-OPTION...
	local name=$1 pid i
	shift
	"$trivm" run --test-device "$@" >"$tmp/out" 2>"$tmp/err" </dev/null &
	pid=$!
	for ((i = 0; i < 20 * ${seconds:-15}; i++)); do
		kill -0 $pid 2>/dev/null || break
		sleep 0.05
	done
	if kill -0 $pid 2>/dev/null; then
		kill -TERM $pid
		sleep 0.3
		kill -TERM $pid 2>/dev/null
	fi
	wait_pid $pid
	case $status in
	0 | 121 | 122 | 143) pass "$name (status $status)" ;;
	137) fail "$name" "obeyed no signal" ;;
	*) fail "$name" "status $status" ;;
	esac
}

rounds=4 ops=5000
if [ -n "${SOAK:-}" ]; then
	rounds=60 ops=50000
fi
for ((seed = 1; seed <= rounds; seed++)); do
	chips=(kernel split) chip=${chips[seed % 2]}
	seconds=$((ops / 500)) hostile "hostile: seed $seed, $ops accesses, $chip" --irqchip "$chip" \
		-k "$guests/hostile.elf" -p "seed=$seed ops=$ops"
	seconds=$((ops / 250)) hostile "hostile: seed $seed, $ops accesses by each of 3 processors, $chip" \
		--irqchip "$chip" -c 3 -k "$guests/hostile.elf" -p "seed=$seed ops=$ops"
	hostile "hostile: seed $seed, also what ends the VM" --irqchip "$chip" \
		-k "$guests/hostile.elf" -p "seed=$seed ops=$ops wild=1"
done

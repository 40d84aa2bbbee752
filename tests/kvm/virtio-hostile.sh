# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# A driver that breaks every rule of virtio, on all devices but one: trivm goes on, the guest ends as it
# wants to, the device that is left out works all the time, and the others do after a reset. SOAK=1: more than ten
# million operations, half of them with a trivm that has the sanitizers in it.

attack() { # NAME WORDS TRIVM-OPTION...
	local name=$1 words=$2
	shift 2
	run_limited "$attacked" run -m 128M -k "$guests/virtio-hostile.elf" -p "$words" "$@"
	if grep -Eqa 'Sanitizer|runtime error' "$tmp/err"; then
		status=sanitizer
	fi
	judge "$name" 0 '^done: '
}

seed_round() { # SEED MEMORY-OPS REGISTER-OPS [NAME]
	local seed=$1 memory="seed=$1 ops=$2" registers="seed=$1 ops=$3 exits=2" what="virtio-hostile: seed $1${4:+, $4}"

	attack "$what: rings of two NICs" "victim=rng $memory" \
		--rng transport=mmio --net user,poll-us=100000 --net none,transport=mmio,poll-us=100000
	attack "$what: registers of two NICs" "victim=rng $registers" \
		--rng transport=mmio --net none,ring=packed,queues=2 --net none,transport=mmio,ring=packed
	attack "$what: rings of two NICs, user network, packed, exits" "victim=rng $memory" \
		--rng --net user,ring=packed,notify=exit --net user,transport=mmio,ring=packed,inject=ioctl
	attack "$what: registers of a NIC and an entropy device" "victim=net $registers" \
		--rng transport=mmio,inject=ioctl --net none,queues=3 --net none
	attack "$what: by two processors" "victim=net $memory" -c 2 \
		--rng --net none,transport=mmio,queues=4 --net user,ring=packed --net none,transport=mmio
	attack "$what: rings of two disks and a NIC" "victim=disk $memory" \
		--disk "$tmp/disk" --disk "$tmp/disk2",transport=mmio --net none --disk "$tmp/disk3"
	attack "$what: rings of a console and a NIC" "victim=rng $memory" \
		--rng transport=mmio --console file:/dev/null --net none
	attack "$what: registers of a console" "victim=rng $registers" \
		--rng --console file:/dev/null,transport=mmio
}

attacked=$trivm
truncate -s 1M "$tmp/disk" "$tmp/disk2" "$tmp/disk3"
if [ -z "${SOAK:-}" ]; then
	seed_round 1 200000 10000
else
	limit=600
	for seed in 1 2 3 4 5 6 7 8; do
		seed_round $seed 400000 20000
	done
	if make --no-print-directory -j2 BUILD="$build/asan" SANITIZE=address,undefined \
		"$build/asan/trivm" >"$tmp/out" 2>&1; then
		attacked=$(realpath "$build/asan/trivm")
		for seed in 11 12 13 14 15 16 17 18; do
			seed_round $seed 400000 20000 sanitizers
		done
	else
		fail "virtio-hostile: trivm with the sanitizers" "does not build"
	fi
	limit=${KVM_TEST_TIMEOUT:-60}
fi

#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Inside the lab: a NIC whose packets trivm moves itself, in every combination of transport, ring and
# port. Each line: TRANSPORT RING PORT. net.sh short|full
set -u
here=$(dirname "$0")
. "$here/lib.sh"
. "$here/net-lib.sh"

short="pci split user
mmio packed tap"
full="pci split user
pci packed user
mmio split user
mmio packed user
pci split tap
pci packed tap
mmio split tap
mmio packed tap"

net_host
net_tap tap0

one() { # TRANSPORT RING PORT
	local host=$host address=$address port=tap:tap0
	[ "$3" = tap ] || { host=10.0.2.2 address= port=user; }
	net_guest "net: $1, $2, $3" "net-$1-$2-$3" $host "$address" 1 1 "$port,transport=$1,ring=$2"
}

case ${1:-short} in
full) lines=$full ;;
*) lines=$short ;;
esac
while read -r transport ring port <&3; do
	one "$transport" "$ring" "$port"
done 3<<<"$lines"
net_link net tap:tap0
finish

#!/bin/bash
# Debian packages that real nodes need. Run as root; does nothing where all are there.
set -euo pipefail
packages=()
for pair in runc:runc iptables:iptables conntrack:conntrack busybox:busybox-static ip:iproute2 nsenter:util-linux; do
  command -v "${pair%%:*}" > /dev/null || packages+=("${pair##*:}")
done
[ ${#packages[@]} -eq 0 ] && exit 0
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" > /dev/null

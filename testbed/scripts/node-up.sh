#!/bin/bash
# Makes a node's network namespace, routes and cgroups, then enters them.
# Environment as node-inside.sh, and: BRIDGE, GATEWAY, NODES (how many), POD_PREFIX (10.88), INSIDE (node-inside.sh).
set -euo pipefail
space="tidegate-$NODE"
if [ ! -e "/run/netns/$space" ]; then
  ip netns add "$space"
  ip link add "tgv$INDEX" type veth peer name eth0 netns "$space"
  ip link set "tgv$INDEX" master "$BRIDGE" up
  nsenter --net="/run/netns/$space" bash -euc "
    ip link set lo up
    ip addr add $NODE_IP/24 dev eth0
    ip link set eth0 up
    ip route add default via $GATEWAY
    echo 1 > /proc/sys/net/ipv4/ip_forward
    for other in \$(seq $NODES); do
      [ \$other = $INDEX ] || ip route add $POD_PREFIX.\$other.0/24 via ${NODE_IP%.*}.\$((10 + other))
    done"
  ip route replace "$POD_PREFIX.$INDEX.0/24" via "$NODE_IP"
fi
# cgroup v1: one tree per node under every controller; cpuset needs its values copied down.
for controller in cpu cpuacct cpuset memory devices freezer blkio pids systemd; do
  [ -d "/sys/fs/cgroup/$controller" ] || continue
  for dir in tidegate "tidegate/$NODE" "tidegate/$NODE-system"; do
    mkdir -p "/sys/fs/cgroup/$controller/$dir"
    if [ $controller = cpuset ]; then
      for file in cpuset.cpus cpuset.mems; do
        cat "/sys/fs/cgroup/cpuset/$file" > "/sys/fs/cgroup/cpuset/$dir/$file"
      done
    fi
  done
done
exec nsenter --net="/run/netns/$space" unshare --mount --propagation private bash "$INSIDE"

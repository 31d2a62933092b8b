#!/bin/bash
# Ends everything in a node's own cgroups and removes its namespace, link, routes and cgroups. Environment: NODE, INDEX, POD_PREFIX.
set -uo pipefail
ended() { [ -z "$(find "$1" -name cgroup.procs -exec cat {} + 2>/dev/null)" ]; }
for tree in "$NODE" "$NODE-system"; do
  root="/sys/fs/cgroup/pids/tidegate/$tree"
  for _ in $(seq 20); do
    ended "$root" && break
    find "$root" -name cgroup.procs -exec cat {} + 2>/dev/null | xargs -r kill -9 2>/dev/null
    sleep 0.1
  done
done
ip netns del "tidegate-$NODE" 2>/dev/null
ip link del "tgv$INDEX" 2>/dev/null
ip route del "$POD_PREFIX.$INDEX.0/24" 2>/dev/null
for controller in cpu cpuacct cpuset memory devices freezer blkio pids systemd; do
  for tree in "$NODE" "$NODE-system"; do
    find "/sys/fs/cgroup/$controller/tidegate/$tree" -depth -type d -exec rmdir {} + 2>/dev/null
  done
done
exit 0

#!/bin/bash
# Runs inside a node's own network and mount namespaces: gives it directories of its own, then starts containerd.
# Environment: NODE_DIR (state of this node), NODE (name), BIN (programs), SANDBOX (image), ARCHIVE (its archive).
set -euo pipefail
mount --make-rshared /
# Own directories under the well-known paths. Private before shared: else every volume mount appears twice.
own() {
  mkdir -p "$1" "$2"
  mount --bind "$1" "$2"
  mount --make-private "$2"
  mount --make-rshared "$2"
}
own "$NODE_DIR/kubelet" /var/lib/kubelet
own "$NODE_DIR/cni" /var/lib/cni
own "$NODE_DIR/log-pods" /var/log/pods
own "$NODE_DIR/log-containers" /var/log/containers
own "$NODE_DIR/containerd" /var/lib/containerd
own "$NODE_DIR/run-containerd" /run/containerd
mkdir -p /run/netns
mount -t tmpfs none /run/netns
mount --make-rshared /run/netns
# Everything started from here lies in the node's own cgroups: that is how `down` finds it.
for controller in pids systemd; do
  [ -d "/sys/fs/cgroup/$controller/tidegate" ] && echo $$ > "/sys/fs/cgroup/$controller/tidegate/$NODE-system/cgroup.procs"
done
export PATH="$BIN:$PATH"
setsid containerd --config "$NODE_DIR/containerd.toml" --log-level warn >> "$LOG_DIR/$NODE-containerd.log" 2>&1 < /dev/null &
echo $! > "$PID_DIR/$NODE-containerd"
for _ in $(seq 200); do
  ctr version > /dev/null 2>&1 && break
  sleep 0.1
done
ctr -n k8s.io images ls -q | grep -qF "$SANDBOX" || ctr -n k8s.io images import --local "$ARCHIVE" > /dev/null
setsid kubelet --config "$NODE_DIR/kubelet.json" --kubeconfig "$KUBECONFIG_FILE" --hostname-override "$NODE" \
  --node-ip "$NODE_IP" --root-dir /var/lib/kubelet --cert-dir "$NODE_DIR/kubelet-pki" \
  --node-labels "topology.kubernetes.io/zone=zone-$INDEX" --v 2 >> "$LOG_DIR/$NODE-kubelet.log" 2>&1 < /dev/null &
echo $! > "$PID_DIR/$NODE-kubelet"
setsid kube-proxy --config "$NODE_DIR/proxy.json" >> "$LOG_DIR/$NODE-proxy.log" 2>&1 < /dev/null &
echo $! > "$PID_DIR/$NODE-proxy"

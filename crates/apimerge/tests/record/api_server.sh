#!/bin/bash
# Starts an etcd and a kube-apiserver for record.py, runs the command given, and stops both.
#   TIDEGATE_TESTBED_BIN=DIR ./api_server.sh python3 record.py OUT
# Without controllers and with few admission plugins: what is recorded is what the patch did. WITHOUT= keeps all plugins.
set -euo pipefail
bin=${TIDEGATE_TESTBED_BIN:?directory with etcd and kube-apiserver}
port=${PORT:-21100}
dir=$(mktemp -d)
# The API server goes first: without its etcd it would wait for it instead of stopping.
stop() { set +e; for pid in "${api:-}" "${etcd:-}"; do [ -n "$pid" ] && { kill -9 "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; }; done; rm -rf "$dir"; }
trap stop EXIT
openssl genrsa -out "$dir/sa.key" 2048 2>/dev/null
echo 'recorder,admin,admin,"system:masters"' > "$dir/tokens"
"$bin/etcd" --data-dir "$dir/etcd" --log-level error --unsafe-no-fsync \
  --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
  --listen-peer-urls "http://127.0.0.1:$((port + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
  --initial-cluster "default=http://127.0.0.1:$((port + 1))" > "$dir/etcd.log" 2>&1 &
etcd=$!
"$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$port" --secure-port $((port + 2)) --bind-address 127.0.0.1 \
  --cert-dir "$dir" --token-auth-file "$dir/tokens" --authorization-mode RBAC --service-cluster-ip-range 10.0.0.0/16 \
  --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$dir/sa.key" \
  --service-account-signing-key-file "$dir/sa.key" \
  --disable-admission-plugins "${WITHOUT-ServiceAccount,DefaultTolerationSeconds,Priority,LimitRanger,RuntimeClass,PodSecurity,TaintNodesByCondition,StorageObjectInUseProtection}" --allow-privileged \
  > "$dir/api.log" 2>&1 &
api=$!
export API=https://127.0.0.1:$((port + 2)) TOKEN=recorder
for _ in $(seq 600); do curl -sk -H "Authorization: Bearer $TOKEN" "$API/readyz" | grep -q '^ok' && break; sleep .1; done
"$@"

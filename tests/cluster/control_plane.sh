#!/bin/bash
# A real Kubernetes control plane on loopback: etcd, API server, controller manager, scheduler, with
# certificates and RBAC. No node: pods stay pending.
#
#   control_plane.sh up FOLDER PORT [ADDRESS]     writes FOLDER/admin.kubeconfig; with an ADDRESS of
#                                                 this machine, pods reach the API server there
#   control_plane.sh down FOLDER
#
# MICSERVE_TEST_KUBERNETES names the folder with kube-apiserver, kube-controller-manager and
# kube-scheduler; Debian's source package `kubernetes` builds them. etcd and openssl are Debian's.
set -euo pipefail
what=$1 folder=$2 bin=${MICSERVE_TEST_KUBERNETES:?names the folder with the programs of Kubernetes}

down() {
    for name in kube-scheduler kube-controller-manager kube-apiserver etcd; do
        pid=$(cat "$folder/$name.pid" 2> /dev/null) || continue
        kill "$pid" 2> /dev/null || true
        for _ in $(seq 50); do kill -0 "$pid" 2> /dev/null || break; sleep 0.1; done
        kill -9 "$pid" 2> /dev/null || true
        rm -f "$folder/$name.pid"
    done
}
if [ "$what" = down ]; then down; exit 0; fi

port=$3 address=${4:-127.0.0.1} bind=127.0.0.1 endpoints=none
[ -z "${4:-}" ] || { bind=0.0.0.0; endpoints=lease; }
etcd=$(($3 + 1)) peer=$(($3 + 2))
mkdir -p "$folder/pki"
cd "$folder/pki"
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=test -days 3 2> /dev/null
certificate() { # NAME SUBJECT
    openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2> /dev/null
    printf 'subjectAltName=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc,DNS:%s,IP:127.0.0.1,IP:198.18.0.1,IP:%s\nextendedKeyUsage=serverAuth,clientAuth\n' \
        "$(hostname)" "$address" > "$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3 -out "$1.crt" \
        -extfile "$1.ext" 2> /dev/null
}
encoded() { base64 -w0 "$1"; }
kubeconfig() { # NAME
    cat > "$folder/$1.kubeconfig" << CONFIG
{"apiVersion": "v1", "kind": "Config", "current-context": "test",
 "clusters": [{"name": "test", "cluster": {"server": "https://127.0.0.1:$port", "certificate-authority-data": "$(encoded ca.crt)"}}],
 "users": [{"name": "$1", "user": {"client-certificate-data": "$(encoded "$1.crt")", "client-key-data": "$(encoded "$1.key")"}}],
 "contexts": [{"name": "test", "context": {"cluster": "test", "user": "$1", "namespace": "micserve"}}]}
CONFIG
}
certificate apiserver /CN=kube-apiserver
certificate admin /O=system:masters/CN=admin
certificate manager /CN=system:kube-controller-manager
certificate scheduler /CN=system:kube-scheduler
certificate node "/O=system:nodes/CN=system:node:$(hostname)"
for name in admin manager scheduler node; do kubeconfig "$name"; done
openssl genrsa -out sa.key 2048 2> /dev/null
openssl rsa -in sa.key -pubout -out sa.pub 2> /dev/null

run() { # PROGRAM ARGUMENTS…: in the background, logged
    local name; name=$(basename "$1")
    "$@" > "$folder/$name.log" 2>&1 < /dev/null &
    echo $! > "$folder/$name.pid"
}
cd "$folder"
run etcd --data-dir "$folder/etcd" --unsafe-no-fsync \
    --listen-client-urls "http://127.0.0.1:$etcd" --advertise-client-urls "http://127.0.0.1:$etcd" \
    --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
    --initial-cluster "default=http://127.0.0.1:$peer"
run "$bin/kube-apiserver" --etcd-servers="http://127.0.0.1:$etcd" \
    --bind-address="$bind" --secure-port="$port" --insecure-port=0 \
    --advertise-address="$address" --endpoint-reconciler-type="$endpoints" \
    --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key --client-ca-file=pki/ca.crt \
    --kubelet-client-certificate=pki/admin.crt --kubelet-client-key=pki/admin.key \
    --service-account-key-file=pki/sa.pub --service-account-signing-key-file=pki/sa.key \
    --service-account-issuer=https://kubernetes.default.svc --service-cluster-ip-range=198.18.0.0/24 \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true
for _ in $(seq 240); do
    KUBECONFIG=$folder/admin.kubeconfig kubectl get --raw=/readyz > /dev/null 2>&1 && break
    kill -0 "$(cat kube-apiserver.pid)" || { tail -5 kube-apiserver.log >&2; down; exit 1; }
    sleep 0.5
done
common=(--leader-elect=false --bind-address=127.0.0.1 --port=0 --secure-port)
run "$bin/kube-controller-manager" "${common[@]}" $((port + 3)) --kubeconfig=manager.kubeconfig \
    --service-account-private-key-file=pki/sa.key --root-ca-file=pki/ca.crt \
    --use-service-account-credentials=true
run "$bin/kube-scheduler" "${common[@]}" $((port + 4)) --kubeconfig=scheduler.kubeconfig
for _ in $(seq 120); do
    KUBECONFIG=$folder/admin.kubeconfig kubectl -n default get serviceaccount default > /dev/null 2>&1 && exit 0
    sleep 0.5
done
tail -5 kube-controller-manager.log >&2
down
exit 1

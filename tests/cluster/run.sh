#!/bin/bash
# `make test-cluster`: our own images on a real one-node Kubernetes, and tests/cluster/test_cluster.py
# on it. Says what is missing and ends well where it cannot run. See docs/kubernetes.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export MICSERVE_TEST_CLUSTER=${MICSERVE_TEST_CLUSTER:-${XDG_CACHE_HOME:-$HOME/.cache}/micserve-cluster}
python=$root/.venvs/serve/bin/python
skip() { echo "test-cluster is skipped: $*"; exit 0; }
[ "$(id -u)" = 0 ] || skip "it needs root"
[ -n "${MICSERVE_TEST_KUBERNETES:-}" ] || skip "MICSERVE_TEST_KUBERNETES names no folder with kube-apiserver, kubelet, kube-proxy, …"
for program in "$MICSERVE_TEST_KUBERNETES"/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kube-proxy} \
    etcd containerd runc ctr dnsmasq iptables conntrack unshare kubectl openssl skopeo buildah catatonit; do
    command -v "$program" > /dev/null || skip "there is no $(basename "$program")"
done
[ -x /usr/lib/cni/bridge ] || skip "there is no /usr/lib/cni/bridge (containernetworking-plugins)"
unshare --net --mount --propagation private true 2> /dev/null || skip "this machine gives no namespaces"

. "$root/tests/containers/engine.sh"
images="gateway registry n2v train-n2v" tag=$("$python" -c 'import micserve; print(micserve.__version__)')
[ -n "${MICSERVE_TEST_IMAGES_BUILT:-}" ] || {
    bash "$root/tests/containers/make_base.sh"
    "$python" "$root/containers/build.py" $images --engine buildah --offline
}
mkdir -p "$MICSERVE_TEST_CLUSTER/images"
wanted=" pause.tar"
for name in $images; do
    id=$(buildah images --quiet "localhost/micserve-$name:$tag")
    file=$MICSERVE_TEST_CLUSTER/images/$name-$id.tar
    wanted+=" $name-$id.tar"
    [ -f "$file" ] && continue
    skopeo copy --quiet "containers-storage:localhost/micserve-$name:$tag" \
        "docker-archive:$file.part:docker.io/library/micserve-$name:$tag"
    mv "$file.part" "$file"
done
if [ ! -f "$MICSERVE_TEST_CLUSTER/images/pause.tar" ]; then
    work=$(mktemp -d); cp "$(command -v catatonit)" "$work/pause"
    printf 'FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT ["/pause", "-P"]\n' > "$work/Dockerfile"
    buildah bud --quiet --pull-never --tag localhost/pause:1 "$work" > /dev/null; rm -r "$work"
    skopeo copy --quiet containers-storage:localhost/pause:1 \
        "docker-archive:$MICSERVE_TEST_CLUSTER/images/pause.tar:localhost/pause:1"
fi
for file in "$MICSERVE_TEST_CLUSTER"/images/*; do
    case "$wanted " in *" $(basename "$file") "*) ;; *) rm "$file" ;; esac
done
cd "$root"
exec unshare --net --mount --propagation private bash "$here/node.sh" "$MICSERVE_TEST_CLUSTER" \
    "$python" -m pytest -v -x --timeout=1800 tests/cluster "$@"

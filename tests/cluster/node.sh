#!/bin/bash
# A real one-node Kubernetes in network and mount namespaces of its own, and one command in it:
#
#   unshare --net --mount --propagation private bash tests/cluster/node.sh FOLDER COMMAND…
#
# Needs root; Debian's containerd runc containernetworking-plugins dnsmasq-base iptables iproute2
# conntrack etcd-server; kubelet and kube-proxy beside the programs of control_plane.sh; images as
# FOLDER/images/*.tar, a pause image among them. The command gets KUBECONFIG, and DNS_HOSTS and
# DNS_PID for names of services. What ends it ends everything; the machine is as it was.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1; shift
bin=${MICSERVE_TEST_KUBERNETES:?names the folder with the programs of Kubernetes}
address=198.51.100.10 pods=203.0.113.0/24 node=$(hostname)
control=$folder/control work=$folder/node
rm -rf "$control" "$work"; mkdir -p "$control" "$work"/{fake,kubelet,cni,containerd,log}

# The network: a bridge, because a dummy link is not to be had everywhere.
ip link set lo up
ip link add outside0 type bridge; ip addr add $address/24 dev outside0; ip link set outside0 up
ip route add default dev outside0
sysctl -qw net.ipv4.ip_forward=1
sysctl -qw net.bridge.bridge-nf-call-iptables=1 2> /dev/null
# Private copies of what would be written on the whole machine.
mount --make-rshared /
for place in /var/log/pods /var/log/containers /var/lib/cni; do mkdir -p $place; mount -t tmpfs tmpfs $place; done
for entry in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1; do
    copy=$work/fake/$(tr / _ <<< "${entry%%=*}"); echo "${entry##*=}" > "$copy"
    mount --bind "$copy" "/proc/sys/${entry%%=*}"
done

cat > "$work/cni/10-bridge.conflist" << C
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
 {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "$work/cni/ipam", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
C
cat > "$work/containerd.toml" << C
version = 2
root = "$work/containerd/root"
state = "$work/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "$work/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$work/cni"
C
cat > "$work/kubelet.yaml" << C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $control/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
failSwapOn: false
oomScoreAdj: 0
readOnlyPort: 0
healthzBindAddress: 127.0.0.1
resolvConf: $work/resolv.conf
clusterDNS: [$address]
clusterDomain: cluster.local
imageGCHighThresholdPercent: 100
evictionHard: {nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%", memory.available: "50Mi"}
C
echo "nameserver $address" > "$work/resolv.conf"
crictl() { ctr --address "$work/containerd.sock" --namespace k8s.io "$@"; }
export CONTAINERD_SOCKET=$work/containerd.sock

started=()
finish() {
    for pid in "${started[@]}"; do kill "$pid" 2> /dev/null; done
    sleep 1
    for id in $(crictl tasks ls -q 2> /dev/null); do crictl tasks kill -s 9 "$id"; done > /dev/null 2>&1
    sleep 1
    for id in $(crictl containers ls -q 2> /dev/null); do crictl tasks rm -f "$id"; crictl containers rm "$id"; done > /dev/null 2>&1
    bash "$here/control_plane.sh" down "$control"
    kill "$containerd" 2> /dev/null
    wait 2> /dev/null
    for group in /sys/fs/cgroup/*/kubepods /sys/fs/cgroup/kubepods; do
        [ -d "$group" ] && find "$group" -depth -type d -exec rmdir {} \; 2> /dev/null
    done
}
containerd --config "$work/containerd.toml" > "$work/log/containerd.log" 2>&1 < /dev/null &
containerd=$!
trap finish EXIT
bash "$here/control_plane.sh" up "$control" 16443 $address || exit 1
export KUBECONFIG=$control/admin.kubeconfig
for file in "$folder"/images/*.tar; do crictl images import "$file" > "$work/log/import.log" 2>&1 || { cat "$work/log/import.log"; exit 1; }; done
"$bin/kubelet" --config="$work/kubelet.yaml" --kubeconfig="$control/node.kubeconfig" --container-runtime=remote \
    --container-runtime-endpoint="unix://$work/containerd.sock" --root-dir="$work/kubelet" --cert-dir="$work/certificates" \
    --hostname-override="$node" --node-ip=$address > "$work/log/kubelet.log" 2>&1 < /dev/null &
started+=($!)
"$bin/kube-proxy" --kubeconfig="$control/admin.kubeconfig" --hostname-override="$node" --cluster-cidr=$pods \
    --proxy-mode=iptables --bind-address=127.0.0.1 --conntrack-max-per-core=0 \
    --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0 > "$work/log/proxy.log" 2>&1 < /dev/null &
started+=($!)
for _ in $(seq 180); do kubectl get node "$node" 2> /dev/null | grep -q ' Ready' && break; sleep 1; done
kubectl get node "$node" | grep -q ' Ready' || { tail -20 "$work/log/kubelet.log"; exit 1; }
# Names of services, instead of cluster DNS: the file is written by who makes services.
export DNS_HOSTS=$work/hosts DNS_PID=$work/dns.pid
: > "$DNS_HOSTS"
dnsmasq --no-resolv --no-hosts --addn-hosts="$DNS_HOSTS" --listen-address=$address --bind-interfaces \
    --pid-file="$DNS_PID" --user=root
started+=("$(cat "$DNS_PID")")
"$@"

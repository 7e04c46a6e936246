# source me: podman and buildah as they work for root on a small machine without systemd, with
# images of their own below $MICSERVE_TEST_CONTAINERS. Touches nothing of the machine's own setup.
MICSERVE_TEST_CONTAINERS=${MICSERVE_TEST_CONTAINERS:-${XDG_CACHE_HOME:-$HOME/.cache}/micserve-containers}
export MICSERVE_TEST_CONTAINERS
mkdir -p "$MICSERVE_TEST_CONTAINERS/conf" "$MICSERVE_TEST_CONTAINERS/storage" "$MICSERVE_TEST_CONTAINERS/run"
cat > "$MICSERVE_TEST_CONTAINERS/conf/storage.conf" <<C
[storage]
driver = "overlay"
graphroot = "$MICSERVE_TEST_CONTAINERS/storage"
runroot = "$MICSERVE_TEST_CONTAINERS/run"
C
cat > "$MICSERVE_TEST_CONTAINERS/conf/registries.conf" <<C
# A short name is what is here locally; nothing is ever asked for outside.
short-name-mode = "permissive"
unqualified-search-registries = ["docker.io"]
C
cat > "$MICSERVE_TEST_CONTAINERS/conf/containers.conf" <<C
[containers]
netns = "host"
utsns = "host"
log_driver = "k8s-file"
# A root that may not raise limits: soft must equal hard, and be low.
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
C
export CONTAINERS_STORAGE_CONF=$MICSERVE_TEST_CONTAINERS/conf/storage.conf
export CONTAINERS_REGISTRIES_CONF=$MICSERVE_TEST_CONTAINERS/conf/registries.conf
export CONTAINERS_CONF=$MICSERVE_TEST_CONTAINERS/conf/containers.conf
export BUILDAH_ISOLATION=chroot
unset STORAGE_DRIVER

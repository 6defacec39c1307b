# Sourced, once CACHE or `cache` says where: images, containers, volumes and networks
# apart from those of this machine, and podman set up for a machine without systemd.
mkdir -p "${CACHE:=$cache}"
STORE=(--root "$CACHE/containers" --runroot "$CACHE/run")
export CONTAINERS_CONF=$CACHE/containers.conf
cat >"$CONTAINERS_CONF" <<CONF
[containers]
# Where a container may not have more than the machine itself.
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "$CACHE/networks"
CONF

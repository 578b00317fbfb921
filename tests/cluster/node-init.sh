# Process 1 of a node: its end takes every container, mount and interface of the node with it.
# Runs in new mount, PID and network namespaces. $1 = the node's directory.
set -eu
node=$1

# Own sockets and runtime state, and no systemd to be found by the kubelet.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/kubelet /run/lock
mount --bind "$node/kubelet" /run/kubelet
mount --bind "$node/log" /var/log
mkdir -p /var/lib/cni
mount -t tmpfs -o mode=700 tmpfs /var/lib/cni

# The kubelet sets these for the whole machine; let it set copies.
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
    kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    [ -e "/proc/sys/$name" ] || continue
    copy=/run/sysctl.$(basename "$name")
    cp "/proc/sys/$name" "$copy"
    mount --bind "$copy" "/proc/sys/$name"
done

ip link set lo up
touch "$node/up"
# A shell that waits reaps the orphans (containerd's shims) that a process 1 gets.
sleep infinity
exit 1

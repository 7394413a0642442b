#!/bin/sh
# Follow the how-tos under systemd, from a bare Debian on.
#
#   machine.sh SUITE [namespaces|emulated|slow]...   SUITE is bookworm or trixie; without more: on the first two machines
#
# Needs root and a network. What the pages say about the installation runs in a chroot, the rest without a network in
#
#   namespaces   systemd on this machine's kernel, at its speed, with swtpm;
#   emulated     systemd on a kernel of its own, which has a TPM behind /dev/tpmrm0. Needs the packages qemu-system-x86,
#                e2fsprogs and swtpm. Everything is 5 times slower than outside, 20 times when both processors of the
#                host are busy. KVM is not used: nested in another machine it may hang;
#   slow         the emulated one with a share of one processor, HOWTOS_SHARE per cent (40): not for the how-tos, which
#                would take hours, but to see that the service, as it is shipped, comes up by itself at boot.
#
# apt-get finds in its cache what the pages install. HOWTOS_DIR keeps the bare tree and the logs. HOWTOS_KEEP=1 takes the
# tree that is there. HOWTOS_SLOW=1 raises the deadlines of requests in the sample configuration, for a busy host; those
# of a start do not depend on the machine.
set -eu

checkout=$(cd -- "$(dirname -- "$0")/../.." && pwd)
lab=${HOWTOS_DIR:-${TMPDIR:-/tmp}/cofferdam-howtos}
most_s=${HOWTOS_SECONDS:-5400}
die() {
    echo "machine: $*" >&2
    exit 2
}
[ "$(id -u)" = 0 ] || die "must run as root"
suite=${1-}
case $suite in
bookworm | trixie) shift ;;
*) die "which Debian? bookworm or trixie" ;;
esac
[ $# -gt 0 ] || set -- namespaces emulated
# needs PACKAGE:PROGRAM...
needs() {
    for one in "$@"; do
        command -v "${one#*:}" >/dev/null || die "${one#*:} is missing: apt-get install ${one%:*}"
    done
}
needs mmdebstrap:mmdebstrap
home=$lab/$suite
root=$home/root
tree=$home/tree

# What is there before the first command of the pages: the least that boots, and Python for what follows them.
make_tree() {
    rm -rf --one-file-system "$root"
    mkdir -p "$home"
    mmdebstrap --quiet --variant=minbase --skip=check/empty \
        --include=systemd,systemd-sysv,udev,dbus,linux-image-cloud-amd64,kmod,python3,ca-certificates \
        "$suite" "$root" >&2
    ln -sf /dev/null "$root/etc/systemd/system/serial-getty@ttyS0.service" # a getty would hang up the console
    cat >"$root/etc/systemd/system/howtos.service" <<'UNIT'
[Unit]
Description=the reader of the how-tos
[Service]
ExecStart=/bin/sh -c '/srv/script >/srv/log 2>&1; echo $? >/srv/rc; sync; systemctl --no-block poweroff'
UNIT
    printf '[Timer]\nOnBootSec=3\n[Install]\nWantedBy=timers.target\n' >"$root/etc/systemd/system/howtos.timer"
    chroot "$root" systemctl enable howtos.timer 2>/dev/null
    # Both let the host's names and certificates be used while packages are fetched.
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    chroot "$root" apt-get update -qq
}

# Puts the packages that the pages install where apt-get looks before it asks the network.
fetch_packages() {
    # shellcheck disable=SC2046  # a list of words
    chroot "$root" apt-get install -qq -y --download-only --no-install-recommends \
        $(cd "$checkout" && python3 -m tools.howtos.packages)
}

# Makes a copy of the bare tree, and follows there what installs: that needs the network, and neither systemd nor a kernel.
install_there() {
    rm -rf --one-file-system "$tree"
    cp -a "$root" "$tree"
    copy_checkout
    [ -z "${HOWTOS_SLOW-}" ] || raise_deadlines
    unshare --mount --pid --fork --kill-child sh -eu -c '
        mount -t proc proc "$1/proc"
        exec chroot "$1" sh -c "cd /srv/cofferdam && exec python3 -m tools.howtos.follow --part install --with network"
    ' sh "$tree"
}

copy_checkout() {
    mkdir -p "$tree/srv/cofferdam"
    (cd "$checkout" && git ls-files -z --cached --others --exclude-standard |
        xargs -0 sh -c 'for file; do [ ! -e "$file" ] || printf "%s\0" "$file"; done' sh |
        tar --create --null --files-from=-) | tar --extract --directory="$tree/srv/cofferdam" --no-same-owner
}

raise_deadlines() {
    sample=$tree/srv/cofferdam/packaging/config.toml
    sed -i 's/^timeout = .*/timeout = 10000/' "$sample"
    # Its last table is [limits].
    printf '%s = 60000\n' answer_timeout_ms drain_ms request_timeout_ms >>"$sample"
}

# reader FEATURE...: has systemd follow the way through the pages, but for the installation.
reader() {
    script "tools.howtos.follow --part use --with $*"
}

# script MODULE ARGUMENT...: leaves in the tree what systemd runs there.
script() {
    rm -f "$tree/srv/log" "$tree/srv/rc"
    printf '#!/bin/sh\ncd /srv/cofferdam && exec python3 -m %s\n' "$1" >"$tree/srv/script"
    chmod 0755 "$tree/srv/script"
}

emulated() {
    reader systemd tpm
    boot ''
}

# Only the service is on this machine, enabled as its page says, with what it is shipped with.
slow() {
    install -m 0644 "$checkout"/packaging/systemd/cofferdam.* "$tree/etc/systemd/system/"
    chroot "$tree" systemctl enable cofferdam.socket cofferdam.service 2>/dev/null
    fast_ms=$(cd "$checkout" && python3 -m tools.howtos.slow measure)
    script "tools.howtos.slow see $fast_ms"
    group=$(processor_share "${HOWTOS_SHARE:-40}")
    boot "$group"
    rmdir "$group"
}

# Makes a control group, whose processes have so many per cent of one processor, and prints its folder.
processor_share() {
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
        mkdir "/sys/fs/cgroup/howtos-$$"
        echo +cpu >/sys/fs/cgroup/cgroup.subtree_control
        echo "${1}000 100000" >"/sys/fs/cgroup/howtos-$$/cpu.max"
        echo "/sys/fs/cgroup/howtos-$$"
    else
        mkdir "/sys/fs/cgroup/cpu/howtos-$$"
        echo "${1}000" >"/sys/fs/cgroup/cpu/howtos-$$/cpu.cfs_quota_us"
        echo "/sys/fs/cgroup/cpu/howtos-$$"
    fi
}

# boot GROUP: boots the tree on a kernel of its own, in a control group unless it is empty, until the tree's script ends.
boot() {
    needs qemu-system-x86:qemu-system-x86_64 e2fsprogs:mke2fs e2fsprogs:debugfs swtpm:swtpm
    work=$(mktemp -d)
    mke2fs -q -t ext4 -d "$tree" "$work/disk" "$(($(du -sm "$tree" | cut -f1) + 1000))M" >/dev/null
    mkdir "$work/tpm"
    swtpm socket --tpm2 --tpmstate "dir=$work/tpm" --ctrl "type=unixio,path=$work/tpm.sock" --flags startup-clear &
    swtpm=$!
    while [ ! -S "$work/tpm.sock" ]; do sleep 0.1; done
    # shellcheck disable=SC2016  # the inner shell reads them
    sh -c '[ -z "$1" ] || echo $$ >"$1/cgroup.procs"; shift; exec "$@"' sh "$1" \
        timeout "$most_s" qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -m 2000 -nographic -no-reboot -nic none \
        -kernel "$(ls "$tree"/boot/vmlinuz-* | tail -n 1)" -initrd "$(ls "$tree"/boot/initrd.img-* | tail -n 1)" \
        -drive "file=$work/disk,if=virtio,format=raw" \
        -chardev "socket,id=tpm,path=$work/tpm.sock" -tpmdev emulator,id=tpm0,chardev=tpm -device tpm-tis,tpmdev=tpm0 \
        -append "console=ttyS0 root=/dev/vda rw quiet panic=-1 systemd.show_status=0 lsm=landlock,lockdown,yama,apparmor" \
        >"$home/console" 2>&1 </dev/null || echo "machine: it was ended after $most_s s" >&2
    kill "$swtpm" 2>/dev/null || : # it ends with the machine
    debugfs -R 'cat /srv/log' "$work/disk" 2>/dev/null >"$tree/srv/log"
    debugfs -R 'cat /srv/rc' "$work/disk" 2>/dev/null >"$tree/srv/rc"
    rm -rf --one-file-system "$work"
}

# Every hierarchy of control groups gets a group, which is the root of what systemd sees of it.
namespaces() {
    reader systemd swtpm
    group=howtos-$$
    for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
        [ -f "$hierarchy/cgroup.procs" ] && [ -d "$hierarchy" ] || continue
        [ "$hierarchy" = /sys/fs/cgroup ] || [ ! -f /sys/fs/cgroup/cgroup.procs ] || continue # of version 2 alone
        mkdir "$hierarchy/$group"
        for file in cpuset.cpus cpuset.mems; do # without them a group of version 1 takes no process
            [ "${hierarchy##*/}" != cpuset ] || cat "$hierarchy/$file" >"$hierarchy/$group/$file"
        done
    done
    sh -eu -c '
        for folder in /sys/fs/cgroup/"$1" /sys/fs/cgroup/*/"$1"; do
            [ ! -d "$folder" ] || echo $$ >"$folder/cgroup.procs"
        done
        shift
        exec "$@"
    ' sh "$group" timeout "$most_s" \
        unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup "$checkout/tools/howtos/become_systemd.sh" \
        "$tree" >"$home/console" 2>&1 </dev/null || echo "machine: it was ended after $most_s s" >&2
    for folder in /sys/fs/cgroup/"$group" /sys/fs/cgroup/*/"$group"; do
        [ ! -d "$folder" ] || find "$folder" -depth -type d -exec rmdir {} +
    done
}

# once STAGE: does it unless a kept tree has it.
once() {
    [ -e "$home/.$1" ] || "$1"
    touch "$home/.$1"
}

[ -n "${HOWTOS_KEEP-}" ] || rm -f "$home"/.[a-z]*
once make_tree
once fetch_packages
status=0
for machine in "$@"; do
    case $machine in
    emulated | namespaces | slow) ;;
    *) die "there is no machine '$machine'; expected: namespaces, emulated, slow" ;;
    esac
    install_there
    "$machine"
    cp "$tree/srv/log" "$home/log-$machine"
    cat "$tree/srv/log"
    rc=$(cat "$tree/srv/rc" 2>/dev/null || :)
    case $rc in
    0) outcome=worked ;;
    '') outcome="did not end, see $home/console" status=1 ;;
    *) outcome="failed, see the end of $home/log-$machine" status=1 ;;
    esac
    echo "machine: $suite, $machine: $outcome" >&2
done
exit "$status"

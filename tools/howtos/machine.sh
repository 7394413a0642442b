#!/bin/sh
# Follow the how-tos under systemd, on a bare Debian machine with a kernel and a TPM of its own, under software emulation.
#
#   machine.sh SUITE [--keep]   bookworm or trixie; two boots, with a TPM and without; --keep: reuse the tree of the last run
#
# Needs root, a network, and the packages qemu-system-x86 mmdebstrap e2fsprogs swtpm. What the pages say about the
# installation runs in a chroot, the rest in the machine, where everything is 5 times slower than outside, 20 times when
# both processors of the host are busy. The machine has no network: apt-get finds in its cache what the pages install
# there. KVM is not used: nested in another machine it may hang. HOWTOS_SLOW=1 raises the deadlines of the sample
# configuration and of systemd, for a host that is busy.
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
keep=${2-}
case $suite in
bookworm | trixie) ;;
*) die "which Debian? bookworm or trixie" ;;
esac
for program in qemu-system-x86_64 mmdebstrap mke2fs debugfs swtpm; do
    command -v "$program" >/dev/null || die "$program is missing: apt-get install qemu-system-x86 mmdebstrap e2fsprogs swtpm"
done
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
    printf '%s = 60000\n' answer_timeout_ms drain_ms hang_ms request_timeout_ms start_ms >>"$sample"
    mkdir -p "$tree/etc/systemd/system.conf.d"
    printf '[Manager]\nDefaultTimeoutStartSec=600\n' >"$tree/etc/systemd/system.conf.d/slow.conf"
}

# boot NAME FEATURE...: follows the pages on a machine that has these features, and prints what they did.
boot() {
    name=$1
    shift
    rm -f "$tree/srv/log" "$tree/srv/rc"
    printf '#!/bin/sh\ncd /srv/cofferdam && exec python3 -m tools.howtos.follow --part use --with %s\n' "$*" >"$tree/srv/script"
    chmod 0755 "$tree/srv/script"
    work=$(mktemp -d)
    mke2fs -q -t ext4 -d "$tree" "$work/disk" "$(($(du -sm "$tree" | cut -f1) + 2500))M" >/dev/null
    swtpm=
    set --
    if [ "$name" = tpm ]; then
        mkdir "$work/tpm"
        swtpm socket --tpm2 --tpmstate "dir=$work/tpm" --ctrl "type=unixio,path=$work/tpm.sock" --flags startup-clear &
        swtpm=$!
        while [ ! -S "$work/tpm.sock" ]; do sleep 0.1; done
        set -- -chardev "socket,id=tpm,path=$work/tpm.sock" -tpmdev emulator,id=tpm0,chardev=tpm \
            -device tpm-tis,tpmdev=tpm0
    fi
    timeout "$most_s" qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -m 2000 -nographic -no-reboot -nic none \
        -kernel "$(ls "$tree"/boot/vmlinuz-* | tail -n 1)" -initrd "$(ls "$tree"/boot/initrd.img-* | tail -n 1)" \
        -drive "file=$work/disk,if=virtio,format=raw" "$@" -append \
        "console=ttyS0 root=/dev/vda rw quiet panic=-1 systemd.show_status=0 lsm=landlock,lockdown,yama,integrity,apparmor,bpf" \
        >"$home/console-$name" 2>&1 </dev/null || echo "machine: it was ended after $most_s s" >&2
    debugfs -R 'cat /srv/log' "$work/disk" >"$home/log-$name" 2>/dev/null
    rc=$(debugfs -R 'cat /srv/rc' "$work/disk" 2>/dev/null)
    [ -z "$swtpm" ] || kill "$swtpm" 2>/dev/null || : # it ends with the machine
    rm -rf --one-file-system "$work"
    cat "$home/log-$name"
    echo "machine: $suite, $name: ${rc:-it did not end, see $home/console-$name}" >&2
    [ "$rc" = 0 ]
}

# once STAGE: does it unless a kept tree has it.
once() {
    [ -e "$home/.$1" ] || "$1"
    touch "$home/.$1"
}

[ "$keep" = --keep ] || rm -f "$home"/.[a-z]*
once make_tree
once fetch_packages
install_there
status=0
boot tpm systemd tpm || status=1
boot swtpm systemd swtpm || status=1
exit "$status"

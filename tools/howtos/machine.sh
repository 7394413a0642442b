#!/bin/sh
# Follow the how-tos under systemd, on a bare Debian machine with a kernel and a TPM of its own, under software emulation.
#
#   machine.sh SUITE [--keep]   bookworm or trixie; two boots, with a TPM and without; --keep: reuse the tree of the last run
#
# Needs root, a network, and the packages qemu-system-x86 mmdebstrap e2fsprogs swtpm. Takes 20 to 40 minutes: everything in the
# machine is 5 times slower than outside, 20 times when both processors of the host are busy. The machine has no network.
# apt-get finds what it installs in its cache, and pip in a folder, as they were fetched before. KVM is not used: nested
# in another machine it may hang.
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
wheels=$root/srv/wheels

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

# Runs with a layer over the tree that goes away with it, because the machine is to be bare: fetches what pip installs.
# tpm2-pytss is configured with the TSS to learn what it needs.
fetch_wheels() {
    mkdir -p "$wheels"
    unshare --mount sh -eu -s "$root" <<'SH'
root=$1
mount -t tmpfs -o mode=0755 layer /mnt
mkdir /mnt/upper /mnt/work /mnt/tree
mount -t overlay -o "lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work" layer /mnt/tree
mount --bind "$root/srv" /mnt/tree/srv
mount -t proc proc /mnt/tree/proc
DEBIAN_FRONTEND=noninteractive chroot /mnt/tree apt-get install -qq -y --no-install-recommends \
    python3-dev python3-venv gcc libc6-dev libcap-dev libtss2-dev pkg-config >/dev/null
chroot /mnt/tree sh -eu <<'INNER'
python3 -m venv /opt/fetch
cd /srv/cofferdam
pip="/opt/fetch/bin/pip --quiet --disable-pip-version-check"
$pip install --require-hashes --no-build-isolation --use-pep517 -r requirements/build.txt
for name in build runtime; do
    $pip download --require-hashes --no-build-isolation --use-pep517 -d /srv/wheels -r "requirements/$name.txt"
done
INNER
SH
    printf '[global]\nno-index = true\nfind-links = /srv/wheels\ndisable-pip-version-check = true\n' >"$root/etc/pip.conf"
}

copy_checkout() {
    rm -rf --one-file-system "$root/srv/cofferdam"
    mkdir -p "$root/srv/cofferdam"
    (cd "$checkout" && git ls-files -z --cached --others --exclude-standard |
        xargs -0 sh -c 'for file; do [ ! -e "$file" ] || printf "%s\0" "$file"; done' sh |
        tar --create --null --files-from=-) | tar --extract --directory="$root/srv/cofferdam" --no-same-owner
}

# boot NAME FEATURE...: follows the pages on a machine that has these features, and prints what they did.
boot() {
    name=$1
    shift
    rm -f "$root/srv/log" "$root/srv/rc"
    printf '#!/bin/sh\ncd /srv/cofferdam && exec python3 -m tools.howtos.follow --with %s\n' "$*" >"$root/srv/script"
    chmod 0755 "$root/srv/script"
    work=$(mktemp -d)
    mke2fs -q -t ext4 -d "$root" "$work/disk" "$(($(du -sm "$root" | cut -f1) + 2500))M" >/dev/null
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
        -kernel "$(ls "$root"/boot/vmlinuz-* | tail -n 1)" -initrd "$(ls "$root"/boot/initrd.img-* | tail -n 1)" \
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
copy_checkout
once fetch_wheels
status=0
boot tpm systemd network tpm || status=1
boot swtpm systemd network swtpm || status=1
exit "$status"

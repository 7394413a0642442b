#!/bin/sh
# Become systemd in a tree, as the first process of new namespaces: become_systemd.sh TREE
set -eu
tree=$1
mount --bind "$tree" "$tree"
cd "$tree"
mount -t proc proc proc
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t tmpfs -o mode=0755 dev dev
for device in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 0666 "dev/${device%:*}" c 1 "${device#*:}"; done
mknod -m 0666 dev/tty c 5 0
mkdir dev/pts dev/shm old
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t tmpfs -o mode=0755 run run
pivot_root . old
# Without this, LoadCredential= of a unit finds no folder.
mount --make-rshared /
umount -l /old
rmdir /old
exec env -i container=howtos /lib/systemd/systemd

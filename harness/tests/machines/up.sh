# Three virtual machines with Debian's kernel, reachable from a network namespace of their own and from nowhere else.
# Usage: up.sh DIR ACCEL NETNS. In DIR: the disk (made once: root, debootstrap), key, known_hosts, and each machine's pid.
set -eu
cd "$1"
if [ ! -f disk.img ]; then
  rm -rf root
  debootstrap --variant=minbase --include=systemd-sysv,dbus,kmod,procps,iproute2,iptables,openssh-server,sudo,systemd-timesyncd,linux-image-cloud-amd64,initramfs-tools \
    bookworm root >debootstrap.log 2>&1
  cp root/boot/vmlinuz-* vmlinuz
  cp root/boot/initrd.img-* initrd
  [ -f key ] || ssh-keygen -q -t ed25519 -N '' -f key
  chroot root useradd --create-home --shell /bin/sh admin
  for home in root/root root/home/admin; do
    mkdir -p -m 700 $home/.ssh
    cp key.pub $home/.ssh/authorized_keys
  done
  chroot root chown -R admin:admin /home/admin
  echo 'admin ALL=(ALL) NOPASSWD: ALL' >root/etc/sudoers.d/admin
  chmod 440 root/etc/sudoers.d/admin
  printf '127.0.0.1 localhost n1 n2 n3\n' >root/etc/hosts
  printf '/dev/vda / ext4 defaults 0 1\n' >root/etc/fstab
  # `machine=3` on the kernel's command line: which one this is.
  cat >root/usr/local/sbin/machine-net <<'UP'
#!/bin/sh
n=$(sed -n 's/.*machine=\([0-9]*\).*/\1/p' /proc/cmdline)
echo "n$n" >/proc/sys/kernel/hostname
dev=$(ls /sys/class/net | grep -v lo | head -n 1)
ip link set lo up
ip link set "$dev" up
ip addr add "10.77.0.$n/24" dev "$dev"
ip addr add "fd77::$n/64" dev "$dev" nodad
UP
  chmod 755 root/usr/local/sbin/machine-net
  cat >root/etc/systemd/system/machine-net.service <<'UNIT'
[Unit]
Before=ssh.service
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/machine-net
[Install]
WantedBy=multi-user.target
UNIT
  chroot root systemctl enable machine-net systemd-timesyncd >>debootstrap.log 2>&1
  for n in 1 2 3; do
    for address in 10.77.0.$n fd77::$n; do
      echo "$address $(cut -d ' ' -f 1,2 root/etc/ssh/ssh_host_ed25519_key.pub)"
    done
  done >known_hosts
  mke2fs -q -t ext4 -d root disk.part 2G
  rm -rf root
  mv disk.part disk.img
fi
netns=$3
run() { ip netns exec "$netns" "$@"; }
ip netns add "$netns"
run ip link set lo up
run ip link add br0 type bridge
run ip link set br0 up
run ip addr add 10.77.0.254/24 dev br0
run ip addr add fd77::fe/64 dev br0 nodad
for n in 1 2 3; do
  run ip tuntap add tap$n mode tap
  run ip link set tap$n master br0 up
  # Not by way of a function: `$!` is the machine itself then, and nobody else holds on to this script's output.
  ip netns exec "$netns" qemu-system-x86_64 -accel "$2" -cpu max -m 512 -smp 1 -nodefaults -nographic -serial file:console$n \
    -kernel vmlinuz -initrd initrd -append "root=/dev/vda rw console=ttyS0 machine=$n" \
    -drive file=disk.img,if=virtio,format=raw,snapshot=on,cache=unsafe -device virtio-rng-pci \
    -netdev tap,id=net,ifname=tap$n,script=no,downscript=no -device virtio-net-pci,netdev=net,romfile=,mac=52:54:00:77:00:0$n \
    </dev/null >qemu$n.log 2>&1 &
  echo $! >pid$n
done

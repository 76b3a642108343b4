setpriv
--pdeathsig
KILL
--
qemu-system-aarch64
-nodefaults
-no-user-config
-nographic
-no-reboot
-machine
virt
-accel
tcg
-cpu
cortex-a72
-m
256M
-device
pvpanic-pci
-action
panic=exit-failure
-chardev
file,id=console,path=console.log
-serial
chardev:console
-device
virtio-serial-pci
-chardev
file,id=events,path=events.jsonl
-device
virtserialport,chardev=events,name=org.kheaders.events
-kernel
/a b/image
-append
console=ttyAMA0 panic=-1 loglevel=6 mitigations=off highres=off nohz=off x=y
-initrd
/a b/cpio

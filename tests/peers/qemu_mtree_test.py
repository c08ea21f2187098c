# SPDX-License-Identifier: MIT
"""`memvirt mtree --import` against a real QEMU: machines are started, SeaBIOS runs for a while, and then QEMU is asked.

What `info mtree` prints, with and without -D and -o, must be printed back byte for byte, and what the import makes of it
must be what `info mtree -f` prints: the same paragraphs, each with the same spaces, root and ranges. Their order is free, as it is
that of a hash table. The accelerator's word is there if the flat views are in the same text, and else it is left out.
"""
import collections
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'e2e'))

from harness import memvirt, temporary  # noqa: E402
from tap import Skip, add, equal, main  # noqa: E402

QEMU = os.environ.get('QEMU_SYSTEM_X86_64') or shutil.which('qemu-system-x86_64')
LONG = bool(os.environ.get('MEMVIRT_TEST_LONG'))
BOOT_SECONDS = 8 if LONG else 2.5

SHARED = ['-object', 'memory-backend-ram,id=shm,size=4M,share=on', '-device', 'ivshmem-plain,memdev=shm']
MACHINES = {
    'pc_bare': ['-M', 'pc', '-m', '128', '-nodefaults'],
    'pc_10g': ['-M', 'pc', '-m', '10G'],
    'pc_devices': ['-M', 'pc', '-m', '1G,slots=4,maxmem=8G', '-device', 'e1000', '-device', 'nec-usb-xhci',
                   '-device', 'nvme,serial=a', '-device', 'edu', *SHARED,
                   '-object', 'memory-backend-ram,id=d0,size=512M', '-device', 'pc-dimm,memdev=d0',
                   '-device', 'virtio-net-pci', '-device', 'virtio-rng-pci'],
    'pc_bridges': ['-M', 'pc', '-m', '4G', '-smp', '2', '-device', 'pci-bridge,id=b1,chassis_nr=1',
                   '-device', 'pci-bridge,id=b2,chassis_nr=2', '-device', 'e1000,bus=b1,addr=1',
                   '-device', 'e1000,bus=b2,addr=1', '-device', 'virtio-balloon-pci'],
    'pc_kvm': ['-accel', 'kvm', '-M', 'pc', '-m', '256'],
    'q35': ['-M', 'q35', '-m', '3G'],
    'q35_devices': ['-M', 'q35,nvdimm=on', '-m', '2G,slots=4,maxmem=16G', '-device', 'intel-iommu',
                    '-device', 'e1000e', '-device', 'qemu-xhci', '-device', 'nvme,serial=a',
                    '-device', 'pcie-root-port,id=rp0,chassis=1', '-device', 'virtio-net-pci,bus=rp0',
                    '-object', 'memory-backend-ram,id=nv0,size=256M', '-device', 'nvdimm,memdev=nv0',
                    '-device', 'virtio-gpu-pci', '-device', 'pcie-pci-bridge,id=br1', '-device', 'e1000,bus=br1',
                    *SHARED],
    'q35_amd_iommu': ['-M', 'q35', '-m', '1G', '-device', 'amd-iommu', '-device', 'e1000e'],
    'q35_kvm': ['-accel', 'kvm', '-M', 'q35', '-m', '6G', '-smp', '4', '-device', 'e1000e', '-device', 'qemu-xhci'],
    'microvm': ['-M', 'microvm', '-m', '512'],
    'isapc': ['-M', 'isapc', '-m', '64', '-cpu', 'qemu32'],
}
if LONG:
    MACHINES.update({
        'pc_tiny': ['-M', 'pc', '-m', '8'],
        'pc_stopped': ['-M', 'pc', '-m', '4G', '-S', '-vga', 'cirrus', '-device', 'sb16', '-device', 'ne2k_isa'],
        'pc_displays': ['-M', 'pc', '-vga', 'qxl', '-device', 'bochs-display', '-device', 'lsi53c895a',
                        '-device', 'megasas', '-device', 'ich9-ahci', '-device', 'sdhci-pci', '-device', 'AC97',
                        '-device', 'rtl8139', '-device', 'tpci200', '-device', 'pvpanic-pci'],
        'q35_many': ['-M', 'q35', '-m', '4G', '-smp', '8', '-device', 'ioh3420,id=p1,chassis=1',
                     '-device', 'ioh3420,id=p2,chassis=2', '-device', 'x3130-upstream,id=up,bus=p1',
                     '-device', 'xio3130-downstream,id=d1,bus=up,chassis=3', '-device', 'nvme,serial=b,bus=d1',
                     '-device', 'vmxnet3,bus=p2', '-device', 'intel-hda',
                     '-device', 'usb-ehci', '-device', 'piix3-usb-uhci', '-device', 'virtio-iommu-pci'],
        'pc_pxb': ['-M', 'pc', '-m', '1G', '-device', 'pxb,id=x1,bus_nr=128', '-device', 'e1000,bus=x1,addr=1'],
        'q35_no_smm': ['-M', 'q35,smm=off', '-m', '512', '-device', 'vmcoreinfo', '-device', 'pvscsi'],
    })


class Monitor:
    """A QEMU with its QMP socket, until the end of a `with`."""

    def __init__(self, arguments):
        self.arguments = arguments

    def __enter__(self):
        self.folder = temporary()
        path = os.path.join(self.folder.__enter__(), 'qmp')
        self.process = subprocess.Popen(
            [QEMU, '-display', 'none', '-qmp', 'unix:%s,server=on,wait=off' % path] + self.arguments,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            self.connect(path)
        except BaseException:
            self.__exit__()
            raise
        return self

    def connect(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + 30
        while True:
            if self.process.poll() is not None:
                raise Skip('QEMU does not start this machine: ' + self.process.stderr.read().decode())
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self.socket.settimeout(60)
        self.stream = self.socket.makefile('rw')
        self.stream.readline()
        self.execute('qmp_capabilities')

    def execute(self, command, **arguments):
        self.stream.write(json.dumps({'execute': command, 'arguments': arguments}) + '\n')
        self.stream.flush()
        while True:
            answer = json.loads(self.stream.readline())
            if 'return' in answer:
                return answer['return']
            if 'error' in answer:
                raise AssertionError(answer)

    def info_mtree(self, flags=''):
        line = ('info mtree ' + flags).strip()
        return self.execute('human-monitor-command', **{'command-line': line}).replace('\r\n', '\n')

    def __exit__(self, *_):
        if hasattr(self, 'stream'):
            self.stream.close()
        if hasattr(self, 'socket'):
            self.socket.close()
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        self.folder.__exit__(None, None, None)


def paragraphs(text):
    """The flat views: how often there is one of these spaces, this root and these ranges."""
    found = collections.Counter()
    for paragraph in text.strip('\n').split('\n\n'):
        lines = [re.sub(r'( KVM)+$', '', line) for line in paragraph.split('\n')[1:]]
        spaces = sorted(line for line in lines if line.startswith(' AS '))
        found[tuple(spaces), tuple(line for line in lines if not line.startswith(' AS '))] += 1
    return found


def spaces(text):
    """The same, each space for itself."""
    found = collections.Counter()
    for (names, lines), count in paragraphs(text).items():
        for name in names:
            found[name, lines] += count
    return found


def check(name, text, flat, folder):
    path = os.path.join(folder, 'dump')
    with open(path, 'w') as file:
        file.write(text)
    back = memvirt('mtree', '--import', path)
    equal(back.status, 0, name + str(back))
    if back.out != text:
        wanted, got = text.split('\n'), back.out.split('\n')
        line = next((i for i, pair in enumerate(zip(wanted, got)) if pair[0] != pair[1]), min(len(wanted), len(got)))
        raise AssertionError('%s, line %d: got %r, wanted %r' % (name, line + 1, got[line:line + 3],
                                                               wanted[line:line + 3]))
    result = memvirt('mtree', '--import', path, '-f')
    # Where the text leaves open which of several like regions is meant, which spaces share a view is open too.
    split = spaces if result.said() else paragraphs
    wanted, got = split(flat), split(result.out)
    equal(list((got - wanted).elements()), list((wanted - got).elements()), name + ', flat views')


def slots_are_kept(text, flat, folder):
    """Given the flat views too, what is in slots is told as they tell it."""
    path = os.path.join(folder, 'both')
    with open(path, 'w') as file:
        file.write(text + flat)
    back = memvirt('mtree', '--import', path, '-f').out
    equal(sorted(line for line in back.split('\n') if line.endswith(' KVM')),
          sorted(line for line in flat.split('\n') if line.endswith(' KVM')))


def machine_is_understood(arguments):
    if not QEMU:
        raise Skip('qemu-system-x86_64 is not installed (Debian: qemu-system-x86), nor does QEMU_SYSTEM_X86_64 name one')
    with temporary() as folder, Monitor(arguments) as qemu:
        time.sleep(BOOT_SECONDS)
        qemu.execute('stop')
        flat = qemu.info_mtree('-f')
        flat_owner = qemu.info_mtree('-f -o')
        for flags in ('', '-D', '-o', '-o -D'):
            check('info mtree ' + flags, qemu.info_mtree(flags), flat_owner if '-o' in flags else flat, folder)
        equal(' KVM\n' in flat, 'kvm' in arguments)
        slots_are_kept(qemu.info_mtree('-D'), flat, folder)
        slots_are_kept(qemu.info_mtree('-o -D'), flat_owner, folder)


for machine_name, machine_arguments in MACHINES.items():
    add(machine_name, machine_is_understood, machine_arguments)

if __name__ == '__main__':
    main()

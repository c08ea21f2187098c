# SPDX-License-Identifier: MIT
"""kvm-unit-tests on the minimal board. KVM_UNIT_TESTS names a tree that is already built; without it these are skipped.

    KVM_UNIT_TESTS=TREE ./dev test peers-kvm-unit-tests

x86/rmap_chain.flat maps one page as often as memory allows, writes through each mapping, and then turns one of the mappings
into a page that holds a page table. It passes if nothing hangs, and prints PASS (reference: kvm-unit-tests, x86/rmap_chain.c).
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'e2e'))

import tap  # noqa: E402
from harness import memvirt, need_kvm  # noqa: E402

# Seconds: a KVM without hardware virtualization emulates ring 0, and this is nothing but ring 0.
PATIENCE = 600


def image_of():
    tree = os.environ.get('KVM_UNIT_TESTS')
    if not tree:
        raise tap.Skip('KVM_UNIT_TESTS does not name a built tree of kvm-unit-tests')
    need_kvm()
    return os.path.join(tree, 'x86', 'rmap_chain.flat')


def is_long():
    return bool(os.environ.get('MEMVIRT_TEST_LONG'))


@tap.test
def rmap_chain_passes():
    result = memvirt('run', '--accel', 'kvm', '-m', '1G' if is_long() else '256M', image_of(), timeout=PATIENCE)
    result.expect(0)
    tap.equal('PASS' in result.out.splitlines(), True, str(result))


@tap.test
def rmap_chain_counts_as_kvm():
    """What KVM counts and what `soft` does, beside each other: tests/conform/kvm_counters_test.c."""
    megabytes = '128' if is_long() else '64'
    result = subprocess.run([os.environ['KVM_COUNTERS'], image_of(), megabytes], capture_output=True, text=True,
                            env=os.environ | {'CMOCKA_MESSAGE_OUTPUT': 'TAP'}, timeout=PATIENCE, check=False)
    for line in result.stdout.splitlines():
        if '# SKIP ' in line:
            raise tap.Skip(line.partition('# SKIP ')[2])
        if line.startswith('#'):
            print(line)
    tap.equal(result.returncode, 0, result.stdout + result.stderr)


tap.main()

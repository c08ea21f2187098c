# SPDX-License-Identifier: MIT
"""kvm-unit-tests on the minimal board. KVM_UNIT_TESTS names a tree that is already built; without it these are skipped.

x86/rmap_chain.flat maps one page as often as memory allows, writes through each mapping, and then turns one of the mappings
into a page that holds a page table. It passes if nothing hangs, and prints PASS (reference: kvm-unit-tests, x86/rmap_chain.c).
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'e2e'))

import tap  # noqa: E402
from harness import memvirt, need_kvm  # noqa: E402

# Seconds: a KVM without hardware virtualization emulates ring 0, and this is nothing but ring 0.
PATIENCE = 600


@tap.test
def rmap_chain_passes():
    tree = os.environ.get('KVM_UNIT_TESTS')
    if not tree:
        raise tap.Skip('KVM_UNIT_TESTS does not name a built tree of kvm-unit-tests')
    need_kvm()
    image = os.path.join(tree, 'x86', 'rmap_chain.flat')
    memory = '1G' if os.environ.get('MEMVIRT_TEST_LONG') else '256M'
    result = memvirt('run', '--accel', 'kvm', '-m', memory, image, timeout=PATIENCE)
    result.expect(0)
    tap.equal('PASS' in result.out.splitlines(), True, str(result))


tap.main()

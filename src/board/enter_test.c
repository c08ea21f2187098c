// SPDX-License-Identifier: MIT
#include "board/enter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* As a processor's reset leaves them, with marks in what must stay. */
static struct kvm_sregs after_reset(void)
{
    struct kvm_sregs sregs;
    memset(&sregs, 0, sizeof sregs);
    sregs.cr0 = 0x60000010;
    sregs.apic_base = 0xfee00900;
    sregs.tr.type = 11;
    sregs.tr.present = 1;
    sregs.ldt.type = 2;
    sregs.gdt.limit = 0xffff;
    sregs.cs.base = 0xffff0000;
    sregs.cs.selector = 0xf000;
    return sregs;
}

static void assert_kept(const struct kvm_sregs *sregs)
{
    assert_int_equal(sregs->apic_base, 0xfee00900);
    assert_int_equal(sregs->tr.type, 11);
    assert_int_equal(sregs->tr.present, 1);
    assert_int_equal(sregs->ldt.type, 2);
    assert_int_equal(sregs->gdt.limit, 0xffff);
}

static void assert_flat(const struct kvm_segment *segment, unsigned type)
{
    assert_int_equal(segment->base, 0);
    assert_int_equal(segment->limit, 0xffffffff);
    assert_int_equal(segment->type, type);
    assert_int_equal(segment->s, 1);
    assert_int_equal(segment->dpl, 0);
    assert_int_equal(segment->present, 1);
    assert_int_equal(segment->db, 1);
    assert_int_equal(segment->l, 0);
    assert_int_equal(segment->g, 1);
    assert_int_equal(segment->unusable, 0);
}

static void an_elf_starts_in_the_multiboot_state(void **state)
{
    (void)state;
    struct kvm_sregs sregs = after_reset();
    struct kvm_regs regs = {.rdx = 0x600, .r15 = 5};
    const struct mv_image image = {
        .entry_mode = MV_ENTRY_PROTECTED,
        .entry = {0x4000bc},
        .info = {0x9000},
    };
    enter_registers(&image, &regs, &sregs);
    assert_int_equal(regs.rax, 0x2badb002);
    assert_int_equal(regs.rbx, 0x9000);
    assert_int_equal(regs.rip, 0x4000bc);
    assert_int_equal(regs.rflags, 2);
    assert_int_equal(regs.rdx | regs.r15, 0);
    assert_int_equal(sregs.cr0 & 0x80000001, 1); /* PE without PG */
    assert_int_equal(sregs.cr3 | sregs.cr4 | sregs.efer, 0);
    assert_flat(&sregs.cs, 11);
    const struct kvm_segment *data[] = {&sregs.ds, &sregs.es, &sregs.fs, &sregs.gs, &sregs.ss};
    for (size_t i = 0; i < 5; i++) {
        assert_flat(data[i], 3);
    }
    assert_kept(&sregs);
}

static void a_flat_binary_starts_in_real_mode(void **state)
{
    (void)state;
    struct kvm_sregs sregs = after_reset();
    struct kvm_regs regs = {.rdx = 0x600};
    const struct mv_image image = {.entry_mode = MV_ENTRY_REAL, .entry = {0x10000}};
    enter_registers(&image, &regs, &sregs);
    assert_int_equal(regs.rip, 0);
    assert_int_equal(regs.rflags, 2);
    assert_int_equal(regs.rsp, 0x8000);
    assert_int_equal(sregs.cr0 & 0x80000001, 0);
    assert_int_equal(sregs.cs.selector, 0x1000);
    assert_int_equal(sregs.cs.base, 0x10000);
    assert_int_equal(sregs.cs.limit, 0xffff);
    assert_int_equal(sregs.cs.db, 0);
    assert_int_equal(sregs.ds.selector, 0x1000);
    assert_int_equal(sregs.es.base, 0x10000);
    assert_int_equal(sregs.ss.selector, 0);
    assert_int_equal(sregs.ss.base, 0);
    assert_kept(&sregs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_elf_starts_in_the_multiboot_state),
        cmocka_unit_test(a_flat_binary_starts_in_real_mode),
    };
    return cmocka_run_group_tests_name("enter", tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
/* Tables built by hand in a small memory, for every paging mode. */
#include "paging/x86.h"

#include "paging/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MEMORY_SIZE 0x10000

static unsigned char memory[MEMORY_SIZE];

static bool read_memory(void *opaque, gpa_t at, unsigned size_bytes, uint64_t *ret)
{
    (void)opaque;
    if (at.raw > MEMORY_SIZE - size_bytes) {
        return false;
    }
    *ret = 0;
    memcpy(ret, memory + at.raw, size_bytes);
    return true;
}

static void put64(uint64_t table, unsigned index, uint64_t entry)
{
    memcpy(memory + table + index * 8, &entry, 8);
}

static void put32(uint64_t table, unsigned index, uint32_t entry)
{
    memcpy(memory + table + index * 4, &entry, 4);
}

/* How a processor translates that has all there is but what this says. */
struct setup {
    enum mv_paging_mode mode;
    uint64_t cr3;
    bool pse, nxe, no_1g_pages;
    unsigned address_bits; /* 0: 52 */
};

static struct paging compiled(struct setup s)
{
    struct paging_cpu cpu = {
        .address_bits = (uint8_t)(s.address_bits ? s.address_bits : 52),
        .has_1g_pages = !s.no_1g_pages,
        .has_pse36 = true,
    };
    struct paging_regs regs = {.cr0 = s.mode == MV_PAGING_OFF ? 0 : X86_CR0_PG, .cr3 = s.cr3};
    regs.cr4 = (s.pse ? X86_CR4_PSE : 0) | (s.mode >= MV_PAGING_PAE ? X86_CR4_PAE : 0) |
               (s.mode == MV_PAGING_5LEVEL ? X86_CR4_LA57 : 0);
    regs.efer = (s.nxe ? X86_EFER_NXE : 0) | (s.mode >= MV_PAGING_4LEVEL ? X86_EFER_LMA : 0);
    struct paging paging;
    paging_compile(&paging, &regs, &cpu);
    paging_walk_pdptrs(&paging, &cpu);
    return paging;
}

static struct x86_walk walk(struct setup setup, uint64_t gva)
{
    struct x86_walk w;
    struct paging paging = compiled(setup);
    x86_walk(&paging, mv_gva(gva), read_memory, NULL, &w);
    return w;
}

static int reset(void **state)
{
    (void)state;
    memset(memory, 0, sizeof memory);
    return 0;
}

static const struct setup long4 = {.mode = MV_PAGING_4LEVEL, .cr3 = 0x1000 | 0x18, .nxe = true};

static void test_off_is_identity(void **state)
{
    (void)state;
    struct x86_walk w = walk((struct setup){.mode = MV_PAGING_OFF}, 0x12345);
    assert_int_equal(w.end, X86_WALK_MAPPED);
    assert_int_equal(w.count, 0);
    assert_int_equal(w.gpa.raw, 0x12345);
}

static void test_4level_4k(void **state)
{
    (void)state;
    /* gva: 128.1.3.5 + 0x678 */
    uint64_t gva = UINT64_C(128) << 39 | UINT64_C(1) << 30 | UINT64_C(3) << 21 | UINT64_C(5) << 12 | 0x678;
    put64(0x1000, 128, 0x2027);
    put64(0x2000, 1, 0x3027);
    put64(0x3000, 3, 0x4027);
    put64(0x4000, 5, X86_ENTRY_NX | 0xabcde067);
    struct x86_walk w = walk(long4, gva);
    assert_int_equal(w.end, X86_WALK_MAPPED);
    assert_int_equal(w.count, 4);
    assert_int_equal(w.gpa.raw, 0xabcde678);
    assert_int_equal(w.page_size_bytes, 4096);
    assert_int_equal(w.steps[0].at.raw, 0x1000 + 128 * 8);
    assert_int_equal(w.steps[0].level, 4);
    assert_int_equal(w.steps[3].at.raw, 0x4000 + 5 * 8);
    assert_int_equal(w.steps[3].index, 5);
    assert_int_equal(w.steps[3].entry, X86_ENTRY_NX | 0xabcde067);
    assert_string_equal(x86_entry_name(w.steps[1].level), "PDPTE");
}

static void test_large_pages(void **state)
{
    (void)state;
    put64(0x1000, 0, 0x2003);
    put64(0x2000, 0, 0x3003);
    put64(0x3000, 1, 0x40200083 | 1 << 12); /* 2M, with the PAT bit */
    put64(0x2000, 2, UINT64_C(0x1c0000083));
    struct x86_walk w = walk(long4, 0x234567);
    assert_int_equal(w.end, X86_WALK_MAPPED);
    assert_int_equal(w.count, 3);
    assert_int_equal(w.gpa.raw, 0x40234567);
    assert_int_equal(w.page_size_bytes, 2 << 20);
    w = walk(long4, 0x80000000 + 0x1234567);
    assert_int_equal(w.end, X86_WALK_MAPPED);
    assert_int_equal(w.count, 2);
    assert_int_equal(w.gpa.raw, UINT64_C(0x1c1234567));
    assert_int_equal(w.page_size_bytes, 1 << 30);
}

static void test_ends(void **state)
{
    (void)state;
    assert_int_equal(walk(long4, UINT64_C(0x800000000000)).end, X86_WALK_NON_CANONICAL);
    assert_int_equal(walk(long4, UINT64_C(0xffff7fffffffffff)).end, X86_WALK_NON_CANONICAL);
    assert_int_equal(walk(long4, UINT64_C(0xffff800000000000)).end, X86_WALK_NOT_PRESENT);
    put64(0x1000, 0, 0x2002); /* everything but P */
    struct x86_walk w = walk(long4, 0);
    assert_int_equal(w.end, X86_WALK_NOT_PRESENT);
    assert_int_equal(w.count, 1);
    put64(0x1000, 0, 0x2083); /* PS in a PML4E */
    assert_int_equal(walk(long4, 0).end, X86_WALK_RESERVED_BIT);
    put64(0x1000, 0, UINT64_C(0x7fff000003)); /* a table where no memory is */
    w = walk(long4, 0);
    assert_int_equal(w.end, X86_WALK_UNREADABLE);
    assert_int_equal(w.count, 1);
    put64(0x1000, 0, 0x2003);
    put64(0x2000, 0, 0x3003);
    put64(0x3000, 0, 0x202083); /* 2M page with bit 13 */
    assert_int_equal(walk(long4, 0).end, X86_WALK_RESERVED_BIT);
    put64(0x3000, 0, X86_ENTRY_NX | 0x200083);
    assert_int_equal(walk(long4, 0).end, X86_WALK_MAPPED);
    struct setup no_nx = long4;
    no_nx.nxe = false;
    assert_int_equal(walk(no_nx, 0).end, X86_WALK_RESERVED_BIT);
}

/* What depends on the processor's model. */
static void test_less_than_all_there_is(void **state)
{
    (void)state;
    struct setup p = long4;
    put64(0x1000, 0, 0x2003);
    put64(0x2000, 1, 0x40000083); /* 1G */
    put64(0x2000, 0, 0x3003);
    put64(0x3000, 0, 0x4003);
    put64(0x4000, 0, UINT64_C(1) << 40 | 3);
    assert_int_equal(walk(p, 0x40000000).end, X86_WALK_MAPPED);
    p.no_1g_pages = true;
    assert_int_equal(walk(p, 0x40000000).end, X86_WALK_RESERVED_BIT);
    p.address_bits = 41;
    assert_int_equal(walk(p, 0).end, X86_WALK_MAPPED);
    p.address_bits = 40;
    assert_int_equal(walk(p, 0).end, X86_WALK_RESERVED_BIT);
    p.address_bits = 52;
    assert_int_equal(walk(p, 0).end, X86_WALK_MAPPED);

    p = (struct setup){.mode = MV_PAGING_32BIT, .cr3 = 0x1000, .pse = true};
    put32(0x1000, 0, 1 << 18 | 0x83); /* 4M; address bit 37 */
    assert_int_equal(walk(p, 0).end, X86_WALK_MAPPED);
    p.address_bits = 36;
    assert_int_equal(walk(p, 0).end, X86_WALK_RESERVED_BIT);
}

static void test_5level(void **state)
{
    (void)state;
    struct setup p = long4;
    p.mode = MV_PAGING_5LEVEL;
    uint64_t gva = UINT64_C(0xff80) << 48 | UINT64_C(7) << 12 | 9; /* bits 56-48 are 0x180: PML5 index 384 */
    put64(0x1000, 384, 0x2003);
    put64(0x2000, 0, 0x3003);
    put64(0x3000, 0, 0x4003);
    put64(0x4000, 0, 0x5003);
    put64(0x5000, 7, 0x9003);
    struct x86_walk w = walk(p, gva);
    assert_int_equal(w.end, X86_WALK_MAPPED);
    assert_int_equal(w.count, 5);
    assert_int_equal(w.gpa.raw, 0x9009);
    assert_int_equal(walk(p, UINT64_C(0x0100000000000000)).end, X86_WALK_NON_CANONICAL);
}

static void test_pae(void **state)
{
    (void)state;
    struct setup p = {.mode = MV_PAGING_PAE, .cr3 = 0x1020, .nxe = true}; /* 32-byte aligned */
    put64(0x1020, 3, 0x2001);
    put64(0x2000, 511, 0x3007);
    put64(0x3000, 510, UINT64_C(0xfee000007));
    put64(0x2000, 0, UINT64_C(0x7006000e3));
    struct x86_walk w = walk(p, 0xfffff000 - 0x1000 + 4);
    assert_int_equal(w.end, X86_WALK_MAPPED);
    assert_int_equal(w.count, 3);
    assert_int_equal(w.gpa.raw, UINT64_C(0xfee000004));
    w = walk(p, 0xc0012345);
    assert_int_equal(w.gpa.raw, UINT64_C(0x700612345));
    assert_int_equal(w.page_size_bytes, 2 << 20);
    put64(0x2000, 1, UINT64_C(1) << 52 | 0x6000e3);
    assert_int_equal(walk(p, 0xc0200000).end, X86_WALK_RESERVED_BIT);
    put64(0x1020, 0, 0x2003); /* RW is reserved in a PDPTE of PAE paging */
    assert_int_equal(walk(p, 0).end, X86_WALK_RESERVED_BIT);
    assert_int_equal(walk(p, UINT64_C(0x100000000)).end, X86_WALK_NON_CANONICAL);
}

static void test_32bit(void **state)
{
    (void)state;
    struct setup p = {.mode = MV_PAGING_32BIT, .cr3 = 0x1000, .pse = true};
    put32(0x1000, 1, 0x2007);
    put32(0x2000, 2, 0xabcd1007);
    put32(0x1000, 1023, 0x00c06087); /* 4M; bits 13 and 14 are address bits 32 and 33 */
    struct x86_walk w = walk(p, 0x402345);
    assert_int_equal(w.end, X86_WALK_MAPPED);
    assert_int_equal(w.count, 2);
    assert_int_equal(w.gpa.raw, 0xabcd1345);
    assert_int_equal(w.steps[0].at.raw, 0x1004);
    w = walk(p, 0xffc12345);
    assert_int_equal(w.end, X86_WALK_MAPPED);
    assert_int_equal(w.gpa.raw, UINT64_C(0x300c12345));
    assert_int_equal(w.page_size_bytes, 4 << 20);
    p.pse = false; /* PS is ignored: it is a table at 0xc06000, where no memory is */
    assert_int_equal(walk(p, 0xffc12345).end, X86_WALK_UNREADABLE);
}

/* --- all leaves -------------------------------------------------------------------------------- */

struct seen {
    unsigned count;
    struct x86_leaf leaves[8];
    uint64_t total;
};

static bool see(void *opaque, const struct x86_leaf *leaf)
{
    struct seen *seen = opaque;
    if (seen->count < 8) {
        seen->leaves[seen->count++] = *leaf;
    }
    seen->total++;
    return true;
}

static void test_every_leaf_in_order(void **state)
{
    (void)state;
    struct seen seen = {0};
    put64(0x1000, 0, 0x2003);
    put64(0x2000, 0, 0x3003);
    put64(0x3000, 0, 0x4003);
    put64(0x4000, 1, 0x9003);
    put64(0x4000, 9, 0x8003);
    put64(0x3000, 1, 0x400083);
    put64(0x1000, 511, 0x5003);
    put64(0x5000, 511, UINT64_C(0x40000083));
    struct paging paging = compiled(long4);
    x86_for_each_leaf(&paging, 1 << 20, read_memory, NULL, see, &seen);
    assert_int_equal(seen.count, 4);
    assert_int_equal(seen.leaves[0].gva.raw, 0x1000);
    assert_int_equal(seen.leaves[0].gpa.raw, 0x9000);
    assert_int_equal(seen.leaves[1].gva.raw, 0x9000);
    assert_int_equal(seen.leaves[2].gva.raw, 0x200000);
    assert_int_equal(seen.leaves[2].size_bytes, 2 << 20);
    assert_int_equal(seen.leaves[3].gva.raw, UINT64_C(0xffffffffc0000000));
    assert_int_equal(seen.leaves[3].size_bytes, 1 << 30);
}

/* A guest whose every entry leads to the table itself has 2^36 leaves: the tour ends all the same. */
static void test_tour_is_bounded(void **state)
{
    (void)state;
    struct seen seen = {0};
    for (unsigned i = 0; i < 512; i++) {
        put64(0x1000, i, 0x1003);
    }
    struct paging paging = compiled(long4);
    x86_for_each_leaf(&paging, 10000, read_memory, NULL, see, &seen);
    assert_in_range(seen.total, 1, 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_off_is_identity),
        cmocka_unit_test_setup(test_4level_4k, reset),
        cmocka_unit_test_setup(test_large_pages, reset),
        cmocka_unit_test_setup(test_ends, reset),
        cmocka_unit_test_setup(test_less_than_all_there_is, reset),
        cmocka_unit_test_setup(test_5level, reset),
        cmocka_unit_test_setup(test_pae, reset),
        cmocka_unit_test_setup(test_32bit, reset),
        cmocka_unit_test_setup(test_every_leaf_in_order, reset),
        cmocka_unit_test_setup(test_tour_is_bounded, reset),
    };
    return cmocka_run_group_tests_name("x86", tests, NULL, NULL);
}

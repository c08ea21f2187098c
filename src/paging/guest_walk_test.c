// SPDX-License-Identifier: MIT
/* The walk with callbacks that are seen: ends, bits, restarts, beginning below the root. */
#include "paging/guest_walk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define P X86_ENTRY_P
#define W X86_ENTRY_RW
#define U X86_ENTRY_US
#define A X86_ENTRY_A
#define D X86_ENTRY_D
#define BYTES 0x10000u
#define GVA UINT64_C(0x8080604678) /* indices 1, 2, 3, 4 */

static const struct paging_cpu cpu = {.address_bits = 52, .has_1g_pages = true, .has_pse36 = true};
static _Alignas(4096) uint8_t memory[BYTES];
static struct paging paging;
static struct guest_walk w;
static unsigned reads, updates;
static enum guest_update answer;     /* of update */
static unsigned answer_level;        /* at which; ALLOWED at the others */
static uint64_t *changed_by_another; /* before the first update */

static void *entry(void *ctx, gpa_t at, unsigned level, enum guest_walk_end *ret_end)
{
    (void)ctx;
    (void)level;
    reads++;
    if (at.raw >= BYTES) {
        *ret_end = GUEST_WALK_NO_MEMORY;
        return NULL;
    }
    return memory + at.raw;
}

static enum guest_update update(void *ctx, gpa_t at, unsigned level, uint64_t bits)
{
    (void)ctx;
    updates++;
    assert_true(bits != 0 && (bits & ~(A | D)) == 0);
    assert_true(at.raw < BYTES);
    if (changed_by_another) {
        *changed_by_another ^= UINT64_C(1) << 9;
        changed_by_another = NULL;
    }
    return level == answer_level ? answer : GUEST_UPDATE_ALLOWED;
}

static const struct guest_walk_ops ops = {.entry = entry, .update = update};
static const struct guest_walk_ops only_looks = {.entry = entry};

static void put(uint64_t table, unsigned index, uint64_t value)
{
    memcpy(memory + table + index * 8, &value, 8);
}

static uint64_t get(uint64_t table, unsigned index)
{
    uint64_t value;
    memcpy(&value, memory + table + index * 8, 8);
    return value;
}

static void compile(uint64_t cr4, uint64_t efer)
{
    struct paging_regs regs = {.cr0 = X86_CR0_PG | X86_CR0_WP, .cr3 = 0x1000, .cr4 = cr4, .efer = efer};
    paging_compile(&paging, &regs, &cpu);
}

static int reset(void **state)
{
    (void)state;
    memset(memory, 0, sizeof memory);
    put(0x1000, 1, 0x2000 | P | W | U);
    put(0x2000, 2, 0x3000 | P | W | U);
    put(0x3000, 3, 0x4000 | P | W | U);
    put(0x4000, 4, 0x9000 | P | W | U | UINT64_C(3) << 59 | 0x98); /* key 3, PAT 7 */
    compile(X86_CR4_PAE | (UINT64_C(1) << 7), X86_EFER_LMA | X86_EFER_NXE);
    reads = updates = answer_level = 0;
    changed_by_another = NULL;
    return 0;
}

static enum guest_walk_end walk(uint64_t gva, enum mv_access kind, enum pt_who who)
{
    guest_walk(&paging, mv_gva(gva), (struct pt_access){kind, who}, &ops, NULL, 0, NULL, &w);
    return w.end;
}

static void test_what_is_found(void **state)
{
    (void)state;
    put(0x4000, 4, get(0x4000, 4) | X86_ENTRY_G);
    assert_int_equal(walk(GVA, MV_ACCESS_READ, PT_USER), GUEST_WALK_MAPPED);
    assert_int_equal(w.gpa.raw, 0x9678);
    assert_int_equal(w.page_shift, 12);
    assert_int_equal(w.rights, PT_RIGHTS_ALL);
    assert_int_equal(w.key, 3);
    assert_int_equal(w.pat, 7);
    assert_true(w.is_global);
    assert_false(w.is_dirty);
    assert_int_equal(reads, 4);
    assert_int_equal(w.tables[4].table.raw, 0x1000);
    assert_int_equal(w.tables[1].table.raw, 0x4000);
    compile(X86_CR4_PAE, X86_EFER_LMA | X86_EFER_NXE); /* G counts with PGE */
    assert_int_equal(walk(GVA, MV_ACCESS_READ, PT_USER), GUEST_WALK_MAPPED);
    assert_false(w.is_global);
}

static void test_rights_are_anded(void **state)
{
    (void)state;
    put(0x2000, 2, 0x3000 | P | U);
    put(0x3000, 3, 0x4000 | P | W | U | X86_ENTRY_NX);
    assert_int_equal(walk(GVA, MV_ACCESS_READ, PT_USER), GUEST_WALK_MAPPED);
    assert_int_equal(w.rights, PT_RIGHT_U);
    assert_int_equal(walk(GVA, MV_ACCESS_WRITE, PT_USER), GUEST_WALK_DENIED);
    assert_int_equal(w.error_code, PF_PRESENT | PF_WRITE | PF_USER);
    assert_int_equal(walk(GVA, MV_ACCESS_FETCH, PT_USER), GUEST_WALK_DENIED);
    assert_int_equal(w.error_code, PF_PRESENT | PF_FETCH | PF_USER);
}

static void test_bits(void **state)
{
    (void)state;
    assert_int_equal(walk(GVA, MV_ACCESS_READ, PT_SUPERVISOR), GUEST_WALK_MAPPED);
    for (unsigned i = 1; i <= 4; i++) {
        assert_int_equal(get(i * 0x1000, i) & (A | D), A);
    }
    assert_int_equal(updates, 4);
    assert_int_equal(walk(GVA, MV_ACCESS_READ, PT_SUPERVISOR), GUEST_WALK_MAPPED);
    assert_int_equal(updates, 4);
    assert_int_equal(walk(GVA, MV_ACCESS_WRITE, PT_SUPERVISOR), GUEST_WALK_MAPPED);
    assert_true(w.is_dirty);
    assert_int_equal(updates, 5);
    for (unsigned i = 1; i <= 4; i++) {
        assert_int_equal(get(i * 0x1000, i) & (A | D), i == 4 ? A | D : A);
    }
}

/* Who is refused, at whatever point, sets nothing. */
static void test_no_bits_for_who_is_refused(void **state)
{
    (void)state;
    put(0x4000, 4, 0x9000 | P);
    assert_int_equal(walk(GVA, MV_ACCESS_READ, PT_USER), GUEST_WALK_DENIED);
    put(0x4000, 4, 0x9000 | P | UINT64_C(1) << 63);
    compile(X86_CR4_PAE, X86_EFER_LMA);
    assert_int_equal(walk(GVA, MV_ACCESS_READ, PT_SUPERVISOR), GUEST_WALK_RESERVED);
    assert_int_equal(w.reserved, X86_ENTRY_NX);
    assert_int_equal(w.error_code, PF_PRESENT | PF_RESERVED);
    put(0x4000, 4, 0x9000);
    assert_int_equal(walk(GVA, MV_ACCESS_WRITE, PT_SUPERVISOR), GUEST_WALK_NOT_PRESENT);
    assert_int_equal(w.error_code, PF_WRITE);
    assert_int_equal(w.level, 1);
    assert_int_equal(w.at.raw, 0x4020);
    put(0x3000, 3, 0x10000000 | P | W | U);
    assert_int_equal(walk(GVA, MV_ACCESS_READ, PT_USER), GUEST_WALK_NO_MEMORY);
    assert_int_equal(w.error_code, PF_USER);
    assert_int_equal(walk(UINT64_C(1) << 47, MV_ACCESS_READ, PT_USER), GUEST_WALK_NON_CANONICAL);
    assert_int_equal(updates, 0);
}

/* An entry that somebody changes between reading and setting: from the beginning. */
static void test_begins_anew(void **state)
{
    (void)state;
    changed_by_another = (uint64_t *)(void *)(memory + 0x4000 + 4 * 8);
    assert_int_equal(walk(GVA, MV_ACCESS_WRITE, PT_USER), GUEST_WALK_MAPPED);
    assert_int_equal(reads, 8);
    assert_int_equal(get(0x4000, 4) & (A | D | UINT64_C(1) << 9), A | D | UINT64_C(1) << 9);
}

static void test_skip_and_stop(void **state)
{
    (void)state;
    answer_level = 2;
    answer = GUEST_UPDATE_SKIP;
    assert_int_equal(walk(GVA, MV_ACCESS_READ, PT_USER), GUEST_WALK_MAPPED);
    assert_int_equal(get(0x3000, 3) & A, 0);
    assert_int_equal(get(0x4000, 4) & A, A);
    answer = GUEST_UPDATE_STOP;
    assert_int_equal(walk(GVA, MV_ACCESS_READ, PT_USER), GUEST_WALK_STOPPED);
    assert_int_equal(w.at.raw, 0x3018);
}

static void test_only_looking(void **state)
{
    (void)state;
    guest_walk(&paging, mv_gva(GVA), (struct pt_access){MV_ACCESS_WRITE, PT_USER}, &only_looks, NULL, 0, NULL, &w);
    assert_int_equal(w.end, GUEST_WALK_MAPPED);
    assert_int_equal(get(0x4000, 4) & (A | D), 0);
    assert_false(w.is_dirty);
}

/* From a paging-structure cache: the rights above are what it says. */
static void test_begins_below_the_root(void **state)
{
    (void)state;
    const struct guest_walk_table table = {mv_gpa(0x4000), PT_RIGHT_U | PT_RIGHT_X};
    const struct pt_access write = {MV_ACCESS_WRITE, PT_USER}, read = {MV_ACCESS_READ, PT_USER};
    guest_walk(&paging, mv_gva(GVA), write, &ops, NULL, 1, &table, &w);
    assert_int_equal(w.end, GUEST_WALK_DENIED);
    assert_int_equal(reads, 1);
    guest_walk(&paging, mv_gva(GVA), read, &ops, NULL, 1, &table, &w);
    assert_int_equal(w.end, GUEST_WALK_MAPPED);
    assert_int_equal(w.gpa.raw, 0x9678);
    assert_int_equal(get(0x3000, 3) & A, 0);
    assert_int_equal(get(0x4000, 4) & A, A);
    put(0x4000, 4, get(0x4000, 4) & ~A);
    changed_by_another = (uint64_t *)(void *)(memory + 0x4000 + 4 * 8);
    guest_walk(&paging, mv_gva(GVA), read, &ops, NULL, 1, &table, &w);
    assert_int_equal(w.end, GUEST_WALK_MAPPED);
    assert_int_equal(w.rights, PT_RIGHTS_ALL); /* it went on at the root */
}

static void test_large_pages(void **state)
{
    (void)state;
    put(0x3000, 3, UINT64_C(0x40000000) | P | W | U | X86_ENTRY_PS | 1 << 12);
    assert_int_equal(walk(GVA, MV_ACCESS_WRITE, PT_USER), GUEST_WALK_MAPPED);
    assert_int_equal(w.gpa.raw, 0x40000000 + (GVA & 0x1fffff));
    assert_int_equal(w.page_shift, 21);
    assert_int_equal(w.pat, 4);
    assert_int_equal(get(0x3000, 3) & D, D);
    put(0x2000, 2, UINT64_C(0x80000000) | P | W | U | X86_ENTRY_PS);
    assert_int_equal(walk(GVA, MV_ACCESS_READ, PT_USER), GUEST_WALK_MAPPED);
    assert_int_equal(w.gpa.raw, 0x80000000 + (GVA & 0x3fffffff));
    assert_int_equal(w.page_shift, 30);
    assert_int_equal(w.pat, 0); /* bit 7 is PS, and not PAT */
    put(0x1000, 1, 0x2000 | P | X86_ENTRY_PS);
    assert_int_equal(walk(GVA, MV_ACCESS_READ, PT_USER), GUEST_WALK_RESERVED);
}

static void test_pae(void **state)
{
    (void)state;
    struct paging_regs regs = {.cr0 = X86_CR0_PG, .cr3 = 0x1020, .cr4 = X86_CR4_PAE, .pdptr = {0, 0x3000 | P}};
    paging_compile(&paging, &regs, &cpu);
    put(0x3000, 3, 0x4000 | P | W | U);
    put(0x4000, 4, 0x9000 | P | W | U);
    assert_int_equal(walk(0x40604678, MV_ACCESS_READ, PT_USER), GUEST_WALK_MAPPED);
    assert_int_equal(w.gpa.raw, 0x9678);
    assert_int_equal(reads, 2);
    assert_int_equal(walk(0x604678, MV_ACCESS_WRITE, PT_USER), GUEST_WALK_NOT_PRESENT);
    assert_int_equal(w.level, 3);
    assert_int_equal(w.error_code, PF_WRITE | PF_USER);
    /* In memory: not what the registers have, no A in it, and no rights. */
    paging_walk_pdptrs(&paging, &cpu);
    assert_int_equal(walk(0x40604678, MV_ACCESS_READ, PT_USER), GUEST_WALK_NOT_PRESENT);
    put(0x1020, 1, 0x3000 | P);
    reads = 0;
    assert_int_equal(walk(0x40604678, MV_ACCESS_WRITE, PT_USER), GUEST_WALK_MAPPED);
    assert_int_equal(reads, 3);
    assert_int_equal(get(0x1020, 1), 0x3000 | P);
    put(0x1020, 1, 0x3000 | P | U);
    assert_int_equal(walk(0x40604678, MV_ACCESS_READ, PT_USER), GUEST_WALK_RESERVED);
}

static void test_32bit(void **state)
{
    (void)state;
    const uint32_t pde = 0x2000 | 7, large = 0x00c06000 | 0x87, pte = 0xabcd1000 | 7;
    compile(X86_CR4_PSE, 0);
    memcpy(memory + 0x1004, &pde, 4);
    memcpy(memory + 0x2008, &pte, 4);
    memcpy(memory + 0x1ffc, &large, 4);
    assert_int_equal(walk(0x402345, MV_ACCESS_WRITE, PT_USER), GUEST_WALK_MAPPED);
    assert_int_equal(w.gpa.raw, 0xabcd1345);
    assert_int_equal(get(0x2008, 0), 0xabcd1000 | 7 | A | D); /* the next entry is as it was */
    assert_int_equal(walk(0xffc12345, MV_ACCESS_READ, PT_USER), GUEST_WALK_MAPPED);
    assert_int_equal(w.gpa.raw, UINT64_C(0x300c12345)); /* PSE-36 */
    assert_int_equal(w.page_shift, 22);
    compile(0, 0); /* no PSE: the bit is nothing, and it is a table */
    assert_int_equal(walk(0xffc12345, MV_ACCESS_READ, PT_USER), GUEST_WALK_NO_MEMORY);
}

static void test_off(void **state)
{
    (void)state;
    struct paging_regs regs = {0};
    paging_compile(&paging, &regs, &cpu);
    assert_int_equal(walk(0xfffffff0, MV_ACCESS_FETCH, PT_USER), GUEST_WALK_MAPPED);
    assert_int_equal(w.gpa.raw, 0xfffffff0);
    assert_int_equal(w.page_shift, 63);
    assert_int_equal(reads, 0);
}

static void test_key(void **state)
{
    (void)state;
    struct paging_regs regs = {.cr0 = X86_CR0_PG,
                               .cr3 = 0x1000,
                               .cr4 = X86_CR4_PAE | 1 << 22,
                               .efer = X86_EFER_LMA | X86_EFER_NXE,
                               .pkru = 1 << 6};
    paging_compile(&paging, &regs, &cpu);
    assert_int_equal(walk(GVA, MV_ACCESS_READ, PT_SUPERVISOR), GUEST_WALK_KEY_DENIED);
    assert_int_equal(w.error_code, PF_PRESENT | PF_KEY);
    assert_int_equal(walk(GVA, MV_ACCESS_FETCH, PT_USER), GUEST_WALK_MAPPED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_what_is_found, reset),
        cmocka_unit_test_setup(test_rights_are_anded, reset),
        cmocka_unit_test_setup(test_bits, reset),
        cmocka_unit_test_setup(test_no_bits_for_who_is_refused, reset),
        cmocka_unit_test_setup(test_begins_anew, reset),
        cmocka_unit_test_setup(test_skip_and_stop, reset),
        cmocka_unit_test_setup(test_only_looking, reset),
        cmocka_unit_test_setup(test_begins_below_the_root, reset),
        cmocka_unit_test_setup(test_large_pages, reset),
        cmocka_unit_test_setup(test_pae, reset),
        cmocka_unit_test_setup(test_32bit, reset),
        cmocka_unit_test_setup(test_off, reset),
        cmocka_unit_test_setup(test_key, reset),
    };
    return cmocka_run_group_tests_name("guest_walk", tests, NULL, NULL);
}

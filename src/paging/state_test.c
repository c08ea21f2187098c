// SPDX-License-Identifier: MIT
/* Registers compiled: modes, reserved bits, the whole table of rights, keys, and what may be loaded. */
#include "paging/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PG X86_CR0_PG
#define PE (UINT64_C(1) << 0)
#define WP X86_CR0_WP
#define NW (UINT64_C(1) << 29)
#define CD (UINT64_C(1) << 30)
#define PSE X86_CR4_PSE
#define PAE X86_CR4_PAE
#define PGE (UINT64_C(1) << 7)
#define LA57 X86_CR4_LA57
#define PCIDE (UINT64_C(1) << 17)
#define SMEP (UINT64_C(1) << 20)
#define SMAP (UINT64_C(1) << 21)
#define PKE (UINT64_C(1) << 22)
#define PKS (UINT64_C(1) << 24)
#define LME (UINT64_C(1) << 8)
#define LMA X86_EFER_LMA
#define NXE X86_EFER_NXE

static const struct paging_cpu cpu52 = {.address_bits = 52, .has_1g_pages = true, .has_pse36 = true};

static struct paging compiled(uint64_t cr0, uint64_t cr4, uint64_t efer, const struct paging_cpu *cpu)
{
    struct paging p;
    paging_compile(&p, &(struct paging_regs){.cr0 = cr0, .cr4 = cr4, .efer = efer}, cpu);
    return p;
}

static void test_modes(void **state)
{
    (void)state;
    static const struct {
        uint64_t cr0, cr4, efer;
        enum mv_paging_mode mode;
        uint8_t levels, entry_bytes, linear_bits;
    } cases[] = {
        {0, PAE, 0, MV_PAGING_OFF, 0, 8, 32},         {PG, 0, 0, MV_PAGING_32BIT, 2, 4, 32},
        {PG, PSE, NXE, MV_PAGING_32BIT, 2, 4, 32},    {PG, PAE, 0, MV_PAGING_PAE, 2, 8, 32},
        {PG, PAE, LMA, MV_PAGING_4LEVEL, 4, 8, 48},   {PG, PAE | LA57, LMA, MV_PAGING_5LEVEL, 5, 8, 57},
        {PG, PAE | LA57, 0, MV_PAGING_PAE, 2, 8, 32},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct paging p = compiled(cases[i].cr0, cases[i].cr4, cases[i].efer, &cpu52);
        assert_int_equal(p.mode, cases[i].mode);
        assert_int_equal(p.levels, cases[i].levels);
        assert_int_equal(p.entry_bytes, cases[i].entry_bytes);
        assert_int_equal(p.linear_bits, cases[i].linear_bits);
    }
}

static void test_roots(void **state)
{
    (void)state;
    struct paging p;
    const struct paging_cpu cpu40 = {.address_bits = 40};
    struct paging_regs regs = {.cr0 = PG, .cr3 = UINT64_C(0x8000ffffdeadbfff), .cr4 = PAE | PCIDE, .efer = LMA};
    paging_compile(&p, &regs, &cpu52);
    assert_int_equal(p.root.raw, UINT64_C(0xffffdeadb000));
    paging_compile(&p, &regs, &cpu40);
    assert_int_equal(p.root.raw, UINT64_C(0xffdeadb000));
    regs.efer = 0;
    paging_compile(&p, &regs, &cpu52);
    assert_int_equal(p.root.raw, 0xdeadbfe0);
    regs.cr4 = 0;
    paging_compile(&p, &regs, &cpu52);
    assert_int_equal(p.root.raw, 0xdeadb000);
}

/* Intel SDM, "Paging", the figures of entries; AMD APM, "Page-Translation-Table Entry Fields". */
static void test_reserved_bits(void **state)
{
    (void)state;
    const struct paging_cpu cpu36 = {.address_bits = 36, .has_1g_pages = true, .has_pse36 = true};
    const uint64_t above36 = UINT64_C(0x000ffff000000000), nx = UINT64_C(1) << 63;
    struct paging p = compiled(PG, PAE, LMA | NXE, &cpu36);
    for (unsigned level = 1; level <= 2; level++) {
        assert_int_equal(p.reserved[0][level], above36);
    }
    assert_int_equal(p.reserved[0][4], above36 | 0x80);
    assert_int_equal(p.reserved[1][2], above36 | 0x1fe000);
    assert_int_equal(p.reserved[1][3], above36 | 0x3fffe000);
    p = compiled(PG, PAE | LA57, LMA, &cpu36);
    assert_int_equal(p.reserved[0][1], above36 | nx);
    assert_int_equal(p.reserved[0][5], above36 | nx | 0x80);
    p = compiled(PG, PAE, NXE, &cpu36); /* PAE: up to bit 62 */
    assert_int_equal(p.reserved[0][1], UINT64_C(0x7ffffff000000000));
    assert_int_equal(p.reserved[1][2], UINT64_C(0x7ffffff0001fe000));
    paging_walk_pdptrs(&p, &cpu36);
    assert_int_equal(p.levels, 3);
    assert_int_equal(p.reserved[0][3], UINT64_C(0xfffffff0000001e6));

    const struct paging_cpu amd = {.address_bits = 52, .is_amd = true};
    p = compiled(PG, PAE, LMA | NXE, &amd);
    assert_int_equal(p.reserved[0][4], 0x180);
    assert_int_equal(p.reserved[1][3] & 0x80, 0x80); /* no pages of 1G */
    assert_int_equal(p.reserved[0][3] & 0x100, 0);

    p = compiled(PG, PSE, 0, &cpu36); /* PSE-36: bits 13-16 are address bits 32-35 */
    assert_int_equal(p.reserved[1][2], 0x3e0000);
    p = compiled(PG, PSE, 0, &cpu52);
    assert_int_equal(p.reserved[1][2], 0x200000);
    const struct paging_cpu no_pse36 = {.address_bits = 36};
    p = compiled(PG, PSE, 0, &no_pse36);
    assert_int_equal(p.reserved[1][2], 0x3fe000);
    assert_int_equal(p.reserved[0][1] | p.reserved[0][2], 0);
}

/* "Determination of Access Rights", word by word, for all 2^4 settings. */
static bool is_denied(unsigned setting, enum mv_access kind, enum pt_who who, unsigned rights)
{
    bool wp = setting & 1, smep = setting & 2, smap = setting & 4, nxe = setting & 8;
    bool is_user_page = rights & PT_RIGHT_U, is_writable = rights & PT_RIGHT_W,
         is_executable = rights & PT_RIGHT_X;
    if (who == PT_USER) {
        switch (kind) {
        case MV_ACCESS_READ: return !is_user_page;
        case MV_ACCESS_WRITE: return !is_user_page || !is_writable;
        case MV_ACCESS_FETCH: return !is_user_page || (nxe && !is_executable);
        }
    }
    switch (kind) {
    case MV_ACCESS_READ: return is_user_page && smap && who != PT_SUPERVISOR_AC;
    case MV_ACCESS_WRITE: return (is_user_page && smap && who != PT_SUPERVISOR_AC) || (wp && !is_writable);
    case MV_ACCESS_FETCH: return (is_user_page && smep) || (nxe && !is_executable);
    }
    return true;
}

static void test_all_rights(void **state)
{
    (void)state;
    for (unsigned setting = 0; setting < 16; setting++) {
        struct paging p =
            compiled(PG | (setting & 1 ? WP : 0), PAE | (setting & 2 ? SMEP : 0) | (setting & 4 ? SMAP : 0),
                     LMA | (setting & 8 ? NXE : 0), &cpu52);
        assert_int_equal(p.reports_fetch, (setting & 10) != 0);
        for (unsigned i = 0; i < PT_KIND_COUNT * PT_WHO_COUNT * 8; i++) {
            struct pt_access access = {(enum mv_access)(i / 8 % 3), (enum pt_who)(i / 24)};
            assert_int_equal(paging_denies(&p, access, i % 8), is_denied(setting, access.kind, access.who, i % 8));
        }
    }
}

/* "Protection Keys": AD and WD of one key, of PKRU for user pages and PKRS for the others. */
static void test_keys(void **state)
{
    (void)state;
    const unsigned key = 5, ad = 1u << 10, wd = 2u << 10;
    for (unsigned i = 0; i < 2 * 3 * 3 * 2 * 4; i++) {
        bool wp = i % 2, is_user_page = i / 2 % 2;
        unsigned disabled = i / 4 % 4;
        struct pt_access access = {(enum mv_access)(i / 16 % 3), (enum pt_who)(i / 48)};
        struct paging p = compiled(PG | (wp ? WP : 0), PAE | PKE | PKS, LMA, &cpu52);
        uint32_t bits = (disabled & 1 ? ad : 0) | (disabled & 2 ? wd : 0);
        p.pkru = is_user_page ? bits : 0;
        p.pkrs = is_user_page ? 0 : bits;
        bool is_write_stopped = wp || (is_user_page && access.who == PT_USER);
        bool expected = access.kind != MV_ACCESS_FETCH &&
                        ((disabled & 1) || ((disabled & 2) && access.kind == MV_ACCESS_WRITE && is_write_stopped));
        unsigned rights = is_user_page ? PT_RIGHTS_ALL : PT_RIGHTS_ALL & ~PT_RIGHT_U;
        assert_int_equal(paging_key_denies(&p, access, rights, key), expected);
        assert_false(paging_key_denies(&p, access, rights, key + 1));
        struct paging other = compiled(PG | WP, PAE | (is_user_page ? PKS : PKE), LMA, &cpu52);
        other.pkru = other.pkrs = UINT32_MAX;
        assert_false(paging_key_denies(&other, access, rights, key)); /* the other register is on */
        other = compiled(PG | WP, PAE | PKE | PKS, 0, &cpu52);        /* not in long mode */
        other.pkru = other.pkrs = UINT32_MAX;
        assert_false(paging_key_denies(&other, access, rights, key));
    }
}

static void test_canonical(void **state)
{
    (void)state;
    struct paging p = compiled(PG, PAE, LMA, &cpu52);
    assert_true(paging_is_canonical(&p, UINT64_C(0x7fffffffffff)));
    assert_false(paging_is_canonical(&p, UINT64_C(0x800000000000)));
    assert_false(paging_is_canonical(&p, UINT64_C(0xffff7fffffffffff)));
    assert_true(paging_is_canonical(&p, UINT64_C(0xffff800000000000)));
    p = compiled(PG, PAE | LA57, LMA, &cpu52);
    assert_true(paging_is_canonical(&p, UINT64_C(0xffffffffffffff)));
    assert_false(paging_is_canonical(&p, UINT64_C(0x100000000000000)));
    assert_true(paging_is_canonical(&p, UINT64_C(0xff00000000000000)));
    p = compiled(PG, PAE, 0, &cpu52);
    assert_true(paging_is_canonical(&p, UINT32_MAX));
    assert_false(paging_is_canonical(&p, UINT64_C(1) << 32));
}

static void test_pdptrs(void **state)
{
    (void)state;
    const struct paging_cpu cpu40 = {.address_bits = 40};
    static const unsigned reserved[] = {1, 2, 5, 6, 7, 8, 40, 51, 52, 63};
    static const unsigned allowed[] = {3, 4, 9, 11, 12, 39};
    uint64_t pdptr[4] = {0x1001, 0, 0x2001, 0};
    assert_true(paging_pdptrs_are_valid(pdptr, &cpu40));
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        pdptr[3] = UINT64_C(1) << reserved[i];
        assert_true(paging_pdptrs_are_valid(pdptr, &cpu40)); /* not present */
        pdptr[3] |= 1;
        assert_false(paging_pdptrs_are_valid(pdptr, &cpu40));
    }
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++) {
        pdptr[3] = UINT64_C(1) << allowed[i] | 1;
        assert_true(paging_pdptrs_are_valid(pdptr, &cpu40));
    }
}

/* Intel SDM, "Control Registers" and "Paging-Mode Modifiers": each rule, and beside it what is allowed. */
static void test_what_may_be_loaded(void **state)
{
    (void)state;
    const struct paging_regs off = {.cr0 = PE}, on = {.cr0 = PE | PG}, pae = {.cr0 = PE | PG, .cr4 = PAE};
    const struct paging_regs lme = {.cr0 = PE, .cr4 = PAE, .efer = LME};
    const struct paging_regs lng = {.cr0 = PE | PG, .cr4 = PAE, .efer = LME | LMA};
    const struct paging_regs la57 = {.cr0 = PE | PG, .cr4 = PAE | LA57, .efer = LME | LMA};
    const struct paging_regs pcid = {.cr0 = PE | PG, .cr4 = PAE | PCIDE, .efer = LME | LMA};
    const struct {
        struct paging_regs before, after;
        bool in_64bit_code, is_valid;
    } cases[] = {
        {off, on, false, true},
        {off, {.cr0 = PG}, false, false},
        {off, {.cr0 = PE | NW}, false, false},
        {off, {.cr0 = PE | NW | CD}, false, true},
        {lme, lng, false, true},
        {lme, {.cr0 = PE | PG, .efer = LME | LMA}, false, false}, /* LME without PAE */
        {lng, {.cr0 = PE | PG, .efer = LME | LMA}, true, false},  /* PAE cleared in long mode */
        {lng, pae, true, false},                                  /* LME changed under PG */
        {pae, on, false, true},
        {lng, lme, true, false}, /* PG cleared by 64-bit code */
        {lng, lme, false, true},
        {lme, lng, true, false}, /* long mode begun with CS.L set */
        {off, on, true, true},
        {pcid, {.cr0 = PE, .cr4 = PAE | PCIDE, .efer = LME}, false, false},
        {lng, la57, true, false},
        {la57, lng, true, false},
        {off, {.cr0 = PE, .cr4 = LA57}, false, true},
        {lng, pcid, true, true},
        {pae, {.cr0 = PE | PG, .cr4 = PAE | PCIDE}, false, false}, /* PCIDE outside long mode */
        {{.cr0 = PE | PG, .cr3 = 1, .cr4 = PAE, .efer = LME | LMA},
         {.cr0 = PE | PG, .cr3 = 1, .cr4 = PAE | PCIDE, .efer = LME | LMA},
         true,
         false}, /* CR3 has bits where the PCID will be */
        {pcid, {.cr0 = PE | PG, .cr3 = 1, .cr4 = PAE | PCIDE, .efer = LME | LMA}, true, true},
        {lng, {.cr0 = PE | PG, .cr3 = UINT64_C(1) << 52, .cr4 = PAE, .efer = LME | LMA}, true, false},
        {lng, {.cr0 = PE | PG, .cr3 = UINT64_C(1) << 63, .cr4 = PAE, .efer = LME | LMA}, true, false},
        {pcid, {.cr0 = PE | PG, .cr3 = UINT64_C(1) << 63, .cr4 = PAE | PCIDE, .efer = LME | LMA}, true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("# case %zu\n", i);
        assert_int_equal(paging_regs_are_valid(&cases[i].before, &cases[i].after, &cpu52, cases[i].in_64bit_code),
                         cases[i].is_valid);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modes),         cmocka_unit_test(test_roots),
        cmocka_unit_test(test_reserved_bits), cmocka_unit_test(test_all_rights),
        cmocka_unit_test(test_keys),          cmocka_unit_test(test_canonical),
        cmocka_unit_test(test_pdptrs),        cmocka_unit_test(test_what_may_be_loaded),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}

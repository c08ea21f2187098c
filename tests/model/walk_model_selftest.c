/* SPDX-License-Identifier: MIT */

/* Holds the walk model against cases worked by hand from the manuals: the guest's entries, their order and flags.
 */
#include "selftest.h"
#include "walk_rig.h"

static void test_off(void)
{
    begin(MODEL_OFF);
    CHECK(walk(0xfedcba98, MODEL_WRITE) == MODEL_OK);
    CHECK(result.gpa == 0xfedcba98 && result.hpa == result.gpa);
    CHECK(result.guest_reads == 0 && result.nwrites == 0 && result.guest_page_bytes == 0);
    CHECK(result.writable && result.user && result.executable && !result.global);
    CHECK(walk(UINT64_C(0x1fedcba98), MODEL_READ) == MODEL_OK && result.gpa == 0xfedcba98);
}

static void test_32bit(void)
{
    begin(MODEL_32BIT);
    /* 0x12345678: PDE 0x48, PTE 0x345 */
    walk_poke(&memory, ROOT + 0x48 * 4, 4, 0x2000 | P | W | U);
    walk_poke(&memory, 0x2000 + 0x345 * 4, 4, 0xabcde000 | P | W);
    CHECK(walk(0x12345678, MODEL_WRITE) == MODEL_OK);
    CHECK(result.gpa == 0xabcde678 && result.guest_page_bytes == 4096 && result.guest_reads == 2);
    CHECK(result.writable && !result.user && result.executable);
    CHECK(result.nwrites == 2);
    CHECK(result.write[0].address == ROOT + 0x48 * 4 && result.write[0].size == 4);
    CHECK(result.write[0].old == (0x2000 | P | W | U) && result.write[0].new == (0x2000 | P | W | U | A));
    CHECK(result.write[1].address == 0x2000 + 0x345 * 4 && result.write[1].new == (0xabcde000 | P | W | A | D));
    CHECK(walk_peek(&memory, ROOT + 0x48 * 4, 4) == (0x2000 | P | W | U | A));
    CHECK(walk_peek(&memory, 0x2000 + 0x345 * 4, 4) == (0xabcde000 | P | W | A | D));
    CHECK(walk(UINT64_C(0xffffffff12345678), MODEL_READ) == MODEL_OK && result.gpa == 0xabcde678);
    CHECK(result.nwrites == 0);
    /* CR3 has 4-KByte granularity, and only 32 bits. */
    world.regs.cr3 = ROOT | 0xfff;
    CHECK(walk(0x12345678, MODEL_READ) == MODEL_OK);
    /* PS means nothing without CR4.PSE: the directory entry leads to a table. */
    walk_poke(&memory, ROOT + 0x48 * 4, 4, 0x2000 | P | PS);
    CHECK(walk(0x12345678, MODEL_READ) == MODEL_OK && result.gpa == 0xabcde678 && !result.writable);
    /* NX is not reported with EFER.NXE alone: it has nothing to do with this mode. */
    world.regs.efer = MODEL_EFER_NXE;
    CHECK(fault(0, MODEL_FETCH) == 0);
    world.regs.cr4 = MODEL_CR4_SMEP;
    CHECK(fault(0, MODEL_FETCH) == MODEL_PF_I);
}

static void test_pse(void)
{
    begin(MODEL_32BIT);
    world.regs.cr4 = MODEL_CR4_PSE | MODEL_CR4_PGE;
    const uint64_t at = ROOT + 0x48 * 4;
    walk_poke(&memory, at, 4, 0x89800000 | P | PS | G);
    CHECK(walk(0x12345678, MODEL_READ) == MODEL_OK);
    CHECK(result.gpa == 0x89b45678); /* 0x89800000, and 0x345678 of the address */
    CHECK(result.guest_page_bytes == 4 << 20 && result.guest_reads == 1 && result.global);
    /* PSE-36: bits 20:13 are 39:32 of the address. */
    walk_poke(&memory, at, 4, 0x89800000 | P | PS | 0xa5 << 13);
    CHECK(walk(0x12345678, MODEL_READ) == MODEL_OK && result.gpa == UINT64_C(0xa589b45678));
    CHECK(!result.global);
    world.cpu.maxphyaddr = 52;
    CHECK(walk(0x12345678, MODEL_READ) == MODEL_OK && result.gpa == UINT64_C(0xa589b45678));
    for (unsigned width = 32; width <= 52; width++) {
        for (unsigned n = 13; n <= 21; n++) {
            world.cpu.maxphyaddr = width;
            walk_poke(&memory, at, 4, 0x89800000 | P | PS | UINT64_C(1) << n);
            const unsigned valid = (width < 40 ? width : 40) - 32; /* address bits above 31 */
            world.cpu.pse36 = true;
            CHECK((fault(0x12345678, MODEL_READ) == (MODEL_PF_P | MODEL_PF_RSVD)) == (n >= 13 + valid));
            world.cpu.pse36 = false;
            CHECK(fault(0x12345678, MODEL_READ) == (MODEL_PF_P | MODEL_PF_RSVD));
        }
    }
    begin(MODEL_32BIT);
    world.regs.cr4 = MODEL_CR4_PSE;
    world.cpu.pat = false;
    walk_poke(&memory, at, 4, 0x89800000 | P | PS | 0x1000);
    CHECK(fault(0x12345678, MODEL_READ) == (MODEL_PF_P | MODEL_PF_RSVD));
    world.cpu.pat = true;
    CHECK(walk(0x12345678, MODEL_READ) == MODEL_OK && result.pat_index == 4);
}

static void test_pae(void)
{
    begin(MODEL_PAE);
    /* 0xc8a6789a: PDPTE 3, PDE 0x045, PTE 0x067 */
    world.regs.pdptr[3] = 0x2000 | P;
    walk_poke(&memory, 0x2000 + 0x45 * 8, 8, 0x3000 | P | W | U);
    walk_poke(&memory, 0x3000 + 0x67 * 8, 8, UINT64_C(0xfedcba9000) | P | W | U);
    CHECK(walk(0xc8a6789a, MODEL_WRITE) == MODEL_OK);
    CHECK(result.gpa == UINT64_C(0xfedcba989a) && result.guest_reads == 2 && result.guest_page_bytes == 4096);
    CHECK(result.writable && result.user && result.executable);
    CHECK(result.nwrites == 2 && result.write[0].address == 0x2000 + 0x45 * 8);
    CHECK(world.regs.pdptr[3] == (0x2000 | P)); /* no flags there */
    /* Memory of the PDPTEs is not looked at. */
    walk_poke(&memory, ROOT + 24, 8, 0);
    CHECK(walk(0xc8a6789a, MODEL_WRITE) == MODEL_OK && result.nwrites == 0);
    world.regs.pdptr[3] = 0x2000;
    CHECK(fault(0xc8a6789a, MODEL_WRITE) == MODEL_PF_W);
    CHECK(fault(0x08a6789a, MODEL_READ) == 0);
    world.regs.pdptr[3] = 0x2000 | P;
    walk_poke(&memory, 0x2000 + 0x45 * 8, 8, UINT64_C(0xfedca00000) | P | PS);
    CHECK(walk(0xc8a6789a, MODEL_READ) == MODEL_OK);
    CHECK(result.gpa == UINT64_C(0xfedca6789a) && result.guest_page_bytes == 2 << 20 && result.guest_reads == 1);
    /* NX is reserved until NXE. */
    walk_poke(&memory, 0x2000 + 0x45 * 8, 8, UINT64_C(0xfedca00000) | P | PS | NX);
    CHECK(fault(0xc8a6789a, MODEL_FETCH) == (MODEL_PF_P | MODEL_PF_RSVD));
    world.regs.efer = MODEL_EFER_NXE;
    CHECK(fault(0xc8a6789a, MODEL_FETCH) == (MODEL_PF_P | MODEL_PF_I));
    CHECK(walk(0xc8a6789a, MODEL_READ) == MODEL_OK && !result.executable);
}

/* Bits 62:52 of PAE entries are not ignored as long mode's are. */
static void test_pae_reserved(void)
{
    for (unsigned width = 36; width <= 52; width += 4) {
        for (unsigned n = 1; n < 64; n++) {
            const uint64_t one = UINT64_C(1) << n;
            const uint64_t rsvd = MODEL_PF_P | MODEL_PF_RSVD;
            begin(MODEL_PAE);
            world.cpu.maxphyaddr = width;
            world.regs.pdptr[0] = 0x2000 | P;
            walk_poke(&memory, 0x2000, 8, 0x3000 | P | W | U);
            walk_poke(&memory, 0x3000, 8, PAGE | P | W | U | one);
            CHECK((fault(0, MODEL_READ) == rsvd) == (n >= width));
            walk_poke(&memory, 0x3000, 8, PAGE | P | W | U);
            walk_poke(&memory, 0x2000, 8, 0x40000000 | P | PS | one);
            CHECK((fault(0, MODEL_READ) == rsvd) == (n >= width || (n >= 13 && n <= 20)));
            if (n != 7) { /* that is a large page again */
                walk_poke(&memory, 0x2000, 8, 0x3000 | P | W | U | one);
                CHECK((fault(0, MODEL_READ) == rsvd) == (n >= width));
            }
            walk_poke(&memory, 0x2000, 8, 0x3000 | P | W | U);
            world.regs.pdptr[0] |= one;
            const bool bad = n >= width || n == 1 || n == 2 || (n >= 5 && n <= 8);
            CHECK((fault(0, MODEL_READ) == rsvd) == bad);
            /* The load finds the same. */
            uint64_t loaded[4] = {7, 7, 7, 7};
            walk_poke(&memory, 0x4000 + 16, 8, 0x2000 | P | one);
            CHECK(model_load_pdptes(&world, 0x4000, &result, loaded) == (bad ? MODEL_GP : MODEL_OK));
            CHECK(loaded[2] == (bad ? 7 : (0x2000 | P | one)) && loaded[0] == (bad ? 7 : 0));
            walk_poke(&memory, 0x4000 + 16, 8, 0x2000 | one); /* not present: nothing is reserved */
            CHECK(model_load_pdptes(&world, 0x4000, &result, loaded) == MODEL_OK && loaded[2] == (0x2000 | one));
        }
    }
}

static void test_long(void)
{
    for (unsigned levels = 4; levels <= 5; levels++) {
        const uint64_t gva = levels == 4 ? UINT64_C(0xffff923456789abc) : UINT64_C(0xff12923456789abc);
        for (unsigned leaf = 1; leaf <= 3; leaf++) {
            const unsigned shift = 12 + 9 * (leaf - 1);
            const uint64_t offset = (UINT64_C(1) << shift) - 1;
            const uint64_t page = UINT64_C(0x9876543210) & ~offset;
            begin(levels == 4 ? MODEL_4LEVEL : MODEL_5LEVEL);
            const uint64_t at = map(levels, gva, leaf, P | W | U, page | P | W | U | (leaf > 1 ? PS : 0));
            CHECK(walk(gva, MODEL_READ) == MODEL_OK);
            CHECK(result.gpa == (page | (gva & offset)) && result.hpa == result.gpa);
            CHECK(result.guest_reads == levels + 1 - leaf && result.nested_reads == 0);
            CHECK(result.guest_page_bytes == offset + 1 && result.nested_page_bytes == 0);
            CHECK(result.nwrites == levels + 1 - leaf);
            CHECK(result.write[result.nwrites - 1].address == at);
            for (unsigned i = 0; i < result.nwrites; i++) {
                CHECK((result.write[i].old ^ result.write[i].new) == A && result.write[i].size == 8);
            }
            CHECK(walk(gva, MODEL_READ) == MODEL_OK && result.nwrites == 0);
            CHECK(walk(gva, MODEL_WRITE) == MODEL_OK && result.nwrites == 1);
            CHECK((result.write[0].old ^ result.write[0].new) == D && result.write[0].address == at);
            /* Neighbours in each index are not mapped. */
            for (unsigned level = leaf; level <= levels; level++) {
                CHECK(fault(gva ^ UINT64_C(1) << (12 + 9 * (level - 1)), MODEL_READ) == 0);
            }
        }
    }
}

/* Where entries and pages are, by shifts of the whole address. All table entries lead to the last page there is.
 */
static void check_addresses(uint64_t gva)
{
    const uint64_t top32 = 0xfffff000;
    const uint64_t top = UINT64_C(0xffffffffff000);
    for (unsigned levels = 4; levels <= 5; levels++) {
        begin(levels == 4 ? MODEL_4LEVEL : MODEL_5LEVEL);
        world.cpu.maxphyaddr = 52;
        world.regs.efer |= MODEL_EFER_NXE;
        world.regs.cr3 = UINT64_MAX >> 12;
        const uint64_t first = top + (gva >> (12 + 9 * (levels - 1)) & 511) * 8;
        CHECK(fault(gva, MODEL_READ) == 0 && result.entry[0].gpa == first);
        world.regs.cr3 = ROOT;
        for (unsigned leaf = 1; leaf <= 3; leaf++) {
            begin(levels == 4 ? MODEL_4LEVEL : MODEL_5LEVEL);
            world.cpu.maxphyaddr = 52;
            world.regs.efer |= MODEL_EFER_NXE;
            map(levels, gva, leaf + 1, P, ~UINT64_C(0x180));
            CHECK(fault(gva, MODEL_READ) == 0);
            CHECK(result.entry[levels - leaf].gpa == top + (gva >> (12 + 9 * (leaf - 1)) & 511) * 8);
            begin(levels == 4 ? MODEL_4LEVEL : MODEL_5LEVEL);
            world.cpu.maxphyaddr = 52;
            const uint64_t low = (UINT64_C(1) << (12 + 9 * (leaf - 1))) - 1;
            map(levels, gva, leaf, P, (top & ~low) | P | (leaf > 1 ? PS : 0));
            CHECK(walk(gva, MODEL_READ) == MODEL_OK && result.gpa == ((top & ~low) | (gva & low)));
        }
    }
    gva &= 0xffffffff;
    begin(MODEL_32BIT);
    world.regs.cr4 = MODEL_CR4_PSE;
    world.regs.cr3 = UINT64_MAX;
    CHECK(fault(gva, MODEL_READ) == 0 && result.entry[0].gpa == top32 + (gva >> 22) * 4);
    world.regs.cr3 = ROOT;
    walk_poke(&memory, ROOT + (gva >> 22) * 4, 4, top32 | 0xf7f);
    CHECK(fault(gva, MODEL_READ) == 0 && result.entry[1].gpa == top32 + (gva >> 12 & 1023) * 4);
    walk_poke(&memory, ROOT + (gva >> 22) * 4, 4, 0xffdfffff);
    CHECK(walk(gva, MODEL_READ) == MODEL_OK && result.gpa == (UINT64_C(0xffffc00000) | (gva & 0x3fffff)));
    walk_poke(&memory, ROOT + (gva >> 22) * 4, 4, 0x2000 | P);
    walk_poke(&memory, 0x2000 + (gva >> 12 & 1023) * 4, 4, 0xffffffff);
    CHECK(walk(gva, MODEL_READ) == MODEL_OK && result.gpa == (top32 | (gva & 0xfff)));
    begin(MODEL_PAE);
    for (unsigned i = 0; i < 4; i++) {
        world.regs.pdptr[i] = 0x2000 + 0x1000 * i + P;
    }
    CHECK(fault(gva, MODEL_READ) == 0);
    CHECK(result.entry[1].gpa == 0x2000 + 0x1000 * (gva >> 30) + (gva >> 21 & 511) * 8);
}

static void test_addresses(void)
{
    for (unsigned n = 0; n < 48; n++) {
        const uint64_t one = UINT64_C(1) << n;
        check_addresses(n == 47 ? one | UINT64_C(0xffff000000000000) : one);
        check_addresses(n == 47 ? ~one & UINT64_C(0x0000ffffffffffff) : ~one);
    }
    check_addresses(UINT64_C(0x123456789abc));
    /* 5 levels have addresses of their own. */
    for (unsigned n = 47; n < 57; n++) {
        begin(MODEL_5LEVEL);
        const uint64_t gva = n == 56 ? UINT64_C(0xff00000000000000) : UINT64_C(1) << n;
        walk_poke(&memory, ROOT + (gva >> 48 & 511) * 8, 8, 0x2000 | P);
        CHECK(fault(gva, MODEL_READ) == 0 && result.nentries == 2);
        CHECK(result.entry[0].gpa == ROOT + (gva >> 48 & 511) * 8);
        CHECK(result.entry[1].gpa == 0x2000 + (gva >> 39 & 511) * 8);
    }
}

/* Without PAT its bit is reserved, in a leaf. */
static void test_no_pat(void)
{
    const uint64_t rsvd = MODEL_PF_P | MODEL_PF_RSVD;
    for (unsigned n = 1; n < 13; n++) {
        const uint64_t one = UINT64_C(1) << n;
        begin(MODEL_32BIT);
        world.cpu.pat = false;
        world.cpu.pse36 = false;
        world.regs.cr4 = MODEL_CR4_PSE;
        walk_poke(&memory, ROOT, 4, 0x2000 | P);
        walk_poke(&memory, 0x2000, 4, P | one);
        CHECK((fault(0, MODEL_READ) == rsvd) == (n == 7));
        walk_poke(&memory, ROOT, 4, P | PS | one);
        CHECK((fault(0, MODEL_READ) == rsvd) == (n == 12));
        world.cpu.pat = true;
        CHECK(walk(0, MODEL_READ) == MODEL_OK);
        begin(MODEL_PAE);
        world.cpu.pat = false;
        world.regs.pdptr[0] = 0x1000 | P;
        walk_poke(&memory, 0x1000, 8, 0x2000 | P);
        walk_poke(&memory, 0x2000, 8, P | one);
        CHECK((fault(0, MODEL_READ) == rsvd) == (n == 7));
        walk_poke(&memory, 0x1000, 8, P | PS | one);
        CHECK((fault(0, MODEL_READ) == rsvd) == (n == 12));
    }
}

static void test_canonical(void)
{
    const uint64_t good48[] = {0, UINT64_C(0x00007fffffffffff), UINT64_C(0xffff800000000000), UINT64_MAX};
    const uint64_t bad48[] = {UINT64_C(0x0000800000000000), UINT64_C(0xffff7fffffffffff),
                              UINT64_C(0x8000000000000000), UINT64_C(0x7fff800000000000)};
    const uint64_t bad57[] = {UINT64_C(0x0100000000000000), UINT64_C(0xfeffffffffffffff),
                              UINT64_C(0x8000000000000000)};
    for (unsigned i = 0; i < 4; i++) {
        begin(MODEL_4LEVEL);
        CHECK(walk(good48[i], MODEL_READ) == MODEL_PAGE_FAULT);
        CHECK(walk(bad48[i], MODEL_READ) == MODEL_GP && result.guest_reads == 0);
    }
    begin(MODEL_5LEVEL);
    CHECK(walk(UINT64_C(0x00ffffffffffffff), MODEL_READ) == MODEL_PAGE_FAULT);
    CHECK(walk(UINT64_C(0xff00000000000000), MODEL_READ) == MODEL_PAGE_FAULT);
    CHECK(walk(bad48[0], MODEL_READ) == MODEL_PAGE_FAULT);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(walk(bad57[i], MODEL_READ) == MODEL_GP);
    }
}

/* Whether bit n of an entry is reserved: from the tables of the manual. nx, gb: what there is. */
static bool is_reserved(unsigned level, bool large, unsigned n, unsigned width, bool amd, bool nx, bool gb)
{
    if (large && level == 3 && !gb) {
        return true; /* PS itself */
    }
    if (n == 63) {
        return !nx;
    }
    if (n >= width && n <= 51) {
        return true;
    }
    if (level >= 4) {
        return n == 7 || (n == 8 && amd);
    }
    if (level == 3 && large) {
        return n >= 13 && n <= 29;
    }
    return level == 2 && large && n >= 13 && n <= 20;
}

static void test_long_reserved(void)
{
    const unsigned widths[] = {36, 40, 46, 51, 52};
    for (unsigned options = 0; options < 5 * 8 * 2; options++) {
        const unsigned width = widths[options % 5];
        const bool amd = options / 5 & 1;
        const bool nx = options / 10 & 1;
        const bool gb = options / 20 & 1;
        const unsigned levels = 4 + (options / 40 & 1);
        for (unsigned level = 1; level <= levels; level++) {
            for (unsigned large = 0; large <= (level == 2 || level == 3); large++) {
                for (unsigned n = 1; n < 64; n++) {
                    begin(levels == 4 ? MODEL_4LEVEL : MODEL_5LEVEL);
                    world.cpu.maxphyaddr = width;
                    world.cpu.amd = amd;
                    world.cpu.has_1g = gb;
                    world.regs.efer |= nx ? MODEL_EFER_NXE : 0;
                    uint64_t entry[5] = {P, P, P, P, P};
                    const unsigned i = levels - level;
                    entry[i] |= UINT64_C(1) << n;
                    set_all(levels, entry);
                    if (large) {
                        walk_poke(&memory, ROOT + 0x1000 * i, 8, P | PS | UINT64_C(1) << n);
                    } else if (n == 7 && (level == 2 || level == 3)) {
                        continue; /* that is large */
                    }
                    const bool bad = is_reserved(level, large, n, width, amd, nx, gb);
                    const uint64_t code = fault(0, MODEL_READ);
                    CHECK((code == (MODEL_PF_P | MODEL_PF_RSVD)) == bad);
                    CHECK(result.nentries == i + 1 || !bad);
                    /* In an entry that is not present nothing is reserved. */
                    const uint64_t at = ROOT + 0x1000 * i;
                    walk_poke(&memory, at, 8, walk_peek(&memory, at, 8) & ~P);
                    CHECK(fault(0, MODEL_READ) == 0 && result.nentries == i + 1);
                }
            }
        }
    }
    begin(MODEL_4LEVEL);
    world.cpu.pat = false;
    set_all(4, (uint64_t[]){P, P, P, P | PS});
    CHECK(fault(0, MODEL_READ) == (MODEL_PF_P | MODEL_PF_RSVD));
    walk_poke(&memory, 0x3000, 8, P | PS | 0x1000);
    CHECK(fault(0, MODEL_READ) == (MODEL_PF_P | MODEL_PF_RSVD));
    walk_poke(&memory, 0x2000, 8, P | PS | 0x1000);
    CHECK(fault(0, MODEL_READ) == (MODEL_PF_P | MODEL_PF_RSVD));
}

/* The first entry that is wrong decides, and not present before reserved before permission. */
static void test_order(void)
{
    begin(MODEL_4LEVEL);
    world.regs.cpl = 3;
    world.regs.efer |= MODEL_EFER_NXE;
    set_all(4, (uint64_t[]){P, P | UINT64_C(1) << 50, 0, P});
    CHECK(fault(0, MODEL_WRITE) == (MODEL_PF_P | MODEL_PF_RSVD | MODEL_PF_W | MODEL_PF_U));
    CHECK(result.guest_reads == 2);
    set_all(4, (uint64_t[]){P, P, 0, P | UINT64_C(1) << 50});
    CHECK(fault(0, MODEL_WRITE) == (MODEL_PF_W | MODEL_PF_U) && result.guest_reads == 3);
    set_all(4, (uint64_t[]){P, P, P, P | UINT64_C(1) << 50 | NX});
    CHECK(fault(0, MODEL_FETCH) == (MODEL_PF_P | MODEL_PF_RSVD | MODEL_PF_I | MODEL_PF_U));
    set_all(4, (uint64_t[]){P | UINT64_C(1) << 50, P, P, 0});
    memory.page[2] = WALK_HOLE;
    CHECK(fault(0, MODEL_READ) == (MODEL_PF_P | MODEL_PF_RSVD | MODEL_PF_U) && result.guest_reads == 1);
    /* A table that is nowhere is not present. */
    set_all(4, (uint64_t[]){P, P, P, P});
    CHECK(fault(0, MODEL_READ) == MODEL_PF_U && result.guest_reads == 2);
    memory.page[1] = WALK_HOLE;
    CHECK(fault(0, MODEL_WRITE) == (MODEL_PF_U | MODEL_PF_W) && result.guest_reads == 1);
    world.regs.cr3 = UINT64_C(0x123456000);
    CHECK(fault(0, MODEL_READ) == MODEL_PF_U && result.guest_reads == 1);
    CHECK(result.nwrites == 0);
}

static void test_pat_and_global(void)
{
    for (unsigned n = 0; n < 16; n++) {
        begin(MODEL_4LEVEL);
        world.regs.cr4 |= n & 8 ? MODEL_CR4_PGE : 0;
        const uint64_t low = (n & 1 ? 8 : 0) | (n & 2 ? 16 : 0) | G | P;
        set_all(4, (uint64_t[]){P | 0x18, P | 0x18, P | 0x18, low | (n & 4 ? 0x80 : 0)});
        CHECK(walk(0, MODEL_READ) == MODEL_OK && result.pat_index == (n & 7) && result.global == (n >= 8));
        walk_poke(&memory, 0x3000, 8, low | PS | (n & 4 ? 0x1000 : 0));
        CHECK(walk(0, MODEL_READ) == MODEL_OK && result.pat_index == (n & 7) && result.global == (n >= 8));
        CHECK(result.gpa == 0);
        walk_poke(&memory, 0x2000, 8, low | PS | (n & 4 ? 0x1000 : 0));
        CHECK(walk(0, MODEL_READ) == MODEL_OK && result.pat_index == (n & 7) && result.global == (n >= 8));
    }
}

static void change_leaf(struct walk_memory *m, uint64_t address)
{
    if (address == 0x4000) {
        m->before_cas = NULL;
        walk_poke(m, 0x4000, 8, 0x7000 | P | W);
    }
}

static void take_away(struct walk_memory *m, uint64_t address)
{
    (void)address;
    m->page[3] = WALK_HOLE;
}

static void test_flags(void)
{
    /* None for a fault; none in what is read-only, and it goes on. */
    begin(MODEL_4LEVEL);
    world.regs.cpl = 3;
    set_all(4, (uint64_t[]){P | W | U, P | W | U, P | W, P | W | U});
    CHECK(fault(0, MODEL_WRITE) == (MODEL_PF_P | MODEL_PF_W | MODEL_PF_U) && result.nwrites == 0);
    set_all(4, (uint64_t[]){P | W | U, P | W | U, P | W | U, P | W | U});
    memory.page[2] = WALK_READ_ONLY;
    memory.page[4] = WALK_READ_ONLY;
    CHECK(walk(0, MODEL_WRITE) == MODEL_OK && result.nwrites == 2);
    CHECK(result.write[0].address == 0x1000 && result.write[1].address == 0x3000);
    CHECK(walk_peek(&memory, 0x4000, 8) == (PAGE | P | W | U));
    /* Changed under the walk: it begins anew, and what was set stays set. */
    begin(MODEL_4LEVEL);
    set_all(4, (uint64_t[]){P | W, P | W, P | W, P | W});
    memory.before_cas = change_leaf;
    CHECK(walk(0x123, MODEL_WRITE) == MODEL_OK && result.gpa == 0x7123);
    CHECK(result.nwrites == 4 && result.guest_reads == 4 && result.nentries == 4);
    CHECK(result.write[3].old == (0x7000 | P | W) && result.write[3].new == (0x7000 | P | W | A | D));
    /* Gone under the walk. */
    begin(MODEL_4LEVEL);
    set_all(4, (uint64_t[]){P | W, P | W, P | W, P | W});
    memory.before_cas = take_away;
    CHECK(fault(0, MODEL_WRITE) == MODEL_PF_W && result.nwrites == 2);
    /* Without cas: listed only. */
    begin(MODEL_4LEVEL);
    world.memory.cas = NULL;
    set_all(4, (uint64_t[]){P | W | A, P | W, P | W | A, P | W | D});
    CHECK(walk(0, MODEL_WRITE) == MODEL_OK && result.nwrites == 2);
    CHECK(result.write[0].address == 0x2000 && result.write[1].address == 0x4000);
    CHECK((result.write[1].new ^ result.write[1].old) == A);
    CHECK(walk_peek(&memory, 0x2000, 8) == (0x3000 | P | W));
}

int main(void)
{
    test_off();
    test_32bit();
    test_pse();
    test_pae();
    test_pae_reserved();
    test_long();
    test_addresses();
    test_no_pat();
    test_canonical();
    test_long_reserved();
    test_order();
    test_pat_and_global();
    test_flags();
    return finish();
}

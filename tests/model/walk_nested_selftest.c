/* SPDX-License-Identifier: MIT */

/* Holds the walk model against cases worked by hand from the manuals: EPT and NPT. */
#include "selftest.h"
#include "walk_rig.h"

#include <string.h>

#define R UINT64_C(0x1)
#define X UINT64_C(0x4)
#define WB (UINT64_C(6) << 3)
#define EPT_A UINT64_C(0x100)
#define EPT_D UINT64_C(0x200)
#define EPT_AD (UINT64_C(1) << 6) /* of the EPTP */
#define HOST_ROOT UINT64_C(0x1000)
#define HOST_PAGE UINT64_C(0x7c0000000) /* where a page is mapped, of any size */

static struct walk_memory host;

/* Nothing is mapped. */
static void nest(enum model_nesting kind, unsigned levels)
{
    memset(&host, 0, sizeof host);
    host.next_page = 2;
    world.nested = (struct model_nested){.kind = kind,
                                         .memory = walk_memory(&host),
                                         .maxphyaddr = 40,
                                         .has_1g = true,
                                         .eptp = HOST_ROOT | (levels - 1) << 3 | 6,
                                         .ncr3 = HOST_ROOT,
                                         .la57 = levels == 5};
}

static unsigned nested_levels(void)
{
    if (world.nested.kind == MODEL_NPT) {
        return world.nested.la57 ? 5 : 4;
    }
    return (unsigned)(world.nested.eptp >> 3 & 7) + 1;
}

/* Map the page of a gpa; returns where the leaf is. */
static uint64_t nest_map(uint64_t gpa, unsigned leaf_level, uint64_t leaf)
{
    const bool npt = world.nested.kind == MODEL_NPT;
    const struct walk_mapping mapping = {.root = HOST_ROOT,
                                         .levels = nested_levels(),
                                         .address = gpa,
                                         .leaf_level = leaf_level,
                                         .table_flags = npt ? P | W | U : R | W | X,
                                         .leaf = leaf | (leaf_level > 1 ? PS : 0)};
    return walk_map(&host, &mapping);
}

/* Map gpa and a few pages after it, onto themselves, with all rights. */
static void nest_identity(uint64_t gpa, unsigned leaf_level, unsigned pages_4k)
{
    const uint64_t rights = world.nested.kind == MODEL_NPT ? P | W | U : R | W | X | WB;
    for (unsigned i = 0; i < (leaf_level == 1 ? pages_4k : 1); i++) {
        const uint64_t size = UINT64_C(1) << (12 + 9 * (leaf_level - 1));
        const uint64_t page = (gpa + i * UINT64_C(4096)) & ~(size - 1);
        nest_map(page, leaf_level, page | rights);
    }
}

/* /work's published reference counts: guest and host page sizes 4K, 2M, 1G. */
static const unsigned published[2][2][3][3] = {
    {{{24, 19, 14}, {19, 15, 11}, {14, 11, 8}}, {{29, 24, 19}, {23, 19, 15}, {17, 14, 11}}},
    {{{29, 23, 17}, {24, 19, 14}, {19, 15, 11}}, {{35, 29, 23}, {29, 24, 19}, {23, 19, 15}}},
};

static void test_counts_of(enum model_nesting kind, unsigned g, unsigned h)
{
    for (unsigned guest = 1; guest <= 3; guest++) {
        for (unsigned nested = 1; nested <= 3; nested++) {
            begin(g == 4 ? MODEL_4LEVEL : MODEL_5LEVEL);
            nest(kind, h);
            map(g, 0x40000000, guest, P | W | U, 0x40000000 | P | (guest > 1 ? PS : 0));
            nest_identity(0, nested, 16);
            nest_identity(0x40000000, nested, 1);
            CHECK(walk(0x40000123, MODEL_READ) == MODEL_OK);
            CHECK(result.hpa == 0x40000123 && result.gpa == 0x40000123);
            CHECK(result.guest_reads == g + 1 - guest);
            CHECK(result.guest_reads + result.nested_reads == published[g - 4][h - 4][guest - 1][nested - 1]);
            CHECK(result.guest_page_bytes == UINT64_C(1) << (12 + 9 * (guest - 1)));
            CHECK(result.nested_page_bytes == UINT64_C(1) << (12 + 9 * (nested - 1)));
        }
    }
    /* Tables on small pages, data on a large one: g(h + 1) + h_data. */
    begin(g == 4 ? MODEL_4LEVEL : MODEL_5LEVEL);
    nest(kind, h);
    map(g, 0x40000000, 1, P | W | U, 0x40000000 | P);
    nest_identity(0, 1, 16);
    nest_identity(0x40000000, 2, 1);
    CHECK(walk(0x40000000, MODEL_READ) == MODEL_OK);
    CHECK(result.guest_reads + result.nested_reads == g * (h + 1) + h - 1);
}

static void test_counts(void)
{
    for (unsigned n = 0; n < 8; n++) {
        test_counts_of(n & 4 ? MODEL_NPT : MODEL_EPT, 4 + (n & 1), 4 + (n >> 1 & 1));
    }
    for (unsigned h = 4; h <= 5; h++) {
        begin(MODEL_OFF);
        nest(MODEL_EPT, h);
        nest_map(0x5000, 1, 0x9000 | R);
        CHECK(walk(0x5678, MODEL_READ) == MODEL_OK && result.nested_reads == h && result.guest_reads == 0);
        CHECK(result.hpa == 0x9678 && result.gpa == 0x5678);
    }
}

/* PAE: registers under EPT, memory under NPT, where a bad PDPTE is a page fault (APM, "Legacy PAE Mode"). */
static void test_pae(void)
{
    begin(MODEL_PAE);
    nest(MODEL_EPT, 4);
    nest_identity(0, 1, 16);
    world.regs.pdptr[0] = 0x2000 | P;
    walk_poke(&memory, 0x2000, 8, 0x3000 | P | W);
    walk_poke(&memory, 0x3000, 8, 0x4000 | P | W);
    CHECK(walk(0, MODEL_READ) == MODEL_OK && result.guest_reads + result.nested_reads == 14);
    nest(MODEL_NPT, 4);
    nest_identity(0, 1, 16);
    CHECK(fault(0, MODEL_READ) == 0 && result.guest_reads == 1);
    world.regs.pdptr[0] = 0;
    walk_poke(&memory, ROOT, 8, 0x2000 | P);
    CHECK(walk(0, MODEL_WRITE) == MODEL_OK && result.guest_reads + result.nested_reads == 19);
    CHECK(walk_peek(&memory, ROOT, 8) == (0x2000 | P));
    walk_poke(&memory, ROOT, 8, 0x2000 | P | U);
    CHECK(fault(0, MODEL_READ) == (MODEL_PF_P | MODEL_PF_RSVD));
}

/* Guest tables in host memory, at what their addresses translate to. */
static void test_one_memory(void)
{
    begin(MODEL_4LEVEL);
    nest(MODEL_EPT, 4);
    nest_identity(0x1000, 1, 4);
    nest_map(PAGE, 1, HOST_PAGE | R | W);
    world.memory = (struct model_memory){0};
    /* The guest's 0x1000 to 0x4fff are in the host's 0x20000 to 0x23fff. */
    for (unsigned i = 0; i < 4; i++) {
        nest_map(0x1000 + 0x1000 * i, 1, (0x20000 + 0x1000 * i) | R | W);
        walk_poke(&host, 0x20000 + 0x1000 * i, 8, (i == 3 ? PAGE : 0x2000 + 0x1000 * i) | P | W);
    }
    CHECK(walk(0xabc, MODEL_WRITE) == MODEL_OK && result.hpa == HOST_PAGE + 0xabc && result.gpa == PAGE + 0xabc);
    CHECK(result.nwrites == 4 && result.write[3].dimension == MODEL_GUEST && result.write[3].address == 0x4000);
    CHECK(walk_peek(&host, 0x23000, 8) == (PAGE | P | W | A | D));
    CHECK(result.entry[3].gpa == 0x4000 && result.entry[3].hpa == 0x23000);
}

/* A 4-level guest whose tables for address 0 are at 0x1000 to 0x4000, and the page at PAGE. */
static void ept_guest(unsigned levels)
{
    begin(MODEL_4LEVEL);
    nest(MODEL_EPT, levels);
    world.nested.execute_only = true;
    set_all(4, (uint64_t[]){P | W | U, P | W | U, P | W | U, P | W | U});
    nest_identity(0x1000, 1, 4);
    nest_map(PAGE, 1, HOST_PAGE | R | W | X | WB);
}

static uint64_t nested_entry_address(uint64_t gpa, unsigned level)
{
    uint64_t table = HOST_ROOT;
    for (unsigned at = nested_levels();; at--) {
        const uint64_t address = table + 8 * (gpa >> (12 + 9 * (at - 1)) & 511);
        if (at == level) {
            return address;
        }
        table = walk_peek(&host, address, 8) & UINT64_C(0xffffff000);
    }
}

/* SDM, "Exit Qualification for EPT Violations", bits 0 to 8, of a data access or fetch to the page itself. */
static void test_qualification_final(void)
{
    static const unsigned legal[] = {0, 1, 3, 4, 5, 7};
    for (unsigned n = 0; n < 6 * 3 * 4 * 2 * 2; n++) {
        const unsigned rights = legal[n % 6];
        const enum model_access_kind kind = n / 6 % 3;
        const unsigned level = 1 + n / 18 % 4; /* that has only these rights */
        const unsigned levels = 4 + n / 72 % 2;
        ept_guest(levels);
        world.nested.eptp |= n / 144 ? EPT_AD : 0;
        /* In the upper levels the tables are concerned as well: have them elsewhere. */
        const uint64_t far = UINT64_C(0x8080600000); /* own entry from level 4 down; level 5 is shared */
        walk_poke(&memory, 0x4000, 8, far | P | W | U | A);
        nest_map(far, 1, HOST_PAGE | R | W | X | WB);
        const uint64_t at = nested_entry_address(far, level);
        walk_poke(&host, at, 8, (walk_peek(&host, at, 8) & ~UINT64_C(7)) | rights);
        const bool may = rights >> kind & 1;
        if (may) {
            CHECK(walk(0x10, kind) == MODEL_OK && result.hpa == HOST_PAGE + 0x10);
            continue;
        }
        uint64_t expected = 1u << kind;
        expected |= (uint64_t)rights << 3; /* 5:3 are 0 if not present, as rights are */
        expected |= 1u << 7 | 1u << 8;
        CHECK(walk(0x10, kind) == MODEL_EPT_VIOLATION && result.qualification == expected);
        CHECK(result.faulting_gpa == far + 0x10);
        CHECK(result.qualification_open == MODEL_EPT_USER_EXECUTABLE);
        CHECK(result.gpa == 0 && result.hpa == 0 && result.error_code == 0);
        /* No guest flags were set by this; and they are with the other order. */
        CHECK(walk_peek(&memory, 0x1000, 8) == (0x2000 | P | W | U));
        world.ad_before_final = true;
        CHECK(walk(0x10, kind) == MODEL_EPT_VIOLATION && result.qualification == expected);
        CHECK(walk_peek(&memory, 0x1000, 8) == (0x2000 | P | W | U | A));
    }
    /* Rights of all levels: 5:3 are their AND. */
    ept_guest(4);
    const uint64_t leaf = nested_entry_address(PAGE, 1);
    const uint64_t above = nested_entry_address(PAGE, 2);
    walk_poke(&host, leaf, 8, HOST_PAGE | R | W);
    walk_poke(&host, above, 8, (walk_peek(&host, above, 8) & ~UINT64_C(7)) | R | X);
    CHECK(walk(0, MODEL_WRITE) == MODEL_EPT_VIOLATION && result.qualification == (2 | 1 << 3 | 1 << 7 | 1 << 8));
    /* If one is not present, none of the others counts. */
    walk_poke(&host, leaf, 8, 0);
    CHECK(walk(0, MODEL_READ) == MODEL_EPT_VIOLATION && result.qualification == (1 | 1 << 7 | 1 << 8));
}

/* The same of an access to a guest table: bit 8 is 0, and with A/D it is a read and a write. */
static void test_qualification_table(void)
{
    static const unsigned legal[] = {0, 1, 3, 4, 5, 7};
    for (unsigned n = 0; n < 6 * 4 * 3 * 2; n++) {
        const unsigned rights = legal[n % 6];
        const unsigned i = n / 6 % 4;
        const enum model_access_kind kind = n / 24 % 3;
        const bool ad = n / 72;
        ept_guest(4);
        world.nested.eptp |= ad ? EPT_AD : 0;
        const uint64_t gpa = 0x1000 + 0x1000 * i;
        nest_map(gpa, 1, gpa | rights | WB);
        const uint64_t linear = 1u << 7;
        if ((rights & 1) && (rights & 2)) {
            CHECK(walk(0, kind) == MODEL_OK);
        } else if (!(rights & 1) || ad) {
            const uint64_t bits = ad ? 3 : 1;
            CHECK(walk(0, kind) == MODEL_EPT_VIOLATION);
            CHECK(result.qualification == (bits | (uint64_t)rights << 3 | linear));
            CHECK(result.qualification_open == MODEL_EPT_USER_EXECUTABLE);
            CHECK(result.faulting_gpa == gpa && result.guest_reads == i);
        } else {
            /* Readable, not writable: the violation is that of setting the accessed flag. */
            CHECK(walk(0, kind) == MODEL_EPT_VIOLATION);
            CHECK(result.qualification == (2 | (uint64_t)rights << 3 | linear));
            CHECK(result.qualification_open == (MODEL_EPT_USER_EXECUTABLE | MODEL_EPT_READ));
            CHECK(result.faulting_gpa == gpa && result.guest_reads == 4 && result.nwrites == i);
            /* And there is none if the flags are set already. */
            for (unsigned j = 0; j < 4; j++) {
                const uint64_t at = 0x1000 + 0x1000 * j;
                walk_poke(&memory, at, 8, walk_peek(&memory, at, 8) | A | (j == 3 ? D : 0));
            }
            CHECK(walk(0, kind) == MODEL_OK);
        }
    }
}

/* SDM, "EPT Misconfigurations". */
static bool is_misconfigured(unsigned level, bool large, uint64_t entry, unsigned width, bool execute_only,
                             bool gb)
{
    const unsigned rights = entry & 7;
    if (rights == 2 || rights == 6 || (rights == 4 && !execute_only)) {
        return true;
    }
    for (unsigned n = 3; n < 52; n++) {
        if (!(entry >> n & 1)) {
            continue;
        }
        bool bad = n >= width;
        if (!large && level > 1) {
            bad = bad || n <= 6 || (n == 7 && level >= 4);
        }
        if (large && level == 2) {
            bad = bad || (n >= 12 && n <= 20);
        }
        if (large && level == 3) {
            bad = bad || (n >= 12 && n <= 29) || !gb;
        }
        if (bad) {
            return true;
        }
    }
    const unsigned type = entry >> 3 & 7;
    return (large || level == 1) && (type == 2 || type == 3 || type == 7);
}

static void check_misconfiguration(unsigned level, bool large, uint64_t change, bool execute_only, bool gb)
{
    ept_guest(5);
    world.nested.execute_only = execute_only;
    world.nested.has_1g = gb;
    const uint64_t far = UINT64_C(0x1008080600000); /* nothing shared with the tables */
    walk_poke(&memory, 0x4000, 8, far | P | W | U | A);
    world.cpu.maxphyaddr = 52;
    nest_map(far, large ? level : 1, HOST_PAGE | R | W | X);
    const uint64_t at = nested_entry_address(far, level);
    const uint64_t entry = walk_peek(&host, at, 8) ^ change;
    walk_poke(&host, at, 8, entry);
    const enum model_outcome outcome = walk(0, MODEL_READ);
    if ((entry & 7) == 0) {
        CHECK(outcome == MODEL_EPT_VIOLATION && (result.qualification & 0x38) == 0);
    } else if (is_misconfigured(level, large, entry, 40, execute_only, gb)) {
        CHECK(outcome == MODEL_EPT_MISCONFIG && result.faulting_gpa == far && result.qualification == 0);
    } else {
        CHECK(outcome != MODEL_EPT_MISCONFIG);
    }
}

static void test_misconfiguration(void)
{
    for (unsigned level = 1; level <= 5; level++) {
        for (unsigned large = 0; large <= (level == 2 || level == 3); large++) {
            for (unsigned n = 0; n < 64; n++) {
                if (n == 7 && level < 4 && level > 1) {
                    continue; /* that turns it into the other kind */
                }
                if (!large && level > 1 && n >= 12 && n < 40) {
                    continue; /* that leads to some other table */
                }
                check_misconfiguration(level, large, UINT64_C(1) << n, true, true);
                check_misconfiguration(level, large, UINT64_C(1) << n, true, false);
            }
            for (uint64_t low = 0; low < 128; low++) {
                check_misconfiguration(level, large, low ^ 7, false, true);
                check_misconfiguration(level, large, low ^ 7, true, true);
            }
        }
    }
    /* A misconfiguration below goes before rights above, and not present before either. */
    ept_guest(4);
    const uint64_t above = nested_entry_address(PAGE, 2);
    walk_poke(&host, above, 8, walk_peek(&host, above, 8) & ~W);
    CHECK(walk(0, MODEL_WRITE) == MODEL_EPT_VIOLATION);
    nest_map(PAGE, 1, HOST_PAGE | R | W | X | UINT64_C(7) << 3);
    CHECK(walk(0, MODEL_WRITE) == MODEL_EPT_MISCONFIG && result.faulting_gpa == PAGE);
    walk_poke(&host, above, 8, walk_peek(&host, above, 8) & ~UINT64_C(7));
    CHECK(walk(0, MODEL_WRITE) == MODEL_EPT_VIOLATION);
}

static void test_ept_page(void)
{
    ept_guest(4);
    nest_map(PAGE, 1, HOST_PAGE | R | WB | 1 << 6);
    CHECK(walk(0, MODEL_READ) == MODEL_OK && result.ept_memory_type == 6 && result.ept_ignore_pat);
    nest_map(PAGE, 1, HOST_PAGE | R | 1 << 3);
    CHECK(walk(0, MODEL_READ) == MODEL_OK && result.ept_memory_type == 1 && !result.ept_ignore_pat);
    nest_map(PAGE, 1, HOST_PAGE | R | 4 << 3);
    CHECK(walk(0, MODEL_READ) == MODEL_OK && result.ept_memory_type == 4 && !result.ept_ignore_pat);
    /* 48 bits are all that 4 levels translate. */
    world.cpu.maxphyaddr = 52;
    walk_poke(&memory, 0x4000, 8, PAGE | UINT64_C(1) << 48 | P | A);
    CHECK(walk(0, MODEL_READ) == MODEL_EPT_VIOLATION && result.qualification == (1 | 1 << 7 | 1 << 8));
    CHECK(result.faulting_gpa == (PAGE | UINT64_C(1) << 48));
    /* The guest's own faults come first, and need no final page. */
    walk_poke(&memory, 0x4000, 8, PAGE | UINT64_C(1) << 48);
    CHECK(fault(0, MODEL_READ) == 0 && result.nested_reads == 16);
    walk_poke(&memory, 0x4000, 8, PAGE | UINT64_C(1) << 48 | P);
    world.regs.cpl = 3;
    CHECK(fault(0, MODEL_READ) == (MODEL_PF_P | MODEL_PF_U));
    /* A nested table that is nowhere is not present. */
    ept_guest(4);
    walk_poke(&host, nested_entry_address(PAGE, 2), 8, 0x7f000000 | R | W | X);
    CHECK(walk(0, MODEL_READ) == MODEL_EPT_VIOLATION && result.qualification == (1 | 1 << 7 | 1 << 8));
}

/* SDM, "Accessed and Dirty Flags for EPT": 20 entries get A; tables' pages get D, too. */
static void test_ept_flags(void)
{
    ept_guest(4);
    CHECK(walk(0, MODEL_WRITE) == MODEL_OK && result.nwrites == 4);
    ept_guest(4);
    world.nested.eptp |= EPT_AD;
    CHECK(walk(0, MODEL_READ) == MODEL_OK);
    unsigned nested = 0;
    for (unsigned i = 0; i < result.nwrites; i++) {
        nested += result.write[i].dimension == MODEL_NESTED;
    }
    /* The root's one entry, those for the tables at levels 3 and 2, four leaves; for the page one at level 2, a
     * leaf. */
    CHECK(nested == 1 + 2 + 4 + 2 && result.nwrites == nested + 4);
    for (unsigned i = 0; i < 4; i++) {
        CHECK((walk_peek(&host, nested_entry_address(0x1000 + 0x1000 * i, 1), 8) & 0x300) == (EPT_A | EPT_D));
    }
    CHECK((walk_peek(&host, nested_entry_address(PAGE, 1), 8) & 0x300) == EPT_A);
    for (unsigned level = 2; level <= 4; level++) {
        CHECK((walk_peek(&host, nested_entry_address(PAGE, level), 8) & 0x300) == EPT_A);
    }
    CHECK(walk(0, MODEL_FETCH) == MODEL_OK && result.nwrites == 0);
    CHECK(walk(0, MODEL_WRITE) == MODEL_OK && result.nwrites == 2);
    CHECK(result.write[0].dimension == MODEL_NESTED && (result.write[0].old ^ result.write[0].new) == EPT_D);
    CHECK(result.write[0].address == nested_entry_address(PAGE, 1));
    CHECK(result.write[1].dimension == MODEL_GUEST && (result.write[1].old ^ result.write[1].new) == D);
    /* A violation sets none of its own translation. */
    nest_map(PAGE, 1, HOST_PAGE | R);
    CHECK(walk(0, MODEL_WRITE) == MODEL_EPT_VIOLATION && result.nwrites == 0);
}

static void test_load_pdptes(void)
{
    uint64_t pdptr[4] = {9, 9, 9, 9};
    begin(MODEL_PAE);
    nest(MODEL_EPT, 4);
    world.nested.eptp |= EPT_AD;
    walk_poke(&memory, 0x1028, 8, 0x2000 | P);
    CHECK(model_load_pdptes(&world, 0x103f, &result, pdptr) == MODEL_EPT_VIOLATION && pdptr[0] == 9);
    CHECK(result.qualification == 1 && result.faulting_gpa == 0x1020);
    CHECK(result.qualification_open == (MODEL_EPT_USER_EXECUTABLE | MODEL_EPT_LINEAR_FINAL));
    /* It is a read even with A/D for EPT: a read-only page does. */
    nest_map(0x1000, 1, 0x1000 | R | W);
    nest_map(0x1000, 1, 0x1000 | R);
    CHECK(model_load_pdptes(&world, 0x103f, &result, pdptr) == MODEL_OK && pdptr[1] == (0x2000 | P));
    CHECK(pdptr[0] == 0 && pdptr[2] == 0 && pdptr[3] == 0);
    CHECK((walk_peek(&host, nested_entry_address(0x1000, 1), 8) & 0x300) == EPT_A);
    nest_map(0x1000, 1, 0x1000 | W);
    CHECK(model_load_pdptes(&world, 0x103f, &result, pdptr) == MODEL_EPT_MISCONFIG);
}

static void npt_guest(unsigned levels)
{
    begin(MODEL_4LEVEL);
    nest(MODEL_NPT, levels);
    world.cpu.amd = true;
    set_all(4, (uint64_t[]){P | W | U, P | W | U, P | W | U, P | W | U});
    nest_identity(0x1000, 1, 4);
    nest_map(PAGE, 1, HOST_PAGE | P | W | U);
}

static void change_nested(struct walk_memory *m, uint64_t address)
{
    if (address == nested_entry_address(PAGE, 1)) {
        m->before_cas = NULL;
        walk_poke(m, address, 8, (HOST_PAGE + 0x1000) | R | W);
    }
}

/* A nested table that changes under the walk: it begins anew, in either order of things. */
static void test_nested_change(void)
{
    for (unsigned first = 0; first < 2; first++) {
        ept_guest(4);
        world.nested.eptp |= EPT_AD;
        world.ad_before_final = first;
        host.before_cas = change_nested;
        CHECK(walk(0x10, MODEL_WRITE) == MODEL_OK && result.hpa == HOST_PAGE + 0x1010);
        CHECK(host.before_cas == NULL && result.guest_reads == 4 && result.nested_reads == 20);
        CHECK(walk_peek(&host, nested_entry_address(PAGE, 1), 8) ==
              ((HOST_PAGE + 0x1000) | R | W | EPT_A | EPT_D));
    }
    /* Nested tables that are read-only stay as they are. */
    ept_guest(4);
    world.nested.eptp |= EPT_AD;
    host.page[1] = WALK_READ_ONLY;
    CHECK(walk(0, MODEL_READ) == MODEL_OK && walk_peek(&host, HOST_ROOT, 8) == (0x2000 | R | W | X));
    CHECK((walk_peek(&host, nested_entry_address(PAGE, 1), 8) & 0x300) == EPT_A);
}

/* APM, "Nested versus Guest Page Faults, Fault Ordering". */
static void test_npf(void)
{
    for (unsigned n = 0; n < 16 * 3 * 6; n++) {
        const bool p = n & 1;
        const bool w = n & 2;
        const bool u = n & 4;
        const bool nx = n & 8;
        const enum model_access_kind kind = n / 16 % 3;
        const unsigned i = n / 48; /* 0 to 3: that table's page, 4: the page; 5: the same at level 2 */
        npt_guest(4);
        world.nested.nxe = true;
        const uint64_t gpa = i < 4 ? 0x1000 + 0x1000 * i : PAGE;
        const uint64_t flags = (p ? P : 0) | (w ? W : 0) | (u ? U : 0) | (nx ? NX : 0);
        const uint64_t at = nested_entry_address(gpa, i == 5 ? 2 : 1);
        walk_poke(&host, at, 8, (walk_peek(&host, at, 8) & ~(P | W | U | NX)) | flags);
        const bool table = i < 4;
        const bool write = table || kind == MODEL_WRITE;
        const bool fetch = !table && kind == MODEL_FETCH;
        const enum model_outcome outcome = walk(0x18, kind);
        if (p && u && (w || !write) && !(nx && fetch)) {
            CHECK(outcome == MODEL_OK && result.hpa == HOST_PAGE + 0x18);
            continue;
        }
        uint64_t code = MODEL_PF_U | (p ? MODEL_PF_P : 0) | (write ? MODEL_PF_W : 0) | (fetch ? MODEL_PF_I : 0);
        code |= UINT64_C(1) << (table ? 33 : 32);
        CHECK(outcome == MODEL_NPF && result.error_code == code && result.error_code_open == 0);
        CHECK(result.faulting_gpa == (table ? gpa : PAGE + 0x18));
    }
    /* Reserved bits. */
    for (unsigned n = 1; n < 64; n++) {
        for (unsigned level = 1; level <= 5; level++) {
            npt_guest(5);
            const uint64_t far = UINT64_C(0x1008080600000);
            world.cpu.maxphyaddr = 52;
            walk_poke(&memory, 0x4000, 8, far | P | W | U | A);
            nest_map(far, 1, HOST_PAGE | P | W | U);
            const uint64_t at = nested_entry_address(far, level);
            walk_poke(&host, at, 8, walk_peek(&host, at, 8) | UINT64_C(1) << n);
            const bool bad = n == 63 || (n >= 40 && n <= 51) || (level >= 4 && (n == 7 || n == 8));
            const enum model_outcome outcome = walk(0, MODEL_READ);
            if (n == 7 && (level == 2 || level == 3)) {
                continue; /* a large page, of an address that is none */
            }
            const uint64_t code = MODEL_PF_P | MODEL_PF_U | MODEL_PF_RSVD | MODEL_NPF_FINAL;
            CHECK((outcome == MODEL_NPF && result.error_code == code) == bad);
        }
    }
    /* NX has no say without the host's NXE, and whether I is reported then is open. */
    npt_guest(4);
    nest_map(PAGE, 1, 0);
    CHECK(walk(0, MODEL_FETCH) == MODEL_NPF && result.error_code == (MODEL_PF_U | MODEL_NPF_FINAL));
    CHECK(result.error_code_open == MODEL_PF_I);
    /* Large pages. */
    npt_guest(4);
    nest_map(PAGE & ~UINT64_C(0x1fffff), 2, HOST_PAGE | P | U | 0x2000);
    CHECK(walk(0, MODEL_READ) == MODEL_NPF && (result.error_code & MODEL_PF_RSVD));
    nest_map(PAGE & ~UINT64_C(0x1fffff), 2, HOST_PAGE | P | U | 0x1000); /* PAT */
    CHECK(walk(0, MODEL_READ) == MODEL_OK && result.hpa == (HOST_PAGE | (PAGE & 0x1fffff)));
    npt_guest(4);
    world.nested.has_1g = false;
    walk_poke(&memory, 0x4000, 8, UINT64_C(0x40000000) | P | W | U);
    nest_map(0x40000000, 3, HOST_PAGE | P | W | U);
    CHECK(walk(0, MODEL_READ) == MODEL_NPF && (result.error_code & MODEL_PF_RSVD));
    world.nested.has_1g = true;
    CHECK(walk(0, MODEL_READ) == MODEL_OK && result.nested_page_bytes == 1 << 30);
}

static void test_npt_flags(void)
{
    npt_guest(4);
    CHECK(walk(0, MODEL_READ) == MODEL_OK);
    for (unsigned i = 0; i < 4; i++) {
        const uint64_t leaf = nested_entry_address(0x1000 + 0x1000 * i, 1);
        CHECK((walk_peek(&host, leaf, 8) & (A | D)) == (A | D)); /* user writes */
    }
    CHECK((walk_peek(&host, nested_entry_address(PAGE, 1), 8) & (A | D)) == A);
    CHECK((walk_peek(&host, nested_entry_address(PAGE, 2), 8) & (A | D)) == A);
    CHECK(walk(0, MODEL_WRITE) == MODEL_OK && result.nwrites == 2);
    CHECK((walk_peek(&host, nested_entry_address(PAGE, 1), 8) & (A | D)) == (A | D));
    /* A bit in a table that is not writable is a fault of its reading already, flags set or not. */
    nest_map(0x4000, 1, 0x4000 | P | U);
    CHECK(walk(0, MODEL_READ) == MODEL_NPF);
    CHECK(result.error_code == (MODEL_PF_P | MODEL_PF_W | MODEL_PF_U | MODEL_NPF_TABLE));
    CHECK(result.faulting_gpa == 0x4000);
    world.cpu.maxphyaddr = 52;
    npt_guest(4);
    world.cpu.maxphyaddr = 52;
    walk_poke(&memory, 0x4000, 8, UINT64_C(1) << 48 | P);
    CHECK(walk(0, MODEL_READ) == MODEL_NPF && result.error_code == (MODEL_PF_U | MODEL_NPF_FINAL));
}

int main(void)
{
    test_counts();
    test_pae();
    test_one_memory();
    test_qualification_final();
    test_qualification_table();
    test_misconfiguration();
    test_ept_page();
    test_ept_flags();
    test_load_pdptes();
    test_nested_change();
    test_npf();
    test_npt_flags();
    return finish();
}

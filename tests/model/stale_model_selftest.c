/* SPDX-License-Identifier: MIT */

/* Holds the model of stale translations against cases worked by hand from the manuals. */
#include "selftest.h"
#include "stale_model.h"
#include "walk_memory.h"

#include <stdlib.h>
#include <string.h>

#define P UINT64_C(0x1)
#define W UINT64_C(0x2)
#define A UINT64_C(0x20)
#define D UINT64_C(0x40)
#define PS UINT64_C(0x80)
#define G UINT64_C(0x100)
#define TABLE (P | W | A)
#define LEAF (P | W | A | D)
#define GVA UINT64_C(0x40201000)   /* entries 0, 1, 1, 1 */
#define OTHER UINT64_C(0x40202000) /* the next page */
#define FAR UINT64_C(0x8040201000) /* another PML4E, to the same tables */
#define PTE UINT64_C(0x4008)       /* where GVA's is */
#define PDE UINT64_C(0x3008)
#define PDPTE UINT64_C(0x2008)
#define EPTP UINT64_C(0x101e)

static struct stale_memory memory;
static struct stale_cpu cpu;
static struct model_world world;

static void load_word(uint64_t address, uint64_t value)
{
    stale_write(&memory, MODEL_GUEST, address, 8, value);
}

static void load_nested(uint64_t address, uint64_t value)
{
    stale_write(&memory, MODEL_NESTED, address, 8, value);
}

/* 4-level tables at 0x1000 to 0x5000; GVA leads to 0x10000, OTHER to 0x20000, 0x6000 is a second PML4. */
static void begin(uint64_t eptp)
{
    static const uint8_t nothing[0x8000];
    stale_memory_init(&memory);
    stale_load(&memory, MODEL_GUEST, 0, nothing, sizeof nothing);
    stale_load(&memory, MODEL_NESTED, 0, nothing, sizeof nothing);
    load_word(0x1000, 0x2000 | TABLE);
    load_word(0x1008, 0x2000 | TABLE);
    load_word(0x6000, 0x2000 | TABLE);
    load_word(PDPTE, 0x3000 | TABLE);
    load_word(PDE, 0x4000 | TABLE);
    load_word(PTE, 0x10000 | LEAF);
    load_word(PTE + 8, 0x20000 | LEAF);
    load_nested(0x1000, 0x2000 | 7);
    load_nested(0x2000, 0x3000 | 7);
    load_nested(0x3000, 0x4000 | 7);
    for (unsigned i = 0; i < 64; i++) {
        load_nested(0x4000 + 8 * i, (0x100000 + 0x1000 * i) | 7 | 6 << 3);
    }
    const struct stale_context context = {.vpid = eptp != 0 ? 1 : 0, .pcid = 1, .eptp = eptp, .cr3 = 0x1000};
    stale_cpu_init(&cpu, &memory, &context);
    world = (struct model_world){
        .cpu = {.maxphyaddr = 40, .pat = true, .has_1g = true},
        .regs = {.cr0 = MODEL_CR0_PE | MODEL_CR0_PG | MODEL_CR0_WP,
                 .cr4 = MODEL_CR4_PAE | MODEL_CR4_PGE | MODEL_CR4_PCIDE,
                 .efer = MODEL_EFER_LME | MODEL_EFER_LMA},
        .nested = {.kind = eptp != 0 ? MODEL_EPT : MODEL_NO_NESTING, .maxphyaddr = 40, .has_1g = true},
    };
}

static void end(void)
{
    stale_cpu_finish(&cpu);
    stale_memory_finish(&memory);
}

static bool may_reach(uint64_t gva, enum model_access_kind kind, uint64_t hpa)
{
    const struct model_access access = {.gva = gva, .kind = kind};
    const struct model_result seen = {.outcome = MODEL_OK, .gpa = hpa, .hpa = hpa};
    const enum stale_answer answer = stale_legal(&cpu, &world, &access, &seen);
    CHECK(answer != STALE_UNKNOWN);
    return answer == STALE_LEGAL;
}

static bool may_read(uint64_t gva, uint64_t hpa)
{
    return may_reach(gva, MODEL_READ, hpa);
}

static bool may_fault(uint64_t gva, enum model_access_kind kind, uint64_t code)
{
    const struct model_access access = {.gva = gva, .kind = kind};
    const struct model_result seen = {.outcome = MODEL_PAGE_FAULT, .error_code = code};
    return stale_legal(&cpu, &world, &access, &seen) == STALE_LEGAL;
}

static void test_invlpg(void)
{
    begin(0);
    CHECK(may_read(GVA, 0x10000) && !may_read(GVA, 0x11000) && !may_read(GVA, 0x20000));
    CHECK(may_read(OTHER + 5, 0x20005) && may_read(FAR, 0x10000));
    load_word(PTE, 0x11000 | LEAF);
    CHECK(may_read(GVA, 0x10000) && may_read(GVA, 0x11000) && !may_read(GVA, 0x12000));
    load_word(PTE, 0x12000 | LEAF);
    CHECK(may_read(GVA, 0x10000) && may_read(GVA, 0x11000) && may_read(GVA, 0x12000));
    stale_invlpg(&cpu, OTHER);
    CHECK(may_read(GVA, 0x10000) && may_read(GVA, 0x11000) && may_read(GVA, 0x12000));
    stale_invlpg(&cpu, GVA + 0xfff);
    CHECK(!may_read(GVA, 0x10000) && !may_read(GVA, 0x11000) && may_read(GVA, 0x12000));
    /* The same word by another address. */
    CHECK(may_read(FAR, 0x10000) && may_read(FAR, 0x11000) && may_read(FAR, 0x12000));
    stale_invlpg(&cpu, FAR);
    CHECK(!may_read(FAR, 0x10000) && !may_read(FAR, 0x11000) && may_read(FAR, 0x12000));
    end();
}

/* What is not present, reserved or not accessed is not cached. */
static void test_not_cached(void)
{
    begin(0);
    load_word(PTE, 0);
    CHECK(may_read(GVA, 0x10000) && may_fault(GVA, MODEL_READ, 0) && !may_fault(GVA, MODEL_READ, 1));
    load_word(PTE, 0x11000 | LEAF);
    CHECK(may_read(GVA, 0x10000) && may_read(GVA, 0x11000) && !may_fault(GVA, MODEL_READ, 0));
    load_word(PTE, 0x11000 | LEAF | UINT64_C(1) << 45);
    CHECK(may_fault(GVA, MODEL_READ, MODEL_PF_P | MODEL_PF_RSVD));
    load_word(PTE, 0x12000 | LEAF);
    CHECK(!may_fault(GVA, MODEL_READ, MODEL_PF_P | MODEL_PF_RSVD) && may_read(GVA, 0x12000));
    load_word(PTE, 0x13000 | P);
    CHECK(may_read(GVA, 0x13000));
    load_word(PTE, 0x14000 | LEAF);
    CHECK(!may_read(GVA, 0x13000) && may_read(GVA, 0x12000) && may_read(GVA, 0x14000));
    /* An accessed flag that is set makes it one that may have been cached. */
    load_word(PTE, 0x15000 | P);
    load_word(PTE, 0x15000 | P | A);
    load_word(PTE, 0x16000 | LEAF);
    CHECK(may_read(GVA, 0x15000));
    /* It was read-only, and so it may still be; without the dirty flag a write is one of now. */
    CHECK(may_fault(GVA, MODEL_WRITE, MODEL_PF_P | MODEL_PF_W));
    CHECK(!may_reach(GVA, MODEL_WRITE, 0x15000));
    load_word(PTE, 0x17000 | P | W | A);
    CHECK(may_reach(GVA, MODEL_WRITE, 0x17000));
    load_word(PTE, 0x18000 | LEAF);
    CHECK(may_read(GVA, 0x17000) && !may_reach(GVA, MODEL_WRITE, 0x17000));
    CHECK(may_reach(GVA, MODEL_WRITE, 0x16000) && may_reach(GVA, MODEL_WRITE, 0x18000));
    stale_page_fault(&cpu, GVA);
    CHECK(!may_read(GVA, 0x17000) && may_read(GVA, 0x18000));
    end();
}

/* The upper entry is not newer than the lower one: kernel commit 65855ed8b034's case. */
static void test_order(void)
{
    begin(0);
    stale_flush_all(&cpu);
    load_word(PDE, 0);
    stale_flush_all(&cpu);
    load_word(PTE, 0x11000 | LEAF);
    load_word(PDE, 0x4000 | TABLE);
    CHECK(may_read(GVA, 0x11000) && !may_read(GVA, 0x10000));
    CHECK(!may_fault(GVA, MODEL_READ, 0));
    end();
    /* A new directory entry with an old page: nobody read the old page through it. */
    begin(0);
    load_word(PTE, 0x11000 | LEAF);
    load_word(PDE, 0x4000 | P | A);
    CHECK(may_reach(GVA, MODEL_WRITE, 0x10000) && may_reach(GVA, MODEL_WRITE, 0x11000));
    CHECK(may_fault(GVA, MODEL_WRITE, MODEL_PF_P | MODEL_PF_W) && may_read(GVA, 0x10000));
    stale_invlpg(&cpu, GVA);
    CHECK(!may_reach(GVA, MODEL_WRITE, 0x11000) && may_read(GVA, 0x11000) && !may_read(GVA, 0x10000));
    end();
}

/* INVLPG of one page forgets the upper entries of all, though not the translations. */
static void test_structure_caches(void)
{
    begin(0);
    load_word(0x5008, 0x30000 | LEAF);
    load_word(PDE, 0x5000 | TABLE); /* to another table */
    load_word(PTE, 0x12000 | LEAF); /* in the old one */
    CHECK(may_read(GVA, 0x10000) && may_read(GVA, 0x12000) && may_read(GVA, 0x30000));
    stale_invlpg(&cpu, FAR); /* which shares no upper entry */
    /* Those may be in the TLB. */
    CHECK(may_read(GVA, 0x10000) && may_read(GVA, 0x12000) && may_read(GVA, 0x30000));
    load_word(PTE, 0x13000 | LEAF);
    CHECK(!may_read(GVA, 0x13000)); /* only the old directory entry leads there */
    end();
    begin(0);
    load_word(0x5008, 0x30000 | LEAF);
    load_word(PDE, 0x5000 | TABLE);
    stale_invpcid(&cpu, 0, 1, OTHER); /* in the same table: the same directory entry */
    load_word(PTE, 0x13000 | LEAF);
    CHECK(!may_read(GVA, 0x13000) && may_read(GVA, 0x10000) && may_read(GVA, 0x30000));
    end();
    begin(0);
    load_word(0x5008, 0x30000 | LEAF);
    load_word(PDE, 0x5000 | TABLE);
    stale_invpcid(&cpu, 0, 1, GVA + 0x200000); /* another directory entry, in the same directory */
    load_word(PTE, 0x13000 | LEAF);
    CHECK(may_read(GVA, 0x13000));
    stale_page_fault(&cpu, GVA + 0x200000);
    CHECK(may_read(GVA, 0x13000));
    stale_page_fault(&cpu, OTHER);
    load_word(PTE, 0x14000 | LEAF);
    CHECK(!may_read(GVA, 0x14000) && may_read(GVA, 0x13000));
    end();
}

static void test_large(void)
{
    begin(0);
    load_word(PDE, 0x600000 | LEAF | PS);
    stale_flush_all(&cpu);
    load_word(PDE, 0x800000 | LEAF | PS);
    CHECK(may_read(GVA, 0x601000) && may_read(GVA, 0x801000));
    stale_invlpg(&cpu, GVA + 0x200000);
    CHECK(may_read(GVA, 0x601000));
    stale_invlpg(&cpu, GVA + 0x123000);
    CHECK(!may_read(GVA, 0x601000) && may_read(GVA, 0x801000));
    /* Split without a flush: both, but nothing else. */
    load_word(PDE, 0x4000 | TABLE);
    CHECK(may_read(GVA, 0x801000) && may_read(GVA, 0x10000) && !may_read(GVA, 0x601000));
    end();
}

/* Which of the invalidations reach a page that is global or not, of PCID 1, while PCID 1 is current. */
static void test_kinds(void)
{
    for (unsigned global = 0; global < 2; global++) {
        for (unsigned kind = 0; kind < 16; kind++) {
            bool reached;
            begin(0);
            load_word(PTE, 0x10000 | LEAF | (global ? G : 0));
            load_word(PTE, 0x11000 | LEAF | (global ? G : 0));
            switch (kind) {
            case 0: stale_cr3(&cpu, 0x1000, 1, false, NULL), reached = !global; break;
            case 1: stale_cr3(&cpu, 0x1000, 1, true, NULL), reached = false; break;
            case 2: stale_flush_all(&cpu), reached = true; break;
            case 3: stale_flush_current(&cpu), reached = !global; break;
            case 4: stale_invpcid(&cpu, 0, 1, GVA), reached = !global; break;
            case 5: stale_invpcid(&cpu, 0, 2, GVA), reached = false; break;
            case 6: stale_invpcid(&cpu, 0, 1, OTHER), reached = false; break;
            case 7: stale_invpcid(&cpu, 1, 1, 0), reached = !global; break;
            case 8: stale_invpcid(&cpu, 1, 2, GVA), reached = false; break;
            case 9: stale_invpcid(&cpu, 2, 7, 0), reached = true; break;
            case 10: stale_invpcid(&cpu, 3, 7, 0), reached = !global; break;
            case 11: stale_invlpg(&cpu, GVA), reached = true; break;
            case 12: stale_invept(&cpu, 2, 0), reached = false; break;
            case 13: stale_invvpid(&cpu, 2, 0, 0), reached = false; break; /* VPID 0 is not among them */
            case 14: stale_invvpid(&cpu, 1, 3, 0), reached = false; break;
            default: stale_page_fault(&cpu, GVA), reached = true; break;
            }
            CHECK(may_read(GVA, 0x10000) == !reached);
            CHECK(may_read(GVA, 0x11000));
            end();
        }
    }
}

static void test_pcids(void)
{
    begin(0);
    /* PCID 2 begins at 0x6000, where 0 leads to the same tables. */
    load_word(PTE + 8, 0x20000 | LEAF | G);
    stale_flush_all(&cpu);
    stale_cr3(&cpu, 0x6000, 2, false, NULL);
    load_word(PTE, 0x11000 | LEAF);
    load_word(PTE + 8, 0x21000 | LEAF | G);
    CHECK(may_read(GVA, 0x10000) && may_read(GVA, 0x11000) && may_read(OTHER, 0x20000));
    CHECK(!may_read(FAR, 0x10000) && may_fault(FAR, MODEL_READ, 0)); /* PCID 1 has that */
    stale_invlpg(&cpu, OTHER);
    CHECK(!may_read(OTHER, 0x20000) && may_read(OTHER, 0x21000) && may_read(GVA, 0x10000));
    stale_invlpg(&cpu, GVA);
    CHECK(!may_read(GVA, 0x10000));
    /* Back, without a flush: PCID 1 was not reached by any of this, but its global page was. */
    stale_cr3(&cpu, 0x1000, 1, true, NULL);
    CHECK(may_read(GVA, 0x10000) && may_read(GVA, 0x11000) && !may_read(OTHER, 0x20000));
    stale_cr3(&cpu, 0x6000, 2, true, NULL);
    stale_invpcid(&cpu, 1, 1, 0);
    stale_cr3(&cpu, 0x1000, 1, true, NULL);
    CHECK(!may_read(GVA, 0x10000) && may_read(GVA, 0x11000));
    end();
    /* Another root under the same PCID, without a flush: what the old root led to may be there. */
    begin(0);
    load_word(0x7000, 0x5000 | TABLE); /* a third PML4, whose tables are empty */
    stale_cr3(&cpu, 0x7000, 1, true, NULL);
    CHECK(may_read(GVA, 0x10000) && may_fault(GVA, MODEL_READ, 0));
    stale_cr3(&cpu, 0x7000, 1, false, NULL);
    CHECK(!may_read(GVA, 0x10000) && may_fault(GVA, MODEL_READ, 0));
    end();
    /* A global page of the old root survives it, with its upper entries as they were. */
    begin(0);
    load_word(PTE, 0x10000 | LEAF | G);
    load_word(0x7000, 0x5000 | TABLE);
    stale_cr3(&cpu, 0x7000, 1, false, NULL);
    CHECK(may_read(GVA, 0x10000) && may_fault(GVA, MODEL_READ, 0));
    load_word(PTE, 0x11000 | LEAF | G);
    CHECK(!may_read(GVA, 0x11000));
    world.regs.cr4 &= ~MODEL_CR4_PGE;
    CHECK(!may_read(GVA, 0x10000));
    end();
}

static void test_two_processors(void)
{
    struct stale_cpu second;
    begin(0);
    stale_cpu_init(&second, &memory, &cpu.event[0].context);
    load_word(PTE, 0x11000 | LEAF);
    stale_invlpg(&cpu, GVA);
    CHECK(!may_read(GVA, 0x10000));
    const struct stale_cpu first = cpu;
    cpu = second;
    CHECK(may_read(GVA, 0x10000) && may_read(GVA, 0x11000));
    stale_invlpg(&cpu, GVA);
    CHECK(!may_read(GVA, 0x10000));
    second = cpu;
    cpu = first;
    stale_cpu_finish(&second);
    end();
}

/* PTE is in gpa 0x4000 to 0x4fff. The host's page of gpa 0x10000 is 0x110000. */
static void test_ept(void)
{
    for (unsigned kind = 0; kind < 10; kind++) {
        begin(EPTP);
        CHECK(may_read(GVA, 0x110000));
        load_nested(0x4000 + 8 * 0x10, 0x300000 | 7 | 6 << 3);
        load_word(PTE + 8, 0x21000 | LEAF | G);
        load_word(PTE + 8, 0x22000 | LEAF | G);
        CHECK(may_read(GVA, 0x110000) && may_read(GVA, 0x300000) && may_read(OTHER, 0x121000));
        bool page = true;  /* may the old page of gpa 0x10000 be used? */
        bool guest = true; /* and the guest's old entry? */
        switch (kind) {
        case 0: stale_invlpg(&cpu, OTHER), guest = false; break;
        case 1: stale_cr3(&cpu, 0x1000, 1, false, NULL); break;
        case 2: stale_invvpid(&cpu, 0, 1, OTHER), guest = false; break;
        case 3: stale_invvpid(&cpu, 1, 1, 0), guest = false; break;
        case 4: stale_invvpid(&cpu, 2, 0, 0), guest = false; break;
        case 5: stale_invvpid(&cpu, 3, 1, 0); break; /* it is global */
        case 6: stale_invept(&cpu, 1, EPTP), page = false, guest = false; break;
        case 7: stale_invept(&cpu, 1, 0x701e); break;
        case 8: stale_invept(&cpu, 2, 0), page = false, guest = false; break;
        default: stale_invvpid(&cpu, 0, 1, GVA); break;
        }
        CHECK(may_read(GVA, 0x110000) == page && may_read(GVA, 0x300000));
        CHECK(may_read(OTHER, 0x121000) == guest && may_read(OTHER, 0x122000));
        end();
    }
    /* What is not present in EPT is not cached either. */
    begin(EPTP);
    const struct model_access read = {.gva = GVA, .kind = MODEL_READ};
    struct model_result seen = {.outcome = MODEL_EPT_VIOLATION,
                                .qualification = 0x181,
                                .qualification_open = 0x40,
                                .faulting_gpa = 0x10000};
    CHECK(stale_legal(&cpu, &world, &read, &seen) == STALE_ILLEGAL);
    load_nested(0x4000 + 8 * 0x10, 0);
    CHECK(stale_legal(&cpu, &world, &read, &seen) == STALE_LEGAL && may_read(GVA, 0x110000));
    seen.qualification = 0x1c1; /* bit 6 is open */
    CHECK(stale_legal(&cpu, &world, &read, &seen) == STALE_LEGAL);
    load_nested(0x4000 + 8 * 0x10, 0x300000 | 4);
    CHECK(stale_legal(&cpu, &world, &read, &seen) == STALE_ILLEGAL);
    seen = (struct model_result){.outcome = MODEL_EPT_MISCONFIG, .faulting_gpa = 0x10000};
    CHECK(stale_legal(&cpu, &world, &read, &seen) == STALE_LEGAL);
    load_nested(0x4000 + 8 * 0x10, 0x300000 | 3);
    CHECK(stale_legal(&cpu, &world, &read, &seen) == STALE_ILLEGAL);
    CHECK(may_read(GVA, 0x300000) && may_read(GVA, 0x110000));
    /* Another VPID has none of it, but shares what is guest-physical. */
    const struct stale_context other = {.vpid = 2, .pcid = 1, .eptp = EPTP, .cr3 = 0x1000};
    load_word(PTE + 8, 0x21000 | LEAF | G);
    stale_switch(&cpu, &other);
    CHECK(may_read(GVA, 0x110000) && !may_read(OTHER, 0x120000) && may_read(OTHER, 0x121000));
    end();
}

/* An EPT entry is cached if it is present, whatever its rights, and with A/D flags if it is accessed. */
static void test_ept_cached(void)
{
    const uint64_t at = 0x4000 + 8 * 0x10;
    begin(EPTP);
    load_nested(at, 0x300000 | 1 | 6 << 3);
    load_nested(at, 0x301000 | 5 | 6 << 3);
    load_nested(at, 0x302000 | 7 | 6 << 3);
    CHECK(may_read(GVA, 0x300000) && may_read(GVA, 0x301000) && may_read(GVA, 0x302000));
    CHECK(!may_reach(GVA, MODEL_WRITE, 0x300000) && !may_reach(GVA, MODEL_FETCH, 0x300000));
    CHECK(may_reach(GVA, MODEL_WRITE, 0x302000) && may_reach(GVA, MODEL_FETCH, 0x301000));
    end();
    begin(EPTP | 0x40);
    load_nested(at, 0x300000 | 7 | 6 << 3);
    CHECK(may_read(GVA, 0x300000));
    load_nested(at, 0x301000 | 7 | 6 << 3 | 0x100);
    load_nested(at, 0x302000 | 7 | 6 << 3 | 0x100);
    CHECK(!may_read(GVA, 0x300000) && may_read(GVA, 0x301000) && may_read(GVA, 0x302000));
    end();
}

static void test_other_modes(void)
{
    /* PAE: the registers are those of the last load. */
    begin(0);
    world.regs.cr4 = MODEL_CR4_PAE;
    world.regs.efer = 0;
    struct stale_context context = {.cr3 = 0x1000, .pdptr = {0, 0x3000 | P}};
    stale_switch(&cpu, &context);
    CHECK(may_read(GVA, 0x10000));
    const uint64_t empty[4] = {0};
    stale_cr3(&cpu, 0x1000, 0, false, empty);
    CHECK(!may_read(GVA, 0x10000) && may_fault(GVA, MODEL_READ, 0));
    end();
    /* 32-bit: half words. GVA's entry is 0x100 of the directory and 0x201 of the table. */
    begin(0);
    world.regs.cr4 = 0;
    world.regs.efer = 0;
    stale_write(&memory, MODEL_GUEST, 0x5400, 4, 0x7000 | TABLE);
    stale_write(&memory, MODEL_GUEST, 0x7804, 4, 0x40000 | LEAF);
    context = (struct stale_context){.cr3 = 0x5000};
    stale_switch(&cpu, &context);
    CHECK(may_read(GVA, 0x40000));
    stale_write(&memory, MODEL_GUEST, 0x7804, 4, 0x41000 | LEAF);
    stale_write(&memory, MODEL_GUEST, 0x7800, 4, 0xffffffff); /* its neighbour */
    CHECK(may_read(GVA, 0x40000) && may_read(GVA, 0x41000) && !may_read(GVA, 0xfffff000));
    stale_invlpg(&cpu, GVA);
    CHECK(!may_read(GVA, 0x40000) && may_read(GVA, 0x41000));
    /* A byte of it is a write, too. */
    stale_write(&memory, MODEL_GUEST, 0x7805, 1, 0x20);
    CHECK(may_read(GVA, 0x42000) && may_read(GVA, 0x41000));
    world.regs.cr0 = MODEL_CR0_PE;
    CHECK(may_read(GVA, GVA) && !may_read(GVA, 0x42000));
    end();
}

/*
 * A page fault reaches the upper entries that its address uses, at each level: the others still lead to what is in
 * the old tables by now. n: the bit by which the address of the fault is another one.
 */
static void test_reach_of_levels(void)
{
    for (unsigned n = 12; n < 47; n++) {
        const uint64_t other = GVA ^ UINT64_C(1) << n;
        begin(0);
        load_word(PDE, 0x5000 | TABLE);
        stale_page_fault(&cpu, other);
        load_word(PTE, 0x13000 | LEAF);
        CHECK(may_read(GVA, 0x13000) == (n >= 21));
        end();
        begin(0);
        load_word(PDPTE, 0x5000 | TABLE);
        stale_page_fault(&cpu, other);
        load_word(PDE, 0x600000 | LEAF | PS);
        CHECK(may_read(GVA, 0x601000) == (n >= 30));
        end();
        begin(0);
        load_word(0x1000, 0x5000 | TABLE);
        stale_page_fault(&cpu, other);
        load_word(PDPTE, 0x80000000 | LEAF | PS);
        CHECK(may_read(GVA, 0x80201000) == (n >= 39));
        end();
        /* 5 levels: the PML5 at 0x7000, whose entry goes to the PML4 at 0x1000. */
        begin(0);
        world.regs.cr4 |= MODEL_CR4_LA57;
        load_word(0x7000, 0x1000 | TABLE);
        stale_cr3(&cpu, 0x7000, 1, false, NULL);
        load_word(0x7000, 0x5000 | TABLE);
        stale_page_fault(&cpu, other ^ (n == 46 ? UINT64_C(1) << 48 ^ UINT64_C(1) << 46 : 0));
        load_word(0x1000, 0x6000 | TABLE); /* whose entries are PDPTEs now */
        load_word(0x6008, 0x80000000 | LEAF | PS);
        CHECK(may_read(GVA, 0x80201000) == (n == 46));
        end();
        begin(0);
        world.regs.cr4 |= MODEL_CR4_LA57;
        load_word(0x7000, 0x1000 | TABLE);
        stale_cr3(&cpu, 0x7000, 1, false, NULL);
        load_word(PDE, 0x5000 | TABLE);
        stale_page_fault(&cpu, other);
        load_word(PTE, 0x13000 | LEAF);
        CHECK(may_read(GVA, 0x13000) == (n >= 21));
        end();
    }
    for (unsigned n = 12; n < 32; n++) {
        const uint64_t other = GVA ^ UINT64_C(1) << n;
        begin(0);
        world.regs.cr4 = 0;
        world.regs.efer = 0;
        stale_write(&memory, MODEL_GUEST, 0x5400, 4, 0x7000 | TABLE);
        stale_write(&memory, MODEL_GUEST, 0x7804, 4, 0x40000 | LEAF);
        struct stale_context context = {.cr3 = 0x5000};
        stale_switch(&cpu, &context);
        stale_write(&memory, MODEL_GUEST, 0x5400, 4, 0x6000 | TABLE);
        stale_page_fault(&cpu, other);
        stale_write(&memory, MODEL_GUEST, 0x7804, 4, 0x41000 | LEAF);
        CHECK(may_read(GVA, 0x41000) == (n >= 22));
        end();
        begin(0);
        world.regs.cr4 = MODEL_CR4_PAE;
        world.regs.efer = 0;
        context = (struct stale_context){.cr3 = 0x1000, .pdptr = {0, 0x3000 | P}};
        stale_switch(&cpu, &context);
        load_word(PDE, 0x5000 | TABLE);
        stale_page_fault(&cpu, other);
        load_word(PTE, 0x13000 | LEAF);
        CHECK(may_read(GVA, 0x13000) == (n >= 21));
        end();
    }
}

int main(void)
{
    test_reach_of_levels();
    test_ept_cached();
    test_invlpg();
    test_not_cached();
    test_order();
    test_structure_caches();
    test_large();
    test_kinds();
    test_pcids();
    test_two_processors();
    test_ept();
    test_other_modes();
    return finish();
}

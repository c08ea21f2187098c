/* SPDX-License-Identifier: MIT */

/* Holds what the model of stale translations says of NPT against cases worked by hand from AMD's manual. */
#include "selftest.h"
#include "stale_model.h"

#include <stdlib.h>
#include <string.h>

#define P UINT64_C(0x1)
#define W UINT64_C(0x2)
#define U UINT64_C(0x4)
#define A UINT64_C(0x20)
#define D UINT64_C(0x40)
#define PS UINT64_C(0x80)
#define G UINT64_C(0x100)
#define TABLE (P | W | A)
#define LEAF (P | W | A | D)
#define NTABLE (P | W | U | A)
#define NLEAF (P | W | U | A | D)
#define GVA UINT64_C(0x40201000)   /* entries 0, 1, 1, 1 */
#define OTHER UINT64_C(0x40202000) /* the next page */
#define PTE UINT64_C(0x4008)       /* where GVA's is */
#define PDE UINT64_C(0x3008)
#define ROOT UINT64_C(0x1000)
#define ROOT2 UINT64_C(0x5000)
#define NPTE(gpa) (UINT64_C(0x4000) + ((gpa) >> 12) * 8)
#define NPTE2(gpa) (UINT64_C(0x8000) + ((gpa) >> 12) * 8)
#define FINAL (MODEL_NPF_FINAL | MODEL_PF_U)
#define IN_TABLE (MODEL_NPF_TABLE | MODEL_PF_U | MODEL_PF_W)

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

static struct stale_context context_with(unsigned asid, uint64_t ncr3)
{
    return (struct stale_context){.vpid = asid, .pcid = 1, .ncr3 = ncr3, .cr3 = 0x1000};
}

/*
 * Guest tables at 0x1000 to 0x5000: GVA leads to 0x10000, OTHER to 0x20000, both global if `global`; 0x6000 is a
 * second PML4. Nested tables at 0x1000 to 0x4000 have page n at 0x100000 + 0x1000 * n, those at 0x5000 to 0x8000
 * at 0x500000 + 0x1000 * n.
 */
static void begin(uint64_t global)
{
    static const uint8_t nothing[0x9000];
    stale_memory_init(&memory);
    stale_load(&memory, MODEL_GUEST, 0, nothing, sizeof nothing);
    stale_load(&memory, MODEL_NESTED, 0, nothing, sizeof nothing);
    load_word(0x1000, 0x2000 | TABLE);
    load_word(0x6000, 0x2000 | TABLE);
    load_word(0x2008, 0x3000 | TABLE);
    load_word(PDE, 0x4000 | TABLE);
    load_word(PTE, 0x10000 | LEAF | global);
    load_word(PTE + 8, 0x20000 | LEAF | global);
    for (uint64_t root = 0; root <= 0x4000; root += 0x4000) {
        load_nested(root + 0x1000, (root + 0x2000) | NTABLE);
        load_nested(root + 0x2000, (root + 0x3000) | NTABLE);
        load_nested(root + 0x3000, (root + 0x4000) | NTABLE);
        for (uint64_t i = 0; i < 64; i++) {
            load_nested(root + 0x4000 + 8 * i, (0x100000 * (1 + root / 0x1000) + 0x1000 * i) | NLEAF);
        }
    }
    const struct stale_context context = context_with(1, ROOT);
    stale_cpu_init(&cpu, &memory, &context);
    world = (struct model_world){
        .cpu = {.amd = true, .maxphyaddr = 40, .pat = true, .has_1g = true},
        .regs = {.cr0 = MODEL_CR0_PE | MODEL_CR0_PG | MODEL_CR0_WP,
                 .cr4 = MODEL_CR4_PAE | MODEL_CR4_PGE | MODEL_CR4_PCIDE,
                 .efer = MODEL_EFER_LME | MODEL_EFER_LMA},
        .nested = {.kind = MODEL_NPT, .maxphyaddr = 40, .has_1g = true, .nxe = true},
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
    const struct model_result seen = {.outcome = MODEL_OK, .hpa = hpa};
    const enum stale_answer answer = stale_legal(&cpu, &world, &access, &seen);
    CHECK(answer != STALE_UNKNOWN);
    return answer == STALE_LEGAL;
}

static bool may_read(uint64_t gva, uint64_t hpa)
{
    return may_reach(gva, MODEL_READ, hpa);
}

static bool may_write(uint64_t gva, uint64_t hpa)
{
    return may_reach(gva, MODEL_WRITE, hpa);
}

static bool may_fault(uint64_t gva, enum model_access_kind kind, uint64_t code)
{
    const struct model_access access = {.gva = gva, .kind = kind};
    const struct model_result seen = {.outcome = MODEL_PAGE_FAULT, .error_code = code};
    return stale_legal(&cpu, &world, &access, &seen) == STALE_LEGAL;
}

static bool may_exit(enum model_access_kind kind, uint64_t code, uint64_t gpa)
{
    const struct model_access access = {.gva = GVA, .kind = kind};
    const struct model_result seen = {.outcome = MODEL_NPF, .error_code = code, .faulting_gpa = gpa};
    return stale_legal(&cpu, &world, &access, &seen) == STALE_LEGAL;
}

static void to(unsigned asid, uint64_t ncr3)
{
    const struct stale_context context = context_with(asid, ncr3);
    stale_switch(&cpu, &context);
}

/* What reaches the nested entry of GVA's page, and what OTHER's old guest entry. */
static void test_reach(void)
{
    for (unsigned global = 0; global < 2; global++) {
        for (unsigned kind = 0; kind < 20; kind++) {
            bool page = true;
            bool guest = true;
            begin(global ? G : 0);
            load_nested(NPTE(0x10000), 0x300000 | NLEAF);
            load_word(PTE + 8, 0x21000 | LEAF | (global ? G : 0));
            CHECK(may_read(GVA, 0x110000) && may_read(GVA, 0x300000) && !may_read(GVA, 0x301000));
            CHECK(may_read(OTHER, 0x120000) && may_read(OTHER, 0x121000));
            switch (kind) {
            case 0: stale_invlpg(&cpu, OTHER), guest = false; break;
            case 1: stale_invlpg(&cpu, GVA); break;
            case 2: stale_cr3(&cpu, 0x1000, 1, false, NULL), guest = global; break;
            case 3: stale_cr3(&cpu, 0x1000, 1, true, NULL); break;
            case 4: stale_flush_all(&cpu), guest = false; break;
            case 5: stale_invpcid(&cpu, 0, 1, OTHER), guest = global; break;
            case 6: stale_invpcid(&cpu, 1, 1, 0), guest = global; break;
            case 7: stale_invpcid(&cpu, 1, 2, 0); break;
            case 8: stale_invpcid(&cpu, 2, 0, 0), guest = false; break;
            case 9: stale_invpcid(&cpu, 3, 0, 0), guest = global; break;
            case 10: stale_invlpga(&cpu, 1, OTHER), guest = false; break;
            case 11: stale_invlpga(&cpu, 2, OTHER); break;
            case 12: stale_invlpga(&cpu, 1, GVA); break;
            case 13: stale_tlb_control(&cpu, 1), page = false, guest = false; break;
            case 14: stale_tlb_control(&cpu, 3), page = false, guest = false; break;
            case 15: stale_tlb_control(&cpu, 7), guest = global; break;
            case 16: to(2, ROOT), stale_tlb_control(&cpu, 3), to(1, ROOT); break;
            case 17: to(2, ROOT), stale_tlb_control(&cpu, 1), to(1, ROOT), page = false, guest = false; break;
            case 18: stale_nested_fault(&cpu, OTHER), guest = false; break;
            default: stale_page_fault(&cpu, OTHER), guest = false; break;
            }
            CHECK(may_read(GVA, 0x110000) == page && may_read(GVA, 0x300000));
            CHECK(may_read(OTHER, 0x120000) == guest && may_read(OTHER, 0x121000));
            end();
        }
    }
}

/* Nothing of one ASID is another's, be it of one root; what one ASID had under several roots is all its own. */
static void test_asids(void)
{
    begin(G);
    load_nested(NPTE(0x10000), 0x300000 | NLEAF);
    load_word(PTE + 8, 0x21000 | LEAF | G);
    to(2, ROOT);
    CHECK(!may_read(GVA, 0x110000) && may_read(GVA, 0x300000));
    CHECK(!may_read(OTHER, 0x120000) && may_read(OTHER, 0x121000));
    stale_flush_all(&cpu);
    stale_invlpg(&cpu, GVA);
    stale_invlpg(&cpu, OTHER);
    to(1, ROOT);
    CHECK(may_read(GVA, 0x110000) && may_read(GVA, 0x300000));
    CHECK(may_read(OTHER, 0x120000) && may_read(OTHER, 0x121000));
    end();
    for (unsigned command = 0; command < 8; command++) {
        begin(G);
        to(1, ROOT2);
        CHECK(may_read(GVA, 0x110000) && may_read(GVA, 0x510000));
        if (command == 1 || command == 3 || command == 7) {
            stale_tlb_control(&cpu, command);
        }
        CHECK(may_read(GVA, 0x110000) == (command != 1 && command != 3) && may_read(GVA, 0x510000));
        end();
    }
    begin(0);
    to(2, ROOT2);
    CHECK(!may_read(GVA, 0x110000) && may_read(GVA, 0x510000));
    to(1, ROOT);
    CHECK(may_read(GVA, 0x110000) && !may_read(GVA, 0x510000));
    /* The entries of a root that is not current are as old as they are. */
    to(1, ROOT2);
    load_nested(NPTE(0x10000), 0x300000 | NLEAF);
    load_nested(NPTE2(0x10000), 0x301000 | NLEAF);
    CHECK(may_read(GVA, 0x110000) && may_read(GVA, 0x510000) && may_read(GVA, 0x301000));
    end();
}

/* TLB_CONTROL 7 is for all PCIDs, and INVLPGA for that which the ASID had last. */
static void test_pcids(void)
{
    for (unsigned kind = 0; kind < 6; kind++) {
        begin(kind % 2 ? G : 0);
        load_word(PTE, 0x11000 | LEAF | (kind % 2 ? G : 0));
        stale_cr3(&cpu, 0x6000, 2, true, NULL);
        if (kind / 2 == 0) {
            stale_tlb_control(&cpu, 7);
        } else if (kind / 2 == 1) {
            stale_invlpga(&cpu, 1, GVA);
        } else {
            to(2, ROOT);
            stale_invlpga(&cpu, 1, GVA);
            to(1, ROOT);
        }
        stale_cr3(&cpu, 0x1000, 1, true, NULL);
        /* TLB_CONTROL reaches those that are not global, INVLPGA of PCID 2 those that are. */
        CHECK(may_read(GVA, 0x110000) == (kind == 1 || kind == 2 || kind == 4) && may_read(GVA, 0x111000));
        end();
    }
}

/* A fault of the guest is found in memory, under the present CR3. */
static void test_page_faults_confirmed(void)
{
    const uint64_t write = MODEL_PF_P | MODEL_PF_W;
    begin(0);
    load_word(PTE, 0x10000 | P | A | D);
    CHECK(may_fault(GVA, MODEL_WRITE, write) && may_write(GVA, 0x110000));
    load_word(PTE, 0x10000 | LEAF);
    CHECK(!may_fault(GVA, MODEL_WRITE, write) && may_write(GVA, 0x110000));
    /* The directory was not writable, and is. */
    load_word(PDE, 0x4000 | P | A);
    CHECK(may_fault(GVA, MODEL_WRITE, write));
    load_word(PDE, 0x4000 | TABLE);
    CHECK(!may_fault(GVA, MODEL_WRITE, write));
    end();
    /* A directory entry of now leads to what is there; that of before led to an empty table. */
    begin(0);
    load_word(PDE, 0x5000 | TABLE);
    CHECK(may_fault(GVA, MODEL_READ, 0) && may_read(GVA, 0x110000));
    stale_flush_all(&cpu);
    CHECK(may_fault(GVA, MODEL_READ, 0) && !may_read(GVA, 0x110000));
    load_word(PDE, 0x4000 | TABLE);
    CHECK(!may_fault(GVA, MODEL_READ, 0) && may_read(GVA, 0x110000));
    end();
    begin(0);
    load_word(0x7000, 0x5000 | TABLE); /* a third PML4, whose tables are empty */
    stale_cr3(&cpu, 0x7000, 1, true, NULL);
    CHECK(may_fault(GVA, MODEL_READ, 0) && may_read(GVA, 0x110000));
    stale_cr3(&cpu, 0x1000, 1, true, NULL);
    CHECK(!may_fault(GVA, MODEL_READ, 0) && may_read(GVA, 0x110000));
    end();
    /* The nested translation of the table may be a cached one. */
    begin(0);
    load_word(PTE, 0);
    load_nested(NPTE(0x4000), 0);
    CHECK(may_fault(GVA, MODEL_READ, 0) && may_exit(MODEL_READ, IN_TABLE, PTE));
    stale_tlb_control(&cpu, 3);
    CHECK(!may_fault(GVA, MODEL_READ, 0) && may_exit(MODEL_READ, IN_TABLE, PTE));
    end();
}

/* A nested fault is found in memory, under the present nCR3. */
static void test_nested_faults_confirmed(void)
{
    begin(0);
    CHECK(!may_exit(MODEL_READ, FINAL, 0x10000));
    load_nested(NPTE(0x10000), 0);
    CHECK(may_exit(MODEL_READ, FINAL, 0x10000) && may_read(GVA, 0x110000));
    CHECK(!may_exit(MODEL_READ, FINAL, 0x11000) && !may_exit(MODEL_READ, FINAL | MODEL_PF_P, 0x10000));
    load_nested(NPTE(0x10000), 0x300000 | (NLEAF & ~W));
    CHECK(!may_exit(MODEL_READ, FINAL, 0x10000) && may_read(GVA, 0x110000) && may_read(GVA, 0x300000));
    CHECK(may_exit(MODEL_WRITE, FINAL | MODEL_PF_P | MODEL_PF_W, 0x10000) && may_write(GVA, 0x110000));
    stale_tlb_control(&cpu, 3);
    CHECK(may_exit(MODEL_WRITE, FINAL | MODEL_PF_P | MODEL_PF_W, 0x10000) && !may_write(GVA, 0x110000));
    load_nested(NPTE(0x10000), 0x300000 | NLEAF); /* an upgrade needs no invalidation */
    CHECK(!may_exit(MODEL_WRITE, FINAL | MODEL_PF_P | MODEL_PF_W, 0x10000) && may_write(GVA, 0x300000));
    load_nested(NPTE(0x10000), 0x300000 | NLEAF | UINT64_C(1) << 45);
    CHECK(may_exit(MODEL_READ, FINAL | MODEL_PF_P | MODEL_PF_RSVD, 0x10000) && may_read(GVA, 0x300000));
    /* Of a table, and of an upper nested entry. */
    load_nested(NPTE(0x4000), 0x104000 | (NLEAF & ~W));
    CHECK(may_exit(MODEL_READ, IN_TABLE | MODEL_PF_P, PTE));
    load_nested(NPTE(0x4000), 0x104000 | NLEAF);
    CHECK(!may_exit(MODEL_READ, IN_TABLE | MODEL_PF_P, PTE));
    load_nested(0x3000, 0x4000 | (NTABLE & ~W));
    CHECK(may_exit(MODEL_READ, IN_TABLE | MODEL_PF_P, 0x1000));
    load_nested(0x3000, 0x4000 | NTABLE);
    CHECK(!may_exit(MODEL_READ, IN_TABLE | MODEL_PF_P, 0x1000));
    end();
    begin(0);
    load_nested(NPTE2(0x10000), 0);
    CHECK(!may_exit(MODEL_READ, FINAL, 0x10000));
    to(1, ROOT2);
    CHECK(may_exit(MODEL_READ, FINAL, 0x10000) && may_read(GVA, 0x110000));
    to(1, ROOT);
    CHECK(!may_exit(MODEL_READ, FINAL, 0x10000));
    end();
    /* The guest's entry may be one of before, until something reaches it; an NPF does. */
    for (unsigned kind = 0; kind < 5; kind++) {
        const uint64_t code = FINAL | MODEL_PF_P | MODEL_PF_W;
        begin(0);
        load_nested(NPTE(0x10000), 0x300000 | (NLEAF & ~W));
        load_word(PTE, 0x20000 | LEAF);
        CHECK(may_exit(MODEL_WRITE, code, 0x10000) && may_write(GVA, 0x120000) && may_write(GVA, 0x110000));
        if (kind == 1) {
            stale_invlpg(&cpu, GVA);
        } else if (kind == 2) {
            stale_nested_fault(&cpu, GVA);
        } else if (kind == 3) { /* of another root */
            to(1, ROOT2);
            stale_nested_fault(&cpu, GVA);
            to(1, ROOT);
        } else if (kind == 4) { /* only a flag is another one */
            stale_invlpg(&cpu, OTHER);
            load_nested(NPTE(0x10000), 0x300000 | (NLEAF & ~(W | D)));
        }
        const bool kept = kind != 1 && kind != 2;
        CHECK(may_exit(MODEL_WRITE, code, 0x10000) == kept && may_write(GVA, 0x120000));
        CHECK(may_read(GVA, 0x110000) == kept);
        end();
    }
}

/* What leads to the table of a nested fault may be cached, too. */
static void test_nested_faults_of_old_tables(void)
{
    begin(0);
    load_nested(NPTE(0x4000), 0);
    load_word(PDE, 0x5000 | TABLE);
    CHECK(may_exit(MODEL_READ, IN_TABLE, PTE) && may_fault(GVA, MODEL_READ, 0));
    stale_invlpg(&cpu, GVA);
    CHECK(!may_exit(MODEL_READ, IN_TABLE, PTE) && may_fault(GVA, MODEL_READ, 0));
    end();
}

static void test_flags(void)
{
    begin(0);
    load_nested(NPTE(0x10000), 0x300000 | (NLEAF & ~D));
    CHECK(may_read(GVA, 0x300000) && may_write(GVA, 0x300000)); /* it sets it now */
    load_nested(NPTE(0x10000), 0x301000 | (NLEAF & ~(A | D)));
    CHECK(may_read(GVA, 0x300000) && !may_write(GVA, 0x300000) && may_write(GVA, 0x301000));
    load_nested(NPTE(0x10000), 0x302000 | NLEAF);
    CHECK(!may_read(GVA, 0x301000) && may_read(GVA, 0x302000) && may_write(GVA, 0x110000));
    end();
    /* A guest entry is read by what is a write to the nested tables, which sets both flags. */
    for (unsigned dirty = 0; dirty < 2; dirty++) {
        begin(0);
        load_nested(NPTE(0x4000), 0);
        stale_tlb_control(&cpu, 3);
        load_nested(NPTE(0x4000), 0x104000 | (dirty ? NLEAF : NLEAF & ~D));
        load_word(PTE, 0x12000 | LEAF);
        CHECK(may_read(GVA, 0x112000));
        load_nested(NPTE(0x4000), 0x104000 | NLEAF);
        load_word(PTE, 0x13000 | LEAF);
        CHECK(may_read(GVA, 0x112000) && may_read(GVA, 0x113000));
        load_nested(NPTE(0x4000), 0);
        CHECK(may_read(GVA, 0x112000) && may_read(GVA, 0x113000));
        stale_invlpg(&cpu, OTHER);
        CHECK(may_read(GVA, 0x112000) && may_read(GVA, 0x113000));
        end();
        begin(0);
        load_nested(NPTE(0x4000), 0);
        stale_tlb_control(&cpu, 3);
        load_word(PTE, 0x12000 | LEAF);
        load_nested(NPTE(0x4000), 0x104000 | (dirty ? NLEAF : NLEAF & ~D));
        load_nested(NPTE(0x4000), 0);
        CHECK(may_read(GVA, 0x112000) == dirty);
        end();
    }
}

/* Upper entries of the guest: the old directory entry still leads to what is in the old table by now. */
static void test_upper_entries(void)
{
    for (unsigned kind = 0; kind < 8; kind++) {
        bool kept = false;
        begin(0);
        load_word(PDE, 0x5000 | TABLE);
        switch (kind) {
        case 0: kept = true; break;
        case 1: stale_invlpg(&cpu, UINT64_C(0x8040201000)); break; /* whatever the address */
        case 2: stale_invlpga(&cpu, 1, OTHER); break;
        case 3: stale_invlpga(&cpu, 1, GVA + 0x200000), kept = true; break;
        case 4: stale_nested_fault(&cpu, GVA), kept = true; break;
        case 5: stale_page_fault(&cpu, OTHER); break;
        case 6: stale_tlb_control(&cpu, 7); break;
        default: stale_invlpga(&cpu, 2, OTHER), kept = true; break;
        }
        load_word(PTE, 0x13000 | LEAF);
        CHECK(may_read(GVA, 0x113000) == kept);
        end();
    }
}

/* A large page over small nested ones: GVA is 0x601000 in it, whose nested entry is that of 0x1000. */
static void test_splintered(void)
{
    for (unsigned kind = 0; kind < 6; kind++) {
        bool kept = false;
        begin(0);
        load_nested(0x3000 + 8 * 3, 0x4000 | NTABLE);
        load_nested(0x3000 + 8 * 4, 0x2000000 | NLEAF | PS);
        load_word(PDE, 0x600000 | LEAF | PS);
        stale_tlb_control(&cpu, 1);
        load_word(PDE, 0x800000 | LEAF | PS);
        CHECK(may_read(GVA, 0x101000) && may_read(GVA, 0x2001000));
        switch (kind) {
        case 0: stale_invlpg(&cpu, GVA + 0x123000); break;
        case 1: stale_invpcid(&cpu, 0, 1, GVA + 0x123000); break;
        case 2: stale_invlpga(&cpu, 1, GVA + 0x123000), kept = true; break;
        case 3: stale_invlpga(&cpu, 1, GVA + 0x123); break;
        case 4: stale_page_fault(&cpu, GVA + 0x123000), kept = true; break;
        default: stale_nested_fault(&cpu, GVA + 0x123000), kept = true; break;
        }
        CHECK(may_read(GVA, 0x101000) == kept && may_read(GVA, 0x2001000));
        end();
    }
}

int main(void)
{
    test_reach();
    test_asids();
    test_pcids();
    test_page_faults_confirmed();
    test_nested_faults_confirmed();
    test_nested_faults_of_old_tables();
    test_flags();
    test_upper_entries();
    test_splintered();
    return finish();
}

/* SPDX-License-Identifier: MIT */
/*
 * Edits page tables that are in use, at random but each time the same: ring 3 does, through mappings of the tables
 * themselves, and ring 0 does between two stays of ring 3. Some edits are told to the processor by INVLPG or a
 * load of CR3, most are not. A page fault maps its page with all rights, and the access is made again. What comes
 * of the accesses is nobody's business here: who runs the guest may compare it with something else.
 */
#include "long.h"

#define AREA_GVA 0x200000000000ull   /* what is edited: PML4 entry 64 */
#define WINDOW_GVA 0x300000000000ull /* its tables, open to ring 3: PML4 entry 96 */
#define LARGE_GPA 0xa00000ull        /* 2 MiB that nothing else uses */
#define SLOT(gva, level) ((gva) >> (12 + 9 * ((level)-1)) & (PAGE_TABLE_ENTRIES - 1))
#define FULL (PTE_P | PTE_W | PTE_U)

enum {
    PTE_A = 0x20,
    PTE_D = 0x40,
    PTS = 4,      /* tables of the lowest level, 2 MiB each */
    ENTRIES = 16, /* of each, that are used */
    FRAMES = 8,   /* that they lead to */
    STAYS = 120,
    OPERATIONS = 24, /* of ring 3, in a stay */
    MANY = 1100,     /* mappings of one page, */
    MANY_FIRST = 2,  /* from here: then the one with which KVM drops all is the first of eight neighbours */
};

typedef uint64_t table[PAGE_TABLE_ENTRIES];

static table pt[PTS] __attribute__((aligned(PAGE_SIZE)));
static table pd __attribute__((aligned(PAGE_SIZE)));
static table pdpt __attribute__((aligned(PAGE_SIZE)));
static table other_pml4 __attribute__((aligned(PAGE_SIZE)));
static table window_pt __attribute__((aligned(PAGE_SIZE)));
static table window_pd __attribute__((aligned(PAGE_SIZE)));
static table window_pdpt __attribute__((aligned(PAGE_SIZE)));
static uint8_t frames[FRAMES][PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

static uint32_t seed = 1; /* ring 0's */
/* What ring 3 may read and write. */
static volatile uint32_t user_seed __attribute__((section(".user.data"))) = 2;

GUEST_INLINE uint32_t next(uint32_t n)
{
    n ^= n << 13;
    n ^= n >> 17;
    return n ^ n << 5;
}

GUEST_INLINE uint64_t some_gva(uint32_t random)
{
    return AREA_GVA + (random & (PTS - 1)) * 0x200000ull + (random >> 4 & (ENTRIES - 1)) * (uint64_t)PAGE_SIZE;
}

/* Rights and bits at random, present three times of four. */
GUEST_INLINE uint64_t some_leaf(uint32_t random, uint64_t first_frame)
{
    uint64_t bits = random & (PTE_W | PTE_U | PTE_A | PTE_D);

    bits |= random >> 12 & 3 ? PTE_P : 0;
    bits |= random >> 14 & 1 ? PTE_U | PTE_W : 0;
    return first_frame + (random >> 16 & (FRAMES - 1)) * (uint64_t)PAGE_SIZE + bits;
}

/* A table, with fewer rights at times; nothing; a large page. */
GUEST_INLINE uint64_t some_directory_entry(uint32_t random, uint64_t first_table)
{
    if ((random & 15) == 0)
        return 0;
    if ((random & 15) == 1)
        return LARGE_GPA | PTE_PS | FULL | (random >> 12 & (PTE_A | PTE_D));
    return (first_table + (random >> 8 & (PTS - 1)) * (uint64_t)PAGE_SIZE) | PTE_P | PTE_A |
           (random >> 16 & 3 ? PTE_W | PTE_U : PTE_U);
}

GUEST_INLINE uint64_t window(unsigned page, unsigned index)
{
    return WINDOW_GVA + page * (uint64_t)PAGE_SIZE + index * 8;
}

GUEST_INLINE void invlpg(uint64_t gva)
{
    __asm__ volatile("invlpg (%0)" : : "r"(gva) : "memory");
}

GUEST_INLINE void load_cr3(const void *root)
{
    __asm__ volatile("movq %0, %%cr3" : : "r"(root) : "memory");
}

/* --- Ring 3 ----------------------------------------------------------------------------------------------------
 */

static volatile uint64_t user_frames __attribute__((section(".user.data")));
static volatile uint64_t user_tables __attribute__((section(".user.data")));

USER_CODE static void user_stay(void)
{
    uint32_t random = user_seed;

    for (unsigned i = 0; i < OPERATIONS; i++) {
        uint32_t what = random = next(random), index = random >> 4 & (ENTRIES - 1);

        random = next(random);
        if (what % 16 < 7)
            memory_read64(some_gva(random));
        else if (what % 16 < 11)
            memory_write64(some_gva(random), random);
        else if (what % 16 < 14)
            memory_write64(window(what >> 8 & (PTS - 1), index), some_leaf(random, user_frames));
        else if (what % 16 == 14)
            memory_write32(window(what >> 8 & (PTS - 1), index), (uint32_t)some_leaf(random, user_frames));
        else if (what >> 8 & 3)
            memory_write64(window(PTS, random & (PTS - 1)), some_directory_entry(random, user_tables));
        else
            memory_write64(window(PTS, 100 + (random & 1)) + (random >> 4 & 4), 0); /* of two entries, at times */
    }
    user_seed = random;
    user_done(0);
}

/* One page, through more mappings than KVM keeps track of. */
USER_CODE static void user_many(void)
{
    for (uint64_t i = MANY_FIRST; i < MANY; i++)
        memory_read64(AREA_GVA + (PTS + i / PAGE_TABLE_ENTRIES) * 0x200000ull +
                      i % PAGE_TABLE_ENTRIES * PAGE_SIZE);
    user_done(0);
}

/* --- Ring 0 ----------------------------------------------------------------------------------------------------
 */

bool guest_page_fault(uint64_t gva, uint64_t error)
{
    unsigned i = SLOT(gva, 2);

    (void)error;
    if (gva - AREA_GVA >= PTS * 0x200000ull)
        return false;
    pdpt[0] = (uintptr_t)pd | FULL;
    pd[i] = (uintptr_t)pt[i] | FULL;
    pt[i][SLOT(gva, 1)] = (uintptr_t)frames[gva >> 12 & (FRAMES - 1)] | FULL;
    invlpg(gva);
    return true;
}

static void tables_init(void)
{
    for (unsigned k = 0; k < PTS; k++)
        window_pt[k] = (uintptr_t)pt[k] | FULL;
    window_pt[PTS] = (uintptr_t)pd | FULL;
    window_pd[0] = (uintptr_t)window_pt | FULL;
    window_pdpt[0] = (uintptr_t)window_pd | FULL;
    pdpt[0] = (uintptr_t)pd | FULL;
    boot_pml4[SLOT(WINDOW_GVA, 4)] = (uintptr_t)window_pdpt | FULL;
    boot_pml4[SLOT(AREA_GVA, 4)] = (uintptr_t)pdpt | FULL;
    for (unsigned i = 0; i < PAGE_TABLE_ENTRIES; i++)
        other_pml4[i] = boot_pml4[i];
    user_frames = (uintptr_t)frames;
    user_tables = (uintptr_t)pt;
}

static void supervisor_edits(void)
{
    uint32_t what = seed = next(seed), random = seed = next(seed);

    switch (what % 8) {
    case 0: invlpg(some_gva(random)); break;
    case 1: load_cr3(boot_pml4); break;
    case 2: load_cr3(other_pml4); break;
    case 3: pt[what >> 8 & (PTS - 1)][what >> 4 & (ENTRIES - 1)] = some_leaf(random, (uintptr_t)frames); break;
    case 4: pd[random & (PTS - 1)] = some_directory_entry(random, (uintptr_t)pt); break;
    case 5: /* one, two or three of a row: the third says that this is no table any more */
        for (unsigned i = 0; i < (what >> 8) % 4; i++)
            pd[200 + i] = random & 1;
        break;
    case 6: __asm__ volatile("movw %1, %0" : "+m"(pd[200]) : "r"((uint16_t)0)); break; /* of no entry's size */
    default: break;
    }
}

/* Over the tables that are there, and back. */
static void many_mappings(void)
{
    for (unsigned i = 0; i < MANY; i++)
        pt[i / PAGE_TABLE_ENTRIES][i % PAGE_TABLE_ENTRIES] = (uintptr_t)frames[0] | FULL;
    for (unsigned k = 0; k <= MANY / PAGE_TABLE_ENTRIES; k++)
        pd[PTS + k] = (uintptr_t)pt[k] | FULL;
    load_cr3(boot_pml4);
    user_run(user_many);
}

int guest_main(uint32_t multiboot_info_gpa)
{
    (void)multiboot_info_gpa;
    long_init();
    tables_init();
    for (unsigned i = 0; i < STAYS; i++) {
        user_run(user_stay);
        supervisor_edits();
    }
    many_mappings();
    console_puts("edits: done\n");
    return 0;
}

/* SPDX-License-Identifier: MIT */

/*
 * A toy MMU with a TLB and a cache of directory entries, driven at random, is always legal; each of its faults,
 * which is an invalidation that does not reach what it should, is found out.
 */
#include "selftest.h"
#include "stale_model.h"
#include "walk_random.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PCIDS 2
#define ADDRESSES 6
#define STEPS 400
#define ROUNDS 40
#define TLB_SIZE 64
#define TABLES 6 /* pages 1 to 6; PCID n begins at page n */
#define P UINT64_C(0x1)
#define A UINT64_C(0x20)

/* What the toy forgets to do. */
enum fault {
    NO_FAULT,
    INVLPG_KEEPS_PAGE,
    INVLPG_KEEPS_GLOBAL,
    INVLPG_KEEPS_DIRECTORY,
    INVLPG_OF_SMALL_PART, /* of a large page */
    CR3_KEEPS_PAGES,
    CR3_KEEPS_DIRECTORY,
    FLUSH_KEEPS_GLOBAL,
    INVPCID_ADDRESS_KEEPS,
    INVPCID_SINGLE_KEEPS,
    CACHES_WITHOUT_ACCESSED,
    WRITES_CLEAN_PAGES,
    SHARES_PCIDS,
    FAULTS,
};

struct tlb_entry {
    bool valid;
    unsigned pcid;
    uint64_t gva;
    struct model_result result;
    bool dirty;
};

/* The three entries over a 2-MByte region, with their accessed flags. */
struct directory_entry {
    bool valid;
    unsigned pcid;
    uint64_t gva;
    uint64_t value[3];
};

static struct walk_random state;
static struct walk_memory memory;
static struct stale_memory history;
static struct stale_cpu cpu;
static struct model_world world;
static struct tlb_entry tlb[TLB_SIZE];
static struct directory_entry directory[TLB_SIZE];
static unsigned current_pcid;
static enum fault fault;
static unsigned nhits;

static const uint64_t addresses[ADDRESSES] = {0x0, 0x1000, 0x200000, 0x201000, 0x401000, UINT64_C(0x40000000)};

static unsigned random_below(unsigned n)
{
    return (unsigned)((walk_random_bits(&state) >> 20) % n);
}

static enum model_cas write_through(void *opaque, uint64_t address, unsigned size, uint64_t old, uint64_t new)
{
    (void)opaque;
    if (fault == CACHES_WITHOUT_ACCESSED) {
        return MODEL_CAS_READ_ONLY;
    }
    if (walk_peek(&memory, address, size) != old) {
        return MODEL_CAS_CHANGED;
    }
    walk_poke(&memory, address, size, new);
    stale_write(&history, MODEL_GUEST, address, size, new);
    return MODEL_CAS_DONE;
}

/* What a walk sees: upper entries as the directory cache has them, if it has. */
struct view {
    const struct directory_entry *directory; /* or NULL */
    unsigned nreads;
};

static bool read_through(void *opaque, uint64_t address, unsigned size, uint64_t *ret_value)
{
    struct view *view = opaque;
    const unsigned n = view->nreads;
    view->nreads++;
    if (view->directory != NULL && n < 3) {
        *ret_value = view->directory->value[n];
        return true;
    }
    const struct model_memory plain = walk_memory(&memory);
    return plain.read(&memory, address, size, ret_value);
}

static bool pcid_matches(unsigned pcid)
{
    return pcid == current_pcid || fault == SHARES_PCIDS;
}

static void toy_walk(const struct model_access *access, bool with_directory, struct model_result *ret)
{
    struct view view = {0};
    for (unsigned i = 0; i < TLB_SIZE && with_directory; i++) {
        if (directory[i].valid && pcid_matches(directory[i].pcid) && directory[i].gva >> 21 == access->gva >> 21) {
            view.directory = &directory[i];
        }
    }
    world.memory = (struct model_memory){.opaque = &view, .read = read_through, .cas = write_through};
    model_walk(&world, access, ret);
}

static void cache(const struct model_access *access, const struct model_result *result)
{
    if (result->outcome != MODEL_OK) {
        return;
    }
    const struct model_entry *leaf = &result->entry[result->nentries - 1];
    tlb[random_below(TLB_SIZE)] = (struct tlb_entry){.valid = true,
                                                     .pcid = current_pcid,
                                                     .gva = access->gva & ~(result->guest_page_bytes - 1),
                                                     .result = *result,
                                                     .dirty = access->kind == MODEL_WRITE || (leaf->value & 0x40)};
    if (result->nentries == 4) {
        struct directory_entry entry = {.valid = true, .pcid = current_pcid, .gva = access->gva};
        for (unsigned i = 0; i < 3; i++) {
            entry.value[i] = result->entry[i].value | A;
        }
        directory[random_below(TLB_SIZE)] = entry;
    }
}

static void access_through_tlb(const struct model_access *access, struct model_result *ret)
{
    for (unsigned i = 0; i < TLB_SIZE; i++) {
        const struct tlb_entry *e = &tlb[i];
        if (!e->valid || !(pcid_matches(e->pcid) || e->result.global) ||
            (access->gva & ~(e->result.guest_page_bytes - 1)) != e->gva) {
            continue;
        }
        if (access->kind == MODEL_WRITE && (!e->result.writable || (!e->dirty && fault != WRITES_CLEAN_PAGES))) {
            continue; /* walks */
        }
        *ret = e->result;
        ret->gpa =
            (e->result.gpa & ~(e->result.guest_page_bytes - 1)) | (access->gva & (e->result.guest_page_bytes - 1));
        ret->hpa = ret->gpa;
        nhits++;
        return;
    }
    toy_walk(access, true, ret);
    cache(access, ret);
}

/* Invalidations. gva NULL: of all pages. */
static void drop_pages(unsigned pcid, const uint64_t *gva, bool global_too, bool all_pcids)
{
    for (unsigned i = 0; i < TLB_SIZE; i++) {
        struct tlb_entry *e = &tlb[i];
        const uint64_t mask = fault == INVLPG_OF_SMALL_PART ? 0xfff : e->result.guest_page_bytes - 1;
        if (gva != NULL && (*gva & ~mask) != e->gva) {
            continue;
        }
        if (e->result.global) {
            e->valid = e->valid && !global_too;
        } else if (all_pcids || e->pcid == pcid) {
            e->valid = false;
        }
    }
}

static void drop_directory(unsigned pcid, bool all_pcids)
{
    for (unsigned i = 0; i < TLB_SIZE; i++) {
        if (all_pcids || directory[i].pcid == pcid) {
            directory[i].valid = false;
        }
    }
}

static void do_invlpg(uint64_t gva)
{
    stale_invlpg(&cpu, gva);
    if (fault != INVLPG_KEEPS_PAGE) {
        drop_pages(current_pcid, &gva, fault != INVLPG_KEEPS_GLOBAL, false);
    }
    if (fault != INVLPG_KEEPS_DIRECTORY) {
        drop_directory(current_pcid, false);
    }
}

static void do_cr3(unsigned pcid, bool no_flush)
{
    world.regs.cr3 = UINT64_C(0x1000) * pcid | pcid;
    stale_cr3(&cpu, world.regs.cr3, pcid, no_flush, NULL);
    current_pcid = pcid;
    if (!no_flush && fault != CR3_KEEPS_PAGES) {
        drop_pages(pcid, NULL, false, false);
    }
    if (!no_flush && fault != CR3_KEEPS_DIRECTORY) {
        drop_directory(pcid, false);
    }
}

static void do_invpcid(unsigned type, unsigned pcid, uint64_t gva)
{
    stale_invpcid(&cpu, type, pcid, gva);
    if ((type == 0 && fault == INVPCID_ADDRESS_KEEPS) || (type == 1 && fault == INVPCID_SINGLE_KEEPS)) {
        return;
    }
    drop_pages(pcid, type == 0 ? &gva : NULL, type == 2, type >= 2);
    drop_directory(pcid, type >= 2);
}

static void do_flush_all(void)
{
    stale_flush_all(&cpu);
    drop_pages(0, NULL, fault != FLUSH_KEEPS_GLOBAL, true);
    drop_directory(0, true);
}

/* Entries of addresses in use; mostly to the table of the next level, that all share. */
static void change_entry(void)
{
    const uint64_t gva = addresses[random_below(ADDRESSES)];
    const unsigned level = random_below(4) == 0 ? 2 + random_below(3) : 1;
    const uint64_t table = level == 4   ? 0x1000 * (1 + random_below(PCIDS))
                           : level == 3 ? 0x3000
                           : level == 2 ? 0x4000
                                        : 0x5000 + 0x1000 * random_below(2);
    const uint64_t at = table + 8 * (gva >> (12 + 9 * (level - 1)) & 511);
    uint64_t entry = P | 2 | (random_below(4) != 0 ? A : 0);
    if (level == 4) {
        entry |= 0x3000;
    } else if (level == 3) {
        entry |= 0x4000;
    } else if (level == 2) {
        const bool large = random_below(3) == 0;
        entry |= large ? UINT64_C(0x200000) * (4 + random_below(8)) | 0x80 : 0x5000 + 0x1000 * random_below(2);
        entry |= large && random_below(2) ? 0x140 : 0;
    } else {
        entry |= 0x10000 + UINT64_C(0x1000) * random_below(64);
        entry |= random_below(3) == 0 ? 0x100 : 0;
        entry |= random_below(2) == 0 ? 0x40 : 0;
    }
    entry &= ~(random_below(6) == 0 ? UINT64_C(2) : 0);
    entry &= ~(random_below(10) == 0 ? P : 0);
    walk_poke(&memory, at, 8, entry);
    stale_write(&history, MODEL_GUEST, at, 8, entry);
}

static bool one_access(void)
{
    struct model_result result;
    const struct model_access access = {.gva = addresses[random_below(ADDRESSES)] + 8 * random_below(512),
                                        .kind = random_below(3) == 0 ? MODEL_WRITE : MODEL_READ};
    access_through_tlb(&access, &result);
    if (result.outcome == MODEL_PAGE_FAULT) {
        /* It may be of what is cached. The toy looks again, as if the guest had flushed that and tried once more.
         */
        do_invlpg(access.gva);
        toy_walk(&access, false, &result);
    }
    const enum stale_answer answer = stale_legal(&cpu, &world, &access, &result);
    CHECK(answer != STALE_UNKNOWN);
    if (answer != STALE_LEGAL && fault == NO_FAULT) {
        walk_print(&world, &access, &result);
    }
    return answer == STALE_LEGAL;
}

static void begin(void)
{
    memset(&memory, 0, sizeof memory);
    memset(tlb, 0, sizeof tlb);
    memset(directory, 0, sizeof directory);
    stale_memory_init(&history);
    stale_load(&history, MODEL_GUEST, 0, memory.bytes, 4096 * (1 + TABLES));
    world = (struct model_world){
        .cpu = {.maxphyaddr = 40, .pat = true, .has_1g = true},
        .regs = {.cr0 = MODEL_CR0_PE | MODEL_CR0_PG | MODEL_CR0_WP,
                 .cr3 = 0x1001,
                 .cr4 = MODEL_CR4_PAE | MODEL_CR4_PGE | MODEL_CR4_PCIDE,
                 .efer = MODEL_EFER_LME | MODEL_EFER_LMA},
    };
    current_pcid = 1;
    const struct stale_context context = {.pcid = 1, .cr3 = 0x1001};
    stale_cpu_init(&cpu, &history, &context);
    for (unsigned i = 0; i < 100; i++) {
        change_entry();
    }
}

/* Whether all was legal. */
static bool run(uint64_t seed)
{
    bool legal = true;
    walk_random_seed(&state, seed);
    begin();
    for (unsigned i = 0; i < STEPS && legal; i++) {
        switch (random_below(40)) {
        case 0: do_cr3(1 + random_below(PCIDS), false); break;
        case 1:
        case 2: do_cr3(1 + random_below(PCIDS), true); break;
        case 3:
        case 4: do_invlpg(addresses[random_below(ADDRESSES)]); break;
        case 5:
            do_invpcid(random_below(20) == 0 ? 3 : random_below(2), 1 + random_below(PCIDS),
                       addresses[random_below(ADDRESSES)]);
            break;
        case 6:
            if (random_below(4) == 0) {
                do_flush_all();
            } else if (random_below(8) == 0) {
                do_invpcid(2, 0, 0);
            }
            break;
        default:
            if (random_below(4) == 0) {
                change_entry();
            } else {
                legal = one_access();
            }
        }
    }
    stale_cpu_finish(&cpu);
    stale_memory_finish(&history);
    return legal;
}

int main(void)
{
    for (fault = NO_FAULT; fault < FAULTS; fault++) {
        unsigned found = 0;
        nhits = 0;
        for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
            found += !run(seed);
        }
        printf("# fault %u: found in %u of %u rounds, %u hits\n", (unsigned)fault, found, ROUNDS, nhits);
        CHECK((found == 0) == (fault == NO_FAULT));
    }
    return finish();
}

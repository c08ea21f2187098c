// SPDX-License-Identifier: MIT
#include "replay/os.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "replay/os_frames.h"

#define PTE_P (UINT64_C(1) << 0)
#define PTE_W (UINT64_C(1) << 1)
#define PTE_U (UINT64_C(1) << 2)
#define PTE_A (UINT64_C(1) << 5)
#define PTE_D (UINT64_C(1) << 6)
#define PTE_PS (UINT64_C(1) << 7)
#define PTE_ADDRESS UINT64_C(0x000ffffffffff000)
#define ENTRIES 512u
#define BUCKETS 1024u

#define FAULT_PRESENT 1u
#define FAULT_WRITE 2u

struct os_process {
    struct os_process *next; /* of its bucket */
    uint64_t id;
    gpa_t root;
};

/* --- Entries: read where they are, written as a kernel does ------------------------------------------ */

static uint64_t entry_of(const struct os *os, gpa_t table, unsigned index)
{
    return __atomic_load_n((const uint64_t *)(os->options.ram + table.raw) + index, __ATOMIC_RELAXED);
}

static int set_entry(struct os *os, gpa_t table, unsigned index, uint64_t value, struct mv_error *err)
{
    struct mv_soft_outcome outcome;
    enum mv_soft_end end =
        mv_soft_write_physical(os->options.vcpu, mv_gpa(table.raw + index * 8), value, &outcome);
    if (end == MV_SOFT_DONE) {
        os->counts.table_writes++;
        return 0;
    }
    int rc = end == MV_SOFT_HOST_ERROR ? outcome.error : -EIO;
    return error_host(err, rc, "guest", "guest: its page table at 0x%llx cannot be written",
                      (unsigned long long)table.raw);
}

/* A new table is cleared by its kernel, which touches it first. */
static int new_table(struct os *os, gpa_t *ret, struct mv_error *err)
{
    int rc = os_take_table(os, ret, err);
    return rc == 0 ? set_entry(os, *ret, 0, 0, err) : rc;
}

static gpa_t address_in(uint64_t entry)
{
    return mv_gpa(entry & PTE_ADDRESS);
}

static unsigned shift_of(unsigned level)
{
    return 12 + 9 * (level - 1);
}

static unsigned index_of(uint64_t gva, unsigned level)
{
    return (unsigned)(gva >> shift_of(level)) & (ENTRIES - 1);
}

static uint64_t leaf_flags(const struct os *os)
{
    return PTE_P | PTE_U | PTE_A | (os->options.page_level > 1 ? PTE_PS : 0);
}

/* --- Processes ----------------------------------------------------------------------------------------- */

static struct os_process **place_of(const struct os *os, uint64_t id)
{
    struct os_process **at = &os->buckets[(id * UINT64_C(0x9e3779b97f4a7c15)) >> 54];
    while (*at && (*at)->id != id) {
        at = &(*at)->next;
    }
    return at;
}

/* There is none of that id. */
static int make_process(struct os *os, uint64_t id, struct os_process **ret, struct mv_error *err)
{
    if (os->counts.processes == OS_PROCESSES_MAX) {
        return error_set(err, -EINVAL, "too-many-processes", "guest", "guest: more than %u processes at once",
                         OS_PROCESSES_MAX);
    }
    struct os_process *p = calloc(1, sizeof *p);
    if (!p) {
        return error_set(err, -ENOMEM, "no-memory", "guest", "guest: out of memory");
    }
    int rc = new_table(os, &p->root, err);
    if (rc < 0) {
        free(p);
        return rc;
    }
    p->id = id;
    *place_of(os, id) = p;
    os->counts.processes++;
    *ret = p;
    return 0;
}

/* Loading CR3 also flushes: PCIDs are not used. */
static void load(struct os *os)
{
    bool loaded = mv_soft_load_cr3(os->options.vcpu, os->running->root.raw);
    assert(loaded);
    (void)loaded;
}

bool os_has_process(const struct os *os, uint64_t id)
{
    return *place_of(os, id) != NULL;
}

int os_switch(struct os *os, uint64_t id, struct mv_error *err)
{
    struct os_process *p = *place_of(os, id);
    if (!p) {
        int rc = make_process(os, id, &p, err);
        if (rc < 0) {
            return rc;
        }
    }
    os->counts.switches++;
    os->running = p;
    load(os);
    return 0;
}

int os_init(struct os *os, const struct os_options *options, struct mv_error *err)
{
    *os = (struct os){.options = *options};
    os->buckets = calloc(BUCKETS, sizeof(struct os_process *));
    if (!os->buckets) {
        return error_set(err, -ENOMEM, "no-memory", "guest", "guest: out of memory");
    }
    int rc = os_switch(os, 0, err);
    os->counts.switches = 0;
    return rc;
}

void os_finish(struct os *os)
{
    for (unsigned i = 0; os->buckets && i < BUCKETS; i++) {
        while (os->buckets[i]) {
            struct os_process *p = os->buckets[i];
            os->buckets[i] = p->next;
            free(p);
        }
    }
    free(os->buckets);
    os_frames_finish(os);
}

/* --- Faults -------------------------------------------------------------------------------------------- */

/* The table of the page level for `gva`, with all tables above it made. */
static int table_for(struct os *os, uint64_t gva, gpa_t *ret, struct mv_error *err)
{
    gpa_t table = os->running->root;
    for (unsigned level = os->options.levels; level > os->options.page_level; level--) {
        uint64_t entry = entry_of(os, table, index_of(gva, level));
        if (!(entry & PTE_P)) {
            gpa_t below;
            int rc = new_table(os, &below, err);
            if (rc == 0) {
                entry = below.raw | PTE_P | PTE_W | PTE_U | PTE_A;
                rc = set_entry(os, table, index_of(gva, level), entry, err);
            }
            if (rc < 0) {
                return rc;
            }
        }
        table = address_in(entry);
    }
    *ret = table;
    return 0;
}

static int map_new(struct os *os, gpa_t table, unsigned index, bool is_write, struct mv_error *err)
{
    gpa_t page;
    int rc = os_take_data(os, &page, err);
    if (rc < 0) {
        return rc;
    }
    os->counts.demand_faults++;
    return set_entry(os, table, index, page.raw | leaf_flags(os) | PTE_W | (is_write ? PTE_D : 0), err);
}

/* A write to a page that a fork has shared: the last owner gets it, others a copy. */
static int copy_on_write(struct os *os, gpa_t table, unsigned index, uint64_t entry, struct mv_error *err)
{
    gpa_t page = address_in(entry & ~(PTE_ADDRESS & ((UINT64_C(1) << shift_of(os->options.page_level)) - 1)));
    os->counts.cow_faults++;
    if (os_owners_of(os, page) > 1) {
        gpa_t copy;
        int rc = os_take_data(os, &copy, err);
        if (rc < 0) {
            return rc;
        }
        os->counts.cow_copies++;
        os_drop_data(os, page);
        page = copy;
    }
    return set_entry(os, table, index, page.raw | leaf_flags(os) | PTE_W | PTE_D, err);
}

int os_fault(struct os *os, const struct mv_soft_fault *fault, struct mv_error *err)
{
    bool is_write = fault->error_code & FAULT_WRITE;
    uint64_t gva = fault->address.raw;
    gpa_t table;
    int rc = table_for(os, gva, &table, err);
    if (rc < 0) {
        return rc;
    }
    unsigned index = index_of(gva, os->options.page_level);
    uint64_t entry = entry_of(os, table, index);
    if (!(entry & PTE_P)) {
        return map_new(os, table, index, is_write, err);
    }
    if (is_write && !(entry & PTE_W)) {
        rc = copy_on_write(os, table, index, entry, err);
    } else {
        os->counts.spurious_faults++;
    }
    mv_soft_invlpg(os->options.vcpu, fault->address);
    return rc;
}

/* --- Fork ---------------------------------------------------------------------------------------------- */

/* A leaf of the parent's: from now on both read it, and who writes first copies. */
static int share_leaf(struct os *os, gpa_t from, gpa_t to, unsigned index, uint64_t entry, struct mv_error *err)
{
    int rc = 0;
    if (entry & PTE_W) {
        entry &= ~PTE_W;
        rc = set_entry(os, from, index, entry, err);
    }
    if (rc == 0) {
        rc = set_entry(os, to, index, entry & ~PTE_D, err);
    }
    if (rc == 0) {
        os_share_data(
            os, address_in(entry & ~(PTE_ADDRESS & ((UINT64_C(1) << shift_of(os->options.page_level)) - 1))));
    }
    return rc;
}

static int copy_tables(struct os *os, gpa_t from, gpa_t to, unsigned level, struct mv_error *err)
{
    for (unsigned i = 0; i < ENTRIES; i++) {
        uint64_t entry = entry_of(os, from, i);
        if (!(entry & PTE_P)) {
            continue;
        }
        int rc;
        if (level == os->options.page_level) {
            rc = share_leaf(os, from, to, i, entry, err);
        } else {
            gpa_t below;
            rc = new_table(os, &below, err);
            if (rc == 0) {
                rc = set_entry(os, to, i, below.raw | (entry & ~PTE_ADDRESS), err);
            }
            if (rc == 0) {
                rc = copy_tables(os, address_in(entry), below, level - 1, err);
            }
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int os_fork(struct os *os, uint64_t id, struct mv_error *err)
{
    if (*place_of(os, id)) {
        return error_set(err, -EINVAL, "bad-event", "guest", "guest: process %llu is forked, but there is one",
                         (unsigned long long)id);
    }
    struct os_process *child;
    int rc = make_process(os, id, &child, err);
    if (rc == 0) {
        rc = copy_tables(os, os->running->root, child->root, os->options.levels, err);
    }
    os->counts.forks++;
    load(os); /* the parent's own translations may be writable still */
    return rc;
}

/* --- Unmapping ----------------------------------------------------------------------------------------- */

struct unmapping {
    uint64_t first, last; /* addresses without their sign extension, both included */
    uint64_t pages;
};

/* With its sign extension. */
static mv_gva_t canonical(const struct os *os, uint64_t address)
{
    unsigned spare = 64u - shift_of(os->options.levels + 1u);
    return mv_gva((uint64_t)((int64_t)(address << spare) >> spare));
}

static bool is_empty(const struct os *os, gpa_t table)
{
    for (unsigned i = 0; i < ENTRIES; i++) {
        if (entry_of(os, table, i) & PTE_P) {
            return false;
        }
    }
    return true;
}

/* What `table` maps of the range; its first address is `base`. */
static int unmap_table(struct os *os, gpa_t table, unsigned level, uint64_t base, struct unmapping *u,
                       struct mv_error *err)
{
    unsigned shift = shift_of(level);
    for (unsigned i = 0; i < ENTRIES; i++) {
        uint64_t first = base + ((uint64_t)i << shift), last = first + ((UINT64_C(1) << shift) - 1);
        uint64_t entry = entry_of(os, table, i);
        if (!(entry & PTE_P) || last < u->first || first > u->last) {
            continue;
        }
        bool is_leaf = level == os->options.page_level;
        if (!is_leaf) {
            int rc = unmap_table(os, address_in(entry), level - 1, first, u, err);
            if (rc < 0) {
                return rc;
            }
            if (!is_empty(os, address_in(entry))) {
                continue;
            }
        }
        int rc = set_entry(os, table, i, 0, err);
        if (rc < 0) {
            return rc;
        }
        if (is_leaf) {
            os_drop_data(os, mv_gpa(entry & PTE_ADDRESS & ~((UINT64_C(1) << shift) - 1)));
            if (u->pages++ < OS_SINGLE_FLUSHES_MAX) {
                mv_soft_invlpg(os->options.vcpu, canonical(os, first));
            }
        } else {
            os_drop_table(os, address_in(entry));
        }
    }
    return 0;
}

static uint64_t linear_mask(const struct os *os)
{
    return (UINT64_C(1) << shift_of(os->options.levels + 1u)) - 1;
}

int os_unmap(struct os *os, uint64_t first, uint64_t size_bytes, struct mv_error *err)
{
    uint64_t mask = linear_mask(os), start = first & mask, half = mask >> 1;
    if (canonical(os, start).raw != first) {
        os->counts.bad_references++;
        return 0;
    }
    if (size_bytes == 0) {
        return 0;
    }
    uint64_t end_of_half = start | half; /* the addresses between the halves are nobody's */
    uint64_t last = size_bytes - 1 > end_of_half - start ? end_of_half : start + (size_bytes - 1);
    struct unmapping u = {.first = start, .last = last};
    os->counts.unmaps++;
    int rc = unmap_table(os, os->running->root, os->options.levels, 0, &u, err);
    if (u.pages > OS_SINGLE_FLUSHES_MAX) {
        load(os);
    }
    return rc;
}

int os_exit(struct os *os, uint64_t id, struct mv_error *err)
{
    struct os_process **place = place_of(os, id), *p = *place;
    if (!p || p == os->running) {
        return error_set(err, -EINVAL, "bad-event", "guest", "guest: process %llu ends, but %s",
                         (unsigned long long)id, p ? "it is the one that runs" : "there is none");
    }
    struct unmapping u = {.first = 0, .last = linear_mask(os), .pages = OS_SINGLE_FLUSHES_MAX}; /* no TLB has it */
    int rc = unmap_table(os, p->root, os->options.levels, 0, &u, err);
    if (rc < 0) {
        return rc;
    }
    os_drop_table(os, p->root);
    *place = p->next;
    free(p);
    os->counts.processes--;
    os->counts.exits++;
    return 0;
}

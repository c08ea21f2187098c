// SPDX-License-Identifier: MIT
/*
 * The slots are kept in a balanced tree (tsearch(3): red-black in glibc) by their first address. During a commit
 * the events fill a plan; prepare checks the plan, then carries it out, and can take it back.
 */
#include "vm/slots.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accel/accel.h"
#include "base/error.h"
#include "base/range.h"
#include "vm/dirtylog.h"
#include "vm/plan.h"
#include "vm/private.h"

/*
 * Invariants: used + free_count == next_id <= max_slots; an id is in the tree, on the free list, or >= next_id.
 * `lock` protects the tree and the counts against readers; only the committing thread writes.
 */
struct slot_table {
    struct slot_port port;
    struct slot_limits limits;

    pthread_mutex_t lock;
    void *tree; /* of struct slot, by gpa */
    size_t used;
    struct slot_counts counts;

    uint32_t *free_ids; /* a stack: the id given back last is used first */
    size_t free_count;
    uint32_t next_id;    /* never used so far */
    struct slot **by_id; /* for a port that reaps; else NULL. Control lock */

    struct private_blocks privates;

    struct plan removals;
    struct plan additions;      /* their ids are given out when it is carried out */
    struct plan changes;        /* of flags alone: the log goes on or off */
    struct mv_error plan_error; /* code 0: none. Else why an event could not be kept, or is refused */
    size_t removed;             /* how much of the plan is carried out */
    size_t added;
    size_t changed;
    bool holding; /* the vCPUs */
    /* What happens to the space is of no interest any more. Set while another thread may be committing. */
    atomic_bool ended;
};

static int compare_gpa(const void *a, const void *b)
{
    uint64_t x = ((const struct slot *)a)->is.gpa.raw;
    uint64_t y = ((const struct slot *)b)->is.gpa.raw;
    return (x > y) - (x < y);
}

/* `a` is an address that is looked for. */
static int compare_address(const void *a, const void *b)
{
    uint64_t address = *(const uint64_t *)a;
    const struct slot *slot = b;
    if (address < slot->is.gpa.raw) {
        return -1;
    }
    return address - slot->is.gpa.raw >= slot->is.size_bytes;
}

static void free_slot(void *node)
{
    struct slot *slot = node;
    free(slot->log);
    free(slot);
}

struct slot_table *slots_create(const struct slot_port *port, const struct slot_limits *limits)
{
    struct slot_table *table = calloc(1, sizeof *table);
    if (!table) {
        return NULL;
    }
    table->port = *port;
    table->limits = *limits;
    table->free_ids = calloc(limits->max_slots ? limits->max_slots : 1, sizeof *table->free_ids);
    if (port->reap) {
        table->by_id = calloc(limits->max_slots ? limits->max_slots : 1, sizeof(struct slot *));
    }
    if (!table->free_ids || (port->reap && !table->by_id)) {
        free(table->free_ids);
        free(table);
        return NULL;
    }
    pthread_mutex_init(&table->lock, NULL);
    private_init(&table->privates, &table->port);
    return table;
}

void slots_end(struct slot_table *table)
{
    atomic_store_explicit(&table->ended, true, memory_order_relaxed); /* a word, and nothing that goes with it */
}

void slots_destroy(struct slot_table *table)
{
    if (table) {
        tdestroy(table->tree, free_slot);
        pthread_mutex_destroy(&table->lock);
        free(table->free_ids);
        free(table->by_id);
        private_finish(&table->privates);
        plan_finish(&table->removals);
        plan_finish(&table->additions);
        plan_finish(&table->changes);
        free(table);
    }
}

/* --- the plan ---------------------------------------------------------------------------------- */

static uint32_t flags_of(const struct slot_table *table, const struct mv_section *section, unsigned log_mask)
{
    uint32_t guest_memfd = private_is_asked(section) ? KVM_MEM_GUEST_MEMFD : 0;
    if (!section->writable) {
        return guest_memfd | KVM_MEM_READONLY; /* and nothing to log */
    }
    return guest_memfd |
           (log_mask != 0 && (table->port.get_dirty_log || table->port.reap) ? KVM_MEM_LOG_DIRTY_PAGES : 0);
}

/* The slots that a section makes, as one; false when it makes none. */
static bool section_slots(const struct slot_table *table, const struct mv_section *section, struct slot *ret_all)
{
    struct mv_range pages;
    if (section->hva.raw == 0 || (!section->writable && !table->limits.readonly_slots) ||
        !range_whole_pages(section->range, table->limits.page_bytes, &pages)) {
        return false;
    }
    uint64_t skipped = pages.first - section->range.first;
    hva_t hva = hva_add(section->hva, skipped);
    if (!is_aligned(hva.raw, table->limits.page_bytes)) {
        return false; /* page and frame do not lie together: only the view can give it */
    }
    *ret_all = (struct slot){
        .is =
            {
                .flags = flags_of(table, section, section->log_mask),
                .gpa = mv_gpa(pages.first),
                .size_bytes = range_size(pages),
                .hva = hva,
            },
        .region = section->region,
        .offset = section->offset + skipped,
    };
    return true;
}

static void out_of_memory(struct slot_table *table)
{
    error_set(&table->plan_error, -ENOMEM, "no-memory", "slots", "slots: out of memory");
}

static void plan_section(struct slot_table *table, struct plan *plan, const struct mv_section *section)
{
    struct slot rest;
    if (atomic_load_explicit(&table->ended, memory_order_relaxed) || !section_slots(table, section, &rest)) {
        return;
    }
    if (plan != &table->removals && table->plan_error.code == 0) {
        (void)private_check(&rest, &table->plan_error);
    }
    while (rest.is.size_bytes > 0 && table->plan_error.code == 0) {
        struct slot slot = rest;
        if (slot.is.size_bytes > table->limits.max_slot_bytes) {
            slot.is.size_bytes = table->limits.max_slot_bytes;
        }
        if (plan_append(plan, slot) < 0) {
            out_of_memory(table);
        }
        rest.is.gpa = gpa_add_wrapping(rest.is.gpa, slot.is.size_bytes);
        rest.is.hva = hva_add(rest.is.hva, slot.is.size_bytes);
        rest.is.size_bytes -= slot.is.size_bytes;
        rest.offset += slot.is.size_bytes;
    }
}

static bool same_slot(const struct slot *a, const struct slot *b)
{
    return slot_same_memory(a, b) && a->is.flags == b->is.flags;
}

/* A slot that an earlier commit could not give back to the kernel is not there to be removed. */
static void drop_unknown(struct slot_table *table)
{
    struct plan *r = &table->removals;
    size_t kept = 0;
    for (size_t i = 0; i < r->count; i++) {
        struct slot **found = tfind(&r->slots[i], &table->tree, compare_gpa);
        if (found && same_slot(*found, &r->slots[i])) {
            r->slots[kept++] = r->slots[i];
        }
    }
    r->count = kept;
}

/* --- carrying it out --------------------------------------------------------------------------- */

static int call(struct slot_table *table, const struct slot *slot, uint64_t size_bytes)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot->is.id,
        .flags = slot->is.flags,
        .guest_phys_addr = slot->is.gpa.raw,
        .memory_size = size_bytes,
        .userspace_addr = slot->is.hva.raw,
    };
    pthread_mutex_lock(&table->lock);
    table->counts.set_slot_calls++;
    pthread_mutex_unlock(&table->lock);
    if (slot->private && size_bytes != 0) {
        return private_set_slot(&table->privates, slot, &region);
    }
    region.flags &= ~(uint32_t)KVM_MEM_GUEST_MEMFD; /* which that call does not know, not even to delete a slot */
    return table->port.set_slot(table->port.opaque, &region);
}

/* The vCPUs are held. `slot` is filled in with what the table knows of it, its id above all. */
static int remove_slot(struct slot_table *table, struct slot *slot)
{
    struct slot **found = tfind(slot, &table->tree, compare_gpa);
    assert(found && same_slot(*found, slot));
    struct slot *node = *found;
    slot->is = node->is;
    if (slot_is_logged(node)) {
        dirtylog_fetch(&table->port, node); /* the log goes with it */
    }
    int rc = private_share(&table->privates, node);
    if (rc == 0) {
        rc = call(table, node, 0);
        if (rc < 0) {
            private_unshare(&table->privates, node);
        }
    }
    if (rc < 0) {
        return rc;
    }
    private_leave(node);
    pthread_mutex_lock(&table->lock);
    tdelete(node, &table->tree, compare_gpa);
    table->used--;
    pthread_mutex_unlock(&table->lock);
    table->free_ids[table->free_count++] = node->is.id;
    if (table->by_id) {
        table->by_id[node->is.id] = NULL;
    }
    free_slot(node);
    return 0;
}

static struct slot *new_slot(const struct slot_table *table, const struct slot *as)
{
    struct slot *node = malloc(sizeof *node);
    if (node) {
        *node = *as;
        node->log = NULL;
        if (dirtylog_follow_flags(&table->port, node) < 0) {
            free(node);
            node = NULL;
        }
    }
    return node;
}

/* `ret_why` is written if there is more to say than the errno. */
static int add_slot(struct slot_table *table, struct slot *slot, struct mv_error *ret_why)
{
    slot->is.id = table->free_count > 0 ? table->free_ids[table->free_count - 1] : table->next_id;
    struct slot *node = new_slot(table, slot);
    if (!node) {
        return -ENOMEM;
    }
    /* Into the tree first: that may fail without a trace. */
    pthread_mutex_lock(&table->lock);
    struct slot **found = tsearch(node, &table->tree, compare_gpa);
    bool linked = found != NULL;
    assert(!linked || *found == node); /* the plan has no two slots at one address */
    pthread_mutex_unlock(&table->lock);
    int rc = linked ? private_enter(&table->privates, node, ret_why) : -ENOMEM;
    if (rc == 0) {
        rc = call(table, node, node->is.size_bytes);
        if (rc < 0) {
            (void)private_share(&table->privates, node);
        }
    }
    if (rc < 0) {
        private_leave(node);
    }
    pthread_mutex_lock(&table->lock);
    if (rc == 0) {
        table->used++;
    } else if (linked) {
        tdelete(node, &table->tree, compare_gpa);
    }
    pthread_mutex_unlock(&table->lock);
    if (rc < 0) {
        free_slot(node);
        return rc;
    }
    if (table->free_count > 0) {
        table->free_count--;
    } else {
        table->next_id++;
    }
    if (table->by_id) {
        table->by_id[node->is.id] = node;
    }
    return 0;
}

/* Exchange flags and region of a slot that is there for those of `slot`, which gets the former ones. */
static int change_slot(struct slot_table *table, struct slot *slot)
{
    struct slot **found = tfind(slot, &table->tree, compare_gpa);
    if (!found) {
        return 0;
    }
    struct slot *node = *found;
    struct slot changed = *node;
    changed.is.flags = slot->is.flags;
    changed.region = slot->region;
    changed.offset = slot->offset;
    int rc = 0;
    if (slot_is_logged(&changed)) {
        rc = dirtylog_follow_flags(&table->port, &changed); /* before: it may fail */
    } else if (slot_is_logged(node) && node->region != changed.region) {
        dirtylog_fetch(&table->port, node); /* the former region's log ends with its time here */
    }
    if (rc == 0 && changed.is.flags != node->is.flags) {
        rc = call(table, &changed, changed.is.size_bytes);
    }
    if (rc < 0) {
        free(changed.log == node->log ? NULL : changed.log);
        return rc;
    }
    slot->is.flags = node->is.flags;
    slot->region = node->region;
    slot->offset = node->offset;
    pthread_mutex_lock(&table->lock);
    *node = changed;
    pthread_mutex_unlock(&table->lock);
    return dirtylog_follow_flags(&table->port, node);
}

static void forget_plan(struct slot_table *table)
{
    table->removals.count = table->additions.count = table->changes.count = 0;
    table->removed = table->added = table->changed = 0;
    table->plan_error.code = 0;
    if (table->holding) {
        table->holding = false;
        table->port.release_vcpus(table->port.opaque);
    }
}

/*
 * Newest first. Each step gives back what the kernel had a moment ago, with the same id; should it refuse even
 * that, the table says what is true (that slot is gone), and the guest finds MMIO there.
 */
static void take_back(struct slot_table *table)
{
    while (table->changed > 0) {
        struct slot *slot = &table->changes.slots[--table->changed];
        bool was_logged = slot_is_logged(slot); /* before it was changed */
        (void)change_slot(table, slot);
        if (was_logged) {
            dirtylog_mark_all(slot); /* nobody knows what was written meanwhile */
        }
    }
    while (table->added > 0) {
        (void)remove_slot(table, &table->additions.slots[--table->added]);
    }
    while (table->removed > 0) {
        struct mv_error ignored;
        (void)add_slot(table, &table->removals.slots[--table->removed], &ignored);
    }
}

/* Whether a log ends for a slot that goes, or for the region that it was of. */
static bool ends_logs(const struct slot_table *table)
{
    for (size_t i = 0; i < table->changes.count; i++) {
        struct slot **found = tfind(&table->changes.slots[i], &table->tree, compare_gpa);
        if (found && slot_is_logged(*found) && (*found)->region != table->changes.slots[i].region) {
            return true;
        }
    }
    return table->removals.count > 0;
}

static int carry_out(struct slot_table *table, struct mv_error *err)
{
    int rc = 0;
    const struct slot *at = NULL;
    struct mv_error why = {0};
    while (rc == 0 && table->removed < table->removals.count) {
        at = &table->removals.slots[table->removed];
        rc = remove_slot(table, &table->removals.slots[table->removed]);
        table->removed += rc == 0;
    }
    while (rc == 0 && table->added < table->additions.count) {
        at = &table->additions.slots[table->added];
        rc = add_slot(table, &table->additions.slots[table->added], &why);
        table->added += rc == 0;
    }
    while (rc == 0 && table->changed < table->changes.count) {
        at = &table->changes.slots[table->changed];
        rc = change_slot(table, &table->changes.slots[table->changed]);
        table->changed += rc == 0;
    }
    if (why.code < 0) {
        return error_set(err, why.code, why.reason, why.object, "%s", why.text);
    }
    if (rc < 0) {
        error_host(err, rc, "slots", "slot at gpa " PRI_ADDR ", %" PRIu64 " bytes: the accelerator refuses it",
                   at->is.gpa.raw, at->is.size_bytes);
    }
    return rc;
}

/* --- the listener ------------------------------------------------------------------------------ */

static void region_del(void *opaque, const struct mv_section *section)
{
    struct slot_table *table = opaque;
    plan_section(table, &table->removals, section);
}

static void region_add(void *opaque, const struct mv_section *section)
{
    struct slot_table *table = opaque;
    plan_section(table, &table->additions, section);
}

/* A log goes on or off with the first client and the last one. */
static void log_start(void *opaque, const struct mv_section *section, unsigned old_mask, unsigned new_mask)
{
    struct slot_table *table = opaque;
    (void)new_mask;
    if (old_mask == 0) {
        plan_section(table, &table->changes, section);
    }
}

static void log_stop(void *opaque, const struct mv_section *section, unsigned old_mask, unsigned new_mask)
{
    struct slot_table *table = opaque;
    (void)old_mask;
    if (new_mask == 0) {
        plan_section(table, &table->changes, section);
    }
}

typedef void logged_fn(const struct slot_port *port, struct slot *slot, struct mv_range range);

static void each_logged_slot(struct slot_table *table, const struct mv_section *section, logged_fn *fn)
{
    struct mv_range pages;
    if (!range_whole_pages(section->range, table->limits.page_bytes, &pages)) {
        return;
    }
    for (uint64_t address = pages.first;;) {
        struct slot **found = tfind(&address, &table->tree, compare_address);
        if (!found) {
            return; /* what is no slot the guest does not write by itself */
        }
        if (slot_is_logged(*found)) {
            fn(&table->port, *found, section->range);
        }
        uint64_t last = (*found)->is.gpa.raw + ((*found)->is.size_bytes - 1);
        if (last >= pages.last) {
            return;
        }
        address = last + 1;
    }
}

static void fetch_slot(const struct slot_port *port, struct slot *slot, struct mv_range range)
{
    (void)range;
    dirtylog_fetch(port, slot);
}

static void log_sync(void *opaque, const struct mv_section *section)
{
    each_logged_slot(opaque, section, fetch_slot);
}

static void log_clear(void *opaque, const struct mv_section *section)
{
    each_logged_slot(opaque, section, dirtylog_clear);
}

static void log_sync_global(void *opaque, bool last)
{
    struct slot_table *table = opaque;
    (void)last;
    table->port.reap(table->port.opaque);
}

static void fetch_node(const void *node, VISIT visit, void *opaque)
{
    struct slot_table *table = opaque;
    struct slot *slot = *(struct slot *const *)node;
    if ((visit == postorder || visit == leaf) && slot_is_logged(slot)) {
        dirtylog_fetch(&table->port, slot);
    }
}

void slots_sync(struct slot_table *table)
{
    if (table->port.reap) {
        table->port.reap(table->port.opaque);
    } else {
        twalk_r(table->tree, fetch_node, table);
    }
}

void slots_mark(struct slot_table *table, uint32_t id, uint64_t first, uint64_t bits)
{
    if (id < table->limits.max_slots && table->by_id[id]) {
        dirtylog_mark(table->by_id[id], first, bits);
    }
}

void slots_mark_all(struct slot_table *table)
{
    for (uint32_t id = 0; id < table->next_id; id++) {
        if (table->by_id[id] && slot_is_logged(table->by_id[id])) {
            dirtylog_mark_all(table->by_id[id]);
        }
    }
}

int slots_log_anew(struct slot_table *table)
{
    int rc = 0;
    slots_mark_all(table);
    for (uint32_t id = 0; rc == 0 && id < table->next_id; id++) {
        if (table->by_id[id] && slot_is_logged(table->by_id[id])) {
            struct slot off = *table->by_id[id];
            off.is.flags &= ~(uint32_t)KVM_MEM_LOG_DIRTY_PAGES;
            rc = call(table, &off, off.is.size_bytes);
            rc = rc < 0 ? rc : call(table, table->by_id[id], off.is.size_bytes);
        }
    }
    return rc;
}

/* Only what the accelerator would be told of: that another region has the same slot it does not learn. */
static void describe_changes(struct slot_table *table, void (*print)(void *, const char *), void *print_opaque)
{
    for (size_t i = 0; i < table->changes.count; i++) {
        const struct slot *slot = &table->changes.slots[i];
        struct slot **found = tfind(slot, &table->tree, compare_gpa);
        if (found && (*found)->is.flags != slot->is.flags) {
            plan_describe_slot(slot, slot_is_logged(slot) ? "start the log of" : "stop the log of", print,
                               print_opaque);
        }
    }
}

static void describe(void *opaque, void (*print)(void *print_opaque, const char *line), void *print_opaque)
{
    struct slot_table *table = opaque;
    (void)plan_cancel_pairs(&table->removals, &table->additions, &table->changes);
    drop_unknown(table);
    plan_describe(&table->removals, "delete", print, print_opaque);
    plan_describe(&table->additions, "create", print, print_opaque);
    describe_changes(table, print, print_opaque);
}

static int prepare(void *opaque, struct mv_error *err)
{
    struct slot_table *table = opaque;
    if (plan_cancel_pairs(&table->removals, &table->additions, &table->changes) < 0) {
        out_of_memory(table);
    }
    const struct mv_error *why = &table->plan_error;
    if (why->code < 0) {
        return error_set(err, why->code, why->reason, why->object, "%s", why->text);
    }
    drop_unknown(table);
    size_t needed = table->used - table->removals.count + table->additions.count;
    if (needed > table->limits.max_slots) {
        return error_set(err, -ENOSPC, "no-slot", "slots",
                         "slots: the memory map needs %zu of them, and the accelerator has %u", needed,
                         table->limits.max_slots);
    }
    if (table->removals.count + table->additions.count > 0) {
        table->holding = true;
        table->port.hold_vcpus(table->port.opaque);
    }
    if (table->port.reap && ends_logs(table)) {
        table->port.reap(table->port.opaque); /* what is in the rings goes by numbers of slots */
    }
    int rc = carry_out(table, err);
    if (rc < 0) {
        take_back(table);
    }
    return rc;
}

static void commit(void *opaque)
{
    struct slot_table *table = opaque;
    if (table->removals.count + table->additions.count + table->changes.count > 0) {
        pthread_mutex_lock(&table->lock);
        table->counts.commits++;
        pthread_mutex_unlock(&table->lock);
    }
    forget_plan(table);
}

static void abort_commit(void *opaque)
{
    struct slot_table *table = opaque;
    take_back(table);
    forget_plan(table);
}

const struct mv_listener_ops slots_listener_ops = {
    .region_del = region_del,
    .region_add = region_add,
    .log_start = log_start,
    .log_stop = log_stop,
    .log_sync = log_sync,
    .log_clear = log_clear,
    .describe = describe,
    .prepare = prepare,
    .commit = commit,
    .abort = abort_commit,
};

const struct mv_listener_ops slots_ring_listener_ops = {
    .region_del = region_del,
    .region_add = region_add,
    .log_start = log_start,
    .log_stop = log_stop,
    .log_sync_global = log_sync_global,
    .describe = describe,
    .prepare = prepare,
    .commit = commit,
    .abort = abort_commit,
};

/* --- looking ----------------------------------------------------------------------------------- */

struct copying {
    struct mv_slot *to;
    size_t capacity;
    size_t count;
};

static void copy_one(const void *node, VISIT visit, void *opaque)
{
    struct copying *copying = opaque;
    if (visit == postorder || visit == leaf) { /* which tsearch calls its in-order visit */
        if (copying->count < copying->capacity) {
            copying->to[copying->count] = (*(struct slot *const *)node)->is;
        }
        copying->count++;
    }
}

size_t slots_copy(struct slot_table *table, struct mv_slot *ret, size_t capacity)
{
    struct copying copying = {.to = ret, .capacity = capacity};
    pthread_mutex_lock(&table->lock);
    twalk_r(table->tree, copy_one, &copying);
    pthread_mutex_unlock(&table->lock);
    return copying.count;
}

bool slots_find(struct slot_table *table, mv_gpa_t gpa, struct mv_slot *ret)
{
    uint64_t address = gpa.raw;
    pthread_mutex_lock(&table->lock);
    struct slot **found = tfind(&address, &table->tree, compare_address);
    if (found) {
        *ret = (*found)->is;
    }
    pthread_mutex_unlock(&table->lock);
    return found != NULL;
}

bool slots_have(struct slot_table *table, struct mv_range range)
{
    bool all = false;
    pthread_mutex_lock(&table->lock);
    for (uint64_t address = range.first; !all;) {
        struct slot **found = tfind(&address, &table->tree, compare_address);
        if (!found) {
            break;
        }
        uint64_t last = (*found)->is.gpa.raw + ((*found)->is.size_bytes - 1);
        all = last >= range.last;
        address = last + 1;
    }
    pthread_mutex_unlock(&table->lock);
    return all;
}

uint64_t slots_conversions(const struct slot_table *table)
{
    return table->privates.conversions;
}

struct slot_counts slots_counts(struct slot_table *table)
{
    pthread_mutex_lock(&table->lock);
    struct slot_counts counts = table->counts;
    pthread_mutex_unlock(&table->lock);
    return counts;
}

// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdlib.h>

#include "hypervisor/shadow.h"

/* --- The hash: by frame, so that all pages that stand for one guest table are in one bucket --------- */

static size_t bucket_index(uint64_t frame, unsigned bits)
{
    return (size_t)((frame * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - bits));
}

static struct shadow_page **bucket_of(const struct shadow *s, uint64_t frame)
{
    return &s->buckets[bucket_index(frame, s->bucket_bits)];
}

/* The hash may grow meanwhile: then this is the address of anything, which a hint may have. */
void shadow_page_prefetch(const struct shadow *s, uint64_t frame)
{
    uintptr_t buckets = (uintptr_t)__atomic_load_n(&s->buckets, __ATOMIC_RELAXED);
    size_t index = bucket_index(frame, __atomic_load_n(&s->bucket_bits, __ATOMIC_RELAXED));
    __builtin_prefetch((const void *)(buckets + index * sizeof s->buckets[0]));
}

static struct shadow_page **make_buckets(unsigned bits)
{
    return calloc((size_t)1 << bits, sizeof(struct shadow_page *));
}

bool shadow_hash_init(struct shadow *s)
{
    s->bucket_bits = SHADOW_BUCKET_BITS_MIN;
    s->buckets = make_buckets(s->bucket_bits);
    return s->buckets != NULL;
}

void shadow_hash_finish(struct shadow *s)
{
    free(s->buckets);
}

/* Twice as many. Without memory for them the chains are longer. */
static void grow(struct shadow *s)
{
    struct shadow_page **old = s->buckets, **made = make_buckets(s->bucket_bits + 1);
    if (!made) {
        return;
    }
    size_t count = (size_t)1 << s->bucket_bits;
    __atomic_store_n(&s->bucket_bits, s->bucket_bits + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&s->buckets, made, __ATOMIC_RELAXED);
    for (size_t i = 0; i < count; i++) {
        for (struct shadow_page *page = old[i]; page;) {
            struct shadow_page *next = page->next, **bucket = bucket_of(s, page->frame);
            page->next = *bucket;
            *bucket = page;
            page = next;
        }
    }
    free(old);
}

static void hash_add(struct shadow *s, struct shadow_page *page)
{
    if (s->hashed_count++ >> s->bucket_bits) {
        grow(s);
    }
    struct shadow_page **bucket = bucket_of(s, page->frame);
    page->next = *bucket;
    *bucket = page;
}

static struct shadow_page *find(const struct shadow *s, const struct shadow_wanted *wanted)
{
    struct shadow_page *page = *bucket_of(s, wanted->frame);
    while (page && (page->frame != wanted->frame || page->role.word != wanted->role.word ||
                    page->generation != s->generation)) {
        page = page->next;
    }
    return page;
}

struct shadow_page *shadow_page_on(const struct shadow *s, uint64_t frame, const struct shadow_page *after)
{
    struct shadow_page *page = after ? after->next : *bucket_of(s, frame);
    while (page && (page->frame != frame || !shadow_has_guest_table(page) || page->generation != s->generation)) {
        page = page->next;
    }
    return page;
}

static void hash_remove(struct shadow *s, struct shadow_page *page)
{
    struct shadow_page **place = bucket_of(s, page->frame);
    while (*place != page) {
        place = &(*place)->next;
    }
    *place = page->next;
    s->hashed_count--;
}

/* --- The list: by age ------------------------------------------------------------------------------- */

static void list_add(struct shadow *s, struct shadow_page *page)
{
    page->older = s->newest;
    page->newer = NULL;
    *(s->newest ? &s->newest->newer : &s->oldest) = page;
    s->newest = page;
}

static void list_remove(struct shadow *s, struct shadow_page *page)
{
    *(page->older ? &page->older->newer : &s->oldest) = page->newer;
    *(page->newer ? &page->newer->older : &s->newest) = page->older;
}

/* --- Entries ---------------------------------------------------------------------------------------- */

bool shadow_link(struct hv_vm *vm, pt_word_t *entry, struct shadow_page *child)
{
    (void)vm;
    assert(pt_load(entry) == 0 && child->role.level + 1u == shadow_page_of_entry(entry)->role.level);
    if (!rmap_add(&child->parents, entry)) {
        return false;
    }
    (void)pt_exchange(entry, spte_make_table(&pt_format_shadow, child->table) | pt_format_shadow.accessed);
    return true;
}

bool shadow_link_switch(struct hv_vm *vm, pt_word_t *entry, uint64_t frame, unsigned access)
{
    const struct pt_format *f = &pt_format_shadow;
    uint64_t host = frame << GUEST_PAGE_SHIFT;
    struct rmap *map = &shadow_of(vm)->rmap;
    struct rmap_page page = {rmap_get(map, host), host, 1};
    assert(pt_load(entry) == 0 && shadow_page_of_entry(entry)->role.level > 1);
    if (!page.chunk) {
        return false;
    }
    if (shadow_is_full(vm, &page)) {
        shadow_recycle(vm, &page);
    }
    if (!rmap_add_to(map, &page, entry)) {
        return false;
    }
    uint64_t to = host | f->present | f->accessed | SPTE_PRESENT | SHADOW_SWITCH;
    to |= access & PT_RIGHT_W ? f->writable : 0;
    to |= access & PT_RIGHT_U ? f->user : 0;
    to |= access & PT_RIGHT_X ? 0 : f->not_executable;
    (void)pt_exchange(entry, to);
    return true;
}

/* The caller flushes, as for a leaf: the table may be walked until then. */
static void clear_switch(struct hv_vm *vm, const pt_word_t *entry, uint64_t before)
{
    struct shadow *s = shadow_of(vm);
    const struct shadow_page *page = shadow_page_of_entry(entry);
    uint64_t host = pt_address(before);
    rmap_remove_from(&s->rmap, &(struct rmap_page){rmap_find(&s->rmap, host), host, 1}, entry);
    shadow_note_loss(s, host, 1);
    if (shadow_is_anchor(page) && page->roots > 0) {
        hv_post_all(vm, HV_REQUEST_RELOAD_ROOT);
    }
}

/*
 * What was cached of a large page of the guest's that is mapped in parts: INVLPG of one address is to take all of
 * it, and the hardware, which has seen the parts alone, takes one. When the guest says it what tells of the others
 * may have gone long since, so they go as soon as that does. Nobody need wait for it.
 */
static void forget_parts(struct hv_vm *vm)
{
    hv_post_all(vm, HV_REQUEST_FLUSH);
}

static void clear_table(struct hv_vm *vm, pt_word_t *entry, uint64_t before)
{
    struct shadow_page *child = shadow_page_of_table(spte_table(before));
    rmap_remove(&child->parents, entry);
    if (child->role.direct) {
        forget_parts(vm);
    }
    struct shadow_page *page = shadow_page_of_entry(entry);
    unsigned i = shadow_index_of_entry(entry);
    uint64_t bit = UINT64_C(1) << (i % 64);
    if (page->unsync_child[i / 64] & bit) {
        page->unsync_child[i / 64] &= ~bit;
        page->unsync_children--;
    }
}

static void clear_leaf(struct hv_vm *vm, const pt_word_t *entry, unsigned level, uint64_t before)
{
    struct shadow *s = shadow_of(vm);
    uint64_t host = pt_address(before);
    rmap_remove_from(&s->rmap, &(struct rmap_page){rmap_find(&s->rmap, host), host, level}, entry);
    hv_count(shadow_pages_of(&vm->counters, level), (uint64_t)-1);
    shadow_note_loss(s, host, level);
    if (level > 1 && shadow_page_of_entry(entry)->role.has_4_byte_entries) { /* half of 4 MiB */
        forget_parts(vm);
    }
}

void shadow_clear_entry(struct hv_vm *vm, pt_word_t *entry, unsigned level)
{
    uint64_t before = pt_exchange(entry, 0);
    if (shadow_is_switch(before)) {
        clear_switch(vm, entry, before);
    } else if (shadow_is_table(before, level)) {
        clear_table(vm, entry, before);
    } else if (shadow_is_leaf(before, level)) {
        clear_leaf(vm, entry, level, before);
    }
}

/* --- Making ----------------------------------------------------------------------------------------- */

int shadow_fill_cache(struct shadow *s, unsigned want)
{
    return s->tables.count >= want ? 0 : tdp_cache_fill(&s->pool, &s->tables, want);
}

/* Of what describes a page. */
static size_t page_bytes(union shadow_role role)
{
    return role.glue ? sizeof(struct shadow_glue) : sizeof(struct shadow_page);
}

static struct shadow_page *make(struct hv_vm *vm, const struct shadow_wanted *wanted)
{
    struct shadow *s = shadow_of(vm);
    if (shadow_fill_cache(s, 1) != 0) {
        return NULL;
    }
    struct shadow_page *page = line_alloc(page_bytes(wanted->role));
    if (!page) {
        return NULL;
    }
    page->frame = wanted->frame;
    page->gfn = wanted->gfn;
    page->role = wanted->role;
    page->generation = s->generation;
    page->table = tdp_cache_take(&s->tables, 0, 0);
    *tdp_page_header(page->table) = (uint64_t)(uintptr_t)page;
    list_add(s, page);
    s->page_count++;
    s->page_bytes += page_bytes(page->role);
    s->live_count++;
    hv_count(&vm->counters.tables, 1);
    hv_count(&vm->counters.tables_built, 1);
    return page;
}

/* Chunks know how many guest tables lie in them: these may not be in a large page. False: out of memory. */
static bool count_table(struct shadow *s, uint64_t host)
{
    struct rmap_chunk *chunk = rmap_get(&s->rmap, host);
    struct rmap_chunk *first = rmap_get(&s->rmap, align_down(host, pt_level_bytes(3)));
    if (!chunk || !first) {
        return false;
    }
    chunk->tables++;
    first->tables_1g++;
    s->guest_tables++;
    return true;
}

static void uncount_table(struct shadow *s, uint64_t host)
{
    s->guest_tables--;
    rmap_find(&s->rmap, host)->tables--;
    rmap_find(&s->rmap, align_down(host, pt_level_bytes(3)))->tables_1g--;
}

struct shadow_page *shadow_page_get(struct hv_vm *vm, const struct shadow_wanted *wanted)
{
    struct shadow *s = shadow_of(vm);
    struct shadow_page *page = find(s, wanted);
    if (page) {
        return page;
    }
    bool has_guest_table = !wanted->role.direct;
    uint64_t host = wanted->frame << GUEST_PAGE_SHIFT;
    if (has_guest_table && !count_table(s, host)) {
        return NULL;
    }
    page = make(vm, wanted);
    if (!page) {
        if (has_guest_table) {
            uncount_table(s, host);
        }
        return NULL;
    }
    hash_add(s, page);
    hv_count(&vm->counters.mmu_cache_miss, 1);
    if (has_guest_table) {
        shadow_protect_frame(vm, page);
    }
    return page;
}

struct shadow_page *shadow_page_make_glue(struct hv_vm *vm, unsigned level)
{
    struct shadow_wanted wanted = {.role = {.level = level & 7, .glue = 1, .access = PT_RIGHTS_ALL}};
    return make(vm, &wanted);
}

/* --- Ending ----------------------------------------------------------------------------------------- */

static void push_unlinked(struct shadow *s, struct shadow_page *page)
{
    page->next = s->unlinked;
    s->unlinked = page;
    s->unlinked_count++;
}

void shadow_zap(struct hv_vm *vm, struct shadow_page *page)
{
    struct shadow *s = shadow_of(vm);
    if (page->zapped) {
        return;
    }
    while (!rmap_is_empty(&page->parents)) {
        shadow_clear_entry(vm, rmap_any(&page->parents), page->role.level + 1u);
    }
    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        if (pt_load(&page->table[i]) != 0) {
            shadow_clear_entry(vm, &page->table[i], page->role.level);
        }
    }
    if (shadow_has_guest_table(page)) {
        uncount_table(s, page->frame << GUEST_PAGE_SHIFT);
    }
    if (!page->role.glue) {
        hash_remove(s, page);
    }
    list_remove(s, page);
    page->zapped = true;
    shadow_set_unsync(vm, page, false);
    s->live_count--;
    hv_count(&vm->counters.tables, (uint64_t)-1);
    hv_count(&vm->counters.tables_zapped, 1);
    hv_count(&vm->counters.mmu_shadow_zapped, 1);
    if (page->roots == 0) {
        push_unlinked(s, page);
    } else {
        hv_post_all(vm, HV_REQUEST_RELOAD_ROOT);
    }
}

void shadow_zap_tree(struct hv_vm *vm, struct shadow_page *page)
{
    unsigned level = page->role.level;
    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        uint64_t entry = pt_load(&page->table[i]);
        if (!shadow_is_table(entry, level)) {
            continue;
        }
        struct shadow_page *child = shadow_page_of_table(spte_table(entry));
        shadow_clear_entry(vm, &page->table[i], level);
        if (rmap_is_empty(&child->parents) && child->roots == 0) {
            shadow_zap_tree(vm, child);
        }
    }
    shadow_zap(vm, page);
}

void shadow_root_put(struct hv_vm *vm, struct shadow_page *page)
{
    assert(page->roots > 0);
    page->used = true;
    if (--page->roots > 0) {
        return;
    }
    if (page->zapped) {
        push_unlinked(shadow_of(vm), page);
        return;
    }
    if (page->role.glue) { /* nobody else has it, nor what its first entry leads to */
        uint64_t below = pt_load(&page->table[0]);
        if (shadow_is_table(below, page->role.level)) {
            shadow_zap(vm, shadow_page_of_table(spte_table(below)));
        }
        shadow_zap(vm, page);
    }
}

void shadow_zap_obsolete(struct hv_vm *vm)
{
    struct shadow *s = shadow_of(vm);
    struct shadow_page *page = s->oldest;
    while (page) {
        struct shadow_page *newer = page->newer;
        if (page->generation != s->generation) {
            shadow_zap(vm, page);
        }
        page = newer;
    }
}

/* Since this was last asked: by a walk, which sets A above it, or as a root. TLBs are not flushed, so a table that
 * is used through one alone looks old. */
static bool was_used(struct shadow_page *page)
{
    const uint64_t bit = pt_format_shadow.accessed;
    struct rmap_iter it;
    bool any = page->used;
    page->used = false;
    for (pt_word_t *entry = rmap_first(&page->parents, &it); entry; entry = rmap_next(&it)) {
        uint64_t before = pt_load(entry);
        any |= (before & bit) != 0;
        while ((before & bit) && !pt_cas(entry, &before, before & ~bit)) {}
    }
    return any;
}

static bool may_go(const struct shadow_page *page)
{
    return page->roots == 0 && !page->role.glue;
}

/* All marks that are found are taken, so that next time they tell the use since now. */
static uint64_t evict_unused(struct hv_vm *vm, uint64_t pages, uint64_t looks)
{
    struct shadow *s = shadow_of(vm);
    struct shadow_page *page = s->oldest;
    uint64_t gone = 0;
    for (looks = looks < s->live_count ? looks : s->live_count; page && looks > 0; looks--) {
        struct shadow_page *newer = page->newer;
        if (may_go(page) && was_used(page)) {
            list_remove(s, page);
            list_add(s, page);
        } else if (may_go(page) && gone < pages) {
            shadow_zap(vm, page);
            gone++;
        }
        page = newer;
    }
    return gone;
}

uint64_t shadow_evict(struct hv_vm *vm, uint64_t pages, uint64_t looks)
{
    struct shadow *s = shadow_of(vm);
    uint64_t gone = evict_unused(vm, pages, looks);
    struct shadow_page *page = s->oldest;
    while (page && gone < pages) {
        struct shadow_page *newer = page->newer;
        if (may_go(page)) {
            shadow_zap(vm, page);
            gone++;
        }
        page = newer;
    }
    hv_count(&vm->counters.mmu_recycled, gone);
    return gone;
}

void shadow_make_available(struct hv_vm *vm)
{
    uint64_t live = shadow_of(vm)->live_count, limit = hv_mmu_pages(vm);
    if (live + SHADOW_AVAILABLE_MIN > limit) {
        (void)shadow_evict(vm, live + SHADOW_AVAILABLE_REFILL - limit, SHADOW_LOOKS);
    }
}

static void free_pages(struct shadow *s, struct shadow_page *list)
{
    while (list) {
        struct shadow_page *page = list;
        list = page->next;
        tdp_page_free(&s->pool, page->table);
        s->page_bytes -= page_bytes(page->role);
        free(page);
        s->page_count--;
    }
}

void shadow_settle(struct hv_vm *vm)
{
    struct shadow *s = shadow_of(vm);
    pthread_mutex_lock(&s->lock);
    struct shadow_page *list = s->unlinked;
    uint64_t seq = s->seq;
    s->unlinked = NULL;
    s->unlinked_count = 0;
    pthread_mutex_unlock(&s->lock);
    hv_flush_all(vm);
    pthread_mutex_lock(&s->lock);
    if (seq > s->flushed) {
        s->flushed = seq;
    }
    free_pages(s, list);
    pthread_mutex_unlock(&s->lock);
}

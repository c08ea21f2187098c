// SPDX-License-Identifier: MIT
/*
 * A guest with tables of 4 levels and two vCPUs, and what may be seen of it through shadow tables at any instant.
 * Both walks, of the guest's tables and of ours, are written from the manual (Intel SDM, "4-Level Paging") with
 * numbers of their own, and share nothing with paging/.
 *
 * judge_all looks at all addresses from the roots of both vCPUs:
 *   - nothing is there, or a page with rights that the guest's tables gave at one moment since this vCPU flushed
 *     the address: A set in each entry; W only with D and no read-only slot; U as it is, for it also forbids
 *   - no page of ours that the walks meet stands for a table that somebody may write, unless it is open: neither
 *     by an entry nor, if the page is not unsync and has entries, by a TLB that keeps all it can until it is told
 *   - neither tables nor such a TLB have what the host has taken
 *   - a TLB that keeps the first it sees of an address has what the guest's tables gave since it was invalidated
 *   - what is kept can be read
 * Not looked at: CR0.WP=0, SMEP, SMAP, keys; and what is no answer to a walk (reverse maps, lists).
 */
#ifndef HYPERVISOR_SHADOW_HISTORY_TEST_H
#define HYPERVISOR_SHADOW_HISTORY_TEST_H

#include "hypervisor/shadow.h"

#include "hypervisor/tdp_test.h"

#define VCPUS 2u
#define GFNS 1024u /* two slots of 2 MiB */
#define SLOT_PAGES 512u
#define PAST_MAX 512u

#define G_P UINT64_C(1)
#define G_W UINT64_C(2)
#define G_U UINT64_C(4)
#define G_A UINT64_C(0x20)
#define G_D UINT64_C(0x40)
#define G_LARGE UINT64_C(0x80)
#define G_NX (UINT64_C(1) << 63)
#define G_TABLE (G_P | G_W | G_U | G_A)
#define G_PAGE (G_TABLE | G_D)

/* Where the guest's tables are. The last lies in what is also mapped as a large page. */
enum {
    ROOT0 = 16,
    ROOT1,
    PDPT,
    PD,
    PTA,
    PTB,
    KERNEL, /* maps all tables */
    PDPT1,
    TABLES_END,
    DATA = 32, /* 16 pages */
    PTC = 520,
};

#define MIB2 (UINT64_C(1) << 21)
#define ROOT_BYTES (UINT64_C(1) << 39)
#define LARGE_GVA (2 * MIB2) /* of the second slot */
#define KERNEL_GVA (3 * MIB2)
#define LOW_GVA (5 * MIB2)   /* the first slot, large */
#define ALIAS_GVA ROOT_BYTES /* all of it again */
#define SELF_GVA                                                                                                  \
    (2 * ROOT_BYTES)    /* the tables, by a root that is in itself; its first page is what PD[0] says             \
                         */
#define KERNEL_PAGES 9u /* ROOT0 to PDPT1, PTC */

/* A translation in a word: host page; and W, U, X, and whether it is a part of a large page. 0: none. */
#define T_W UINT64_C(1)
#define T_U UINT64_C(2)
#define T_X UINT64_C(4)
#define T_LARGE UINT64_C(8)
#define T_HOST (~UINT64_C(0xfff))

struct past {
    unsigned count;
    uint64_t truth[PAST_MAX];
};

/* What a walk of ours met. */
struct found {
    uint64_t truth, leaf; /* the translation; the entry */
    unsigned level;       /* at which it ended */
    uint64_t *words[5];   /* by level */
};

#define GVAS_MAX 192u
#define BITS (GFNS / 64)

static struct {
    struct rig rig;
    struct hv_vcpu *vcpus[VCPUS];
    unsigned root[VCPUS]; /* the guest's: 0 or 1 */
    int busy;             /* a vCPU that the hypervisor works for, and which walks nothing; or -1 */
    bool is_on, is_strict;
    bool has_slot[2];
    uint32_t flags[2]; /* of slots */
    uint64_t gvas[GVAS_MAX];
    unsigned gva_count;
    struct past past[VCPUS][GVAS_MAX];     /* that our tables may show */
    struct past past_tlb[VCPUS][GVAS_MAX]; /* that a TLB may show: the same, unless every store is noticed */
    uint64_t tlb[VCPUS][GVAS_MAX];         /* the first that was seen; 0: nothing */
    bool is_kept[VCPUS][GVAS_MAX];
    /* What a TLB may have, by the number of the page. */
    uint64_t cached[VCPUS][BITS], cached_w[VCPUS][BITS];
    uint64_t flushes;                 /* as many were heard of */
    uint64_t taken_first, taken_last; /* what the host has taken: numbers of pages */
    const struct shadow_page *used[256];
    unsigned used_count;
    bool used_has_entry[256];
    struct {
        uint64_t first, last;
    } writable[VCPUS * GVAS_MAX]; /* host frames */
    unsigned writable_count;
    uint64_t changes, judged; /* observed; translations that were there */
    uint64_t seed;
} h;

static inline uint64_t host_of_gfn(uint64_t gfn)
{
    return page_hva(&h.rig, gfn);
}

static inline uint64_t number_of(uint64_t host)
{
    return (host - (uint64_t)(uintptr_t)h.rig.ram) >> 12;
}

static inline uint64_t *table_at(uint64_t gfn)
{
    return (uint64_t *)(uintptr_t)host_of_gfn(gfn);
}

static inline bool is_there(uint64_t gfn)
{
    return gfn < GFNS && h.has_slot[gfn / SLOT_PAGES];
}

/* Tables there go without A and D. */
static inline bool is_read_only(uint64_t gfn)
{
    return h.flags[gfn / SLOT_PAGES] & KVM_MEM_READONLY;
}

/* --- The guest's own tables ------------------------------------------------------------------------- */

/* `any_accessed`: A counts as set, as it is when an access was let through. */
static inline uint64_t walk_guest_tables(unsigned root, uint64_t gva, bool any_accessed)
{
    uint64_t table = root ? ROOT1 : ROOT0, rights = T_W | T_U | T_X;
    for (unsigned level = 4; is_there(table); level--) {
        uint64_t e = __atomic_load_n(&table_at(table)[gva >> (12 + 9 * (level - 1)) & 511], __ATOMIC_ACQUIRE);
        bool is_large = level == 2 && (e & G_LARGE), is_noted = any_accessed || is_read_only(table);
        if (!(e & G_P) || !(e & G_A || is_noted) || (is_large && (e & 0x1fe000))) {
            return 0;
        }
        rights &= (e & G_W ? T_W : 0) | (e & G_U ? T_U : 0) | (e & G_NX ? 0 : T_X);
        uint64_t gfn = (e & UINT64_C(0x000ffffffffff000)) >> 12;
        if (level > 1 && !is_large) {
            table = gfn;
            continue;
        }
        gfn = is_large ? (gfn & ~UINT64_C(511)) + (gva >> 12 & 511) : gfn; /* bit 12 is PAT */
        if (!is_there(gfn)) {
            return 0;
        }
        bool is_writable = (e & G_D || is_noted) && !is_read_only(gfn);
        return host_of_gfn(gfn) | (rights & ~(is_writable ? 0 : T_W)) | (is_large ? T_LARGE : 0);
    }
    return 0;
}

/* Whether it was one of these, or had fewer rights. */
static inline bool is_covered(uint64_t seen, uint64_t truth)
{
    return truth && (seen & T_HOST) == (truth & T_HOST) && (seen & T_U) == (truth & T_U) &&
           !(seen & ~truth & (T_W | T_X));
}

static inline void add_truth(struct past *past, uint64_t truth)
{
    for (unsigned i = 0; i < past->count; i++) {
        if (past->truth[i] == truth) {
            return;
        }
    }
    assert_true(past->count < PAST_MAX);
    past->truth[past->count++] = truth;
}

static inline void note_truth(unsigned v, unsigned g)
{
    uint64_t now = walk_guest_tables(h.root[v], h.gvas[g], false);
    if (now) {
        add_truth(&h.past[v][g], now);
        add_truth(&h.past_tlb[v][g], now);
    }
}

static inline void note_truths(void)
{
    for (unsigned v = 0; v < VCPUS; v++) {
        for (unsigned g = 0; g < h.gva_count; g++) {
            note_truth(v, g);
        }
    }
}

/* Every store was noticed: our tables are as the guest's are now. TLBs are not. */
static inline void forget_in_tables(unsigned v)
{
    for (unsigned g = 0; g < h.gva_count; g++) {
        h.past[v][g].count = 0;
        note_truth(v, g);
    }
}

/* The vCPU has flushed the address: the guest's tables say what they say now. */
static inline void forget(unsigned v, unsigned g)
{
    h.tlb[v][g] = 0;
    h.past[v][g].count = h.past_tlb[v][g].count = 0;
    note_truth(v, g);
}

static inline void forget_all(unsigned v)
{
    for (unsigned g = 0; g < h.gva_count; g++) {
        forget(v, g);
    }
}

static inline void forget_large(struct past *past)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < past->count; i++) {
        if (!(past->truth[i] & T_LARGE)) {
            past->truth[kept++] = past->truth[i];
        }
    }
    past->count = kept;
}

/* INVLPG: of a large page all goes. For the TLB it is large where our entry is, too. */
static inline void forget_page(unsigned v, unsigned g)
{
    forget(v, g);
    for (unsigned other = 0; other < h.gva_count; other++) {
        if (h.gvas[other] / MIB2 == h.gvas[g] / MIB2) {
            h.tlb[v][other] = h.tlb[v][other] & T_LARGE ? 0 : h.tlb[v][other];
            forget_large(&h.past[v][other]);
            forget_large(&h.past_tlb[v][other]);
            note_truth(v, other);
        }
    }
}

static inline void forget_host(struct past *past, unsigned slot)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < past->count; i++) {
        if (number_of(past->truth[i]) / SLOT_PAGES != slot) {
            past->truth[kept++] = past->truth[i];
        }
    }
    past->count = kept;
}

/* A slot has gone. */
static inline void forget_slot(unsigned slot)
{
    for (unsigned v = 0; v < VCPUS; v++) {
        for (unsigned g = 0; g < h.gva_count; g++) {
            forget_host(&h.past[v][g], slot);
            forget_host(&h.past_tlb[v][g], slot);
        }
    }
}

/* --- Our tables, as a processor sees them ------------------------------------------------------------ */

/* Rights are those of all levels. Anything reserved is a fault, and so is nothing there. */
static inline struct found walk_our_tables(const void *root, uint64_t gva)
{
    struct found f = {0};
    uint64_t *table = (uint64_t *)(uintptr_t)root, rights = T_W | T_U | T_X;
    for (unsigned level = 4; level > 0; level--) {
        unsigned shift = 12 + 9 * (level - 1);
        uint64_t *word = &table[gva >> shift & 511], e = __atomic_load_n(word, __ATOMIC_ACQUIRE);
        f.words[level] = word, f.leaf = e, f.level = level;
        if (!(e & G_P) || (e >> 51 & 1)) {
            return f;
        }
        rights &= (e & G_W ? T_W : 0) | (e & G_U ? T_U : 0) | (e & G_NX ? 0 : T_X);
        uint64_t at = e & UINT64_C(0x0007fffffffff000);
        if (level == 1 || (e & G_LARGE)) {
            assert_true(level < 4);
            f.truth = (at & ~((UINT64_C(1) << shift) - 1)) | (gva & ((UINT64_C(1) << shift) - 1) & T_HOST) |
                      rights | (level > 1 ? T_LARGE : 0);
            return f;
        }
        table = (uint64_t *)(uintptr_t)at;
    }
    return f;
}

/* It does not walk what it is about to leave. */
static inline bool is_walking(unsigned v)
{
    return h.busy != (int)v && h.vcpus[v]->root &&
           !(atomic_load(&h.vcpus[v]->requests.pending) & HV_REQUEST_RELOAD_ROOT);
}

static inline struct found find(unsigned v, uint64_t gva)
{
    return walk_our_tables(h.vcpus[v]->root, gva);
}

/* --- What may be there ------------------------------------------------------------------------------- */

static inline void set_bits(uint64_t *bits, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i <= last; i++) {
        bits[i / 64] |= UINT64_C(1) << (i % 64);
    }
}

static inline bool any_bit(const uint64_t *bits, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i <= last; i++) {
        if (bits[i / 64] >> (i % 64) & 1) {
            return true;
        }
    }
    return false;
}

/* The pages of our tables that a walk went through. */
static inline void note_used(const struct found *f)
{
    for (unsigned level = 4; level >= f->level; level--) {
        const struct shadow_page *page = shadow_page_of_entry((const pt_word_t *)(void *)f->words[level]);
        unsigned i = 0;
        if (!page) { /* the root of who has none */
            return;
        }
        while (i < h.used_count && h.used[i] != page) {
            i++;
        }
        assert_true(i < 256);
        if (i == h.used_count) {
            h.used[h.used_count++] = page;
            h.used_has_entry[i] = false;
        }
        h.used_has_entry[i] |= *f->words[level] != 0;
    }
}

static inline void assert_covered(unsigned v, unsigned g, uint64_t seen, const struct past *past, const char *by)
{
    for (unsigned i = 0; i < past->count; i++) {
        if (is_covered(seen, past->truth[i])) {
            return;
        }
    }
    print_message("# vCPU %u, %#jx: %s shows %#jx, the guest's tables %#jx\n", v, (uintmax_t)h.gvas[g], by,
                  (uintmax_t)seen, (uintmax_t)walk_guest_tables(h.root[v], h.gvas[g], false));
    fail();
}

/* It has seen this, and keeps what it saw before. A flush that it was asked for comes before it goes on. */
static inline void judge_tlb(unsigned v, unsigned g, uint64_t seen)
{
    h.tlb[v][g] = h.tlb[v][g] ? h.tlb[v][g] : seen;
    if (h.tlb[v][g] && !(atomic_load(&h.vcpus[v]->requests.pending) & HV_REQUEST_FLUSH)) {
        assert_covered(v, g, h.tlb[v][g], &h.past_tlb[v][g], "a TLB");
    }
}

static inline void judge(unsigned v, unsigned g)
{
    struct found f = find(v, h.gvas[g]);
    note_used(&f);
    assert_true(f.truth || !h.is_kept[v][g]);
    judge_tlb(v, g, f.truth);
    if (!f.truth) {
        return;
    }
    h.judged++;
    assert_covered(v, g, f.truth, &h.past[v][g], "a table");
    uint64_t first = number_of(f.truth & T_HOST), last = first;
    if (f.truth & T_LARGE) {
        first &= ~(uint64_t)511, last = first + 511;
    }
    set_bits(h.cached[v], first, last);
    if (f.truth & T_W) {
        set_bits(h.cached_w[v], first, last);
        h.writable[h.writable_count].first = host_of_gfn(first) >> 12;
        h.writable[h.writable_count++].last = host_of_gfn(last) >> 12;
    }
}

static inline void judge_used(const struct shadow_page *page, bool has_entry)
{
    if (!shadow_has_guest_table(page)) {
        return;
    }
    for (unsigned i = 0; i < h.writable_count && !page->open; i++) {
        assert_false(page->frame >= h.writable[i].first && page->frame <= h.writable[i].last);
    }
    uint64_t number = page->frame - ((uint64_t)(uintptr_t)h.rig.ram >> 12);
    for (unsigned v = 0; v < VCPUS && has_entry && !page->unsync; v++) {
        assert_false(any_bit(h.cached_w[v], number, number));
    }
}

static inline void flush_cached(unsigned v)
{
    memset(h.cached[v], 0, sizeof h.cached[v]);
    memset(h.cached_w[v], 0, sizeof h.cached_w[v]);
    memset(h.tlb[v], 0, sizeof h.tlb[v]);
}

static inline void judge_all(void)
{
    uint64_t flushes = __atomic_load_n(&h.rig.vm->counters.remote_tlb_flush_requests, __ATOMIC_RELAXED);
    for (unsigned v = 0; v < VCPUS && flushes != h.flushes; v++) {
        flush_cached(v);
    }
    h.flushes = flushes;
    note_truths();
    h.used_count = h.writable_count = 0;
    for (unsigned v = 0; v < VCPUS; v++) {
        for (unsigned g = 0; g < h.gva_count && is_walking(v); g++) {
            judge(v, g);
        }
        assert_false(h.taken_last && any_bit(h.cached[v], h.taken_first, h.taken_last));
    }
    for (unsigned i = 0; i < h.used_count; i++) {
        judge_used(h.used[i], h.used_has_entry[i]);
    }
}

/* Between two steps. Where every store is noticed at once, nothing is ever stale. */
static inline void judge_step(void)
{
    for (unsigned v = 0; v < VCPUS && h.is_strict; v++) {
        forget_in_tables(v);
    }
    judge_all();
}

static inline void assert_nobody_writes(uint64_t first, uint64_t last)
{
    judge_all();
    for (unsigned v = 0; v < VCPUS; v++) {
        assert_false(any_bit(h.cached_w[v], first, last));
    }
}

#endif

// SPDX-License-Identifier: MIT
#include "tests/conform/soft_world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define PAGE UINT64_C(4096)
#define LARGE UINT64_C(0x200000)
#define WINDOW_BYTES (WORLD_WINDOW_PAGES * PAGE)

/* Guest-physical. The mover's second place is no multiple of 2M. */
#define BANK UINT64_C(0x40000000)
#define SLIDER UINT64_C(0x80000000)
#define MOVER_0 UINT64_C(0x90000000)
#define MOVER_1 UINT64_C(0xa0001000)

/* Guest-virtual. */
#define GVA_BANK UINT64_C(0x7f0040000000) /* 2M pages */
#define GVA_BANK_4K UINT64_C(0x7f0050000000)
#define GVA_SLIDER UINT64_C(0x7f0080000000) /* 2M pages */
#define GVA_MOVER_0 UINT64_C(0x7f0090000000)
#define GVA_MOVER_1 UINT64_C(0x7f00a0000000)
#define GVA_OWN UINT64_C(0x7f00c0000000) /* a page for each vCPU, which it maps anew itself */

#define OWN_PAGES 4u
#define GPA_OWN UINT64_C(0xf00000) /* what it maps there */

#define WINDOW_MARK UINT64_C(0xf000) /* where a word has the page: it was written through a window */

uint64_t world_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

uint64_t world_seed(void)
{
    const char *text = getenv("MEMVIRT_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    print_message("MEMVIRT_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

uint64_t world_amount(uint64_t n)
{
    return getenv("MEMVIRT_TEST_LONG") ? 20 * n : n;
}

/* --- Words --------------------------------------------------------------------------------------------- */

/* Places are spread over the page; those that windows write to are behind them. */
static uint64_t place_of(unsigned word)
{
    return word * UINT64_C(504);
}

#define WINDOW_PLACE UINT64_C(4000)

static uint64_t tag(unsigned page, unsigned word, unsigned vcpu, uint32_t count)
{
    return (uint64_t)(page + 1) << 48 | (uint64_t)word << 40 | (uint64_t)vcpu << 32 | count;
}

__attribute__((format(printf, 2, 3))) static void wrong(struct world_vcpu *v, const char *format, ...)
{
    va_list args;
    if (v->wrong[0]) {
        return;
    }
    atomic_store(&v->world->has_failed, true);
    va_start(args, format);
    vsnprintf(v->wrong, sizeof v->wrong, format, args);
    va_end(args);
}

static bool is_discarded(const struct world *w, unsigned page)
{
    return page < WORLD_RAM_PAGES ? page >= w->first_discarded : page - WORLD_RAM_PAGES >= w->first_discarded;
}

/* What was read from a word of a page: nobody else's, nothing older than what was seen, zero if it may be. */
static void judge(struct world_vcpu *v, unsigned page, unsigned word, uint64_t value)
{
    uint32_t *seen = &v->seen[page][word], count = (uint32_t)value;
    unsigned owner = word % WORLD_VCPUS;
    if (value == 0) {
        if (*seen != 0 && !is_discarded(v->world, page)) {
            wrong(v, "page %u word %u: %u was lost", page, word, *seen);
        }
        return;
    }
    if (value != tag(page, word, owner, count)) {
        wrong(v, "page %u word %u: has %llx", page, word, (unsigned long long)value);
    } else if (owner == v->index ? count != *seen : (int32_t)(count - *seen) < 0) {
        wrong(v, "page %u word %u: has %u after %u", page, word, count, *seen);
    } else {
        *seen = count;
    }
}

/* --- Accesses ------------------------------------------------------------------------------------------ */

/* Where the guest looks, and what it may find there. */
struct spot {
    uint64_t gva, gpa;
    bool may_be_away;     /* no RAM there, now and then */
    bool may_be_readonly; /* or a write is refused */
};

/* A window copies bytes as a guest's own processor does: for ThreadSanitizer that is a race with what other vCPUs
 * write, which it is, and the guest's. */
static bool goes_by_window(struct world_vcpu *v)
{
#ifdef __SANITIZE_THREAD__
    (void)v;
    return false;
#else
    return world_random(&v->random) % 2;
#endif
}

static enum mv_soft_end access_by_call(struct world_vcpu *v, mv_gva_t gva, enum mv_access kind, uint64_t *value,
                                       struct mv_soft_outcome *outcome)
{
    switch (kind) {
    case MV_ACCESS_READ: return mv_soft_read(v->vcpu, gva, value, 8, MV_SOFT_EXPLICIT, outcome);
    case MV_ACCESS_WRITE: return mv_soft_write(v->vcpu, gva, value, 8, MV_SOFT_EXPLICIT, outcome);
    case MV_ACCESS_FETCH: break;
    }
    return mv_soft_fetch(v->vcpu, gva, value, 8, outcome);
}

static enum mv_soft_end access_once(struct world_vcpu *v, mv_gva_t gva, enum mv_access kind, uint64_t *value,
                                    struct mv_soft_outcome *outcome)
{
    if (kind == MV_ACCESS_FETCH || !goes_by_window(v)) {
        return access_by_call(v, gva, kind, value, outcome);
    }
    return kind == MV_ACCESS_READ ? mv_soft_window_read64(&v->window, gva, value, outcome)
                                  : mv_soft_window_write(&v->window, gva, value, 8, outcome);
}

/* A full ring is emptied by whoever has filled it. */
static enum mv_soft_end one_access(struct world_vcpu *v, const struct spot *s, enum mv_access kind,
                                   uint64_t *value)
{
    struct mv_soft_outcome outcome;
    enum mv_soft_end end;
    while (true) {
        end = access_once(v, mv_gva(s->gva), kind, value, &outcome);
        if (end != MV_SOFT_RING_FULL) {
            break;
        }
        mv_dirty_sync_all(v->world->guest.machine, false);
    }
    atomic_fetch_add_explicit(&v->accesses, 1, memory_order_relaxed);
    bool may_be_mmio = s->may_be_away || (s->may_be_readonly && kind == MV_ACCESS_WRITE);
    if (end == MV_SOFT_MMIO && may_be_mmio && outcome.mmio.gpa.raw == s->gpa && outcome.mmio.size == 8) {
        v->mmios++;
    } else if (end == MV_SOFT_FAULT) {
        wrong(v, "gva %llx: a fault of code %x, %s", (unsigned long long)s->gva, outcome.fault.error_code,
              mv_soft_rule_name(outcome.fault.rule));
    } else if (end != MV_SOFT_DONE) {
        wrong(v, "gva %llx, access %u: ends with %u, gpa %llx, error %d", (unsigned long long)s->gva, kind, end,
              (unsigned long long)(end == MV_SOFT_MMIO ? outcome.mmio.gpa.raw : 0),
              end == MV_SOFT_HOST_ERROR ? outcome.error : 0);
    }
    return end;
}

static struct spot spot_of(struct world_vcpu *v, unsigned page)
{
    if (page < WORLD_RAM_PAGES) {
        return (struct spot){.gva = WORLD_GVA_RAM + page * PAGE,
                             .gpa = GUEST_DATA + page * PAGE,
                             .may_be_away = v->world->has_editor && page == WORLD_HOLE};
    }
    unsigned bank_page = page - WORLD_RAM_PAGES;
    uint64_t base = world_random(&v->random) % 2 ? GVA_BANK : GVA_BANK_4K;
    return (struct spot){.gva = base + bank_page * PAGE, .gpa = BANK + bank_page * PAGE};
}

static void access_page(struct world_vcpu *v)
{
    unsigned page = (unsigned)(world_random(&v->random) % WORLD_PAGES);
    unsigned word = (unsigned)(world_random(&v->random) % WORLD_WORDS);
    struct spot spot = spot_of(v, page);
    uint64_t value = 0;
    spot.gva += place_of(word);
    spot.gpa += place_of(word);
    if (word % WORLD_VCPUS == v->index && world_random(&v->random) % 4 != 0) {
        value = tag(page, word, v->index, ++v->count);
        if (one_access(v, &spot, MV_ACCESS_WRITE, &value) == MV_SOFT_DONE) {
            v->seen[page][word] = v->count;
        }
        return;
    }
    enum mv_access kind = world_random(&v->random) % 4 == 0 ? MV_ACCESS_FETCH : MV_ACCESS_READ;
    if (one_access(v, &spot, kind, &value) == MV_SOFT_DONE) {
        judge(v, page, word, value);
    }
}

/* Which bytes a window shows is not known, but where in the bank they may be. */
static void judge_by_window(struct world_vcpu *v, unsigned page, unsigned word, uint64_t value)
{
    if (value == 0) {
        return;
    }
    unsigned found = (unsigned)(value >> 48) - 1 - WORLD_RAM_PAGES;
    if (found >= WORLD_BANK_PAGES || found % WORLD_WINDOW_PAGES != page || (value >> 40 & 0xff) != word ||
        (value >> 32 & 0xff) != word % WORLD_VCPUS) {
        wrong(v, "page %u of a window, word %u: has %llx", page, word, (unsigned long long)value);
    }
}

static void write_by_window(struct world_vcpu *v, struct spot *spot, unsigned page)
{
    uint64_t value = (WINDOW_MARK | v->index) << 48 | (uint64_t)page << 32 | ++v->count;
    spot->gva += WINDOW_PLACE + 8 * v->index;
    spot->gpa += WINDOW_PLACE + 8 * v->index;
    (void)one_access(v, spot, MV_ACCESS_WRITE, &value);
    uint64_t back = value;
    if (one_access(v, spot, MV_ACCESS_READ, &back) == MV_SOFT_DONE && back != 0 && back >> 32 != value >> 32) {
        wrong(v, "page %u of a window: has %llx", page, (unsigned long long)back);
    }
}

static void access_window(struct world_vcpu *v)
{
    unsigned page = (unsigned)(world_random(&v->random) % WORLD_WINDOW_PAGES);
    unsigned word = (unsigned)(world_random(&v->random) % WORLD_WORDS);
    unsigned which = (unsigned)(world_random(&v->random) % 3);
    static const uint64_t gvas[] = {GVA_SLIDER, GVA_MOVER_0, GVA_MOVER_1}, gpas[] = {SLIDER, MOVER_0, MOVER_1};
    struct spot spot = {.gva = gvas[which] + page * PAGE,
                        .gpa = gpas[which] + page * PAGE,
                        .may_be_away = which != 0,
                        .may_be_readonly = which != 0};
    uint64_t value = 0;
    if (world_random(&v->random) % 2) {
        write_by_window(v, &spot, page);
        return;
    }
    spot.gva += place_of(word);
    spot.gpa += place_of(word);
    if (one_access(v, &spot, MV_ACCESS_READ, &value) == MV_SOFT_DONE) {
        judge_by_window(v, page, word, value);
    }
}

/* It changes an entry of its own tables, says so, and sees the other page at once. */
static void map_anew(struct world_vcpu *v)
{
    const struct soft_guest *g = &v->world->guest;
    uint64_t which = world_random(&v->random) % OWN_PAGES, value = 0;
    uint64_t gpa = GPA_OWN + (v->index * OWN_PAGES + which) * PAGE;
    struct spot spot = {.gva = GVA_OWN + v->index * PAGE, .gpa = gpa};
    struct mv_soft_outcome outcome;
    while (mv_soft_write_physical(v->vcpu, mv_gpa(soft_guest_entry_gpa(g, spot.gva, 1)), gpa | PTE_P | PTE_W,
                                  &outcome) == MV_SOFT_RING_FULL) {
        mv_dirty_sync_all(g->machine, false);
    }
    if (outcome.end != MV_SOFT_DONE) {
        wrong(v, "the entry of gva %llx: a write ends with %u", (unsigned long long)spot.gva, outcome.end);
        return;
    }
    mv_soft_invlpg(v->vcpu, mv_gva(spot.gva));
    if (one_access(v, &spot, MV_ACCESS_READ, &value) == MV_SOFT_DONE &&
        value != v->index * OWN_PAGES + which + 1) {
        wrong(v, "page %llu of vCPU %u's own: has %llx", (unsigned long long)which, v->index,
              (unsigned long long)value);
    }
}

static void step(struct world_vcpu *v)
{
    uint64_t what = world_random(&v->random) % 64;
    if (what < 12) {
        access_window(v);
    } else if (what == 12) {
        map_anew(v);
    } else {
        access_page(v);
    }
}

static void rest(void)
{
    const struct timespec moment = {.tv_nsec = 50000};
    nanosleep(&moment, NULL);
}

/* Machines may have fewer processors than there are threads: who waits for a vCPU to leave shall not wait for the
 * end of its time slice. */
static void steps(struct world_vcpu *v)
{
    for (unsigned i = 0; i < 32 && !v->wrong[0]; i++) {
        step(v);
    }
    rest();
}

static void *run_vcpu(void *opaque)
{
    struct world_vcpu *v = opaque;
    struct world *w = v->world;
    for (uint64_t i = 0; i < w->steps && !v->wrong[0]; i += 32) {
        steps(v);
    }
    world_done(w);
    while (!world_is_over(w) && !v->wrong[0]) {
        steps(v);
    }
    return NULL;
}

/* --- Making -------------------------------------------------------------------------------------------- */

static void must(int rc, const struct mv_error *err)
{
    if (rc < 0) {
        fail_msg("%s", err->text);
    }
}

static struct mv_region *add_region(struct world *w, struct mv_region_options options, uint64_t gpa, int priority)
{
    struct mv_region *ret;
    struct mv_error err = {0};
    must(mv_region_create(w->guest.machine, &options, &ret, &err), &err);
    must(mv_region_add(w->guest.root, gpa, ret, priority, &err), &err);
    return ret;
}

static void make_regions(struct world *w)
{
    struct mv_error err = {0};
    struct mv_block_info info;
    const struct mv_block_options bank = {.name = "bank", .size_bytes = WORLD_BANK_PAGES * PAGE};
    must(mv_block_create(w->guest.machine, &bank, &w->bank_block, &err), &err);
    mv_block_info(w->bank_block, &info);
    w->bank_host = (uint8_t *)(uintptr_t)info.hva.raw;
    w->bank = add_region(
        w,
        (struct mv_region_options){
            .name = "bank", .kind = MV_REGION_RAM, .size_bytes = bank.size_bytes, .block = w->bank_block},
        BANK, 0);
    struct mv_region_options window = {
        .name = "slider", .kind = MV_REGION_ALIAS, .size_bytes = WINDOW_BYTES, .target = w->bank};
    w->slider = add_region(w, window, SLIDER, 0);
    window.name = "mover";
    w->mover = add_region(w, window, MOVER_0, 0);
    static const struct mv_mmio_ops silent = {0};
    w->cover = add_region(
        w, (struct mv_region_options){.name = "cover", .kind = MV_REGION_MMIO, .size_bytes = PAGE, .ops = &silent},
        GUEST_DATA + WORLD_HOLE * PAGE, 1);
    must(mv_region_set_enabled(w->cover, false, &err), &err);
}

static void map_all(struct world *w)
{
    struct soft_guest *g = &w->guest;
    for (unsigned i = 0; i < WORLD_RAM_PAGES; i++) {
        soft_guest_map(g, WORLD_GVA_RAM + i * PAGE, GUEST_DATA + i * PAGE, PTE_P | PTE_W, 1);
    }
    for (unsigned i = 0; i < WORLD_BANK_PAGES; i++) {
        soft_guest_map(g, GVA_BANK_4K + i * PAGE, BANK + i * PAGE, PTE_P | PTE_W, 1);
    }
    for (uint64_t at = 0; at < WORLD_BANK_PAGES * PAGE; at += LARGE) {
        soft_guest_map(g, GVA_BANK + at, BANK + at, PTE_P | PTE_W, 2);
    }
    for (uint64_t at = 0; at < WINDOW_BYTES; at += LARGE) {
        soft_guest_map(g, GVA_SLIDER + at, SLIDER + at, PTE_P | PTE_W, 2);
        soft_guest_map(g, GVA_MOVER_0 + at, MOVER_0 + at, PTE_P | PTE_W, 2);
    }
    for (unsigned i = 0; i < WORLD_WINDOW_PAGES; i++) {
        soft_guest_map(g, GVA_MOVER_1 + i * PAGE, MOVER_1 + i * PAGE, PTE_P | PTE_W, 1);
    }
    for (unsigned i = 0; i < WORLD_VCPUS * OWN_PAGES; i++) {
        uint64_t value = i + 1;
        soft_guest_map(g, GVA_OWN + i / OWN_PAGES * PAGE, GPA_OWN + i * PAGE, PTE_P | PTE_W, 1);
        memcpy(g->host + GPA_OWN + i * PAGE, &value, sizeof value);
    }
}

void world_make(struct world *w, const char *accel, uint32_t ring_entries, uint64_t seed)
{
    *w = (struct world){.first_discarded = WORLD_PAGES, .has_editor = true, .seed = seed};
    w->editor_random = seed ^ 0x5555;
    soft_guest_make_with_ring(&w->guest, accel, ring_entries);
    make_regions(w);
    map_all(w);
    for (unsigned i = 0; i < WORLD_VCPUS; i++) {
        w->vcpus[i] = (struct world_vcpu){
            .world = w,
            .index = i,
            .random = seed + (i + 1) * UINT64_C(0x9e3779b97f4a7c15),
            .vcpu = i == 0 ? w->guest.vcpu : soft_guest_add_vcpu(&w->guest),
            .seen = calloc(WORLD_PAGES, sizeof(uint32_t[WORLD_WORDS])),
        };
        assert_non_null(w->vcpus[i].seen);
        assert_int_equal(mv_soft_window_open(w->vcpus[i].vcpu, &w->vcpus[i].window), 0);
    }
}

void world_end(struct world *w)
{
    for (unsigned i = 0; i < WORLD_VCPUS; i++) {
        free(w->vcpus[i].seen);
    }
    mv_region_put(w->cover);
    mv_region_put(w->mover);
    mv_region_put(w->slider);
    mv_region_put(w->bank);
    mv_block_put(w->bank_block);
    soft_guest_end(&w->guest);
}

/* --- Running ------------------------------------------------------------------------------------------- */

void world_start(struct world *w, unsigned others)
{
    atomic_store(&w->working, WORLD_VCPUS + others);
    for (unsigned i = 0; i < WORLD_VCPUS; i++) {
        assert_int_equal(pthread_create(&w->vcpus[i].thread, NULL, run_vcpu, &w->vcpus[i]), 0);
    }
}

void world_done(struct world *w)
{
    atomic_fetch_sub(&w->working, 1);
}

bool world_is_over(struct world *w)
{
    return atomic_load(&w->working) == 0;
}

static uint64_t accesses_of(struct world *w)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < WORLD_VCPUS; i++) {
        sum += atomic_load_explicit(&w->vcpus[i].accesses, memory_order_relaxed);
    }
    return sum;
}

void world_wait(struct world *w, uint64_t accesses)
{
    uint64_t end = accesses_of(w) + accesses;
    while (accesses_of(w) < end && !atomic_load(&w->has_failed)) {
        rest();
    }
}

void world_join(struct world *w)
{
    for (unsigned i = 0; i < WORLD_VCPUS; i++) {
        pthread_join(w->vcpus[i].thread, NULL);
    }
    for (unsigned i = 0; i < WORLD_VCPUS; i++) {
        if (w->vcpus[i].wrong[0]) {
            fail_msg("%s: vCPU %u: %s", w->guest.accel, i, w->vcpus[i].wrong);
        }
    }
}

/* --- Editing ------------------------------------------------------------------------------------------- */

static int edit_once(struct world *w, uint64_t random)
{
    switch (random % 6) {
    case 0: return mv_region_set_target_offset(w->slider, random / 8 % 4 * WINDOW_BYTES, NULL);
    case 1: return mv_region_set_target_offset(w->mover, random / 8 % 4 * WINDOW_BYTES, NULL);
    case 2: return mv_region_set_address(w->mover, random / 8 % 2 ? MOVER_0 : MOVER_1, NULL);
    case 3: return mv_region_set_enabled(w->mover, random / 8 % 4 != 0, NULL);
    case 4: return mv_region_set_readonly(w->mover, random / 8 % 2, NULL);
    default: return mv_region_set_enabled(w->cover, random / 8 % 2, NULL);
    }
}

bool world_edit(struct world *w)
{
    uint64_t random = world_random(&w->editor_random);
    if (random % 4 != 0) {
        return edit_once(w, random / 4) == 0;
    }
    bool ok = mv_machine_begin(w->guest.machine, NULL) == 0;
    for (unsigned i = 0; i < 3; i++) {
        ok = edit_once(w, world_random(&w->editor_random)) == 0 && ok;
    }
    return mv_machine_commit(w->guest.machine, NULL) == 0 && ok;
}

// SPDX-License-Identifier: MIT
#include "hypervisor/dirty.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "hypervisor/hv_test.h"

static uint64_t random_state;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state >> 11) % n;
}

/* --- by bitmaps ------------------------------------------------------------------------------------ */

static void reading_clears(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    uint64_t bits[4];
    assert_int_equal(set(vm, 0, LOG, 16, 130, HVA), 0);
    (void)hv_request_take(&vcpu->requests);
    uint64_t before = flushes(vm);
    memset(bits, 0x55, sizeof bits);
    assert_int_equal(get_log(vm, 0, bits), 0);
    assert_true(bits[0] == 0 && bits[1] == 0 && bits[2] == 0 && bits[3] == UINT64_C(0x5555555555555555));
    assert_int_equal(flushes(vm), before); /* nothing was written: nothing to forget */
    dirty_page(vcpu, 16);
    dirty_page(vcpu, 16);
    dirty_page(vcpu, 16 + 64);
    dirty_page(vcpu, 16 + 129);
    assert_int_equal(vcpu->counters.dirty_marked, 3);
    assert_int_equal(get_log(vm, 0, bits), 0);
    assert_true(bits[0] == 1 && bits[1] == 1 && bits[2] == 2);
    assert_int_equal(flushes(vm), before + 1);
    assert_int_equal(hv_request_take(&vcpu->requests), HV_REQUEST_FLUSH);
    assert_int_equal(get_log(vm, 0, bits), 0);
    assert_true(bits[0] == 0 && bits[1] == 0 && bits[2] == 0);
    assert_int_equal(flushes(vm), before + 1);
    dirty_page(vcpu, 17);
    assert_int_equal(get_log(vm, 0, bits), 0);
    assert_true(bits[0] == 2 && bits[1] == 0 && bits[2] == 0);
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
}

static void clearing_clears_what_is_set_in_both(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    uint64_t bits[2], named[2] = {6, 0};
    assert_int_equal(hv_enable_manual_protect(vm, 1), 0);
    assert_int_equal(set(vm, 0, LOG, 0, 128, HVA), 0);
    dirty_page(vcpu, 0);
    dirty_page(vcpu, 1);
    dirty_page(vcpu, 100);
    uint64_t before = flushes(vm);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(get_log(vm, 0, bits), 0);
        assert_true(bits[0] == 3 && bits[1] == UINT64_C(1) << 36);
    }
    assert_int_equal(flushes(vm), before);
    assert_int_equal(clear_log(vm, 0, 0, 64, named), 0);
    assert_int_equal(flushes(vm), before + 1);
    assert_int_equal(get_log(vm, 0, bits), 0);
    assert_true(bits[0] == 1 && bits[1] == UINT64_C(1) << 36);
    assert_int_equal(clear_log(vm, 0, 0, 64, named), 0);
    assert_int_equal(flushes(vm), before + 1); /* none of them is dirty now */
    named[0] = UINT64_MAX;
    assert_int_equal(clear_log(vm, 0, 64, 64, named), 0);
    assert_int_equal(get_log(vm, 0, bits), 0);
    assert_true(bits[0] == 1 && bits[1] == 0);
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
}

static void what_is_not_logged(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    uint64_t bits[1];
    assert_int_equal(set(vm, 0, 0, 0, 8, HVA), 0);
    assert_int_equal(set(vm, 1, LOG | RO, 8, 8, HVA), 0);
    assert_int_equal(set(vm, 2, LOG, 16, 8, HVA), 0);
    dirty_page(vcpu, 0);
    assert_null(bytes_at(vcpu, 8 * PAGE, MV_ACCESS_WRITE));
    assert_non_null(bytes_at(vcpu, 8 * PAGE, MV_ACCESS_READ));
    assert_non_null(bytes_at(vcpu, 16 * PAGE, MV_ACCESS_READ));
    assert_non_null(bytes_at(vcpu, 17 * PAGE, MV_ACCESS_FETCH));
    assert_int_equal(get_log(vm, 1, bits), 0);
    assert_int_equal(bits[0], 0);
    assert_int_equal(get_log(vm, 2, bits), 0);
    assert_int_equal(bits[0], 0);
    rendezvous_enter(&vcpu->inside);
    hv_mark_dirty_gfn(vcpu, 1000);
    hv_mark_dirty_gfn(vcpu, 19);
    rendezvous_leave(&vcpu->inside);
    assert_int_equal(get_log(vm, 2, bits), 0);
    assert_int_equal(bits[0], 8);
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
}

/* Any number of pages, and buffers at any address, against a list of booleans. */
static void random_marks(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        struct hv_vm *vm = new_vm();
        struct hv_vcpu *vcpu = new_vcpu(vm, 0);
        uint64_t npages = 1 + random_below(3000), count = (npages + 63) / 64;
        bool *expected = calloc(npages, sizeof *expected);
        unsigned char *buffer = malloc(count * 8 + 16);
        assert_true(expected && buffer);
        bool manual = random_below(2);
        assert_int_equal(hv_enable_manual_protect(vm, manual), 0);
        assert_int_equal(set(vm, 3, LOG, 7, npages, HVA), 0);
        for (unsigned get = 0; get < 12; get++) {
            for (uint64_t n = random_below(200); n > 0; n--) {
                uint64_t page = random_below(2) ? random_below(npages) : npages - 1 - random_below(npages) % 9;
                page = page < npages ? page : 0;
                dirty_page(vcpu, 7 + page);
                expected[page] = true;
            }
            unsigned char *bits = buffer + random_below(8);
            bits[count * 8] = 0x77;
            assert_int_equal(get_log(vm, 3, bits), 0);
            assert_int_equal(bits[count * 8], 0x77);
            for (uint64_t page = 0; page < count * 64; page++) {
                bool is_set = bits[page / 8] >> (page % 8) & 1;
                assert_int_equal(is_set, page < npages && expected[page]);
            }
            if (!manual || random_below(2)) {
                for (uint64_t n = manual ? random_below(3) : 0; n > 0; n--) { /* all but a few, that stay */
                    uint64_t page = random_below(npages);
                    bits[page / 8] &= (unsigned char)~(1u << (page % 8));
                }
                assert_int_equal(manual ? clear_log(vm, 3, 0, (uint32_t)npages, bits) : 0, 0);
                for (uint64_t page = 0; page < npages; page++) {
                    expected[page] &= !(bits[page / 8] >> (page % 8) & 1);
                }
            }
        }
        free(expected);
        free(buffer);
        hv_vcpu_destroy(vcpu);
        hv_vm_destroy(vm);
    }
}

static void add_up(void *opaque, uint64_t first, const uint64_t *words, uint64_t npages)
{
    uint64_t *sum = opaque;
    for (uint64_t i = 0; i < (npages + 63) / 64; i++) {
        sum[0] += words[i] != 0 ? first + i * 64 : 0;
        sum[1] += (unsigned)__builtin_popcountll(words[i]);
    }
}

/* Nothing is asked again of what is clear, whatever a half had before. */
static void clearing_what_is_clear(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    uint64_t bits[40];
    assert_int_equal(hv_enable_manual_protect(vm, 1), 0);
    assert_int_equal(set(vm, 0, LOG, 0, 2000, HVA), 0);
    for (unsigned i = 0; i < 2; i++) { /* each half has had it */
        dirty_page(vcpu, 700);
        assert_int_equal(get_log(vm, 0, bits), 0);
        assert_int_equal(clear_log(vm, 0, 0, 2000, bits), 0);
    }
    uint64_t before = flushes(vm);
    assert_int_equal(clear_log(vm, 0, 640, 128, memset(bits, 0xff, sizeof bits)), 0);
    assert_int_equal(flushes(vm), before);
    assert_int_equal(get_log(vm, 0, bits), 0);
    assert_int_equal(bits[10], 0);
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
}

/* KVM_DIRTY_LOG_INITIALLY_SET. */
static void all_is_set_at_first(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 2; way++) {
        struct hv_vm *vm = new_vm();
        uint64_t bits[11], sum[2] = {0};
        assert_int_equal(hv_enable_manual_protect(vm, 3), 0);
        assert_int_equal(set(vm, 0, LOG, 0, 650, HVA), 0);
        if (way == 0) {
            assert_int_equal(get_log(vm, 0, bits), 0);
            for (unsigned i = 0; i < 11; i++) {
                assert_int_equal(bits[i], i < 10 ? UINT64_MAX : 0x3ff);
            }
        }
        assert_int_equal(hv_harvest_dirty_log(vm, 0, add_up, sum), 0);
        assert_int_equal(sum[1], 650);
        assert_int_equal(hv_harvest_dirty_log(vm, 0, add_up, sum), 0);
        assert_int_equal(sum[1], 650);
        hv_vm_destroy(vm);
    }
}

/* With and without the wider vectors: of blocks that are open all arrives, of others nothing. */
static void copying_words(void **state)
{
    (void)state;
    unsigned char to[80 * 8 + 16];
    for (unsigned n = 0; n < 4000; n++) {
        size_t count = 1 + random_below(76), at = random_below(8);
        uint64_t expected[80] = {0};
        bool avx2 = n & 1;
        if (avx2 && !__builtin_cpu_supports("avx2")) {
            continue;
        }
        struct dirty_bitmap *bitmap = dirty_bitmap_create(count * 64, false);
        assert_non_null(bitmap);
        struct dirty_half *half = bitmap->half;
        for (unsigned block = 0; block < (count + 7) / 8; block++) {
            half->opened[block] = (uint8_t)(random_below(3) ? half->epoch : half->epoch + random_below(255));
            for (unsigned i = block * 8; i < block * 8 + 8; i++) {
                half->words[i] = random_below(40) ? 0 : UINT64_C(1) << random_below(64);
                expected[i] = half->opened[block] == half->epoch ? half->words[i] : 0;
            }
        }
        memset(to, 0x77, sizeof to);
        dirty_copy_words(half, to + at, count, avx2);
        assert_memory_equal(to + at, expected, count * 8);
        assert_true(at == 0 || to[at - 1] == 0x77);
        assert_int_equal(to[at + count * 8], 0x77);
        dirty_bitmap_destroy(bitmap);
    }
}

/* What a harvest in place tells. */
struct told {
    uint64_t npages, next;
    bool *pages;
    unsigned calls;
};

static void tell(void *opaque, uint64_t first, const uint64_t *words, uint64_t npages)
{
    struct told *t = opaque;
    assert_true(first % 64 == 0 && first >= t->next && npages > 0 && npages <= t->npages - first);
    for (uint64_t page = 0; page < (npages + 63) / 64 * 64; page++) {
        bool is_set = words[page / 64] >> (page % 64) & 1;
        assert_true(!is_set || page < npages);
        if (page < npages) {
            t->pages[first + page] = is_set;
        }
    }
    t->next = first + npages;
    t->calls++;
}

/* Halves are used again and again, and what was in them is gone: many more times than there are epochs. */
static void harvests_in_place(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 6; round++) {
        struct hv_vm *vm = new_vm();
        struct hv_vcpu *vcpu = new_vcpu(vm, 0);
        uint64_t npages = 1 + random_below(round < 3 ? 3000 : 40000);
        bool *expected = calloc(npages, sizeof *expected), *pages = calloc(npages, sizeof *pages);
        unsigned calls = 0;
        assert_true(expected && pages);
        assert_int_equal(hv_enable_manual_protect(vm, round & 1), 0);
        assert_int_equal(set(vm, 3, LOG, 7, npages, HVA), 0);
        for (unsigned n = 0; n < 1100; n++) {
            memset(expected, 0, npages);
            memset(pages, 0, npages);
            for (uint64_t i = random_below(20) * random_below(3); i > 0; i--) {
                uint64_t page = random_below(npages);
                dirty_page(vcpu, 7 + page);
                expected[page] = true;
            }
            struct told told = {.npages = npages, .pages = pages};
            assert_int_equal(hv_harvest_dirty_log(vm, 3, tell, &told), 0);
            assert_memory_equal(expected, pages, npages);
            calls += told.calls;
        }
        assert_true(calls > 500);
        free(expected);
        free(pages);
        hv_vcpu_destroy(vcpu);
        hv_vm_destroy(vm);
    }
}

/* A block that is marked once, and then no more for longer than there are epochs. */
static void what_was_harvested_does_not_come_back(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    assert_int_equal(set(vm, 3, LOG, 0, 2000, HVA), 0);
    for (unsigned n = 0; n < 1100; n++) {
        uint64_t sum[2] = {0};
        dirty_page(vcpu, n < 2 ? 700 : 1200);
        assert_int_equal(hv_harvest_dirty_log(vm, 3, add_up, sum), 0);
        assert_int_equal(sum[1], 1);
        assert_int_equal(sum[0], (n < 2 ? 700 : 1200) / 64 * 64);
    }
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
}

static void what_cannot_be_harvested(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct told told = {0};
    assert_int_equal(set(vm, 0, 0, 0, 8, HVA), 0);
    assert_int_equal(hv_harvest_dirty_log(vm, 0, tell, &told), -ENOENT);
    assert_int_equal(hv_harvest_dirty_log(vm, 1, tell, &told), -ENOENT);
    assert_int_equal(hv_harvest_dirty_log(vm, 0xffff, tell, &told), -EINVAL);
    assert_int_equal(hv_harvest_dirty_log(vm, 9u << 16, tell, &told), -EINVAL);
    assert_int_equal(told.calls, 0);
    hv_vm_destroy(vm);
}

/* Two that mark in a block at once, which has something of an epoch before: both marks are there, and nothing
 * else.
 */
struct opening {
    struct dirty_bitmap *bitmap;
    atomic_uint round, done; /* the helper's last one */
    atomic_ullong at;        /* when: of the time-stamp counter, which the host's CPUs have in common */
};

#define OPENINGS 20000u

static void wait_for(atomic_uint *count, unsigned round)
{
    for (unsigned spins = 1; atomic_load(count) < round; spins++) {
        if (spins % 1000 == 0) {
            sched_yield();
        }
    }
}

static void wait_until(uint64_t at)
{
    while (__builtin_ia32_rdtsc() < at) {}
}

static void *mark_first_word(void *opaque)
{
    struct opening *o = opaque;
    for (unsigned round = 1; round <= OPENINGS; round++) {
        wait_for(&o->round, round);
        wait_until(atomic_load(&o->at));
        (void)dirty_bitmap_mark(o->bitmap, 5);
        atomic_store(&o->done, round);
    }
    return NULL;
}

static void two_open_one_block(void **state)
{
    (void)state;
    static struct opening o; /* the other thread outlives a failure */
    o.bitmap = dirty_bitmap_create(512, false);
    pthread_t thread;
    assert_non_null(o.bitmap);
    struct dirty_half *half = o.bitmap->half;
    assert_int_equal(pthread_create(&thread, NULL, mark_first_word, &o), 0);
    for (unsigned round = 1; round <= OPENINGS; round++) {
        half->epoch = (uint8_t)(1 + round % 200);
        memset(half->words, 0xff, 8 * DIRTY_BLOCK_WORDS);
        uint64_t at = __builtin_ia32_rdtsc() + 2000;
        atomic_store(&o.at, at);
        atomic_store(&o.round, round);
        wait_until(at + round % 400); /* mostly after the other: this thread has the words in its cache */
        (void)dirty_bitmap_mark(o.bitmap, 511);
        wait_for(&o.done, round);
        uint64_t expected[DIRTY_BLOCK_WORDS] = {[0] = 1 << 5, [7] = UINT64_C(1) << 63};
        assert_memory_equal(half->words, expected, sizeof expected);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    dirty_bitmap_destroy(o.bitmap);
}

static void *mark_page_5(void *opaque)
{
    return (void *)(uintptr_t)dirty_bitmap_mark(opaque, 5);
}

/* A block that another thread has not opened yet: who wants to mark waits. */
static void who_marks_waits_for_who_opens(void **state)
{
    (void)state;
    struct dirty_bitmap *bitmap = dirty_bitmap_create(512, false);
    pthread_t thread;
    void *was_clear;
    assert_non_null(bitmap);
    struct dirty_half *half = bitmap->half;
    memset(half->words, 0xff, 8 * DIRTY_BLOCK_WORDS);
    __atomic_store_n(&half->opened[0], DIRTY_BLOCK_OPENING, __ATOMIC_SEQ_CST);
    assert_int_equal(pthread_create(&thread, NULL, mark_page_5, bitmap), 0);
    nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
    assert_false(atomic_load(&bitmap->is_touched));
    for (unsigned i = 0; i < DIRTY_BLOCK_WORDS; i++) {
        __atomic_store_n(&half->words[i], 0, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&half->opened[0], half->epoch, __ATOMIC_RELEASE);
    assert_int_equal(pthread_join(thread, &was_clear), 0);
    assert_true(was_clear && atomic_load(&bitmap->is_touched) && dirty_bitmap_test(bitmap, 5));
    dirty_bitmap_destroy(bitmap);
}

/* --- under vCPUs ------------------------------------------------------------------------------------ */

#define RAM_PAGES 1200 /* three blocks */
#define WRITERS 2

/* A processor as far as the log sees one: a TLB of one entry per page, emptied when it is asked to. */
struct writer {
    struct hv_vcpu *vcpu;
    atomic_bool *stop;
    uint64_t *writable[RAM_PAGES];
    uint64_t writes, fills;
    bool forgets_a_mark; /* of one page, on purpose */
};

static void write_once(struct writer *w, uint64_t gfn, uint64_t value, uint64_t *ram)
{
    rendezvous_enter(&w->vcpu->inside);
    if (hv_request_is_pending(&w->vcpu->requests) && (hv_request_take(&w->vcpu->requests) & HV_REQUEST_FLUSH)) {
        memset(w->writable, 0, sizeof w->writable);
    }
    if (w->forgets_a_mark && gfn == 77) {
        w->writable[gfn] = ram + gfn * (PAGE / 8);
    }
    if (!w->writable[gfn]) {
        w->writable[gfn] = hv_guest_bytes(w->vcpu, mv_gpa(gfn * PAGE), MV_ACCESS_WRITE);
        w->fills++;
    }
    __atomic_store_n(w->writable[gfn], value, __ATOMIC_RELAXED);
    w->writes++;
    rendezvous_leave(&w->vcpu->inside);
}

struct world {
    struct hv_vm *vm;
    uint64_t *ram, *copy;
    atomic_bool stop;
    atomic_uint started;
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
};

static struct world *the_world;

static void *write_on(void *opaque)
{
    struct writer *w = opaque;
    uint64_t x = w->vcpu->index + 1;
    atomic_fetch_add(&the_world->started, 1);
    while (!atomic_load_explicit(w->stop, memory_order_relaxed)) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        write_once(w, (x >> 33) % RAM_PAGES, x >> 8, the_world->ram);
    }
    return NULL;
}

enum way {
    GET,
    GET_AND_CLEAR,
    IN_PLACE,
};

static void keep_words(void *opaque, uint64_t first, const uint64_t *words, uint64_t npages)
{
    memcpy((uint64_t *)opaque + first / 64, words, (npages + 63) / 64 * sizeof *words);
}

/* Copy the pages that the log names, as a migration does. */
static void copy_dirty(struct world *w, enum way way)
{
    uint64_t bits[(RAM_PAGES + 63) / 64] = {0};
    if (way == IN_PLACE) {
        assert_int_equal(hv_harvest_dirty_log(w->vm, 0, keep_words, bits), 0);
    } else {
        assert_int_equal(get_log(w->vm, 0, bits), 0);
    }
    if (way == GET_AND_CLEAR) {
        assert_int_equal(clear_log(w->vm, 0, 0, RAM_PAGES, bits), 0);
    }
    for (unsigned page = 0; page < RAM_PAGES; page++) {
        if (bits[page / 64] >> (page % 64) & 1) {
            w->copy[page] = __atomic_load_n(&w->ram[page * (PAGE / 8)], __ATOMIC_RELAXED);
        }
    }
}

/* @return pages whose last write the log has missed */
static unsigned missed(enum way way, bool forget)
{
    struct world w = {.vm = new_vm(), .stop = false};
    unsigned count = 0;
    the_world = &w;
    w.ram = aligned_alloc(PAGE, RAM_PAGES * PAGE);
    w.copy = calloc(RAM_PAGES, sizeof *w.copy);
    assert_true(w.ram && w.copy);
    memset(w.ram, 0, RAM_PAGES * PAGE);
    assert_int_equal(hv_enable_manual_protect(w.vm, way == GET_AND_CLEAR), 0);
    assert_int_equal(set(w.vm, 0, LOG, 0, RAM_PAGES, (uint64_t)(uintptr_t)w.ram), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        w.writers[i] = (struct writer){.vcpu = new_vcpu(w.vm, i), .stop = &w.stop, .forgets_a_mark = forget};
        assert_int_equal(pthread_create(&w.threads[i], NULL, write_on, &w.writers[i]), 0);
    }
    while (atomic_load(&w.started) < WRITERS) {
        sched_yield();
    }
    for (unsigned round = 0; round < 150; round++) {
        copy_dirty(&w, way);
    }
    atomic_store(&w.stop, true);
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(w.threads[i], NULL), 0);
        assert_true(w.writers[i].writes > w.writers[i].fills);
        hv_vcpu_destroy(w.writers[i].vcpu);
    }
    copy_dirty(&w, way);
    for (unsigned page = 0; page < RAM_PAGES; page++) {
        count += w.copy[page] != w.ram[page * (PAGE / 8)];
    }
    printf("# %llu writes, %llu marks asked for\n", (unsigned long long)w.writers[0].writes,
           (unsigned long long)w.writers[0].fills);
    hv_vm_destroy(w.vm);
    free(w.ram);
    free(w.copy);
    return count;
}

static void no_write_is_missed(void **state)
{
    (void)state;
    assert_int_equal(missed(GET, false), 0);
    assert_int_equal(missed(GET_AND_CLEAR, false), 0);
    assert_int_equal(missed(IN_PLACE, false), 0);
}

/* That the copy would tell. */
static void a_mark_that_is_dropped_is_found(void **state)
{
    (void)state;
    assert_int_equal(missed(GET, true), 1);
    assert_int_equal(missed(IN_PLACE, true), 1);
}

/* --- the page-modification log ---------------------------------------------------------------------- */

/* A buffer as the hardware has one. */
struct pml {
    struct hv_vcpu *vcpu;
    uint64_t gfns[8];
    unsigned count, drained;
};

static void drain(void *opaque)
{
    struct pml *pml = opaque;
    for (unsigned i = 0; i < pml->count; i++) {
        hv_mark_dirty_gfn(pml->vcpu, pml->gfns[i]);
    }
    pml->count = 0;
    pml->drained++;
}

static struct hv_vm *new_pml_vm(void)
{
    return new_vm_of((struct hv_options){.mmu = HV_MMU_EPT, .log_by = HV_LOG_BY_PML, .access_dirty = true});
}

/* A vCPU that does not come back: the harvester empties its log. */
static void the_log_of_an_idle_vcpu(void **state)
{
    (void)state;
    struct hv_vm *vm = new_pml_vm();
    struct pml pml = {.vcpu = new_vcpu(vm, 0), .gfns = {3, 5}, .count = 2};
    uint64_t bits[1];
    pml.vcpu->drain_pml = drain;
    pml.vcpu->drain_opaque = &pml;
    assert_int_equal(set(vm, 0, LOG, 0, 8, HVA), 0);
    assert_true(hv_request_take(&pml.vcpu->requests) & HV_REQUEST_LOGGING);
    assert_int_equal(get_log(vm, 0, bits), 0);
    assert_int_equal(bits[0], 1 << 3 | 1 << 5);
    assert_int_equal(pml.drained, 1);
    assert_int_equal(hv_request_take(&pml.vcpu->requests) & (HV_REQUEST_DRAIN_PML | HV_REQUEST_HELD), 0);
    pml.gfns[0] = 1, pml.count = 1;
    hv_sync_dirty(vm);
    assert_int_equal(pml.count, 0);
    hv_vcpu_destroy(pml.vcpu);
    hv_vm_destroy(vm);
}

static atomic_bool may_stop;

/* One that does: it finds the request before its next access. */
static void *run_with_pml(void *opaque)
{
    struct pml *pml = opaque;
    uint64_t x = 0;
    while (!atomic_load(&may_stop)) {
        rendezvous_enter(&pml->vcpu->inside);
        if (hv_request_is_pending(&pml->vcpu->requests) &&
            (hv_request_take(&pml->vcpu->requests) & HV_REQUEST_DRAIN_PML)) {
            drain(pml);
        }
        if (pml->count == 8) {
            drain(pml);
        }
        pml->gfns[pml->count++] = x++ % 8;
        rendezvous_leave(&pml->vcpu->inside);
    }
    return NULL;
}

static void the_log_of_a_busy_vcpu(void **state)
{
    (void)state;
    struct hv_vm *vm = new_pml_vm();
    struct pml pml = {.vcpu = new_vcpu(vm, 0)};
    pthread_t thread;
    uint64_t bits[1], all = 0;
    pml.vcpu->drain_pml = drain;
    pml.vcpu->drain_opaque = &pml;
    assert_int_equal(set(vm, 0, LOG, 0, 8, HVA), 0);
    atomic_store(&may_stop, false);
    assert_int_equal(pthread_create(&thread, NULL, run_with_pml, &pml), 0);
    for (unsigned i = 0; i < 200 || all != 0xff; i++) {
        assert_int_equal(get_log(vm, 0, bits), 0);
        all |= bits[0];
    }
    atomic_store(&may_stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    hv_vcpu_destroy(pml.vcpu);
    hv_vm_destroy(vm);
}

/* Held, a vCPU gets its requests only when it is let go. */
static void *take_requests(void *opaque)
{
    struct hv_requests *r = opaque;
    return (void *)(uintptr_t)hv_request_take(r);
}

static void held_and_let_go(void **state)
{
    (void)state;
    struct hv_requests r = {0};
    pthread_t thread;
    void *taken;
    assert_false(hv_request_hold(&r, HV_REQUEST_DRAIN_PML));
    hv_request_post(&r, HV_REQUEST_DRAIN_PML | HV_REQUEST_FLUSH);
    assert_true(hv_request_hold(&r, HV_REQUEST_DRAIN_PML));
    assert_true(hv_request_is_pending(&r));
    assert_int_equal(pthread_create(&thread, NULL, take_requests, &r), 0);
    nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
    assert_true(atomic_load(&r.pending) & HV_REQUEST_FLUSH);
    hv_request_let_go(&r);
    assert_int_equal(pthread_join(thread, &taken), 0);
    assert_int_equal((uintptr_t)taken, HV_REQUEST_FLUSH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_clears),
        cmocka_unit_test(clearing_clears_what_is_set_in_both),
        cmocka_unit_test(what_is_not_logged),
        cmocka_unit_test(random_marks),
        cmocka_unit_test(clearing_what_is_clear),
        cmocka_unit_test(all_is_set_at_first),
        cmocka_unit_test(copying_words),
        cmocka_unit_test(two_open_one_block),
        cmocka_unit_test(who_marks_waits_for_who_opens),
        cmocka_unit_test(harvests_in_place),
        cmocka_unit_test(what_was_harvested_does_not_come_back),
        cmocka_unit_test(what_cannot_be_harvested),
        cmocka_unit_test(no_write_is_missed),
        cmocka_unit_test(a_mark_that_is_dropped_is_found),
        cmocka_unit_test(the_log_of_an_idle_vcpu),
        cmocka_unit_test(the_log_of_a_busy_vcpu),
        cmocka_unit_test(held_and_let_go),
    };
    const char *seed = getenv("MEMVIRT_SEED");
    random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15u | 1;
    printf("# MEMVIRT_SEED=%llu\n", (unsigned long long)random_state);
    return cmocka_run_group_tests_name("dirty", tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
/*
 * Four vCPUs with TLBs fault, while host ranges go away, are aged and write-protected, slots come and go, and the
 * dirty log is read. What must hold:
 *   - no vCPU uses a byte of a host range between begin and end of its notification, nor of a slot that is gone;
 *   - who copies a page after the log has named it, as a migration does, has at the end what is in memory: no
 * write was missed. This oracle finds a mark that is dropped on purpose. Meant for ThreadSanitizer as well: pages
 * are read and written by atomics.
 */
#include "hypervisor/tdp_test.h"

#include <sched.h>
#include <unistd.h>

#define VCPUS 4u
#define LOGGED_PAGES 1536u /* slot 0, from gfn 0; three large pages */
#define OTHER_GFN 4096u    /* slots 1 and 2, which come and go */
#define OTHER_PAGES 512u
#define RAM_PAGES 4096u
#define TLB_ENTRIES 64u
#define HOT_PAGES 16u
#define EPOCHS 3u

/* The beginning of each page of RAM. */
struct page {
    atomic_uint_fast64_t writes;
    atomic_uint_fast64_t number;  /* of the page in RAM: constant */
    atomic_uint_fast64_t is_gone; /* between begin and end */
};

static struct {
    struct rig rig;
    struct hv_vcpu *vcpus[VCPUS];
    uint64_t copies[LOGGED_PAGES];
    bool is_manual;
    pthread_mutex_t harvesting;
    atomic_bool stop;
    atomic_uint failures;
    pthread_barrier_t barrier;
    atomic_uint rounds[3]; /* of the harvester, the host, the editor */
    atomic_uint epoch;     /* that goes on; vCPUs rest when theirs is over */
} world;

static struct page *page_at(uint64_t hva)
{
    return (struct page *)(uintptr_t)hva;
}

static void expect(bool holds, const char *what)
{
    if (!holds && atomic_fetch_add(&world.failures, 1) < 5) {
        printf("# %s\n", what);
    }
}

struct tlb_entry {
    uint64_t gfn, hva;
    bool r, w, x;
};

struct player {
    struct hv_vcpu *vcpu;
    uint64_t seed;
    struct tlb_entry tlb[TLB_ENTRIES];
};

static uint64_t below(uint64_t *seed, uint64_t n)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (*seed >> 33) % n;
}

static void empty_tlb(struct player *p)
{
    for (unsigned i = 0; i < TLB_ENTRIES; i++) {
        p->tlb[i].gfn = UINT64_MAX;
    }
}

/* The bytes, as the guest's instruction gets at them. */
static void use(uint64_t gfn, uint64_t hva, enum mv_access kind)
{
    struct page *page = page_at(hva);
    uint64_t number = atomic_load_explicit(&page->number, memory_order_relaxed);
    expect(atomic_load_explicit(&page->is_gone, memory_order_relaxed) == 0, "a page was used after begin");
    expect(gfn >= OTHER_GFN || number == gfn, "a wrong page");
    if (kind == MV_ACCESS_WRITE) {
        atomic_fetch_add_explicit(&page->writes, 1, memory_order_relaxed);
    }
}

static struct tlb_entry *tlb_place(struct player *p, uint64_t gfn)
{
    return &p->tlb[gfn < HOT_PAGES ? gfn : HOT_PAGES + gfn % (TLB_ENTRIES - HOT_PAGES)];
}

/* Inside; what a TLB may keep of a walk: a page that is not dirty is not kept as writable. */
static void fill_tlb(struct player *p, uint64_t gfn, const struct seen *s, enum mv_access kind)
{
    const struct hv_options *o = &p->vcpu->vm->options;
    bool knows_dirty = o->mmu == HV_MMU_NPT || o->access_dirty;
    bool is_dirty = s->d || kind == MV_ACCESS_WRITE || !knows_dirty;
    *tlb_place(p, gfn) = (struct tlb_entry){gfn, s->hva, s->r, s->w && is_dirty, s->x};
}

static bool try_touch(struct player *p, uint64_t gfn, enum mv_access kind)
{
    struct hv_vcpu *vcpu = p->vcpu;
    unsigned requests = hv_request_is_pending(&vcpu->requests) ? hv_request_take(&vcpu->requests) : 0;
    if (requests & (HV_REQUEST_FLUSH | HV_REQUEST_RELOAD_ROOT)) {
        empty_tlb(p);
    }
    if (requests & HV_REQUEST_RELOAD_ROOT) {
        expect(vcpu->vm->mmu->load_root(vcpu) == 0, "no root");
    }
    const struct tlb_entry *t = tlb_place(p, gfn);
    if (t->gfn == gfn && (kind == MV_ACCESS_WRITE ? t->w : kind == MV_ACCESS_FETCH ? t->x : t->r)) {
        use(gfn, t->hva, kind);
        return true;
    }
    struct seen s = see_by(vcpu->vm, vcpu->root, gfn);
    if (seen_allows(&s, kind)) {
        if (!set_accessed_dirty(vcpu, gfn, &s, kind)) {
            return false;
        }
        fill_tlb(p, gfn, &s, kind);
        use(gfn, s.hva, kind);
        return true;
    }
    struct pt_exit exit = exit_of(vcpu->vm, gfn, kind, &s);
    enum hv_answer answer = hv_handle_exit(vcpu, &exit);
    expect(answer == HV_RETRY || (answer == HV_EMULATE && gfn >= OTHER_GFN), "an answer");
    return answer == HV_EMULATE;
}

/* Half of all accesses go to few pages, which stay in the TLB: so a flush that is missing is noticed. */
static uint64_t some_gfn(uint64_t *seed)
{
    switch (below(seed, 8)) {
    case 0: return OTHER_GFN + below(seed, 2 * OTHER_PAGES);
    case 1:
    case 2:
    case 3: return below(seed, LOGGED_PAGES);
    default: return below(seed, HOT_PAGES);
    }
}

static void *run_vcpu(void *opaque)
{
    struct player *p = opaque;
    empty_tlb(p);
    for (unsigned epoch = 0; epoch < EPOCHS; epoch++) {
        for (unsigned i = 0; atomic_load_explicit(&world.epoch, memory_order_relaxed) == epoch; i++) {
            uint64_t gfn = some_gfn(&p->seed);
            enum mv_access kind = (enum mv_access)(below(&p->seed, 4) % 3);
            if (i % 1024 == 0) {
                sched_yield(); /* there are more threads than processors */
            }
            for (bool done = false; !done;) {
                rendezvous_enter(&p->vcpu->inside);
                done = try_touch(p, gfn, kind);
                rendezvous_leave(&p->vcpu->inside);
                if (!done && atomic_load_explicit(&p->vcpu->vm->notifier.active, memory_order_relaxed)) {
                    sched_yield(); /* who has to end it may wait for this processor */
                }
            }
        }
        pthread_barrier_wait(&world.barrier); /* the epoch ends, */
        pthread_barrier_wait(&world.barrier); /* and another begins */
    }
    return NULL;
}

/* As a migration: clear what is dirty, then copy it. `harvesting` held. */
static void harvest_locked(void)
{
    uint64_t log[LOGGED_PAGES / 64];
    get_log(&world.rig, 0, log);
    if (world.is_manual) {
        struct kvm_clear_dirty_log clear = {.slot = 0, .num_pages = LOGGED_PAGES, .dirty_bitmap = log};
        expect(hv_clear_dirty_log(world.rig.vm, &clear) == 0, "clear");
    }
    for (uint64_t i = 0; i < LOGGED_PAGES; i++) {
        if (bit_of(log, i)) {
            world.copies[i] =
                atomic_load_explicit(&page_at(page_hva(&world.rig, i))->writes, memory_order_relaxed);
        }
    }
}

static void harvest(void)
{
    pthread_mutex_lock(&world.harvesting);
    harvest_locked();
    pthread_mutex_unlock(&world.harvesting);
}

/* Pages whose copy is not what they are. */
static unsigned count_missed(void)
{
    unsigned missed = 0;
    for (uint64_t i = 0; i < LOGGED_PAGES; i++) {
        missed += world.copies[i] != page_at(page_hva(&world.rig, i))->writes;
    }
    return missed;
}

static void *run_harvester(void *opaque)
{
    (void)opaque;
    while (!atomic_load(&world.stop)) {
        harvest();
        atomic_fetch_add(&world.rounds[0], 1);
        sched_yield();
    }
    return NULL;
}

static void mark_gone(uint64_t first, uint64_t npages, uint64_t value)
{
    for (uint64_t i = first; i < first + npages; i++) {
        atomic_store_explicit(&page_at(page_hva(&world.rig, i))->is_gone, value, memory_order_relaxed);
    }
}

static void *run_host(void *opaque)
{
    (void)opaque;
    uint64_t seed = 77;
    struct hv_vm *vm = world.rig.vm;
    while (!atomic_load(&world.stop)) {
        uint64_t first = below(&seed, 2) ? 0 : below(&seed, RAM_PAGES - 600);
        uint64_t npages = 1 + below(&seed, below(&seed, 2) ? HOT_PAGES : 600);
        struct mv_range range = hva_range(&world.rig, first, npages);
        switch (below(&seed, 6)) {
        case 0: (void)hv_notifier_age(vm, range); break;
        case 1: hv_notifier_write_protect(vm, range); break;
        default:
            hv_notifier_begin(vm, range);
            mark_gone(first, npages, 1);
            usleep(100); /* for vCPUs that should not, to use it */
            mark_gone(first, npages, 0);
            hv_notifier_end(vm, range);
        }
        atomic_fetch_add(&world.rounds[1], 1);
        sched_yield();
    }
    return NULL;
}

/* Slots 1 and 2 come, are logged, move, and go; what is deleted is marked as gone until it comes back. */
static void *run_editor(void *opaque)
{
    (void)opaque;
    uint64_t seed = 99;
    struct rig *rig = &world.rig;
    while (!atomic_load(&world.stop)) {
        uint32_t id = 1 + (uint32_t)below(&seed, 2);
        uint64_t gfn = OTHER_GFN + (id - 1) * OTHER_PAGES, at = 2048 + (id - 1) * 1024;
        expect(set_slot_of(rig, id, 0, gfn, OTHER_PAGES, at) == 0, "create");
        sched_yield();
        expect(set_slot_of(rig, id, KVM_MEM_LOG_DIRTY_PAGES, gfn, OTHER_PAGES, at) == 0, "log");
        sched_yield();
        expect(set_slot_of(rig, id, 0, gfn, OTHER_PAGES, at) == 0, "end of log");
        expect(set_slot_of(rig, id, 0, gfn, 0, at) == 0, "delete");
        atomic_fetch_add(&world.rounds[2], 1);
        sched_yield();
    }
    return NULL;
}

static void open_world(const struct hv_options *options, bool manual)
{
    memset(&world, 0, sizeof(world));
    world.is_manual = manual;
    pthread_mutex_init(&world.harvesting, NULL);
    world.rig = rig_open(options, (uint64_t)RAM_PAGES << 12);
    world.vcpus[0] = world.rig.vcpu;
    if (manual) {
        assert_int_equal(hv_enable_manual_protect(world.rig.vm, 1), 0);
    }
    for (unsigned i = 1; i < VCPUS; i++) {
        assert_int_equal(hv_vcpu_create(world.rig.vm, i, &world.vcpus[i]), 0);
    }
    for (uint64_t i = 0; i < RAM_PAGES; i++) {
        page_at(page_hva(&world.rig, i))->number = i;
    }
    /* Large pages are there before the log begins. */
    assert_int_equal(set_slot_of(&world.rig, 0, 0, 0, LOGGED_PAGES, 0), 0);
    (void)touch(&world.rig, 0, MV_ACCESS_READ);
    assert_int_equal(set_slot_of(&world.rig, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, LOGGED_PAGES, 0), 0);
    pthread_barrier_init(&world.barrier, NULL, VCPUS + 1);
}

static void close_world(void)
{
    pthread_barrier_destroy(&world.barrier);
    pthread_mutex_destroy(&world.harvesting);
    check_tables(&world.rig);
    for (unsigned i = 1; i < VCPUS; i++) {
        hv_vcpu_destroy(world.vcpus[i]);
    }
    rig_close(&world.rig);
}

/* Each of the others has had its turn that often. */
static void await_rounds(unsigned n)
{
    for (unsigned i = 0; i < 3; i++) {
        while (atomic_load(&world.rounds[i]) < n) {
            usleep(1000);
        }
    }
}

static void run_all(const struct hv_options *options, bool manual)
{
    static void *(*const others[3])(void *) = {run_harvester, run_host, run_editor};
    open_world(options, manual);
    static struct player players[VCPUS];
    pthread_t vcpus[VCPUS], threads[3];
    for (unsigned i = 0; i < VCPUS; i++) {
        players[i] = (struct player){.vcpu = world.vcpus[i], .seed = i + 1};
        assert_int_equal(pthread_create(&vcpus[i], NULL, run_vcpu, &players[i]), 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, others[i], NULL), 0);
    }
    for (unsigned epoch = 0; epoch < EPOCHS; epoch++) {
        await_rounds((epoch + 1) * (getenv("MEMVIRT_TEST_LONG") ? 200 : 10));
        atomic_fetch_add(&world.epoch, 1);
        pthread_barrier_wait(&world.barrier); /* no vCPU writes now */
        if (epoch + 1 == EPOCHS) {
            atomic_store(&world.stop, true);
            for (unsigned i = 0; i < 3; i++) {
                pthread_join(threads[i], NULL);
            }
        }
        pthread_mutex_lock(&world.harvesting);
        harvest_locked();
        assert_int_equal(count_missed(), 0);
        pthread_mutex_unlock(&world.harvesting);
        pthread_barrier_wait(&world.barrier);
    }
    for (unsigned i = 0; i < VCPUS; i++) {
        pthread_join(vcpus[i], NULL);
    }
    assert_int_equal(world.failures, 0);
    struct hv_counters c = counters_of(&world.rig);
    printf("# %u notifications, %u slot changes, %u harvests; %u faults, %u fast, %u splits, %u collapses, "
           "%u tables zapped\n",
           (unsigned)world.rig.vm->notifier.sequence, (unsigned)world.rig.vm->slots[0]->generation / 2,
           world.rounds[0], (unsigned)c.pf_taken, (unsigned)c.pf_fast, (unsigned)c.splits, (unsigned)c.collapses,
           (unsigned)c.tables_zapped);
    close_world();
}

/* Every way to keep the log, with both formats. */
static void test_threads(void **state)
{
    (void)state;
    static const struct {
        enum hv_mmu_kind mmu;
        enum hv_log_by log_by;
        bool access_dirty, eager, manual;
        uint8_t level_max;
    } cases[] = {
        {HV_MMU_EPT, HV_LOG_BY_WRITE_PROTECTION, true, false, false, 2},
        {HV_MMU_EPT, HV_LOG_BY_DIRTY_BIT, true, true, false, 2},
        {HV_MMU_EPT, HV_LOG_BY_PML, true, false, true, 2},
        {HV_MMU_EPT, HV_LOG_BY_WRITE_PROTECTION, false, true, true, 2},
        {HV_MMU_NPT, HV_LOG_BY_WRITE_PROTECTION, true, false, false, 1},
        {HV_MMU_NPT, HV_LOG_BY_DIRTY_BIT, true, false, true, 2},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hv_options options = *rig_defaults();
        options.mmu = cases[i].mmu;
        options.log_by = cases[i].log_by;
        options.access_dirty = cases[i].access_dirty;
        options.eager_split = cases[i].eager;
        options.nx_huge_pages = i & 1;
        options.level_max = cases[i].level_max;
        run_all(&options, cases[i].manual);
    }
}

/* The oracle sees a write that the log was made to forget. */
static void test_dropped_mark(void **state)
{
    (void)state;
    open_world(rig_defaults(), false);
    struct player p = {.vcpu = world.vcpus[0]};
    empty_tlb(&p);
    for (uint64_t gfn = 0; gfn < LOGGED_PAGES; gfn += 3) {
        for (bool done = false; !done;) {
            rendezvous_enter(&p.vcpu->inside);
            done = try_touch(&p, gfn, MV_ACCESS_WRITE);
            rendezvous_leave(&p.vcpu->inside);
        }
    }
    struct dirty_bitmap *bitmap = hv_slot_of_id(world.rig.vm->slots[0], 0)->dirty;
    assert_true(dirty_bitmap_test(bitmap, 300));
    bitmap->half->words[300 / 64] &= ~(UINT64_C(1) << (300 % 64));
    harvest();
    assert_int_equal(count_missed(), 1);
    close_world();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_dropped_mark),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

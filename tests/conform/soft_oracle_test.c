// SPDX-License-Identifier: MIT
/*
 * The dirty log against the bytes, in every logging mode: four vCPU threads write while an editor moves windows on
 * the same memory and a harvester takes the log and copies the pages that it names. At the end of each epoch,
 * when all rest, the log is taken once more, and then the copy is what the memory is, in all pages: the guest's
 * tables are among them, whose A and D bits the walks set. A page that differs was missed.
 *
 * Where a VM harvests in place it gets and clears every other epoch here, by KVM's calls.
 *
 * So that this means something, marks are dropped on purpose, and the oracle has to find it: the hypervisor's own
 * as it makes them, and what it is told to clear, more than was fetched.
 */
#include "tests/conform/soft_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "hypervisor/hv.h"

#define PAGE UINT64_C(4096)
#define RAM_PAGES ((GUEST_DATA >> 12) + WORLD_RAM_PAGES) /* all that is used */

/* --- Dropping ---------------------------------------------------------------------------------------------- */

/* The how manyth mark from now on is to be dropped; 0: none. The vCPUs' threads count. */
static atomic_int mark_to_drop;
static atomic_bool widens_clears;

static bool drops_this(void)
{
    int left = atomic_load(&mark_to_drop);
    while (left > 0 && !atomic_compare_exchange_weak(&mark_to_drop, &left, left - 1)) {}
    return left == 1;
}

void __real_hv_mark_dirty(struct hv_vcpu *vcpu, const struct hv_slot *slot, uint64_t gfn);
void __wrap_hv_mark_dirty(struct hv_vcpu *vcpu, const struct hv_slot *slot, uint64_t gfn);
void __real_hv_mark_dirty_gfn(struct hv_vcpu *vcpu, uint64_t gfn);
void __wrap_hv_mark_dirty_gfn(struct hv_vcpu *vcpu, uint64_t gfn);
int __real_hv_clear_dirty_log(struct hv_vm *vm, const struct kvm_clear_dirty_log *log);
int __wrap_hv_clear_dirty_log(struct hv_vm *vm, const struct kvm_clear_dirty_log *log);
int __real_hv_harvest_dirty_log(struct hv_vm *vm, uint32_t slot, hv_dirty_fn *each, void *opaque);
int __wrap_hv_harvest_dirty_log(struct hv_vm *vm, uint32_t slot, hv_dirty_fn *each, void *opaque);

/* A write that was noticed by a fault, or by the bus. */
void __wrap_hv_mark_dirty(struct hv_vcpu *vcpu, const struct hv_slot *slot, uint64_t gfn)
{
    if (!drops_this()) {
        __real_hv_mark_dirty(vcpu, slot, gfn);
    }
}

/* An entry of a page-modification log. */
void __wrap_hv_mark_dirty_gfn(struct hv_vcpu *vcpu, uint64_t gfn)
{
    if (!drops_this()) {
        __real_hv_mark_dirty_gfn(vcpu, gfn);
    }
}

static atomic_bool gets_and_clears; /* and does not harvest in place */

/* What was written since the log was fetched is forgotten with the rest. */
int __wrap_hv_clear_dirty_log(struct hv_vm *vm, const struct kvm_clear_dirty_log *log)
{
    struct kvm_clear_dirty_log wide = *log;
    size_t bytes = (wide.num_pages + 63) / 64 * 8;
    void *all = atomic_load(&widens_clears) ? malloc(bytes + 1) : NULL;
    if (all) {
        nanosleep(&(struct timespec){.tv_nsec = 200 * 1000}, NULL);
        wide.dirty_bitmap = memset(all, 0xff, bytes);
    }
    int rc = __real_hv_clear_dirty_log(vm, &wide);
    free(all);
    return rc;
}

/* With KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, which soft has on. */
static int get_and_clear(struct hv_vm *vm, uint32_t id, uint64_t npages, uint64_t *bits)
{
    int rc = hv_get_dirty_log(vm, &(struct kvm_dirty_log){.slot = id, .dirty_bitmap = bits});
    if (rc < 0) {
        return rc;
    }
    struct kvm_clear_dirty_log log = {.slot = id, .num_pages = (uint32_t)npages, .dirty_bitmap = bits};
    return __wrap_hv_clear_dirty_log(vm, &log);
}

int __wrap_hv_harvest_dirty_log(struct hv_vm *vm, uint32_t slot, hv_dirty_fn *each, void *opaque)
{
    if (!atomic_load(&gets_and_clears) && !atomic_load(&widens_clears)) {
        return __real_hv_harvest_dirty_log(vm, slot, each, opaque);
    }
    pthread_mutex_lock(&vm->slots_lock);
    const struct hv_slot *found = hv_slot_of_id(vm->slots[slot >> 16], slot & 0xffff);
    uint64_t npages = found ? found->npages : 0;
    pthread_mutex_unlock(&vm->slots_lock);
    uint64_t *bits = calloc((npages + 63) / 64 + 1, 8);
    assert_non_null(bits);
    int rc = get_and_clear(vm, slot, npages, bits);
    if (rc == 0) {
        each(opaque, 0, bits, npages);
    }
    free(bits);
    return rc;
}

/* --- The oracle -------------------------------------------------------------------------------------------- */

static const struct mode {
    const char *accel;
    uint32_t ring_entries;
} modes[] = {
    {"soft,mmu=native", 0},
    {"soft,mmu=native", 1024},
    {"soft,mmu=native,tlb=L1=64x4:L2=1536x12,walk-caches=on", 0},
    {"soft,mmu=ept,log-by=write-protection,eager-split=on", 0},
    {"soft,mmu=ept,log-by=write-protection,eager-split=on", 1024},
    {"soft,mmu=ept,log-by=write-protection,eager-split=off", 0},
    {"soft,mmu=ept,log-by=dirty-bit,eager-split=on", 0},
    {"soft,mmu=ept,log-by=dirty-bit,eager-split=off,nested-tlb=on,tlb=L1=64x4:L2=1536x12", 0},
    {"soft,mmu=ept,log-by=pml,eager-split=on", 0},
    {"soft,mmu=ept,log-by=pml,eager-split=off", 0},
    {"soft,mmu=ept,log-by=pml,eager-split=on", 2048},
    {"soft,mmu=ept,access-dirty=off,eager-split=on", 0},
    {"soft", 1024},
    {"soft,mmu=npt", 1024},
    {"soft,mmu=npt,log-by=write-protection,eager-split=on", 0},
    {"soft,mmu=npt,log-by=write-protection,eager-split=on", 1024},
    {"soft,mmu=npt,log-by=dirty-bit,nx-huge-pages=on,eager-split=on", 0},
    {"soft,mmu=npt,log-by=dirty-bit,eager-split=off,walk-caches=on,nested-tlb=on", 0},
    {"soft,mmu=shadow", 0},
    {"soft,mmu=shadow,unsync=off,tlb=L1=64x4:L2=1536x12", 1024},
    {"soft,mmu=hybrid,policy-interval=64", 0},
    {"soft,mmu=hybrid,policy=nested,eager-split=on", 1024},
    {"soft,mmu=hybrid,policy=nest-1,tlb=L1=64x4:L2=1536x12", 0},
};
#define MODES (sizeof modes / sizeof modes[0])

#define EPOCHS 3u
#define STEPS 1500u
#define EDITS 4u
#define HARVESTS 3u

struct part {
    struct mv_region *region;
    const uint8_t *host;
    uint64_t pages;
    uint8_t *copy;
};

struct oracle {
    struct world world;
    struct part parts[2]; /* the RAM and the bank */
    uint64_t copied;
};

/* The guest may be writing. */
static void copy_page(struct part *part, uint64_t page)
{
    const uint64_t *from = (const uint64_t *)(const void *)(part->host + page * PAGE);
    uint64_t *to = (uint64_t *)(void *)(part->copy + page * PAGE);
    for (unsigned i = 0; i < PAGE / 8; i++) {
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    }
}

/* First the marks, then the bytes. */
static void harvest(struct oracle *o)
{
    for (unsigned k = 0; k < 2; k++) {
        struct part *part = &o->parts[k];
        struct mv_dirty_snapshot *snapshot;
        struct mv_range range;
        uint64_t end = part->pages * PAGE;
        assert_int_equal(mv_dirty_snapshot_and_clear(part->region, 0, end, MV_DIRTY_MIGRATION, &snapshot, NULL),
                         0);
        for (uint64_t at = 0; at < end && mv_dirty_snapshot_next(snapshot, at, &range); at = range.last + 1) {
            for (uint64_t page = range.first / PAGE; page <= range.last / PAGE; page++) {
                copy_page(part, page);
                o->copied++;
            }
        }
        mv_dirty_snapshot_free(snapshot);
    }
}

/* @return how many pages the log did not name although they have changed; with `first`, which is one */
static unsigned count_missed(struct oracle *o, uint64_t *first)
{
    unsigned missed = 0;
    for (unsigned k = 0; k < 2; k++) {
        for (uint64_t page = 0; page < o->parts[k].pages; page++) {
            if (memcmp(o->parts[k].copy + page * PAGE, o->parts[k].host + page * PAGE, PAGE) != 0) {
                *first = missed++ ? *first : (uint64_t)k << 32 | page;
                copy_page(&o->parts[k], page);
            }
        }
    }
    return missed;
}

static void *run_editor(void *opaque)
{
    struct oracle *o = opaque;
    for (unsigned i = 0; i < EDITS; i++) {
        world_wait(&o->world, 300);
        (void)world_edit(&o->world);
    }
    world_done(&o->world);
    return NULL;
}

static unsigned epoch(struct oracle *o, uint64_t *first)
{
    pthread_t editor;
    o->world.steps = STEPS;
    world_start(&o->world, 2);
    assert_int_equal(pthread_create(&editor, NULL, run_editor, o), 0);
    for (unsigned i = 0; i < HARVESTS; i++) {
        world_wait(&o->world, 400);
        harvest(o);
    }
    world_done(&o->world);
    pthread_join(editor, NULL);
    world_join(&o->world);
    harvest(o);
    return count_missed(o, first);
}

static void make(struct oracle *o, const struct mode *mode, uint64_t seed)
{
    uint64_t first;
    world_make(&o->world, mode->accel, mode->ring_entries, seed);
    o->parts[0] = (struct part){.region = o->world.guest.ram, .host = o->world.guest.host, .pages = RAM_PAGES};
    o->parts[1] = (struct part){.region = o->world.bank, .host = o->world.bank_host, .pages = WORLD_BANK_PAGES};
    for (unsigned k = 0; k < 2; k++) {
        o->parts[k].copy = calloc(o->parts[k].pages, PAGE);
        assert_non_null(o->parts[k].copy);
    }
    /* Touched before the log begins: there are translations that may write. */
    o->world.steps = STEPS;
    world_start(&o->world, 0);
    world_join(&o->world);
    assert_int_equal(mv_dirty_log_start(o->world.guest.machine, MV_DIRTY_LOG_MIGRATION, NULL), 0);
    harvest(o);
    (void)count_missed(o, &first); /* takes all that was there before */
    o->copied = 0;
}

static void end(struct oracle *o)
{
    assert_int_equal(mv_dirty_log_stop(o->world.guest.machine, MV_DIRTY_LOG_MIGRATION, NULL), 0);
    free(o->parts[0].copy);
    free(o->parts[1].copy);
    world_end(&o->world);
}

static void no_page_is_missed(void **state)
{
    (void)state;
    static struct oracle o;
    uint64_t seed = world_seed();
    for (size_t i = 0; i < MODES; i++) {
        make(&o, &modes[i], seed + i);
        for (uint64_t k = 0; k < world_amount(EPOCHS); k++) {
            uint64_t first = 0;
            atomic_store(&gets_and_clears, k % 2 == 1);
            unsigned missed = epoch(&o, &first);
            atomic_store(&gets_and_clears, false);
            if (missed > 0) {
                fail_msg("%s, %u entries, epoch %llu: %u pages missed, such as page %llu of the %s",
                         modes[i].accel, modes[i].ring_entries, (unsigned long long)k, missed,
                         (unsigned long long)(first & UINT32_MAX), first >> 32 ? "bank" : "RAM");
            }
        }
        assert_true(o.copied > 0);
        /* The log is worth something: it does not name all pages each time. */
        assert_true(o.copied < world_amount(EPOCHS) * (HARVESTS + 1) * (RAM_PAGES + WORLD_BANK_PAGES) / 2);
        end(&o);
    }
}

/* Not every mark is of a page that has changed, nor the only one of its page: try some. */
#define TRIES 40u

static void must_be_found(const struct mode *mode, bool by_clear, uint64_t seed)
{
    static struct oracle o;
    uint64_t first = 0;
    unsigned missed = 0;
    make(&o, mode, seed);
    assert_int_equal(epoch(&o, &first), 0);
    for (unsigned i = 0; i < TRIES && missed == 0; i++) {
        atomic_store(&mark_to_drop, by_clear ? 0 : (int)(20 + 17 * i));
        atomic_store(&widens_clears, by_clear);
        missed = epoch(&o, &first);
        atomic_store(&mark_to_drop, 0);
        atomic_store(&widens_clears, false);
    }
    if (missed == 0) {
        fail_msg("%s, %u entries: what was dropped was not found", mode->accel, mode->ring_entries);
    }
    end(&o);
}

static void a_dropped_mark_is_found(void **state)
{
    (void)state;
    static const struct mode marking[] = {
        {"soft,mmu=native", 0},
        {"soft,mmu=native", 1024},
        {"soft,mmu=ept,log-by=write-protection,eager-split=on", 0},
        {"soft,mmu=ept,log-by=write-protection,eager-split=on", 1024},
        {"soft,mmu=ept,log-by=pml,eager-split=on", 0},
        {"soft,mmu=ept,log-by=pml,eager-split=on", 2048},
        {"soft,mmu=ept,access-dirty=off,eager-split=on", 0},
        {"soft,mmu=npt,log-by=write-protection,eager-split=on", 0},
        {"soft,mmu=shadow", 0},
        {"soft,mmu=hybrid,policy=nest-2", 0},
    };
    uint64_t seed = world_seed();
    for (size_t i = 0; i < sizeof marking / sizeof marking[0]; i++) {
        must_be_found(&marking[i], false, seed + i);
    }
}

static void a_mark_that_is_cleared_unseen_is_found(void **state)
{
    (void)state;
    static const struct mode clearing[] = {
        {"soft,mmu=native", 0},
        {"soft,mmu=ept,log-by=write-protection,eager-split=on", 0},
        {"soft,mmu=ept,log-by=dirty-bit,eager-split=on", 0},
        {"soft,mmu=ept,log-by=pml,eager-split=on", 0},
        {"soft,mmu=npt,log-by=dirty-bit,eager-split=off", 0},
        {"soft,mmu=shadow", 0},
        {"soft,mmu=hybrid,policy=nest-2", 0},
    };
    uint64_t seed = world_seed();
    for (size_t i = 0; i < sizeof clearing / sizeof clearing[0]; i++) {
        must_be_found(&clearing[i], true, seed + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_page_is_missed),
        cmocka_unit_test(a_dropped_mark_is_found),
        cmocka_unit_test(a_mark_that_is_cleared_unseen_is_found),
    };
    return cmocka_run_group_tests_name("soft_oracle", tests, NULL, NULL);
}

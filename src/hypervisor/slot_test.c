// SPDX-License-Identifier: MIT
/* What is not seen through KVM's calls: generations, lookups by gfn and by hva, the INVALID window, its cost. */
#include "hypervisor/slot.h"

#include <pthread.h>
#include <sched.h>

#include "hypervisor/hv_test.h"

static uint64_t random_state = 88172645463325252u;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

static uint64_t generation(const struct hv_vm *vm, unsigned space)
{
    return atomic_load(&vm->slots[space]->generation);
}

static const struct hv_slot *at(const struct hv_vm *vm, uint64_t gfn)
{
    unsigned hint = (unsigned)random_below(100000);
    const struct hv_slot *slot = hv_slot_of_gfn(vm->slots[0], gfn, &hint);
    assert_ptr_equal(hv_slot_of_gfn(vm->slots[0], gfn, &hint), slot);
    return slot;
}

/* --- generations -------------------------------------------------------------------------------- */

static void one_swap_or_two(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    assert_int_equal(generation(vm, 0), 0);
    assert_int_equal(generation(vm, 1), 1);
    assert_int_equal(set(vm, 0, 0, 16, 4, HVA), 0); /* create */
    assert_int_equal(generation(vm, 0), 2);
    assert_int_equal(set(vm, 0, 0, 16, 4, HVA), 0); /* nothing */
    assert_int_equal(generation(vm, 0), 2);
    assert_int_equal(set(vm, 0, LOG, 16, 4, HVA), 0); /* flags */
    assert_int_equal(generation(vm, 0), 4);
    assert_int_equal(set(vm, 0, LOG, 32, 4, HVA), 0); /* move */
    assert_int_equal(generation(vm, 0), 8);
    assert_int_equal(set(vm, 0, 0, 33, 4, HVA), 0); /* move, and flags with it */
    assert_int_equal(generation(vm, 0), 12);
    assert_int_equal(set(vm, 0, 0, 0, 0, 0), 0); /* delete */
    assert_int_equal(generation(vm, 0), 16);
    assert_int_equal(set(vm, 1u << 16, 0, 0, 1, HVA), 0);
    assert_int_equal(generation(vm, 0), 16);
    assert_int_equal(generation(vm, 1), 3);
    hv_vm_destroy(vm);
}

static void a_refused_change_counts_only_if_it_had_begun(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    assert_int_equal(set(vm, 0, 0, 16, 4, HVA), 0);
    assert_int_equal(set(vm, 1, 0, 18, 4, HVA), -EEXIST);
    assert_int_equal(set(vm, 1, 0, vm->max_gfn, 2, HVA), -EINVAL);
    assert_int_equal(set(vm, 0, 0, 16, 5, HVA), -EINVAL);
    assert_int_equal(generation(vm, 0), 2);
    /* KVM finds out that the last page is too high when the old slot is INVALID already. */
    const struct hv_slot *slot = at(vm, 16);
    assert_int_equal(set(vm, 0, 0, vm->max_gfn - 2, 4, HVA), -EINVAL);
    assert_int_equal(generation(vm, 0), 6);
    assert_ptr_equal(at(vm, 16), slot);
    assert_null(at(vm, vm->max_gfn));
    assert_int_equal(vm->slots[0]->count, 1);
    assert_int_equal(set(vm, 0, 0, vm->max_gfn - 3, 4, HVA), 0);
    assert_ptr_equal(at(vm, vm->max_gfn), hv_slot_of_id(vm->slots[0], 0));
    hv_vm_destroy(vm);
}

/* A scheme that writes down what it is asked. */
static struct {
    unsigned zap_all, zap_gfns, log_start, log_stop, collect;
    uint64_t first, last;
    bool saw_invalid, saw_updating;
} seen;

static void look(const struct hv_vm *vm)
{
    unsigned hint = 0;
    const struct hv_slot *slot = hv_slot_of_gfn(vm->slots[0], 16, &hint);
    seen.saw_invalid = slot && (slot->flags & HV_SLOT_INVALID);
    seen.saw_updating = (atomic_load(&vm->slots[0]->generation) & HV_GENERATION_UPDATING) != 0;
}

static bool note_zap_all(struct hv_vm *vm)
{
    seen.zap_all++;
    look(vm);
    return true;
}

static bool note_zap_gfns(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last)
{
    (void)slot;
    seen.zap_gfns++;
    seen.first = first;
    seen.last = last;
    look(vm);
    return false;
}

static bool note_log_start(struct hv_vm *vm, const struct hv_slot *slot)
{
    (void)vm;
    (void)slot;
    seen.log_start++;
    return false;
}

static bool note_log_stop(struct hv_vm *vm, const struct hv_slot *slot)
{
    (void)vm;
    (void)slot;
    seen.log_stop++;
    return true;
}

static void note_collect(struct hv_vm *vm)
{
    (void)vm;
    seen.collect++;
}

static struct hv_vm *new_watched_vm(struct hv_mmu_ops *ops)
{
    struct hv_vm *vm = new_vm();
    *ops = *vm->mmu;
    ops->zap_all = note_zap_all;
    ops->zap_gfns = note_zap_gfns;
    ops->log_start = note_log_start;
    ops->log_stop = note_log_stop;
    ops->collect = note_collect;
    vm->mmu = ops;
    memset(&seen, 0, sizeof seen);
    return vm;
}

/* DELETE and MOVE zap everything, when the slot is INVALID and nobody uses it; CREATE and FLAGS nothing. */
static void what_is_zapped(void **state)
{
    (void)state;
    struct hv_mmu_ops ops;
    struct hv_vm *vm = new_watched_vm(&ops);
    assert_int_equal(set(vm, 0, 0, 16, 4, HVA), 0);
    assert_int_equal(set(vm, 0, LOG, 16, 4, HVA), 0);
    assert_int_equal(seen.log_start, 1);
    assert_int_equal(flushes(vm), 1);
    assert_int_equal(set(vm, 0, 0, 16, 4, HVA), 0);
    assert_int_equal(seen.log_stop, 1);
    assert_int_equal(flushes(vm), 2);
    assert_int_equal(seen.zap_all + seen.zap_gfns, 0);
    assert_int_equal(set(vm, 0, 0, 0, 0, 0), 0);
    assert_int_equal(seen.zap_all, 1);
    assert_true(seen.saw_invalid);
    assert_false(seen.saw_updating);
    assert_int_equal(flushes(vm), 3);
    assert_true(seen.collect >= 1);
    assert_int_equal(set(vm, 0, 0, 16, 4, HVA), 0);
    assert_int_equal(set(vm, 0, LOG, 80, 4, HVA), 0); /* moved: nothing is mapped there yet */
    assert_int_equal(seen.zap_all, 2);
    assert_int_equal(seen.log_start, 1);
    vm->options.zap_slot_only = true;
    assert_int_equal(set(vm, 0, 0, 0, 0, 0), 0);
    assert_int_equal(seen.zap_all, 2);
    assert_int_equal(seen.zap_gfns, 1);
    assert_int_equal(seen.first, 80);
    assert_int_equal(seen.last, 83);
    hv_vm_destroy(vm);
}

/* A read-only slot is not written, so logging it changes nothing in the tables. */
static void logging_a_readonly_slot(void **state)
{
    (void)state;
    struct hv_mmu_ops ops;
    struct hv_vm *vm = new_watched_vm(&ops);
    assert_int_equal(set(vm, 0, KVM_MEM_READONLY, 16, 4, HVA), 0);
    assert_int_equal(set(vm, 0, KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES, 16, 4, HVA), 0);
    assert_int_equal(seen.log_start, 0);
    assert_int_equal(atomic_load(&vm->logged_slots), 1);
    assert_int_equal(set(vm, 0, KVM_MEM_READONLY, 16, 4, HVA), 0);
    assert_int_equal(atomic_load(&vm->logged_slots), 0);
    hv_vm_destroy(vm);
}

/* 19 bits, in steps of 2: everything goes once in 2^18 swaps. */
static void the_generation_comes_round(void **state)
{
    (void)state;
    struct hv_mmu_ops ops;
    struct hv_vm *vm = new_watched_vm(&ops);
    for (unsigned space = 0; space < 2; space++) {
        uint32_t id = space << 16;
        memset(&seen, 0, sizeof seen);
        atomic_store(&vm->slots[space]->generation, (UINT64_C(5) << 19) - 6 + space);
        assert_int_equal(set(vm, id, 0, 16, 4, HVA), 0);
        assert_int_equal(set(vm, id, LOG, 16, 4, HVA), 0);
        assert_int_equal(seen.zap_all, 0);
        assert_int_equal(set(vm, id, 0, 16, 4, HVA), 0);
        assert_int_equal(generation(vm, space), (UINT64_C(5) << 19) + space);
        assert_int_equal(seen.zap_all, 1);
        assert_int_equal(set(vm, id, LOG, 16, 4, HVA), 0);
        assert_int_equal(seen.zap_all, 1);
    }
    hv_vm_destroy(vm);
}

/* --- lookups ------------------------------------------------------------------------------------- */

static void the_largest_page(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    assert_int_equal(set(vm, 0, 0, 0, 4, HVA), 0);
    assert_int_equal(at(vm, 0)->level_max, 3);
    assert_int_equal(set(vm, 1, 0, 8, 4, HVA + 8 * PAGE), 0);
    assert_int_equal(at(vm, 8)->level_max, 3);
    assert_int_equal(set(vm, 2, 0, 16, 4, HVA), 0);
    assert_int_equal(at(vm, 16)->level_max, 1);
    assert_int_equal(set(vm, 3, 0, 512, 4, HVA), 0);
    assert_int_equal(at(vm, 512)->level_max, 2);
    hv_vm_destroy(vm);
}

struct found {
    const struct hv_slot *slots[64];
    uint64_t first[64], last[64];
    unsigned count;
};

static void note_found(void *opaque, const struct hv_slot *slot, uint64_t first_gfn, uint64_t last_gfn)
{
    struct found *f = opaque;
    assert_true(f->count < 64);
    f->slots[f->count] = slot;
    f->first[f->count] = first_gfn;
    f->last[f->count++] = last_gfn;
}

static void host_pages_that_several_slots_show(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct found f = {0};
    assert_int_equal(set(vm, 0, 0, 0, 16, HVA), 0);
    assert_int_equal(set(vm, 1, 0, 100, 4, HVA + 2 * PAGE), 0);
    assert_int_equal(set(vm, 2, 0, 200, 16, HVA + 16 * PAGE), 0);
    hv_slots_of_hva(vm->slots[0], (struct mv_range){HVA + 3 * PAGE + 5, HVA + 6 * PAGE}, note_found, &f);
    assert_int_equal(f.count, 2);
    assert_int_equal(f.slots[0]->id, 0);
    assert_int_equal(f.first[0], 3);
    assert_int_equal(f.last[0], 6);
    assert_int_equal(f.slots[1]->id, 1);
    assert_int_equal(f.first[1], 101);
    assert_int_equal(f.last[1], 103);
    f.count = 0;
    hv_slots_of_hva(vm->slots[0], (struct mv_range){HVA + 32 * PAGE, UINT64_MAX}, note_found, &f);
    hv_slots_of_hva(vm->slots[0], (struct mv_range){0, HVA - 1}, note_found, &f);
    assert_int_equal(f.count, 0);
    hv_slots_of_hva(vm->slots[0], (struct mv_range){0, UINT64_MAX}, note_found, &f);
    assert_int_equal(f.count, 3);
    hv_vm_destroy(vm);
}

#define SPACE_PAGES 512
#define IDS 40

/* Random slots against a plain list. */
static void lookups_against_a_list(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct {
        uint64_t gfn, npages, hva;
    } list[IDS] = {0};
    for (unsigned n = 0; n < 4000; n++) {
        unsigned id = (unsigned)random_below(IDS);
        uint64_t gfn = random_below(SPACE_PAGES), npages = 1 + random_below(24),
                 hva = HVA + random_below(32) * PAGE;
        if (list[id].npages != 0) {
            assert_int_equal(set(vm, id, 0, 0, 0, 0), 0);
            list[id].npages = 0;
        } else if (set(vm, id, 0, gfn, npages, hva) == 0) {
            list[id].gfn = gfn, list[id].npages = npages, list[id].hva = hva;
        }
        uint64_t probe = random_below(SPACE_PAGES + 40);
        const struct hv_slot *expected = NULL, *next = NULL;
        uint64_t first = HVA + random_below(70 * PAGE), last = first + random_below(4 * PAGE);
        unsigned showing = 0;
        for (unsigned i = 0; i < IDS; i++) {
            const struct hv_slot *s = list[i].npages ? hv_slot_of_id(vm->slots[0], i) : NULL;
            assert_ptr_equal(hv_slot_of_id(vm->slots[0], i), s);
            if (s && s->base_gfn <= probe && probe <= hv_slot_last_gfn(s)) {
                expected = s;
            }
            if (s && hv_slot_last_gfn(s) >= probe && (!next || s->base_gfn < next->base_gfn)) {
                next = s;
            }
            showing += s && s->hva.raw <= last && s->hva.raw + s->npages * PAGE > first;
        }
        assert_ptr_equal(at(vm, probe), expected);
        assert_ptr_equal(hv_slot_from_gfn(vm->slots[0], probe), next);
        struct found f = {0};
        hv_slots_of_hva(vm->slots[0], (struct mv_range){first, last}, note_found, &f);
        assert_int_equal(f.count, showing);
    }
    hv_vm_destroy(vm);
}

/* --- while vCPUs look ----------------------------------------------------------------------------- */

#define VCPUS 3

struct looker {
    struct hv_vcpu *vcpu;
    atomic_bool *stop;
    const unsigned char *memory;
    uint64_t retries, hits, misses, bad;
    atomic_bool is_looking;
};

/* Page i of the memory is filled with its number; slot 0 shows pages 0 to 7 from gfn 16 or 17 on, slot 1 from 64
 * on. */
static void look_once(struct looker *l, uint64_t gfn)
{
    rendezvous_enter(&l->vcpu->inside);
    if (hv_request_is_pending(&l->vcpu->requests)) {
        (void)hv_request_take(&l->vcpu->requests);
    }
    const unsigned char *bytes = hv_guest_bytes(l->vcpu, mv_gpa(gfn * PAGE + 7), MV_ACCESS_READ);
    if (!bytes) {
        const struct pt_exit exit = {.reason = PT_EXIT_NO_MEMORY, .gpa = mv_gpa(gfn * PAGE + 7)};
        enum hv_answer answer = hv_handle_exit(l->vcpu, &exit);
        l->retries += answer == HV_RETRY;
        l->misses += answer == HV_EMULATE;
        l->bad += answer == HV_ERROR;
    } else {
        bool is_right = gfn >= 64 ? *bytes == gfn - 64 : *bytes == gfn - 16 || *bytes == gfn - 17;
        l->bad += !is_right;
        l->hits++;
    }
    rendezvous_leave(&l->vcpu->inside);
}

static void *look_on(void *opaque)
{
    struct looker *l = opaque;
    uint64_t x = l->vcpu->index;
    while (!atomic_load_explicit(l->stop, memory_order_relaxed)) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        look_once(l, (x >> 40) % 4 == 0 ? 64 + (x >> 33) % 8 : 16 + (x >> 33) % 9);
        atomic_store_explicit(&l->is_looking, true, memory_order_relaxed);
    }
    return NULL;
}

static void an_editor_under_vcpus(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    unsigned char *memory = aligned_alloc(PAGE, 8 * PAGE);
    assert_non_null(memory);
    for (unsigned i = 0; i < 8; i++) {
        memset(memory + i * PAGE, (int)i, PAGE);
    }
    uint64_t hva = (uint64_t)(uintptr_t)memory;
    assert_int_equal(set(vm, 1, 0, 64, 8, hva), 0);
    atomic_bool stop = false;
    struct looker lookers[VCPUS];
    pthread_t threads[VCPUS];
    for (unsigned i = 0; i < VCPUS; i++) {
        lookers[i] = (struct looker){.stop = &stop, .memory = memory};
        assert_int_equal(hv_vcpu_create(vm, i, &lookers[i].vcpu), 0);
        assert_int_equal(pthread_create(&threads[i], NULL, look_on, &lookers[i]), 0);
    }
    for (unsigned i = 0; i < VCPUS; i++) {
        while (!atomic_load_explicit(&lookers[i].is_looking, memory_order_relaxed)) {
            sched_yield();
        }
    }
    for (unsigned n = 0; n < 60; n++) {
        assert_int_equal(set(vm, 0, 0, 16, 8, hva), 0);
        assert_int_equal(set(vm, 0, 0, 17, 8, hva), 0);
        assert_int_equal(set(vm, 1, n & 1 ? LOG : 0, 64, 8, hva), 0);
        assert_int_equal(set(vm, 0, 0, 0, 0, 0), 0);
    }
    atomic_store(&stop, true);
    uint64_t hits = 0, misses = 0, retries = 0;
    for (unsigned i = 0; i < VCPUS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(lookers[i].bad, 0);
        hits += lookers[i].hits;
        misses += lookers[i].misses;
        retries += lookers[i].retries;
        hv_vcpu_destroy(lookers[i].vcpu);
    }
    printf("# %llu found, %llu not, %llu to try again\n", (unsigned long long)hits, (unsigned long long)misses,
           (unsigned long long)retries);
    assert_true(hits > 0 && misses > 0);
    hv_vm_destroy(vm);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_swap_or_two),
        cmocka_unit_test(a_refused_change_counts_only_if_it_had_begun),
        cmocka_unit_test(what_is_zapped),
        cmocka_unit_test(logging_a_readonly_slot),
        cmocka_unit_test(the_generation_comes_round),
        cmocka_unit_test(the_largest_page),
        cmocka_unit_test(host_pages_that_several_slots_show),
        cmocka_unit_test(lookups_against_a_list),
        cmocka_unit_test(an_editor_under_vcpus),
    };
    return cmocka_run_group_tests_name("slot", tests, NULL, NULL);
}

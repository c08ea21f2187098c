// SPDX-License-Identifier: MIT
#include "hypervisor/dirty.h"

#include <errno.h>
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

#include "hypervisor/hv.h"
#include "hypervisor/mmu_ops.h"
#include "hypervisor/ring.h"

/* --- bitmaps ------------------------------------------------------------------------------------ */

/* Harvests go by blocks of a cache line, in vectors. */
#define BLOCK_WORDS 8u

static size_t words_of(uint64_t npages)
{
    return (size_t)((npages + 63) / 64);
}

static uint64_t *make_words(size_t count)
{
    /* Zero pages of the host until they are marked; whole blocks. */
    size_t bytes = (count + BLOCK_WORDS - 1) / BLOCK_WORDS * BLOCK_WORDS * sizeof(uint64_t);
    return calloc(1, bytes);
}

struct dirty_bitmap *dirty_bitmap_create(uint64_t npages, bool all_set)
{
    struct dirty_bitmap *bitmap = calloc(1, sizeof *bitmap);
    if (!bitmap) {
        return NULL;
    }
    bitmap->count = words_of(npages);
    bitmap->words = make_words(bitmap->count);
    bitmap->spare = make_words(bitmap->count);
    if (!bitmap->words || !bitmap->spare) {
        dirty_bitmap_destroy(bitmap);
        return NULL;
    }
    if (all_set) {
        memset(bitmap->words, 0xff, npages / 64 * sizeof(uint64_t));
        if (npages % 64 != 0) {
            bitmap->words[npages / 64] = (UINT64_C(1) << (npages % 64)) - 1;
        }
        atomic_store(&bitmap->is_touched, true);
    }
    return bitmap;
}

void dirty_bitmap_destroy(struct dirty_bitmap *bitmap)
{
    if (bitmap) {
        free(bitmap->words);
        free(bitmap->spare);
        free(bitmap);
    }
}

/*
 * Move words that nobody marks any more: they are zero then. A block that was zero is not written. `to` is the
 * caller's, of any alignment. Whole blocks.
 */
static void take_blocks(uint64_t *words, unsigned char *to, size_t count)
{
    const __m128i zero = _mm_setzero_si128();
    for (size_t i = 0; i < count; i += BLOCK_WORDS) {
        __m128i *from = (__m128i *)(void *)&words[i], *out = (__m128i *)(void *)(to + i * sizeof(uint64_t));
        __m128i a = _mm_loadu_si128(from), b = _mm_loadu_si128(from + 1), c = _mm_loadu_si128(from + 2),
                d = _mm_loadu_si128(from + 3);
        _mm_storeu_si128(out, a);
        _mm_storeu_si128(out + 1, b);
        _mm_storeu_si128(out + 2, c);
        _mm_storeu_si128(out + 3, d);
        __m128i any = _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d));
        if (_mm_movemask_epi8(_mm_cmpeq_epi8(any, zero)) != 0xffff) {
            memset(&words[i], 0, BLOCK_WORDS * sizeof(uint64_t));
        }
    }
}

/* Twice as fast, where the processor has it. */
__attribute__((target("avx2"))) static void take_blocks_avx2(uint64_t *words, unsigned char *to, size_t count)
{
    const __m256i zero = _mm256_setzero_si256();
    for (size_t i = 0; i < count; i += BLOCK_WORDS) {
        __m256i *from = (__m256i *)(void *)&words[i], *out = (__m256i *)(void *)(to + i * sizeof(uint64_t));
        __m256i a = _mm256_loadu_si256(from), b = _mm256_loadu_si256(from + 1), any = _mm256_or_si256(a, b);
        _mm256_storeu_si256(out, a);
        _mm256_storeu_si256(out + 1, b);
        if (!_mm256_testz_si256(any, any)) {
            _mm256_storeu_si256(from, zero);
            _mm256_storeu_si256(from + 1, zero);
        }
    }
}

void dirty_take_words(uint64_t *words, unsigned char *to, size_t count, bool avx2)
{
    size_t whole = count / BLOCK_WORDS * BLOCK_WORDS, rest = (count - whole) * sizeof(uint64_t);
    if (avx2) {
        take_blocks_avx2(words, to, whole);
    } else {
        take_blocks(words, to, whole);
    }
    memcpy(to + whole * sizeof(uint64_t), &words[whole], rest);
    memset(&words[whole], 0, rest);
}

static void take_words(uint64_t *words, unsigned char *to, size_t count)
{
    dirty_take_words(words, to, count, __builtin_cpu_supports("avx2") != 0);
}

static uint64_t word_at(const unsigned char *words, size_t i)
{
    uint64_t word;
    memcpy(&word, words + i * sizeof word, sizeof word);
    return word;
}

/* As it is, while it is being marked. */
static void copy_words(const struct dirty_bitmap *bitmap, unsigned char *to)
{
    for (size_t i = 0; i < bitmap->count; i++) {
        uint64_t word = __atomic_load_n(&bitmap->words[i], __ATOMIC_RELAXED);
        memcpy(to + i * sizeof word, &word, sizeof word);
    }
}

/* --- what is not in the bitmap yet --------------------------------------------------------------- */

static void drain_idle(struct hv_vcpu *vcpu)
{
    if (hv_request_hold(&vcpu->requests, HV_REQUEST_DRAIN_PML)) {
        if (vcpu->drain_pml) {
            vcpu->drain_pml(vcpu->drain_opaque);
        }
        hv_request_let_go(&vcpu->requests);
    }
}

/*
 * Each vCPU's page-modification log goes to the dirty log. A vCPU that goes on does it itself, before its next
 * access; for one that does not come back it is done here, and it is held off meanwhile.
 */
static void drain_pml(struct hv_vm *vm)
{
    hv_post_all(vm, HV_REQUEST_DRAIN_PML);
    (void)rendezvous_wait(&vm->inside);
    pthread_mutex_lock(&vm->vcpus_lock);
    for (struct hv_vcpu *vcpu = vm->vcpus; vcpu; vcpu = vcpu->next) {
        drain_idle(vcpu);
    }
    pthread_mutex_unlock(&vm->vcpus_lock);
    (void)rendezvous_wait(&vm->inside); /* who took the request first has drained now */
}

void hv_sync_dirty(struct hv_vm *vm)
{
    pthread_mutex_lock(&vm->slots_lock);
    if (vm->options.log_by == HV_LOG_BY_PML) {
        drain_pml(vm);
    }
    pthread_mutex_unlock(&vm->slots_lock);
}

/* Before the log is read. */
static void sync_slot(struct hv_vm *vm, const struct hv_slot *slot)
{
    if (vm->options.log_by == HV_LOG_BY_PML) {
        drain_pml(vm);
    }
    pthread_mutex_lock(&vm->mmu_lock);
    bool flush = vm->mmu->log_harvest(vm, slot);
    pthread_mutex_unlock(&vm->mmu_lock);
    if (flush) {
        hv_flush_all(vm);
    }
}

/* --- KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG ------------------------------------------------------ */

/* The slot of a log; 0 or -errno. */
static int slot_of_log(const struct hv_vm *vm, uint32_t slot_and_space, const struct hv_slot **ret)
{
    uint32_t space = slot_and_space >> 16, id = slot_and_space & 0xffff;
    if (vm->ring_bytes != 0) {
        return -ENXIO;
    }
    if (space >= HV_ADDRESS_SPACES || id >= HV_SLOT_IDS) {
        return -EINVAL;
    }
    *ret = hv_slot_of_id(vm->slots[space], id);
    return 0;
}

static bool protect_words(struct hv_vm *vm, const struct hv_slot *slot, const unsigned char *words, size_t count)
{
    bool flush = false;
    pthread_mutex_lock(&vm->mmu_lock);
    for (size_t i = 0; i < count; i++) {
        uint64_t mask = word_at(words, i);
        if (mask != 0) {
            (void)vm->mmu->log_protect(vm, slot, slot->base_gfn + i * 64, mask);
            flush = true;
        }
    }
    pthread_mutex_unlock(&vm->mmu_lock);
    return flush;
}

/*
 * Get and clear. Marks go to the other bitmap from now on; after the wait the first one is ours alone. A scheme
 * that has nothing to protect needs the vCPUs to forget what they may write, and that comes with the same wait.
 */
static void get_and_clear(struct hv_vm *vm, const struct hv_slot *slot, unsigned char *to)
{
    struct dirty_bitmap *bitmap = slot->dirty;
    if (!atomic_load(&bitmap->is_touched)) {
        memset(to, 0, bitmap->count * sizeof(uint64_t));
        return;
    }
    uint64_t *words = bitmap->words;
    pthread_mutex_lock(&vm->mmu_lock);        /* who zaps marks as well, and is no vCPU */
    atomic_store(&bitmap->is_touched, false); /* before: who marks the other one says so again */
    __atomic_store_n(&bitmap->words, bitmap->spare, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&vm->mmu_lock);
    bitmap->spare = words;
    if (!vm->mmu->log_protect) {
        hv_flush_all(vm);
        take_words(words, to, bitmap->count);
        return;
    }
    (void)rendezvous_wait(&vm->inside);
    take_words(words, to, bitmap->count);
    if (protect_words(vm, slot, to, bitmap->count)) {
        hv_flush_all(vm);
    }
}

static int get_dirty_log_locked(struct hv_vm *vm, const struct kvm_dirty_log *log)
{
    const struct hv_slot *slot = NULL;
    int rc = slot_of_log(vm, log->slot, &slot);
    if (rc < 0) {
        return rc;
    }
    if (!slot || !slot->dirty) {
        return -ENOENT;
    }
    if (!log->dirty_bitmap) {
        return -EFAULT;
    }
    sync_slot(vm, slot);
    if (vm->manual_protect) {
        copy_words(slot->dirty, log->dirty_bitmap);
    } else {
        get_and_clear(vm, slot, log->dirty_bitmap);
    }
    return 0;
}

int hv_get_dirty_log(struct hv_vm *vm, const struct kvm_dirty_log *log)
{
    pthread_mutex_lock(&vm->slots_lock);
    int rc = get_dirty_log_locked(vm, log);
    pthread_mutex_unlock(&vm->slots_lock);
    return rc;
}

/* The bits that are set in both are cleared, and their pages noticed again. */
static bool clear_words(struct hv_vm *vm, const struct hv_slot *slot, const struct kvm_clear_dirty_log *log)
{
    bool flush = false;
    size_t at = (size_t)(log->first_page / 64), count = words_of(log->num_pages);
    pthread_mutex_lock(&vm->mmu_lock);
    for (size_t i = 0; i < count; i++) {
        uint64_t mask = word_at(log->dirty_bitmap, i);
        if (mask == 0) {
            continue;
        }
        mask &= __atomic_fetch_and(&slot->dirty->words[at + i], ~mask, __ATOMIC_RELAXED);
        if (mask != 0) {
            if (vm->mmu->log_protect) {
                (void)vm->mmu->log_protect(vm, slot, slot->base_gfn + (at + i) * 64, mask);
            }
            flush = true;
        }
    }
    pthread_mutex_unlock(&vm->mmu_lock);
    return flush;
}

static int clear_dirty_log_locked(struct hv_vm *vm, const struct kvm_clear_dirty_log *log)
{
    const struct hv_slot *slot = NULL;
    int rc = slot_of_log(vm, log->slot, &slot);
    if (rc < 0) {
        return rc;
    }
    if (log->first_page % 64 != 0) {
        return -EINVAL;
    }
    if (!slot || !slot->dirty) {
        return -ENOENT;
    }
    if (log->first_page > slot->npages) {
        return -EINVAL;
    }
    uint64_t rest = slot->npages - log->first_page;
    if (log->num_pages > rest || (log->num_pages < rest && log->num_pages % 64 != 0)) {
        return -EINVAL;
    }
    if (!log->dirty_bitmap && log->num_pages != 0) {
        return -EFAULT;
    }
    sync_slot(vm, slot);
    if (clear_words(vm, slot, log)) {
        hv_flush_all(vm);
    }
    return 0;
}

int hv_clear_dirty_log(struct hv_vm *vm, const struct kvm_clear_dirty_log *log)
{
    pthread_mutex_lock(&vm->slots_lock);
    int rc = clear_dirty_log_locked(vm, log);
    pthread_mutex_unlock(&vm->slots_lock);
    return rc;
}

int hv_enable_manual_protect(struct hv_vm *vm, uint64_t flags)
{
    uint64_t allowed = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
    if (flags & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) {
        allowed |= KVM_DIRTY_LOG_INITIALLY_SET;
    }
    if ((flags & ~allowed) != 0) {
        return -EINVAL;
    }
    pthread_mutex_lock(&vm->slots_lock);
    vm->manual_protect = (flags & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) != 0;
    vm->initially_set = (flags & KVM_DIRTY_LOG_INITIALLY_SET) != 0;
    pthread_mutex_unlock(&vm->slots_lock);
    return 0;
}

/* --- marks -------------------------------------------------------------------------------------- */

void hv_mark_dirty(struct hv_vcpu *vcpu, const struct hv_slot *slot, uint64_t gfn)
{
    if ((slot->flags & KVM_MEM_LOG_DIRTY_PAGES) == 0) {
        return;
    }
    bool is_new = true;
    if (vcpu->ring) {
        dirty_ring_push(vcpu->ring, (uint32_t)slot->space << 16 | slot->id, gfn - slot->base_gfn);
    } else if (slot->dirty) {
        is_new = dirty_bitmap_mark(slot->dirty, gfn - slot->base_gfn);
    }
    if (is_new) {
        hv_count_own(&vcpu->counters.dirty_marked, 1);
    }
}

void hv_mark_dirty_gfn(struct hv_vcpu *vcpu, uint64_t gfn)
{
    const struct hv_slot *slot = hv_slot_of_gfn(hv_slots(vcpu), gfn, &vcpu->slot_hint[vcpu->space]);
    if (slot) {
        hv_mark_dirty(vcpu, slot, gfn);
    }
}

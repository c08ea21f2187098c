// SPDX-License-Identifier: MIT
#include "hypervisor/dirty.h"

#include <errno.h>
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

#include "base/line.h"
#include "hypervisor/hv.h"
#include "hypervisor/mmu_ops.h"
#include "hypervisor/ring.h"

/* --- bitmaps ------------------------------------------------------------------------------------ */

#define LOOKS_MAX 64
#define BLOCKS_AHEAD 16 /* the faults before have used the caches: worth 5 % */
#define BLOCK_BYTES (DIRTY_BLOCK_WORDS * sizeof(uint64_t))

static size_t words_of(uint64_t npages)
{
    return (size_t)((npages + 63) / 64);
}

/* Zero pages of the host until they are marked; whole blocks, and a byte for each. NULL: out of memory. */
static uint64_t *make_words(size_t blocks, void **ret_memory)
{
    unsigned char *memory = calloc(1, blocks * (BLOCK_BYTES + 1) + CACHE_LINE);
    *ret_memory = memory;
    return memory ? (uint64_t *)(void *)(memory + -(uintptr_t)memory % CACHE_LINE) : NULL;
}

struct dirty_bitmap *dirty_bitmap_create(uint64_t npages, bool all_set)
{
    struct dirty_bitmap *bitmap = calloc(1, sizeof *bitmap);
    if (!bitmap) {
        return NULL;
    }
    bitmap->count = words_of(npages);
    bitmap->blocks = (bitmap->count + DIRTY_BLOCK_WORDS - 1) / DIRTY_BLOCK_WORDS;
    bitmap->words = make_words(bitmap->blocks, &bitmap->memory[0]);
    bitmap->spare = make_words(bitmap->blocks, &bitmap->memory[1]);
    if (!bitmap->words || !bitmap->spare) {
        dirty_bitmap_destroy(bitmap);
        return NULL;
    }
    if (all_set) {
        memset(bitmap->words, 0xff, npages / 64 * sizeof(uint64_t));
        if (npages % 64 != 0) {
            bitmap->words[npages / 64] = (UINT64_C(1) << (npages % 64)) - 1;
        }
        memset(dirty_touched(bitmap, bitmap->words), 1, bitmap->blocks);
        atomic_store(&bitmap->is_touched, true);
    }
    return bitmap;
}

void dirty_bitmap_destroy(struct dirty_bitmap *bitmap)
{
    if (bitmap) {
        free(bitmap->memory[0]);
        free(bitmap->memory[1]);
        free(bitmap);
    }
}

/*
 * Move whole blocks that nobody marks any more: they are zero then. What was not touched is zero, and is not read.
 * `to` is the caller's, of any alignment.
 */
static void take_blocks(uint64_t *words, const unsigned char *touched, unsigned char *to, size_t blocks)
{
    for (size_t i = 0; i < blocks; i++) {
        uint64_t *from = &words[i * DIRTY_BLOCK_WORDS];
        __m128i *out = (__m128i *)(void *)(to + i * BLOCK_BYTES);
        if (!touched[i]) {
            for (unsigned j = 0; j < 4; j++) {
                _mm_storeu_si128(out + j, _mm_setzero_si128());
            }
            continue;
        }
        memcpy(out, from, BLOCK_BYTES);
        memset(from, 0, BLOCK_BYTES);
    }
}

/* Faster, where the processor has it. With `clear` nobody marks them any more, and they are zero then; else they
 * are read as they are: a vector that is aligned in pieces of a word at least. */
__attribute__((target("avx2"), always_inline)) static inline void
move_blocks_avx2(uint64_t *words, const unsigned char *touched, unsigned char *to, size_t blocks, bool clear)
{
    const __m256i zero = _mm256_setzero_si256();
    for (size_t i = 0; i < blocks; i++) {
        __m256i *from = (__m256i *)(void *)&words[i * DIRTY_BLOCK_WORDS];
        __m256i *out = (__m256i *)(void *)(to + i * BLOCK_BYTES);
        if (!__atomic_load_n(&touched[i], __ATOMIC_RELAXED)) {
            _mm256_storeu_si256(out, zero);
            _mm256_storeu_si256(out + 1, zero);
            continue;
        }
        __builtin_prefetch(from + 2 * BLOCKS_AHEAD, 1); /* may be past the end: it is a hint */
        __builtin_prefetch(out + 2 * BLOCKS_AHEAD, 1);
        __m256i a = _mm256_loadu_si256(from), b = _mm256_loadu_si256(from + 1);
        _mm256_storeu_si256(out, a);
        _mm256_storeu_si256(out + 1, b);
        if (clear) {
            _mm256_storeu_si256(from, zero);
            _mm256_storeu_si256(from + 1, zero);
        }
    }
}

__attribute__((target("avx2"))) static void take_blocks_avx2(uint64_t *words, const unsigned char *touched,
                                                             unsigned char *to, size_t blocks)
{
    move_blocks_avx2(words, touched, to, blocks, true);
}

__attribute__((target("avx2"))) static void copy_blocks_avx2(const struct dirty_bitmap *bitmap, unsigned char *to,
                                                             size_t blocks)
{
    move_blocks_avx2(bitmap->words, dirty_touched(bitmap, bitmap->words), to, blocks, false);
}

void dirty_take_words(uint64_t *words, unsigned char *touched, unsigned char *to, size_t count, bool avx2)
{
    size_t blocks = count / DIRTY_BLOCK_WORDS, whole = blocks * DIRTY_BLOCK_WORDS;
    size_t rest = (count - whole) * sizeof(uint64_t);
    if (avx2) {
        take_blocks_avx2(words, touched, to, blocks);
    } else {
        take_blocks(words, touched, to, blocks);
    }
    memset(touched, 0, blocks);
    if (rest > 0) {
        memcpy(to + whole * sizeof(uint64_t), &words[whole], rest);
        memset(&words[whole], 0, rest);
        touched[blocks] = 0;
    }
}

/* ThreadSanitizer knows of words that are read in one piece, and not of vectors. */
#if defined(__SANITIZE_THREAD__)
#define SEES_RACES 1
#elif defined(__has_feature)
#define SEES_RACES __has_feature(thread_sanitizer)
#else
#define SEES_RACES 0
#endif

static bool has_avx2(void)
{
    return !SEES_RACES && __builtin_cpu_supports("avx2") != 0;
}

static void take_words(const struct dirty_bitmap *bitmap, uint64_t *words, unsigned char *to)
{
    dirty_take_words(words, dirty_touched(bitmap, words), to, bitmap->count, has_avx2());
}

static uint64_t word_at(const unsigned char *words, size_t i)
{
    uint64_t word;
    memcpy(&word, words + i * sizeof word, sizeof word);
    return word;
}

/* Blocks as they are, while they are being marked: each word is read in one piece. */
static void copy_blocks(const struct dirty_bitmap *bitmap, unsigned char *to, size_t first, size_t end)
{
    const unsigned char *touched = dirty_touched(bitmap, bitmap->words);
    for (size_t block = first; block < end; block++) {
        size_t at = block * DIRTY_BLOCK_WORDS, rest = bitmap->count - at;
        uint64_t words[DIRTY_BLOCK_WORDS] = {0};
        if (__atomic_load_n(&touched[block], __ATOMIC_RELAXED)) {
            for (unsigned i = 0; i < DIRTY_BLOCK_WORDS; i++) {
                words[i] = __atomic_load_n(&bitmap->words[at + i], __ATOMIC_RELAXED);
            }
        }
        memcpy(to + at * sizeof words[0], words,
               (rest < DIRTY_BLOCK_WORDS ? rest : DIRTY_BLOCK_WORDS) * sizeof words[0]);
    }
}

static void copy_words(const struct dirty_bitmap *bitmap, unsigned char *to)
{
    size_t whole = has_avx2() ? bitmap->count / DIRTY_BLOCK_WORDS : 0;
    if (whole > 0) {
        copy_blocks_avx2(bitmap, to, whole);
    }
    copy_blocks(bitmap, to, whole, bitmap->blocks);
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
    if (vm->options.log_by != HV_LOG_BY_DIRTY_BIT) {
        return;
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

static bool protect_all(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last)
{
    return vm->mmu->log_protect_all && vm->mmu->log_protect_all(vm, slot, first, last);
}

/* A scheme that has nothing to protect, or protects all at once before anybody knows what was marked. */
static bool protects_at_once(struct hv_vm *vm, const struct hv_slot *slot)
{
    return !vm->mmu->log_protect || protect_all(vm, slot, 1, 0);
}

/*
 * Marks go to the other bitmap from now on. After a rendezvous the one that is returned is ours alone; it is the
 * spare, and must become all zero. Where protection comes at once the pages are protected, and a flush is due.
 */
static uint64_t *change_bitmaps(struct hv_vm *vm, const struct hv_slot *slot)
{
    struct dirty_bitmap *bitmap = slot->dirty;
    uint64_t *words = bitmap->words;
    pthread_mutex_lock(&vm->mmu_lock);        /* who zaps marks as well, and is no vCPU */
    atomic_store(&bitmap->is_touched, false); /* before: who marks the other one says so again */
    __atomic_store_n(&bitmap->words, bitmap->spare, __ATOMIC_SEQ_CST);
    (void)protect_all(vm, slot, slot->base_gfn, hv_slot_last_gfn(slot));
    pthread_mutex_unlock(&vm->mmu_lock);
    bitmap->spare = words;
    return words;
}

/*
 * Get and clear. Where protection comes at once, or there is none, the vCPUs must forget what they may write, and
 * that comes with the same rendezvous.
 */
static void get_and_clear(struct hv_vm *vm, const struct hv_slot *slot, unsigned char *to)
{
    struct dirty_bitmap *bitmap = slot->dirty;
    if (!atomic_load(&bitmap->is_touched)) {
        memset(to, 0, bitmap->count * sizeof(uint64_t));
        return;
    }
    uint64_t *words = change_bitmaps(vm, slot);
    if (protects_at_once(vm, slot)) {
        hv_flush_all(vm);
        take_words(bitmap, words, to);
        return;
    }
    (void)rendezvous_wait(&vm->inside);
    take_words(bitmap, words, to);
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

/*
 * Whether what is to be cleared is most of what is marked in the range: then all of the range is protected at
 * once, and a write to what stays marked is one fault that it would not be else. A guess, from some of what was
 * touched.
 */
static bool is_most(const struct hv_slot *slot, const struct kvm_clear_dirty_log *log)
{
    const unsigned char *touched = dirty_touched(slot->dirty, slot->dirty->words);
    size_t at = (size_t)(log->first_page / 64), count = words_of(log->num_pages), cleared = 0, left = 0, looks = 0;
    for (size_t i = 0; i < count && looks < LOOKS_MAX; i++) {
        if (!__atomic_load_n(&touched[(at + i) / DIRTY_BLOCK_WORDS], __ATOMIC_RELAXED)) {
            i |= DIRTY_BLOCK_WORDS - 1; /* or one word more */
            continue;
        }
        uint64_t marked = __atomic_load_n(&slot->dirty->words[at + i], __ATOMIC_RELAXED);
        uint64_t mask = word_at(log->dirty_bitmap, i);
        cleared += (size_t)__builtin_popcountll(marked & mask);
        left += (size_t)__builtin_popcountll(marked & ~mask);
        looks += marked != 0;
    }
    return left <= cleared / 8;
}

/* What is not in the mask is marked again, where marks go now. */
static void mark_rest(struct dirty_bitmap *bitmap, const uint64_t *words, size_t first, const unsigned char *mask)
{
    for (size_t i = first; i < first + DIRTY_BLOCK_WORDS && i < bitmap->count; i++) {
        uint64_t rest = words[i] & ~word_at(mask, i);
        if (rest != 0) {
            (void)dirty_bitmap_mark_mask(bitmap, i, rest);
        }
    }
}

/* Blocks that nobody marks any more, from `block` on: they are zero then.
 * @return the first that has more than the mask, or `end` */
__attribute__((target("avx2"))) static size_t
clear_blocks_avx2(uint64_t *words, unsigned char *touched, const unsigned char *mask, size_t block, size_t end)
{
    const __m256i zero = _mm256_setzero_si256();
    for (; block < end; block++) {
        if (!touched[block]) {
            continue;
        }
        __m256i *from = (__m256i *)(void *)&words[block * DIRTY_BLOCK_WORDS];
        const __m256i *bits = (const __m256i *)(const void *)(mask + block * BLOCK_BYTES);
        __builtin_prefetch(from + 2 * BLOCKS_AHEAD, 1);
        __builtin_prefetch(bits + 2 * BLOCKS_AHEAD);
        if (!_mm256_testc_si256(_mm256_loadu_si256(bits), _mm256_load_si256(from)) ||
            !_mm256_testc_si256(_mm256_loadu_si256(bits + 1), _mm256_load_si256(from + 1))) {
            break;
        }
        _mm256_store_si256(from, zero);
        _mm256_store_si256(from + 1, zero);
        touched[block] = 0;
    }
    return block;
}

static size_t clear_blocks(uint64_t *words, unsigned char *touched, const unsigned char *mask, size_t block,
                           size_t end)
{
    return block < end ? clear_blocks_avx2(words, touched, mask, block, end) : block;
}

/* The whole log, of which most is cleared: as a harvest does it, and what is to stay is marked again. */
static void clear_all(struct hv_vm *vm, const struct hv_slot *slot, const unsigned char *mask)
{
    struct dirty_bitmap *bitmap = slot->dirty;
    uint64_t *words = change_bitmaps(vm, slot);
    unsigned char *touched = dirty_touched(bitmap, words);
    size_t whole = has_avx2() ? bitmap->count / DIRTY_BLOCK_WORDS : 0;
    hv_flush_all(vm);
    for (size_t block = clear_blocks(words, touched, mask, 0, whole); block < bitmap->blocks;
         block = clear_blocks(words, touched, mask, block + 1, whole)) {
        size_t first = block * DIRTY_BLOCK_WORDS;
        if (touched[block]) {
            mark_rest(bitmap, words, first, mask);
            memset(&words[first], 0, BLOCK_BYTES);
            touched[block] = 0;
        }
    }
}

/* The bits that are set in both are cleared, and their pages noticed again. */
static bool clear_words(struct hv_vm *vm, const struct hv_slot *slot, const struct kvm_clear_dirty_log *log)
{
    bool flush = false, at_once = protect_all(vm, slot, 1, 0) && is_most(slot, log);
    size_t at = (size_t)(log->first_page / 64), count = words_of(log->num_pages);
    pthread_mutex_lock(&vm->mmu_lock);
    for (size_t i = 0; i < count; i++) {
        uint64_t mask = word_at(log->dirty_bitmap, i);
        if (mask == 0) {
            continue;
        }
        mask &= __atomic_fetch_and(&slot->dirty->words[at + i], ~mask, __ATOMIC_SEQ_CST);
        if (mask != 0) {
            if (vm->mmu->log_protect && !at_once) {
                (void)vm->mmu->log_protect(vm, slot, slot->base_gfn + (at + i) * 64, mask);
            }
            flush = true;
        }
    }
    if (at_once && flush) {
        uint64_t first = slot->base_gfn + log->first_page;
        (void)protect_all(vm, slot, first, first + log->num_pages - 1);
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
    bool is_whole = log->first_page == 0 && log->num_pages == slot->npages;
    if (is_whole && protects_at_once(vm, slot) && is_most(slot, log)) {
        if (atomic_load(&slot->dirty->is_touched)) {
            clear_all(vm, slot, log->dirty_bitmap);
        }
    } else if (clear_words(vm, slot, log)) {
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

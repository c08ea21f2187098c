// SPDX-License-Identifier: MIT
#include "hypervisor/dirty.h"

#include <errno.h>
#include <immintrin.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/line.h"
#include "hypervisor/hv.h"
#include "hypervisor/mmu_ops.h"
#include "hypervisor/ring.h"

/* --- bitmaps ------------------------------------------------------------------------------------ */

#define LOOKS_MAX 64
#define WAITS_BEFORE_YIELD 64u
#define BLOCKS_AHEAD 16 /* the faults before have used the caches: worth 5 % */
#define BLOCK_BYTES (DIRTY_BLOCK_WORDS * sizeof(uint64_t))
#define BLOCKS_AT_ONCE 16u /* whose bytes in `opened` are a vector */

static size_t words_of(uint64_t npages)
{
    return (size_t)((npages + 63) / 64);
}

/* What nobody marks has no page of the host, but for the byte of each block. NULL: out of memory. */
static struct dirty_half *make_half(size_t blocks)
{
    size_t opened_bytes = (blocks + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    struct dirty_half *half = aligned_alloc(CACHE_LINE, sizeof *half + blocks * BLOCK_BYTES + opened_bytes);
    if (half) {
        half->epoch = 1;
        half->opened = (uint8_t *)(half->words + blocks * DIRTY_BLOCK_WORDS);
        memset(half->opened, 0, opened_bytes);
    }
    return half;
}

static void set_all(struct dirty_bitmap *bitmap)
{
    struct dirty_half *half = bitmap->half;
    uint64_t npages = bitmap->npages;
    memset(half->words, 0, bitmap->blocks * BLOCK_BYTES);
    memset(half->words, 0xff, npages / 64 * sizeof(uint64_t));
    if (npages % 64 != 0) {
        half->words[npages / 64] = (UINT64_C(1) << (npages % 64)) - 1;
    }
    memset(half->opened, half->epoch, bitmap->blocks);
    atomic_store(&bitmap->is_touched, true);
}

struct dirty_bitmap *dirty_bitmap_create(uint64_t npages, bool all_set)
{
    struct dirty_bitmap *bitmap = calloc(1, sizeof *bitmap);
    if (!bitmap) {
        return NULL;
    }
    bitmap->npages = npages;
    bitmap->count = words_of(npages);
    bitmap->blocks = (bitmap->count + DIRTY_BLOCK_WORDS - 1) / DIRTY_BLOCK_WORDS;
    bitmap->half = make_half(bitmap->blocks);
    bitmap->spare = make_half(bitmap->blocks);
    if (!bitmap->half || !bitmap->spare) {
        dirty_bitmap_destroy(bitmap);
        return NULL;
    }
    if (all_set) {
        set_all(bitmap);
    }
    return bitmap;
}

void dirty_bitmap_destroy(struct dirty_bitmap *bitmap)
{
    if (bitmap) {
        free(bitmap->half);
        free(bitmap->spare);
        free(bitmap);
    }
}

void dirty_open_block(struct dirty_half *half, size_t block)
{
    uint8_t *opened = &half->opened[block];
    uint8_t is = __atomic_load_n(opened, __ATOMIC_ACQUIRE);
    for (unsigned waited = 0; is != half->epoch;) {
        if (is == DIRTY_BLOCK_OPENING) { /* by another thread: a few stores, if it runs */
            if (++waited % WAITS_BEFORE_YIELD == 0) {
                sched_yield();
            }
            __builtin_ia32_pause();
            is = __atomic_load_n(opened, __ATOMIC_ACQUIRE);
        } else if (__atomic_compare_exchange_n(opened, &is, DIRTY_BLOCK_OPENING, false, __ATOMIC_ACQUIRE,
                                               __ATOMIC_ACQUIRE)) {
            for (unsigned i = 0; i < DIRTY_BLOCK_WORDS; i++) {
                __atomic_store_n(&half->words[block * DIRTY_BLOCK_WORDS + i], 0, __ATOMIC_RELAXED);
            }
            __atomic_store_n(opened, half->epoch, __ATOMIC_RELEASE);
            return;
        }
    }
}

/* Nobody marks there: another epoch begins, in which all is clear. */
static void renew(const struct dirty_bitmap *bitmap, struct dirty_half *half)
{
    if (++half->epoch == DIRTY_BLOCK_OPENING) {
        memset(half->opened, 0, bitmap->blocks);
        half->epoch = 1;
    }
}

/* Blocks as they are, while they may be marked: each word is read in one piece. */
static void copy_blocks(const struct dirty_half *half, unsigned char *to, size_t block, size_t count)
{
    for (size_t at = block * DIRTY_BLOCK_WORDS; at < count; at += DIRTY_BLOCK_WORDS) {
        uint64_t words[DIRTY_BLOCK_WORDS] = {0};
        if (dirty_is_open(half, at / DIRTY_BLOCK_WORDS)) {
            for (unsigned i = 0; i < DIRTY_BLOCK_WORDS; i++) {
                words[i] = __atomic_load_n(&half->words[at + i], __ATOMIC_RELAXED);
            }
        }
        size_t rest = count - at;
        memcpy(to + at * sizeof words[0], words,
               (rest < DIRTY_BLOCK_WORDS ? rest : DIRTY_BLOCK_WORDS) * sizeof words[0]);
    }
}

/* A bit for each of BLOCKS_AT_ONCE blocks that is open. There are bytes for so many. */
static unsigned open_from(const struct dirty_half *half, size_t block)
{
    __m128i opened = _mm_load_si128((const __m128i *)(const void *)&half->opened[block]);
    __atomic_thread_fence(__ATOMIC_ACQUIRE); /* as in dirty_is_open; no instruction */
    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(opened, _mm_set1_epi8((char)half->epoch)));
}

/* Whole blocks, faster, where the processor has it: a vector that is aligned is read in pieces of a word at least.
 */
__attribute__((target("avx2"))) static void copy_blocks_avx2(const struct dirty_half *half, unsigned char *to,
                                                             size_t blocks)
{
    const __m256i zero = _mm256_setzero_si256();
    unsigned open = 0;
    for (size_t i = 0; i < blocks; i++, open >>= 1) {
        const __m256i *from = (const __m256i *)(const void *)&half->words[i * DIRTY_BLOCK_WORDS];
        __m256i *out = (__m256i *)(void *)(to + i * BLOCK_BYTES);
        open = i % BLOCKS_AT_ONCE == 0 ? open_from(half, i) : open;
        if (!(open & 1)) {
            _mm256_storeu_si256(out, zero);
            _mm256_storeu_si256(out + 1, zero);
            continue;
        }
        __builtin_prefetch(from + 2 * BLOCKS_AHEAD); /* may be past the end: it is a hint */
        __builtin_prefetch(out + 2 * BLOCKS_AHEAD, 1);
        __m256i a = _mm256_load_si256(from), b = _mm256_load_si256(from + 1);
        _mm256_storeu_si256(out, a);
        _mm256_storeu_si256(out + 1, b);
    }
}

void dirty_copy_words(const struct dirty_half *half, unsigned char *to, size_t count, bool avx2)
{
    size_t whole = avx2 ? count / DIRTY_BLOCK_WORDS : 0;
    if (whole > 0) {
        copy_blocks_avx2(half, to, whole);
    }
    copy_blocks(half, to, whole, count);
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

static uint64_t word_at(const unsigned char *words, size_t i)
{
    uint64_t word;
    memcpy(&word, words + i * sizeof word, sizeof word);
    return word;
}

/* Each run of open blocks of a half that nobody marks: [first, end). */
typedef void run_fn(void *opaque, size_t first, size_t end);

static void each_run(const struct dirty_bitmap *bitmap, const struct dirty_half *half, run_fn *each, void *opaque)
{
    const unsigned all = (1u << BLOCKS_AT_ONCE) - 1;
    size_t first = 0;
    bool is_in_run = false;
    for (size_t block = 0; block < bitmap->blocks; block += BLOCKS_AT_ONCE) {
        unsigned open = open_from(half, block), differ;
        while ((differ = is_in_run ? open ^ all : open) != 0) {
            unsigned i = (unsigned)__builtin_ctz(differ);
            if (is_in_run) {
                each(opaque, first, block + i);
            }
            first = block + i;
            is_in_run = !is_in_run;
            open = is_in_run ? open | ((1u << i) - 1) : open & ~((1u << i) - 1); /* these are done */
        }
    }
    if (is_in_run) {
        each(opaque, first, bitmap->blocks);
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

struct protecting {
    struct hv_vm *vm;
    const struct hv_slot *slot;
    const struct dirty_half *half;
    bool flush;
};

static void protect_run(void *opaque, size_t first, size_t end)
{
    struct protecting *p = opaque;
    for (size_t i = first * DIRTY_BLOCK_WORDS; i < end * DIRTY_BLOCK_WORDS; i++) {
        if (p->half->words[i] != 0) {
            (void)p->vm->mmu->log_protect(p->vm, p->slot, p->slot->base_gfn + i * 64, p->half->words[i]);
            p->flush = true;
        }
    }
}

/* Each page that is marked in a half that nobody marks. @return whether there was one */
static bool protect_half(struct hv_vm *vm, const struct hv_slot *slot, const struct dirty_half *half)
{
    struct protecting protecting = {.vm = vm, .slot = slot, .half = half};
    pthread_mutex_lock(&vm->mmu_lock);
    each_run(slot->dirty, half, protect_run, &protecting);
    pthread_mutex_unlock(&vm->mmu_lock);
    return protecting.flush;
}

static bool protect_all(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last)
{
    return vm->mmu->log_protect_all && vm->mmu->log_protect_all(vm, slot, first, last);
}

bool hv_protects_at_once(struct hv_vm *vm)
{
    return !vm->mmu->log_protect || protect_all(vm, NULL, 1, 0);
}

/*
 * Marks go to the other half from now on. After a rendezvous the one that is returned is ours alone, until the
 * next time. Where protection comes at once the pages are protected, and a flush is due.
 */
static struct dirty_half *change_halves(struct hv_vm *vm, const struct hv_slot *slot)
{
    struct dirty_bitmap *bitmap = slot->dirty;
    struct dirty_half *half = bitmap->half;
    pthread_mutex_lock(&vm->mmu_lock); /* who zaps marks as well, and is no vCPU */
    renew(bitmap, bitmap->spare);
    atomic_store(&bitmap->is_touched, false); /* before: who marks the other one says so again */
    __atomic_store_n(&bitmap->half, bitmap->spare, __ATOMIC_SEQ_CST);
    (void)protect_all(vm, slot, slot->base_gfn, hv_slot_last_gfn(slot));
    pthread_mutex_unlock(&vm->mmu_lock);
    bitmap->spare = half;
    return half;
}

/*
 * What was marked until now; its pages are noticed again. Ours until the next harvest. NULL: nothing was. Where
 * protection comes at once, or there is none, the vCPUs must forget what they may write, and that comes with the
 * same rendezvous.
 */
static const struct dirty_half *take_half(struct hv_vm *vm, const struct hv_slot *slot)
{
    if (!atomic_load(&slot->dirty->is_touched)) {
        return NULL;
    }
    struct dirty_half *half = change_halves(vm, slot);
    if (hv_protects_at_once(vm)) {
        hv_flush_all(vm);
        return half;
    }
    (void)rendezvous_wait(&vm->inside);
    if (protect_half(vm, slot, half)) {
        hv_flush_all(vm);
    }
    return half;
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
    const struct dirty_bitmap *bitmap = slot->dirty;
    const struct dirty_half *half = vm->manual_protect ? bitmap->half : take_half(vm, slot);
    if (half) {
        dirty_copy_words(half, log->dirty_bitmap, bitmap->count, has_avx2());
    } else {
        memset(log->dirty_bitmap, 0, bitmap->count * sizeof(uint64_t));
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

struct harvesting {
    const struct dirty_bitmap *bitmap;
    const struct dirty_half *half;
    hv_dirty_fn *each;
    void *opaque;
};

static void harvest_run(void *opaque, size_t first, size_t end)
{
    const struct harvesting *h = opaque;
    uint64_t page = first * DIRTY_BLOCK_WORDS * 64, end_page = end * DIRTY_BLOCK_WORDS * 64;
    end_page = end_page < h->bitmap->npages ? end_page : h->bitmap->npages;
    h->each(h->opaque, page, &h->half->words[first * DIRTY_BLOCK_WORDS], end_page - page);
}

static int harvest_locked(struct hv_vm *vm, uint32_t slot_and_space, hv_dirty_fn *each, void *opaque)
{
    const struct hv_slot *slot = NULL;
    int rc = slot_of_log(vm, slot_and_space, &slot);
    if (rc < 0) {
        return rc;
    }
    if (!slot || !slot->dirty) {
        return -ENOENT;
    }
    sync_slot(vm, slot);
    struct harvesting h = {slot->dirty, take_half(vm, slot), each, opaque};
    if (h.half) {
        each_run(h.bitmap, h.half, harvest_run, &h);
    }
    return 0;
}

int hv_harvest_dirty_log(struct hv_vm *vm, uint32_t slot_and_space, hv_dirty_fn *each, void *opaque)
{
    pthread_mutex_lock(&vm->slots_lock);
    int rc = harvest_locked(vm, slot_and_space, each, opaque);
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
    const struct dirty_half *half = slot->dirty->half;
    size_t at = (size_t)(log->first_page / 64), count = words_of(log->num_pages), cleared = 0, left = 0, looks = 0;
    for (size_t i = 0; i < count && looks < LOOKS_MAX; i++) {
        if (!dirty_is_open(half, (at + i) / DIRTY_BLOCK_WORDS)) {
            i = ((at + i) | (DIRTY_BLOCK_WORDS - 1)) - at;
            continue;
        }
        uint64_t marked = __atomic_load_n(&half->words[at + i], __ATOMIC_RELAXED);
        uint64_t mask = word_at(log->dirty_bitmap, i);
        cleared += (size_t)__builtin_popcountll(marked & mask);
        left += (size_t)__builtin_popcountll(marked & ~mask);
        looks += marked != 0;
    }
    return left <= cleared / 8;
}

/* What is not in the mask is marked again, where marks go now. */
static void mark_rest(struct dirty_bitmap *bitmap, const struct dirty_half *half, size_t block,
                      const unsigned char *mask)
{
    for (size_t i = block * DIRTY_BLOCK_WORDS; i < (block + 1) * DIRTY_BLOCK_WORDS && i < bitmap->count; i++) {
        uint64_t rest = half->words[i] & ~word_at(mask, i);
        if (rest != 0) {
            (void)dirty_bitmap_mark_mask(bitmap, i, rest);
        }
    }
}

/* Open blocks that nobody marks any more, from `block` on. @return the first that has more than the mask, or `end`
 */
__attribute__((target("avx2"))) static size_t find_rest_avx2(const struct dirty_half *half,
                                                             const unsigned char *mask, size_t block, size_t end)
{
    for (; block < end; block++) {
        const __m256i *words = (const __m256i *)(const void *)&half->words[block * DIRTY_BLOCK_WORDS];
        const __m256i *bits = (const __m256i *)(const void *)(mask + block * BLOCK_BYTES);
        __builtin_prefetch(words + 2 * BLOCKS_AHEAD);
        __builtin_prefetch(bits + 2 * BLOCKS_AHEAD);
        if (!_mm256_testc_si256(_mm256_loadu_si256(bits), _mm256_load_si256(words)) ||
            !_mm256_testc_si256(_mm256_loadu_si256(bits + 1), _mm256_load_si256(words + 1))) {
            break;
        }
    }
    return block;
}

struct clearing {
    struct dirty_bitmap *bitmap;
    const struct dirty_half *half;
    const unsigned char *mask;
    size_t whole; /* blocks that vectors may read in the mask */
};

static void clear_run(void *opaque, size_t first, size_t end)
{
    const struct clearing *c = opaque;
    size_t whole = end < c->whole ? end : c->whole;
    for (size_t block = first; block < end; block++) {
        if (block < whole) {
            block = find_rest_avx2(c->half, c->mask, block, whole);
        }
        if (block < end) {
            mark_rest(c->bitmap, c->half, block, c->mask);
        }
    }
}

/* The whole log, of which most is cleared: as a harvest does it, and what is to stay is marked again. */
static void clear_all(struct hv_vm *vm, const struct hv_slot *slot, const unsigned char *mask)
{
    struct clearing clearing = {.bitmap = slot->dirty, .mask = mask};
    clearing.whole = has_avx2() ? slot->dirty->count / DIRTY_BLOCK_WORDS : 0;
    clearing.half = change_halves(vm, slot);
    hv_flush_all(vm);
    each_run(slot->dirty, clearing.half, clear_run, &clearing);
}

/* The bits that are set in both are cleared, and their pages noticed again. */
static bool clear_words(struct hv_vm *vm, const struct hv_slot *slot, const struct kvm_clear_dirty_log *log)
{
    bool flush = false, at_once = protect_all(vm, NULL, 1, 0) && is_most(slot, log);
    size_t at = (size_t)(log->first_page / 64), count = words_of(log->num_pages);
    struct dirty_half *half = slot->dirty->half;
    pthread_mutex_lock(&vm->mmu_lock);
    for (size_t i = 0; i < count; i++) {
        uint64_t mask = word_at(log->dirty_bitmap, i);
        if (mask == 0 || !dirty_is_open(half, (at + i) / DIRTY_BLOCK_WORDS)) {
            continue;
        }
        mask &= __atomic_fetch_and(&half->words[at + i], ~mask, __ATOMIC_SEQ_CST);
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
    if (is_whole && hv_protects_at_once(vm) && is_most(slot, log)) {
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

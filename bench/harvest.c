// SPDX-License-Identifier: MIT
/*
 * Harvesting the dirty log of a slot of 4 GiB, 1 % of it dirty, against vector code that only looks for a bit that
 * is set in a bitmap of that size. Without tables; and with EPT's, fully mapped by pages of 4K and logged by
 * write-protection, in whose tables the pages are protected anew.
 *
 * "In place" is what a VM on soft does: whoever wants the marks reads them where they are; here that is the same
 * vector code. "Get" is KVM_GET_DIRTY_LOG, which gives the caller a bitmap of its own; "get and clear" is
 * KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: the log is got, which leaves it as it is, and then all that was in it is
 * cleared.
 *
 * The bitmap is scanned after the guest has written and its faults have used the caches, as a harvest finds its
 * own; and once more at once, when it is in the caches. And without looking it is copied, after a rendezvous with
 * the vCPUs: no harvest that gives its caller a bitmap can do less.
 */
#include "bench.h"

#include <immintrin.h>
#include <string.h>
#include <sys/mman.h>

#include "hypervisor/hv.h"
#include "hypervisor/mmu_ops.h"

#define PAGES (UINT64_C(1) << 20)
#define WORDS (PAGES / 64)
#define DIRTY (PAGES / 100)
#define TIMES 200

/* The clock of a thread's CPU time is a system call of 0.3 us: too much beside what is measured here. */
static double clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* As fast as one core can read it. @return lines with a bit */
__attribute__((target("avx2"))) static size_t scan_avx2(const uint64_t *words, size_t count)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i += 8) {
        __m256i a = _mm256_load_si256((const __m256i *)(const void *)&words[i]);
        __m256i any = _mm256_or_si256(a, _mm256_load_si256((const __m256i *)(const void *)&words[i + 4]));
        found += !_mm256_testz_si256(any, any);
    }
    return found;
}

static size_t scan_sse2(const uint64_t *words, size_t count)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i += 8) {
        const __m128i *v = (const __m128i *)(const void *)&words[i];
        __m128i any = _mm_or_si128(_mm_or_si128(v[0], v[1]), _mm_or_si128(v[2], v[3]));
        found += _mm_movemask_epi8(_mm_cmpeq_epi8(any, _mm_setzero_si128())) != 0xffff;
    }
    return found;
}

static __attribute__((noinline)) size_t scan(const uint64_t *words, size_t count)
{
    __asm__ volatile("" : : "r"(words) : "memory"); /* each time anew */
    return __builtin_cpu_supports("avx2") ? scan_avx2(words, count) : scan_sse2(words, count);
}

/* The page is written, and the hardware may not: it is mapped, or its protection taken back, and logged. */
static void fault(struct hv_vcpu *vcpu, uint64_t gfn)
{
    const struct pt_exit exit_of = {.reason = PT_EXIT_EPT_VIOLATION,
                                    .access = {MV_ACCESS_WRITE, PT_SUPERVISOR},
                                    .gpa = mv_gpa(gfn * GUEST_PAGE_SIZE),
                                    .code = EPT_QUAL_WRITE | EPT_QUAL_HAS_GVA | EPT_QUAL_FINAL};
    if (hv_handle_exit(vcpu, &exit_of) != HV_RETRY) {
        abort();
    }
}

static void map_all(struct hv_vcpu *vcpu)
{
    for (uint64_t gfn = 0; gfn < PAGES; gfn++) {
        rendezvous_enter(&vcpu->inside);
        if (hv_request_take(&vcpu->requests) & HV_REQUEST_RELOAD_ROOT || gfn == 0) {
            (void)vcpu->vm->mmu->load_root(vcpu);
        }
        fault(vcpu, gfn);
        rendezvous_leave(&vcpu->inside);
    }
}

static void mark(struct hv_vcpu *vcpu, uint64_t *seed, bool scattered)
{
    uint64_t first = next_random(seed) % (PAGES - DIRTY);
    rendezvous_enter(&vcpu->inside);
    (void)hv_request_take(&vcpu->requests);
    for (uint64_t i = 0; i < DIRTY; i++) {
        uint64_t gfn = scattered ? next_random(seed) % PAGES : first + i;
        if (vcpu->vm->options.mmu == HV_MMU_NATIVE) {
            (void)hv_guest_bytes(vcpu, mv_gpa(gfn * GUEST_PAGE_SIZE), MV_ACCESS_WRITE);
        } else {
            fault(vcpu, gfn);
        }
    }
    rendezvous_leave(&vcpu->inside);
}

static void look(void *opaque, uint64_t first, const uint64_t *words, uint64_t npages)
{
    (void)first;
    *(size_t *)opaque += scan(words, npages / 64);
}

enum way {
    IN_PLACE,
    GET,
    GET_AND_CLEAR,
    WAYS,
};

static const char *const way_names[WAYS] = {"in place", "get", "get and clear"};

static size_t harvest(struct hv_vm *vm, enum way way, uint64_t *bits)
{
    size_t found = 0;
    if (way == IN_PLACE) {
        must(hv_harvest_dirty_log(vm, 0, look, &found));
        return found;
    }
    must(hv_get_dirty_log(vm, &(struct kvm_dirty_log){.dirty_bitmap = bits}));
    if (way == GET_AND_CLEAR) {
        must(hv_clear_dirty_log(vm, &(struct kvm_clear_dirty_log){.num_pages = PAGES, .dirty_bitmap = bits}));
    }
    return 0;
}

static void measure(struct hv_vm *vm, struct hv_vcpu *vcpu, enum way way, bool scattered, const char *scheme)
{
    double gets[TIMES], scans[TIMES], warm_scans[TIMES], copies[TIMES], marks[TIMES];
    uint64_t seed = 1;
    size_t found = 0, in_place = 0;
    uint64_t *bits = aligned_alloc(64, WORDS * 8), *copy = aligned_alloc(64, WORDS * 8);
    if (!bits || !copy) {
        exit(1);
    }
    memset(bits, 0, WORDS * 8);
    memset(copy, 0, WORDS * 8);
    for (unsigned i = 0; i < TIMES; i++) {
        double start = clock_ns();
        mark(vcpu, &seed, scattered);
        marks[i] = (clock_ns() - start) / DIRTY;
        start = clock_ns();
        in_place += harvest(vm, way, bits);
        gets[i] = clock_ns() - start;
        found += way == IN_PLACE ? scan(bits, WORDS) : 0; /* used as lately as if it had been got */

        mark(vcpu, &seed, scattered);
        start = clock_ns();
        found += scan(bits, WORDS);
        double middle = clock_ns();
        found += scan(bits, WORDS);
        warm_scans[i] = clock_ns() - middle;
        scans[i] = middle - start;
        harvest(vm, GET, bits);
        harvest(vm, GET_AND_CLEAR, bits);

        mark(vcpu, &seed, scattered);
        start = clock_ns();
        (void)rendezvous_wait(&vm->inside);
        memcpy(copy, bits, WORDS * 8);
        copies[i] = clock_ns() - start;
        found += copy[seed % WORDS] == UINT64_MAX;
        in_place += harvest(vm, IN_PLACE, NULL);
    }
    double get = median(gets, TIMES), once = median(scans, TIMES), warm = median(warm_scans, TIMES);
    printf(
        "%-6s %-12s %-13s harvest %5.1f us, scan %5.1f us: %.1f times, wanted 2; a rendezvous and a bare copy %.1f times; a write after it %.0f ns; "
        "scan again %.1f us (%zu, %zu)\n",
        scheme, scattered ? "scattered" : "in one piece", way_names[way], get / 1e3, once / 1e3, get / once,
        median(copies, TIMES) / once, median(marks, TIMES), warm / 1e3, in_place / TIMES, found / TIMES / 2);
    free(bits);
    free(copy);
}

static void measure_scheme(const struct hv_options *options, void *ram, const char *scheme)
{
    struct hv_vm *vm;
    struct hv_vcpu *vcpu;
    must(hv_vm_create(options, &vm));
    must(hv_vcpu_create(vm, 0, &vcpu));
    const struct kvm_userspace_memory_region slot = {.flags = KVM_MEM_LOG_DIRTY_PAGES,
                                                     .memory_size = PAGES * GUEST_PAGE_SIZE,
                                                     .userspace_addr = (uint64_t)(uintptr_t)ram};
    must(hv_set_slot(vm, &slot));
    if (options->mmu != HV_MMU_NATIVE) {
        map_all(vcpu);
        harvest(vm, IN_PLACE, NULL); /* all were new */
    }
    for (enum way way = IN_PLACE; way < WAYS; way++) {
        must(hv_enable_manual_protect(vm, way == GET_AND_CLEAR ? KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE : 0));
        measure(vm, vcpu, way, false, scheme);
        measure(vm, vcpu, way, true, scheme);
    }
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
}

int main(void)
{
    const struct hv_options native = {.mmu = HV_MMU_NATIVE, .level_max = 3, .address_bits = 46};
    const struct hv_options ept = {
        .mmu = HV_MMU_EPT, .tdp_levels = 4, .level_max = 1, .address_bits = 46, .access_dirty = true};
    void *ram = mmap(NULL, PAGES * GUEST_PAGE_SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ram == MAP_FAILED) {
        return 1;
    }
    measure_scheme(&native, ram, "native");
    measure_scheme(&ept, ram, "EPT");
    munmap(ram, PAGES * GUEST_PAGE_SIZE);
    return 0;
}

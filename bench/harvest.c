// SPDX-License-Identifier: MIT
/*
 * Harvesting the dirty log of a slot of 4 GiB, 1 % of it dirty: KVM_GET_DIRTY_LOG of the software hypervisor,
 * against vector code that only looks for a bit that is set in a bitmap of that size. Without tables; and with
 * EPT's, fully mapped by pages of 4K and logged by write-protection, in whose tables the pages are protected anew.
 *
 * "Manual" is KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: the log is got, which leaves it as it is, and then all that was
 * in it is cleared.
 *
 * The bitmap is scanned as the harvest finds it, after the guest has written and its faults have used the caches;
 * and once more at once, when it is in the caches. And without looking or clearing it is copied, after a
 * rendezvous with the vCPUs: no harvest that gives its caller a bitmap, as KVM's does, can do less.
 */
#include "bench.h"

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

typedef uint64_t vector __attribute__((vector_size(16)));

/* As fast as one core can read it. @return blocks with a bit */
static __attribute__((noinline)) size_t scan(const vector *v)
{
    size_t found = 0;
    for (size_t i = 0; i < WORDS / 2; i += 4) {
        vector any = (v[i] | v[i + 1]) | (v[i + 2] | v[i + 3]);
        found += (any[0] | any[1]) != 0;
    }
    return found;
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

static void harvest(struct hv_vm *vm, uint64_t *bits)
{
    must(hv_get_dirty_log(vm, &(struct kvm_dirty_log){.dirty_bitmap = bits}));
    if (vm->manual_protect) {
        must(hv_clear_dirty_log(vm, &(struct kvm_clear_dirty_log){.num_pages = PAGES, .dirty_bitmap = bits}));
    }
}

static void measure(struct hv_vm *vm, struct hv_vcpu *vcpu, bool scattered, const char *name)
{
    double gets[TIMES], scans[TIMES], warm_scans[TIMES], copies[TIMES], marks[TIMES];
    uint64_t seed = 1;
    size_t found = 0;
    uint64_t *bits = aligned_alloc(64, WORDS * 8), *copy = aligned_alloc(64, WORDS * 8);
    if (!bits || !copy) {
        exit(1);
    }
    for (unsigned i = 0; i < TIMES; i++) {
        double start = clock_ns();
        mark(vcpu, &seed, scattered);
        marks[i] = (clock_ns() - start) / DIRTY;
        start = clock_ns();
        harvest(vm, bits);
        gets[i] = clock_ns() - start;

        mark(vcpu, &seed, scattered);
        start = clock_ns();
        found += scan((const vector *)(const void *)bits);
        double middle = clock_ns();
        found += scan((const vector *)(const void *)bits);
        warm_scans[i] = clock_ns() - middle;
        scans[i] = middle - start;
        harvest(vm, bits);

        mark(vcpu, &seed, scattered);
        start = clock_ns();
        (void)rendezvous_wait(&vm->inside);
        memcpy(copy, bits, WORDS * 8);
        copies[i] = clock_ns() - start;
        found += copy[seed % WORDS] == UINT64_MAX;
        harvest(vm, bits);
    }
    double get = median(gets, TIMES), look = median(scans, TIMES), warm = median(warm_scans, TIMES);
    printf(
        "%-22s harvest %5.1f us, scan %5.1f us: %.1f times, wanted 2; a rendezvous and a bare copy %.1f times; a write after it %.0f ns; "
        "scan again %.1f us (%zu)\n",
        name, get / 1e3, look / 1e3, get / look, median(copies, TIMES) / look, median(marks, TIMES), warm / 1e3,
        found / TIMES / 2);
    free(bits);
    free(copy);
}

static void measure_scheme(const struct hv_options *options, void *ram, bool manual, const char *together,
                           const char *scattered)
{
    struct hv_vm *vm;
    struct hv_vcpu *vcpu;
    must(hv_vm_create(options, &vm));
    must(hv_vcpu_create(vm, 0, &vcpu));
    must(hv_enable_manual_protect(vm, manual ? KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE : 0));
    const struct kvm_userspace_memory_region slot = {.flags = KVM_MEM_LOG_DIRTY_PAGES,
                                                     .memory_size = PAGES * GUEST_PAGE_SIZE,
                                                     .userspace_addr = (uint64_t)(uintptr_t)ram};
    must(hv_set_slot(vm, &slot));
    if (options->mmu != HV_MMU_NATIVE) {
        map_all(vcpu);
        uint64_t *bits = calloc(WORDS, 8);
        harvest(vm, bits); /* all were new */
        free(bits);
    }
    measure(vm, vcpu, false, together);
    measure(vm, vcpu, true, scattered);
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
    measure_scheme(&native, ram, false, "native, in one piece", "native, scattered");
    measure_scheme(&ept, ram, false, "EPT, in one piece", "EPT, scattered");
    measure_scheme(&ept, ram, true, "manual, in one piece", "manual, scattered");
    munmap(ram, PAGES * GUEST_PAGE_SIZE);
    return 0;
}

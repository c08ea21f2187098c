// SPDX-License-Identifier: MIT
/*
 * Harvesting the dirty log of a slot of 4 GiB, 1 % of it dirty: KVM_GET_DIRTY_LOG of the software hypervisor,
 * without tables, against vector code that only looks for a bit that is set in a bitmap of that size.
 */
#include "bench.h"

#include <string.h>
#include <sys/mman.h>

#include "hypervisor/hv.h"

#define PAGES (UINT64_C(1) << 20)
#define WORDS (PAGES / 64)
#define DIRTY (PAGES / 100)
#define TIMES 40

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

static void mark(struct hv_vcpu *vcpu, uint64_t *seed, bool scattered)
{
    uint64_t first = next_random(seed) % (PAGES - DIRTY);
    rendezvous_enter(&vcpu->inside);
    (void)hv_request_take(&vcpu->requests);
    for (uint64_t i = 0; i < DIRTY; i++) {
        uint64_t gfn = scattered ? next_random(seed) % PAGES : first + i;
        (void)hv_guest_bytes(vcpu, mv_gpa(gfn * GUEST_PAGE_SIZE), MV_ACCESS_WRITE);
    }
    rendezvous_leave(&vcpu->inside);
}

static void measure(struct hv_vm *vm, struct hv_vcpu *vcpu, bool scattered, const char *name)
{
    double gets[TIMES], scans[TIMES];
    uint64_t seed = 1;
    size_t found = 0;
    uint64_t *bits = aligned_alloc(64, WORDS * 8);
    if (!bits) {
        exit(1);
    }
    const struct kvm_dirty_log log = {.slot = 0, .dirty_bitmap = bits};
    for (unsigned i = 0; i < TIMES; i++) {
        mark(vcpu, &seed, scattered);
        double start = now_ns();
        must(hv_get_dirty_log(vm, &log));
        double middle = now_ns();
        found += scan((const vector *)(const void *)bits);
        scans[i] = now_ns() - middle;
        gets[i] = middle - start;
    }
    double get = median(gets, TIMES), look = median(scans, TIMES);
    printf("%-10s harvest %7.1f us, scan %7.1f us: %.1f times (%zu)\n", name, get / 1e3, look / 1e3, get / look,
           found / TIMES);
    free(bits);
}

int main(void)
{
    const struct hv_options options = {.mmu = HV_MMU_NATIVE, .level_max = 3, .address_bits = 46};
    struct hv_vm *vm;
    struct hv_vcpu *vcpu;
    void *ram = mmap(NULL, PAGES * GUEST_PAGE_SIZE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ram == MAP_FAILED) {
        return 1;
    }
    must(hv_vm_create(&options, &vm));
    must(hv_vcpu_create(vm, 0, &vcpu));
    const struct kvm_userspace_memory_region slot = {.flags = KVM_MEM_LOG_DIRTY_PAGES,
                                                     .memory_size = PAGES * GUEST_PAGE_SIZE,
                                                     .userspace_addr = (uint64_t)(uintptr_t)ram};
    must(hv_set_slot(vm, &slot));
    measure(vm, vcpu, false, "together");
    measure(vm, vcpu, true, "scattered");
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
    munmap(ram, PAGES * GUEST_PAGE_SIZE);
    return 0;
}

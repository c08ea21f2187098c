// SPDX-License-Identifier: MIT
/*
 * What does it cost the hypervisor to map a page whose host page is there, beside what the host's kernel takes to
 * map a page of a shared memfd that it has already? Each page of 1 GiB is written once. The guest's paging is off,
 * so each access is one walk of the second dimension, the exit, the fault, and the walk again. Then two vCPUs, a
 * half each.
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define RAM_BYTES (UINT64_C(1) << 30)
#define PAGE UINT64_C(4096)
#define PAGES (RAM_BYTES / PAGE)

struct guest {
    struct mv_machine *machine;
    struct mv_block *block;
    struct mv_region *ram, *ports;
    struct mv_space *memory, *io;
    struct mv_vm *vm;
    struct mv_vcpu *vcpus[2];
};

static double wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void make_memory(struct guest *g)
{
    struct mv_block_options block = {
        .name = "ram", .kind = MV_BLOCK_MEMFD, .size_bytes = RAM_BYTES, .prealloc = MV_ON};
    must(mv_machine_create(&g->machine, &bench_error));
    must(mv_block_create(g->machine, &block, &g->block, &bench_error));
    g->ram = make_region(g->machine,
                         (struct mv_region_options){
                             .name = "ram", .kind = MV_REGION_RAM, .size_bytes = RAM_BYTES, .block = g->block});
    g->ports = make_region(g->machine, (struct mv_region_options){.name = "io", .size_bytes = 65536});
    must(mv_space_create(g->machine, "memory", g->ram, &g->memory, &bench_error));
    must(mv_space_create(g->machine, "I/O", g->ports, &g->io, &bench_error));
}

/* The VM before this one is freed by threads of liburcu's and the kernel's, which take a processor for a while. */
static void settle(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 100 * 1000 * 1000}, NULL);
}

static void make_vm(struct guest *g, const char *accel)
{
    settle();
    struct mv_vm_options options = {.accel = accel, .memory = g->memory, .io = g->io};
    must(mv_vm_create(&options, &g->vm, &bench_error));
    must(mv_vm_add_vcpu(g->vm, &g->vcpus[0], &bench_error));
    must(mv_vm_add_vcpu(g->vm, &g->vcpus[1], &bench_error));
}

struct part {
    struct mv_vcpu *vcpu;
    uint64_t first, pages;
    double ns; /* of CPU time */
};

static void touch(struct part *p)
{
    struct mv_soft_place place;
    struct mv_soft_outcome outcome;
    for (uint64_t i = 0; i < p->pages; i++) {
        if (mv_soft_touch(p->vcpu, mv_gva(p->first + i * PAGE), MV_ACCESS_WRITE, &place, &outcome) !=
            MV_SOFT_DONE) {
            abort();
        }
    }
}

static pthread_barrier_t start;

/* On a processor of its own: what the scheduler makes of two threads of 10 ms is not the question. */
static void *thread(void *opaque)
{
    struct part *part = opaque;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(part->first > 0, &cpus);
    (void)pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus);
    pthread_barrier_wait(&start);
    double from = now_ns();
    touch(part);
    part->ns = now_ns() - from;
    return NULL;
}

/* One thread: nanoseconds a page. */
static double by_one(struct guest *g, const char *accel, double *ret_second)
{
    make_vm(g, accel);
    struct part all = {.vcpu = g->vcpus[0], .pages = PAGES};
    double from = now_ns();
    touch(&all);
    double between = now_ns();
    touch(&all); /* the same without a fault: 262,144 pages are more than any TLB has */
    *ret_second = (now_ns() - between) / (double)PAGES;
    mv_vm_destroy(g->vm);
    return (between - from) / (double)PAGES;
}

/*
 * The same by two; or by one vCPU each of two VMs, which share nothing: what the machine has to give. By the CPU
 * time of each: what they wait for in each other's lines of the cache, locks and host faults is in it, what else
 * the machine does is not.
 */
static double by_two(struct guest *g, const char *accel, bool apart)
{
    pthread_t threads[2];
    struct guest other = *g;
    make_vm(g, accel);
    if (apart) {
        make_vm(&other, accel);
    }
    struct part halves[2] = {
        {.vcpu = g->vcpus[0], .pages = PAGES / 2},
        {.vcpu = apart ? other.vcpus[0] : g->vcpus[1], .first = RAM_BYTES / 2, .pages = PAGES / 2}};
    pthread_barrier_init(&start, NULL, 3);
    for (unsigned i = 0; i < 2; i++) {
        if (pthread_create(&threads[i], NULL, thread, &halves[i]) != 0) {
            abort();
        }
    }
    pthread_barrier_wait(&start);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&start);
    /* Each does half of the pages: when they do not wait for each other, in half of the time. */
    double ns = (halves[0].ns + halves[1].ns) / 2 / (double)PAGES;
    mv_vm_destroy(g->vm);
    if (apart) {
        mv_vm_destroy(other.vm);
    }
    return ns;
}

/* A new mapping of pages that the kernel has: each write is a minor fault. */
static double by_kernel(int fd)
{
    volatile uint8_t *at = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        abort();
    }
    double from = wall_ns();
    for (uint64_t i = 0; i < PAGES; i++) {
        at[i * PAGE] = 1;
    }
    double ns = (wall_ns() - from) / (double)PAGES;
    munmap((void *)(uintptr_t)at, RAM_BYTES);
    return ns;
}

static void report_memory(struct guest *g)
{
    struct mv_soft_counts counts;
    make_vm(g, "soft,mmu=ept,host-page=4K");
    struct part all = {.vcpu = g->vcpus[0], .pages = PAGES};
    touch(&all);
    mv_soft_counts(g->vcpus[0], &counts);
    printf("tables and what describes them: %.4f %% of the memory that they map (wanted 0.25, of 4 GiB)\n",
           100.0 * (double)counts.table_bytes / (double)RAM_BYTES);
    mv_vm_destroy(g->vm);
}

int main(void)
{
    static const char *const accels[] = {"soft,mmu=ept,host-page=4K", "soft,mmu=npt,host-page=4K"};
    struct guest g;
    double kernel[ROUNDS], one[ROUNDS], again[ROUNDS], two[ROUNDS], apart[ROUNDS];
    make_memory(&g);
    int fd = memfd_create("bench", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)RAM_BYTES) < 0) {
        abort();
    }
    by_kernel(fd); /* now it has the pages */
    for (unsigned a = 0; a < 2; a++) {
        for (unsigned r = 0; r < ROUNDS; r++) {
            kernel[r] = by_kernel(fd);
            one[r] = by_one(&g, accels[a], &again[r]);
            two[r] = one[r] / by_two(&g, accels[a], false);
            apart[r] = one[r] / by_two(&g, accels[a], true);
        }
        double host = median(kernel, ROUNDS), ours = median(one, ROUNDS);
        printf(
            "%s: a fault %.0f ns, %.2f of the host's minor fault of %.0f ns (wanted 0.33); the access alone %.0f ns\n",
            accels[a] + 5, ours, ours / host, host, median(again, ROUNDS));
        printf("%s: two vCPUs %.2f times one (wanted 1.7); of two VMs, which share nothing, %.2f\n", accels[a] + 5,
               median(two, ROUNDS), median(apart, ROUNDS));
    }
    report_memory(&g);
    return 0;
}

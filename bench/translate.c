// SPDX-License-Identifier: MIT
/*
 * What does a guest-virtual address cost? `hit`: 8 bytes of 64 hot pages through a window, beside the same loop
 * over a plain array with a bounds check. `miss`: a translation that no cache has, with tables that the
 * processor's caches have, beside one dependent load that they have not.
 */
#include <string.h>

#include "bench.h"

#define GIB (UINT64_C(1) << 30)
#define RAM_BYTES (GIB / 4)
#define GVA UINT64_C(0x7f0000000000)
#define TABLES UINT64_C(0x1000000) /* root, PDPT, PD, then tables of 4K pages */
#define HOT_PAGES 64
#define COUNT 20000000u

struct guest {
    struct mv_machine *machine;
    struct mv_block *block;
    struct mv_region *ram, *ports;
    struct mv_vm *vm;
    struct mv_vcpu *vcpu;
    struct mv_soft_window window;
    uint8_t *host;
};

static void set_registers(struct guest *g)
{
    struct kvm_sregs sregs;
    must(mv_vcpu_get_sregs(g->vcpu, &sregs, &bench_error));
    sregs.cr0 = UINT64_C(0x80010001);
    sregs.cr3 = TABLES;
    sregs.cr4 = 0xa0;
    sregs.efer = 0xd00;
    must(mv_vcpu_set_sregs(g->vcpu, &sregs, &bench_error));
}

/* 4K pages, gva to gpa one to one from GVA and 0. */
static void make_tables(struct guest *g)
{
    uint64_t *at = (uint64_t *)(void *)(g->host + TABLES);
    at[(GVA >> 39) & 511] = (TABLES + 4096) | 0x27;
    at[512 + ((GVA >> 30) & 511)] = (TABLES + 8192) | 0x27;
    for (uint64_t i = 0; i < RAM_BYTES >> 21; i++) {
        at[1024 + i] = (TABLES + 12288 + i * 4096) | 0x27;
    }
    for (uint64_t i = 0; i < RAM_BYTES >> 12; i++) {
        at[1536 + i] = i << 12 | 0x67;
    }
}

static void make(struct guest *g, const char *accel)
{
    struct mv_block_options block = {.name = "ram", .size_bytes = RAM_BYTES};
    struct mv_vm_options options = {.accel = accel};
    struct mv_block_info info;
    must(mv_machine_create(&g->machine, &bench_error));
    must(mv_block_create(g->machine, &block, &g->block, &bench_error));
    g->ram = make_region(g->machine,
                         (struct mv_region_options){
                             .name = "ram", .kind = MV_REGION_RAM, .size_bytes = RAM_BYTES, .block = g->block});
    g->ports = make_region(g->machine, (struct mv_region_options){.name = "io", .size_bytes = 65536});
    must(mv_space_create(g->machine, "memory", g->ram, &options.memory, &bench_error));
    must(mv_space_create(g->machine, "I/O", g->ports, &options.io, &bench_error));
    mv_block_info(g->block, &info);
    g->host = (uint8_t *)(uintptr_t)info.hva.raw;
    memset(g->host, 0, RAM_BYTES);
    make_tables(g);
    must(mv_vm_create(&options, &g->vm, &bench_error));
    must(mv_vm_add_vcpu(g->vm, &g->vcpu, &bench_error));
    set_registers(g);
    must(mv_soft_window_open(g->vcpu, &g->window));
}

static volatile uint64_t sink;
static uint64_t hot[HOT_PAGES];

static double plain_array(const uint8_t *array, uint64_t size)
{
    uint64_t state = 88172645463325252u, sum = 0;
    double from = now_ns();
    for (unsigned i = 0; i < COUNT; i++) {
        uint64_t x = next_random(&state), at = hot[x % HOT_PAGES] + (x >> 8 & 0xff8), value;
        if (at + 8 > size) {
            abort();
        }
        memcpy(&value, array + at, 8);
        sum += value;
    }
    sink = sum;
    return (now_ns() - from) / COUNT;
}

static double by_window(const struct guest *g)
{
    const struct mv_soft_window window = g->window; /* in registers */
    struct mv_soft_outcome outcome;
    uint64_t state = 88172645463325252u, sum = 0;
    double from = now_ns();
    for (unsigned i = 0; i < COUNT; i++) {
        uint64_t x = next_random(&state), at = hot[x % HOT_PAGES] + (x >> 8 & 0xff8), value;
        if (mv_soft_window_read64(&window, mv_gva(GVA + at), &value, &outcome) != MV_SOFT_DONE) {
            abort();
        }
        sum += value;
    }
    sink = sum;
    return (now_ns() - from) / COUNT;
}

static double by_call(const struct guest *g)
{
    struct mv_soft_outcome outcome;
    uint64_t state = 88172645463325252u, sum = 0;
    double from = now_ns();
    for (unsigned i = 0; i < COUNT / 10; i++) {
        uint64_t x = next_random(&state), at = hot[x % HOT_PAGES] + (x >> 8 & 0xff8), value;
        if (mv_soft_read(g->vcpu, mv_gva(GVA + at), &value, 8, MV_SOFT_EXPLICIT, &outcome) != MV_SOFT_DONE) {
            abort();
        }
        sum += value;
    }
    sink = sum;
    return (now_ns() - from) / (COUNT / 10);
}

/* More pages than the front has, each once in turn: always a miss; their 8 tables stay in the caches. */
static double by_miss(const struct guest *g)
{
    struct mv_soft_outcome outcome;
    struct mv_soft_place place;
    unsigned count = 2000000;
    double from = now_ns();
    for (unsigned i = 0; i < count; i++) {
        if (mv_soft_touch(g->vcpu, mv_gva(GVA + (uint64_t)(i & 4095) * 4096), MV_ACCESS_READ, &place, &outcome) !=
            MV_SOFT_DONE) {
            abort();
        }
    }
    return (now_ns() - from) / count;
}

/* A chain through all lines of 1 GiB, in an order that nobody guesses. */
static double dependent_load(void)
{
    size_t lines = GIB / 64;
    uint64_t(*line)[8] = aligned_alloc(4096, GIB);
    if (!line) {
        abort();
    }
    for (size_t i = 0; i < lines; i++) {
        line[i][0] = (i * UINT64_C(6364136223846793005) + 1442695040888963407u) & (lines - 1);
    }
    unsigned count = 5000000;
    uint64_t at = 0;
    double from = now_ns();
    for (unsigned i = 0; i < count; i++) {
        at = line[at][0];
    }
    sink = at;
    double ns = (now_ns() - from) / count;
    free(line);
    return ns;
}

int main(void)
{
    static const char *const accels[] = {"soft,mmu=native",
                                         "soft,mmu=ept",
                                         "soft,mmu=npt",
                                         "soft,mmu=native,walk-caches=off",
                                         "soft,mmu=ept,walk-caches=off",
                                         "soft,mmu=npt,walk-caches=off"};
    double array[ROUNDS], window[ROUNDS], call[ROUNDS], miss[ROUNDS], load[ROUNDS];
    uint64_t state = 7;
    for (unsigned i = 0; i < HOT_PAGES; i++) { /* spread over all of it, each with a line of its own */
        uint64_t line = i * (MV_SOFT_LINES / HOT_PAGES) + next_random(&state) % (MV_SOFT_LINES / HOT_PAGES);
        hot[i] = ((next_random(&state) % (RAM_BYTES >> 22)) * MV_SOFT_LINES + line) << 12;
    }
    for (unsigned r = 0; r < ROUNDS; r++) {
        load[r] = dependent_load();
    }
    double random_load = median(load, ROUNDS);
    printf("a dependent load from 1 GiB: %.1f ns\n", random_load);
    for (unsigned a = 0; a < sizeof accels / sizeof accels[0]; a++) {
        struct guest g;
        make(&g, accels[a]);
        by_window(&g);
        by_miss(&g);
        for (unsigned r = 0; r < ROUNDS; r++) {
            array[r] = plain_array(g.host, RAM_BYTES);
            window[r] = by_window(&g);
            call[r] = by_call(&g);
            miss[r] = by_miss(&g);
        }
        double plain = median(array, ROUNDS);
        printf("%-30s hit: array %.2f ns, window %.2f ns, ratio %.2f (wanted 2); by a call %.1f ns\n",
               accels[a] + 5, plain, median(window, ROUNDS), median(window, ROUNDS) / plain, median(call, ROUNDS));
        printf("%-30s miss: %.1f ns, %.2f of the dependent load (wanted, for a walk of 4 levels: 0.4)\n",
               accels[a] + 5, median(miss, ROUNDS), median(miss, ROUNDS) / random_load);
        mv_vm_destroy(g.vm);
    }
    return 0;
}

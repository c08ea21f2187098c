// SPDX-License-Identifier: MIT
/*
 * What do edits cost those who read meanwhile? Two threads read RAM all over 1 GiB of 64 regions; then the same
 * while a third thread edits the tree without a pause. Reads per second of the readers' own CPU time; the machine
 * may have fewer processors than threads.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "bench.h"

#define GIB (UINT64_C(1) << 30)
#define REGIONS 64

static atomic_bool go, stop, stop_editing;
static struct mv_machine *machine;
static struct mv_region *root;
static struct mv_space *space;
static atomic_ullong edits, wrong;

struct reader {
    pthread_t thread;
    double reads_per_second;
};

static void *read_on(void *opaque)
{
    struct reader *me = opaque;
    uint64_t state = (uint64_t)(uintptr_t)me | 1, count = 0, lost = 0;
    while (!atomic_load(&go)) {}
    double from = now_ns();
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        for (unsigned i = 0; i < 1000; i++) {
            uint64_t value, x = next_random(&state);
            uint64_t address = (x & 63) * (GIB / 64) + (x >> 8 & 0x1ff8); /* hot: a few pages of each region */
            lost += mv_space_read(space, mv_gpa(address), &value, 8, MV_ATTRS_NONE) != MV_OK ||
                    value != UINT64_C(0x0101010101010101);
        }
        count += 1000;
    }
    me->reads_per_second = (double)count / ((now_ns() - from) / 1e9);
    atomic_fetch_add(&wrong, lost);
    return NULL;
}

static void *edit_on(void *opaque)
{
    struct mv_region *extra = make_region(
        machine, (struct mv_region_options){.name = "extra", .kind = MV_REGION_MMIO, .size_bytes = 4096});
    (void)opaque;
    while (!atomic_load(&stop_editing)) {
        must(mv_region_add(root, 2 * GIB, extra, 0, &bench_error));
        must(mv_region_remove(extra, &bench_error));
        atomic_fetch_add(&edits, 2);
    }
    mv_region_put(extra);
    return NULL;
}

static double measure(bool editing)
{
    struct reader readers[2];
    pthread_t editor;
    struct timespec second = {.tv_sec = 1};
    atomic_store(&go, false);
    atomic_store(&stop, false);
    atomic_store(&stop_editing, false);
    for (int i = 0; i < 2; i++) {
        pthread_create(&readers[i].thread, NULL, read_on, &readers[i]);
    }
    if (editing) {
        pthread_create(&editor, NULL, edit_on, NULL);
    }
    atomic_store(&go, true);
    nanosleep(&second, NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(readers[i].thread, NULL);
    }
    if (editing) {
        atomic_store(&stop_editing, true);
        pthread_join(editor, NULL);
    }
    return readers[0].reads_per_second + readers[1].reads_per_second;
}

int main(void)
{
    struct mv_block *block;
    struct mv_block_info info;
    double alone[ROUNDS], edited[ROUNDS];
    must(mv_machine_create(&machine, &bench_error));
    must(mv_block_create(machine, &(struct mv_block_options){.name = "ram", .size_bytes = GIB}, &block,
                         &bench_error));
    mv_block_info(block, &info);
    memset((void *)(uintptr_t)info.hva.raw, 1, GIB);
    root = make_region(machine, (struct mv_region_options){.name = "root", .size_bytes = MV_SIZE_2_64});
    must(mv_space_create(machine, "memory", root, &space, &bench_error));
    for (unsigned i = 0; i < REGIONS; i++) {
        struct mv_region *r = make_region(
            machine, (struct mv_region_options){.name = "ram",
                                                .kind = MV_REGION_RAM,
                                                .size_bytes = GIB / REGIONS,
                                                .block = block,
                                                .block_offset_bytes = (REGIONS - 1 - i) * (GIB / REGIONS)});
        must(mv_region_add(root, i * (GIB / REGIONS), r, 0, &bench_error));
        mv_region_put(r);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        alone[i] = measure(false);
        edited[i] = measure(true);
    }
    double a = median(alone, ROUNDS), e = median(edited, ROUNDS);
    printf(
        "two readers: %.0f million reads a second; with %.0f edits a second beside them %.0f million (%.0f %%); wrong reads: %llu\n",
        a / 1e6, (double)atomic_load(&edits) / ROUNDS, e / 1e6, 100 * e / a, atomic_load(&wrong));
    mv_space_destroy(space);
    mv_region_put(root);
    mv_block_put(block);
    mv_machine_destroy(machine);
    return atomic_load(&wrong) != 0;
}

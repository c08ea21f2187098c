// SPDX-License-Identifier: MIT
/*
 * What do edits cost those who read meanwhile? Two threads read RAM all over 1 GiB of 64 regions, and beside them
 *      nothing    else is done;
 *      work       a third thread computes, in registers alone;
 *      edits      the third thread edits the tree without a pause.
 * Counted are reads per second of the readers' own CPU time, for the machine may have fewer processors than
 * threads. Then a third thread, whatever it does, costs the readers something too: it takes turns with them. So
 * `edits` is compared with both: with `nothing`, which is what a reader sees, and with `work`, which leaves what
 * is due to the edits.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "bench.h"

#define GIB (UINT64_C(1) << 30)
#define REGIONS 64

enum beside {
    NOTHING,
    WORK,
    EDITS,
    MODES,
};

static atomic_bool go, stop, stop_beside;
static struct mv_machine *machine;
static struct mv_region *root;
static struct mv_space *space;

/* Each thread's own, in lines of the cache of its own. */
struct reader {
    _Alignas(128) pthread_t thread;
    double reads_per_second;
    unsigned long long wrong;
};

struct editor {
    _Alignas(128) pthread_t thread;
    double edits_per_second; /* of its CPU time */
    uint64_t result;
};

static unsigned long long wrong;

static void *read_on(void *opaque)
{
    struct reader *me = opaque;
    struct mv_space *where = space;
    uint64_t state = (uint64_t)(uintptr_t)me | 1, count = 0, lost = 0;
    while (!atomic_load(&go)) {}
    double from = now_ns();
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        for (unsigned i = 0; i < 1000; i++) {
            uint64_t value, x = next_random(&state);
            uint64_t address = (x & 63) * (GIB / 64) + (x >> 8 & 0x1ff8); /* hot: a few pages of each region */
            lost += mv_space_read(where, mv_gpa(address), &value, 8, MV_ATTRS_NONE) != MV_OK ||
                    value != UINT64_C(0x0101010101010101);
        }
        count += 1000;
    }
    me->reads_per_second = (double)count / ((now_ns() - from) / 1e9);
    me->wrong = lost;
    return NULL;
}

static void *work_on(void *opaque)
{
    struct editor *me = opaque;
    uint64_t state = 1;
    while (!atomic_load_explicit(&stop_beside, memory_order_relaxed)) {
        for (unsigned i = 0; i < 1000; i++) {
            next_random(&state);
        }
    }
    me->result = state;
    return NULL;
}

static void *edit_on(void *opaque)
{
    struct editor *me = opaque;
    struct mv_region *extra = make_region(
        machine, (struct mv_region_options){.name = "extra", .kind = MV_REGION_MMIO, .size_bytes = 4096});
    uint64_t edits = 0;
    double from = now_ns();
    while (!atomic_load_explicit(&stop_beside, memory_order_relaxed)) {
        must(mv_region_add(root, 2 * GIB, extra, 0, &bench_error));
        must(mv_region_remove(extra, &bench_error));
        edits += 2;
    }
    me->edits_per_second = (double)edits / ((now_ns() - from) / 1e9);
    mv_region_put(extra);
    return NULL;
}

static double measure(enum beside beside, double *ret_edits_per_second)
{
    static struct reader readers[2];
    static struct editor third;
    struct timespec second = {.tv_sec = 1};
    atomic_store(&go, false);
    atomic_store(&stop, false);
    atomic_store(&stop_beside, false);
    for (int i = 0; i < 2; i++) {
        pthread_create(&readers[i].thread, NULL, read_on, &readers[i]);
    }
    if (beside != NOTHING) {
        pthread_create(&third.thread, NULL, beside == WORK ? work_on : edit_on, &third);
    }
    atomic_store(&go, true);
    nanosleep(&second, NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(readers[i].thread, NULL);
        wrong += readers[i].wrong;
    }
    if (beside != NOTHING) {
        atomic_store(&stop_beside, true);
        pthread_join(third.thread, NULL);
    }
    *ret_edits_per_second = third.edits_per_second;
    return readers[0].reads_per_second + readers[1].reads_per_second;
}

/* The runs of a round are next to each other in time: the ratios within a round are better than those of medians.
 */
static void report(double reads[MODES][ROUNDS], double *edits)
{
    double of_nothing[ROUNDS], of_work[ROUNDS];
    for (unsigned i = 0; i < ROUNDS; i++) {
        of_nothing[i] = 100 * reads[EDITS][i] / reads[NOTHING][i];
        of_work[i] = 100 * reads[EDITS][i] / reads[WORK][i];
    }
    printf("two readers, million reads a second of CPU time: %.0f, beside work %.0f, beside edits %.0f\n",
           median(reads[NOTHING], ROUNDS) / 1e6, median(reads[WORK], ROUNDS) / 1e6,
           median(reads[EDITS], ROUNDS) / 1e6);
    printf(
        "kept beside edits: %.0f %% of nothing, %.0f %% of work; edits a second of CPU time: %.0f; wrong reads: %llu\n",
        median(of_nothing, ROUNDS), median(of_work, ROUNDS), median(edits, ROUNDS), wrong);
}

int main(void)
{
    struct mv_block *block;
    struct mv_block_info info;
    double reads[MODES][ROUNDS], edits[ROUNDS];
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
        for (enum beside beside = NOTHING; beside < MODES; beside++) {
            reads[beside][i] = measure(beside, &edits[i]);
        }
    }
    report(reads, edits);
    mv_space_destroy(space);
    mv_region_put(root);
    mv_block_put(block);
    mv_machine_destroy(machine);
    return wrong != 0;
}

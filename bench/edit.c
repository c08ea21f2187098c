// SPDX-License-Identifier: MIT
/*
 * What does one edit cost when there are N regions? N regions of 4 KiB with gaps of 4 KiB are added one
 * transaction each, then removed the same way, without and with a listener. Beside it: what it would be if it did
 * not grow at all.
 */
#include "bench.h"

static const struct mv_listener_ops listens;

static double measure(unsigned n, bool with_listener)
{
    struct mv_machine *machine;
    struct mv_block *block;
    struct mv_space *space;
    struct mv_listener *listener = NULL;
    must(mv_machine_create(&machine, &bench_error));
    must(mv_block_create(machine, &(struct mv_block_options){.name = "b", .size_bytes = 4096}, &block,
                         &bench_error));
    struct mv_region *root =
        make_region(machine, (struct mv_region_options){.name = "r", .size_bytes = MV_SIZE_2_64});
    must(mv_space_create(machine, "memory", root, &space, &bench_error));
    if (with_listener) {
        must(mv_listener_create(space, &listens, NULL, 0, &listener, &bench_error));
    }
    struct mv_region **regions = calloc(n, sizeof(struct mv_region *));
    for (unsigned i = 0; i < n; i++) {
        regions[i] = make_region(
            machine,
            (struct mv_region_options){.name = "page", .kind = MV_REGION_RAM, .size_bytes = 4096, .block = block});
    }
    double from = now_ns();
    for (unsigned i = 0; i < n; i++) {
        must(mv_region_add(root, (uint64_t)i * 8192, regions[i], 0, &bench_error));
    }
    for (unsigned i = 0; i < n; i++) {
        must(mv_region_remove(regions[i], &bench_error));
    }
    double cost = (now_ns() - from) / n / 2;
    mv_listener_destroy(listener);
    mv_space_destroy(space);
    for (unsigned i = 0; i < n; i++) {
        mv_region_put(regions[i]);
    }
    free(regions);
    mv_region_put(root);
    mv_block_put(block);
    mv_machine_destroy(machine);
    return cost;
}

int main(void)
{
    static const unsigned sizes[] = {1024, 16384, 65536};
    for (int with_listener = 0; with_listener < 2; with_listener++) {
        double costs[3];
        for (size_t i = 0; i < 3; i++) {
            double rounds[ROUNDS];
            for (unsigned k = 0; k < ROUNDS; k++) {
                rounds[k] = measure(sizes[i], with_listener);
            }
            costs[i] = median(rounds, ROUNDS);
            printf("edit %s, N = %5u: %.2f us\n", with_listener ? "with a listener" : "without one", sizes[i],
                   costs[i] / 1000);
        }
        printf("edit_cost_ratio 65536/1024: %.2f\n", costs[2] / costs[0]);
    }
    return 0;
}

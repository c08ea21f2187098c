// SPDX-License-Identifier: MIT
/* What is a second thread worth when 1 GiB is populated? Beside it: one memset of the same memory. Elapsed time.
 */
#include "bench.h"

#include <string.h>

#define SIZE_BYTES (UINT64_C(1) << 30)

static double elapsed_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* 0 threads: the library only maps it, and memset touches it. */
static double measure(struct mv_machine *machine, unsigned nthreads, enum mv_choice thp)
{
    const struct mv_block_options options = {
        .name = "b",
        .size_bytes = SIZE_BYTES,
        .thp = thp,
        .prealloc = nthreads ? MV_ON : MV_OFF,
        .populate = {.nthreads = nthreads},
    };
    struct mv_block *block;
    struct mv_block_info info;
    double from = elapsed_ns();
    must(mv_block_create(machine, &options, &block, &bench_error));
    if (nthreads == 0) {
        mv_block_info(block, &info);
        memset((void *)(uintptr_t)info.hva.raw, 1, SIZE_BYTES);
    }
    double took = elapsed_ns() - from;
    mv_block_put(block);
    return took;
}

int main(void)
{
    struct mv_machine *machine;
    must(mv_machine_create(&machine, &bench_error));
    for (unsigned huge = 0; huge < 2; huge++) {
        double rounds[3][ROUNDS], ms[3];
        for (unsigned k = 0; k < ROUNDS; k++) {
            for (unsigned nthreads = 0; nthreads < 3; nthreads++) {
                rounds[nthreads][k] = measure(machine, nthreads, huge ? MV_ON : MV_OFF);
            }
        }
        for (unsigned nthreads = 0; nthreads < 3; nthreads++) {
            ms[nthreads] = median(rounds[nthreads], ROUNDS) / 1e6;
        }
        printf("prealloc of 1 GiB, thp %-3s: memset %.0f ms, 1 thread %.0f ms, 2 threads %.0f ms; "
               "prealloc_ratio 1/2: %.2f\n",
               huge ? "on" : "off", ms[0], ms[1], ms[2], ms[1] / ms[2]);
    }
    mv_machine_destroy(machine);
    return 0;
}

// SPDX-License-Identifier: MIT
/*
 * The same questions as bench/access.c and bench/edit.c, asked of unicorn (QEMU's memory API inside): 8 bytes of
 * guest RAM, and one more region among N. It aborts beyond some 4000 regions, so N is small.
 */
#include <string.h>
#include <unicorn/unicorn.h>

#include "bench.h"

#define GIB (UINT64_C(1) << 30)

static void check(uc_err error)
{
    if (error != UC_ERR_OK) {
        fprintf(stderr, "bench: unicorn: %s\n", uc_strerror(error));
        exit(1);
    }
}

static uc_engine *open_engine(void)
{
    uc_engine *uc;
    check(uc_open(UC_ARCH_X86, UC_MODE_64, &uc));
    return uc;
}

static double time_reads(uc_engine *uc, const uint64_t *pages)
{
    const unsigned count = 3000000;
    uint64_t state = UINT64_C(88172645463325252), sum = 0;
    double from = now_ns();
    for (unsigned i = 0; i < count; i++) {
        uint64_t value, x = next_random(&state);
        check(uc_mem_read(uc, pages[x % 64] + (x >> 8 & 0xff8), &value, 8));
        sum += value;
    }
    double cost = (now_ns() - from) / count;
    return sum ? cost : 0;
}

static void reads(unsigned regions)
{
    uc_engine *uc = open_engine();
    uint64_t pages[64];
    double rounds[ROUNDS];
    for (unsigned i = 0; i < regions; i++) {
        check(uc_mem_map(uc, i * (GIB / regions), GIB / regions, UC_PROT_ALL));
    }
    for (unsigned i = 0; i < 64; i++) {
        uint64_t one = 1;
        pages[i] = i * (GIB / 64) + i * 37 % 4096 * 4096;
        check(uc_mem_write(uc, pages[i], &one, 8));
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        rounds[i] = time_reads(uc, pages);
    }
    printf("hot %3u regions   unicorn uc_mem_read %6.2f ns\n", regions, median(rounds, ROUNDS));
    check(uc_close(uc));
}

static void edits(unsigned n)
{
    uc_engine *uc = open_engine();
    double from = now_ns();
    for (unsigned i = 0; i < n; i++) {
        check(uc_mem_map(uc, (uint64_t)i * 8192, 4096, UC_PROT_ALL));
    }
    printf("edit N = %5u: unicorn uc_mem_map %.1f us\n", n, (now_ns() - from) / n / 1000);
    check(uc_close(uc));
}

int main(void)
{
    reads(1);
    reads(64);
    edits(256);
    edits(1024);
    return 0;
}

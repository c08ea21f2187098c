// SPDX-License-Identifier: MIT
/*
 * What does a read of 8 bytes of guest RAM cost, beside the load itself? 1 GiB in 1 and in 64 regions; `hot` is 64
 * pages spread over all of it, `random` anywhere. The loop over addresses is the same for all.
 */
#include <string.h>

#include "bench.h"

#define GIB (UINT64_C(1) << 30)
#define HOT_PAGES 64

struct memory {
    struct mv_machine *machine;
    struct mv_block *block;
    struct mv_region *root;
    struct mv_space *space;
    const unsigned char *host;
};

/* Regions lie in the block in the opposite order, so that one piece does not continue another. */
static void open_memory(struct memory *m, unsigned regions)
{
    struct mv_block_info info;
    must(mv_machine_create(&m->machine, &bench_error));
    must(mv_block_create(m->machine, &(struct mv_block_options){.name = "ram", .size_bytes = GIB}, &m->block,
                         &bench_error));
    m->root = make_region(m->machine, (struct mv_region_options){.name = "root", .size_bytes = MV_SIZE_2_64});
    must(mv_space_create(m->machine, "memory", m->root, &m->space, &bench_error));
    uint64_t size = GIB / regions;
    for (unsigned i = 0; i < regions; i++) {
        struct mv_region *r =
            make_region(m->machine, (struct mv_region_options){.name = "ram",
                                                               .kind = MV_REGION_RAM,
                                                               .size_bytes = size,
                                                               .block = m->block,
                                                               .block_offset_bytes = (regions - 1 - i) * size});
        must(mv_region_add(m->root, i * size, r, 0, &bench_error));
        mv_region_put(r);
    }
    mv_block_info(m->block, &info);
    m->host = (const unsigned char *)(uintptr_t)info.hva.raw;
    memset((void *)(uintptr_t)info.hva.raw, 1, GIB);
}

static void close_memory(struct memory *m)
{
    mv_space_destroy(m->space);
    mv_region_put(m->root);
    mv_block_put(m->block);
    mv_machine_destroy(m->machine);
}

enum pattern {
    HOT,
    RANDOM,
};

static uint64_t hot_pages[HOT_PAGES];

static inline uint64_t address_of(enum pattern pattern, uint64_t *state)
{
    uint64_t x = next_random(state);
    return pattern == HOT ? hot_pages[x % HOT_PAGES] + (x >> 8 & 0xff8) : x & (GIB - 8);
}

static volatile uint64_t sink;

#define LOOP(read_it)                                                                                             \
    do {                                                                                                          \
        uint64_t state = UINT64_C(88172645463325252), sum = 0;                                                    \
        double from = now_ns();                                                                                   \
        for (unsigned i = 0; i < count; i++) {                                                                    \
            uint64_t address = address_of(pattern, &state), value;                                                \
            read_it;                                                                                              \
            sum += value;                                                                                         \
        }                                                                                                         \
        sink = sum;                                                                                               \
        return (now_ns() - from) / count;                                                                         \
    } while (0)

static inline __attribute__((always_inline)) double time_raw_of(const struct memory *m, enum pattern pattern,
                                                                unsigned count)
{
    LOOP(memcpy(&value, m->host + address, 8));
}

static inline __attribute__((always_inline)) double time_space_of(const struct memory *m, enum pattern pattern,
                                                                  unsigned count)
{
    LOOP(mv_space_read(m->space, mv_gpa(address), &value, 8, MV_ATTRS_NONE));
}

static inline __attribute__((always_inline)) double time_reader_of(struct mv_reader *reader, enum pattern pattern,
                                                                   unsigned count)
{
    LOOP(mv_reader_read64(reader, mv_gpa(address), &value));
}

static void measure(const struct memory *m, unsigned regions, enum pattern pattern)
{
    static struct mv_reader reader;
    double raw[ROUNDS], space[ROUNDS], read[ROUNDS];
    unsigned count = pattern == HOT ? 40000000 : 10000000;
    mv_reader_init(&reader, m->space);
    for (unsigned i = 0; i < ROUNDS; i++) {
        raw[i] = pattern == HOT ? time_raw_of(m, HOT, count) : time_raw_of(m, RANDOM, count);
        space[i] = pattern == HOT ? time_space_of(m, HOT, count) : time_space_of(m, RANDOM, count);
        read[i] = pattern == HOT ? time_reader_of(&reader, HOT, count) : time_reader_of(&reader, RANDOM, count);
    }
    mv_reader_finish(&reader);
    double r = median(raw, ROUNDS), s = median(space, ROUNDS), q = median(read, ROUNDS);
    printf(
        "%-7s %3u regions   raw load %6.2f ns   mv_space_read %6.2f ns (%.2fx)   mv_reader_read64 %6.2f ns (%.2fx)\n",
        pattern == HOT ? "hot" : "random", regions, r, s, s / r, q, q / r);
}

int main(void)
{
    static const unsigned counts[] = {1, 64};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct memory m;
        open_memory(&m, counts[i]);
        for (unsigned p = 0; p < HOT_PAGES; p++) {
            hot_pages[p] = p * (GIB / HOT_PAGES) + p * 37 % 4096 * 4096;
        }
        measure(&m, counts[i], HOT);
        measure(&m, counts[i], RANDOM);
        close_memory(&m);
    }
    return 0;
}

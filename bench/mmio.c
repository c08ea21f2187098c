// SPDX-License-Identifier: MIT
/* What does it cost to get to a device's handler, over the handler's own cost? 64 and 4096 regions of 4 KiB, in
 * turn. */
#include "bench.h"

static volatile uint64_t touched;

static __attribute__((noinline)) enum mv_result read_it(void *opaque, uint64_t offset, unsigned size_bytes,
                                                        uint64_t *ret_value, struct mv_attrs attrs)
{
    (void)opaque, (void)size_bytes, (void)attrs;
    *ret_value = offset + touched;
    return MV_OK;
}

static __attribute__((noinline)) enum mv_result write_it(void *opaque, uint64_t offset, unsigned size_bytes,
                                                         uint64_t value, struct mv_attrs attrs)
{
    (void)opaque, (void)size_bytes, (void)attrs, (void)offset;
    touched = value;
    return MV_OK;
}

static const struct mv_mmio_ops ops = {
    .read = read_it,
    .write = write_it,
    .valid = {.min_bytes = 1, .max_bytes = 8},
    .impl = {.min_bytes = 1, .max_bytes = 8},
};

#define COUNT 5000000u

static double time_direct(void)
{
    const struct mv_mmio_ops *volatile through = &ops; /* called through a pointer, as any handler is */
    double from = now_ns();
    for (unsigned i = 0; i < COUNT; i++) {
        uint64_t value;
        through->read(NULL, i % 512 * 8, 8, &value, MV_ATTRS_NONE);
    }
    return (now_ns() - from) / COUNT;
}

static double time_reads(struct mv_space *space, unsigned regions)
{
    double from = now_ns();
    for (unsigned i = 0; i < COUNT; i++) {
        uint64_t value;
        mv_space_read(space, mv_gpa((uint64_t)(i % regions) * 4096 + 8), &value, 8, MV_ATTRS_NONE);
    }
    return (now_ns() - from) / COUNT;
}

static double time_writes(struct mv_space *space, unsigned regions)
{
    double from = now_ns();
    for (unsigned i = 0; i < COUNT; i++) {
        uint64_t value = i;
        mv_space_write(space, mv_gpa((uint64_t)(i % regions) * 4096 + 8), &value, 8, MV_ATTRS_NONE);
    }
    return (now_ns() - from) / COUNT;
}

static void measure(unsigned regions)
{
    struct mv_machine *machine;
    struct mv_space *space;
    double direct[ROUNDS], reads[ROUNDS], writes[ROUNDS];
    must(mv_machine_create(&machine, &bench_error));
    struct mv_region *root =
        make_region(machine, (struct mv_region_options){.name = "r", .size_bytes = MV_SIZE_2_64});
    must(mv_machine_begin(machine, &bench_error));
    for (unsigned i = 0; i < regions; i++) {
        struct mv_region *r = make_region(
            machine,
            (struct mv_region_options){.name = "device", .kind = MV_REGION_MMIO, .size_bytes = 4096, .ops = &ops});
        must(mv_region_add(root, (uint64_t)i * 4096, r, 0, &bench_error));
        mv_region_put(r);
    }
    must(mv_machine_commit(machine, &bench_error));
    must(mv_space_create(machine, "memory", root, &space, &bench_error));
    for (unsigned i = 0; i < ROUNDS; i++) {
        direct[i] = time_direct();
        reads[i] = time_reads(space, regions);
        writes[i] = time_writes(space, regions);
    }
    double d = median(direct, ROUNDS), r = median(reads, ROUNDS), w = median(writes, ROUNDS);
    printf("MMIO, %4u regions: handler alone %.1f ns; read %.1f ns (+%.1f), write %.1f ns (+%.1f)\n", regions, d,
           r, r - d, w, w - d);
    mv_space_destroy(space);
    mv_region_put(root);
    mv_machine_destroy(machine);
}

int main(void)
{
    measure(64);
    measure(4096);
    return 0;
}

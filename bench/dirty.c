// SPDX-License-Identifier: MIT
/*
 * What do marks cost? The bitmap of 4 GiB, 2^20 pages, 128 KiB, of which one in N is marked, far from each other
 * or all at one place. Beside it, in the same run, what no code that looks at the whole bitmap can beat: a scan of
 * as many bytes with vector instructions; and where bits are found, one that takes them out by atomic exchanges.
 */
#include "bench.h"

#include <string.h>

#define RAM_BYTES (UINT64_C(4) << 30)
#define PAGE UINT64_C(4096)
#define PAGES (RAM_BYTES / PAGE)
#define WORDS (PAGES / 64)

static struct mv_region *ram;
static uint64_t naked[WORDS];

typedef uint64_t vector __attribute__((vector_size(32)));

/* All of it, and nothing found: the limit of looking. */
__attribute__((noinline)) static uint64_t scan_vector(const uint64_t *words)
{
    const vector *v = (const void *)words;
    vector any0 = {0}, any1 = {0}, any2 = {0}, any3 = {0};
    for (size_t i = 0; i < WORDS / 4; i += 4) {
        any0 |= v[i];
        any1 |= v[i + 1];
        any2 |= v[i + 2];
        any3 |= v[i + 3];
    }
    any0 |= any1 | any2 | any3;
    return any0[0] | any0[1] | any0[2] | any0[3];
}

/* And every bit taken out: an exchange for each word that has any is what it takes while others mark. */
__attribute__((noinline)) static uint64_t take_plain(uint64_t *words)
{
    uint64_t found = 0;
    for (size_t i = 0; i < WORDS; i++) {
        if (words[i] != 0) {
            found += (uint64_t)__builtin_popcountll(__atomic_exchange_n(&words[i], 0, __ATOMIC_SEQ_CST));
        }
    }
    return found;
}

static void set_library(uint64_t stride)
{
    for (uint64_t p = 0; p < PAGES; p += stride) {
        mv_dirty_set(ram, p * PAGE, PAGE);
    }
}

static void set_plain(uint64_t stride)
{
    for (uint64_t p = 0; p < PAGES; p += stride) {
        __atomic_fetch_or(&naked[p / 64], UINT64_C(1) << p % 64, __ATOMIC_SEQ_CST);
    }
}

enum { SET, SET_LIMIT, TEST, SCAN, SNAPSHOT, WALK, CLEAR, TAKE_LIMIT, COLUMNS };

static double took(double *from)
{
    double now = now_ns(), cost = now - *from;
    *from = now;
    return cost;
}

static void measure(uint64_t stride, double *ret)
{
    struct mv_dirty_snapshot *snapshot;
    struct mv_range range;
    uint64_t offset = 0, found = 0;
    double from = now_ns();
    set_library(stride);
    ret[SET] = took(&from);
    set_plain(stride);
    ret[SET_LIMIT] = took(&from);
    bool any = mv_dirty_get(ram, PAGE, RAM_BYTES - PAGE, MV_DIRTY_MIGRATION);
    ret[TEST] = took(&from);
    volatile uint64_t sink = scan_vector(naked);
    ret[SCAN] = took(&from);
    (void)any;
    (void)sink;
    must(mv_dirty_snapshot_and_clear(ram, 0, RAM_BYTES, MV_DIRTY_MIGRATION, &snapshot, &bench_error));
    ret[SNAPSHOT] = took(&from);
    while (offset < RAM_BYTES && mv_dirty_snapshot_next(snapshot, offset, &range)) {
        found += (range.last - range.first + 1) / PAGE;
        offset = range.last + 1;
    }
    ret[WALK] = took(&from);
    uint64_t wanted = stride <= PAGES ? (PAGES + stride - 1) / stride : 0;
    if (found != wanted || mv_dirty_snapshot_count(snapshot) != wanted) {
        fprintf(stderr, "bench: %llu pages are marked, and not %llu\n", (unsigned long long)found,
                (unsigned long long)wanted);
        exit(1);
    }
    mv_dirty_snapshot_free(snapshot);
    set_library(stride);
    from = now_ns();
    (void)mv_dirty_test_and_clear(ram, 0, RAM_BYTES, MV_DIRTY_MIGRATION);
    ret[CLEAR] = took(&from);
    sink = take_plain(naked);
    ret[TAKE_LIMIT] = took(&from);
}

static void report(uint64_t stride)
{
    double rounds[COLUMNS][ROUNDS], us[COLUMNS];
    for (unsigned k = 0; k < ROUNDS; k++) {
        double costs[COLUMNS];
        measure(stride, costs);
        for (unsigned c = 0; c < COLUMNS; c++) {
            rounds[c][k] = costs[c] / 1000;
        }
    }
    for (unsigned c = 0; c < COLUMNS; c++) {
        us[c] = median(rounds[c], ROUNDS);
    }
    double marks = (double)((PAGES + stride - 1) / stride);
    printf("dirty, 1 page of %7llu: set %.1f ns a page (%.1f); ", (unsigned long long)stride,
           us[SET] * 1000 / marks, us[SET] / us[SET_LIMIT]);
    printf("scan of all %.1f us; snapshot and clear %.1f us (%.1f of taking, %.1f of the scan); ", us[SCAN],
           us[SNAPSHOT], us[SNAPSHOT] / us[TAKE_LIMIT], us[SNAPSHOT] / us[SCAN]);
    printf("walk of it %.1f us; test and clear %.1f us (%.1f, %.1f)\n", us[WALK], us[CLEAR],
           us[CLEAR] / us[TAKE_LIMIT], us[CLEAR] / us[SCAN]);
}

/* Nothing is marked: the whole bitmap has to be looked at. */
static void report_clean(void)
{
    double get[ROUNDS], scan[ROUNDS];
    for (unsigned k = 0; k < ROUNDS; k++) {
        double from = now_ns();
        bool any = mv_dirty_get(ram, 0, RAM_BYTES, MV_DIRTY_MIGRATION);
        get[k] = took(&from);
        volatile uint64_t sink = scan_vector(naked);
        scan[k] = took(&from);
        if (any || sink != 0) {
            exit(1);
        }
    }
    double a = median(get, ROUNDS) / 1000, b = median(scan, ROUNDS) / 1000;
    printf("dirty, nothing marked: test %.1f us, scan %.1f us (%.2f)\n", a, b, a / b);
}

/* A sync beside many sections that nobody logs. */
struct listening {
    uint64_t told;
};

static void told(void *opaque, const struct mv_section *section)
{
    (void)section;
    ((struct listening *)opaque)->told++;
}

static void report_sync(struct mv_machine *machine, struct mv_region *root, unsigned others)
{
    static const struct mv_listener_ops ops = {.log_sync = told};
    struct listening listening = {0};
    struct mv_space *space;
    struct mv_listener *listener;
    struct mv_block *block;
    struct mv_region *logged;
    double rounds[ROUNDS];
    must(mv_block_create(machine, &(struct mv_block_options){.name = "vga", .size_bytes = PAGE}, &block,
                         &bench_error));
    logged = make_region(machine, (struct mv_region_options){
                                      .name = "vga", .kind = MV_REGION_RAM, .size_bytes = PAGE, .block = block});
    struct mv_region **devices = calloc(others + 1, sizeof(struct mv_region *));
    must(mv_machine_begin(machine, &bench_error));
    must(mv_region_add(root, RAM_BYTES, logged, 0, &bench_error));
    for (unsigned i = 0; i < others; i++) {
        devices[i] = make_region(
            machine,
            (struct mv_region_options){.name = "d", .kind = MV_REGION_RAM, .size_bytes = PAGE, .block = block});
        must(mv_region_add(root, RAM_BYTES + (i + 1) * 2 * PAGE, devices[i], 0, &bench_error));
    }
    must(mv_machine_commit(machine, &bench_error));
    must(mv_space_create(machine, "memory", root, &space, &bench_error));
    must(mv_listener_create(space, &ops, &listening, 0, &listener, &bench_error));
    must(mv_region_set_log(logged, MV_DIRTY_DISPLAY, true, &bench_error));
    for (unsigned k = 0; k < ROUNDS; k++) {
        double from = now_ns();
        for (unsigned i = 0; i < 1000; i++) {
            mv_dirty_sync(logged);
        }
        rounds[k] = took(&from) / 1000;
    }
    printf("dirty, sync of a region beside %6u sections that are not logged: %.0f ns, %.1f told\n", others,
           median(rounds, ROUNDS), (double)listening.told / ROUNDS / 1000);
    must(mv_region_set_log(logged, MV_DIRTY_DISPLAY, false, &bench_error));
    mv_listener_destroy(listener);
    mv_space_destroy(space);
    must(mv_machine_begin(machine, &bench_error));
    must(mv_region_remove(logged, &bench_error));
    for (unsigned i = 0; i < others; i++) {
        must(mv_region_remove(devices[i], &bench_error));
        mv_region_put(devices[i]);
    }
    must(mv_machine_commit(machine, &bench_error));
    free(devices);
    mv_region_put(logged);
    mv_block_put(block);
}

int main(void)
{
    static const uint64_t strides[] = {PAGES, 65536, 4096, 512, 64, 8, 1};
    struct mv_machine *machine;
    struct mv_block *block;
    must(mv_machine_create(&machine, &bench_error));
    must(mv_block_create(machine, &(struct mv_block_options){.name = "b", .size_bytes = RAM_BYTES}, &block,
                         &bench_error));
    ram = make_region(machine, (struct mv_region_options){
                                   .name = "ram", .kind = MV_REGION_RAM, .size_bytes = RAM_BYTES, .block = block});
    struct mv_region *root =
        make_region(machine, (struct mv_region_options){.name = "r", .size_bytes = MV_SIZE_2_64});
    must(mv_dirty_log_start(machine, MV_DIRTY_LOG_MIGRATION, &bench_error));
    set_library(1); /* no page of a bitmap is new to the host in what follows */
    (void)mv_dirty_test_and_clear(ram, 0, RAM_BYTES, MV_DIRTY_MIGRATION);
    set_plain(1);
    (void)take_plain(naked);
    report_clean();
    for (size_t i = 0; i < sizeof strides / sizeof strides[0]; i++) {
        report(strides[i]);
    }
    must(mv_dirty_log_stop(machine, MV_DIRTY_LOG_MIGRATION, &bench_error));
    report_sync(machine, root, 10);
    report_sync(machine, root, 10000);
    mv_region_put(root);
    mv_region_put(ram);
    mv_block_put(block);
    mv_machine_destroy(machine);
    return 0;
}

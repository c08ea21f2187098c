// SPDX-License-Identifier: MIT
/*
 * How many references a second does a replay do? Of a real program, ls, traced by lackey if there is valgrind; as
 * memvirt's binary trace under each scheme, as text under one. And random ones, each of which misses the TLB.
 */
#include <string.h>
#include <unistd.h>

#include "bench.h"

static char text_path[] = "/tmp/memvirt-bench-XXXXXX", binary_path[] = "/tmp/memvirt-bench-XXXXXX";

static double seconds_of(const char *mmu, const char *source, uint64_t *ret_references)
{
    struct mv_replay_options options = {.mmu = mmu};
    struct mv_replay_result result;
    struct mv_replay *replay;
    struct mv_trace *trace;
    const mv_trace_record_t *records;
    size_t count;
    must(mv_replay_create(&options, &replay, &bench_error));
    must(mv_trace_open(source, &trace, &bench_error));
    double from = now_ns();
    do {
        must(mv_trace_read(trace, &records, &count, &bench_error));
        must(mv_replay_feed(replay, records, count, &bench_error));
    } while (count > 0);
    double seconds = (now_ns() - from) / 1e9;
    mv_replay_result(replay, &result);
    *ret_references = result.references;
    mv_trace_close(trace);
    mv_replay_destroy(replay);
    return seconds;
}

static double millions(const char *mmu, const char *source)
{
    double rates[ROUNDS];
    for (unsigned r = 0; r < ROUNDS; r++) {
        uint64_t references;
        double seconds = seconds_of(mmu, source, &references);
        rates[r] = (double)references / seconds / 1e6;
    }
    return median(rates, ROUNDS);
}

static void convert(const char *source, const char *path)
{
    struct mv_trace *trace;
    struct mv_trace_writer *writer;
    const mv_trace_record_t *records;
    size_t count;
    must(mv_trace_open(source, &trace, &bench_error));
    must(mv_trace_writer_create(path, &writer, &bench_error));
    do {
        must(mv_trace_read(trace, &records, &count, &bench_error));
        must(mv_trace_write(writer, records, count, &bench_error));
    } while (count > 0);
    must(mv_trace_writer_finish(writer, &bench_error));
    mv_trace_close(trace);
}

/* False: no valgrind. */
static bool trace_ls(void)
{
    char command[512];
    int a = mkstemp(text_path), b = mkstemp(binary_path);
    if (a < 0 || b < 0) {
        abort();
    }
    close(a);
    close(b);
    snprintf(command, sizeof command,
             "valgrind --tool=lackey --trace-mem=yes --log-fd=9 ls -lR /usr/include/linux 9>%s >/dev/null 2>&1",
             text_path);
    return system(command) == 0;
}

int main(void)
{
    static const char *const schemes[] = {"native", "ept", "npt", "shadow", "hybrid"};
    bool is_real = trace_ls();
    if (!is_real) {
        puts("there is no valgrind: a B-tree in place of a program, and no text");
    }
    convert(is_real ? text_path : "btree:size=64M,refs=5M", binary_path);
    for (unsigned i = 0; i < 4; i++) {
        printf("%-7s binary trace: %6.1f million references a second (wanted 20)\n", schemes[i],
               millions(schemes[i], binary_path));
    }
    if (is_real) {
        printf("%-7s lackey text:  %6.1f million references a second (wanted 6)\n", "ept",
               millions("ept", text_path));
    }
    for (unsigned i = 0; i < 4; i++) {
        printf("%-7s gups of 1G:   %6.1f million references a second, all of which walk\n", schemes[i],
               millions(schemes[i], "gups:size=1G,refs=2M"));
    }
    unlink(text_path);
    unlink(binary_path);
    return 0;
}

// SPDX-License-Identifier: MIT
#include <memvirt/trace.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "replay/binary.h"

/* A file with these bytes, for as long as the test. */
static char *file_of(const void *bytes, size_t size)
{
    char *path = strdup("/tmp/memvirt-trace-test-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    close(fd);
    return path;
}

struct all {
    mv_trace_record_t *records;
    size_t count;
    int rc;
    struct mv_error err;
};

static struct all read_all(const char *source)
{
    struct all all = {0};
    struct mv_trace *trace;
    all.rc = mv_trace_open(source, &trace, &all.err);
    if (all.rc < 0) {
        return all;
    }
    for (;;) {
        const mv_trace_record_t *records;
        size_t count;
        all.rc = mv_trace_read(trace, &records, &count, &all.err);
        if (all.rc < 0 || count == 0) {
            break;
        }
        all.records = realloc(all.records, (all.count + count) * sizeof *records);
        memcpy(all.records + all.count, records, count * sizeof *records);
        all.count += count;
    }
    mv_trace_close(trace);
    return all;
}

static struct all read_text(const char *text)
{
    char *path = file_of(text, strlen(text));
    struct all all = read_all(path);
    unlink(path);
    free(path);
    return all;
}

/* --- lackey ---------------------------------------------------------------------------------------- */

static void a_line_is_a_record(void **state)
{
    (void)state;
    struct all all = read_text("==12== Lackey, an example\n"
                               "I  04001000,3\n"
                               " L 1ffe80,8\n"
                               " S 1FFEfff8,16\n"
                               "\n"
                               " M ffffffffff600000,4\n"
                               "--12-- done\n"
                               "I  04001003,2");
    assert_int_equal(all.rc, 0);
    const mv_trace_record_t wanted[] = {
        mv_trace_record(MV_TRACE_FETCH, 2, 0x04001000),
        mv_trace_record(MV_TRACE_READ, 3, 0x1ffe80),
        mv_trace_record(MV_TRACE_WRITE, 4, 0x1ffefff8),
        mv_trace_record(MV_TRACE_WRITE_MORE, 4, 0x1fff0000),
        mv_trace_record(MV_TRACE_MODIFY, 2, 0xffffffffff600000),
        mv_trace_record(MV_TRACE_FETCH, 1, 0x04001003),
    };
    assert_int_equal(all.count, sizeof wanted / sizeof wanted[0]);
    assert_memory_equal(all.records, wanted, sizeof wanted);
    assert_int_equal(mv_trace_address_of(all.records[4]), UINT64_C(0xffffffffff600000));
    assert_int_equal(mv_trace_kind_of(all.records[3]), MV_TRACE_WRITE_MORE);
    free(all.records);
}

static void what_is_no_line_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"I  04001000,3\n X 1000,4\n", "malformed"},
        {"I  04001000,3\n L 1000\n", "malformed"},
        {"I  04001000,3\n L ,4\n", "malformed"},
        {"I  04001000,3\n L 1000,0\n", "malformed"},
        {"I  04001000,3\n L 1000,4097\n", "malformed"},
        {"I  04001000,3\n L 1000,99999999999999999999\n", "malformed"},
        {"I  04001000,3\n L 1000,4 \n", "malformed"},
        {"I  04001000,3\nL 1000,4\n", "malformed"},
        {"I  04001000,3\n L 8000000000000000,4\n", "bad-address"},
        {"I  04001000,3\n L 00000000000000001,4\n", "bad-address"},
        {"I  04001000,3\n L ffffffffffffffff,4\n", "bad-address"},
        {"I  04001000,3\n L ffffff,", "truncated"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct all all = read_text(cases[i].text);
        assert_int_equal(all.rc, -EINVAL);
        assert_string_equal(all.err.reason, cases[i].reason);
        assert_non_null(strstr(all.err.text, "line 2"));
        assert_int_equal(all.count, 1); /* the good line was returned */
        free(all.records);
    }
}

static void lines_may_lie_across_reads(void **state)
{
    (void)state;
    size_t lines = 100000, size = 0;
    char *text = malloc(lines * 24);
    for (size_t i = 0; i < lines; i++) {
        size += (size_t)sprintf(text + size, " L %zx,8\n", i * 8);
    }
    char *path = file_of(text, size);
    struct all all = read_all(path);
    assert_int_equal(all.rc, 0);
    assert_int_equal(all.count, lines);
    for (size_t i = 0; i < lines; i++) {
        assert_int_equal(mv_trace_address_of(all.records[i]), i * 8);
    }
    unlink(path);
    free(path);
    free(text);
    free(all.records);
}

static void a_line_without_an_end_is_refused(void **state)
{
    (void)state;
    char *text = malloc(1 << 20);
    memset(text, '=', (1 << 20) - 1);
    text[(1 << 20) - 1] = 0;
    struct all all = read_text(text);
    assert_int_equal(all.rc, -EINVAL);
    assert_string_equal(all.err.reason, "malformed");
    free(text);
}

/* --- memvirt's own ---------------------------------------------------------------------------------- */

static char *binary_of(uint64_t says, size_t has, size_t extra_bytes)
{
    struct binary_header header = {
        .magic = "MVTRACE", .version = 1, .header_bytes = 64, .records = says, .references = says};
    header.magic[7] = '\n';
    uint8_t bytes[64 + 64 * 8] = {0};
    memcpy(bytes, &header, sizeof header);
    return file_of(bytes, 64 + has * 8 + extra_bytes);
}

static void a_file_must_have_what_its_header_says(void **state)
{
    (void)state;
    static const struct {
        uint64_t says;
        size_t has, extra;
        const char *reason; /* NULL: good */
    } cases[] = {
        {10, 10, 0, NULL},
        {UINT64_MAX, 10, 0, NULL},
        {0, 0, 0, NULL},
        {11, 10, 0, "truncated"},
        {10, 11, 0, "bad-header"},
        {10, 10, 3, "truncated"},
        {1ull << 61, 10, 0, "truncated"},
        {UINT64_MAX - 1, 1, 0, "truncated"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *path = binary_of(cases[i].says, cases[i].has, cases[i].extra);
        struct all all = read_all(path);
        if (cases[i].reason) {
            assert_int_equal(all.rc, -EINVAL);
            assert_string_equal(all.err.reason, cases[i].reason);
        } else {
            assert_int_equal(all.rc, 0);
            assert_int_equal(all.count, cases[i].has);
        }
        free(all.records);
        unlink(path);
        free(path);
    }
}

static void what_is_no_trace_is_refused(void **state)
{
    (void)state;
    struct all all = read_all("/nonexistent");
    assert_int_equal(all.rc, -ENOENT);
    char *path = file_of("\177ELF\0\0\0", 8);
    all = read_all(path);
    assert_int_equal(all.rc, -EINVAL);
    assert_string_equal(all.err.reason, "not-a-trace");
    unlink(path);
    free(path);
    path = file_of("MVTRACE\n\1\0", 10);
    all = read_all(path);
    assert_int_equal(all.rc, -EINVAL);
    assert_string_equal(all.err.reason, "truncated");
    unlink(path);
    free(path);
}

static void an_unknown_event_is_refused(void **state)
{
    (void)state;
    char *path = file_of("", 0);
    struct mv_trace_writer *writer;
    assert_int_equal(mv_trace_writer_create(path, &writer, NULL), 0);
    const mv_trace_record_t records[] = {mv_trace_event(MV_TRACE_SWITCH, 3),
                                         mv_trace_record(MV_TRACE_EVENT, MV_TRACE_UNMAP + 1, 0)};
    assert_int_equal(mv_trace_write(writer, records, 2, NULL), 0);
    assert_int_equal(mv_trace_writer_finish(writer, NULL), 0);
    struct all all = read_all(path);
    assert_int_equal(all.rc, -EINVAL);
    assert_string_equal(all.err.reason, "malformed");
    unlink(path);
    free(path);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct all first = read_all("fork:size=1M,processes=3,seed=5");
    assert_int_equal(first.rc, 0);
    char *path = file_of("", 0);
    struct mv_trace_writer *writer;
    assert_int_equal(mv_trace_writer_create(path, &writer, NULL), 0);
    assert_int_equal(mv_trace_write(writer, first.records, first.count, NULL), 0);
    assert_int_equal(mv_trace_writer_finish(writer, NULL), 0);
    struct all second = read_all(path);
    assert_int_equal(second.rc, 0);
    assert_int_equal(second.count, first.count);
    assert_memory_equal(second.records, first.records, first.count * 8);
    unlink(path);
    free(path);
    free(first.records);
    free(second.records);
}

/* A pipe is read in pieces that no record ends at. */
static void a_pipe_gives_the_same(void **state)
{
    (void)state;
    int saved = dup(STDIN_FILENO), ends[2];
    struct all wanted = read_all("gups:size=1M,refs=40000");
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct binary_header header = {
            .magic = "MVTRACE", .version = 1, .header_bytes = 64, .records = UINT64_MAX};
        header.magic[7] = '\n';
        header.references = UINT64_MAX;
        bool good = write(ends[1], &header, sizeof header) == (ssize_t)sizeof header;
        const char *at = (const char *)wanted.records;
        for (size_t left = wanted.count * 8, n; good && left > 0; left -= n, at += n) {
            n = left < 4099 ? left : 4099;
            good = write(ends[1], at, n) == (ssize_t)n;
        }
        _exit(good ? 0 : 1);
    }
    close(ends[1]);
    dup2(ends[0], STDIN_FILENO);
    close(ends[0]);
    struct all got = read_all("-");
    dup2(saved, STDIN_FILENO);
    close(saved);
    assert_int_equal(got.rc, 0);
    assert_int_equal(got.count, wanted.count);
    assert_memory_equal(got.records, wanted.records, wanted.count * 8);
    free(got.records);
    free(wanted.records);
}

/* --- Generators ------------------------------------------------------------------------------------- */

static size_t references_of(const struct all *all)
{
    size_t n = 0;
    for (size_t i = 0; i < all->count; i++) {
        n += mv_trace_kind_of(all->records[i]) <= MV_TRACE_MODIFY;
    }
    return n;
}

static void generators_make_what_they_say(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        size_t refs;
    } cases[] = {
        {"gups:size=1M,refs=1000", 1000},
        {"sequential:size=1M", 16384},
        {"sequential:size=1M,stride=4K", 256},
        {"cyclic", 12288},
        {"chase:size=1M,refs=16384", 16384},
        {"btree:size=1M,refs=5K", 5000},
        {"fork:size=1M,processes=4", 256 + 4 * 64},
        {"switch:refs=1M,processes=3", 1000000},
        {"churn:size=1M", 16 * 256},
        {"churn:size=1M,passes=3", 16 * 3 * 256},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct all all = read_all(cases[i].source), again = read_all(cases[i].source);
        assert_int_equal(all.rc, 0);
        assert_int_equal(references_of(&all), cases[i].refs);
        assert_int_equal(again.count, all.count);
        assert_memory_equal(again.records, all.records, all.count * 8);
        free(all.records);
        free(again.records);
    }
}

/* So many times through the memory, then it goes. */
static void churn_goes_round_before_it_unmaps(void **state)
{
    (void)state;
    for (unsigned passes = 1; passes < 4; passes++) {
        char source[64];
        snprintf(source, sizeof source, "churn:size=16K,passes=%u,refs=%u", passes, 2 * 4 * passes + 1);
        struct all all = read_all(source);
        size_t at = 0;
        for (unsigned round = 0; round < 3; round++) {
            if (round > 0) {
                assert_int_equal(all.records[at++], mv_trace_event(MV_TRACE_LENGTH, 16384));
                assert_int_equal(all.records[at++], mv_trace_event(MV_TRACE_UNMAP, UINT64_C(0x100000000)));
            }
            for (unsigned i = 0; i < 4 * passes && at < all.count; i++) {
                assert_int_equal(mv_trace_kind_of(all.records[at]), MV_TRACE_WRITE);
                assert_int_equal(mv_trace_address_of(all.records[at++]), UINT64_C(0x100000000) + i % 4 * 4096);
            }
        }
        assert_int_equal(at, all.count);
        free(all.records);
    }
}

static void a_chase_visits_every_line_once(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        size_t lines;
    } cases[] = {{"chase:size=1M,refs=16384,seed=9", 16384}, {"chase:size=100K,refs=1600", 1600}};
    for (size_t i = 0; i < 2; i++) {
        struct all all = read_all(cases[i].source);
        uint8_t *seen = calloc(cases[i].lines, 1);
        assert_int_equal(all.count, cases[i].lines);
        for (size_t k = 0; k < all.count; k++) {
            size_t line = (size_t)(mv_trace_address_of(all.records[k]) - UINT64_C(0x100000000)) / 64;
            assert_true(line < cases[i].lines);
            assert_false(seen[line]++);
        }
        free(seen);
        free(all.records);
    }
}

/* Searches go down from the root, and each node's child is one of its sixteen. */
static void a_search_goes_down_the_tree(void **state)
{
    (void)state;
    struct all all = read_all("btree:size=1M,refs=4000"); /* 4096 nodes: levels of 1, 16, 256 */
    for (size_t i = 0; i + 2 < all.count; i += 3) {
        uint64_t node[3];
        for (size_t level = 0; level < 3; level++) {
            node[level] = (mv_trace_address_of(all.records[i + level]) - UINT64_C(0x100000000)) / 256;
        }
        assert_int_equal(node[0], 0);
        assert_in_range(node[1], 1, 16);
        assert_int_equal((node[2] - 17) / 16, node[1] - 1);
    }
    free(all.records);
}

/* No process runs before it was forked, none ends while it runs. */
static void forks_are_in_order(void **state)
{
    (void)state;
    struct all all = read_all("fork:size=256K,processes=5");
    bool alive[64] = {true};
    uint64_t running = 0, forks = 0;
    for (size_t i = 0; i < all.count; i++) {
        if (mv_trace_kind_of(all.records[i]) != MV_TRACE_EVENT) {
            continue;
        }
        uint64_t who = mv_trace_address_of(all.records[i]);
        switch (mv_trace_event_of(all.records[i])) {
        case MV_TRACE_FORK:
            assert_int_equal(running, 0);
            assert_false(alive[who]);
            alive[who] = true;
            forks++;
            break;
        case MV_TRACE_SWITCH:
            assert_true(alive[who]);
            running = who;
            break;
        case MV_TRACE_EXIT:
            assert_int_not_equal(who, running);
            assert_true(alive[who]);
            alive[who] = false;
            break;
        case MV_TRACE_LENGTH:
        case MV_TRACE_UNMAP:
        default: fail();
        }
    }
    assert_int_equal(forks, 5);
    free(all.records);
}

static void bad_options_are_named(void **state)
{
    (void)state;
    static const char *const sources[] = {
        "gups:",
        "gups:size",
        "gups:size=",
        "gups:size=1",
        "gups:size=1X",
        "gups:stride=64",
        "cyclic:seed=1",
        "gups:refs=0",
        "gups:size=1G,",
        "gups:size=1G,,refs=1",
        "switch:processes=0",
        "switch:processes=65537",
        "gups:refs=99999999999999999999",
        "gups:size=-1",
        "gups:size=128T",
    };
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        struct all all = read_all(sources[i]);
        assert_int_equal(all.rc, -EINVAL);
        assert_string_equal(all.err.reason, "bad-option");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_a_record),
        cmocka_unit_test(what_is_no_line_is_named),
        cmocka_unit_test(lines_may_lie_across_reads),
        cmocka_unit_test(a_line_without_an_end_is_refused),
        cmocka_unit_test(a_file_must_have_what_its_header_says),
        cmocka_unit_test(what_is_no_trace_is_refused),
        cmocka_unit_test(an_unknown_event_is_refused),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_pipe_gives_the_same),
        cmocka_unit_test(generators_make_what_they_say),
        cmocka_unit_test(churn_goes_round_before_it_unmaps),
        cmocka_unit_test(a_chase_visits_every_line_once),
        cmocka_unit_test(a_search_goes_down_the_tree),
        cmocka_unit_test(forks_are_in_order),
        cmocka_unit_test(bad_options_are_named),
    };
    return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
#include "machine/block_test.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>

#include "base/os_populate.h"

#define SIZE (200 * MIB)

struct watch {
    pthread_t thread;
    unsigned calls;
    uint64_t done, total;
    uint64_t cancel_at; /* 0: never */
    unsigned most_threads;
};

static unsigned threads_now(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/task");
    assert_non_null(dir);
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        n += e->d_name[0] != '.';
    }
    closedir(dir);
    return n;
}

static bool watch_progress(void *opaque, uint64_t done, uint64_t total)
{
    struct watch *watch = opaque;
    assert_true(pthread_equal(watch->thread, pthread_self()));
    assert_true(done > watch->done);
    assert_true(done <= total);
    unsigned now = threads_now();
    watch->most_threads = now > watch->most_threads ? now : watch->most_threads;
    watch->calls++;
    watch->done = done;
    watch->total = total;
    return watch->cancel_at == 0 || done < watch->cancel_at;
}

static struct mv_block_options preallocated(enum mv_block_kind kind, unsigned nthreads, struct watch *watch)
{
    *watch = (struct watch){.thread = pthread_self(), .cancel_at = watch->cancel_at};
    return (struct mv_block_options){
        .kind = kind,
        .size_bytes = SIZE,
        .prealloc = MV_ON,
        .populate = {.nthreads = nthreads, .progress = watch_progress, .opaque = watch},
    };
}

static void all_pages_are_there(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    for (unsigned nthreads = 0; nthreads < 4; nthreads++) {
        for (unsigned kind = MV_BLOCK_ANONYMOUS; kind <= MV_BLOCK_MEMFD; kind++) {
            struct watch watch = {0};
            const struct mv_block_options options = preallocated((enum mv_block_kind)kind, nthreads, &watch);
            const unsigned before = threads_now();
            struct mv_block *block = block_with(&rig, &options);
            const struct mv_block_info info = info_of(block);
            assert_int_equal(pages_present(bytes_of(block), SIZE), SIZE / os_page_size());
            assert_int_equal(info.prealloc_bytes, SIZE);
            assert_true(info.prealloc.granted);
            assert_int_equal(info.prealloc_nthreads, nthreads ? nthreads : 1);
            assert_int_equal(watch.done, SIZE);
            assert_int_equal(watch.total, SIZE);
            assert_true(watch.calls > (nthreads > 1 ? 0 : 1)); /* whoever waits for threads may find them done */
            assert_true(watch.most_threads <= before + (nthreads > 1 ? nthreads : 0));
            assert_int_equal(threads_now(), before);
            mv_block_put(block);
        }
    }
    rig_close(&rig);
}

static void nothing_is_there_unless_asked(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block *block = block_with(&rig, &(struct mv_block_options){.size_bytes = SIZE});
    assert_int_equal(pages_present(bytes_of(block), SIZE), 0);
    assert_int_equal(info_of(block).prealloc_bytes, 0);
    assert_false(info_of(block).prealloc.granted);
    mv_block_put(block);
    rig_close(&rig);
}

/* At the first call. False: threads had done all before it, which is too late. */
static bool is_cancelled(const struct rig *rig, unsigned nthreads)
{
    struct watch watch = {.cancel_at = 1};
    struct mv_block_options options = preallocated(MV_BLOCK_ANONYMOUS, nthreads, &watch);
    struct mv_block *block = NULL;
    struct mv_error err = {0};
    options.name = "b";
    int rc = mv_block_create(rig->machine, &options, &block, &err);
    assert_int_equal(watch.calls, 1);
    if (rc == 0) {
        assert_true(nthreads > 1 && watch.done == SIZE);
        mv_block_put(block);
        return false;
    }
    assert_int_equal(rc, -ECANCELED);
    assert_null(block);
    assert_string_equal(err.reason, "cancelled");
    assert_non_null(strstr(err.text, "of 209715200 bytes were populated"));
    return true;
}

static void it_can_be_cancelled(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    for (unsigned nthreads = 1; nthreads < 4; nthreads++) {
        const unsigned before = threads_now();
        while (!is_cancelled(&rig, nthreads)) {}
        assert_int_equal(threads_now(), before);
    }
    /* To say no when all is done is too late. */
    struct watch watch = {.cancel_at = SIZE};
    const struct mv_block_options options = preallocated(MV_BLOCK_ANONYMOUS, 1, &watch);
    mv_block_put(block_with(&rig, &options));
    rig_close(&rig);
}

/* More threads than there are pieces of work are not made; nor do they take signals that are not theirs. */
static void threads_are_as_many_as_have_work(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    struct mv_block *block = block_with(
        &rig,
        &(struct mv_block_options){.size_bytes = 33 * MIB, .prealloc = MV_ON, .populate = {.nthreads = 100000}});
    assert_int_equal(info_of(block).prealloc_nthreads, 2);
    assert_int_equal(info_of(block).prealloc_bytes, 33 * MIB);
    mv_block_put(block);
    block = block_with(
        &rig, &(struct mv_block_options){.size_bytes = 1, .prealloc = MV_ON, .populate = {.nthreads = 9}});
    assert_int_equal(info_of(block).prealloc_nthreads, 1);
    assert_int_equal(info_of(block).prealloc_bytes, os_page_size());
    mv_block_put(block);
    rig_close(&rig);
}

static void pieces_are_populated_and_keep_their_bytes(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const uint64_t page = os_page_size();
    struct mv_block *block = block_with(&rig, &(struct mv_block_options){.size_bytes = 64 * page, .thp = MV_OFF});
    bytes_of(block)[5 * page + 3] = 42;
    assert_int_equal(mv_block_populate(block, 4 * page, 8 * page, NULL, NULL), 0);
    assert_int_equal(pages_present(bytes_of(block), 64 * page), 8);
    assert_int_equal(pages_present(bytes_of(block) + 4 * page, 8 * page), 8);
    assert_int_equal(bytes_of(block)[5 * page + 3], 42);
    const uint64_t wrong[][2] = {{0, 0},         {1, page},      {0, page - 1},         {64 * page, page},
                                 {0, 65 * page}, {65 * page, 0}, {page, TOP - page + 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct mv_error err = {0};
        assert_int_equal(mv_block_populate(block, wrong[i][0], wrong[i][1], NULL, &err), -EINVAL);
        assert_string_equal(err.reason, "bad-range");
        assert_string_equal(err.object, "b");
    }
    mv_block_put(block);
    rig_close(&rig);
}

/* The way of kernels that cannot populate: each page is touched, and nobody's write is undone. */
static void touching_makes_pages_too(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    const uint64_t page = os_page_size();
    struct mv_block *block = block_with(&rig, &(struct mv_block_options){.size_bytes = 8 * page, .thp = MV_OFF});
    bytes_of(block)[2 * page] = 9;
    os_touch(bytes_of(block) + page, 4 * page, page, OS_POPULATE_WRITE);
    assert_int_equal(pages_present(bytes_of(block), 8 * page), 4);
    assert_int_equal(bytes_of(block)[2 * page], 9);
    mv_block_put(block);
    rig_close(&rig);
}

/* A file that somebody made shorter: an error, where touching it would be SIGBUS. */
static void a_page_that_cannot_be_had_is_an_error(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    char path[] = "/tmp/memvirt-block-XXXXXX";
    close(mkostemp(path, O_CLOEXEC));
    struct mv_block *block = block_with(
        &rig,
        &(struct mv_block_options){.kind = MV_BLOCK_FILE, .path = path, .size_bytes = 64 * KIB, .shared = MV_ON});
    assert_int_equal(truncate(path, 4096), 0);
    unlink(path);
    struct mv_error err = {0};
    assert_int_equal(mv_block_populate(block, 0, 64 * KIB, NULL, &err), -ENOMEM);
    assert_string_equal(err.reason, "no-memory");
    assert_string_equal(err.object, "b");
    assert_non_null(strstr(err.text, "of 65536 bytes"));
    mv_block_put(block);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_pages_are_there),
        cmocka_unit_test(nothing_is_there_unless_asked),
        cmocka_unit_test(it_can_be_cancelled),
        cmocka_unit_test(threads_are_as_many_as_have_work),
        cmocka_unit_test(pieces_are_populated_and_keep_their_bytes),
        cmocka_unit_test(touching_makes_pages_too),
        cmocka_unit_test(a_page_that_cannot_be_had_is_an_error),
    };
    return cmocka_run_group_tests_name("block_prealloc", tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
/*
 * Populating a block: pieces of it are taken by as many threads as asked for, and the caller is told how far they
 * are. The kernel makes the pages, so that a page that cannot be had is an error and not a signal.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/os.h"
#include "base/os_populate.h"
#include "machine/block.h"

#define PIECE (32 * MIB)
#define MOST_THREADS 256

/*
 * Lives on the stack of block_populate(). A thread takes the piece at `next`, and adds to `done` what it made.
 */
struct job {
    unsigned char *host;
    uint64_t length;
    uint64_t piece; /* a multiple of the page size */
    uint64_t page_size;
    enum os_populate how;
    bool may_touch; /* where the kernel cannot populate */
    atomic_bool stop;
    _Atomic uint64_t next;
    _Atomic uint64_t done;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned running; /* under `lock` */
    int rc;           /* the first failure; under `lock` */
};

/* Populate one more piece. False when there is none, or no reason to go on. */
static bool take_piece(struct job *job)
{
    if (atomic_load(&job->stop)) {
        return false;
    }
    uint64_t at = atomic_fetch_add(&job->next, job->piece);
    if (at >= job->length) {
        return false;
    }
    uint64_t length = job->length - at < job->piece ? job->length - at : job->piece;
    int rc = os_populate(job->host + at, length, job->how);
    if (rc == -EOPNOTSUPP && job->may_touch) {
        os_touch(job->host + at, length, job->page_size, job->how);
        rc = 0;
    }
    if (rc < 0) {
        atomic_store(&job->stop, true);
        pthread_mutex_lock(&job->lock);
        job->rc = job->rc ? job->rc : rc;
        pthread_mutex_unlock(&job->lock);
        return false;
    }
    atomic_fetch_add(&job->done, length);
    return true;
}

static void *work(void *opaque)
{
    struct job *job = opaque;
    bool more;
    do {
        more = take_piece(job);
        pthread_mutex_lock(&job->lock);
        job->running -= !more;
        pthread_cond_signal(&job->changed);
        pthread_mutex_unlock(&job->lock);
    } while (more);
    return NULL;
}

/* Tell the caller, who may cancel. */
static void report(struct job *job, const struct mv_populate_options *options, uint64_t *reported)
{
    uint64_t done = atomic_load(&job->done);
    if (!options->progress || done == *reported || atomic_load(&job->stop)) {
        return;
    }
    *reported = done;
    if (!options->progress(options->opaque, done, job->length)) {
        pthread_mutex_lock(&job->lock);
        /* At the end there is nothing left to cancel. */
        if (done < job->length && !job->rc) {
            job->rc = -ECANCELED;
        }
        pthread_mutex_unlock(&job->lock);
        atomic_store(&job->stop, true);
    }
}

static void run_alone(struct job *job, const struct mv_populate_options *options)
{
    uint64_t reported = 0;
    while (take_piece(job)) {
        report(job, options, &reported);
    }
}

/* As many as the host gives of `n` threads; none of them takes the process's signals. */
static unsigned start(struct job *job, pthread_t *threads, unsigned n)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    unsigned started = 0;
    job->running = n;
    while (started < n && pthread_create(&threads[started], NULL, work, job) == 0) {
        started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_mutex_lock(&job->lock);
    job->running -= n - started;
    pthread_mutex_unlock(&job->lock);
    return started;
}

static void wait_for_all(struct job *job, const struct mv_populate_options *options)
{
    uint64_t reported = 0;
    pthread_mutex_lock(&job->lock);
    while (job->running > 0) {
        pthread_cond_wait(&job->changed, &job->lock);
        pthread_mutex_unlock(&job->lock);
        report(job, options, &reported);
        pthread_mutex_lock(&job->lock);
    }
    pthread_mutex_unlock(&job->lock);
    report(job, options, &reported);
}

static unsigned run_threads(struct job *job, const struct mv_populate_options *options)
{
    uint64_t pieces = (job->length - 1) / job->piece + 1;
    unsigned n = options->nthreads < MOST_THREADS ? options->nthreads : MOST_THREADS;
    n = n < pieces ? n : (unsigned)pieces;
    pthread_t threads[MOST_THREADS];
    unsigned started = n > 1 ? start(job, threads, n) : 0;
    if (started == 0) {
        run_alone(job, options);
        return 1;
    }
    wait_for_all(job, options);
    for (unsigned i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    return started;
}

static int say(const struct mv_block *block, const struct job *job, struct mv_error *err)
{
    const char *name = block->name;
    switch (-job->rc) {
    case ECANCELED:
        return error_set(err, -ECANCELED, "cancelled", name,
                         "block %s: cancelled when %" PRIu64 " of %" PRIu64 " bytes were populated", name,
                         (uint64_t)job->done, job->length);
    case ENOMEM:
    case EFAULT: /* touching it would be SIGBUS */
        if (block->page_size_bytes > os_page_size()) {
            return block_no_huge_pages(name, block->page_size_bytes, job->length - job->done, err);
        }
        return error_set(err, -ENOMEM, "no-memory", name,
                         "block %s: the host has no more memory: %" PRIu64 " of %" PRIu64 " bytes were populated",
                         name, (uint64_t)job->done, job->length);
    default:
        return error_host(err, job->rc, name,
                          "block %s: the host stopped when %" PRIu64 " of %" PRIu64 " bytes were populated", name,
                          (uint64_t)job->done, job->length);
    }
}

int block_populate(struct mv_block *block, uint64_t offset, uint64_t length,
                   const struct mv_populate_options *options, uint64_t *ret_bytes, unsigned *ret_nthreads,
                   struct mv_error *err)
{
    const uint64_t page_size = block->page_size_bytes;
    struct job job = {
        .host = block->host + offset,
        .length = length,
        .piece = page_size > PIECE ? page_size : PIECE,
        .page_size = page_size,
        .how = block->readonly ? OS_POPULATE_READ : OS_POPULATE_WRITE,
        /* Memory of a pool or a file may be missing in spite of everything: SIGBUS. */
        .may_touch = block->fd < 0,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
    };
    *ret_nthreads = run_threads(&job, options);
    *ret_bytes = job.done;
    pthread_mutex_destroy(&job.lock);
    pthread_cond_destroy(&job.changed);
    return job.rc < 0 ? say(block, &job, err) : 0;
}

int mv_block_populate(struct mv_block *block, uint64_t offset_bytes, uint64_t length_bytes,
                      const struct mv_populate_options *options, struct mv_error *err)
{
    static const struct mv_populate_options defaults;
    uint64_t bytes;
    unsigned nthreads;
    int rc = block_check_range(block, offset_bytes, length_bytes, block->max_size_bytes, err);
    if (rc < 0) {
        return rc;
    }
    return block_populate(block, offset_bytes, length_bytes, options ? options : &defaults, &bytes, &nthreads,
                          err);
}

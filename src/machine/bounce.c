// SPDX-License-Identifier: MIT
#include "machine/bounce.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define WAITERS_MAX 64

struct waiter {
    void (*callback)(void *opaque);
    void *opaque;
};

/* Invariant: out_bytes is the sum of the lengths of all buffers taken and not given back. */
struct bounce {
    pthread_mutex_t lock; /* a leaf */
    size_t limit_bytes;
    size_t out_bytes;
    struct waiter waiters[WAITERS_MAX];
    size_t waiting;
};

struct bounce *bounce_create(size_t limit_bytes)
{
    struct bounce *bounce = calloc(1, sizeof *bounce);
    if (bounce) {
        pthread_mutex_init(&bounce->lock, NULL);
        bounce->limit_bytes = limit_bytes;
    }
    return bounce;
}

void bounce_destroy(struct bounce *bounce)
{
    if (bounce) {
        assert(bounce->out_bytes == 0);
        pthread_mutex_destroy(&bounce->lock);
        free(bounce);
    }
}

static size_t left(const struct bounce *bounce)
{
    return bounce->limit_bytes > bounce->out_bytes ? bounce->limit_bytes - bounce->out_bytes : 0;
}

int bounce_take(struct bounce *bounce, size_t *length, void **ret)
{
    pthread_mutex_lock(&bounce->lock);
    size_t size = *length < left(bounce) ? *length : left(bounce);
    bounce->out_bytes += size;
    pthread_mutex_unlock(&bounce->lock);
    if (size == 0) {
        return -EAGAIN;
    }
    *ret = calloc(1, size);
    if (!*ret) {
        bounce_give_back(bounce, NULL, size);
        return -ENOMEM;
    }
    *length = size;
    return 0;
}

void bounce_give_back(struct bounce *bounce, void *bytes, size_t length)
{
    struct waiter waiters[WAITERS_MAX];
    free(bytes);
    pthread_mutex_lock(&bounce->lock);
    bounce->out_bytes -= length;
    size_t count = bounce->waiting;
    for (size_t i = 0; i < count; i++) {
        waiters[i] = bounce->waiters[i];
    }
    bounce->waiting = 0;
    pthread_mutex_unlock(&bounce->lock);
    for (size_t i = 0; i < count; i++) {
        waiters[i].callback(waiters[i].opaque);
    }
}

int bounce_wait(struct bounce *bounce, void (*callback)(void *opaque), void *opaque)
{
    pthread_mutex_lock(&bounce->lock);
    bool now = left(bounce) > 0;
    int rc = !now && bounce->waiting == WAITERS_MAX ? -ENOSPC : 0;
    if (!now && rc == 0) {
        bounce->waiters[bounce->waiting++] = (struct waiter){callback, opaque};
    }
    pthread_mutex_unlock(&bounce->lock);
    if (now) {
        callback(opaque);
    }
    return rc;
}

void bounce_set_limit(struct bounce *bounce, size_t limit_bytes)
{
    pthread_mutex_lock(&bounce->lock);
    bounce->limit_bytes = limit_bytes;
    pthread_mutex_unlock(&bounce->lock);
}

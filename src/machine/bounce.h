// SPDX-License-Identifier: MIT
/* Bounce buffers: how many bytes of them are out, and who waits for some to come back. */
#ifndef MACHINE_BOUNCE_H
#define MACHINE_BOUNCE_H

#include <stddef.h>

struct bounce;

/* NULL when out of memory. */
struct bounce *bounce_create(size_t limit_bytes);
void bounce_destroy(struct bounce *bounce);

/* Take a zeroed buffer of up to *length bytes. @return 0; -EAGAIN when none is left; -ENOMEM. Any thread. */
int bounce_take(struct bounce *bounce, size_t *length, void **ret);
/* Calls those who wait, without a lock. */
void bounce_give_back(struct bounce *bounce, void *bytes, size_t length);

/* Be called once when a buffer comes back; at once if some is free. @return 0 or -ENOSPC */
int bounce_wait(struct bounce *bounce, void (*callback)(void *opaque), void *opaque);
void bounce_set_limit(struct bounce *bounce, size_t limit_bytes);

#endif

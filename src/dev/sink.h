// SPDX-License-Identifier: MIT
/* Where a console device puts what the guest prints. */
#ifndef DEV_SINK_H
#define DEV_SINK_H

#include <stddef.h>

/*
 * Borrowed by the device: both must stay valid as long as the guest can reach it. `write` is called in the thread
 * that makes the access, without a lock of the device, so from several threads at once if several vCPUs print.
 */
struct sink {
    void (*write)(void *opaque, const void *bytes, size_t length);
    void *opaque;
};

#endif

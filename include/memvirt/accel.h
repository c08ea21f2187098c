// SPDX-License-Identifier: MIT
/**
 * @file accel.h
 * Accelerators: what can run a guest here, and if not, why.
 */
#ifndef MEMVIRT_ACCEL_H
#define MEMVIRT_ACCEL_H

#include <memvirt/types.h>

MV_BEGIN_DECLS

/** Whether an accelerator can be used on this host by this process. */
struct mv_accel_status {
    const char *name; /**< "kvm", "soft"; static */
    bool runs_guests; /**< it executes instructions; else it is for a caller's own CPU (soft.h) */
    bool usable;
    const char *reason;            /**< "ok", "no-device", "no-permission" or "missing-capability"; static */
    char text[MV_ERROR_TEXT_SIZE]; /**< one sentence: what was found, or what is missing */
};

/** How many accelerators this library was built with. */
MV_API size_t mv_accel_count(void);

/** Look whether accelerator `index` can be used. Opens and closes its device; changes nothing. Any thread. */
MV_API void mv_accel_check(size_t index, struct mv_accel_status *ret);

MV_END_DECLS

#endif

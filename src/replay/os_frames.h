// SPDX-License-Identifier: MIT
/* Guest-physical frames of the small operating system: taken, shared, given back. */
#ifndef REPLAY_OS_FRAMES_H
#define REPLAY_OS_FRAMES_H

#include "replay/os.h"

/* A page of data with one owner, or of a table; zero or whatever was in it. 0 or -ENOSPC, -ENOMEM. */
int os_take_data(struct os *os, gpa_t *ret, struct mv_error *err);
int os_take_table(struct os *os, gpa_t *ret, struct mv_error *err);

void os_share_data(struct os *os, gpa_t page);
/* One owner less; the last one gives it back. */
void os_drop_data(struct os *os, gpa_t page);
uint32_t os_owners_of(const struct os *os, gpa_t page);

/* All its entries are zero. */
void os_drop_table(struct os *os, gpa_t table);

void os_frames_finish(struct os *os);

#endif

// SPDX-License-Identifier: MIT
/* Inside a record of which pages of a block are private. */
#ifndef MACHINE_PRIVACY_H
#define MACHINE_PRIVACY_H

struct privacy;

/* The block's last reference is gone. NULL is allowed. */
void privacy_destroy(struct privacy *privacy);

#endif

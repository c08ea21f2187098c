// SPDX-License-Identifier: MIT
/* Inside a space. */
#ifndef MACHINE_SPACE_H
#define MACHINE_SPACE_H

#include <memvirt/space.h>
#include <urcu/list.h>

#include "machine/view.h"

/*
 * Owned by the caller of mv_space_create.
 * `view` is read by anyone inside an epoch, and replaced by commits, under the control lock.
 * `next` is only used during a commit: the view that will be published if nobody refuses.
 */
struct mv_space {
    struct mv_machine *machine;
    char *name;
    struct mv_region *root; /* a reference */
    struct mv_view *view;   /* never NULL once the space is made */
    struct mv_view *next;
    bool shown;                /* a commit has published a view since the space was made */
    struct cds_list_head link; /* in the machine's spaces */
};

#endif

// SPDX-License-Identifier: MIT
/* Inside a space. */
#ifndef MACHINE_SPACE_H
#define MACHINE_SPACE_H

#include <memvirt/space.h>
#include <urcu/list.h>

#include "machine/flat.h"

/* Owned by the caller of mv_space_create; immutable. */
struct mv_space {
    struct mv_machine *machine;
    char *name;
    struct mv_region *root;    /* a reference */
    struct flat *flat;         /* what it shows; shared by the spaces with the same root */
    struct bounce *bounce;     /* buffers of its maps */
    struct cds_list_head link; /* in the machine's spaces */
};

#endif

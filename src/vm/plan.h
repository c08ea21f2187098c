// SPDX-License-Identifier: MIT
/* What a commit does to the slots: lists of them, in order of gpa. */
#ifndef VM_PLAN_H
#define VM_PLAN_H

#include "vm/dirtylog.h"

/* All zero: empty. Owned by the slot table, and emptied at the end of each commit by setting its count to 0. */
struct plan {
    struct slot *slots;
    size_t count;
    size_t capacity;
};

/* 0 or -ENOMEM. */
int plan_append(struct plan *plan, struct slot slot);
void plan_finish(struct plan *plan);

/* The same memory at the same place with the same rights; whether it is logged is another matter. */
bool slot_same_memory(const struct slot *a, const struct slot *b);

/*
 * What goes and comes back just the same is moved from both to `changes`; it is another region that shows it, and
 * that may be logged otherwise. 0 or -ENOMEM.
 */
int plan_cancel_pairs(struct plan *removals, struct plan *additions, struct plan *changes);

/* A line for a slot: "slot: VERB gpa ...". */
void plan_describe_slot(const struct slot *slot, const char *verb, void (*print)(void *, const char *),
                        void *print_opaque);
void plan_describe(const struct plan *plan, const char *verb, void (*print)(void *, const char *),
                   void *print_opaque);

#endif

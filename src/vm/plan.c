// SPDX-License-Identifier: MIT
#include "vm/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "accel/accel.h"
#include "base/addr.h"

int plan_append(struct plan *plan, struct slot slot)
{
    if (plan->count == plan->capacity) {
        size_t capacity = plan->capacity ? plan->capacity * 2 : 16;
        struct slot *slots = realloc(plan->slots, capacity * sizeof *slots);
        if (!slots) {
            return -ENOMEM;
        }
        plan->slots = slots;
        plan->capacity = capacity;
    }
    plan->slots[plan->count++] = slot;
    return 0;
}

void plan_finish(struct plan *plan)
{
    free(plan->slots);
    *plan = (struct plan){0};
}

bool slot_same_memory(const struct slot *a, const struct slot *b)
{
    return a->is.gpa.raw == b->is.gpa.raw && a->is.size_bytes == b->is.size_bytes &&
           a->is.hva.raw == b->is.hva.raw &&
           ((a->is.flags ^ b->is.flags) & (KVM_MEM_READONLY | KVM_MEM_GUEST_MEMFD)) == 0;
}

int plan_cancel_pairs(struct plan *removals, struct plan *additions, struct plan *changes)
{
    struct plan *r = removals;
    struct plan *a = additions;
    size_t kept_r = 0, kept_a = 0;
    size_t i = 0, j = 0;
    int rc = 0;
    while (i < r->count || j < a->count) {
        if (i < r->count && j < a->count && slot_same_memory(&r->slots[i], &a->slots[j])) {
            int appended = plan_append(changes, a->slots[j]);
            rc = rc ? rc : appended;
            i++;
            j++;
        } else if (j == a->count || (i < r->count && r->slots[i].is.gpa.raw <= a->slots[j].is.gpa.raw)) {
            r->slots[kept_r++] = r->slots[i++];
        } else {
            a->slots[kept_a++] = a->slots[j++];
        }
    }
    r->count = kept_r;
    a->count = kept_a;
    return rc;
}

void plan_describe_slot(const struct slot *slot, const char *verb, void (*print)(void *, const char *),
                        void *print_opaque)
{
    const struct mv_slot *is = &slot->is;
    char line[192];
    snprintf(line, sizeof line, "slot: %s gpa " PRI_ADDR "-" PRI_ADDR " hva " PRI_ADDR "%s%s%s", verb, is->gpa.raw,
             is->gpa.raw + (is->size_bytes - 1), is->hva.raw, is->flags & KVM_MEM_READONLY ? ", read-only" : "",
             is->flags & KVM_MEM_LOG_DIRTY_PAGES ? ", logged" : "",
             is->flags & KVM_MEM_GUEST_MEMFD ? ", with a guest_memfd" : "");
    print(print_opaque, line);
}

void plan_describe(const struct plan *plan, const char *verb, void (*print)(void *, const char *),
                   void *print_opaque)
{
    for (size_t i = 0; i < plan->count; i++) {
        plan_describe_slot(&plan->slots[i], verb, print, print_opaque);
    }
}

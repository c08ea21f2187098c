/* SPDX-License-Identifier: MIT */
#include "stale_reach.h"

static bool same_bits_from(uint64_t a, uint64_t b, unsigned shift)
{
    return a >> shift == b >> shift;
}

/* EP4TA, bits 51:12, is the tag of what comes from EPT. */
static bool same_ept(uint64_t a, uint64_t b)
{
    return (a & UINT64_C(0xffffffffff000)) == (b & UINT64_C(0xffffffffff000));
}

static bool nested(const struct stale_context *context)
{
    return context->eptp != 0;
}

bool reaches_tlb(const struct stale_event *event, const struct stale_context *tag, uint64_t gva, unsigned shift,
                 bool global)
{
    const bool page = same_bits_from(event->gva, gva, shift);
    const bool vpid = event->vpid == tag->vpid;
    const bool pcid = event->pcid == tag->pcid;
    const bool small_page = same_bits_from(event->gva, gva, 12);
    const bool splintered = tag->ncr3 != 0;
    switch (event->kind) {
    case STALE_SWITCH: return false;
    case STALE_INVLPG: return vpid && page && (pcid || global);
    case STALE_PAGE_FAULT: return vpid && (splintered ? small_page : page) && (pcid || global);
    case STALE_INVLPGA: return vpid && small_page && (pcid || global);
    case STALE_NESTED_FAULT: return vpid && small_page && (pcid || global) && event->context.ncr3 == tag->ncr3;
    case STALE_TLB_CONTROL: return event->type == 1 || (vpid && (event->type == 3 || !global));
    case STALE_CURRENT_PCID: return vpid && pcid && !global;
    case STALE_ALL: return vpid;
    case STALE_INVPCID:
        switch (event->type) {
        case 0: return vpid && pcid && page && !global;
        case 1: return vpid && pcid && !global;
        case 2: return vpid;
        default: return vpid && !global;
        }
    case STALE_INVVPID:
        switch (event->type) {
        case 0: return vpid && page;
        case 1: return vpid;
        case 2: return tag->vpid != 0;
        default: return vpid && !global;
        }
    case STALE_INVEPT:
    default: return nested(tag) && (event->type == 2 || same_ept(event->eptp, tag->eptp));
    }
}

bool reaches_structure(const struct stale_event *event, const struct stale_context *tag, uint64_t gva,
                       unsigned shift)
{
    const bool current = event->vpid == tag->vpid && event->pcid == tag->pcid;
    switch (event->kind) {
    case STALE_INVLPG: return current; /* whatever the address */
    case STALE_PAGE_FAULT:
    case STALE_INVLPGA: return current && same_bits_from(event->gva, gva, shift);
    case STALE_NESTED_FAULT: return false;
    case STALE_SWITCH:
    case STALE_CURRENT_PCID:
    case STALE_ALL:
    case STALE_INVPCID:
    case STALE_INVVPID:
    case STALE_INVEPT:
    case STALE_TLB_CONTROL:
    default: return reaches_tlb(event, tag, gva, shift, false);
    }
}

bool reaches_nested(const struct stale_event *event, const struct stale_context *tag)
{
    if (tag->ncr3 != 0) {
        return event->kind == STALE_TLB_CONTROL &&
               (event->type == 1 || (event->type == 3 && event->vpid == tag->vpid));
    }
    return event->kind == STALE_INVEPT && (event->type == 2 || same_ept(event->eptp, tag->eptp));
}

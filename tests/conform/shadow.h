// SPDX-License-Identifier: MIT
/*
 * A listener that keeps a view of its own, of nothing but what it is told, and checks the order in which it is
 * told. The includer defines CHECK(condition).
 */
#ifndef CONFORM_SHADOW_H
#define CONFORM_SHADOW_H

#include <errno.h>
#include <string.h>

#include <memvirt/listener.h>

#define SECTIONS_MAX 512

/* What a listener has made of what it was told. */
struct shadow {
    struct mv_section now[SECTIONS_MAX], before[SECTIONS_MAX];
    size_t count, count_before;
    bool begun, added;  /* within a commit; an addition or a nop was told */
    uint64_t next;      /* no section may be told below this */
    bool full;          /* ... and none at all: the last one ended the space */
    bool refuse, asked; /* for prepare */
};

static bool same_section(const struct mv_section *a, const struct mv_section *b)
{
    return a->range.first == b->range.first && a->range.last == b->range.last && a->region == b->region &&
           a->offset == b->offset && a->readonly == b->readonly && a->hva.raw == b->hva.raw;
}

/* The index of the first section that ends at `address` or after it. */
static size_t shadow_index(const struct shadow *s, uint64_t address)
{
    size_t i = 0;
    while (i < s->count && s->now[i].range.last < address) {
        i++;
    }
    return i;
}

static void shadow_begin(void *opaque)
{
    struct shadow *s = opaque;
    CHECK(!s->begun);
    s->begun = true;
    s->added = s->full = false;
    s->next = 0;
    memcpy(s->before, s->now, s->count * sizeof s->now[0]);
    s->count_before = s->count;
}

static void in_order(struct shadow *s, const struct mv_section *section)
{
    CHECK(s->begun && !s->full && section->range.first >= s->next);
    s->full = section->range.last == UINT64_MAX;
    s->next = section->range.last + 1;
}

static void shadow_del(void *opaque, const struct mv_section *section)
{
    struct shadow *s = opaque;
    CHECK(!s->added);
    in_order(s, section);
    size_t i = shadow_index(s, section->range.first);
    CHECK(i < s->count && same_section(&s->now[i], section));
    memmove(&s->now[i], &s->now[i + 1], (s->count - i - 1) * sizeof s->now[0]);
    s->count--;
}

static void first_of_what_is_there(struct shadow *s)
{
    if (!s->added) {
        s->added = true;
        s->full = false;
        s->next = 0;
    }
}

/* What was there before the commit just as it is told now: it should not have been told. */
static bool was_there(const struct shadow *s, const struct mv_section *section)
{
    for (size_t i = 0; i < s->count_before; i++) {
        if (same_section(&s->before[i], section)) {
            return true;
        }
    }
    return false;
}

static void shadow_add(void *opaque, const struct mv_section *section)
{
    struct shadow *s = opaque;
    CHECK(!was_there(s, section));
    first_of_what_is_there(s);
    in_order(s, section);
    size_t i = shadow_index(s, section->range.first);
    CHECK(i == s->count || s->now[i].range.first > section->range.last);
    CHECK(s->count < SECTIONS_MAX);
    memmove(&s->now[i + 1], &s->now[i], (s->count - i) * sizeof s->now[0]);
    s->now[i] = *section;
    s->count++;
}

static void shadow_nop(void *opaque, const struct mv_section *section)
{
    struct shadow *s = opaque;
    first_of_what_is_there(s);
    in_order(s, section);
    size_t i = shadow_index(s, section->range.first);
    CHECK(i < s->count && same_section(&s->now[i], section));
}

static int shadow_prepare(void *opaque, struct mv_error *err)
{
    struct shadow *s = opaque;
    CHECK(s->begun);
    s->asked = true;
    if (s->refuse && err) {
        *err = (struct mv_error){.code = -EIO, .reason = "refused", .text = "refused"};
    }
    return s->refuse ? -EIO : 0;
}

static void shadow_commit(void *opaque)
{
    struct shadow *s = opaque;
    CHECK(s->begun && !s->refuse);
    s->begun = false;
}

static void shadow_abort(void *opaque)
{
    struct shadow *s = opaque;
    CHECK(s->begun);
    s->begun = false;
    memcpy(s->now, s->before, s->count_before * sizeof s->now[0]);
    s->count = s->count_before;
}

static const struct mv_listener_ops shadow_ops = {
    .begin = shadow_begin,
    .region_del = shadow_del,
    .region_add = shadow_add,
    .region_nop = shadow_nop,
    .prepare = shadow_prepare,
    .commit = shadow_commit,
    .abort = shadow_abort,
};

/* The same for one who does not ask what stays. */
static const struct mv_listener_ops shadow_ops_without_nop = {
    .begin = shadow_begin,
    .region_del = shadow_del,
    .region_add = shadow_add,
    .prepare = shadow_prepare,
    .commit = shadow_commit,
    .abort = shadow_abort,
};

#endif

// SPDX-License-Identifier: MIT
/*
 * For the unit tests of machine/: a machine with one space, short ways to make regions, views as pictures, and
 * listeners that write down what they are told.
 */
#ifndef MACHINE_MACHINE_TEST_H
#define MACHINE_MACHINE_TEST_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <memvirt/listener.h>

#define TOP UINT64_MAX

/* --- a machine whose one space shows `root`, a container of 2^64 bytes ------------------------- */

struct rig {
    struct mv_machine *machine;
    struct mv_region *root; /* a reference */
    struct mv_space *space;
};

static inline struct mv_region *make(struct mv_machine *machine, const struct mv_region_options *options)
{
    struct mv_error err;
    struct mv_region *region = NULL;
    assert_int_equal(mv_region_create(machine, options, &region, &err), 0);
    assert_non_null(region);
    return region;
}

static inline struct mv_region *container(const struct rig *rig, const char *name, uint64_t size_bytes)
{
    return make(rig->machine,
                &(struct mv_region_options){.name = name, .kind = MV_REGION_CONTAINER, .size_bytes = size_bytes});
}

/* RAM or ROM with a block of its own. */
static inline struct mv_region *memory(const struct rig *rig, enum mv_region_kind kind, const char *name,
                                       uint64_t size_bytes)
{
    struct mv_error err;
    struct mv_block *block = NULL;
    const struct mv_block_options options = {.name = name, .size_bytes = size_bytes ? size_bytes : 1};
    assert_int_equal(mv_block_create(rig->machine, &options, &block, &err), 0);
    struct mv_region *region =
        make(rig->machine,
             &(struct mv_region_options){.name = name, .kind = kind, .size_bytes = size_bytes, .block = block});
    mv_block_put(block);
    return region;
}

static inline struct mv_region *ram(const struct rig *rig, const char *name, uint64_t size_bytes)
{
    return memory(rig, MV_REGION_RAM, name, size_bytes);
}

static inline struct mv_region *rom(const struct rig *rig, const char *name, uint64_t size_bytes)
{
    return memory(rig, MV_REGION_ROM, name, size_bytes);
}

/* MMIO that answers nothing. */
static inline struct mv_region *reservation(const struct rig *rig, const char *name, uint64_t size_bytes)
{
    return make(rig->machine,
                &(struct mv_region_options){.name = name, .kind = MV_REGION_MMIO, .size_bytes = size_bytes});
}

static inline struct mv_region *mmio(const struct rig *rig, const char *name, uint64_t size_bytes,
                                     const struct mv_mmio_ops *ops, void *opaque)
{
    return make(rig->machine,
                &(struct mv_region_options){
                    .name = name, .kind = MV_REGION_MMIO, .size_bytes = size_bytes, .ops = ops, .opaque = opaque});
}

static inline struct mv_region *alias_of(const struct rig *rig, const char *name, struct mv_region *target,
                                         uint64_t offset, uint64_t size_bytes)
{
    return make(rig->machine, &(struct mv_region_options){.name = name,
                                                          .kind = MV_REGION_ALIAS,
                                                          .size_bytes = size_bytes,
                                                          .target = target,
                                                          .target_offset_bytes = offset});
}

/* Add, and give the caller's reference up. Returns the child, which its container keeps. */
static inline struct mv_region *put_in(struct mv_region *parent, uint64_t offset, struct mv_region *child,
                                       int priority)
{
    struct mv_error err;
    assert_int_equal(mv_region_add(parent, offset, child, priority, &err), 0);
    mv_region_put(child);
    return child;
}

static inline struct mv_space *show(const struct rig *rig, const char *name, struct mv_region *root)
{
    struct mv_error err;
    struct mv_space *space = NULL;
    assert_int_equal(mv_space_create(rig->machine, name, root, &space, &err), 0);
    assert_non_null(space);
    return space;
}

static inline void rig_open(struct rig *rig)
{
    struct mv_error err;
    *rig = (struct rig){0};
    assert_int_equal(mv_machine_create(&rig->machine, &err), 0);
    rig->root = container(rig, "root", MV_SIZE_2_64);
    rig->space = show(rig, "space", rig->root);
}

static inline void rig_close(struct rig *rig)
{
    mv_space_destroy(rig->space);
    mv_region_put(rig->root);
    mv_machine_destroy(rig->machine);
}

static inline void begin(const struct rig *rig)
{
    struct mv_error err;
    assert_int_equal(mv_machine_begin(rig->machine, &err), 0);
}

static inline void commit(const struct rig *rig)
{
    struct mv_error err;
    assert_int_equal(mv_machine_commit(rig->machine, &err), 0);
}

/* --- pictures: "FIRST-LAST NAME@OFFSET[ ro]\n" for each section, in hex ------------------------ */

static inline size_t picture_of(const struct mv_section *s, char *text, size_t size)
{
    int n = snprintf(text, size, "%" PRIx64 "-%" PRIx64 " %s@%" PRIx64 "%s\n", s->range.first, s->range.last,
                     mv_region_name(s->region), s->offset, s->readonly ? " ro" : "");
    assert_true(n > 0 && (size_t)n < size);
    return (size_t)n;
}

static inline void picture(const struct mv_view *view, char *text, size_t size)
{
    struct mv_section s;
    size_t used = 0, count = 0;
    text[0] = '\0';
    for (bool more = mv_view_next(view, mv_gpa(0), &s); more; count++) {
        used += picture_of(&s, text + used, size - used);
        more = s.range.last != TOP && mv_view_next(view, mv_gpa(s.range.last + 1), &s);
    }
    assert_int_equal(count, mv_view_count(view));
}

static inline void assert_picture(struct mv_space *space, const char *expected)
{
    char text[4096];
    const struct mv_view *view = mv_space_view(space);
    picture(view, text, sizeof text);
    mv_view_release(view);
    assert_string_equal(text, expected);
}

/* --- listeners that write "NAME:WORD" or "NAME:+SECTION" for each event ------------------------ */

struct journal {
    char text[8192];
    size_t used;
};

struct witness {
    const char *name;
    struct journal *journal;
    int refuse;                                         /* what prepare returns */
    int refuse_event;                                   /* what eventfd_add returns */
    int refuse_log;                                     /* what log_global_start returns */
    void (*action)(struct witness *, const char *word); /* in each callback, if not NULL */
    void *opaque;                                       /* for the action */
};

static inline void witness_write(struct witness *w, const char *word, const struct mv_section *section)
{
    struct journal *j = w->journal;
    size_t room = sizeof j->text - j->used;
    int n = snprintf(j->text + j->used, room, "%s:%s", w->name, word);
    assert_true(n > 0 && (size_t)n + 1 < room);
    j->used += (size_t)n;
    if (section) {
        j->used += picture_of(section, j->text + j->used, room - (size_t)n);
    } else {
        j->text[j->used++] = '\n';
        j->text[j->used] = '\0';
    }
    if (w->action) {
        w->action(w, word);
    }
}

static inline void witness_begin(void *opaque)
{
    witness_write(opaque, "begin", NULL);
}

static inline void witness_del(void *opaque, const struct mv_section *section)
{
    witness_write(opaque, "-", section);
}

static inline void witness_add(void *opaque, const struct mv_section *section)
{
    witness_write(opaque, "+", section);
}

static inline void witness_nop(void *opaque, const struct mv_section *section)
{
    witness_write(opaque, "=", section);
}

static inline int witness_prepare(void *opaque, struct mv_error *err)
{
    struct witness *w = opaque;
    witness_write(w, "prepare", NULL);
    if (w->refuse < 0 && err) {
        *err = (struct mv_error){.code = w->refuse, .reason = "refused"};
        snprintf(err->object, sizeof err->object, "%s", w->name);
        snprintf(err->text, sizeof err->text, "listener %s refuses", w->name);
    }
    return w->refuse;
}

static inline void witness_commit(void *opaque)
{
    witness_write(opaque, "commit", NULL);
}

static inline void witness_abort(void *opaque)
{
    witness_write(opaque, "abort", NULL);
}

/* "NAME:log_start OLD>NEW SECTION" */
static inline void witness_log(struct witness *w, const char *word, const struct mv_section *section,
                               unsigned old_mask, unsigned new_mask)
{
    char text[64];
    snprintf(text, sizeof text, "%s %x>%x ", word, old_mask, new_mask);
    assert_int_equal(section->log_mask, new_mask);
    witness_write(w, text, section);
}

static inline void witness_log_start(void *opaque, const struct mv_section *section, unsigned old_mask,
                                     unsigned new_mask)
{
    witness_log(opaque, "log_start", section, old_mask, new_mask);
}

static inline void witness_log_stop(void *opaque, const struct mv_section *section, unsigned old_mask,
                                    unsigned new_mask)
{
    witness_log(opaque, "log_stop", section, old_mask, new_mask);
}

static inline void witness_log_sync(void *opaque, const struct mv_section *section)
{
    witness_write(opaque, "sync ", section);
}

static inline void witness_log_clear(void *opaque, const struct mv_section *section)
{
    witness_write(opaque, "clear ", section);
}

static inline int witness_log_global_start(void *opaque, struct mv_error *err)
{
    struct witness *w = opaque;
    (void)err;
    witness_write(w, "global_start", NULL);
    return w->refuse_log;
}

static inline void witness_log_global_stop(void *opaque)
{
    witness_write(opaque, "global_stop", NULL);
}

static inline void witness_log_global_after_sync(void *opaque)
{
    witness_write(opaque, "after_sync", NULL);
}

/* "NAME:event+ ADDRESS/SIZE" and "=DATA" if it matters */
static inline void witness_event(struct witness *w, const char *word, const struct mv_ioeventfd *at)
{
    char text[96];
    int n = snprintf(text, sizeof text, "%s %" PRIx64 "/%u", word, at->offset, at->size_bytes);
    if (at->match) {
        snprintf(text + n, sizeof text - (size_t)n, "=%" PRIx64, at->data);
    }
    witness_write(w, text, NULL);
}

static inline int witness_eventfd_add(void *opaque, const struct mv_ioeventfd *at, int fd, struct mv_error *err)
{
    struct witness *w = opaque;
    (void)err;
    assert_true(fd >= 0);
    witness_event(w, "event+", at);
    return w->refuse_event;
}

static inline void witness_eventfd_del(void *opaque, const struct mv_ioeventfd *at, int fd)
{
    assert_true(fd >= 0);
    witness_event(opaque, "event-", at);
}

/* "NAME:gather+ FIRST-LAST" */
static inline void witness_gather(struct witness *w, const char *word, struct mv_range range)
{
    char text[96];
    snprintf(text, sizeof text, "%s %" PRIx64 "-%" PRIx64, word, range.first, range.last);
    witness_write(w, text, NULL);
}

static inline void witness_coalesced_add(void *opaque, const struct mv_section *section, struct mv_range range)
{
    assert_true(section->range.first <= range.first && range.last <= section->range.last);
    witness_gather(opaque, "gather+", range);
}

static inline void witness_coalesced_del(void *opaque, const struct mv_section *section, struct mv_range range)
{
    assert_true(section->range.first <= range.first && range.last <= section->range.last);
    witness_gather(opaque, "gather-", range);
}

static const struct mv_listener_ops witness_ops = {
    .begin = witness_begin,
    .region_del = witness_del,
    .region_add = witness_add,
    .region_nop = witness_nop,
    .log_start = witness_log_start,
    .log_stop = witness_log_stop,
    .log_sync = witness_log_sync,
    .log_clear = witness_log_clear,
    .log_global_start = witness_log_global_start,
    .log_global_stop = witness_log_global_stop,
    .log_global_after_sync = witness_log_global_after_sync,
    .eventfd_add = witness_eventfd_add,
    .eventfd_del = witness_eventfd_del,
    .coalesced_add = witness_coalesced_add,
    .coalesced_del = witness_coalesced_del,
    .prepare = witness_prepare,
    .commit = witness_commit,
    .abort = witness_abort,
};

static inline struct mv_listener *attach(struct mv_space *space, struct witness *witness, int priority)
{
    struct mv_error err;
    struct mv_listener *listener = NULL;
    assert_int_equal(mv_listener_create(space, &witness_ops, witness, priority, &listener, &err), 0);
    assert_non_null(listener);
    return listener;
}

/* Compare, and begin a new page. */
static inline void assert_journal(struct journal *journal, const char *expected)
{
    journal->text[journal->used] = '\0';
    assert_string_equal(journal->text, expected);
    journal->used = 0;
    journal->text[0] = '\0';
}

#endif

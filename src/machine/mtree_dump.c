// SPDX-License-Identifier: MIT
#include "machine/mtree_dump.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

int mtree_dump_error(struct mv_error *err, unsigned line, const char *why)
{
    return error_set(err, -EINVAL, "bad-dump", NULL, "line %u: %s", line, why);
}

int mtree_dump_too_large(struct mv_error *err, unsigned line, const char *what)
{
    return error_set(err, -E2BIG, "too-large", NULL, "line %u: %s", line, what);
}

int mtree_dump_no_memory(struct mv_error *err)
{
    return error_set(err, -ENOMEM, "no-memory", NULL, "mtree: out of memory");
}

/* One more item in an array that doubles. */
static void *add_item(void **items, size_t *count, size_t *capacity, size_t item_bytes)
{
    if (*count == *capacity) {
        size_t more = *capacity ? *capacity * 2 : 64;
        void *moved = realloc(*items, more * item_bytes);
        if (!moved) {
            return NULL;
        }
        *items = moved;
        *capacity = more;
    }
    void *item = (char *)*items + *count * item_bytes;
    memset(item, 0, item_bytes);
    ++*count;
    return item;
}

/* --- nodes ------------------------------------------------------------------------------------------------- */

static int add_node(struct mtree_dump *dump, unsigned line, uint32_t *ret, struct mv_error *err)
{
    if (dump->node_count == MTREE_NODES_MAX) {
        return mtree_dump_too_large(err, line, "there are more than 1048576 regions");
    }
    void *nodes = dump->nodes;
    struct mtree_node *node = add_item(&nodes, &dump->node_count, &dump->node_capacity, sizeof *node);
    dump->nodes = nodes;
    if (!node) {
        return mtree_dump_no_memory(err);
    }
    node->line = line;
    node->parent = node->first_child = node->last_child = node->previous = node->next = MTREE_NONE;
    node->shows = MTREE_NONE;
    *ret = (uint32_t)(dump->node_count - 1);
    return 0;
}

static void link_node(struct mtree_dump *dump, uint32_t number, uint32_t parent)
{
    struct mtree_node *node = &dump->nodes[number];
    struct mtree_node *up = &dump->nodes[parent];
    node->parent = parent;
    node->tree = up->tree;
    node->previous = up->last_child;
    *(node->previous == MTREE_NONE ? &up->first_child : &dump->nodes[node->previous].next) = number;
    up->last_child = number;
}

/* Where it is printed right behind what is before it: at the same place. */
static void place_hidden(struct mtree_dump *dump, struct mtree_node *node)
{
    const struct mtree_node *before = node->previous != MTREE_NONE ? &dump->nodes[node->previous] : NULL;
    node->is.priority = before ? before->is.priority : INT_MAX;
    node->offset = before ? before->offset : 0;
    node->is.range.first = dump->nodes[node->parent].is.range.first + node->offset;
    node->is.range.last = node->is.range.first;
}

/* A node for a region that is not shown, the last one in a parent; MTREE_NONE: a root. */
static int add_hidden(struct mtree_dump *dump, uint32_t parent, unsigned line, uint32_t *ret, struct mv_error *err)
{
    int rc = add_node(dump, line, ret, err);
    if (rc < 0) {
        return rc;
    }
    struct mtree_node *node = &dump->nodes[*ret];
    node->hidden = true;
    node->is = (struct mtree_line){
        .kind = MTREE_LINE_REGION,
        .name = SLICE("(hidden)"),
        .type = MTREE_IO,
    };
    if (parent != MTREE_NONE) {
        link_node(dump, *ret, parent);
        place_hidden(dump, node);
    }
    return 0;
}

uint32_t mtree_dump_next(const struct mtree_dump *dump, uint32_t node, uint32_t root)
{
    if (dump->nodes[node].first_child != MTREE_NONE) {
        return dump->nodes[node].first_child;
    }
    while (node != root && dump->nodes[node].next == MTREE_NONE) {
        node = dump->nodes[node].parent;
    }
    return node == root ? MTREE_NONE : dump->nodes[node].next;
}

void mtree_dump_finish(struct mtree_dump *dump)
{
    free(dump->nodes);
    free(dump->trees);
    free(dump->space_names);
    free(dump->hints);
    free(dump->slots);
    *dump = (struct mtree_dump){0};
}

/* --- reading ----------------------------------------------------------------------------------------------- */

enum place {
    BETWEEN,  /* paragraphs */
    HEADINGS, /* after an address-space: or memory-region: line */
    TREE,     /* after a region's line */
    FLAT,     /* in a flat view */
};

/* An accelerator has slots for one space, or two (KVM's second one is system management mode's). */
#define VIEWERS_MAX 4

struct reader {
    struct mtree_dump *dump;
    struct mv_error *err;
    enum place place;
    unsigned line;
    bool complete;                      /* no region is hidden: the dump is one of -D */
    bool tree_ended;                    /* by a prompt: what comes is another command's answer */
    uint32_t open[MTREE_LEVEL_MAX + 1]; /* by level: the region that a deeper line would be in */
    unsigned depth;                     /* the deepest level that is open; 0: none */
    struct slice viewers[VIEWERS_MAX];  /* of the flat view: its first spaces */
    unsigned viewer_count;
};

static struct mtree_tree *current_tree(const struct reader *reader)
{
    return &reader->dump->trees[reader->dump->tree_count - 1];
}

static int begin_tree(struct reader *reader, const struct mtree_line *line)
{
    struct mtree_dump *dump = reader->dump;
    const bool is_space = line->kind == MTREE_LINE_SPACE;
    if (reader->tree_ended) {
        return mtree_dump_error(reader->err, reader->line, "a second `info mtree` begins: keep one of them");
    }
    if (reader->place == HEADINGS && !(is_space && current_tree(reader)->is_space)) {
        return mtree_dump_error(reader->err, reader->line, "a heading right behind a heading that is no space's");
    }
    if (reader->place != HEADINGS) {
        void *trees = dump->trees;
        struct mtree_tree *tree = add_item(&trees, &dump->tree_count, &dump->tree_capacity, sizeof *tree);
        dump->trees = trees;
        if (!tree) {
            return mtree_dump_no_memory(reader->err);
        }
        tree->is_space = is_space;
        tree->line = reader->line;
        tree->name = line->name;
        tree->first_name = (uint32_t)dump->space_name_count;
        tree->root = tree->same = MTREE_NONE;
    }
    reader->place = HEADINGS;
    reader->depth = 0;
    if (!is_space) {
        return 0;
    }
    if (dump->space_name_count == MTREE_SPACES_MAX) {
        return mtree_dump_too_large(reader->err, reader->line, "there are more than 4096 address spaces");
    }
    void *names = dump->space_names;
    struct slice *name = add_item(&names, &dump->space_name_count, &dump->space_name_capacity, sizeof *name);
    dump->space_names = names;
    if (!name) {
        return mtree_dump_no_memory(reader->err);
    }
    *name = line->name;
    current_tree(reader)->name_count++;
    return 0;
}

/* Let `number` be the region at its level. */
static void open_level(struct reader *reader, unsigned level, uint32_t number)
{
    reader->open[level] = number;
    reader->depth = level;
}

static int add_hidden_level(struct reader *reader, unsigned level)
{
    struct mtree_dump *dump = reader->dump;
    uint32_t number;
    uint32_t parent = level == 1 ? MTREE_NONE : reader->open[level - 1];
    int rc = add_hidden(dump, parent, reader->line, &number, reader->err);
    if (rc < 0) {
        return rc;
    }
    if (level == 1) {
        struct mtree_tree *tree = current_tree(reader);
        tree->root = number;
        dump->nodes[number].tree = (uint32_t)(dump->tree_count - 1);
        if (!tree->is_space) {
            dump->nodes[number].is.name = tree->name;
        }
    }
    open_level(reader, level, number);
    return 0;
}

static uint64_t offset_in(const struct reader *reader, uint32_t parent, const struct mtree_line *line)
{
    return line->range.first - reader->dump->nodes[parent].is.range.first;
}

/*
 * Whether a region can be in the one that is open above it. If not, it is in a disabled one that is not shown:
 * when the open one is an alias, or ends before it, or when it would be out of order there.
 */
static bool fits(const struct reader *reader, uint32_t parent, const struct mtree_line *line)
{
    const struct mtree_node *up = &reader->dump->nodes[parent];
    if (up->is.is_alias) {
        return false;
    }
    uint64_t offset = offset_in(reader, parent, line);
    if (up->last_child != MTREE_NONE) {
        const struct mtree_node *before = &reader->dump->nodes[up->last_child];
        if (offset < before->offset || (offset == before->offset && line->priority > before->is.priority)) {
            return reader->complete;
        }
    }
    return reader->complete || up->hidden || offset <= mtree_node_span(up);
}

/* Open hidden regions until the line's level is reached, and none above it that it cannot be in. */
static int open_parents(struct reader *reader, const struct mtree_line *line)
{
    while (reader->depth + 1 < line->level) {
        int rc = add_hidden_level(reader, reader->depth + 1);
        if (rc < 0) {
            return rc;
        }
    }
    reader->depth = line->level - 1;
    if (line->level == 1 || fits(reader, reader->open[line->level - 1], line)) {
        return 0;
    }
    if (line->level == 2) { /* a tree has one root, so it can be nowhere else */
        bool in_alias = reader->dump->nodes[reader->open[1]].is.is_alias;
        return in_alias ? mtree_dump_error(reader->err, reader->line, "it is in an alias") : 0;
    }
    return add_hidden_level(reader, line->level - 1);
}

static int add_region(struct reader *reader, const struct mtree_line *line)
{
    struct mtree_dump *dump = reader->dump;
    if (line->level > MTREE_LEVEL_MAX) {
        return mtree_dump_too_large(reader->err, reader->line, "it is more than 128 levels deep");
    }
    if (line->range.last - line->range.first == UINT64_MAX - 1) {
        return mtree_dump_error(reader->err, reader->line, "no region has 2^64 - 1 bytes");
    }
    if (line->level == 1 && current_tree(reader)->root != MTREE_NONE) {
        return mtree_dump_error(reader->err, reader->line, "a tree has one root");
    }
    int rc = open_parents(reader, line);
    uint32_t number;
    if (rc == 0) {
        rc = add_node(dump, reader->line, &number, reader->err);
    }
    if (rc < 0) {
        return rc;
    }
    struct mtree_node *node = &dump->nodes[number];
    node->is = *line;
    if (line->level == 1) {
        struct mtree_tree *tree = current_tree(reader);
        tree->root = number;
        node->tree = (uint32_t)(dump->tree_count - 1);
        node->offset = line->range.first;
        if (!tree->is_space && !slice_equal(line->name, tree->name)) {
            return mtree_dump_error(reader->err, reader->line, "the heading has another name");
        }
    } else {
        node->offset = offset_in(reader, reader->open[line->level - 1], line);
        link_node(dump, number, reader->open[line->level - 1]);
    }
    dump->has_owner = dump->has_owner || line->says_owner;
    open_level(reader, line->level, number);
    reader->place = TREE;
    return 0;
}

/* The name may be followed by an offset. */
static int add_hint(struct reader *reader, const struct mtree_line *line)
{
    struct mtree_dump *dump = reader->dump;
    struct slice name = line->name;
    uint64_t offset = 0;
    if (line->type != MTREE_IO || line->is_alias) {
        return 0;
    }
    if (name.length > 18 && slice_begins((struct slice){name.start + name.length - 18, 2}, SLICE(" @"))) {
        char digits[17] = {0};
        char *end;
        memcpy(digits, name.start + name.length - 16, 16);
        offset = strtoull(digits, &end, 16);
        name.length -= *end ? 0 : 18;
    }
    if (dump->hint_count == MTREE_NODES_MAX) {
        return mtree_dump_too_large(reader->err, reader->line, "there are more than 1048576 flat ranges");
    }
    void *hints = dump->hints;
    struct mtree_hint *hint = add_item(&hints, &dump->hint_count, &dump->hint_capacity, sizeof *hint);
    dump->hints = hints;
    if (!hint) {
        return mtree_dump_no_memory(reader->err);
    }
    *hint = (struct mtree_hint){name, line->priority, line->range.first - offset};
    return 0;
}

static int add_slot(struct reader *reader, unsigned viewer, struct mv_range range)
{
    struct mtree_dump *dump = reader->dump;
    void *slots = dump->slots;
    if (viewer >= reader->viewer_count) {
        return 0;
    }
    struct mtree_slot *slot = add_item(&slots, &dump->slot_count, &dump->slot_capacity, sizeof *slot);
    dump->slots = slots;
    if (!slot) {
        return mtree_dump_no_memory(reader->err);
    }
    *slot = (struct mtree_slot){reader->viewers[viewer], range};
    return 0;
}

/* A range of a flat view: its name may be followed by an offset, and by the accelerator's word for each space that
 * has a slot there. */
static int add_flat(struct reader *reader, const struct mtree_line *line)
{
    struct mtree_line rest = *line;
    int rc = 0;
    for (unsigned viewer = 0; rc == 0 && slice_ends(rest.name, SLICE(" " MTREE_ACCEL_WORD)); viewer++) {
        rest.name.length -= sizeof " " MTREE_ACCEL_WORD - 1;
        rc = add_slot(reader, viewer, line->range);
    }
    return rc == 0 ? add_hint(reader, &rest) : rc;
}

static void add_viewer(struct reader *reader, const struct mtree_line *line)
{
    if (reader->viewer_count < VIEWERS_MAX) {
        reader->viewers[reader->viewer_count++] = line->name;
    }
}

/* A tree whose root is hidden, with nothing in it, has no line. */
static int end_tree(struct reader *reader)
{
    if (reader->place == HEADINGS) {
        return add_hidden_level(reader, 1);
    }
    return 0;
}

static int read_tree_line(struct reader *reader, const struct mtree_line *line)
{
    switch (line->kind) {
    case MTREE_LINE_BLANK:
    case MTREE_LINE_OTHER: {
        int rc = end_tree(reader);
        reader->place = BETWEEN;
        reader->tree_ended =
            reader->tree_ended || (line->kind == MTREE_LINE_OTHER && reader->dump->tree_count > 0);
        return rc;
    }
    case MTREE_LINE_SPACE:
    case MTREE_LINE_TARGET: return begin_tree(reader, line);
    case MTREE_LINE_FLAT: {
        int rc = end_tree(reader);
        reader->dump->has_flat = true;
        reader->place = FLAT;
        reader->viewer_count = 0;
        return rc;
    }
    case MTREE_LINE_AS:
        return mtree_dump_error(reader->err, reader->line, "a space of a flat view outside of any");
    case MTREE_LINE_REGION: break;
    }
    if (reader->place == BETWEEN) {
        return mtree_dump_error(reader->err, reader->line, "a region outside of any tree");
    }
    return add_region(reader, line);
}

static int read_line(struct reader *reader, struct slice text)
{
    struct mtree_line line;
    const char *why;
    bool parsed = mtree_line_parse(text, &line, &why);
    if (reader->place == FLAT) { /* of which only the ranges matter, and not what -d shows */
        if (parsed && (line.kind == MTREE_LINE_BLANK || line.kind == MTREE_LINE_OTHER)) {
            reader->place = BETWEEN;
        }
        if (parsed && line.kind == MTREE_LINE_FLAT) {
            reader->viewer_count = 0;
        }
        if (parsed && line.kind == MTREE_LINE_AS) {
            add_viewer(reader, &line);
        }
        return parsed && line.kind == MTREE_LINE_REGION ? add_flat(reader, &line) : 0;
    }
    if (!parsed) {
        return mtree_dump_error(reader->err, reader->line, why);
    }
    return read_tree_line(reader, &line);
}

/* Whether the text has a disabled region at the end of any line: then none is hidden. */
static bool shows_disabled(struct slice text)
{
    return memmem(text.start, text.length, " [disabled]", sizeof " [disabled]" - 1) != NULL;
}

static int compare_hints(const void *a, const void *b)
{
    const struct mtree_hint *x = a, *y = b;
    size_t common = x->name.length < y->name.length ? x->name.length : y->name.length;
    int order = memcmp(x->name.start, y->name.start, common);
    if (order != 0 || x->name.length != y->name.length) {
        return order != 0 ? order : x->name.length < y->name.length ? -1 : 1;
    }
    return x->origin < y->origin ? -1 : x->origin > y->origin;
}

int mtree_dump_parse(struct mtree_dump *dump, struct slice text, struct mv_error *err)
{
    struct reader reader = {.dump = dump, .err = err};
    int rc = 0;
    *dump = (struct mtree_dump){0};
    dump->has_disabled = reader.complete = text.length > 0 && shows_disabled(text);
    while (rc == 0 && text.length > 0) {
        const char *newline = memchr(text.start, '\n', text.length);
        size_t length = newline ? (size_t)(newline - text.start) : text.length;
        reader.line++;
        rc = read_line(&reader, (struct slice){text.start, length});
        length += newline != NULL;
        text = (struct slice){text.start + length, text.length - length};
    }
    if (rc == 0) {
        rc = end_tree(&reader);
    }
    if (rc == 0 && dump->tree_count == 0) {
        rc = mtree_dump_error(err, reader.line, "the text ends, and there was no address space");
    }
    if (rc == 0 && dump->hint_count > 0) {
        qsort(dump->hints, dump->hint_count, sizeof *dump->hints, compare_hints);
    }
    return rc;
}

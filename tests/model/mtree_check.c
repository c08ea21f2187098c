/* SPDX-License-Identifier: MIT */

/*
 * Holds the region model against a real QEMU: reads what its monitor printed
 * for `info mtree -D` and `info mtree -f`, builds the trees of the first in the
 * model, and compares what the model makes of each address space with the
 * second.
 *
 * Usage: mtree_check DUMP [NAME...]
 *
 *   printf 'info mtree -D\ninfo mtree -f\nquit\n' |
 *       qemu-system-x86_64 -M pc -m 128 -nodefaults -S -display none \
 *                          -monitor stdio > DUMP
 *
 * Each NAME is an alias known to be readonly (pam-rom), which QEMU does not
 * print. What else the dump does not tell, and how it is filled in:
 *
 * - A region of type i/o may be a container or a device. It is a device when
 *   it shows in some flat view: one that shows nowhere changes nothing.
 * - Siblings are sorted by address, so which of two overlapping ones of equal
 *   priority is on top is known only where both begin at the same address.
 * - Regions go by name. A target of several candidates is the first of them,
 *   and a warning is printed where they differ in size.
 * - Sizes 0 and 1 look the same; 1 is taken.
 */
#include "region_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LINE = 512, MAX_NAME = 128, MAX_DEPTH = 64, MAX_SPACES = 256, MAX_RANGES = 4096 };

/* One line of a tree, beside the region of the same id in the model. */
struct node {
    char name[MAX_NAME];
    char target[MAX_NAME]; /* of an alias, else empty */
    int parent;            /* MODEL_NONE at the top of a tree, or below something hidden */
    int priority;
    uint64_t first; /* as printed: in the coordinates of the tree */
    uint64_t last;
    uint64_t target_first;
    bool enabled;
    bool is_ram;
    bool is_rom;
};

struct space {
    char name[MAX_NAME];
    int root;
};

struct range {
    uint64_t first;
    uint64_t last;
    uint64_t offset;
    char name[MAX_NAME];
    bool is_rom;
};

static struct model model;
static struct node nodes[MODEL_MAX_REGIONS];
static int nnodes;
static struct space spaces[MAX_SPACES];
static int nspaces;
static char **readonly_names;
static int nreadonly_names;

static _Noreturn void die(const char *what, const char *about)
{
    fprintf(stderr, "mtree_check: %s: %s\n", what, about);
    exit(2);
}

static void copy_name(char *to, const char *from)
{
    if (strlen(from) >= MAX_NAME) {
        die("name too long", from);
    }
    strcpy(to, from);
}

static bool read_line(FILE *file, char *line)
{
    if (!fgets(line, MAX_LINE, file)) {
        return false;
    }
    line[strcspn(line, "\r\n")] = '\0';
    return true;
}

static bool cut_suffix(char *text, const char *suffix)
{
    size_t n = strlen(text);
    size_t k = strlen(suffix);

    if (n < k || strcmp(text + n - k, suffix) != 0) {
        return false;
    }
    text[n - k] = '\0';
    return true;
}

/*
 * "<first>-<last> (prio N, type): rest". Returns the rest, or NULL when the
 * line is something else.
 */
static char *scan_range(char *text, struct node *ret)
{
    char type[16];
    int used = 0;

    if (sscanf(text, "%" SCNx64 "-%" SCNx64 " (prio %d, %15[^)]): %n", &ret->first, &ret->last, &ret->priority,
               type, &used) != 4 ||
        used == 0) {
        return NULL;
    }
    ret->is_rom = strcmp(type, "rom") == 0 || strcmp(type, "nv-rom") == 0;
    ret->is_ram = strcmp(type, "i/o") != 0;
    return text + used;
}

/* "name" or "alias name @target first-last", with " [disabled]" at the end or without. */
static void scan_name(char *text, struct node *node)
{
    char *at = NULL;
    char *space;

    node->enabled = !cut_suffix(text, " [disabled]");
    if (strncmp(text, "alias ", 6) == 0) {
        at = strstr(text, " @");
    }
    if (!at) {
        copy_name(node->name, text);
        return;
    }
    *at = '\0';
    copy_name(node->name, text + 6);
    space = strrchr(at + 2, ' ');
    if (!space || sscanf(space + 1, "%" SCNx64 "-", &node->target_first) != 1) {
        die("alias without a range", at + 2);
    }
    *space = '\0';
    copy_name(node->target, at + 2);
}

/*
 * One tree, up to an empty line; returns its top, MODEL_NONE when that is not
 * shown. Without -D a disabled region is left out but its children are there,
 * deeper than the level they seem to be at: those are dropped.
 */
static int read_tree(FILE *file)
{
    char line[MAX_LINE];
    int open[MAX_DEPTH]; /* the last node at each level, or MODEL_NONE */
    size_t nopen = 0;
    int top = MODEL_NONE;

    while (read_line(file, line) && line[0] != '\0') {
        size_t level = strspn(line, " ") / 2 - 1;
        struct node node = {.parent = MODEL_NONE};
        char *name = scan_range(line + strspn(line, " "), &node);

        if (!name || level >= MAX_DEPTH || nnodes == MODEL_MAX_REGIONS) {
            die("not a line of a tree, or too many", line);
        }
        scan_name(name, &node);
        while (nopen < level) {
            open[nopen++] = MODEL_NONE;
        }
        if (level > 0) {
            node.parent = open[level - 1];
        } else {
            top = nnodes;
        }
        open[level] = nnodes;
        nopen = level + 1;
        nodes[nnodes++] = node;
    }
    return top;
}

static bool starts_with(const char *line, const char *prefix)
{
    return strncmp(line, prefix, strlen(prefix)) == 0;
}

/* Everything before the first flat view, which is left in `line`. */
static void read_trees(FILE *file, char *line)
{
    int nnamed = 0; /* spaces named since the last tree */

    while (read_line(file, line) && !starts_with(line, "FlatView #")) {
        if (starts_with(line, "address-space: ")) {
            if (nspaces + nnamed == MAX_SPACES) {
                die("too many address spaces", line);
            }
            copy_name(spaces[nspaces + nnamed++].name, line + strlen("address-space: "));
        }
        /* Spaces of one root are named one after the other, then comes the tree. */
        if (starts_with(line, "address-space: ") || starts_with(line, "memory-region: ")) {
            int next = fgetc(file);
            int top;

            ungetc(next, file);
            if (next == 'a') {
                continue;
            }
            top = read_tree(file);
            for (; nnamed > 0; nnamed--) {
                spaces[nspaces++].root = top;
            }
        }
    }
}

static bool same_name(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool is_alias(const struct node *node)
{
    return node->target[0] != '\0';
}

static uint64_t node_size(const struct node *node)
{
    uint64_t length = node->last - node->first;

    return length == UINT64_MAX ? MODEL_SIZE_2_64 : length + 1;
}

/* The first region of that name which is no alias. */
static int find_target(const struct node *alias)
{
    int found = MODEL_NONE;

    for (int i = 0; i < nnodes; i++) {
        if (is_alias(&nodes[i]) || !same_name(nodes[i].name, alias->target)) {
            continue;
        }
        if (found == MODEL_NONE) {
            found = i;
        } else if (node_size(&nodes[i]) != node_size(&nodes[found])) {
            printf("warning: alias %s: several regions %s\n", alias->name, alias->target);
        }
    }
    return found;
}

static bool shows(const char *name, const struct range *ranges, size_t nranges)
{
    for (size_t i = 0; i < nranges; i++) {
        if (same_name(ranges[i].name, name)) {
            return true;
        }
    }
    return false;
}

/* An alias whose target is not in the dump (hidden, or itself an alias) becomes a hole. */
static int create_region(const struct node *node, int target, const struct range *ranges, size_t nranges)
{
    enum model_kind kind = MODEL_CONTAINER;

    if (is_alias(node) && target != MODEL_NONE) {
        return model_create_alias(&model, target, node->target_first, node_size(node));
    }
    if (is_alias(node)) {
        printf("warning: alias %s: no region %s\n", node->name, node->target);
    } else if (node->is_rom) {
        kind = MODEL_ROM;
    } else if (node->is_ram) {
        kind = MODEL_RAM;
    } else if (shows(node->name, ranges, nranges)) {
        kind = MODEL_MMIO;
    }
    return model_create(&model, kind, node_size(node));
}

/* Puts all nodes into the model; ret_id has the region of each. */
static void build(const struct range *ranges, size_t nranges, int *ret_id)
{
    model_init(&model);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < nnodes; i++) {
            int target = MODEL_NONE;

            if (is_alias(&nodes[i]) != (pass == 1)) {
                continue;
            }
            if (pass == 1) {
                target = find_target(&nodes[i]);
            }
            ret_id[i] = create_region(&nodes[i], target == MODEL_NONE ? target : ret_id[target], ranges, nranges);
            (void)model_set_enabled(&model, ret_id[i], nodes[i].enabled);
            for (int k = 0; k < nreadonly_names; k++) {
                if (pass == 1 && same_name(nodes[i].name, readonly_names[k])) {
                    (void)model_set_readonly(&model, ret_id[i], true);
                }
            }
        }
    }
    /* The first printed of equals is on top, hence added last. */
    for (int i = nnodes - 1; i >= 0; i--) {
        const struct node *node = &nodes[i];

        if (node->parent != MODEL_NONE && model_add(&model, ret_id[node->parent], ret_id[i],
                                                    node->first - nodes[node->parent].first, node->priority) < 0) {
            die("cannot be added", node->name);
        }
    }
}

/* One flat view: which spaces it is of, and its ranges. */
struct view {
    int space[MAX_SPACES];
    int nspaces;
    size_t first_range;
    size_t nranges;
};

static int find_space(const char *name, const struct view *taken, size_t ntaken)
{
    for (int i = 0; i < nspaces; i++) {
        bool is_taken = false;

        for (size_t v = 0; v < ntaken; v++) {
            for (int k = 0; k < taken[v].nspaces; k++) {
                is_taken |= taken[v].space[k] == i;
            }
        }
        if (!is_taken && same_name(spaces[i].name, name)) {
            return i;
        }
    }
    die("a flat view of an unknown address space", name);
}

static void scan_flat(char *text, struct range *ret)
{
    struct node node;
    char *name = scan_range(text, &node);
    char *at;

    if (!name) {
        die("not a range", text);
    }
    (void)cut_suffix(name, " kvm");
    *ret = (struct range){.first = node.first, .last = node.last, .is_rom = node.is_rom};
    for (at = strstr(name, " @"); at; at = strstr(at + 1, " @")) {
        if (strlen(at + 2) == 16 && strspn(at + 2, "0123456789abcdef") == 16) {
            ret->offset = strtoull(at + 2, NULL, 16);
            *at = '\0';
            break;
        }
    }
    copy_name(ret->name, name);
}

static size_t read_views(FILE *file, char *line, struct view *views, struct range *ranges)
{
    size_t nviews = 0;
    size_t nranges = 0;

    do {
        if (starts_with(line, "FlatView #") && nviews < MAX_SPACES) {
            views[nviews++] = (struct view){.first_range = nranges};
        } else if (starts_with(line, " AS \"")) {
            char *end = strstr(line, "\", root: ");
            struct view *view = &views[nviews - 1];

            if (!end) {
                die("not the name of an address space", line);
            }
            *end = '\0';
            view->space[view->nspaces] = find_space(line + strlen(" AS \""), views, nviews);
            view->nspaces++;
        } else if (starts_with(line, "  ") && strstr(line, " (prio ")) {
            if (nranges == MAX_RANGES) {
                die("too many ranges", line);
            }
            scan_flat(line + 2, &ranges[nranges++]);
            views[nviews - 1].nranges++;
        }
    } while (read_line(file, line));
    return nviews;
}

static bool range_is(const struct model_section *got, const int *id_of_node, const struct range *want)
{
    int i = 0;

    while (id_of_node[i] != got->region) {
        i++;
    }
    if (got->first == want->first && got->last == want->last && got->offset == want->offset &&
        got->readonly == want->is_rom && same_name(nodes[i].name, want->name)) {
        return true;
    }
    printf("  QEMU  %016" PRIx64 "-%016" PRIx64 " %s%s @%" PRIx64 "\n"
           "  model %016" PRIx64 "-%016" PRIx64 " %s%s @%" PRIx64 "\n",
           want->first, want->last, want->name, want->is_rom ? " (rom)" : "", want->offset, got->first, got->last,
           nodes[i].name, got->readonly ? " (rom)" : "", got->offset);
    return false;
}

/* Whether the model sees in this space what QEMU does. */
static bool compare(const struct space *space, const struct range *want, size_t nwant, const int *id_of_node)
{
    static struct model_section got[MAX_RANGES];
    size_t ngot;
    bool same;

    if (space->root == MODEL_NONE) {
        printf("%s: its root is not shown\n", space->name);
        return false;
    }
    ngot = model_flat(&model, id_of_node[space->root], 0, UINT64_MAX, got, MAX_RANGES);
    same = ngot == nwant;
    for (size_t i = 0; i < ngot && i < nwant; i++) {
        if (!range_is(&got[i], id_of_node, &want[i])) {
            same = false;
            break;
        }
    }
    printf("%s: %zu ranges in QEMU, %zu in the model: %s\n", space->name, nwant, ngot,
           same ? "same" : "DIFFERENT");
    return same;
}

int main(int argc, char **argv)
{
    static struct view views[MAX_SPACES];
    static struct range ranges[MAX_RANGES];
    static int id_of_node[MODEL_MAX_REGIONS];
    char line[MAX_LINE];
    size_t nviews;
    size_t nranges = 0;
    bool ok = true;
    FILE *file;

    if (argc < 2) {
        die("usage", "mtree_check DUMP [NAME OF A READONLY ALIAS...]");
    }
    readonly_names = argv + 2;
    nreadonly_names = argc - 2;
    file = fopen(argv[1], "r");
    if (!file) {
        die("cannot open", argv[1]);
    }
    read_trees(file, line);
    if (!starts_with(line, "FlatView #")) {
        die("no flat views", argv[1]);
    }
    nviews = read_views(file, line, views, ranges);
    (void)fclose(file);
    for (size_t v = 0; v < nviews; v++) {
        nranges += views[v].nranges;
    }
    build(ranges, nranges, id_of_node);
    for (size_t v = 0; v < nviews; v++) {
        for (int k = 0; k < views[v].nspaces; k++) {
            ok &= compare(&spaces[views[v].space[k]], &ranges[views[v].first_range], views[v].nranges, id_of_node);
        }
    }
    return ok ? 0 : 1;
}

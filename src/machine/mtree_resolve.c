// SPDX-License-Identifier: MIT
#include "machine/mtree_resolve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "machine/render.h"

uint32_t mtree_node_of_tree(const struct mtree_tree *tree)
{
    return tree->same != MTREE_NONE ? tree->same : tree->root;
}

/* One more guess; of very many the first will do. */
void mtree_note(struct mtree_dump *dump, struct mtree_out *notes, unsigned line, struct slice name,
                const char *what, unsigned taken)
{
    if (dump->note_count++ < MTREE_NOTES_MAX) {
        mtree_out_add(notes, "line %u: %.*s: %s: that of line %u is taken\n", line, (int)name.length, name.start,
                      what, taken);
    } else if (dump->note_count == MTREE_NOTES_MAX + 1) {
        mtree_out_add(notes, "line %u, and further ones: the same\n", line);
    }
}

/* --- what answers ------------------------------------------------------------------------------------------ */

/* Whether a name is a word; at its ends "*" stands for anything. */
static bool matches(struct slice name, const char *pattern)
{
    struct slice word = {pattern, strlen(pattern)};
    if (word.start[0] == '*' && word.start[word.length - 1] == '*') {
        return memmem(name.start, name.length, word.start + 1, word.length - 2) != NULL;
    }
    if (word.start[0] == '*') {
        return slice_ends(name, (struct slice){word.start + 1, word.length - 1});
    }
    if (word.start[word.length - 1] == '*') {
        return slice_begins(name, (struct slice){word.start, word.length - 1});
    }
    return slice_equal(name, word);
}

static bool matches_any(struct slice name, const char *const *patterns)
{
    for (; *patterns; patterns++) {
        if (matches(name, *patterns)) {
            return true;
        }
    }
    return false;
}

/* QEMU's devices with regions in them. */
static const char *const known_devices[] = {"io", "rtc", "*.mmio", "*-mmio", NULL};
/* Its regions of 2^64 bytes that translate. */
static const char *const known_iommus[] = {"*-dmar", "*iommu*", NULL};
/* QEMU's containers that may have nothing in them, or nothing enabled. */
static const char *const known_containers[] = {
    "*-flash", "*container", "pci_bridge_*", "device-memory", "*-window-root", NULL,
};
/* Its aliases that are read-only, which is not printed. */
static const char *const known_readonly[] = {"pam-rom", NULL};

#define LARGEST_DEVICE (UINT64_C(1) << 32)

/* Whether flat views in the same text say that a region answers: 1 that it does, 0 that none of its name does. */
static int hinted(const struct mtree_dump *dump, const struct mtree_node *node)
{
    size_t low = 0, high = dump->hint_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct mtree_hint *hint = &dump->hints[middle];
        size_t common = hint->name.length < node->is.name.length ? hint->name.length : node->is.name.length;
        int order = memcmp(hint->name.start, node->is.name.start, common);
        if (order < 0 ||
            (order == 0 && (hint->name.length < node->is.name.length ||
                            (hint->name.length == node->is.name.length && hint->origin < node->is.range.first)))) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < dump->hint_count && slice_equal(dump->hints[low].name, node->is.name) &&
        dump->hints[low].origin == node->is.range.first && dump->hints[low].priority == node->is.priority) {
        return 1;
    }
    bool same_name = (low < dump->hint_count && slice_equal(dump->hints[low].name, node->is.name)) ||
                     (low > 0 && slice_equal(dump->hints[low - 1].name, node->is.name));
    return same_name ? -1 : 0;
}

static bool answers(const struct mtree_dump *dump, const struct mtree_node *node)
{
    if (node->hidden || node->is.is_alias || node->is.type != MTREE_IO) {
        return false;
    }
    int hint = dump->has_flat ? hinted(dump, node) : -1;
    if (hint >= 0) {
        return hint;
    }
    if (matches_any(node->is.name, known_devices)) {
        return true;
    }
    if (node->first_child != MTREE_NONE || matches_any(node->is.name, known_containers)) {
        return false;
    }
    return mtree_node_span(node) < LARGEST_DEVICE - 1 || matches_any(node->is.name, known_iommus);
}

static void decide_kinds(struct mtree_dump *dump)
{
    for (size_t i = 0; i < dump->node_count; i++) {
        struct mtree_node *node = &dump->nodes[i];
        node->answers = answers(dump, node);
        node->readonly = node->is.is_alias && matches_any(node->is.name, known_readonly);
    }
}

/* --- that it can be built ---------------------------------------------------------------------------------- */

struct survey {
    struct mtree_dump *dump;
    struct mv_error *err;
    uint32_t *unfolded; /* by node: how many regions a walk of it meets; 0: not known */
    bool *open;         /* it is on the way to where the search is */
    uint64_t total;
};

static int survey_node(struct survey *survey, uint32_t number, unsigned depth);

static int survey_one(struct survey *survey, uint32_t number, unsigned depth, uint64_t *count)
{
    int rc = survey_node(survey, number, depth);
    *count += rc == 0 ? survey->unfolded[number] : 0;
    return rc;
}

static int survey_node(struct survey *survey, uint32_t number, unsigned depth)
{
    const struct mtree_node *node = &survey->dump->nodes[number];
    uint64_t count = 1;
    int rc = 0;
    if (survey->unfolded[number] > 0) {
        return 0;
    }
    if (survey->open[number]) {
        return error_set(survey->err, -ELOOP, "cycle", NULL, "line %u: region %.*s would contain itself",
                         node->line, (int)node->is.name.length, node->is.name.start);
    }
    if (depth > RENDER_DEPTH_MAX) {
        return mtree_dump_too_large(survey->err, node->line, "regions and aliases nest more than 512 deep");
    }
    survey->open[number] = true;
    for (uint32_t child = node->first_child; rc == 0 && child != MTREE_NONE;
         child = survey->dump->nodes[child].next) {
        rc = survey_one(survey, child, depth + 1, &count);
    }
    if (rc == 0 && node->is.is_alias) {
        rc = survey_one(survey, node->shows, depth + 1, &count);
    }
    survey->open[number] = false;
    survey->total += count;
    if (rc == 0 && survey->total > mtree_unfolded_max(survey->dump)) {
        rc = mtree_dump_too_large(survey->err, node->line,
                                  "its aliases unfold into more than 2097152 regions, and more than 16 times all");
    }
    survey->unfolded[number] = rc == 0 ? (uint32_t)count : 0;
    return rc;
}

static int survey_all(struct mtree_dump *dump, struct mv_error *err)
{
    struct survey survey = {.dump = dump, .err = err};
    uint64_t seen = 0;
    int rc = 0;
    survey.unfolded = calloc(dump->node_count, sizeof *survey.unfolded);
    survey.open = calloc(dump->node_count, sizeof *survey.open);
    if (!survey.unfolded || !survey.open) {
        rc = mtree_dump_no_memory(err);
    }
    for (size_t i = 0; rc == 0 && i < dump->tree_count; i++) {
        const struct mtree_tree *tree = &dump->trees[i];
        if (tree->same == MTREE_NONE) {
            rc = survey_node(&survey, tree->root, 1);
        }
        seen += rc == 0 && tree->is_space ? survey.unfolded[tree->root] : 0;
        if (rc == 0 && seen > mtree_seen_max(dump)) {
            rc = mtree_dump_too_large(
                err, tree->line, "the spaces up to here show more than 262144 regions, and more than there are");
        }
    }
    free(survey.unfolded);
    free(survey.open);
    return rc;
}

int mtree_resolve(struct mtree_dump *dump, struct mtree_out *notes, struct mv_error *err)
{
    int rc = mtree_find_same(dump, notes, err);
    if (rc == 0) {
        decide_kinds(dump);
        rc = mtree_bind_aliases(dump, notes, err);
    }
    return rc == 0 ? survey_all(dump, err) : rc;
}

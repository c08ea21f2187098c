// SPDX-License-Identifier: MIT
/*
 * Random trees, edited at random in transactions some of which fail, in the library and in the model alike. After
 * each commit everything that a user can see of the library must be what the model says: the view, each byte read,
 * where each write goes, and what a listener made of what it was told.
 *
 * MEMVIRT_SEED=N repeats a run; MEMVIRT_TEST_LONG=1 makes a longer one.
 *
 * Where the library is not the model, by design: a space shows its root from offset 0 whatever its address is (so
 * roots are never added here); a write through a readonly alias is refused; an unmapped region has no address to
 * set; and a ROM stays one.
 */
#include "tests/conform/random_tree_compare.h"
#include "tests/conform/random_tree_world.h"

/* --- editing ----------------------------------------------------------------------------------- */

/* How many nodes are met on the way through everything that `id` shows; stops counting when there are too many. */
static unsigned unfolded(int id)
{
    unsigned n = 1;
    if (w.model.region[id].kind == MODEL_ALIAS) {
        return n + unfolded(w.model.region[id].target);
    }
    for (int child = 0; child < w.model.nregions && n <= UNFOLDED_MAX; child++) {
        n += w.model.region[child].container == id ? unfolded(child) : 0;
    }
    return n;
}

enum edit_kind { ADD, REMOVE, MOVE, RESIZE, ENABLE, READONLY, SLIDE };

struct edit {
    enum edit_kind kind;
    int id, other;
    uint64_t address, size;
    int priority;
    bool flag;
};

static enum edit_kind any_edit_kind(void)
{
    static const enum edit_kind kinds[] = {ADD,  ADD,    ADD,    ADD,    ADD,      ADD,   REMOVE, MOVE,
                                           MOVE, RESIZE, RESIZE, ENABLE, READONLY, SLIDE, SLIDE};
    return kinds[any(sizeof kinds / sizeof kinds[0])];
}

/* Into what: mostly a root or another container, so that something is seen of it. */
static int any_parent(void)
{
    int id = any(3) ? (int)any(ROOTS) : (int)any(REGIONS);
    while (any(4) && w.model.region[id].kind != MODEL_CONTAINER) {
        id = (int)any(REGIONS);
    }
    return id;
}

/* Mostly within the region that it is in or leads to, if that is small. */
static uint64_t any_address_in(int id)
{
    uint64_t size = id == MODEL_NONE ? MV_SIZE_2_64 : w.model.region[id].size;
    return any(4) && size > 0 && size < 0x2000 ? any(size) : any_address();
}

/* Side by side with the region before, of the same target perhaps: then the two become one section. */
static void go_on_from_the_one_before(struct edit *edit)
{
    const struct model_region *r = &w.model.region[edit->id];
    const struct model_region *before = edit->id > 0 ? r - 1 : r;
    if (edit->kind == ADD && before->container != MODEL_NONE) {
        edit->other = before->container;
        edit->priority = before->priority;
        edit->address = before->addr + before->size;
    } else if (edit->kind == MOVE && before->container == r->container) {
        edit->address = before->addr + before->size;
    } else if (edit->kind == SLIDE && before->target == r->target) {
        edit->address = before->alias_offset + before->size;
    }
}

static struct edit any_edit(void)
{
    struct edit edit = {
        .kind = any_edit_kind(),
        .id = ROOTS + (int)any(REGIONS - ROOTS), /* roots stay roots: see above */
        .other = any_parent(),
        .priority = (int)any(4) - 2,
        .flag = any(6) != 0,
    };
    if (edit.kind != ADD && edit.kind != REMOVE && edit.kind != MOVE && any(16) == 0) {
        edit.id = (int)any(ROOTS); /* but can be edited otherwise, so that something still can be seen */
        edit.flag = edit.flag || any(4);
    }
    const struct model_region *r = &w.model.region[edit.id];
    edit.size = edit.id < ROOTS && any(4) ? MV_SIZE_2_64 : any_size(r->kind);
    edit.address = any_address_in(edit.kind == ADD ? edit.other : edit.kind == SLIDE ? r->target : r->container);
    if (is_memory(edit.id) && any(8)) {
        edit.size %= BLOCK_BYTES + 1;
    }
    if (any(2)) {
        go_on_from_the_one_before(&edit);
    }
    return edit;
}

static int apply_to_model(const struct edit *edit)
{
    const struct model_region *r = &w.model.region[edit->id];
    switch (edit->kind) {
    case ADD: return model_add(&w.model, edit->other, edit->id, edit->address, edit->priority);
    case REMOVE: return model_del(&w.model, edit->id);
    case MOVE: return r->container == MODEL_NONE ? -1 : model_set_address(&w.model, edit->id, edit->address);
    case RESIZE:
        return is_memory(edit->id) && edit->size > BLOCK_BYTES ? -1
                                                               : model_set_size(&w.model, edit->id, edit->size);
    case ENABLE: return model_set_enabled(&w.model, edit->id, edit->flag);
    case READONLY: return r->kind == MODEL_ROM ? 0 : model_set_readonly(&w.model, edit->id, !edit->flag);
    case SLIDE: return model_set_alias_offset(&w.model, edit->id, edit->address);
    }
    return -1;
}

static int apply_to_library(const struct edit *edit)
{
    struct mv_error err = {0};
    struct mv_region *r = w.regions[edit->id];
    int rc = -1;
    switch (edit->kind) {
    case ADD: rc = mv_region_add(w.regions[edit->other], edit->address, r, edit->priority, &err); break;
    case REMOVE: rc = mv_region_remove(r, &err); break;
    case MOVE: rc = mv_region_set_address(r, edit->address, &err); break;
    case RESIZE: rc = mv_region_set_size(r, edit->size, &err); break;
    case ENABLE: rc = mv_region_set_enabled(r, edit->flag, &err); break;
    case READONLY: rc = mv_region_set_readonly(r, !edit->flag, &err); break;
    case SLIDE: rc = mv_region_set_target_offset(r, edit->address, &err); break;
    }
    CHECK(rc == err.code && (rc == 0 || (err.reason && err.text[0])));
    return rc;
}

/* One edit in both worlds, unless the tree grew too large to be looked at byte by byte. `alone`: it commits. */
static void edit_both(bool alone)
{
    struct model_copy before;
    struct edit edit = any_edit();
    keep(&before);
    int expected = apply_to_model(&edit);
    for (int i = 0; i < ROOTS; i++) {
        if (unfolded(i) > UNFOLDED_MAX) {
            bring_back(&before);
            return;
        }
    }
    int rc = apply_to_library(&edit);
    if (rc == -EIO) {
        CHECK(alone && expected == 0);
        bring_back(&before);
        return;
    }
    CHECK((rc < 0) == (expected < 0));
    CHECK(rc == 0 || rc == -EBUSY || rc == -ELOOP || rc == -EINVAL || rc == -ENOENT);
}

static unsigned ncommits, nfailed, nedits;

static bool anybody_asked(void)
{
    bool asked = false;
    for (int i = 0; i < SPACES; i++) {
        asked = asked || w.shadows[i].asked;
    }
    return asked;
}

/* A transaction of some edits, nested at random. */
static int transaction(void)
{
    struct model_copy before;
    unsigned depth = 1;
    keep(&before);
    CHECK(mv_machine_begin(w.machine, NULL) == 0);
    for (uint64_t n = any(8); n > 0; n--) {
        if (any(4) == 0) {
            CHECK(mv_machine_begin(w.machine, NULL) == 0);
            depth++;
        }
        edit_both(false);
        nedits++;
        if (depth > 1 && any(4) == 0) {
            CHECK(mv_machine_commit(w.machine, NULL) == 0);
            depth--;
        }
        CHECK(!anybody_asked());
    }
    for (; depth > 1; depth--) {
        CHECK(mv_machine_commit(w.machine, NULL) == 0);
    }
    int rc = mv_machine_commit(w.machine, NULL);
    if (rc < 0) {
        bring_back(&before);
    }
    return rc;
}

static void change_who_looks(void)
{
    struct kept *kept = &w.kept[any(KEPT)];
    let_go(kept);
    if (any(4)) {
        borrow(kept, w.spaces[any(SPACES)]);
    }
    if (any(8) == 0) {
        int i = (int)any(SPACES);
        close_space(i);
        open_space(i, i < ROOTS ? i : (int)any(ROOTS));
    }
}

static void one_step(void)
{
    struct shadow *refusing = &w.shadows[any(SPACES)];
    refusing->refuse = any(4) == 0;
    for (int i = 0; i < SPACES; i++) {
        w.shadows[i].asked = false;
    }
    bool failed;
    if (any(3) == 0) {
        edit_both(true);
        nedits++;
        failed = refusing->refuse && refusing->asked;
    } else {
        int rc = transaction();
        failed = rc < 0;
        CHECK(rc == (refusing->refuse && refusing->asked ? -EIO : 0));
    }
    nfailed += failed;
    ncommits += anybody_asked();
    refusing->refuse = false;
    compare_world();
    if (any(4) == 0) {
        change_who_looks();
    }
}

static void fill_world(void)
{
    struct mv_error err;
    CHECK(mv_machine_begin(w.machine, &err) == 0);
    for (int i = 0; i < 6 * REGIONS; i++) {
        edit_both(false);
    }
    CHECK(mv_machine_commit(w.machine, &err) == 0);
    compare_world();
}

static void random_trees(void **state)
{
    (void)state;
    unsigned long sections = 0;
    unsigned episodes = getenv("MEMVIRT_TEST_LONG") ? 20 * EPISODES : EPISODES;
    for (episode = 0; episode < episodes; episode++) {
        /* Each episode by its own seed, so that the last one alone can be run again. */
        random_state = seed + episode;
        open_world();
        fill_world();
        for (step = 0; step < STEPS; step++) {
            one_step();
            sections += w.shadows[0].count + w.shadows[1].count;
        }
        close_world();
    }
    unsigned long steps = (unsigned long)episodes * STEPS;
    printf("# %lu steps, %u edits, %u commits of which %u failed, %lu sections on average\n", steps, nedits,
           ncommits, nfailed, sections / steps);
    /* Or chance was so unkind that nothing was tested. */
    assert_true(sections / steps >= 12);
    assert_true(nfailed > ncommits / 20 && ncommits > steps / 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_trees),
    };
    const char *chosen = getenv("MEMVIRT_SEED");
    seed = chosen ? strtoull(chosen, NULL, 0) : UINT64_C(0x6d656d76697274);
    printf("# MEMVIRT_SEED=0x%" PRIx64 "\n", seed);
    return cmocka_run_group_tests_name("random_tree", tests, NULL, NULL);
}

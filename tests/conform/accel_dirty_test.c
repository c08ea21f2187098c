// SPDX-License-Identifier: MIT
/* Logs of dirty pages: which calls are refused, and which pages they say (kvm-memslots S40 to S43). */
#include "tests/conform/accel_test.h"

#define PAGES 100 /* of the logged slot: no multiple of 64 */
#define FIRST_PAGE 32
#define WORDS ((PAGES + 63) / 64)

static int get_log(const struct guest *g, uint32_t slot, uint64_t *words)
{
    const struct kvm_dirty_log log = {.slot = slot, .dirty_bitmap = words};
    return g->ops->get_dirty_log(g->vm, &log);
}

static int clear_log(const struct guest *g, uint64_t first, uint32_t count, uint64_t *words)
{
    const struct kvm_clear_dirty_log log = {
        .slot = 1, .first_page = first, .num_pages = count, .dirty_bitmap = words};
    return g->ops->clear_dirty_log(g->vm, &log);
}

static int set_logged(const struct guest *g, bool logged)
{
    return set_slot(g, 1, logged ? KVM_MEM_LOG_DIRTY_PAGES : 0, FREE_GPA, PAGES * PAGE, ram_page(g, FIRST_PAGE));
}

static void write_page(struct guest *g, unsigned page)
{
    assert_true(guest_store(g, FREE_GPA + page * PAGE));
}

/* The pages that the log has, written as "1 5 ". With manual clearing they stay there. */
static void assert_log(const struct guest *g, const char *expected)
{
    uint64_t words[WORDS];
    char text[8 * PAGES] = "";
    size_t used = 0;
    memset(words, 0xff, sizeof words);
    assert_int_equal(get_log(g, 1, words), 0);
    for (unsigned page = 0; page < WORDS * 64; page++) { /* the tail beyond the slot too: it is 0 */
        if (words[page / 64] >> page % 64 & 1) {
            used += (size_t)snprintf(text + used, sizeof text - used, "%u ", page);
        }
    }
    assert_string_equal(text, expected);
}

/* Forget what is in the log, whichever way that is done here. */
static void forget(const struct guest *g)
{
    uint64_t words[WORDS];
    memset(words, 0xff, sizeof words);
    if (g->ops->dirty_log_is_manual(g->vm)) {
        assert_int_equal(clear_log(g, 0, PAGES, words), 0);
    } else {
        assert_int_equal(get_log(g, 1, words), 0);
    }
}

static void only_what_is_logged_has_a_log(void **state)
{
    struct guest *g = guest_with_code(state, "only_what_is_logged_has_a_log");
    uint64_t words[WORDS];
    assert_int_equal(get_log(g, 1, words), -ENOENT);
    assert_int_equal(set_logged(g, false), 0);
    assert_int_equal(get_log(g, 1, words), -ENOENT);
    assert_int_equal(clear_log(g, 0, 64, words), -ENOENT);
    assert_int_equal(get_log(g, g->ops->max_slots(g->vm) + 16, words), -EINVAL);
    assert_int_equal(get_log(g, 2 << 16 | 1, words), -EINVAL);
    assert_int_equal(set_logged(g, true), 0); /* by its flags alone */
    assert_int_equal(get_log(g, 1, words), 0);
    assert_int_equal(set_logged(g, false), 0);
    assert_int_equal(get_log(g, 1, words), -ENOENT);
}

static void what_a_guest_writes_is_in_it(void **state)
{
    struct guest *g = guest_with_code(state, "what_a_guest_writes_is_in_it");
    assert_int_equal(set_logged(g, false), 0);
    for (unsigned page = 0; page < PAGES; page++) {
        write_page(g, page); /* so that all are there, and writable, before the log begins */
    }
    assert_int_equal(set_logged(g, true), 0);
    assert_log(g, "");
    write_page(g, 0);
    write_page(g, 63);
    write_page(g, 64);
    write_page(g, PAGES - 1);
    assert_int_equal(guest_load(g, FREE_GPA + 7 * PAGE), 0x5a); /* no write */
    *ram_page(g, FIRST_PAGE + 9) = 1;                           /* nor is this one the guest's */
    assert_log(g, "0 63 64 99 ");
    assert_log(g, g->ops->dirty_log_is_manual(g->vm) ? "0 63 64 99 " : "");
    forget(g);
    assert_log(g, "");
    write_page(g, 64); /* again */
    assert_log(g, "64 ");
    /* A log that begins anew begins empty. */
    assert_int_equal(set_logged(g, false), 0);
    assert_int_equal(set_logged(g, true), 0);
    assert_log(g, "");
}

/* As many bytes as there are words, and not one more. */
static void the_bitmap_is_whole_words(void **state)
{
    struct guest *g = guest_with_code(state, "the_bitmap_is_whole_words");
    uint64_t words[WORDS + 1];
    assert_int_equal(set_logged(g, true), 0);
    memset(words, 0xaa, sizeof words);
    assert_int_equal(get_log(g, 1, words), 0);
    for (unsigned i = 0; i < WORDS; i++) {
        assert_int_equal(words[i], 0);
    }
    assert_int_equal(words[WORDS], 0xaaaaaaaaaaaaaaaa);
}

static void clearing_takes_whole_groups(void **state)
{
    struct guest *g = guest_with_code(state, "clearing_takes_whole_groups");
    uint64_t words[WORDS + 1] = {0};
    assert_int_equal(set_logged(g, true), 0);
    assert_int_equal(clear_log(g, 1, 64, words), -EINVAL);
    assert_int_equal(clear_log(g, 0, 63, words), -EINVAL); /* cut, and not by the slot's end */
    assert_int_equal(clear_log(g, 64, PAGES - 65, words), -EINVAL);
    assert_int_equal(clear_log(g, 64, PAGES - 63, words), -EINVAL); /* past it */
    assert_int_equal(clear_log(g, 128, 64, words), -EINVAL);
    assert_int_equal(clear_log(g, 0, 64, words), 0);
    assert_int_equal(clear_log(g, 64, PAGES - 64, words), 0);
    assert_int_equal(clear_log(g, 0, PAGES, words), 0);
}

static void only_what_was_asked_for_is_cleared(void **state)
{
    struct guest *g = guest_with_code(state, "only_what_was_asked_for_is_cleared");
    if (!g->ops->dirty_log_is_manual(g->vm)) {
        print_message("# SKIP only_what_was_asked_for_is_cleared(%s): getting the log clears it here\n",
                      g->ops->name);
        skip();
    }
    uint64_t words[WORDS] = {1u << 3 | 1u << 5, 0};
    assert_int_equal(set_logged(g, true), 0);
    write_page(g, 3);
    write_page(g, 4);
    write_page(g, 70);
    assert_int_equal(clear_log(g, 0, 64, words), 0);
    assert_log(g, "4 70 ");
    write_page(g, 3); /* protected again: seen */
    write_page(g, 4); /* was dirty all the time */
    words[0] = UINT64_C(1) << 6;
    assert_int_equal(clear_log(g, 64, PAGES - 64, words), 0);
    assert_log(g, "3 4 ");
    write_page(g, 70);
    assert_log(g, "3 4 70 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_EACH_ACCELERATOR(only_what_is_logged_has_a_log),      ON_EACH_ACCELERATOR(what_a_guest_writes_is_in_it),
        ON_EACH_ACCELERATOR(the_bitmap_is_whole_words),          ON_EACH_ACCELERATOR(clearing_takes_whole_groups),
        ON_EACH_ACCELERATOR(only_what_was_asked_for_is_cleared),
    };
    return cmocka_run_group_tests_name("accel_dirty", tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
/* Slots: which calls are refused, and what the guest sees of those that are not (kvm-memslots S1 to S35). */
#include "tests/conform/accel_test.h"

/* --- what is refused --------------------------------------------------------------------------- */

static void ids_have_an_end(void **state)
{
    struct guest *g = guest_of(state, "ids_have_an_end");
    unsigned max = g->ops->max_slots(g->vm);
    assert_int_equal(set_slot(g, max, 0, 0, PAGE, g->ram), -EINVAL);
    assert_int_equal(set_slot(g, max - 1, 0, 0, PAGE, g->ram), 0);
    assert_int_equal(set_slot(g, 2 << 16, 0, PAGE, PAGE, g->ram),
                     -EINVAL); /* there are two address spaces at most */
    assert_int_equal(set_slot(g, UINT32_MAX, 0, PAGE, PAGE, g->ram), -EINVAL);
}

static void flags_are_known_ones(void **state)
{
    struct guest *g = guest_of(state, "flags_are_known_ones");
    for (unsigned bit = 2; bit < 32; bit++) {
        assert_int_equal(set_slot(g, 0, 1u << bit, 0, PAGE, g->ram), -EINVAL);
    }
    assert_int_equal(set_slot(g, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, PAGE, g->ram), 0);
    if (g->ops->has_readonly_slots(g->vm)) {
        assert_int_equal(set_slot(g, 1, KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES, PAGE, PAGE, g->ram), 0);
    }
}

static void slots_are_whole_pages(void **state)
{
    struct guest *g = guest_of(state, "slots_are_whole_pages");
    assert_int_equal(set_slot(g, 0, 0, 0, PAGE + 1, g->ram), -EINVAL);
    assert_int_equal(set_slot(g, 0, 0, 0, PAGE / 2, g->ram), -EINVAL);
    assert_int_equal(set_slot(g, 0, 0, 0x800, PAGE, g->ram), -EINVAL);
    assert_int_equal(set_slot(g, 0, 0, 0, PAGE, g->ram + 0x800), -EINVAL);
    assert_int_equal(set_slot(g, 0, 0, 0, PAGE, (void *)(uintptr_t)0xffff800000000000),
                     -EINVAL);                                                         /* the kernel's */
    assert_int_equal(set_slot(g, 0, 0, UINT64_MAX - PAGE + 1, PAGE, g->ram), -EINVAL); /* wraps */
    assert_int_equal(set_slot(g, 0, 0, UINT64_MAX - PAGE + 1, 2 * PAGE, g->ram), -EINVAL);
    assert_int_equal(set_slot(g, 0, 0, 0, PAGE, g->ram), 0);
}

/* Beyond what a guest can address at all. */
static void addresses_have_an_end(void **state)
{
    struct guest *g = guest_of(state, "addresses_have_an_end");
    uint64_t end = UINT64_C(1) << g->ops->paging(g->vm).address_bits;
    assert_int_equal(set_slot(g, 0, 0, end - PAGE, PAGE, g->ram), 0);
    assert_int_equal(set_slot(g, 1, 0, UINT64_C(1) << 52, PAGE, g->ram), -EINVAL);
    assert_int_equal(set_slot(g, 1, 0, (UINT64_C(1) << 52) - PAGE, 2 * PAGE, g->ram), -EINVAL);
}

static void what_is_not_there_is_not_deleted(void **state)
{
    struct guest *g = guest_of(state, "what_is_not_there_is_not_deleted");
    assert_int_equal(set_slot(g, 3, 0, 0, 0, NULL), -EINVAL);
    assert_int_equal(set_slot(g, 3, 0, 0, PAGE, g->ram), 0);
    assert_int_equal(set_slot(g, 3, KVM_MEM_LOG_DIRTY_PAGES, 5 * PAGE, 0, NULL), 0); /* the rest does not matter */
    assert_int_equal(set_slot(g, 3, 0, 0, 0, NULL), -EINVAL);
}

static void what_a_slot_is_stays(void **state)
{
    struct guest *g = guest_of(state, "what_a_slot_is_stays");
    assert_int_equal(set_slot(g, 0, 0, 0, 2 * PAGE, g->ram), 0);
    assert_int_equal(set_slot(g, 0, 0, 0, 2 * PAGE, g->ram + PAGE), -EINVAL);
    assert_int_equal(set_slot(g, 0, 0, 0, PAGE, g->ram), -EINVAL);
    assert_int_equal(set_slot(g, 0, 0, 0, 3 * PAGE, g->ram), -EINVAL);
    assert_int_equal(set_slot(g, 0, KVM_MEM_READONLY, 0, 2 * PAGE, g->ram), -EINVAL);
    assert_int_equal(set_slot(g, 0, 0, 0, 2 * PAGE, g->ram), 0); /* just the same: nothing happens */
}

static void slots_do_not_overlap(void **state)
{
    struct guest *g = guest_of(state, "slots_do_not_overlap");
    assert_int_equal(set_slot(g, 0, 0, 4 * PAGE, 4 * PAGE, g->ram), 0);
    assert_int_equal(set_slot(g, 1, 0, 7 * PAGE, PAGE, g->ram), -EEXIST);
    assert_int_equal(set_slot(g, 1, 0, 3 * PAGE, 2 * PAGE, g->ram), -EEXIST);
    assert_int_equal(set_slot(g, 1, 0, 0, 16 * PAGE, g->ram), -EEXIST);
    assert_int_equal(set_slot(g, 1, 0, 8 * PAGE, PAGE, g->ram), 0);
    assert_int_equal(set_slot(g, 0, 0, 5 * PAGE, 4 * PAGE, g->ram), -EEXIST); /* moved onto slot 1 */
    assert_int_equal(set_slot(g, 0, 0, 3 * PAGE, 4 * PAGE, g->ram), 0);       /* over where it was itself */
    assert_int_equal(set_slot(g, 2, 0, 7 * PAGE, PAGE, g->ram), 0);           /* its old end is free */
}

/* --- what the guest sees ----------------------------------------------------------------------- */

/* Also where the guest was before, and found nothing. */
static void a_new_slot_is_seen_at_once(void **state)
{
    struct guest *g = guest_with_code(state, "a_new_slot_is_seen_at_once");
    *ram_page(g, 20) = 0x77;
    for (unsigned round = 0; round < 20; round++) {
        assert_int_equal(guest_load(g, FREE_GPA), -1);
        assert_false(guest_store(g, FREE_GPA));
        assert_int_equal(set_slot(g, 1, 0, FREE_GPA, PAGE, ram_page(g, 20)), 0);
        assert_int_equal(guest_load(g, FREE_GPA), round == 0 ? 0x77 : 0x5a);
        assert_true(guest_store(g, FREE_GPA));
        assert_int_equal(*ram_page(g, 20), 0x5a);
        assert_int_equal(set_slot(g, 1, 0, 0, 0, NULL), 0); /* and gone at once */
    }
}

static void a_slot_that_moves_is_seen_there_only(void **state)
{
    struct guest *g = guest_with_code(state, "a_slot_that_moves_is_seen_there_only");
    *ram_page(g, 20) = 0x77;
    assert_int_equal(set_slot(g, 1, 0, FREE_GPA, PAGE, ram_page(g, 20)), 0);
    assert_int_equal(guest_load(g, FREE_GPA), 0x77);
    assert_int_equal(guest_load(g, FREE_GPA + 4 * PAGE), -1);
    assert_int_equal(set_slot(g, 1, 0, FREE_GPA + 4 * PAGE, PAGE, ram_page(g, 20)), 0);
    assert_int_equal(guest_load(g, FREE_GPA), -1);
    assert_int_equal(guest_load(g, FREE_GPA + 4 * PAGE), 0x77);
    /* Moved and logged in one call. */
    assert_int_equal(set_slot(g, 1, KVM_MEM_LOG_DIRTY_PAGES, FREE_GPA, PAGE, ram_page(g, 20)), 0);
    assert_int_equal(guest_load(g, FREE_GPA), 0x77);
    assert_int_equal(guest_load(g, FREE_GPA + 4 * PAGE), -1);
}

static void slots_may_share_memory(void **state)
{
    struct guest *g = guest_with_code(state, "slots_may_share_memory");
    assert_int_equal(set_slot(g, 1, 0, FREE_GPA, PAGE, ram_page(g, 20)), 0);
    assert_int_equal(set_slot(g, 2, 0, FREE_GPA + PAGE, PAGE, ram_page(g, 20)), 0);
    assert_true(guest_store(g, FREE_GPA));
    assert_int_equal(guest_load(g, FREE_GPA + PAGE), 0x5a);
    assert_int_equal(set_slot(g, 1, 0, 0, 0, NULL), 0);
    assert_int_equal(guest_load(g, FREE_GPA + PAGE), 0x5a);
}

static void a_readonly_slot_is_read_only(void **state)
{
    struct guest *g = guest_with_code(state, "a_readonly_slot_is_read_only");
    if (!g->ops->has_readonly_slots(g->vm)) {
        print_message("# SKIP a_readonly_slot_is_read_only(%s): this accelerator has none\n", g->ops->name);
        skip();
    }
    *ram_page(g, 20) = 0x77;
    assert_int_equal(set_slot(g, 1, KVM_MEM_READONLY, FREE_GPA, PAGE, ram_page(g, 20)), 0);
    for (unsigned round = 0; round < 3; round++) {
        assert_int_equal(guest_load(g, FREE_GPA), 0x77);
        assert_false(guest_store(g, FREE_GPA));
        assert_int_equal(*ram_page(g, 20), 0x77);
    }
    *ram_page(g, 20) = 0x78; /* the host may */
    assert_int_equal(guest_load(g, FREE_GPA), 0x78);
    /* As a slot that can be written it is another one. */
    assert_int_equal(set_slot(g, 1, 0, 0, 0, NULL), 0);
    assert_int_equal(set_slot(g, 1, 0, FREE_GPA, PAGE, ram_page(g, 20)), 0);
    assert_true(guest_store(g, FREE_GPA));
}

/* mov [0xfff], ax, in the last byte of one page and the first of the next: two stores, ax being 0x5a; hlt */
static void a_store_is_cut_where_pages_are(void **state)
{
    static const uint8_t store_word[] = {0xa3, 0xff, 0x0f, 0xf4};
    struct guest *g = guest_with_code(state, "a_store_is_cut_where_pages_are");
    assert_int_equal(guest_run(g, store_word, sizeof store_word, FREE_GPA), KVM_EXIT_MMIO);
    assert_int_equal(g->run->mmio.phys_addr, FREE_GPA + 0xfff);
    assert_int_equal(g->run->mmio.len, 1);
    assert_int_equal(g->run->mmio.data[0], 0x5a);
    assert_int_equal(guest_go_on(g), KVM_EXIT_MMIO);
    assert_int_equal(g->run->mmio.phys_addr, FREE_GPA + 0x1000);
    assert_int_equal(g->run->mmio.len, 1);
    assert_int_equal(g->run->mmio.data[0], 0);
    assert_int_equal(guest_go_on(g), KVM_EXIT_HLT);
    /* With memory behind it: that part is stored, the other one is an exit. */
    *ram_page(g, 20) = 0x11;
    assert_int_equal(set_slot(g, 1, 0, FREE_GPA + 0x1000, PAGE, ram_page(g, 20)), 0);
    assert_int_equal(guest_run(g, store_word, sizeof store_word, FREE_GPA), KVM_EXIT_MMIO);
    assert_int_equal(g->run->mmio.phys_addr, FREE_GPA + 0xfff);
    assert_int_equal(g->run->mmio.len, 1);
    assert_int_equal(guest_go_on(g), KVM_EXIT_HLT);
    assert_int_equal(*ram_page(g, 20), 0);
}

/* --- no memory to run in ----------------------------------------------------------------------- */

/* A KVM that shadows page tables has no memory for them before there is a slot, and does not even begin. */
static void without_slots_there_is_nothing_to_run(void **state)
{
    struct guest *g = guest_of(state, "without_slots_there_is_nothing_to_run");
    int rc = g->ops->run(g->vcpu);
    if (rc == 0) {
        assert_int_equal(g->run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
        assert_int_equal(g->run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
    } else {
        assert_int_equal(rc, -ENOSPC);
    }
    /* Nor is there anything to fetch from when there was a slot once. */
    assert_int_equal(set_slot(g, 0, 0, 0, CODE_BYTES, g->ram), 0);
    assert_int_equal(set_slot(g, 0, 0, 0, 0, NULL), 0);
    assert_int_equal(guest_go_on(g), KVM_EXIT_INTERNAL_ERROR);
    assert_int_equal(g->run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
}

/* The slot goes from under a guest between two exits: it cannot go on, in one of two ways. */
static void the_code_goes(void **state)
{
    static const uint8_t out_and_spin[] = {0xe6, 0x10, 0xeb, 0xfe}; /* out 0x10, al; jmp . */
    struct guest *g = guest_with_code(state, "the_code_goes");
    assert_int_equal(guest_run(g, out_and_spin, sizeof out_and_spin, 0), KVM_EXIT_IO);
    assert_int_equal(set_slot(g, 0, 0, 0, 0, NULL), 0);
    uint32_t reason = guest_go_on(g);
    assert_true(reason == KVM_EXIT_INTERNAL_ERROR || reason == KVM_EXIT_SHUTDOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_EACH_ACCELERATOR(ids_have_an_end),
        ON_EACH_ACCELERATOR(flags_are_known_ones),
        ON_EACH_ACCELERATOR(slots_are_whole_pages),
        ON_EACH_ACCELERATOR(addresses_have_an_end),
        ON_EACH_ACCELERATOR(what_is_not_there_is_not_deleted),
        ON_EACH_ACCELERATOR(what_a_slot_is_stays),
        ON_EACH_ACCELERATOR(slots_do_not_overlap),
        ON_EACH_ACCELERATOR(a_new_slot_is_seen_at_once),
        ON_EACH_ACCELERATOR(a_slot_that_moves_is_seen_there_only),
        ON_EACH_ACCELERATOR(slots_may_share_memory),
        ON_EACH_ACCELERATOR(a_readonly_slot_is_read_only),
        ON_EACH_ACCELERATOR(a_store_is_cut_where_pages_are),
        ON_EACH_ACCELERATOR(without_slots_there_is_nothing_to_run),
        ON_EACH_ACCELERATOR(the_code_goes),
    };
    return cmocka_run_group_tests_name("accel_slots", tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
#include "base/os.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/os_map.h"

static void *map_anonymous(uint64_t size_bytes)
{
    void *p = NULL;
    const struct os_map_request request = {.size_bytes = size_bytes, .align_bytes = os_page_size(), .fd = -1};
    assert_int_equal(os_map(&request, &p), 0);
    assert_non_null(p);
    return p;
}

static void pages_are_a_power_of_two(void **state)
{
    (void)state;
    assert_true(is_pow2(os_page_size()));
    assert_true(os_page_size() >= GUEST_PAGE_SIZE);
}

static void untouched_pages_are_nowhere(void **state)
{
    (void)state;
    unsigned char *p = map_anonymous(os_page_size());
    hpa_t hpa = mv_hpa(7);
    enum os_hpa_result result = os_hpa_of(hva_of(p), &hpa);
    os_map_end(p, os_page_size());
    if (result == OS_HPA_NO_PAGEMAP || result == OS_HPA_NO_PERMISSION) {
        printf("# SKIP untouched_pages_are_nowhere: %s\n", os_hpa_result_name(result));
        skip();
    }
    assert_int_equal(result, OS_HPA_NOT_PRESENT);
    assert_int_equal(hpa.raw, 7);
}

static void touched_pages_have_a_frame(void **state)
{
    (void)state;
    uint64_t page = os_page_size();
    unsigned char *p = map_anonymous(2 * page);
    p[0] = 1;
    p[page] = 1;
    /* Held where they are, so that asking twice gives the same. */
    if (mlock(p, 2 * page) != 0) {
        printf("# mlock: %s\n", strerror(errno));
    }
    hpa_t first;
    enum os_hpa_result result = os_hpa_of(hva_of(p), &first);
    if (result == OS_HPA_NO_PAGEMAP || result == OS_HPA_NO_PERMISSION) {
        os_map_end(p, 2 * page);
        printf("# SKIP touched_pages_have_a_frame: %s\n", os_hpa_result_name(result));
        skip();
    }
    assert_int_equal(result, OS_HPA_OK);
    assert_true(first.raw >= page);
    assert_true(is_aligned(first.raw, page));

    hpa_t again, inside, other;
    assert_int_equal(os_hpa_of(hva_of(p), &again), OS_HPA_OK);
    assert_int_equal(again.raw, first.raw);
    assert_int_equal(os_hpa_of(hva_of(p + 123), &inside), OS_HPA_OK);
    assert_int_equal(inside.raw, first.raw + 123);
    assert_int_equal(os_hpa_of(hva_of(p + page), &other), OS_HPA_OK);
    assert_true(other.raw / page != first.raw / page);
    os_map_end(p, 2 * page);
}

/* Two mappings of one memfd page are one page of the host. */
static void shared_pages_have_the_same_frame(void **state)
{
    (void)state;
    uint64_t page = os_page_size();
    void *p = NULL;
    int fd = -1;
    assert_int_equal(os_memfd("os_test", page, 0, &fd), 0);
    const struct os_map_request request = {.size_bytes = page, .align_bytes = page, .fd = fd, .shared = true};
    assert_int_equal(os_map(&request, &p), 0);
    unsigned char *second = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(second, MAP_FAILED);
    *(unsigned char *)p = 1;
    second[1] = 1;
    hpa_t one, two;
    enum os_hpa_result result = os_hpa_of(hva_of(p), &one);
    enum os_hpa_result result_two = os_hpa_of(hva_of(second), &two);
    os_map_end(p, page);
    munmap(second, page); /* without the guards of os_map */
    close(fd);
    if (result == OS_HPA_NO_PAGEMAP || result == OS_HPA_NO_PERMISSION) {
        printf("# SKIP shared_pages_have_the_same_frame: %s\n", os_hpa_result_name(result));
        skip();
    }
    assert_int_equal(result, OS_HPA_OK);
    assert_int_equal(result_two, OS_HPA_OK);
    assert_int_equal(one.raw, two.raw);
}

static void results_have_names(void **state)
{
    (void)state;
    assert_null(os_hpa_result_name(OS_HPA_OK));
    assert_string_equal(os_hpa_result_name(OS_HPA_NOT_PRESENT), "not-present");
    assert_string_equal(os_hpa_result_name(OS_HPA_NO_PERMISSION), "no-permission");
    assert_string_equal(os_hpa_result_name(OS_HPA_NO_PAGEMAP), "no-pagemap");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_a_power_of_two),   cmocka_unit_test(untouched_pages_are_nowhere),
        cmocka_unit_test(touched_pages_have_a_frame), cmocka_unit_test(shared_pages_have_the_same_frame),
        cmocka_unit_test(results_have_names),
    };
    return cmocka_run_group_tests_name("os", tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void *map_anonymous(uint64_t size_bytes)
{
    void *p = NULL;
    assert_int_equal(os_map_anonymous(size_bytes, &p), 0);
    assert_non_null(p);
    return p;
}

static void assert_zero(const unsigned char *bytes, uint64_t length)
{
    for (uint64_t i = 0; i < length; i++) {
        assert_int_equal(bytes[i], 0);
    }
}

static bool is_mapped(void *page)
{
    unsigned char resident;
    return mincore(page, 1, &resident) == 0;
}

static void pages_are_a_power_of_two(void **state)
{
    (void)state;
    assert_true(is_pow2(os_page_size()));
    assert_true(os_page_size() >= GUEST_PAGE_SIZE);
}

static void anonymous_memory_is_zero_and_writable(void **state)
{
    (void)state;
    uint64_t size = 3 * os_page_size();
    unsigned char *p = map_anonymous(size);
    assert_true(is_aligned(hva_of(p).raw, os_page_size()));
    assert_zero(p, size);
    p[size - 1] = 0x77;
    assert_int_equal(p[size - 1], 0x77);
    os_unmap(p, size);
    assert_false(is_mapped(p));
    assert_false(is_mapped(p + 2 * os_page_size()));
}

/* Much more than there is: reserved, and not committed. */
static void large_memory_costs_nothing(void **state)
{
    (void)state;
    unsigned char *p = map_anonymous(UINT64_C(1) << 40);
    p[(UINT64_C(1) << 40) - 1] = 1;
    os_unmap(p, UINT64_C(1) << 40);
}

static void a_memfd_is_shared(void **state)
{
    (void)state;
    uint64_t size = 2 * os_page_size();
    void *p = NULL;
    int fd = -1;
    assert_int_equal(os_map_memfd("os_test", size, &p, &fd), 0);
    assert_true(fd >= 0);
    unsigned char *bytes = p;
    assert_zero(bytes, size);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal((uint64_t)st.st_size, size);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    bytes[5] = 0x5a;
    unsigned char seen = 0;
    assert_int_equal(pread(fd, &seen, 1, 5), 1);
    assert_int_equal(seen, 0x5a);
    os_unmap(p, size);
    assert_int_equal(close(fd), 0);
}

static void refusals_are_negative_and_write_nothing(void **state)
{
    (void)state;
    void *p = NULL;
    int fd = -2;
    assert_int_equal(os_map_anonymous(UINT64_MAX, &p), -ENOMEM);
    assert_int_equal(os_map_anonymous(UINT64_C(1) << 62, &p), -ENOMEM);
    assert_int_equal(os_map_anonymous(0, &p), -EINVAL);
    assert_int_equal(os_map_memfd("x", UINT64_MAX, &p, &fd), -ENOMEM);
    assert_true(os_map_memfd("x", UINT64_C(1) << 62, &p, &fd) < 0);
    char name[300];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(os_map_memfd(name, os_page_size(), &p, &fd), -EINVAL);
    assert_null(p);
    assert_int_equal(fd, -2);
}

/* A failing mapping does not leave its descriptor behind. */
static void a_refused_memfd_is_closed(void **state)
{
    (void)state;
    void *p = NULL;
    int fd = -2;
    int before = dup(0);
    assert_true(before >= 0);
    close(before);
    assert_true(os_map_memfd("x", UINT64_C(1) << 62, &p, &fd) < 0);
    int after = dup(0);
    close(after);
    assert_int_equal(before, after);
}

static void untouched_pages_are_nowhere(void **state)
{
    (void)state;
    unsigned char *p = map_anonymous(os_page_size());
    hpa_t hpa = mv_hpa(7);
    enum os_hpa_result result = os_hpa_of(hva_of(p), &hpa);
    os_unmap(p, os_page_size());
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
        os_unmap(p, 2 * page);
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
    os_unmap(p, 2 * page);
}

/* Two mappings of one memfd page are one page of the host. */
static void shared_pages_have_the_same_frame(void **state)
{
    (void)state;
    uint64_t page = os_page_size();
    void *p = NULL;
    int fd = -1;
    assert_int_equal(os_map_memfd("os_test", page, &p, &fd), 0);
    unsigned char *second = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(second, MAP_FAILED);
    *(unsigned char *)p = 1;
    second[1] = 1;
    hpa_t one, two;
    enum os_hpa_result result = os_hpa_of(hva_of(p), &one);
    enum os_hpa_result result_two = os_hpa_of(hva_of(second), &two);
    os_unmap(p, page);
    os_unmap(second, page);
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
        cmocka_unit_test(pages_are_a_power_of_two),
        cmocka_unit_test(anonymous_memory_is_zero_and_writable),
        cmocka_unit_test(large_memory_costs_nothing),
        cmocka_unit_test(a_memfd_is_shared),
        cmocka_unit_test(refusals_are_negative_and_write_nothing),
        cmocka_unit_test(a_refused_memfd_is_closed),
        cmocka_unit_test(untouched_pages_are_nowhere),
        cmocka_unit_test(touched_pages_have_a_frame),
        cmocka_unit_test(shared_pages_have_the_same_frame),
        cmocka_unit_test(results_have_names),
    };
    return cmocka_run_group_tests_name("os", tests, NULL, NULL);
}

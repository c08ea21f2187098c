// SPDX-License-Identifier: MIT
#include "base/os_map.h"

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

#include "base/os.h"

static int map(uint64_t size_bytes, uint64_t align_bytes, int fd, void **ret)
{
    const struct os_map_request request = {
        .size_bytes = size_bytes, .align_bytes = align_bytes, .fd = fd, .shared = fd >= 0, .noreserve = true};
    return os_map(&request, ret);
}

static void *map_anonymous(uint64_t size_bytes)
{
    void *p = NULL;
    assert_int_equal(map(size_bytes, os_page_size(), -1, &p), 0);
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

static void anonymous_memory_is_zero_and_writable(void **state)
{
    (void)state;
    uint64_t size = 3 * os_page_size();
    unsigned char *p = map_anonymous(size);
    assert_true(is_aligned(hva_of(p).raw, os_page_size()));
    assert_zero(p, size);
    p[size - 1] = 0x77;
    assert_int_equal(p[size - 1], 0x77);
    assert_true(os_is_mapped(p, size));
    os_map_end(p, size);
    assert_false(is_mapped(p));
    assert_false(is_mapped(p + 2 * os_page_size()));
}

/* A page on each side is taken, and cannot be touched; what was reserved to align it is given back. */
static void mappings_are_aligned_and_guarded(void **state)
{
    (void)state;
    const uint64_t page = os_page_size();
    for (uint64_t align = page; align <= 64 * MIB; align *= 2) {
        void *p = NULL;
        assert_int_equal(map(page, align, -1, &p), 0);
        assert_true(is_aligned(hva_of(p).raw, align));
        unsigned char *bytes = p;
        assert_true(is_mapped(bytes + page));
        assert_true(is_mapped(bytes - page));
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        assert_int_equal(write(fds[1], bytes + page, 1), -1);
        assert_int_equal(errno, EFAULT);
        assert_int_equal(write(fds[1], bytes - 1, 1), -1);
        assert_int_equal(write(fds[1], bytes, page), page);
        close(fds[0]);
        close(fds[1]);
        os_map_end(p, page);
        assert_false(is_mapped(bytes));
        assert_false(is_mapped(bytes + page));
        assert_false(is_mapped(bytes - page));
    }
}

/* A thousand mappings that need room to be aligned leave no trace in the size of the process. */
static uint64_t process_pages(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    assert_non_null(file);
    uint64_t pages = 0;
    assert_int_equal(fscanf(file, "%" SCNu64, &pages), 1);
    fclose(file);
    return pages;
}

static void nothing_is_left_of_a_mapping(void **state)
{
    (void)state;
    void *p = NULL;
    (void)process_pages();
    /* What the first leaves behind could shape the room for the others, so that they leave nothing. */
    const uint64_t before = process_pages();
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(map(os_page_size(), GIB, -1, &p), 0);
        os_map_end(p, os_page_size());
        assert_true(map(os_page_size(), GIB, 9999, &p) < 0);
    }
    assert_true(process_pages() < before + 1000);
}

static void large_memory_costs_nothing(void **state)
{
    (void)state;
    unsigned char *p = map_anonymous(UINT64_C(1) << 40);
    p[(UINT64_C(1) << 40) - 1] = 1;
    os_map_end(p, UINT64_C(1) << 40);
}

static void holes_are_seen(void **state)
{
    (void)state;
    const uint64_t page = os_page_size();
    unsigned char *p = map_anonymous(5000 * page);
    assert_true(os_is_mapped(p, 5000 * page));
    munmap(p + 4999 * page, page);
    assert_false(os_is_mapped(p, 5000 * page));
    assert_true(os_is_mapped(p, 4999 * page));
    munmap(p - page, 5002 * page);
    assert_false(os_is_mapped(p, page));
}

static void a_memfd_is_shared_and_sealed(void **state)
{
    (void)state;
    uint64_t size = 2 * os_page_size();
    void *p = NULL;
    int fd = -1;
    assert_int_equal(os_memfd("os_test", size, 0, &fd), 0);
    assert_int_equal(map(size, os_page_size(), fd, &p), 0);
    unsigned char *bytes = p;
    assert_zero(bytes, size);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal((uint64_t)st.st_size, size);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    assert_int_equal(os_file_page_size(fd), os_page_size());
    bytes[5] = 0x5a;
    unsigned char seen = 0;
    assert_int_equal(pread(fd, &seen, 1, 5), 1);
    assert_int_equal(seen, 0x5a);
    assert_int_equal(os_punch(fd, 0, os_page_size()), 0);
    assert_int_equal(bytes[5], 0);
    assert_true(os_punch(fd, 0, 0) < 0);
    os_map_end(p, size);
    assert_int_equal(close(fd), 0);
}

static void refusals_are_negative_and_write_nothing(void **state)
{
    (void)state;
    void *p = NULL;
    int fd = -2;
    const uint64_t page = os_page_size();
    assert_int_equal(map(align_down(UINT64_MAX, page), page, -1, &p), -ENOMEM);
    assert_int_equal(map(UINT64_MAX, page, -1, &p), -ENOMEM);
    assert_int_equal(map(UINT64_C(1) << 62, page, -1, &p), -ENOMEM);
    assert_int_equal(map(page, UINT64_C(1) << 63, -1, &p), -ENOMEM);
    assert_int_equal(map(0, page, -1, &p), -EINVAL);
    assert_int_equal(map(page, page, 9999, &p), -EBADF);
    assert_int_equal(os_memfd("x", UINT64_MAX, 0, &fd), -ENOMEM);
    assert_true(os_memfd("x", page, UINT64_C(1) << 50, &fd) < 0);
    char name[300];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(os_memfd(name, page, 0, &fd), -EINVAL);
    assert_null(p);
    assert_int_equal(fd, -2);
}

/* A memfd that cannot have its size does not leave its descriptor behind. */
static void a_refused_memfd_is_closed(void **state)
{
    (void)state;
    int fd = -2;
    int before = dup(0);
    assert_true(before >= 0);
    close(before);
    assert_true(os_memfd("x", UINT64_MAX, 0, &fd) < 0);
    int after = dup(0);
    close(after);
    assert_int_equal(before, after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(anonymous_memory_is_zero_and_writable),
        cmocka_unit_test(mappings_are_aligned_and_guarded),
        cmocka_unit_test(nothing_is_left_of_a_mapping),
        cmocka_unit_test(large_memory_costs_nothing),
        cmocka_unit_test(holes_are_seen),
        cmocka_unit_test(a_memfd_is_shared_and_sealed),
        cmocka_unit_test(refusals_are_negative_and_write_nothing),
        cmocka_unit_test(a_refused_memfd_is_closed),
    };
    return cmocka_run_group_tests_name("os_map", tests, NULL, NULL);
}

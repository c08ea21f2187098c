// SPDX-License-Identifier: MIT
#include "base/os_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void policies_are_the_words_in_brackets(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum os_thp policy;
    } cases[] = {
        {"[always] madvise never\n", OS_THP_ALWAYS},
        {"always [madvise] never\n", OS_THP_ADVISED},
        {"always madvise [never]\n", OS_THP_NEVER},
        {"always within_size advise [never] deny force\n", OS_THP_NEVER},
        {"always within_size [advise] never deny force\n", OS_THP_ADVISED},
        {"always [within_size] advise never deny force\n", OS_THP_ALWAYS},
        {"always within_size advise never [deny] force\n", OS_THP_NEVER},
        {"always within_size advise never deny [force]\n", OS_THP_ALWAYS},
        {"", OS_THP_NEVER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(os_thp_parse(cases[i].text), cases[i].policy);
    }
}

static void what_the_host_says_makes_sense(void **state)
{
    (void)state;
    assert_true(is_pow2(os_thp_size()));
    assert_true(os_overcommit() <= 2);
    const uint64_t huge = os_huge_default();
    struct os_huge_pool pool = {.total = 77};
    char path[OS_HUGE_PATH_SIZE];
    if (huge) {
        assert_true(is_pow2(huge));
        assert_true(os_huge_pool(huge, &pool));
        assert_true(pool.free <= pool.total);
        assert_true(pool.reserved <= pool.free);
        os_huge_path(huge, path);
        assert_int_equal(access(path, R_OK), 0);
    }
    pool.total = 77;
    assert_false(os_huge_pool(3 * 4096, &pool));
    assert_int_equal(pool.total, 77);
    os_huge_path(2 * MIB, path);
    assert_string_equal(path, "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policies_are_the_words_in_brackets),
        cmocka_unit_test(what_the_host_says_makes_sense),
    };
    return cmocka_run_group_tests_name("os_policy", tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
#include "base/error.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void says_what_on_which_object_and_why(void **state)
{
    (void)state;
    struct mv_error err;
    memset(&err, 0x5a, sizeof err);
    assert_int_equal(error_set(&err, -EBUSY, "mapped", "pc.ram", "region %s: it is in %s", "pc.ram", "system"),
                     -EBUSY);
    assert_int_equal(err.code, -EBUSY);
    assert_string_equal(err.reason, "mapped");
    assert_string_equal(err.object, "pc.ram");
    assert_string_equal(err.text, "region pc.ram: it is in system");
}

static void no_object_is_an_empty_name(void **state)
{
    (void)state;
    struct mv_error err;
    memset(&err, 0x5a, sizeof err);
    assert_int_equal(error_set(&err, -ENOMEM, "no-memory", NULL, "out of memory"), -ENOMEM);
    assert_string_equal(err.object, "");
}

static void nobody_has_to_listen(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, -EINVAL, "bad", "x", "%d", 1), -EINVAL);
    assert_int_equal(error_host(NULL, -EPERM, "x", "%d", 1), -EPERM);
}

static void the_host_has_its_own_words(void **state)
{
    (void)state;
    struct mv_error err;
    assert_int_equal(error_host(&err, -ENOENT, "vm", "cannot open %s", "/dev/kvm"), -ENOENT);
    assert_int_equal(err.code, -ENOENT);
    assert_string_equal(err.reason, "host");
    assert_string_equal(err.object, "vm");
    assert_string_equal(err.text, "cannot open /dev/kvm: No such file or directory");
    assert_int_equal(error_host(&err, -EBADF, NULL, "x"), -EBADF);
    assert_string_equal(err.text, "x: Bad file descriptor");
    assert_string_equal(err.object, "");
}

/* Every length around the ends of both fields; the bytes behind the struct are ASan's. */
static void what_is_too_long_is_cut(void **state)
{
    (void)state;
    char text[2 * MV_ERROR_TEXT_SIZE];
    for (size_t length = 0; length < sizeof text; length++) {
        memset(text, 'x', length);
        text[length] = '\0';
        struct mv_error err;
        memset(&err, 0x5a, sizeof err);
        error_set(&err, -EINVAL, "bad", text, "%s", text);
        size_t object = length < MV_ERROR_OBJECT_SIZE ? length : MV_ERROR_OBJECT_SIZE - 1;
        size_t kept = length < MV_ERROR_TEXT_SIZE ? length : MV_ERROR_TEXT_SIZE - 1;
        assert_int_equal(strlen(err.object), object);
        assert_int_equal(strlen(err.text), kept);

        error_host(&err, -EIO, text, "%s", text);
        size_t whole = length + strlen(": Input/output error");
        assert_int_equal(strlen(err.text), whole < MV_ERROR_TEXT_SIZE ? whole : MV_ERROR_TEXT_SIZE - 1);
    }
}

static void errno_as_a_code(void **state)
{
    (void)state;
    errno = ENOSPC;
    assert_int_equal(error_errno(), -ENOSPC);
    errno = 0;
    assert_int_equal(error_errno(), -EIO);
}

static void the_version_is_three_numbers(void **state)
{
    (void)state;
    assert_string_equal(mv_version(), MEMVIRT_VERSION);
    assert_int_equal(strspn(mv_version(), "0123456789."), strlen(mv_version()));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_on_which_object_and_why),
        cmocka_unit_test(no_object_is_an_empty_name),
        cmocka_unit_test(nobody_has_to_listen),
        cmocka_unit_test(the_host_has_its_own_words),
        cmocka_unit_test(what_is_too_long_is_cut),
        cmocka_unit_test(errno_as_a_code),
        cmocka_unit_test(the_version_is_three_numbers),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
/* Expressions: what they are worth, what is wrong with them, and random ones against a second opinion. */
#include "monitor/expression.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool find(void *opaque, const char *name, uint64_t *ret)
{
    (void)opaque;
    if (strcmp(name, "rip") == 0 || strcmp(name, "fs.base") == 0) {
        *ret = name[0] == 'r' ? 0x1000 : 0x2000;
        return true;
    }
    return false;
}

static void is(const char *text, uint64_t wanted, const char *rest)
{
    char scratch[64];
    const char *at = text;
    uint64_t value = 0;
    const char *wrong = expression_evaluate(&at, find, NULL, &value, scratch);
    if (wrong || value != wanted || strcmp(at, rest) != 0) {
        fail_msg("%s: %s, 0x%" PRIx64 ", rest '%s'", text, wrong ? wrong : "right", value, at);
    }
}

static void is_wrong(const char *text, const char *wanted)
{
    char scratch[64];
    const char *at = text;
    uint64_t value = 77;
    const char *wrong = expression_evaluate(&at, find, NULL, &value, scratch);
    assert_non_null(wrong);
    assert_string_equal(wrong, wanted);
    assert_ptr_equal(at, text);
    assert_int_equal(value, 77);
}

static void test_values(void **state)
{
    (void)state;
    is("0x10", 16, "");
    is("  010 ", 8, "");
    is("1 + 2 * 3", 7, "");
    is("1+2*3&4", 5, ""); /* as QEMU has it: & binds more than +, less than * */
    is("(1 + 2) * 3", 9, "");
    is("10 - 2 - 3", 5, "");
    is("-1", UINT64_MAX, "");
    is("~0", UINT64_MAX, "");
    is("+-+1", UINT64_MAX, "");
    is("7 / 2 % 2", 1, "");
    is("6 ^ 3 | 8", 13, "");
    is("$rip+8", 0x1008, "");
    is("$fs.base", 0x2000, "");
    is("'a'", 'a', "");
    is("0xffffffffffffffff + 2", 1, "");
    is("1 2", 1, "2");
    is("1)", 1, ")");
    is("0x", 0, "x");
}

static void test_mistakes(void **state)
{
    (void)state;
    char deep[200];
    is_wrong("", "unexpected end of expression");
    is_wrong("1 +", "unexpected end of expression");
    is_wrong("(1", "')' expected");
    is_wrong("zz", "invalid char 'z' in expression");
    is_wrong("\x80", "invalid char '?' in expression");
    is_wrong("1/0", "division by zero");
    is_wrong("1%(2-2)", "division by zero");
    is_wrong("$foo", "unknown register");
    is_wrong("$", "unknown register");
    is_wrong("$ripripripripripripripripripripripripripriprip", "unknown register");
    is_wrong("'a", "missing terminating ' character");
    is_wrong("'", "character constant expected");
    is_wrong("0x10000000000000000", "number too large");
    memset(deep, '(', sizeof deep);
    deep[sizeof deep - 1] = '\0';
    is_wrong(deep, "expression is too deep");
    memset(deep, '-', sizeof deep - 1);
    is_wrong(deep, "expression is too deep");
}

/* --- a random tree is printed, fully in parentheses, and its value is known --------------------------------- */

static uint64_t seed;

static uint64_t random_number(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static uint64_t random_expression(char **at, unsigned depth)
{
    static const char operations[] = "+-*/%&|^";
    if (depth == 0 || random_number() % 4 == 0) {
        uint64_t value = random_number() >> random_number() % 64;
        *at += sprintf(*at, random_number() % 2 ? "%" PRIu64 : "0x%" PRIx64, value);
        return value;
    }
    char operation = operations[random_number() % 8];
    *at += sprintf(*at, "(");
    uint64_t left = random_expression(at, depth - 1);
    *at += sprintf(*at, random_number() % 2 ? " %c " : "%c", operation);
    uint64_t right = random_expression(at, depth - 1);
    *at += sprintf(*at, ")");
    switch (operation) {
    case '+': return left + right;
    case '-': return left - right;
    case '*': return left * right;
    case '&': return left & right;
    case '|': return left | right;
    case '^': return left ^ right;
    case '/': return right ? left / right : 0;
    default: return right ? left % right : 0;
    }
}

static void test_random(void **state)
{
    (void)state;
    static char text[65536];
    unsigned right = 0;
    seed = 0x9e3779b97f4a7c15;
    for (unsigned i = 0; i < 20000; i++) {
        char scratch[64];
        char *end = text;
        uint64_t wanted = random_expression(&end, i % 8);
        const char *at = text;
        uint64_t value;
        const char *wrong = expression_evaluate(&at, find, NULL, &value, scratch);
        if (wrong) {
            assert_string_equal(wrong, "division by zero");
            continue;
        }
        right++;
        if (value != wanted || *at != '\0') {
            fail_msg("%s = 0x%" PRIx64 ", not 0x%" PRIx64, text, wanted, value);
        }
    }
    assert_true(right > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests_name("expression", tests, NULL, NULL);
}

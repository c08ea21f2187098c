// SPDX-License-Identifier: MIT
#include "monitor/expression.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64
#define REGISTER_NAME_MAX 31

struct parser {
    const char *at;
    expression_register_fn *find;
    void *opaque;
    unsigned depth;
    const char *wrong; /* the first mistake; from then on everything is 0 */
    char *scratch;
};

static uint64_t sum(struct parser *p);

static uint64_t fail(struct parser *p, const char *what)
{
    if (!p->wrong) {
        p->wrong = what;
    }
    return 0;
}

static void skip_blanks(struct parser *p)
{
    while (isspace((unsigned char)*p->at)) {
        p->at++;
    }
}

static void next(struct parser *p)
{
    p->at++;
    skip_blanks(p);
}

static uint64_t parenthesis(struct parser *p)
{
    next(p);
    uint64_t value = sum(p);
    if (*p->at != ')') {
        return fail(p, "')' expected");
    }
    next(p);
    return value;
}

static uint64_t character(struct parser *p)
{
    p->at++;
    if (*p->at == '\0') {
        return fail(p, "character constant expected");
    }
    uint64_t value = (unsigned char)*p->at++;
    if (*p->at != '\'') {
        return fail(p, "missing terminating ' character");
    }
    next(p);
    return value;
}

static uint64_t register_value(struct parser *p)
{
    char name[REGISTER_NAME_MAX + 1];
    size_t length = 0;
    uint64_t value;
    p->at++;
    while (isalnum((unsigned char)*p->at) || *p->at == '_' || *p->at == '.') {
        if (length < REGISTER_NAME_MAX) {
            name[length++] = *p->at;
        }
        p->at++;
    }
    name[length] = '\0';
    skip_blanks(p);
    return p->find(p->opaque, name, &value) ? value : fail(p, "unknown register");
}

static uint64_t number(struct parser *p)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(p->at, &end, 0);
    if (errno == ERANGE) {
        return fail(p, "number too large");
    }
    if (end == p->at) {
        snprintf(p->scratch, 64, "invalid char '%c' in expression", isprint((unsigned char)*p->at) ? *p->at : '?');
        return fail(p, p->scratch);
    }
    p->at = end;
    skip_blanks(p);
    return value;
}

static uint64_t unary(struct parser *p)
{
    uint64_t value;
    if (p->wrong) {
        return 0;
    }
    if (p->depth == DEPTH_MAX) {
        return fail(p, "expression is too deep");
    }
    p->depth++;
    switch (*p->at) {
    case '+':
        next(p);
        value = unary(p);
        break;
    case '-':
        next(p);
        value = -unary(p);
        break;
    case '~':
        next(p);
        value = ~unary(p);
        break;
    case '(': value = parenthesis(p); break;
    case '\'': value = character(p); break;
    case '$': value = register_value(p); break;
    case '\0': value = fail(p, "unexpected end of expression"); break;
    default: value = number(p); break;
    }
    p->depth--;
    return value;
}

static uint64_t product(struct parser *p)
{
    uint64_t value = unary(p);
    while (!p->wrong && *p->at != '\0' && strchr("*/%", *p->at)) {
        char operation = *p->at;
        next(p);
        uint64_t right = unary(p);
        if (operation == '*') {
            value *= right;
        } else if (right == 0) {
            return fail(p, "division by zero");
        } else {
            value = operation == '/' ? value / right : value % right;
        }
    }
    return value;
}

static uint64_t logic(struct parser *p)
{
    uint64_t value = product(p);
    while (!p->wrong && *p->at != '\0' && strchr("&|^", *p->at)) {
        char operation = *p->at;
        next(p);
        uint64_t right = product(p);
        value = operation == '&' ? value & right : operation == '|' ? value | right : value ^ right;
    }
    return value;
}

static uint64_t sum(struct parser *p)
{
    uint64_t value = logic(p);
    while (!p->wrong && (*p->at == '+' || *p->at == '-')) {
        char operation = *p->at;
        next(p);
        uint64_t right = logic(p);
        value = operation == '+' ? value + right : value - right;
    }
    return value;
}

const char *expression_evaluate(const char **at, expression_register_fn *find, void *opaque, uint64_t *ret,
                                char scratch[64])
{
    struct parser p = {.at = *at, .find = find, .opaque = opaque, .scratch = scratch};
    skip_blanks(&p);
    uint64_t value = sum(&p);
    if (!p.wrong) {
        *at = p.at;
        *ret = value;
    }
    return p.wrong;
}

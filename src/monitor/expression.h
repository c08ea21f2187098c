// SPDX-License-Identifier: MIT
/* Expressions in monitor lines, with the grammar and the messages of QEMU's monitor: "$rsp+8", "(1 + 2) * 0x10".
 */
#ifndef MONITOR_EXPRESSION_H
#define MONITOR_EXPRESSION_H

#include <memvirt/types.h>

/* Nothing after `$` that is a register's name: false. */
typedef bool expression_register_fn(void *opaque, const char *name, uint64_t *ret);

/*
 * Evaluate the expression at *at, and move *at behind it and the blanks that follow. From weakest to strongest:
 * + -; & | ^; * / %; signs, ~, parentheses, 'c', $register, numbers as in C. All in 64 bits, modulo 2^64.
 * Returns NULL, or what is wrong, in `scratch` or static.
 */
const char *expression_evaluate(const char **at, expression_register_fn *find, void *opaque, uint64_t *ret,
                                char scratch[64]);

#endif

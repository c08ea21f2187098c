/* SPDX-License-Identifier: MIT */
#ifndef SELFTEST_H
#define SELFTEST_H

#include <stdbool.h>
#include <stdio.h>

/* The one counter of a self-test program, which prints one TAP result; its main() returns whether it is 0. */
static unsigned nfailures;

static void check_at(const char *file, int line, bool ok, const char *what)
{
    if (!ok) {
        nfailures++;
        printf("# %s:%d: not so: %s\n", file, line, what);
    }
}

#define CHECK(condition) check_at(__FILE__, __LINE__, (condition), #condition)

static int finish(void)
{
    printf("1..1\n%s 1 - %u checks failed\n", nfailures ? "not ok" : "ok", nfailures);
    return nfailures != 0;
}

#endif

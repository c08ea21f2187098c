// SPDX-License-Identifier: MIT
/* Without jansson nobody gets as far as any of these. */
#include "monitor/qmp.h"

bool qmp_is_built_in(void)
{
    return false;
}

void qmp_init(struct qmp *qmp, struct mv_monitor *monitor)
{
    *qmp = (struct qmp){.negotiated = false};
    session_init(&qmp->session, monitor);
}

void qmp_finish(struct qmp *qmp)
{
    (void)qmp;
}

void qmp_greet(struct text *out)
{
    (void)out;
}

size_t qmp_take(struct qmp *qmp, const char *bytes, size_t length, struct text *out)
{
    (void)qmp;
    (void)bytes;
    (void)out;
    return length;
}

void qmp_print_event(const char *name, const char *data, struct text *out)
{
    (void)name;
    (void)data;
    (void)out;
}

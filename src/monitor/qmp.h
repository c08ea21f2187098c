// SPDX-License-Identifier: MIT
/* QMP: JSON commands, responses and events, as QEMU speaks it. Where jansson is. */
#ifndef MONITOR_QMP_H
#define MONITOR_QMP_H

#include "monitor/command.h"
#include "monitor/frame.h"

/* One client's. */
struct qmp {
    struct session session;
    struct frame frame;
    bool negotiated; /* qmp_capabilities was said: commands are taken, events are sent */
};

bool qmp_is_built_in(void);

void qmp_init(struct qmp *qmp, struct mv_monitor *monitor);
void qmp_finish(struct qmp *qmp);
void qmp_greet(struct text *out);

/* As hmp_take(): up to the end of one command at most. */
size_t qmp_take(struct qmp *qmp, const char *bytes, size_t length, struct text *out);

/* A line for an event, at the present time. `data` is JSON, or NULL. */
void qmp_print_event(const char *name, const char *data, struct text *out);

#endif

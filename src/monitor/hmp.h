// SPDX-License-Identifier: MIT
/* HMP: lines of text, in the grammar of QEMU's monitor. */
#ifndef MONITOR_HMP_H
#define MONITOR_HMP_H

#include "monitor/command.h"

#define HMP_PROMPT "(memvirt) "
#define HMP_LINE_MAX ((size_t)64 * 1024)

/* Do one line; what it prints goes to `out`, lines ended by "\n". */
void hmp_line(struct session *session, const char *line, struct text *out);

/* Add `text` with its "\n" made "\r\n", as QEMU's monitor sends lines over a socket. */
void hmp_add_crlf(struct text *out, const struct text *text);

/* One client's lines. */
struct hmp {
    struct session session;
    struct text line;
    bool crlf; /* how lines end on the way out */
};

void hmp_init(struct hmp *hmp, struct mv_monitor *monitor, bool crlf);
void hmp_finish(struct hmp *hmp);

/* The first thing that a client is sent. */
void hmp_greet(struct hmp *hmp, struct text *out);

/*
 * Take bytes from a client, up to the end of a line at most, and do that. Returns how many were taken, at least 1
 * of `length` > 0.
 */
size_t hmp_take(struct hmp *hmp, const char *bytes, size_t length, struct text *out);

#endif

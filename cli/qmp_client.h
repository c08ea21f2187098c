// SPDX-License-Identifier: MIT
/* A client of a monitor that speaks QMP. */
#ifndef CLI_QMP_CLIENT_H
#define CLI_QMP_CLIENT_H

#include "json_value.h"

struct qmp_client;

/* "unix:PATH" or "tcp:127.0.0.1:PORT". Returns NULL after it has said why. */
struct qmp_client *qmp_client_open(const char *address);
/* NULL is allowed. */
void qmp_client_close(struct qmp_client *client);

/* Takes `arguments`. Returns what the command returns, or NULL after it has said why there is nothing. */
json_t *qmp_client_execute(struct qmp_client *client, const char *command, json_t *arguments);

#endif

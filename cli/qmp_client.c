// SPDX-License-Identifier: MIT
#include "qmp_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "message.h"
#include "size.h"

#define PATIENCE_SECONDS 30
/* Of one message: a peer that is no monitor may send anything. */
#define MESSAGE_BYTES_MAX ((size_t)64 << 20)

struct qmp_client {
    const char *address;
    FILE *from, *to;
};

/* --- connecting --------------------------------------------------------------------------------------------- */

static int connect_unix(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof un.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(un.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&un, sizeof un) < 0) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

static int connect_tcp(uint16_t port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&in, sizeof in) < 0) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

/* A monitor listens on no other host. */
static int connect_to(const char *address)
{
    static const char tcp[] = "tcp:127.0.0.1:";
    uint64_t port;
    if (strncmp(address, "unix:", 5) == 0) {
        return connect_unix(address + 5);
    }
    if (strncmp(address, tcp, sizeof tcp - 1) == 0 && number_parse(address + sizeof tcp - 1, 65535, &port)) {
        return connect_tcp((uint16_t)port);
    }
    errno = EDESTADDRREQ;
    return -1;
}

/* --- messages ----------------------------------------------------------------------------------------------- */

/* One line, without its end; the caller frees it. NULL: there is none. */
static char *read_line(struct qmp_client *client, size_t *ret_length)
{
    size_t capacity = 4096, length = 0;
    char *line = malloc(capacity);
    int c = EOF;
    while (line && length < MESSAGE_BYTES_MAX && (c = getc(client->from)) != EOF && c != '\n') {
        if (length == capacity) {
            char *more = realloc(line, capacity * 2);
            if (!more) {
                break;
            }
            line = more;
            capacity *= 2;
        }
        line[length++] = (char)c;
    }
    if (c != '\n') {
        free(line);
        return NULL;
    }
    *ret_length = length;
    return line;
}

/* The next message that is no event. NULL after it has said that there is none. */
static json_t *receive(struct qmp_client *client)
{
    for (;;) {
        size_t length;
        char *line = read_line(client, &length);
        json_t *message = line ? json_loadb(line, length, 0, NULL) : NULL;
        free(line);
        if (!json_is_object(message)) {
            json_decref(message);
            say("%s: it does not answer as a QMP monitor does", client->address);
            return NULL;
        }
        if (!json_object_get(message, "event")) {
            return message;
        }
        json_decref(message);
    }
}

static bool send_message(struct qmp_client *client, json_t *message)
{
    bool sent = message && json_dumpf(message, client->to, 0) == 0 && putc('\n', client->to) != EOF &&
                fflush(client->to) == 0;
    json_decref(message);
    if (!sent) {
        say("%s: it does not listen", client->address);
    }
    return sent;
}

json_t *qmp_client_execute(struct qmp_client *client, const char *command, json_t *arguments)
{
    json_t *message = json_with(json_object(), "execute", json_text(command));
    if (!send_message(client, json_with(message, "arguments", arguments))) {
        return NULL;
    }
    json_t *answer = receive(client);
    json_t *result = json_incref(json_object_get(answer, "return"));
    if (answer && !result) {
        const char *desc = json_string_value(json_object_get(json_object_get(answer, "error"), "desc"));
        say("%s: %s", client->address, desc ? desc : "it does not answer as a QMP monitor does");
    }
    json_decref(answer);
    return result;
}

/* --- opening ------------------------------------------------------------------------------------------------- */

/* The greeting, and the end of negotiation. */
static bool greet(struct qmp_client *client)
{
    json_t *greeting = receive(client);
    bool is_qmp = json_object_get(greeting, "QMP") != NULL;
    if (greeting && !is_qmp) {
        say("%s: it does not answer as a QMP monitor does", client->address);
    }
    json_decref(greeting);
    json_t *result = is_qmp ? qmp_client_execute(client, "qmp_capabilities", json_object()) : NULL;
    json_decref(result);
    return result != NULL;
}

struct qmp_client *qmp_client_open(const char *address)
{
    const struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
    int fd = connect_to(address);
    if (fd < 0) {
        say("--qmp %s: %s", address,
            errno == EDESTADDRREQ ? "an address is unix:PATH or tcp:127.0.0.1:PORT" : strerror(errno));
        return NULL;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    int second = dup(fd);
    struct qmp_client *client = calloc(1, sizeof *client);
    FILE *from = fdopen(fd, "r"), *to = second >= 0 ? fdopen(second, "w") : NULL;
    if (client && from && to) {
        *client = (struct qmp_client){.address = address, .from = from, .to = to};
        if (greet(client)) {
            return client;
        }
        qmp_client_close(client);
        return NULL;
    }
    say("%s: out of memory", address);
    if (from) {
        fclose(from);
    } else {
        close(fd);
    }
    if (to) {
        fclose(to);
    } else if (second >= 0) {
        close(second);
    }
    free(client);
    return NULL;
}

void qmp_client_close(struct qmp_client *client)
{
    if (client) {
        fclose(client->from);
        fclose(client->to);
        free(client);
    }
}

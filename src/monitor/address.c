// SPDX-License-Identifier: MIT
#include "monitor/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

/* --- what is meant ----------------------------------------------------------------------------- */

static int refuse(const char *text, const char *why, struct mv_error *err)
{
    return error_set(err, -EINVAL, "bad-address", text, "%.200s: %s", text, why);
}

/* QEMU's options that say what is so anyway. */
static bool is_known_option(const char *option, size_t length)
{
    static const char *const known[] = {"server", "server=on", "nowait", "wait=off"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strlen(known[i]) == length && strncmp(known[i], option, length) == 0) {
            return true;
        }
    }
    return false;
}

/* The length of what is before the options; 0 when one is unknown. */
static size_t before_options(const char *text)
{
    size_t length = strcspn(text, ",");
    const char *at = text + length;
    while (*at == ',') {
        size_t option = strcspn(at + 1, ",");
        if (!is_known_option(at + 1, option)) {
            return 0;
        }
        at += 1 + option;
    }
    return length;
}

static int parse_unix(const char *text, const char *path, size_t length, struct address *ret, struct mv_error *err)
{
    struct sockaddr_un *un = &ret->socket.un;
    if (length == 0) {
        return refuse(text, "the path is missing", err);
    }
    if (length >= sizeof un->sun_path) {
        return refuse(text, "the path is too long for a socket: at most 107 bytes", err);
    }
    ret->kind = ADDRESS_UNIX;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, length);
    ret->socket_size = sizeof *un;
    return 0;
}

static int parse_tcp(const char *text, const char *host, size_t length, struct address *ret, struct mv_error *err)
{
    struct sockaddr_in *in = &ret->socket.in;
    const char *colon = memchr(host, ':', length);
    size_t host_length = colon ? (size_t)(colon - host) : length;
    char *end;
    if (!(host_length == 9 && strncmp(host, "127.0.0.1", 9) == 0) &&
        !(host_length == 9 && strncmp(host, "localhost", 9) == 0)) {
        return refuse(text, "a monitor listens on 127.0.0.1 only: whoever reaches it controls the guest", err);
    }
    unsigned long port = 0;
    if (colon && colon[1] >= '0' && colon[1] <= '9') {
        port = strtoul(colon + 1, &end, 10);
        port = end == host + length && port <= 65535 ? port : 0;
    }
    if (port == 0) {
        return refuse(text, "the port must be 1 to 65535", err);
    }
    ret->kind = ADDRESS_TCP;
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)port);
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ret->socket_size = sizeof *in;
    return 0;
}

int address_parse(const char *text, struct address *ret, struct mv_error *err)
{
    struct address address = {.kind = ADDRESS_STDIO};
    size_t length = before_options(text);
    int rc = 0;
    if (length == 0 && *text != '\0') {
        return refuse(text, "of the options that may follow, only server=on and wait=off are known", err);
    }
    if (strncmp(text, "unix:", 5) == 0) {
        rc = parse_unix(text, text + 5, length - 5, &address, err);
    } else if (strncmp(text, "tcp:", 4) == 0) {
        rc = parse_tcp(text, text + 4, length - 4, &address, err);
    } else if (strcmp(text, "stdio") != 0) {
        rc = refuse(text, "an address is stdio, unix:PATH or tcp:127.0.0.1:PORT", err);
    }
    if (rc == 0) {
        snprintf(address.name, sizeof address.name, "%.*s", (int)length, text);
        *ret = address;
    }
    return rc;
}

/* --- listening --------------------------------------------------------------------------------- */

static int host_says(const struct address *address, int rc, struct mv_error *err)
{
    return error_host(err, rc, address->name, "%s", address->name);
}

/* Whether anybody accepts connections there: 0 when nobody does, -EADDRINUSE, or why it cannot be told. */
static int probe(const struct address *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return error_errno();
    }
    int rc = connect(fd, &address->socket.any, address->socket_size) < 0 ? error_errno() : -EADDRINUSE;
    close(fd);
    return rc == -ECONNREFUSED ? 0 : rc == -EAGAIN ? -EADDRINUSE : rc;
}

/* Something is in our place: a socket that nobody listens on any more goes. */
static int remove_stale(const struct address *address, struct mv_error *err)
{
    const char *path = address->socket.un.sun_path;
    struct stat st;
    if (lstat(path, &st) < 0) {
        return errno == ENOENT ? 0 : host_says(address, error_errno(), err);
    }
    if (!S_ISSOCK(st.st_mode)) {
        return error_set(err, -EEXIST, "not-a-socket", address->name,
                         "%s: there is a file of that name, and it is no socket", address->name);
    }
    int rc = probe(address);
    if (rc == -EADDRINUSE) {
        return error_set(err, rc, "in-use", address->name, "%s: somebody else listens on it", address->name);
    }
    if (rc == 0 && unlink(path) < 0 && errno != ENOENT) {
        rc = error_errno();
    }
    return rc < 0 ? host_says(address, rc, err) : 0;
}

static int bind_to(const struct address *address, int fd, struct mv_error *err)
{
    int one = 1;
    if (address->kind == ADDRESS_TCP) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    } else {
        int rc = remove_stale(address, err);
        if (rc < 0) {
            return rc;
        }
    }
    if (bind(fd, &address->socket.any, address->socket_size) < 0 || listen(fd, 1) < 0) {
        int rc = error_errno();
        return rc == -EADDRINUSE
                   ? error_set(err, rc, "in-use", address->name, "%s: somebody else listens on it", address->name)
                   : host_says(address, rc, err);
    }
    return 0;
}

int address_listen(const struct address *address, struct address_file *ret_file, struct mv_error *err)
{
    struct stat st = {.st_ino = 0};
    int fd = socket(address->socket.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return host_says(address, error_errno(), err);
    }
    int rc = bind_to(address, fd, err);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    if (address->kind == ADDRESS_UNIX) {
        (void)lstat(address->socket.un.sun_path, &st); /* if that fails, nothing is removed at the end */
    }
    *ret_file = (struct address_file){.device = st.st_dev, .inode = st.st_ino};
    return fd;
}

void address_remove(const struct address *address, const struct address_file *file)
{
    struct stat st;
    const char *path = address->socket.un.sun_path;
    if (address->kind == ADDRESS_UNIX && lstat(path, &st) == 0 && st.st_dev == file->device &&
        st.st_ino == file->inode) {
        unlink(path);
    }
}

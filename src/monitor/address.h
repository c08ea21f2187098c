// SPDX-License-Identifier: MIT
/* Where a monitor listens: "stdio", "unix:PATH", "tcp:127.0.0.1:PORT". */
#ifndef MONITOR_ADDRESS_H
#define MONITOR_ADDRESS_H

#include <memvirt/types.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

enum address_kind {
    ADDRESS_STDIO,
    ADDRESS_UNIX,
    ADDRESS_TCP,
};

struct address {
    enum address_kind kind;
    char name[sizeof "unix:" + sizeof((struct sockaddr_un *)0)->sun_path]; /* as people know it */
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_in in;
    } socket;
    socklen_t socket_size;
};

/* 0, or -EINVAL ("bad-address"). Opens nothing. */
int address_parse(const char *text, struct address *ret, struct mv_error *err);

/* A socket file that was made here, so that no other is removed. */
struct address_file {
    dev_t device;
    ino_t inode;
};

/*
 * Listen on a socket address. A socket file that nobody listens on is replaced.
 * @return a descriptor; -EADDRINUSE ("in-use"); or what the host says
 */
int address_listen(const struct address *address, struct address_file *ret_file, struct mv_error *err);

/* Remove what address_listen() made in the file system. */
void address_remove(const struct address *address, const struct address_file *file);

#endif

// SPDX-License-Identifier: MIT
/**
 * @file monitor.h
 * A monitor: people (HMP) and programs (QMP) look at a VM while it runs, stop it and let it go on, in the words of
 * QEMU's monitor.
 *
 * Each address that a monitor listens on has a thread of its own, which serves one client at a time. A command
 * that needs registers or guest page tables pauses the VM while it looks, so what it shows is of one moment.
 * Nothing that a client does or leaves undone keeps a vCPU waiting longer than such a look. docs/monitor.md has
 * the commands.
 */
#ifndef MEMVIRT_MONITOR_H
#define MEMVIRT_MONITOR_H

#include <memvirt/vm.h>

MV_BEGIN_DECLS

struct mv_monitor;

struct mv_monitor_options {
    struct mv_machine *machine; /**< whose memory is shown; must outlive the monitor */
    struct mv_vm *vm;           /**< must outlive the monitor */
    bool paused;                /**< pause the VM until a client says `cont` */
};

/** What is spoken with the clients of an address. */
enum mv_monitor_protocol {
    MV_MONITOR_HMP, /**< lines of text, for people */
    MV_MONITOR_QMP, /**< JSON, for programs */
};

/** Make a monitor that listens nowhere yet. @return 0, or -ENOMEM */
MV_API int mv_monitor_create(const struct mv_monitor_options *options, struct mv_monitor **ret,
                             struct mv_error *err);

/**
 * Whether an address is one, without opening anything:
 *
 *     stdio           the process's standard input and output (HMP only); with line editing on a terminal
 *     unix:PATH       a socket of that name; it is removed at the end
 *     tcp:HOST:PORT   HOST is 127.0.0.1 or localhost
 *
 * QEMU's `,server=on,wait=off` may follow, and change nothing.
 * @return 0; -EINVAL ("bad-address"); -ENOTSUP ("no-json": QMP, and the library was built without jansson)
 */
MV_API int mv_monitor_check_address(enum mv_monitor_protocol protocol, const char *address, struct mv_error *err);

/**
 * Listen on an address, in a new thread. A socket file that nobody listens on is replaced; anything else of that
 * name is not.
 * @return 0; as mv_monitor_check_address(); -EADDRINUSE ("in-use"); or what the host says
 */
MV_API int mv_monitor_listen(struct mv_monitor *monitor, enum mv_monitor_protocol protocol, const char *address,
                             struct mv_error *err);

/**
 * Do one line of HMP and hand back what it prints, lines ended by "\n".
 * @param[out] ret  to be freed with free(3)
 * @return 0, also when the line is wrong, which is printed; -ENOMEM
 */
MV_API int mv_monitor_line(struct mv_monitor *monitor, const char *line, char **ret, struct mv_error *err);

/** Tell the clients that the VM has stopped for good (QMP: SHUTDOWN). */
MV_API void mv_monitor_shutdown(struct mv_monitor *monitor, const struct mv_stop *stop);

/**
 * Hang up on all clients, after a second at most for those that have not read everything, and end the threads. If
 * the monitor has paused the VM it goes on. NULL is allowed. Not from a handler.
 */
MV_API void mv_monitor_destroy(struct mv_monitor *monitor);

MV_END_DECLS

#endif

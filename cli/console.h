// SPDX-License-Identifier: MIT
/* Where a guest's console goes: to a stream at once, and into a buffer if a report will want it. */
#ifndef CLI_CONSOLE_H
#define CLI_CONSOLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mv_vm;

/* More than this is not kept for the report; the rest is counted. */
#define CONSOLE_KEPT_MAX ((size_t)16 << 20)

enum console_memory {
    CONSOLE_FORGETS,
    CONSOLE_KEEPS,
};

/* Owned by the guest it is in; used by all threads under `lock`. */
struct console {
    pthread_mutex_t lock;
    int fd; /* borrowed */
    enum console_memory memory;
    char *bytes; /* kept: `length` of them, in order from the first; length <= capacity <= CONSOLE_KEPT_MAX */
    size_t length;
    size_t capacity;
    uint64_t dropped_bytes;
    bool in_line;     /* the last byte printed was not a newline */
    int error;        /* the errno of the first write that failed; then nothing more is written */
    struct mv_vm *vm; /* what to stop when a write fails, or NULL. Borrowed until the VM has stopped */
};

void console_init(struct console *console, int fd, enum console_memory memory);
void console_finish(struct console *console);

/* Stop this VM, from now on, when the console is on stdout and cannot be written. */
void console_connect(struct console *console, struct mv_vm *vm);

/* The board's console callback; `opaque` is the console. */
void console_write(void *opaque, const void *bytes, size_t length);

/* If the guest left a line open on `fd`, end it: something else is to be printed there. */
void console_end_line(struct console *console, int fd);

#endif

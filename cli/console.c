// SPDX-License-Identifier: MIT
#include "console.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <memvirt/vm.h>

#include "output.h"

void console_init(struct console *console, int fd, enum console_memory memory)
{
    *console = (struct console){.fd = fd, .memory = memory};
    pthread_mutex_init(&console->lock, NULL);
}

void console_finish(struct console *console)
{
    pthread_mutex_destroy(&console->lock);
    free(console->bytes);
}

void console_connect(struct console *console, struct mv_vm *vm)
{
    pthread_mutex_lock(&console->lock);
    console->vm = vm;
    pthread_mutex_unlock(&console->lock);
}

/* Keep what there is room for. */
static void keep(struct console *console, const char *bytes, size_t length)
{
    if (console->capacity - console->length < length && console->capacity < CONSOLE_KEPT_MAX) {
        size_t capacity = 2 * (console->length + length);
        if (capacity > CONSOLE_KEPT_MAX) {
            capacity = CONSOLE_KEPT_MAX;
        }
        char *larger = realloc(console->bytes, capacity);
        if (larger) {
            console->bytes = larger;
            console->capacity = capacity;
        }
    }
    const size_t room = console->capacity - console->length;
    const size_t kept = console->dropped_bytes > 0 ? 0 : length < room ? length : room;
    if (kept > 0) {
        memcpy(console->bytes + console->length, bytes, kept);
        console->length += kept;
    }
    console->dropped_bytes += length - kept;
}

/* A guest that nobody can hear is stopped. On stderr there is only a copy of what the report will have. */
static void give_up(struct console *console, int error)
{
    char text[MV_ERROR_TEXT_SIZE];
    char buffer[64];
    console->error = error;
    if (console->vm && console->fd == STDOUT_FILENO) {
        snprintf(text, sizeof text, "standard output: the guest's console cannot be written: %s",
                 strerror_r(error, buffer, sizeof buffer));
        mv_vm_stop(console->vm, MV_STOP_HOST_ERROR, -error, text);
    }
}

static void put(struct console *console, const char *bytes, size_t length)
{
    while (length > 0 && console->error == 0) {
        const long n = output_write(console->fd, bytes, length);
        if (n > 0) {
            bytes += n;
            length -= (size_t)n;
            console->in_line = bytes[-1] != '\n';
        } else {
            give_up(console, n == 0 ? EIO : (int)-n);
        }
    }
}

void console_write(void *opaque, const void *bytes, size_t length)
{
    struct console *console = opaque;
    pthread_mutex_lock(&console->lock);
    if (console->memory == CONSOLE_KEEPS) {
        keep(console, bytes, length);
    }
    put(console, bytes, length);
    pthread_mutex_unlock(&console->lock);
}

void console_end_line(struct console *console, int fd)
{
    pthread_mutex_lock(&console->lock);
    if (console->fd == fd && console->in_line) {
        put(console, "\n", 1);
    }
    pthread_mutex_unlock(&console->lock);
}

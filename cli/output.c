// SPDX-License-Identifier: MIT
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "message.h"

long output_write(int fd, const void *bytes, size_t length)
{
    for (;;) {
        const ssize_t n = write(fd, bytes, length);
        if (n >= 0) {
            return n;
        }
        if (errno == EAGAIN) {
            poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        } else if (errno != EINTR) {
            return -errno;
        }
    }
}

/* What stdio calls to empty a buffer. 0 is a failure to it, with errno. */
static ssize_t write_stdout(void *cookie, const char *bytes, size_t length)
{
    (void)cookie;
    size_t done = 0;
    while (done < length) {
        const long n = output_write(STDOUT_FILENO, bytes + done, length - done);
        if (n <= 0) {
            errno = n < 0 ? (int)-n : EIO;
            return 0;
        }
        done += (size_t)n;
    }
    return (ssize_t)done;
}

void output_init(void)
{
    /* The lowest free descriptor is what open() returns: it ends when that is none of the three. Read-only, so
     * that writing to a closed stdout stays the error that it was. */
    int fd;
    do {
        fd = open("/dev/null", O_RDONLY);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO) {
        close(fd);
    }
    signal(SIGPIPE, SIG_IGN);
    FILE *patient = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_stdout});
    if (patient) {
        stdout = patient; /* glibc: a variable */
    }
}

int output_finish(int status)
{
    errno = 0;
    const bool written = fflush(stdout) == 0 && !ferror(stdout);
    if (written || status == CLI_HOST_ERROR) { /* then a line about the host was said */
        return status;
    }
    if (errno != 0) {
        say("standard output: it cannot be written: %s", strerror(errno));
    } else { /* an earlier write failed, and stdio did not keep why */
        say("standard output: not all of it could be written");
    }
    return CLI_HOST_ERROR;
}

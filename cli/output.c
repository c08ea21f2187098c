// SPDX-License-Identifier: MIT
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "message.h"

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

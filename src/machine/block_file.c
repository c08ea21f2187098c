// SPDX-License-Identifier: MIT
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/os_map.h"
#include "machine/block.h"

static int host_error(struct mv_error *err, const struct mv_block_options *options, const char *name,
                      const char *what)
{
    return error_host(err, error_errno(), name, "block %s: cannot %s %s", name, what, options->path);
}

/* A file without a name in a directory, as for a mount point of hugetlbfs, which has no O_TMPFILE. */
static int open_nameless(const char *directory)
{
    char *path;
    if (asprintf(&path, "%s/memvirt-XXXXXX", directory) < 0) {
        errno = ENOMEM;
        return -1;
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) {
        unlink(path);
    }
    int saved = errno;
    free(path);
    errno = saved;
    return fd;
}

/* The descriptor, or -1 with errno. */
static int open_any(const struct mv_block_options *o, struct block_file *file)
{
    if (o->file_open != MV_FILE_CREATE) {
        /* What is private is copied when it is written: the file itself is only read. */
        const bool only_read = o->readonly == MV_ON;
        int fd = open(o->path, (only_read ? O_RDONLY : O_RDWR) | O_CLOEXEC);
        if (fd < 0 && !only_read && o->shared != MV_ON && (errno == EACCES || errno == EROFS)) {
            fd = open(o->path, O_RDONLY | O_CLOEXEC);
        }
        if (fd < 0 && errno == EISDIR && !only_read && o->file_open == MV_FILE_OPEN_OR_CREATE) {
            file->nameless = true;
            return open_nameless(o->path);
        }
        if (fd >= 0 || errno != ENOENT || o->file_open == MV_FILE_OPEN || only_read) {
            return fd;
        }
    }
    int fd = open(o->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    file->made = fd >= 0;
    return fd;
}

int block_file_open(const struct mv_block_options *options, const char *name, struct block_file *ret,
                    struct mv_error *err)
{
    struct block_file file = {0};
    file.fd = open_any(options, &file);
    if (file.fd < 0) {
        return host_error(err, options, name, "open");
    }
    struct stat st;
    if (fstat(file.fd, &st) < 0) {
        int rc = host_error(err, options, name, "look at");
        block_file_undo(&file, options);
        return rc;
    }
    if (!S_ISREG(st.st_mode)) {
        block_file_undo(&file, options);
        return error_set(err, -EINVAL, "bad-block", name, "block %s: %s is not a regular file", name,
                         options->path);
    }
    file.page_size_bytes = os_file_page_size(file.fd);
    *ret = file;
    return 0;
}

int block_file_grow(const struct block_file *file, const struct mv_block_options *options, const char *name,
                    uint64_t end_bytes, struct mv_error *err)
{
    struct stat st;
    if (fstat(file->fd, &st) < 0) {
        return host_error(err, options, name, "look at");
    }
    if ((uint64_t)st.st_size >= end_bytes) {
        return 0;
    }
    if (st.st_size > 0 || options->readonly == MV_ON) {
        return error_set(err, -EINVAL, "file-too-short", name,
                         "block %s: %s has %" PRIu64 " bytes, and %" PRIu64
                         " are needed: only an empty file is made "
                         "longer, and none for a read-only block",
                         name, options->path, (uint64_t)st.st_size, end_bytes);
    }
    if (end_bytes > INT64_MAX) {
        return error_host(err, -EFBIG, name, "block %s: cannot enlarge %s", name, options->path);
    }
    return ftruncate(file->fd, (off_t)end_bytes) < 0 ? host_error(err, options, name, "enlarge") : 0;
}

void block_file_undo(const struct block_file *file, const struct mv_block_options *options)
{
    close(file->fd);
    if (file->made) {
        unlink(options->path);
    }
}

// SPDX-License-Identifier: MIT
#include "board/image_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/os.h"
#include "base/os_map.h"

static void name_from_path(char name[IMAGE_NAME_SIZE], const char *path)
{
    size_t length = strlen(path);
    if (length < IMAGE_NAME_SIZE) {
        memcpy(name, path, length + 1);
    } else {
        snprintf(name, IMAGE_NAME_SIZE, "...%s", path + length - (IMAGE_NAME_SIZE - 4));
    }
    for (char *c = name; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) {
            *c = '?';
        }
    }
}

static const char *kind_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR: return "a directory";
    case S_IFIFO: return "a pipe";
    case S_IFSOCK: return "a socket";
    case S_IFCHR:
    case S_IFBLK: return "a device";
    default: return "no regular file";
    }
}

static int check_kind_and_size(const struct image_file *file, const struct stat *st, struct mv_error *err)
{
    if (!S_ISREG(st->st_mode)) {
        return error_set(err, -ENOEXEC, "not-an-image", file->name, "%s: not an image: it is %s", file->name,
                         kind_of(st->st_mode));
    }
    if (st->st_size <= 0) {
        return error_set(err, -ENOEXEC, "not-an-image", file->name, "%s: not an image: it is empty", file->name);
    }
    if ((uint64_t)st->st_size > IMAGE_FILE_MAX_BYTES) {
        return error_set(err, -ENOEXEC, "too-large", file->name,
                         "%s: too large: %lld bytes, and the limit is 4 GiB", file->name, (long long)st->st_size);
    }
    return 0;
}

static int map_file(struct image_file *file, struct mv_error *err)
{
    struct stat st;
    if (fstat(file->fd, &st) < 0) {
        return error_host(err, error_errno(), file->name, "%s: cannot be looked at", file->name);
    }
    int rc = check_kind_and_size(file, &st, err);
    if (rc < 0) {
        return rc;
    }
    file->size_bytes = (uint64_t)st.st_size;
    void *bytes;
    rc = os_map(
        &(struct os_map_request){
            .size_bytes = file->size_bytes, .align_bytes = os_page_size(), .fd = -1, .noreserve = true},
        &bytes);
    if (rc < 0) {
        return error_host(err, rc, file->name, "%s: no memory for its %" PRIu64 " bytes", file->name,
                          file->size_bytes);
    }
    file->bytes = bytes;
    return 0;
}

int image_file_open(const char *path, struct image_file *ret, struct mv_error *err)
{
    struct image_file file;
    name_from_path(file.name, path);
    file.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer must not hold us up */
    if (file.fd < 0) {
        return error_host(err, error_errno(), file.name, "%s: cannot be opened", file.name);
    }
    int rc = map_file(&file, err);
    if (rc < 0) {
        close(file.fd);
        return rc;
    }
    *ret = file;
    return 0;
}

void image_file_close(struct image_file *file)
{
    os_map_end(file->bytes, file->size_bytes);
    close(file->fd);
}

bool image_file_has(const struct image_file *file, uint64_t offset, uint64_t length)
{
    return offset <= file->size_bytes && length <= file->size_bytes - offset;
}

int image_file_fill(struct image_file *file, uint64_t offset, uint64_t length, struct mv_error *err)
{
    assert(image_file_has(file, offset, length));
    for (uint64_t done = 0; done < length;) {
        ssize_t n = pread(file->fd, file->bytes + offset + done, length - done, (off_t)(offset + done));
        if (n < 0 && errno != EINTR) {
            return error_host(err, error_errno(), file->name, "%s: cannot be read", file->name);
        }
        if (n == 0) {
            return error_set(err, -ENOEXEC, "truncated", file->name,
                             "%s: truncated: it became shorter while it was read", file->name);
        }
        done += n > 0 ? (uint64_t)n : 0;
    }
    return 0;
}

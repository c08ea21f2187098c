// SPDX-License-Identifier: MIT
/*
 * The file of an image: its bytes in memory at the offsets that they have in the file, read in as far as a loader
 * asked for. What the loader never looks at (debug information, mostly) is never read; what it looks at has been
 * read before the first byte of guest memory changes, and cannot change under it as a mapping of the file could.
 */
#ifndef BOARD_IMAGE_FILE_H
#define BOARD_IMAGE_FILE_H

#include <memvirt/types.h>

#define IMAGE_FILE_MAX_BYTES (UINT64_C(4) << 30)

/* Long enough to recognise a file, short enough to leave room for a reason in an error's text. */
#define IMAGE_NAME_SIZE 128

struct image_file {
    char name[IMAGE_NAME_SIZE]; /* the path, for messages: a long one is cut at the front, unprintables are '?' */
    int fd;
    uint64_t size_bytes;
    uint8_t *bytes; /* size_bytes of them; zero where not filled yet */
};

/*
 * Open a regular file of at least 1 byte and at most IMAGE_FILE_MAX_BYTES.
 * @return 0; -ENOEXEC ("not-an-image", "too-large"); or what open(2) and mmap(2) say
 */
int image_file_open(const char *path, struct image_file *ret, struct mv_error *err);
void image_file_close(struct image_file *file);

/* Whether `length` bytes from `offset` are in the file. Any values. */
bool image_file_has(const struct image_file *file, uint64_t offset, uint64_t length);

/* Read in bytes that the file has. @return 0; -ENOEXEC ("truncated": no longer); or what pread(2) says */
int image_file_fill(struct image_file *file, uint64_t offset, uint64_t length, struct mv_error *err);

#endif

// SPDX-License-Identifier: MIT
#include "base/os_map.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/os.h"

static void trim(char *from, char *to)
{
    if (from < to) {
        munmap(from, (size_t)(to - from));
    }
}

int os_map(const struct os_map_request *request, void **ret)
{
    const uint64_t guard = os_page_size();
    uint64_t size, whole, aligned;
    if (!align_up(request->size_bytes, guard, &size) || __builtin_add_overflow(size, guard, &whole) ||
        __builtin_add_overflow(whole, request->align_bytes, &whole) || whole > PTRDIFF_MAX) {
        return -ENOMEM;
    }
    /* Nothing is counted for the reservation: it cannot be touched. */
    char *base = mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return -errno;
    }
    const uint64_t at = hva_of(base).raw;
    bool fits = align_up(at + guard, request->align_bytes, &aligned);
    assert(fits);
    (void)fits;
    char *start = base + (aligned - at);
    const int flags = MAP_FIXED | (request->shared ? MAP_SHARED : MAP_PRIVATE) |
                      (request->fd < 0 ? MAP_ANONYMOUS : 0) | (request->noreserve ? MAP_NORESERVE : 0);
    const int rights = PROT_READ | (request->readonly ? 0 : PROT_WRITE);
    void *mapped = mmap(start, size, rights, flags, request->fd, (off_t)request->fd_offset_bytes);
    if (mapped == MAP_FAILED) {
        int rc = -errno;
        munmap(base, whole);
        return rc;
    }
    trim(base, start - guard);
    trim(start + size + guard, base + whole);
    *ret = mapped;
    return 0;
}

void os_map_end(void *address, uint64_t size_bytes)
{
    const uint64_t guard = os_page_size();
    uint64_t size;
    if (align_up(size_bytes, guard, &size)) {
        munmap((char *)address - guard, size + 2 * guard);
    }
}

bool os_is_mapped(void *address, uint64_t size_bytes)
{
    const uint64_t page = os_page_size();
    /* One byte of answer for each page: in pieces, so that memory of any size needs little of it. */
    unsigned char answer[1024];
    for (uint64_t at = 0; at < size_bytes; at += sizeof answer * page) {
        uint64_t left = size_bytes - at;
        uint64_t piece = left < sizeof answer * page ? left : sizeof answer * page;
        if (mincore((char *)address + at, piece, answer) < 0) {
            return false;
        }
    }
    return true;
}

int os_memfd(const char *name, uint64_t size_bytes, uint64_t huge_page_bytes, int *ret_fd)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    if (huge_page_bytes) {
        flags |= MFD_HUGETLB | (unsigned)__builtin_ctzll(huge_page_bytes) << MAP_HUGE_SHIFT;
    }
    int fd = memfd_create(name, flags);
    if (fd < 0) {
        return -errno;
    }
    if (size_bytes > INT64_MAX || ftruncate(fd, (off_t)size_bytes) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0) {
        int rc = size_bytes > INT64_MAX ? -ENOMEM : -errno;
        close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

uint64_t os_file_page_size(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC) {
        return (uint64_t)fs.f_bsize;
    }
    return os_page_size();
}

int os_punch(int fd, uint64_t offset_bytes, uint64_t length_bytes)
{
    int rc;
    do {
        rc = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset_bytes, (off_t)length_bytes);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

int os_advise(void *address, uint64_t size_bytes, int advice)
{
    int rc;
    do {
        rc = madvise(address, size_bytes, advice);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

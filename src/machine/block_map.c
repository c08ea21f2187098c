// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/os.h"
#include "base/os_map.h"
#include "base/os_policy.h"
#include "machine/block.h"

static int bad_page_size(struct mv_error *err, const char *name, uint64_t asked, uint64_t has)
{
    return error_set(err, -EINVAL, "bad-block", name,
                     "block %s: it is asked to have pages of %" PRIu64 " KiB, and they are of %" PRIu64 " KiB",
                     name, asked / KIB, has / KIB);
}

/* From the pages that the mapping will have to its sizes and alignment. */
static int size_up(struct mv_block *block, const struct mv_block_options *o, uint64_t page_size,
                   struct mv_error *err)
{
    const char *name = block->name;
    if (o->page_size_bytes && o->page_size_bytes != page_size) {
        return bad_page_size(err, name, o->page_size_bytes, page_size);
    }
    uint64_t size;
    if (!align_up(o->size_bytes, page_size, &size) ||
        !align_up(o->max_size_bytes ? o->max_size_bytes : o->size_bytes, page_size, &block->max_size_bytes)) {
        return error_set(err, -EINVAL, "bad-size", name, "block %s: its size cannot be rounded to whole pages",
                         name);
    }
    if (!is_aligned(o->file_offset_bytes, page_size)) {
        return error_set(err, -EINVAL, "bad-block", name,
                         "block %s: its offset in the file is not a multiple of its page size", name);
    }
    if (o->align_bytes && o->align_bytes < page_size) {
        return error_set(err, -EINVAL, "bad-block", name, "block %s: its alignment is less than its page size",
                         name);
    }
    /*
     * Of a pool the kernel reserves pages, not places: those of the nodes that the block is bound to may be used
     * up when it is touched, and that is a SIGBUS.
     */
    if (page_size > os_page_size() && o->numa == MV_NUMA_BIND && o->prealloc != MV_ON && o->reserve != MV_OFF) {
        return error_set(
            err, -EINVAL, "bad-block", name,
            "block %s: huge pages are reserved on any node: to bind them, preallocate them or turn reserve "
            "off",
            name);
    }
    atomic_init(&block->size_bytes, size);
    block->page_size_bytes = page_size;
    return 0;
}

int block_no_huge_pages(const char *name, uint64_t page_size_bytes, uint64_t needed_bytes, struct mv_error *err)
{
    char path[OS_HUGE_PATH_SIZE];
    struct os_huge_pool pool = {0};
    os_huge_path(page_size_bytes, path);
    (void)os_huge_pool(page_size_bytes, &pool);
    return error_set(err, -ENOMEM, "no-huge-pages", name,
                     "block %s: it needs %" PRIu64 " huge pages of %" PRIu64 " KiB; the host has %" PRIu64
                     ", %" PRIu64 " of them free and %" PRIu64 " of those promised: raise vm.nr_hugepages (%s)",
                     name, needed_bytes / page_size_bytes, page_size_bytes / KIB, pool.total, pool.free,
                     pool.reserved, path);
}

static bool is_hugetlb(const struct mv_block *block)
{
    return block->kind != MV_BLOCK_CALLER && block->page_size_bytes > os_page_size();
}

/* Whether to map with a reservation, and what it is worth. */
static bool decide_reserve(struct mv_block *block, const struct mv_block_options *o)
{
    struct mv_grant *grant = &block->grants.reserve;
    const bool asked = o->reserve == MV_ON || (o->reserve == MV_DEFAULT && is_hugetlb(block));
    grant->asked = o->reserve;
    grant->granted = asked;
    if (is_hugetlb(block)) {
        grant->why = asked ? NULL : "a page that the pool has no more of is a SIGBUS when it is touched";
    } else if (block->shared && block->fd >= 0) {
        grant->granted = false;
        grant->why =
            asked ? "a shared file is counted page by page when it is written: prealloc takes it at once" : NULL;
    } else if (block->readonly) {
        grant->granted = false;
        grant->why = asked ? "there is nothing to reserve for what cannot be written" : NULL;
    } else if (os_overcommit() == 2) {
        grant->granted = true;
        grant->why = asked ? NULL : "vm.overcommit_memory is 2: the host reserves everything";
    } else if (asked) {
        grant->why = "counted, but vm.overcommit_memory is not 2: the host may promise more than it has";
    }
    return asked;
}

static uint64_t alignment(const struct mv_block *block, const struct mv_block_options *o)
{
    if (o->align_bytes) {
        return o->align_bytes;
    }
    /* Only where host and guest addresses agree in the lower bits can a huge page back the guest. */
    const uint64_t thp = os_thp_size();
    return block->max_size_bytes >= thp && thp > block->page_size_bytes ? thp : block->page_size_bytes;
}

static int map_host(struct mv_block *block, const struct mv_block_options *o, struct mv_error *err)
{
    struct os_map_request request = {
        .size_bytes = block->max_size_bytes,
        .align_bytes = alignment(block, o),
        .fd = block->fd,
        .fd_offset_bytes = block->fd_offset_bytes,
        .shared = block->shared,
        .readonly = block->readonly,
        .noreserve = !decide_reserve(block, o),
    };
    void *host;
    int rc = os_map(&request, &host);
    if (rc == -ENOMEM && is_hugetlb(block)) {
        return block_no_huge_pages(block->name, block->page_size_bytes, block->max_size_bytes, err);
    }
    if (rc < 0) {
        return error_host(err, rc, block->name, "block %s: the host does not map %" PRIu64 " bytes", block->name,
                          block->max_size_bytes);
    }
    block->host = host;
    return 0;
}

static int map_memfd(struct mv_block *block, const struct mv_block_options *o, uint64_t huge, struct mv_error *err)
{
    int rc = size_up(block, o, huge ? huge : os_page_size(), err);
    if (rc < 0) {
        return rc;
    }
    rc = os_memfd(block->name, block->max_size_bytes, huge, &block->fd);
    if (rc < 0) {
        return error_host(err, rc, block->name, "block %s: the host makes no memfd of %" PRIu64 " bytes",
                          block->name, block->max_size_bytes);
    }
    block->own_bytes = true;
    block->shared = o->shared != MV_OFF;
    rc = map_host(block, o, err);
    if (rc < 0) {
        close(block->fd);
    }
    return rc;
}

static int map_hugetlb(struct mv_block *block, const struct mv_block_options *o, struct mv_error *err)
{
    const uint64_t page_size = o->page_size_bytes ? o->page_size_bytes : os_huge_default();
    struct os_huge_pool pool;
    if (page_size <= os_page_size() || !os_huge_pool(page_size, &pool)) {
        return error_set(err, -EINVAL, "bad-block", block->name,
                         "block %s: the host has no huge pages of %" PRIu64
                         " KiB (/sys/kernel/mm/hugepages lists its sizes)",
                         block->name, page_size / KIB);
    }
    return map_memfd(block, o, page_size, err);
}

static int map_anonymous(struct mv_block *block, const struct mv_block_options *o, struct mv_error *err)
{
    int rc = size_up(block, o, os_page_size(), err);
    if (rc < 0) {
        return rc;
    }
    block->own_bytes = true;
    block->shared = o->shared == MV_ON;
    return map_host(block, o, err);
}

static int map_opened(struct mv_block *block, const struct mv_block_options *o, const struct block_file *file,
                      struct mv_error *err)
{
    int rc = size_up(block, o, file->page_size_bytes, err);
    if (rc < 0) {
        return rc;
    }
    uint64_t end;
    if (__builtin_add_overflow(o->file_offset_bytes, block->max_size_bytes, &end)) {
        return error_set(err, -EINVAL, "bad-size", block->name, "block %s: its end in the file is beyond 2^64",
                         block->name);
    }
    rc = block_file_grow(file, o, block->name, end, err);
    if (rc < 0) {
        return rc;
    }
    block->fd = file->fd;
    block->fd_offset_bytes = o->file_offset_bytes;
    block->own_bytes = file->nameless;
    block->made_file = file->made;
    block->shared = o->shared == MV_ON;
    return map_host(block, o, err);
}

static int map_file(struct mv_block *block, const struct mv_block_options *o, struct mv_error *err)
{
    struct block_file file;
    int rc = block_file_open(o, block->name, &file, err);
    if (rc < 0) {
        return rc;
    }
    rc = map_opened(block, o, &file, err);
    if (rc < 0) {
        block_file_undo(&file, o);
    }
    return rc;
}

static int map_caller(struct mv_block *block, const struct mv_block_options *o, struct mv_error *err)
{
    int rc = size_up(block, o, os_page_size(), err);
    if (rc < 0) {
        return rc;
    }
    const uint64_t most = UINT64_MAX - hva_of(o->memory).raw;
    if (block->max_size_bytes > most || !os_is_mapped(o->memory, block->max_size_bytes)) {
        return error_set(err, -EINVAL, "bad-memory", block->name,
                         "block %s: the caller's memory of %" PRIu64 " bytes at 0x%" PRIx64 " is not all mapped",
                         block->name, block->max_size_bytes, hva_of(o->memory).raw);
    }
    block->host = o->memory;
    block->shared = o->shared == MV_ON;
    block->grants.reserve.asked = o->reserve;
    block->grants.reserve.why = o->reserve == MV_DEFAULT ? NULL : "the memory is the caller's";
    return 0;
}

int block_map(struct mv_block *block, const struct mv_block_options *options, struct mv_error *err)
{
    block->readonly = options->readonly == MV_ON;
    switch (options->kind) {
    case MV_BLOCK_ANONYMOUS: return map_anonymous(block, options, err);
    case MV_BLOCK_MEMFD: return map_memfd(block, options, 0, err);
    case MV_BLOCK_FILE: return map_file(block, options, err);
    case MV_BLOCK_HUGETLB: return map_hugetlb(block, options, err);
    case MV_BLOCK_CALLER: return map_caller(block, options, err);
    }
    return -EINVAL;
}

void block_unmap(struct mv_block *block)
{
    if (block->kind != MV_BLOCK_CALLER) {
        os_map_end(block->host, block->max_size_bytes);
    }
    if (block->fd >= 0) {
        close(block->fd);
    }
}

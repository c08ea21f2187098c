// SPDX-License-Identifier: MIT
#include <errno.h>

#include "base/error.h"
#include "base/os.h"
#include "machine/block.h"

static int bad_block(struct mv_error *err, const char *name, const char *wrong)
{
    return error_set(err, -EINVAL, "bad-block", name, "block %s: %s", name, wrong);
}

static bool is_choice(enum mv_choice choice)
{
    return choice == MV_DEFAULT || choice == MV_ON || choice == MV_OFF;
}

static const char *wrong_file(const struct mv_block_options *o)
{
    if (o->kind != MV_BLOCK_FILE) {
        return o->path || o->file_offset_bytes || o->file_open
                   ? "only file blocks have a path, an offset in it and "
                     "a way to open it"
                   : NULL;
    }
    if (!o->path) {
        return "a file block needs a path";
    }
    if (o->file_open != MV_FILE_OPEN_OR_CREATE && o->file_open != MV_FILE_OPEN && o->file_open != MV_FILE_CREATE) {
        return "there is no such way to open a file";
    }
    if (o->file_open == MV_FILE_CREATE && o->readonly == MV_ON) {
        return "a read-only block cannot be of a file that is made for it";
    }
    return NULL;
}

static const char *wrong_caller(const struct mv_block_options *o)
{
    if (o->kind != MV_BLOCK_CALLER) {
        return o->memory ? "only blocks of the caller's memory have a pointer to it" : NULL;
    }
    if (!o->memory || !is_aligned(hva_of(o->memory).raw, os_page_size())) {
        return "the caller's memory must begin with a page";
    }
    if (o->numa != MV_NUMA_DEFAULT || o->align_bytes) {
        return "the caller's memory is where the caller put it";
    }
    return NULL;
}

static const char *wrong_numa(const struct mv_block_options *o)
{
    switch (o->numa) {
    case MV_NUMA_DEFAULT: return o->numa_nodes ? "it has NUMA nodes but no policy for them" : NULL;
    case MV_NUMA_PREFERRED:
    case MV_NUMA_BIND:
    case MV_NUMA_INTERLEAVE: return o->numa_nodes ? NULL : "its NUMA policy has no nodes";
    }
    return "there is no such NUMA policy";
}

static const char *wrong_choice(const struct mv_block_options *o)
{
    const enum mv_choice choices[] = {o->shared,    o->readonly, o->reserve, o->thp,
                                      o->mergeable, o->dump,     o->fork,    o->prealloc};
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        if (!is_choice(choices[i])) {
            return "an option is neither on, off, nor the default";
        }
    }
    if (o->align_bytes && !is_pow2(o->align_bytes)) {
        return "its alignment is not a power of two";
    }
    if (o->page_size_bytes && !is_pow2(o->page_size_bytes)) {
        return "its page size is not a power of two";
    }
    return NULL;
}

static const char *wrong_memory(const struct mv_block_options *o)
{
    switch (o->kind) {
    case MV_BLOCK_ANONYMOUS:
        if (o->readonly == MV_ON) {
            return "anonymous memory that cannot be written would be zeros for ever";
        }
        break;
    case MV_BLOCK_MEMFD:
    case MV_BLOCK_FILE:
    case MV_BLOCK_HUGETLB:
    case MV_BLOCK_CALLER: break;
    default: return "there is no such kind of block";
    }
    return NULL;
}

int block_check_options(const struct mv_block_options *options, const char *name, struct mv_error *err)
{
    const char *(*const checks[])(const struct mv_block_options *) = {wrong_memory, wrong_choice, wrong_file,
                                                                      wrong_caller, wrong_numa};
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        const char *wrong = checks[i](options);
        if (wrong) {
            return bad_block(err, name, wrong);
        }
    }
    uint64_t rounded;
    const uint64_t largest = options->max_size_bytes ? options->max_size_bytes : options->size_bytes;
    if (options->size_bytes == 0 || options->size_bytes > largest ||
        !align_up(largest, os_page_size(), &rounded)) {
        return error_set(err, -EINVAL, "bad-size", name,
                         "block %s: its size cannot be %" PRIu64 " bytes, of at most %" PRIu64, name,
                         options->size_bytes, largest);
    }
    return 0;
}

// SPDX-License-Identifier: MIT
/* The table that QEMU's `info ramblock` prints. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "machine/block.h"

/* A power of two, as "4 KiB". */
static void print_size(FILE *out, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    while (bytes >= 1024) {
        bytes /= 1024;
        unit++;
    }
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64 " %s", bytes, units[unit]);
    fprintf(out, "%8s", text);
}

int mv_block_table(struct mv_machine *machine, char **ret, struct mv_error *err)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out) {
        return error_set(err, -ENOMEM, "no-memory", NULL, "block table: out of memory");
    }
    fprintf(out, "%24s %8s  %18s %18s %18s\n", "Block Name", "PSize", "Offset", "Used", "Total");
    for (struct mv_block *block = mv_block_next(machine, NULL); block; block = mv_block_next(machine, block)) {
        fprintf(out, "%24s ", block->id ? block->id : block->name);
        print_size(out, block->page_size_bytes);
        fprintf(out, "  0x%016" PRIx64 " 0x%016" PRIx64 " 0x%016" PRIx64 "\n", block->ram_offset,
                (uint64_t)block->size_bytes, block->max_size_bytes);
    }
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return error_set(err, -ENOMEM, "no-memory", NULL, "block table: out of memory");
    }
    *ret = text;
    return 0;
}

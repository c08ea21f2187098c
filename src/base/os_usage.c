// SPDX-License-Identifier: MIT
#include "base/os_usage.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The line "NAME:   N kB" adds N KiB to a member. */
static void add_line(const char *line, struct os_usage *usage)
{
    static const struct {
        const char *name;
        size_t member;
    } lines[] = {
        {"Rss:", offsetof(struct os_usage, resident)},
        {"AnonHugePages:", offsetof(struct os_usage, transparent)},
        {"ShmemPmdMapped:", offsetof(struct os_usage, transparent)},
        {"FilePmdMapped:", offsetof(struct os_usage, transparent)},
        {"Shared_Hugetlb:", offsetof(struct os_usage, hugetlb)},
        {"Private_Hugetlb:", offsetof(struct os_usage, hugetlb)},
        {"KSM:", offsetof(struct os_usage, merged)},
        {"Swap:", offsetof(struct os_usage, swapped)},
        {"Locked:", offsetof(struct os_usage, locked)},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        size_t length = strlen(lines[i].name);
        if (strncmp(line, lines[i].name, length) == 0) {
            uint64_t *member = (uint64_t *)((char *)usage + lines[i].member);
            *member += strtoull(line + length, NULL, 10) * KIB;
        }
    }
}

int os_usage(const void *address, uint64_t size_bytes, struct os_usage *ret)
{
    const uint64_t first = hva_of(address).raw, end = first + size_bytes;
    FILE *file = fopen("/proc/self/smaps", "re");
    if (!file) {
        return -errno;
    }
    struct os_usage usage = {0};
    bool ours = false;
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, file) > 0) {
        uint64_t from, to;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2) {
            ours = from >= first && to <= end;
            if (from >= end) {
                break;
            }
        } else if (ours) {
            add_line(line, &usage);
        }
    }
    free(line);
    fclose(file);
    /* Rss does not count pages of hugetlb. */
    usage.resident += usage.hugetlb;
    *ret = usage;
    return 0;
}

// SPDX-License-Identifier: MIT
#include "base/os_policy.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THP "/sys/kernel/mm/transparent_hugepage/"

/* At most size - 1 bytes of a file, with a NUL. False when it cannot be read. */
static bool read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    if (n < 0) {
        return false;
    }
    text[n] = '\0';
    return true;
}

static uint64_t read_number(const char *path, uint64_t otherwise)
{
    char text[64];
    return read_file(path, text, sizeof text) ? strtoull(text, NULL, 10) : otherwise;
}

enum os_thp os_thp_parse(const char *text)
{
    static const struct {
        const char *word;
        enum os_thp policy;
    } words[] = {
        {"[always]", OS_THP_ALWAYS},   {"[force]", OS_THP_ALWAYS},   {"[within_size]", OS_THP_ALWAYS},
        {"[madvise]", OS_THP_ADVISED}, {"[advise]", OS_THP_ADVISED},
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strstr(text, words[i].word)) {
            return words[i].policy;
        }
    }
    return OS_THP_NEVER;
}

/* Since Linux 6.8 each size has a policy of its own, which may be to inherit the one for all. */
static enum os_thp policy(const char *name)
{
    char path[128], text[128];
    snprintf(path, sizeof path, THP "hugepages-%" PRIu64 "kB/%s", os_thp_size() / KIB, name);
    if (read_file(path, text, sizeof text) && !strstr(text, "[inherit]")) {
        return os_thp_parse(text);
    }
    snprintf(path, sizeof path, THP "%s", name);
    return read_file(path, text, sizeof text) ? os_thp_parse(text) : OS_THP_ABSENT;
}

enum os_thp os_thp_anonymous(void)
{
    return policy("enabled");
}

enum os_thp os_thp_shmem(void)
{
    return policy("shmem_enabled");
}

uint64_t os_thp_size(void)
{
    return read_number(THP "hpage_pmd_size", 2 * MIB);
}

bool os_ksm_runs(void)
{
    return read_number("/sys/kernel/mm/ksm/run", 0) == 1;
}

unsigned os_overcommit(void)
{
    return (unsigned)read_number("/proc/sys/vm/overcommit_memory", 0);
}

void os_huge_path(uint64_t page_size_bytes, char path[OS_HUGE_PATH_SIZE])
{
    snprintf(path, OS_HUGE_PATH_SIZE, "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages",
             page_size_bytes / KIB);
}

bool os_huge_pool(uint64_t page_size_bytes, struct os_huge_pool *ret)
{
    static const char *const names[] = {"nr_hugepages", "free_hugepages", "resv_hugepages",
                                        "nr_overcommit_hugepages"};
    uint64_t values[4];
    for (size_t i = 0; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s", page_size_bytes / KIB,
                 names[i]);
        values[i] = read_number(path, UINT64_MAX);
        if (values[i] == UINT64_MAX) {
            return false;
        }
    }
    *ret = (struct os_huge_pool){values[0], values[1], values[2], values[3]};
    return true;
}

uint64_t os_huge_default(void)
{
    char text[8192];
    if (!read_file("/proc/meminfo", text, sizeof text)) {
        return 0;
    }
    const char *line = strstr(text, "\nHugepagesize:");
    return line ? strtoull(line + strlen("\nHugepagesize:"), NULL, 10) * KIB : 0;
}

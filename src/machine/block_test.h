// SPDX-License-Identifier: MIT
/* For the tests of blocks: making them, and what the host's own files say about their mappings. */
#ifndef MACHINE_BLOCK_TEST_H
#define MACHINE_BLOCK_TEST_H

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "base/os_policy.h"
#include "machine/block.h"
#include "machine/block_table.h"
#include "machine/machine.h"
#include "machine/machine_test.h"

static inline struct mv_block *block_with(const struct rig *rig, const struct mv_block_options *options)
{
    struct mv_error err = {0};
    struct mv_block *block = NULL;
    struct mv_block_options with_name = *options;
    with_name.name = options->name ? options->name : "b";
    if (mv_block_create(rig->machine, &with_name, &block, &err) != 0) {
        print_error("%s\n", err.text);
        fail();
    }
    assert_true(block_table_check(&rig->machine->blocks));
    return block;
}

static inline struct mv_block_info info_of(const struct mv_block *block)
{
    struct mv_block_info info;
    mv_block_info(block, &info);
    return info;
}

static inline unsigned char *bytes_of(const struct mv_block *block)
{
    return hva_pointer(info_of(block).hva);
}

/* Making it is refused with a code and a reason, names the block, and does nothing else. */
static inline void assert_refused(const struct rig *rig, const struct mv_block_options *options, int code,
                                  const char *reason, const char *text)
{
    struct mv_error err = {0};
    struct mv_block *block = NULL;
    struct mv_block_options with_name = *options;
    with_name.name = options->name ? options->name : "b";
    uint64_t version = mv_block_version(rig->machine);
    int rc = mv_block_create(rig->machine, &with_name, &block, &err);
    if (rc != code) {
        print_error("wanted %d (%s), got %d (%s)\n", code, text, rc, err.text);
    }
    assert_int_equal(rc, code);
    assert_null(block);
    assert_int_equal(err.code, code);
    assert_string_equal(err.reason, reason);
    assert_string_equal(err.object, with_name.name);
    assert_non_null(strstr(err.text, with_name.name));
    if (!strstr(err.text, text)) {
        print_error("no \"%s\" in \"%s\"\n", text, err.text);
        fail();
    }
    assert_int_equal(mv_block_version(rig->machine), version);
}

/* The line of `file` that begins with `name`, of the mapping that begins at `address`; freed by the caller. */
static inline char *smaps_line(const void *address, const char *name)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    assert_non_null(file);
    char *line = NULL;
    size_t size = 0;
    bool ours = false, found = false;
    while (!found && getline(&line, &size, file) > 0) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
            ours = from == (unsigned long)(uintptr_t)address;
        } else {
            found = ours && strncmp(line, name, strlen(name)) == 0;
        }
    }
    fclose(file);
    if (!found) {
        free(line);
        return NULL;
    }
    return line;
}

static inline uint64_t smaps_bytes(const void *address, const char *name)
{
    char *line = smaps_line(address, name);
    assert_non_null(line);
    uint64_t bytes = strtoull(line + strlen(name), NULL, 10) * 1024;
    free(line);
    return bytes;
}

/* Whether "VmFlags: rd wr ..." has a word, such as "hg", of the mapping that begins at `address`. */
static inline bool vm_flag(const void *address, const char *flag)
{
    char word[8];
    snprintf(word, sizeof word, " %s", flag);
    char *line = smaps_line(address, "VmFlags:");
    assert_non_null(line);
    bool yes = strstr(line, word) != NULL;
    free(line);
    return yes;
}

static inline uint64_t pages_present(const void *address, uint64_t size_bytes)
{
    uint64_t n = size_bytes / os_page_size(), present = 0;
    unsigned char *answer = malloc(n);
    assert_non_null(answer);
    assert_int_equal(mincore((void *)(uintptr_t)address, size_bytes, answer), 0);
    for (uint64_t i = 0; i < n; i++) {
        present += answer[i] & 1;
    }
    free(answer);
    return present;
}

static inline void skip_because(const char *test, const char *reason)
{
    print_message("# SKIP %s: %s\n", test, reason);
    skip();
}

/* --- a pool of huge pages: set for a test, and set back ------------------------------------------- */

struct huge_pool {
    int fd; /* of the file with its size, locked, so that no other test changes it; 0: none */
    uint64_t page_size;
    uint64_t before;
};

static inline bool write_number(const char *path, uint64_t value)
{
    char text[32];
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    int n = snprintf(text, sizeof text, "%" PRIu64, value);
    bool good = write(fd, text, (size_t)n) == n;
    close(fd);
    return good;
}

static inline void huge_pool_set(uint64_t page_size, uint64_t n)
{
    char path[OS_HUGE_PATH_SIZE];
    os_huge_path(page_size, path);
    (void)write_number(path, n);
}

static inline void huge_pool_close(struct huge_pool *pool)
{
    if (pool->fd > 0) {
        huge_pool_set(pool->page_size, pool->before);
        close(pool->fd);
        pool->fd = 0;
    }
}

/* Have `n` free pages, exactly. False, with nothing changed, when this host does not let us. */
static inline bool huge_pool_open(struct huge_pool *pool, uint64_t page_size, uint64_t n)
{
    struct os_huge_pool now;
    char path[OS_HUGE_PATH_SIZE];
    os_huge_path(page_size, path);
    pool->fd = open(path, O_WRONLY | O_CLOEXEC);
    if (pool->fd < 0 || flock(pool->fd, LOCK_EX) < 0 || !os_huge_pool(page_size, &now)) {
        return false;
    }
    pool->page_size = page_size;
    pool->before = now.total;
    huge_pool_set(page_size, now.total - now.free + now.reserved + n);
    if (os_huge_pool(page_size, &now) && now.free - now.reserved == n && now.overcommit == 0) {
        return true;
    }
    huge_pool_close(pool);
    return false;
}

#endif

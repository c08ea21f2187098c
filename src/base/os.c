// SPDX-License-Identifier: MIT
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

uint64_t os_page_size(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

int os_duplicate(int fd)
{
    int rc = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return rc < 0 ? -errno : rc;
}

void os_close(int fd)
{
    close(fd);
}

void os_event_set(int fd)
{
    const uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one); /* if its counter is full it is set already */
    (void)written;
}

static int membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0) < 0 ? -errno : 0;
}

int os_barrier_prepare(void)
{
    return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
}

void os_barrier(void)
{
    (void)membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED); /* cannot fail once prepared */
}

/*
 * One 64-bit entry for each page: bit 63 present, bit 62 swapped, bits 0-54 the frame number, which reads as 0
 * without CAP_SYS_ADMIN (Linux, "Examining Process Page Tables").
 */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_FRAME_MASK ((UINT64_C(1) << 55) - 1)

enum os_hpa_result os_hpa_of(hva_t hva, hpa_t *ret)
{
    uint64_t page_size = os_page_size();
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == EACCES || errno == EPERM ? OS_HPA_NO_PERMISSION : OS_HPA_NO_PAGEMAP;
    }
    uint64_t entry = 0;
    ssize_t n = pread(fd, &entry, sizeof entry, (off_t)(hva.raw / page_size * sizeof entry));
    close(fd);
    if (n != (ssize_t)sizeof entry) {
        return OS_HPA_NO_PAGEMAP;
    }
    if (!(entry & PAGEMAP_PRESENT)) {
        return OS_HPA_NOT_PRESENT;
    }
    uint64_t frame = entry & PAGEMAP_FRAME_MASK;
    if (frame == 0) {
        return OS_HPA_NO_PERMISSION;
    }
    *ret = mv_hpa(frame * page_size + hva.raw % page_size);
    return OS_HPA_OK;
}

const char *os_hpa_result_name(enum os_hpa_result result)
{
    switch (result) {
    case OS_HPA_OK: return NULL;
    case OS_HPA_NOT_PRESENT: return "not-present";
    case OS_HPA_NO_PERMISSION: return "no-permission";
    case OS_HPA_NO_PAGEMAP: return "no-pagemap";
    }
    return NULL;
}

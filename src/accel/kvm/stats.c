// SPDX-License-Identifier: MIT
/*
 * The descriptor of a statistics file begins with a header that says where in the file are `num_desc` descriptors
 * and the block of 64-bit values; each descriptor has its name behind it, in `name_size` bytes.
 */
#include "accel/kvm/stats.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "accel/kvm/internal.h"
#include "base/error.h"

/* Far more than any kernel has: a limit on what its header makes us allocate. */
#define DESCRIPTORS_MAX 4096
#define NAME_SIZE_MAX 1024

static size_t descriptor_size(const struct kvm_stats *stats)
{
    return sizeof(struct kvm_stats_desc) + stats->name_size;
}

static bool read_exactly(int fd, void *to, size_t size, uint32_t offset)
{
    return pread(fd, to, size, (off_t)offset) == (ssize_t)size;
}

static int read_descriptors(struct kvm_stats *stats)
{
    struct kvm_stats_header header;
    if (!read_exactly(stats->fd, &header, sizeof header, 0) || header.num_desc > DESCRIPTORS_MAX ||
        header.name_size == 0 || header.name_size > NAME_SIZE_MAX) {
        return -EIO;
    }
    stats->count = header.num_desc;
    stats->name_size = header.name_size;
    stats->data_offset = header.data_offset;
    size_t size = stats->count * descriptor_size(stats);
    stats->descriptors = malloc(size);
    if (!stats->descriptors) {
        return -ENOMEM;
    }
    if (!read_exactly(stats->fd, stats->descriptors, size, header.desc_offset)) {
        return -EIO;
    }
    for (uint32_t i = 0; i < stats->count; i++) {
        stats->descriptors[(i + 1) * descriptor_size(stats) - 1] = '\0'; /* names end, whatever the kernel says */
    }
    return 0;
}

int kvm_stats_open(struct kvm_stats *stats, int fd)
{
    *stats = KVM_STATS_NONE;
    stats->fd = ioctl(fd, KVM_GET_STATS_FD, 0UL);
    if (stats->fd < 0) {
        return errno == ENOTTY || errno == EINVAL ? 0
                                                  : error_errno(); /* what kernels say to ioctls that they lack */
    }
    int rc = read_descriptors(stats);
    if (rc < 0) {
        kvm_stats_close(stats);
    }
    return rc;
}

void kvm_stats_close(struct kvm_stats *stats)
{
    if (stats->fd >= 0) {
        close(stats->fd);
    }
    free(stats->descriptors);
    *stats = KVM_STATS_NONE;
}

void kvm_stats_read(const struct kvm_stats *stats, accel_counter_fn *each, void *opaque)
{
    for (uint32_t i = 0; stats->fd >= 0 && i < stats->count; i++) {
        const unsigned char *at = stats->descriptors + i * descriptor_size(stats);
        struct kvm_stats_desc descriptor;
        memcpy(&descriptor, at, sizeof descriptor);
        uint64_t value;
        if (descriptor.size == 1 &&
            read_exactly(stats->fd, &value, sizeof value, stats->data_offset + descriptor.offset)) {
            each(opaque, (const char *)at + sizeof descriptor, value);
        }
    }
}

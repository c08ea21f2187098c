// SPDX-License-Identifier: MIT
/* For the unit tests of devices: a machine whose one space shows one device at 0. */
#ifndef DEV_DEV_TEST_H
#define DEV_DEV_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <memvirt/space.h>

struct rig {
    struct mv_machine *machine;
    struct mv_region *device; /* borrowed: the space keeps it */
    struct mv_space *space;
};

static inline void rig_open(struct rig *rig)
{
    struct mv_error err;
    *rig = (struct rig){0};
    assert_int_equal(mv_machine_create(&rig->machine, &err), 0);
}

/* Takes over the caller's reference. */
static inline void rig_show(struct rig *rig, struct mv_region *device)
{
    struct mv_error err;
    assert_int_equal(mv_space_create(rig->machine, "test", device, &rig->space, &err), 0);
    rig->device = device;
    mv_region_put(device);
}

/* For devices of several regions: an empty I/O space of 64 KiB, to put them into. */
static inline struct mv_region *rig_ports(const struct rig *rig)
{
    const struct mv_region_options options = {.name = "io", .kind = MV_REGION_CONTAINER, .size_bytes = 0x10000};
    struct mv_region *ports;
    struct mv_error err;
    assert_int_equal(mv_region_create(rig->machine, &options, &ports, &err), 0);
    return ports;
}

/* Takes over the caller's reference. */
static inline void rig_place(struct mv_region *container, uint64_t offset, struct mv_region *region)
{
    struct mv_error err;
    assert_int_equal(mv_region_add(container, offset, region, 0, &err), 0);
    mv_region_put(region);
}

static inline void rig_close(struct rig *rig)
{
    mv_space_destroy(rig->space);
    mv_machine_destroy(rig->machine);
}

/* As vCPU `vcpu` would, -1 being the VMM itself. */
static inline struct mv_attrs rig_attrs(int vcpu)
{
    return (struct mv_attrs){.requester = (uint16_t)(vcpu + 1)};
}

static inline uint64_t rig_read_as(const struct rig *rig, int vcpu, uint64_t offset, unsigned size_bytes)
{
    uint64_t value = 0;
    assert_int_equal(mv_space_read(rig->space, mv_gpa(offset), &value, size_bytes, rig_attrs(vcpu)), MV_OK);
    return value;
}

static inline void rig_write_as(const struct rig *rig, int vcpu, uint64_t offset, unsigned size_bytes,
                                uint64_t value)
{
    assert_int_equal(mv_space_write(rig->space, mv_gpa(offset), &value, size_bytes, rig_attrs(vcpu)), MV_OK);
}

static inline uint64_t rig_read(const struct rig *rig, uint64_t offset, unsigned size_bytes)
{
    return rig_read_as(rig, 0, offset, size_bytes);
}

static inline void rig_write(const struct rig *rig, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    rig_write_as(rig, 0, offset, size_bytes, value);
}

/* A sink that keeps what comes. */
struct kept {
    char bytes[64];
    size_t length;
};

static inline void kept_write(void *opaque, const void *bytes, size_t length)
{
    struct kept *kept = opaque;
    assert_true(length <= sizeof kept->bytes - kept->length);
    memcpy(kept->bytes + kept->length, bytes, length);
    kept->length += length;
}

static inline void assert_kept(const struct kept *kept, const char *text)
{
    assert_int_equal(kept->length, strlen(text));
    assert_memory_equal(kept->bytes, text, kept->length);
}

#endif

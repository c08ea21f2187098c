// SPDX-License-Identifier: MIT
#include "dev/pic.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/error.h"
#include "dev/parts.h"

/* 8259A data sheet, "Initialization Command Words". */
#define ICW1 0x10 /* in a command: it is ICW1 */
#define ICW1_NEEDS_ICW4 0x01
#define ICW1_SINGLE 0x02

/* Owned by its regions: freed with the last. `lock` protects everything but elcr_mask. */
struct pic {
    struct parts parts;
    uint8_t elcr_mask;
    pthread_mutex_t lock;
    uint8_t icw1;
    unsigned next_icw; /* 2 to 4: what the next data byte is; 0: the mask */
    uint8_t mask;
    uint8_t elcr;
};

static enum mv_result pic_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                               struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct pic *pic = opaque;
    pthread_mutex_lock(&pic->lock);
    *ret_value = offset == 0 ? 0 : pic->mask;
    pthread_mutex_unlock(&pic->lock);
    return MV_OK;
}

/* After ICW2 comes ICW3 unless there is one controller only, then ICW4 if ICW1 asked for it. */
static unsigned icw_after(const struct pic *pic, unsigned icw)
{
    if (icw == 2 && !(pic->icw1 & ICW1_SINGLE)) {
        return 3;
    }
    return icw < 4 && (pic->icw1 & ICW1_NEEDS_ICW4) ? 4 : 0;
}

static enum mv_result pic_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct pic *pic = opaque;
    pthread_mutex_lock(&pic->lock);
    if (offset == 0 && (value & ICW1)) {
        pic->icw1 = (uint8_t)value;
        pic->next_icw = 2;
        pic->mask = 0;
    } else if (offset == 1 && pic->next_icw != 0) {
        pic->next_icw = icw_after(pic, pic->next_icw);
    } else if (offset == 1) {
        pic->mask = (uint8_t)value;
    }
    pthread_mutex_unlock(&pic->lock);
    return MV_OK; /* OCW2 and OCW3 are about interrupts */
}

static enum mv_result elcr_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    struct pic *pic = opaque;
    pthread_mutex_lock(&pic->lock);
    *ret_value = pic->elcr;
    pthread_mutex_unlock(&pic->lock);
    return MV_OK;
}

static enum mv_result elcr_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                 struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    struct pic *pic = opaque;
    pthread_mutex_lock(&pic->lock);
    pic->elcr = (uint8_t)(value & pic->elcr_mask);
    pthread_mutex_unlock(&pic->lock);
    return MV_OK;
}

static const struct mv_mmio_ops pic_ops = {
    .read = pic_read,
    .write = pic_write,
    .valid = {.min_bytes = 1, .max_bytes = 4, .unaligned = true},
    .impl = {.min_bytes = 1, .max_bytes = 1},
};

static const struct mv_mmio_ops elcr_ops = {
    .read = elcr_read,
    .write = elcr_write,
    .valid = {.min_bytes = 1, .max_bytes = 4, .unaligned = true},
    .impl = {.min_bytes = 1, .max_bytes = 1},
};

static void pic_release(void *opaque)
{
    struct pic *pic = opaque;
    if (parts_drop(&pic->parts)) {
        pthread_mutex_destroy(&pic->lock);
        free(pic);
    }
}

static int add_region(struct pic *pic, struct mv_machine *machine, struct mv_region_options options,
                      struct mv_region **ret, struct mv_error *err)
{
    options.kind = MV_REGION_MMIO;
    options.opaque = pic;
    options.release = pic_release;
    parts_take(&pic->parts);
    int rc = mv_region_create(machine, &options, ret, err);
    if (rc < 0) {
        pic_release(pic);
    }
    return rc;
}

int pic_create(struct mv_machine *machine, uint8_t elcr_mask, struct mv_region **ret_pic,
               struct mv_region **ret_elcr, struct mv_error *err)
{
    const struct mv_region_options controller = {.name = "pic", .size_bytes = PIC_PORTS, .ops = &pic_ops};
    const struct mv_region_options elcr = {.name = "elcr", .size_bytes = PIC_ELCR_PORTS, .ops = &elcr_ops};
    struct pic *pic = calloc(1, sizeof *pic);
    if (!pic) {
        return error_host(err, -ENOMEM, "pic", "pic: cannot make the device");
    }
    parts_init(&pic->parts);
    pthread_mutex_init(&pic->lock, NULL);
    pic->elcr_mask = elcr_mask;
    struct mv_region *first = NULL;
    int rc = add_region(pic, machine, controller, &first, err);
    if (rc == 0) {
        rc = add_region(pic, machine, elcr, ret_elcr, err);
    }
    if (rc == 0) {
        *ret_pic = first;
    } else {
        mv_region_put(first);
    }
    pic_release(pic);
    return rc;
}

// SPDX-License-Identifier: MIT
#include "dev/fw_cfg.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define OFFSET_SELECTOR 0
#define OFFSET_DATA 1
#define ID_TRADITIONAL 0x01 /* selector and data port */
#define ID_DMA 0x02

/* The directory, all big-endian: how many files there are, then of each size, key, nothing, and the name. */
#define DIRECTORY_COUNT_BYTES 4
#define ENTRY_BYTES 64
#define ENTRY_KEY 4
#define ENTRY_NAME 8

struct item {
    uint16_t key;
    size_t length;
    uint8_t *bytes;
};

/*
 * Owned by its region: freed in release. `lock` protects everything.
 * Invariants: the keys in items are distinct; position <= length of the selected item, 0 when there is none.
 */
struct fw_cfg {
    pthread_mutex_t lock;
    struct item *items;
    size_t item_count;
    uint16_t file_count;
    uint16_t selected;
    size_t position;
};

static struct item *item_lookup(const struct fw_cfg *fw_cfg, uint16_t key)
{
    for (size_t i = 0; i < fw_cfg->item_count; i++) {
        if (fw_cfg->items[i].key == key) {
            return &fw_cfg->items[i];
        }
    }
    return NULL;
}

static uint8_t next_byte(struct fw_cfg *fw_cfg)
{
    const struct item *item = item_lookup(fw_cfg, fw_cfg->selected);
    return item && fw_cfg->position < item->length ? item->bytes[fw_cfg->position++] : 0;
}

static void item_select(struct fw_cfg *fw_cfg, uint16_t key)
{
    fw_cfg->selected = key;
    fw_cfg->position = 0;
}

static enum mv_result fw_cfg_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                  struct mv_attrs attrs)
{
    (void)attrs;
    struct fw_cfg *fw_cfg = opaque;
    if (offset != OFFSET_DATA) {
        *ret_value = UINT64_MAX; /* nothing can be read there */
        return MV_OK;
    }
    uint64_t value = 0;
    pthread_mutex_lock(&fw_cfg->lock);
    for (unsigned i = 0; i < size_bytes; i++) {
        value |= (uint64_t)next_byte(fw_cfg) << (8 * i);
    }
    pthread_mutex_unlock(&fw_cfg->lock);
    *ret_value = value;
    return MV_OK;
}

static enum mv_result fw_cfg_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                   struct mv_attrs attrs)
{
    (void)attrs;
    struct fw_cfg *fw_cfg = opaque;
    if (offset == OFFSET_SELECTOR && size_bytes == 2) {
        pthread_mutex_lock(&fw_cfg->lock);
        item_select(fw_cfg, (uint16_t)value);
        pthread_mutex_unlock(&fw_cfg->lock);
    }
    return MV_OK; /* items cannot be written */
}

/*
 * The data port is at an odd address and each read of it moves the position: accesses must arrive as the guest
 * made them, neither split nor widened.
 */
static const struct mv_mmio_ops fw_cfg_ops = {
    .read = fw_cfg_read,
    .write = fw_cfg_write,
    .valid = {.min_bytes = 1, .max_bytes = 4, .unaligned = true},
    .impl = {.min_bytes = 1, .max_bytes = 4, .unaligned = true},
};

static void fw_cfg_release(void *opaque)
{
    struct fw_cfg *fw_cfg = opaque;
    for (size_t i = 0; i < fw_cfg->item_count; i++) {
        free(fw_cfg->items[i].bytes);
    }
    free(fw_cfg->items);
    pthread_mutex_destroy(&fw_cfg->lock);
    free(fw_cfg);
}

static int no_memory(struct mv_error *err)
{
    return error_host(err, -ENOMEM, "fw_cfg", "fw_cfg: cannot make the device");
}

/* The caller has the lock, or the device to itself. */
static int item_add(struct fw_cfg *fw_cfg, uint16_t key, const void *bytes, size_t length, struct mv_error *err)
{
    if (item_lookup(fw_cfg, key)) {
        return error_set(err, -EEXIST, "duplicate", "fw_cfg", "fw_cfg: there is an item 0x%04x already", key);
    }
    struct item *grown = reallocarray(fw_cfg->items, fw_cfg->item_count + 1, sizeof *grown);
    if (!grown) {
        return no_memory(err);
    }
    fw_cfg->items = grown;
    uint8_t *copy = malloc(length > 0 ? length : 1);
    if (!copy) {
        return no_memory(err);
    }
    if (length > 0) {
        memcpy(copy, bytes, length);
    }
    fw_cfg->items[fw_cfg->item_count++] = (struct item){.key = key, .length = length, .bytes = copy};
    return 0;
}

static int add_own_items(struct fw_cfg *fw_cfg, struct mv_error *err)
{
    static const uint8_t id[4] = {ID_TRADITIONAL};
    int rc = item_add(fw_cfg, FW_CFG_SIGNATURE, "QEMU", 4, err);
    if (rc == 0) {
        rc = item_add(fw_cfg, FW_CFG_ID, id, sizeof id, err);
    }
    static const uint8_t no_files[DIRECTORY_COUNT_BYTES];
    return rc < 0 ? rc : item_add(fw_cfg, FW_CFG_DIRECTORY, no_files, sizeof no_files, err);
}

int fw_cfg_create(struct mv_machine *machine, const char *name, struct mv_region **ret, struct mv_error *err)
{
    struct fw_cfg *fw_cfg = calloc(1, sizeof *fw_cfg);
    if (!fw_cfg) {
        return no_memory(err);
    }
    pthread_mutex_init(&fw_cfg->lock, NULL);
    int rc = add_own_items(fw_cfg, err);
    if (rc == 0) {
        const struct mv_region_options options = {
            .name = name,
            .kind = MV_REGION_MMIO,
            .size_bytes = FW_CFG_PORTS,
            .ops = &fw_cfg_ops,
            .opaque = fw_cfg,
            .release = fw_cfg_release,
        };
        rc = mv_region_create(machine, &options, ret, err);
    }
    if (rc < 0) {
        fw_cfg_release(fw_cfg);
    }
    return rc;
}

int fw_cfg_add(struct mv_region *region, uint16_t key, const void *bytes, size_t length, struct mv_error *err)
{
    struct fw_cfg *fw_cfg = mv_region_opaque(region);
    pthread_mutex_lock(&fw_cfg->lock);
    int rc = item_add(fw_cfg, key, bytes, length, err);
    pthread_mutex_unlock(&fw_cfg->lock);
    return rc;
}

static void put_big_endian(uint8_t *bytes, uint64_t value, unsigned length)
{
    for (unsigned i = 0; i < length; i++) {
        bytes[i] = (uint8_t)(value >> (8 * (length - 1 - i)));
    }
}

/* `lock` held. Makes room in the directory first: what is there can be filled in without failing. */
static int file_add(struct fw_cfg *fw_cfg, const char *name, const void *bytes, size_t length,
                    struct mv_error *err)
{
    struct item *directory = item_lookup(fw_cfg, FW_CFG_DIRECTORY);
    uint8_t *grown = realloc(directory->bytes, directory->length + ENTRY_BYTES);
    if (!grown) {
        return no_memory(err);
    }
    directory->bytes = grown;
    const uint16_t key = (uint16_t)(FW_CFG_FIRST_FILE + fw_cfg->file_count);
    int rc = item_add(fw_cfg, key, bytes, length, err);
    if (rc < 0) {
        return rc;
    }
    directory = item_lookup(fw_cfg, FW_CFG_DIRECTORY); /* the items may have moved */
    uint8_t *entry = directory->bytes + directory->length;
    memset(entry, 0, ENTRY_BYTES);
    put_big_endian(entry, length, 4);
    put_big_endian(entry + ENTRY_KEY, key, 2);
    memcpy(entry + ENTRY_NAME, name, strlen(name));
    directory->length += ENTRY_BYTES;
    put_big_endian(directory->bytes, ++fw_cfg->file_count, DIRECTORY_COUNT_BYTES);
    return 0;
}

int fw_cfg_add_file(struct mv_region *region, const char *name, const void *bytes, size_t length,
                    struct mv_error *err)
{
    struct fw_cfg *fw_cfg = mv_region_opaque(region);
    if (strlen(name) > FW_CFG_NAME_MAX) {
        return error_set(err, -EINVAL, "bad-name", "fw_cfg", "fw_cfg: the name of a file has at most %d bytes: %s",
                         FW_CFG_NAME_MAX, name);
    }
    pthread_mutex_lock(&fw_cfg->lock);
    int rc = file_add(fw_cfg, name, bytes, length, err);
    pthread_mutex_unlock(&fw_cfg->lock);
    return rc;
}

void fw_cfg_select(struct mv_region *region, uint16_t key)
{
    struct fw_cfg *fw_cfg = mv_region_opaque(region);
    pthread_mutex_lock(&fw_cfg->lock);
    item_select(fw_cfg, key);
    pthread_mutex_unlock(&fw_cfg->lock);
}

void fw_cfg_take(struct mv_region *region, uint8_t *ret_bytes, size_t length)
{
    struct fw_cfg *fw_cfg = mv_region_opaque(region);
    pthread_mutex_lock(&fw_cfg->lock);
    for (size_t i = 0; i < length; i++) {
        ret_bytes[i] = next_byte(fw_cfg);
    }
    pthread_mutex_unlock(&fw_cfg->lock);
}

void fw_cfg_skip(struct mv_region *region, size_t length)
{
    struct fw_cfg *fw_cfg = mv_region_opaque(region);
    pthread_mutex_lock(&fw_cfg->lock);
    const struct item *item = item_lookup(fw_cfg, fw_cfg->selected);
    if (item) {
        const size_t rest = item->length - fw_cfg->position;
        fw_cfg->position += length < rest ? length : rest;
    }
    pthread_mutex_unlock(&fw_cfg->lock);
}

void fw_cfg_say_dma(struct mv_region *region)
{
    struct fw_cfg *fw_cfg = mv_region_opaque(region);
    pthread_mutex_lock(&fw_cfg->lock);
    item_lookup(fw_cfg, FW_CFG_ID)->bytes[0] |= ID_DMA;
    pthread_mutex_unlock(&fw_cfg->lock);
}

static int add_number(struct mv_region *region, uint16_t key, uint64_t value, size_t length, struct mv_error *err)
{
    uint8_t bytes[8];
    assert(length <= sizeof bytes);
    for (size_t i = 0; i < length; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
    return fw_cfg_add(region, key, bytes, length, err);
}

int fw_cfg_add_u16(struct mv_region *region, uint16_t key, uint16_t value, struct mv_error *err)
{
    return add_number(region, key, value, sizeof value, err);
}

int fw_cfg_add_u64(struct mv_region *region, uint16_t key, uint64_t value, struct mv_error *err)
{
    return add_number(region, key, value, sizeof value, err);
}

// SPDX-License-Identifier: MIT
#include "dev/fw_cfg_dma.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/error.h"
#include "dev/fw_cfg.h"

#define SIGNATURE UINT64_C(0x51454d5520434647) /* "QEMU CFG" */
#define OFFSET_LOW 4

/* A request: control, length and address, all big-endian. */
#define REQUEST_BYTES 16
#define REQUEST_LENGTH 4
#define REQUEST_ADDRESS 8
#define CONTROL_BYTES 4

#define CONTROL_ERROR UINT32_C(0x01)
#define CONTROL_READ UINT32_C(0x02)
#define CONTROL_SKIP UINT32_C(0x04)
#define CONTROL_SELECT UINT32_C(0x08)
#define CONTROL_WRITE UINT32_C(0x10)
#define CONTROL_KEY_SHIFT 16

#define CHUNK_BYTES 4096

/*
 * Owned by its region: freed in release. `lock` protects the address and `memory`; it is not held over accesses to
 * guest memory.
 */
struct fw_cfg_dma {
    struct mv_region *fw_cfg; /* a reference */
    pthread_mutex_t lock;
    struct mv_space *memory; /* borrowed; NULL: not connected */
    uint32_t address_high;
};

/* What the guest asks for, checked for nothing. */
struct request {
    uint32_t control;
    uint32_t length;
    uint64_t address;
};

static uint64_t get_big_endian(const uint8_t *bytes, unsigned length)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < length; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

/* --- requests ---------------------------------------------------------------------------------- */

/* Beyond the item's end there are zeroes, as at the data port. */
static bool copy_item(struct fw_cfg_dma *dma, struct mv_space *memory, const struct request *request,
                      struct mv_attrs attrs)
{
    uint8_t chunk[CHUNK_BYTES];
    unsigned result = MV_OK;
    for (uint32_t done = 0; done < request->length && result == MV_OK;) {
        const uint32_t rest = request->length - done;
        const uint32_t now = rest < CHUNK_BYTES ? rest : CHUNK_BYTES;
        fw_cfg_take(dma->fw_cfg, chunk, now);
        result = mv_space_write(memory, mv_gpa(request->address + done), chunk, now, attrs);
        done += now;
    }
    return result == MV_OK;
}

/* @return whether it went well */
static bool carry_out(struct fw_cfg_dma *dma, struct mv_space *memory, const struct request *request,
                      struct mv_attrs attrs)
{
    if (request->control & CONTROL_SELECT) {
        fw_cfg_select(dma->fw_cfg, (uint16_t)(request->control >> CONTROL_KEY_SHIFT));
    }
    if (request->control & CONTROL_READ) {
        return copy_item(dma, memory, request, attrs);
    }
    if (request->control & CONTROL_WRITE) {
        return false;
    }
    if (request->control & CONTROL_SKIP) {
        fw_cfg_skip(dma->fw_cfg, request->length);
    }
    return true;
}

/* The control word is the answer: 0, or the error bit. */
static void serve(struct fw_cfg_dma *dma, struct mv_space *memory, uint64_t at, struct mv_attrs attrs)
{
    uint8_t bytes[REQUEST_BYTES];
    bool good = mv_space_read(memory, mv_gpa(at), bytes, sizeof bytes, attrs) == MV_OK;
    if (good) {
        const struct request request = {
            .control = (uint32_t)get_big_endian(bytes, CONTROL_BYTES),
            .length = (uint32_t)get_big_endian(bytes + REQUEST_LENGTH, 4),
            .address = get_big_endian(bytes + REQUEST_ADDRESS, 8),
        };
        good = carry_out(dma, memory, &request, attrs);
    }
    const uint8_t answer[CONTROL_BYTES] = {[CONTROL_BYTES - 1] = good ? 0 : CONTROL_ERROR};
    (void)mv_space_write(memory, mv_gpa(at), answer, sizeof answer, attrs); /* there is nobody else to tell */
}

/* --- ports ------------------------------------------------------------------------------------- */

static enum mv_result dma_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                               struct mv_attrs attrs)
{
    (void)opaque;
    (void)attrs;
    *ret_value = SIGNATURE >> (8 * (FW_CFG_DMA_PORTS - offset - size_bytes));
    return MV_OK;
}

static enum mv_result dma_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                struct mv_attrs attrs)
{
    struct fw_cfg_dma *dma = opaque;
    pthread_mutex_lock(&dma->lock);
    struct mv_space *memory = dma->memory;
    uint64_t at = value;
    if (size_bytes == 4) {
        at = (uint64_t)dma->address_high << 32 | value;
        dma->address_high = offset == OFFSET_LOW ? 0 : (uint32_t)value;
    }
    pthread_mutex_unlock(&dma->lock);
    if (memory && (size_bytes == 8 || offset == OFFSET_LOW)) {
        serve(dma, memory, at, attrs);
    }
    return MV_OK;
}

static const struct mv_mmio_ops dma_ops = {
    .read = dma_read,
    .write = dma_write,
    .valid = {.min_bytes = 1, .max_bytes = 8},
    .impl = {.min_bytes = 4, .max_bytes = 8},
    .endian = MV_ENDIAN_BIG,
};

/* --- life -------------------------------------------------------------------------------------- */

static void dma_release(void *opaque)
{
    struct fw_cfg_dma *dma = opaque;
    mv_region_put(dma->fw_cfg);
    pthread_mutex_destroy(&dma->lock);
    free(dma);
}

int fw_cfg_dma_create(struct mv_machine *machine, const char *name, struct mv_region *fw_cfg,
                      struct mv_region **ret, struct mv_error *err)
{
    struct fw_cfg_dma *dma = calloc(1, sizeof *dma);
    if (!dma) {
        return error_host(err, -ENOMEM, "fw_cfg", "fw_cfg: cannot make its DMA");
    }
    dma->fw_cfg = mv_region_get(fw_cfg);
    pthread_mutex_init(&dma->lock, NULL);
    const struct mv_region_options options = {
        .name = name,
        .kind = MV_REGION_MMIO,
        .size_bytes = FW_CFG_DMA_PORTS,
        .ops = &dma_ops,
        .opaque = dma,
        .release = dma_release,
    };
    int rc = mv_region_create(machine, &options, ret, err);
    if (rc < 0) {
        dma_release(dma);
        return rc;
    }
    fw_cfg_say_dma(fw_cfg);
    return 0;
}

void fw_cfg_dma_connect(struct mv_region *region, struct mv_space *memory)
{
    struct fw_cfg_dma *dma = mv_region_opaque(region);
    pthread_mutex_lock(&dma->lock);
    dma->memory = memory;
    pthread_mutex_unlock(&dma->lock);
}

// SPDX-License-Identifier: MIT
#include "dev/apic.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/error.h"

/* Intel SDM volume 3, "Local APIC Register Address Map": one 32-bit register at the start of every 16 bytes. */
#define REGISTER_SPACING 0x10
#define REGISTER_COUNT 0x40 /* the map ends at 0x3ff; the rest of the page is reserved */

enum {
    REG_ID = 0x02,
    REG_VERSION = 0x03,
    REG_TPR = 0x08,
    REG_PPR = 0x0a,
    REG_EOI = 0x0b,
    REG_LDR = 0x0d,
    REG_DFR = 0x0e,
    REG_SPIV = 0x0f,
    REG_LVT_CMCI = 0x2f,
    REG_ICR_LOW = 0x30,
    REG_ICR_HIGH = 0x31,
    REG_LVT_FIRST = 0x32,
    REG_LVT_LAST = 0x37,
    REG_TMICT = 0x38,
    REG_TDCR = 0x3e,
};

#define ID_SHIFT 24
#define VERSION_VALUE UINT32_C(0x00050014) /* version 0x14, six LVT entries */
#define DFR_FLAT UINT32_C(0xffffffff)
#define SPIV_RESET UINT32_C(0xff)
#define LVT_MASKED (UINT32_C(1) << 16)

/* SDM, "Interrupt Command Register (ICR)". */
#define ICR_VECTOR UINT32_C(0xff)
#define ICR_MODE_SHIFT 8
#define ICR_MODE_MASK UINT32_C(7)
#define ICR_LOGICAL (UINT32_C(1) << 11)
#define ICR_PENDING (UINT32_C(1) << 12)
#define ICR_LEVEL_ASSERT (UINT32_C(1) << 14)
#define ICR_TRIGGER_LEVEL (UINT32_C(1) << 15)
#define ICR_SHORTHAND_SHIFT 18
#define ICR_SHORTHAND_MASK UINT32_C(3)
#define ICR_BROADCAST 0xff

enum delivery_mode {
    MODE_INIT = 5,
    MODE_STARTUP = 6,
};

enum shorthand {
    SHORTHAND_NONE = 0,
    SHORTHAND_SELF = 1,
    SHORTHAND_ALL = 2,
    SHORTHAND_OTHERS = 3,
};

struct registers {
    uint32_t at[REGISTER_COUNT];
};

/* Owned by its region: freed in release. `lock` protects the registers and the count; `options` never changes. */
struct apic {
    struct apic_options options;
    pthread_mutex_t lock;
    uint64_t ignored_ipis;
    struct registers vcpus[]; /* options.vcpus of them */
};

static void registers_reset(struct registers *registers)
{
    registers->at[REG_DFR] = DFR_FLAT;
    registers->at[REG_SPIV] = SPIV_RESET;
    registers->at[REG_LVT_CMCI] = LVT_MASKED;
    for (unsigned reg = REG_LVT_FIRST; reg <= REG_LVT_LAST; reg++) {
        registers->at[reg] = LVT_MASKED;
    }
}

/* The VMM itself looks through the eyes of vCPU 0. False when there is no such vCPU. */
static bool vcpu_of(const struct apic *apic, struct mv_attrs attrs, unsigned *ret)
{
    unsigned vcpu = attrs.requester == 0 ? 0 : attrs.requester - 1U;
    if (vcpu >= apic->options.vcpus) {
        return false;
    }
    *ret = vcpu;
    return true;
}

static bool is_storage(uint64_t reg)
{
    switch (reg) {
    case REG_TPR:
    case REG_LDR:
    case REG_DFR:
    case REG_SPIV:
    case REG_LVT_CMCI:
    case REG_ICR_LOW:
    case REG_ICR_HIGH:
    case REG_TMICT:
    case REG_TDCR: return true;
    default: return reg >= REG_LVT_FIRST && reg <= REG_LVT_LAST;
    }
}

static uint32_t register_value(const struct apic *apic, unsigned vcpu, uint64_t reg)
{
    const struct registers *registers = &apic->vcpus[vcpu];
    switch (reg) {
    case REG_ID: return (uint32_t)vcpu << ID_SHIFT;
    case REG_VERSION: return VERSION_VALUE;
    case REG_PPR: return registers->at[REG_TPR]; /* nothing is ever in service */
    default: return is_storage(reg) ? registers->at[reg] : 0;
    }
}

static enum mv_result apic_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                struct mv_attrs attrs)
{
    (void)size_bytes;
    struct apic *apic = opaque;
    unsigned vcpu;
    if (offset % REGISTER_SPACING != 0 || !vcpu_of(apic, attrs, &vcpu)) {
        *ret_value = 0;
        return MV_OK;
    }
    pthread_mutex_lock(&apic->lock);
    *ret_value = register_value(apic, vcpu, offset / REGISTER_SPACING);
    pthread_mutex_unlock(&apic->lock);
    return MV_OK;
}

/* An IPI as the ICR describes it. */
struct ipi {
    unsigned sender;
    uint32_t low;
    uint32_t high;
};

static unsigned ipi_mode(const struct ipi *ipi)
{
    return ipi->low >> ICR_MODE_SHIFT & ICR_MODE_MASK;
}

static bool ipi_is_for(const struct ipi *ipi, unsigned vcpu)
{
    switch ((enum shorthand)(ipi->low >> ICR_SHORTHAND_SHIFT & ICR_SHORTHAND_MASK)) {
    case SHORTHAND_SELF: return vcpu == ipi->sender;
    case SHORTHAND_ALL: return true;
    case SHORTHAND_OTHERS: return vcpu != ipi->sender;
    case SHORTHAND_NONE: break;
    }
    const unsigned destination = ipi->high >> ID_SHIFT;
    return destination == ICR_BROADCAST || destination == vcpu;
}

/* A destination shorthand overrides the destination mode. */
static bool ipi_is_known(const struct ipi *ipi)
{
    const bool shorthand = ipi->low >> ICR_SHORTHAND_SHIFT & ICR_SHORTHAND_MASK;
    return (ipi_mode(ipi) == MODE_INIT || ipi_mode(ipi) == MODE_STARTUP) &&
           (shorthand || !(ipi->low & ICR_LOGICAL));
}

/* INIT with a level trigger that is not asserted sets arbitration IDs, which this APIC does not have. */
static bool ipi_is_deassert(const struct ipi *ipi)
{
    return ipi_mode(ipi) == MODE_INIT && (ipi->low & ICR_TRIGGER_LEVEL) && !(ipi->low & ICR_LEVEL_ASSERT);
}

static void ipi_send(const struct apic *apic, const struct ipi *ipi)
{
    const struct apic_options *options = &apic->options;
    for (unsigned vcpu = 0; vcpu < options->vcpus; vcpu++) {
        if (!ipi_is_for(ipi, vcpu)) {
            continue;
        }
        if (ipi_mode(ipi) == MODE_INIT) {
            options->init(options->opaque, vcpu);
        } else {
            options->startup(options->opaque, vcpu, (uint8_t)(ipi->low & ICR_VECTOR));
        }
    }
}

static enum mv_result apic_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                 struct mv_attrs attrs)
{
    (void)size_bytes;
    struct apic *apic = opaque;
    const uint64_t reg = offset / REGISTER_SPACING;
    unsigned vcpu;
    if (offset % REGISTER_SPACING != 0 || !is_storage(reg) || !vcpu_of(apic, attrs, &vcpu)) {
        return MV_OK;
    }
    struct registers *registers = &apic->vcpus[vcpu];
    pthread_mutex_lock(&apic->lock);
    /* An IPI is delivered before its write returns, so the guest never finds one pending. */
    registers->at[reg] = (uint32_t)value & ~(reg == REG_ICR_LOW ? ICR_PENDING : 0U);
    const struct ipi ipi = {vcpu, registers->at[REG_ICR_LOW], registers->at[REG_ICR_HIGH]};
    const bool send = reg == REG_ICR_LOW && ipi_is_known(&ipi);
    if (reg == REG_ICR_LOW && !send) {
        apic->ignored_ipis++;
    }
    pthread_mutex_unlock(&apic->lock);
    if (send && !ipi_is_deassert(&ipi)) {
        ipi_send(apic, &ipi);
    }
    return MV_OK;
}

/* Software must use 32-bit accesses (SDM, "The Local APIC Block Diagram"). */
static const struct mv_mmio_ops apic_ops = {
    .read = apic_read,
    .write = apic_write,
    .valid = {.min_bytes = 4, .max_bytes = 4},
    .impl = {.min_bytes = 4, .max_bytes = 4},
};

static void apic_release(void *opaque)
{
    struct apic *apic = opaque;
    pthread_mutex_destroy(&apic->lock);
    free(apic);
}

int apic_create(struct mv_machine *machine, const struct apic_options *options, struct mv_region **ret,
                struct mv_error *err)
{
    assert(options->size_bytes >= APIC_SIZE);
    assert(options->vcpus >= 1 && options->vcpus <= APIC_MAX_VCPUS);
    struct apic *apic = calloc(1, sizeof *apic + options->vcpus * sizeof apic->vcpus[0]);
    if (!apic) {
        return error_host(err, -ENOMEM, "apic", "apic: cannot make the device");
    }
    apic->options = *options;
    for (unsigned vcpu = 0; vcpu < options->vcpus; vcpu++) {
        registers_reset(&apic->vcpus[vcpu]);
    }
    pthread_mutex_init(&apic->lock, NULL);

    const struct mv_region_options region_options = {
        .name = options->name,
        .kind = MV_REGION_MMIO,
        .size_bytes = options->size_bytes,
        .ops = &apic_ops,
        .opaque = apic,
        .release = apic_release,
    };
    int rc = mv_region_create(machine, &region_options, ret, err);
    if (rc < 0) {
        apic_release(apic);
    }
    return rc;
}

uint64_t apic_ignored_ipis(struct mv_region *region)
{
    struct apic *apic = mv_region_opaque(region);
    pthread_mutex_lock(&apic->lock);
    uint64_t count = apic->ignored_ipis;
    pthread_mutex_unlock(&apic->lock);
    return count;
}

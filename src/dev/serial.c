// SPDX-License-Identifier: MIT
#include "dev/serial.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/error.h"

/* Register offsets and bits: PC16550D data sheet, "Registers". Offsets 0 and 1 are the divisor while LCR.DLAB is
 * set. */
enum {
    REG_DATA = 0, /* read: receiver buffer; write: transmitter holding */
    REG_IER = 1,
    REG_IIR = 2, /* read; a write goes to FCR */
    REG_LCR = 3,
    REG_MCR = 4,
    REG_LSR = 5,
    REG_MSR = 6,
    REG_SCR = 7,
};

#define IER_BITS 0x0f
#define IER_TRANSMITTER 0x02
#define IIR_NONE_PENDING 0x01
#define IIR_TRANSMITTER 0x02
#define IIR_FIFO_ENABLED 0xc0
#define FCR_FIFO_ENABLE 0x01
#define LCR_DLAB 0x80
#define LCR_8N1 0x03
#define MCR_BITS 0x1f
#define MCR_DTR 0x01
#define MCR_RTS 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOPBACK 0x10
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI 0x40
#define MSR_DCD 0x80

#define DIVISOR_9600_BAUD 12

/* Owned by its region: freed in release. `lock` protects the registers; `sink` never changes. */
struct serial {
    struct sink sink;
    pthread_mutex_t lock;
    uint8_t divisor_low;
    uint8_t divisor_high;
    uint8_t ier;
    bool transmitter_pending; /* empty, and IIR has not said so yet; IER decides whether it says so */
    uint8_t fcr;
    uint8_t lcr;
    uint8_t mcr;
    uint8_t scr;
};

/* In loopback the four modem inputs are wired to the four outputs, which is how drivers find out that a port is
 * there. */
static uint8_t modem_status(const struct serial *serial)
{
    if (!(serial->mcr & MCR_LOOPBACK)) {
        return MSR_CTS | MSR_DSR | MSR_DCD;
    }
    unsigned status = 0;
    status |= serial->mcr & MCR_RTS ? MSR_CTS : 0U;
    status |= serial->mcr & MCR_DTR ? MSR_DSR : 0U;
    status |= serial->mcr & MCR_OUT1 ? MSR_RI : 0U;
    status |= serial->mcr & MCR_OUT2 ? MSR_DCD : 0U;
    return (uint8_t)status;
}

static bool is_pending(const struct serial *serial)
{
    return serial->transmitter_pending && (serial->ier & IER_TRANSMITTER);
}

static uint8_t interrupt_id(const struct serial *serial)
{
    const unsigned fifo = serial->fcr & FCR_FIFO_ENABLE ? IIR_FIFO_ENABLED : 0U;
    return (uint8_t)(fifo | (is_pending(serial) ? IIR_TRANSMITTER : IIR_NONE_PENDING));
}

static uint8_t register_value(const struct serial *serial, uint64_t offset)
{
    const bool dlab = serial->lcr & LCR_DLAB;
    switch (offset) {
    case REG_DATA: return dlab ? serial->divisor_low : 0;
    case REG_IER: return dlab ? serial->divisor_high : serial->ier;
    case REG_IIR: return interrupt_id(serial);
    case REG_LCR: return serial->lcr;
    case REG_MCR: return serial->mcr;
    case REG_LSR: return LSR_THRE | LSR_TEMT;
    case REG_MSR: return modem_status(serial);
    case REG_SCR: return serial->scr;
    default: return 0;
    }
}

static enum mv_result serial_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                  struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct serial *serial = opaque;
    pthread_mutex_lock(&serial->lock);
    *ret_value = register_value(serial, offset);
    if (offset == REG_IIR && is_pending(serial)) {
        serial->transmitter_pending = false; /* now it has been said */
    }
    pthread_mutex_unlock(&serial->lock);
    return MV_OK;
}

/* Takes a byte into a register, or says true when it is one to print. */
static bool register_set(struct serial *serial, uint64_t offset, uint8_t byte)
{
    const bool dlab = serial->lcr & LCR_DLAB;
    switch (offset) {
    case REG_DATA:
        if (!dlab) {
            serial->transmitter_pending = true; /* the byte is out, and it is empty again */
            return !(serial->mcr & MCR_LOOPBACK);
        }
        serial->divisor_low = byte;
        break;
    case REG_IER:
        if (dlab) {
            serial->divisor_high = byte;
        } else {
            serial->transmitter_pending |= byte & ~serial->ier & IER_TRANSMITTER;
            serial->ier = byte & IER_BITS;
        }
        break;
    case REG_IIR: serial->fcr = byte; break;
    case REG_LCR: serial->lcr = byte; break;
    case REG_MCR: serial->mcr = byte & MCR_BITS; break;
    case REG_SCR: serial->scr = byte; break;
    default: break; /* LSR and MSR are for reading */
    }
    return false;
}

static enum mv_result serial_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                   struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct serial *serial = opaque;
    const uint8_t byte = (uint8_t)value;
    pthread_mutex_lock(&serial->lock);
    bool print = register_set(serial, offset, byte);
    pthread_mutex_unlock(&serial->lock);
    if (print) {
        serial->sink.write(serial->sink.opaque, &byte, 1);
    }
    return MV_OK;
}

/* Every size is accepted and comes here byte by byte, as on the bus. */
static const struct mv_mmio_ops serial_ops = {
    .read = serial_read,
    .write = serial_write,
    .valid = {.min_bytes = 1, .max_bytes = 8, .unaligned = true},
    .impl = {.min_bytes = 1, .max_bytes = 1},
};

static void serial_release(void *opaque)
{
    struct serial *serial = opaque;
    pthread_mutex_destroy(&serial->lock);
    free(serial);
}

int serial_create(struct mv_machine *machine, const struct sink *sink, struct mv_region **ret,
                  struct mv_error *err)
{
    struct serial *serial = calloc(1, sizeof *serial);
    if (!serial) {
        return error_host(err, -ENOMEM, "serial", "serial: cannot make the device");
    }
    serial->sink = *sink;
    serial->lcr = LCR_8N1;
    serial->divisor_low = DIVISOR_9600_BAUD;
    pthread_mutex_init(&serial->lock, NULL);

    const struct mv_region_options options = {
        .name = "serial",
        .kind = MV_REGION_MMIO,
        .size_bytes = SERIAL_PORTS,
        .ops = &serial_ops,
        .opaque = serial,
        .release = serial_release,
    };
    int rc = mv_region_create(machine, &options, ret, err);
    if (rc < 0) {
        serial_release(serial);
    }
    return rc;
}

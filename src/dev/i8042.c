// SPDX-License-Identifier: MIT
#include "dev/i8042.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/error.h"
#include "dev/parts.h"

#define STATUS_OUTPUT_FULL 0x01
#define STATUS_SYSTEM 0x04
#define STATUS_COMMAND 0x08
#define STATUS_UNLOCKED 0x10

enum command {
    COMMAND_READ_MODE = 0x20,
    COMMAND_WRITE_MODE = 0x60,
    COMMAND_DISABLE_AUX = 0xa7,
    COMMAND_ENABLE_AUX = 0xa8,
    COMMAND_TEST_AUX = 0xa9,
    COMMAND_SELF_TEST = 0xaa,
    COMMAND_TEST_KEYBOARD = 0xab,
    COMMAND_DISABLE_KEYBOARD = 0xad,
    COMMAND_ENABLE_KEYBOARD = 0xae,
    COMMAND_READ_OUTPUT = 0xd0,
    COMMAND_WRITE_OUTPUT = 0xd1,
    COMMAND_WRITE_KEYBOARD_BUFFER = 0xd2,
    COMMAND_WRITE_AUX = 0xd4,
    COMMAND_PULSE = 0xf0, /* to 0xff: each bit that is 0 pulls a line of the output port low; 0 is reset */
};

#define SELF_TEST_PASSED 0x55
#define INTERFACE_GOOD 0x00
#define AUX_CLOCK_STUCK 0x01 /* no mouse */
#define MODE_DISABLE_KEYBOARD 0x10
#define MODE_DISABLE_AUX 0x20
#define MODE_RESET 0x05 /* interrupt enabled, system flag */
#define OUTPUT_NO_RESET 0x01
#define OUTPUT_A20 0x02
#define PULSE_RESET 0x01

enum keyboard_command {
    KEYBOARD_SET_LEDS = 0xed,
    KEYBOARD_ECHO = 0xee,
    KEYBOARD_SCAN_CODES = 0xf0,
    KEYBOARD_IDENTIFY = 0xf2,
    KEYBOARD_RATE = 0xf3,
    KEYBOARD_RESET = 0xff,
};

#define KEYBOARD_ACK 0xfa
#define KEYBOARD_PASSED 0xaa
#define KEYBOARD_ID_FIRST 0xab
#define KEYBOARD_ID_SECOND 0x83

#define QUEUE_MAX 16 /* as in a keyboard; what does not fit is lost */

/*
 * Owned by its regions: freed with the last. `lock` protects everything but `options`.
 * Invariant: queue_length <= QUEUE_MAX.
 */
struct i8042 {
    struct parts parts;
    struct i8042_options options;
    pthread_mutex_t lock;
    uint8_t mode;
    uint8_t output_port;
    uint8_t awaited; /* the controller's command whose data byte comes next, or 0 */
    uint8_t keyboard_awaited;
    bool last_was_command;
    uint8_t queue[QUEUE_MAX];
    unsigned queue_length;
};

static void answer(struct i8042 *kbc, uint8_t byte)
{
    if (kbc->queue_length < QUEUE_MAX) {
        kbc->queue[kbc->queue_length++] = byte;
    }
}

static uint8_t next_answer(struct i8042 *kbc)
{
    if (kbc->queue_length == 0) {
        return 0;
    }
    const uint8_t byte = kbc->queue[0];
    kbc->queue_length--;
    for (unsigned i = 0; i < kbc->queue_length; i++) {
        kbc->queue[i] = kbc->queue[i + 1];
    }
    return byte;
}

/* --- the keyboard ------------------------------------------------------------------------------ */

static void keyboard_take(struct i8042 *kbc, uint8_t byte)
{
    if (kbc->keyboard_awaited) {
        kbc->keyboard_awaited = 0;
        answer(kbc, KEYBOARD_ACK);
        return;
    }
    switch (byte) {
    case KEYBOARD_ECHO: answer(kbc, KEYBOARD_ECHO); return;
    case KEYBOARD_SET_LEDS:
    case KEYBOARD_SCAN_CODES:
    case KEYBOARD_RATE: kbc->keyboard_awaited = byte; break;
    default: break;
    }
    answer(kbc, KEYBOARD_ACK);
    if (byte == KEYBOARD_RESET) {
        answer(kbc, KEYBOARD_PASSED);
    } else if (byte == KEYBOARD_IDENTIFY) {
        answer(kbc, KEYBOARD_ID_FIRST);
        answer(kbc, KEYBOARD_ID_SECOND);
    }
}

/* --- the controller ---------------------------------------------------------------------------- */

/* Whether it is one for a reset. */
static bool take_command(struct i8042 *kbc, uint8_t command)
{
    switch (command) {
    case COMMAND_READ_MODE: answer(kbc, kbc->mode); break;
    case COMMAND_READ_OUTPUT: answer(kbc, kbc->output_port); break;
    case COMMAND_DISABLE_AUX: kbc->mode |= MODE_DISABLE_AUX; break;
    case COMMAND_ENABLE_AUX: kbc->mode &= (uint8_t)~MODE_DISABLE_AUX; break;
    case COMMAND_TEST_AUX: answer(kbc, AUX_CLOCK_STUCK); break;
    case COMMAND_SELF_TEST: answer(kbc, SELF_TEST_PASSED); break;
    case COMMAND_TEST_KEYBOARD: answer(kbc, INTERFACE_GOOD); break;
    case COMMAND_DISABLE_KEYBOARD: kbc->mode |= MODE_DISABLE_KEYBOARD; break;
    case COMMAND_ENABLE_KEYBOARD: kbc->mode &= (uint8_t)~MODE_DISABLE_KEYBOARD; break;
    case COMMAND_WRITE_MODE:
    case COMMAND_WRITE_OUTPUT:
    case COMMAND_WRITE_KEYBOARD_BUFFER:
    case COMMAND_WRITE_AUX: kbc->awaited = command; break;
    default: return command >= COMMAND_PULSE && !(command & PULSE_RESET);
    }
    return false;
}

static bool take_data(struct i8042 *kbc, uint8_t byte)
{
    const unsigned awaited = kbc->awaited;
    kbc->awaited = 0;
    switch (awaited) {
    case COMMAND_WRITE_MODE: kbc->mode = byte; break;
    case COMMAND_WRITE_OUTPUT: kbc->output_port = byte; return !(byte & OUTPUT_NO_RESET);
    case COMMAND_WRITE_KEYBOARD_BUFFER: answer(kbc, byte); break;
    case COMMAND_WRITE_AUX: break; /* to no mouse */
    default:
        kbc->mode &= (uint8_t)~MODE_DISABLE_KEYBOARD; /* a byte for the keyboard lets it answer */
        keyboard_take(kbc, byte);
        break;
    }
    return false;
}

/* --- ports ------------------------------------------------------------------------------------- */

static enum mv_result data_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    struct i8042 *kbc = opaque;
    pthread_mutex_lock(&kbc->lock);
    *ret_value = next_answer(kbc);
    pthread_mutex_unlock(&kbc->lock);
    return MV_OK;
}

static enum mv_result status_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                  struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    struct i8042 *kbc = opaque;
    pthread_mutex_lock(&kbc->lock);
    unsigned status = STATUS_UNLOCKED | STATUS_SYSTEM;
    status |= kbc->queue_length > 0 ? STATUS_OUTPUT_FULL : 0U;
    status |= kbc->last_was_command ? STATUS_COMMAND : 0U;
    pthread_mutex_unlock(&kbc->lock);
    *ret_value = status;
    return MV_OK;
}

static enum mv_result take(struct i8042 *kbc, bool is_command, uint8_t byte)
{
    pthread_mutex_lock(&kbc->lock);
    kbc->last_was_command = is_command;
    const bool reset = is_command ? take_command(kbc, byte) : take_data(kbc, byte);
    pthread_mutex_unlock(&kbc->lock);
    if (reset) {
        kbc->options.reset(kbc->options.opaque, "the keyboard controller");
    }
    return MV_OK;
}

static enum mv_result data_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                 struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    return take(opaque, false, (uint8_t)value);
}

static enum mv_result command_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                    struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    return take(opaque, true, (uint8_t)value);
}

static const struct mv_mmio_ops data_ops = {
    .read = data_read,
    .write = data_write,
    .valid = {.min_bytes = 1, .max_bytes = 4, .unaligned = true},
    .impl = {.min_bytes = 1, .max_bytes = 1},
};

static const struct mv_mmio_ops command_ops = {
    .read = status_read,
    .write = command_write,
    .valid = {.min_bytes = 1, .max_bytes = 4, .unaligned = true},
    .impl = {.min_bytes = 1, .max_bytes = 1},
};

/* --- life -------------------------------------------------------------------------------------- */

static void i8042_release(void *opaque)
{
    struct i8042 *kbc = opaque;
    if (parts_drop(&kbc->parts)) {
        pthread_mutex_destroy(&kbc->lock);
        free(kbc);
    }
}

static int add_region(struct i8042 *kbc, struct mv_machine *machine, struct mv_region_options options,
                      struct mv_region **ret, struct mv_error *err)
{
    options.kind = MV_REGION_MMIO;
    options.size_bytes = 1;
    options.opaque = kbc;
    options.release = i8042_release;
    parts_take(&kbc->parts);
    int rc = mv_region_create(machine, &options, ret, err);
    if (rc < 0) {
        i8042_release(kbc);
    }
    return rc;
}

int i8042_create(struct mv_machine *machine, const struct i8042_options *options, struct mv_region **ret_data,
                 struct mv_region **ret_command, struct mv_error *err)
{
    const struct mv_region_options data = {.name = "i8042-data", .ops = &data_ops};
    const struct mv_region_options command = {.name = "i8042-cmd", .ops = &command_ops};
    struct i8042 *kbc = calloc(1, sizeof *kbc);
    if (!kbc) {
        return error_host(err, -ENOMEM, "i8042", "i8042: cannot make the device");
    }
    parts_init(&kbc->parts);
    pthread_mutex_init(&kbc->lock, NULL);
    kbc->options = *options;
    kbc->mode = MODE_RESET;
    kbc->output_port = OUTPUT_NO_RESET | OUTPUT_A20;
    struct mv_region *first = NULL;
    int rc = add_region(kbc, machine, data, &first, err);
    if (rc == 0) {
        rc = add_region(kbc, machine, command, ret_command, err);
    }
    if (rc == 0) {
        *ret_data = first;
    } else {
        mv_region_put(first);
    }
    i8042_release(kbc);
    return rc;
}

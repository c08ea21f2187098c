// SPDX-License-Identifier: MIT
/*
 * libFuzzer target: any bytes as what a client of a monitor sends. The first byte says whether it speaks HMP or
 * QMP, and in what pieces the rest arrives. Whatever is sent, each answer of QMP is a line of JSON, lines of HMP
 * end in a prompt, and what is kept of the input is bounded. The VM is made, but never started: on KVM if that can
 * be used, and else on soft.
 */
#include <error.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "monitor/qmp.h"

#define RAM_BYTES (UINT64_C(2) << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int truth)
{
    if (!truth) {
        abort();
    }
}

static struct mv_region *make_region(struct mv_machine *machine, const struct mv_region_options *options)
{
    struct mv_region *region;
    must(mv_region_create(machine, options, &region, NULL) == 0);
    return region;
}

/* RAM at 0 and one vCPU. Made once, and as old as the process. */
static const struct mv_monitor_options *the_world(void)
{
    static struct mv_monitor_options world;
    struct mv_error err;
    if (world.vm) {
        return &world;
    }
    struct mv_machine *machine;
    struct mv_block *block;
    struct mv_vm_options options = {.accel = "kvm"};
    must(mv_machine_create(&machine, NULL) == 0);
    must(mv_block_create(machine, &(struct mv_block_options){.name = "ram", .size_bytes = RAM_BYTES}, &block,
                         NULL) == 0);
    struct mv_region *root =
        make_region(machine, &(struct mv_region_options){.name = "system", .size_bytes = MV_SIZE_2_64});
    struct mv_region *ports = make_region(machine, &(struct mv_region_options){.name = "io", .size_bytes = 65536});
    struct mv_region *ram = make_region(
        machine, &(struct mv_region_options){
                     .name = "ram \xff'\\", .kind = MV_REGION_RAM, .size_bytes = RAM_BYTES, .block = block});
    must(mv_region_add(root, 0, ram, 0, NULL) == 0);
    must(mv_space_create(machine, "memory", root, &options.memory, NULL) == 0);
    must(mv_space_create(machine, "I/O", ports, &options.io, NULL) == 0);
    if (mv_vm_create(&options, &world.vm, &err) < 0) {
        options.accel = "soft";
        must(mv_vm_create(&options, &world.vm, &err) == 0);
    }
    if (mv_vm_add_vcpu(world.vm, NULL, &err) < 0) {
        error(1, 0, "%s", err.text);
    }
    world.machine = machine;
    return &world;
}

/* Lines of JSON objects, as far as a look at both ends can tell. */
static void check_qmp(const struct text *out)
{
    const char *at = out->bytes;
    const char *end = out->length > 0 ? at + out->length : at;
    must(!out->overflowed);
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        must(newline && newline - at >= 3 && newline[-1] == '\r' && newline[-2] == '}' && *at == '{');
        at = newline + 1;
    }
}

static void check_hmp(const struct text *out)
{
    const size_t prompt = strlen(HMP_PROMPT);
    must(!out->overflowed);
    must(out->length == 0 || out->bytes[out->length - 1] == '\n' ||
         (out->length >= prompt && memcmp(out->bytes + out->length - prompt, HMP_PROMPT, prompt) == 0));
}

union client {
    struct hmp hmp;
    struct qmp qmp;
};

static size_t take(union client *client, bool is_qmp, const char *bytes, size_t length)
{
    struct text out;
    text_init(&out, 4 * COMMAND_TEXT_MAX);
    size_t taken =
        is_qmp ? qmp_take(&client->qmp, bytes, length, &out) : hmp_take(&client->hmp, bytes, length, &out);
    must(taken >= 1 && taken <= length);
    if (is_qmp) {
        check_qmp(&out);
        must(client->qmp.frame.bytes.length <= FRAME_BYTES_MAX);
    } else {
        check_hmp(&out);
        must(client->hmp.line.length <= HMP_LINE_MAX);
    }
    text_finish(&out);
    return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mv_monitor *monitor;
    union client client;
    if (size == 0) {
        return 0;
    }
    const bool is_qmp = data[0] & 1;
    const size_t piece = (data[0] >> 1) + 1u;
    const char *bytes = (const char *)data + 1;
    must(mv_monitor_create(the_world(), &monitor, NULL) == 0);
    if (is_qmp) {
        qmp_init(&client.qmp, monitor);
        client.qmp.negotiated = data[0] & 2;
    } else {
        hmp_init(&client.hmp, monitor, data[0] & 2);
    }
    for (size_t done = 0; done + 1 < size;) {
        const size_t length = size - 1 - done < piece ? size - 1 - done : piece;
        done += take(&client, is_qmp, bytes + done, length);
    }
    if (is_qmp) {
        qmp_finish(&client.qmp);
    } else {
        hmp_finish(&client.hmp);
    }
    mv_monitor_destroy(monitor);
    return 0;
}

// SPDX-License-Identifier: MIT
/* A board's life: made in one transaction, connected to a VM, ended. */
#include "board/board.h"

#include <errno.h>
#include <stdlib.h>

#include "base/addr.h"
#include "base/error.h"
#include "dev/apic.h"
#include "dev/fw_cfg_dma.h"

#define RAM_MIN_BYTES (64 * KIB)

void mv_board_connect(struct mv_board *board, struct mv_vm *vm)
{
    pthread_mutex_lock(&board->vm_lock);
    board->vm = vm;
    pthread_mutex_unlock(&board->vm_lock);
}

static int build_spaces(struct build *build, struct mv_error *err)
{
    int rc = mv_space_create(build->machine, "memory", build->system, &build->board->memory, err);
    if (rc == 0) {
        rc = mv_space_create(build->machine, "I/O", build->ports, &build->board->io, err);
    }
    if (rc == 0 && build->smm) {
        rc = mv_space_create(build->machine, "cpu-smm-0", build->smm, &build->board->smm, err);
    }
    if (rc == 0 && build->board->fw_cfg_dma) {
        fw_cfg_dma_connect(build->board->fw_cfg_dma, build->board->memory);
    }
    return rc;
}

/* The spaces come last: until then, nobody sees. */
static int build_all(struct build *build, struct mv_error *err)
{
    static build_step *const boards[] = {[MV_BOARD_MINIMAL] = minimal_build, [MV_BOARD_PC] = pc_build};
    int rc = boards[build->options->kind](build, err);
    return rc < 0 ? rc : build_spaces(build, err);
}

static void drop_spaces(struct mv_board *board)
{
    if (board->fw_cfg_dma) {
        fw_cfg_dma_connect(board->fw_cfg_dma, NULL);
        mv_region_put(board->fw_cfg_dma);
        board->fw_cfg_dma = NULL;
    }
    mv_space_destroy(board->smm);
    mv_space_destroy(board->io);
    mv_space_destroy(board->memory);
    board->io = NULL;
    board->memory = NULL;
    board->smm = NULL;
}

static int build_in_transaction(struct build *build, struct mv_error *err)
{
    int rc = mv_machine_begin(build->machine, err);
    if (rc < 0) {
        return rc;
    }
    rc = build_all(build, err);
    if (rc < 0) {
        drop_spaces(build->board); /* what is left has nobody to show it to */
    }
    int commit_rc = mv_machine_commit(build->machine, rc < 0 ? NULL : err);
    return rc < 0 ? rc : commit_rc;
}

static int check_options(const struct mv_board_options *options, struct mv_error *err)
{
    if (!is_aligned(options->ram_bytes, GUEST_PAGE_SIZE) || options->ram_bytes < RAM_MIN_BYTES) {
        return error_set(err, -EINVAL, "bad-ram-size", "ram",
                         "ram: %" PRIu64
                         " bytes are no size for it: it must be a multiple of 4 KiB, at least 64 KiB",
                         options->ram_bytes);
    }
    if (options->vcpus < 1 || options->vcpus > APIC_MAX_VCPUS) {
        return error_set(err, -EINVAL, "bad-vcpus", "apic", "apic: %u vCPUs: there must be 1 to %d",
                         options->vcpus, APIC_MAX_VCPUS);
    }
    if (options->kind != MV_BOARD_PC && options->bios) {
        return error_set(err, -EINVAL, "bad-bios", options->bios, "%s: only the pc board takes a BIOS",
                         options->bios);
    }
    return 0;
}

int mv_board_create(struct mv_machine *machine, const struct mv_board_options *options, struct mv_board **ret,
                    struct mv_error *err)
{
    int rc = check_options(options, err);
    if (rc < 0) {
        return rc;
    }
    struct mv_board *board = calloc(1, sizeof *board);
    if (!board) {
        return error_host(err, -ENOMEM, "board", "board: cannot make it");
    }
    board->console = options->console;
    board->console_opaque = options->console_opaque;
    pthread_mutex_init(&board->console_lock, NULL);
    pthread_mutex_init(&board->vm_lock, NULL);

    struct build build = {.machine = machine, .options = options, .board = board};
    rc = build_in_transaction(&build, err);
    mv_region_put(build.smm);
    mv_region_put(build.ports);
    mv_region_put(build.system);
    if (rc < 0) {
        mv_board_destroy(board);
        return rc;
    }
    *ret = board;
    return 0;
}

void mv_board_destroy(struct mv_board *board)
{
    if (board) {
        drop_spaces(board);
        mv_block_put(board->ram);
        pthread_mutex_destroy(&board->vm_lock);
        pthread_mutex_destroy(&board->console_lock);
        free(board);
    }
}

struct mv_space *mv_board_memory(struct mv_board *board)
{
    return board->memory;
}

struct mv_block *mv_board_ram(struct mv_board *board)
{
    return board->ram;
}

struct mv_space *mv_board_io(struct mv_board *board)
{
    return board->io;
}

size_t mv_board_spaces(struct mv_board *board, struct mv_space **ret, size_t capacity)
{
    struct mv_space *const all[] = {board->memory, board->io, board->smm};
    size_t count = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i] && count++ < capacity) {
            ret[count - 1] = all[i];
        }
    }
    return count;
}

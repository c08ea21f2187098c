// SPDX-License-Identifier: MIT
#include "guest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "message.h"

int guest_console_fd(enum stats_form stats)
{
    return stats == STATS_JSON ? STDERR_FILENO : STDOUT_FILENO; /* JSON is alone on stdout */
}

static void notice(void *opaque, const char *text)
{
    struct guest *guest = opaque;
    console_end_line(&guest->console, STDERR_FILENO);
    say("%s", text);
}

static int make_board(struct guest *guest, const struct run_options *options, struct mv_error *err)
{
    const struct mv_board_options board_options = {
        .kind = options->machine,
        .bios = options->bios,
        .ram_bytes = options->ram_bytes,
        .ram = &options->backend.block,
        .vcpus = options->vcpus,
        .console = console_write,
        .console_opaque = &guest->console,
    };
    int rc = mv_machine_create(&guest->machine, err);
    return rc < 0 ? rc : mv_board_create(guest->machine, &board_options, &guest->board, err);
}

static int make_vm(struct guest *guest, const struct run_options *options, struct mv_error *err)
{
    const struct mv_vm_options vm_options = {
        .accel = options->accel,
        .memory = mv_board_memory(guest->board),
        .io = mv_board_io(guest->board),
        .notice = notice,
        .notice_opaque = guest,
    };
    int rc = mv_vm_create(&vm_options, &guest->vm, err);
    for (unsigned i = 0; rc == 0 && i < options->vcpus; i++) {
        struct mv_vcpu *vcpu;
        rc = mv_vm_add_vcpu(guest->vm, &vcpu, err);
    }
    if (rc == 0) {
        mv_board_connect(guest->board, guest->vm);
    }
    return rc;
}

/* They would be lost without a word. */
static int refuse_arguments(const char *image, struct mv_error *err)
{
    *err = (struct mv_error){.code = -EINVAL, .reason = "no-arguments"};
    snprintf(err->text, sizeof err->text, "%s: a flat binary has no command line that could take arguments",
             image);
    return err->code;
}

/* With firmware the first vCPU starts as it is after a reset. */
static int load_image(struct guest *guest, const struct run_options *options, struct mv_error *err)
{
    if (options->bios) {
        return 0;
    }
    const struct mv_image_options image_options = {
        .path = options->image,
        .format = options->format,
        .arguments = options->arguments,
    };
    struct mv_image image;
    int rc = mv_image_load(mv_board_memory(guest->board), &image_options, &image, err);
    if (rc < 0) {
        return rc;
    }
    if (image.entry_mode == MV_ENTRY_REAL && options->arguments) {
        return refuse_arguments(options->image, err);
    }
    return mv_image_enter(&image, mv_vm_vcpu(guest->vm, 0), err);
}

int guest_init(struct guest *guest, const struct run_options *options)
{
    struct mv_error err;
    *guest = (struct guest){.machine = NULL};
    console_init(&guest->console, guest_console_fd(options->stats),
                 options->stats == STATS_JSON ? CONSOLE_KEEPS : CONSOLE_FORGETS);
    int rc = make_board(guest, options, &err);
    if (rc == 0) {
        rc = make_vm(guest, options, &err);
    }
    if (rc == 0) {
        rc = load_image(guest, options, &err);
    }
    if (rc < 0) {
        return say_refusal(&err);
    }
    return CLI_OK;
}

void guest_finish(struct guest *guest)
{
    if (guest->board) {
        mv_board_connect(guest->board, NULL);
    }
    mv_vm_destroy(guest->vm);
    mv_board_destroy(guest->board);
    mv_machine_destroy(guest->machine);
    console_finish(&guest->console);
}

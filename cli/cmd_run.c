// SPDX-License-Identifier: MIT
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <memvirt/accel.h>

#include "command.h"
#include "guest.h"
#include "json.h"
#include "message.h"
#include "report.h"
#include "run_options.h"
#include "signals.h"

static const char help[] =
    "usage: memvirt run [OPTION]... IMAGE [-- ARGUMENT...]\n"
    "       memvirt run [OPTION]... --machine pc --bios FILE\n"
    "\n"
    "Run a guest. Its console is on stdout, and the status that it ends with is memvirt's own.\n"
    "\n"
    "      --accel NAME     what runs it: kvm, which is also the default\n"
    "  -m SIZE              its RAM: a number of MiB, or a number with K, M, G or T (128M)\n"
    "      --mem-backend KIND[,OPTION=VALUE]...\n"
    "                       what the RAM is made of: anon, memfd, file:PATH or hugetlb[:SIZE] (anon); and, by the names\n"
    "                       of QEMU's memory-backend objects: share, prealloc, reserve, merge, dump and thp, each on or\n"
    "                       off; prealloc-threads=N; host-nodes=N[-M] with policy=preferred, bind or interleave\n"
    "      --machine BOARD  minimal or pc (minimal)\n"
    "      --bios FILE      of the pc board: the firmware, from whose reset vector the guest starts\n"
    "      --vcpus N        its processors, 1 to 254 (1)\n"
    "      --format FORMAT  of IMAGE: auto, elf or flat (auto)\n"
    "      --stats FORM     when the guest has stopped, report on stdout what happened: text or json; with json the\n"
    "                       console is on stderr, and also in the report\n"
    "      --monitor ADDRESS\n"
    "                       a monitor for people there: stdio, unix:PATH or tcp:127.0.0.1:PORT; may be repeated\n"
    "      --qmp ADDRESS    a monitor for programs there: unix:PATH or tcp:127.0.0.1:PORT; may be repeated\n"
    "  -S, --paused         do not run the guest before a monitor's `cont`\n"
    "      --explain GVA    with --stats: show also how this guest virtual address is translated; may be repeated\n"
    "  -h, --help           print this text\n"
    "\n"
    "IMAGE is an ELF64 file for x86-64, an ELF32 file with a multiboot header, or a flat binary whose name ends in\n"
    ".bin. The ARGUMENTs are its command line, after its name.\n"
    "\n"
    "Exit status:\n"
    "  0-255  what the guest wrote to its exit port; it shares the range with what follows: `stop` in the report\n"
    "         tells which it was\n"
    "  2      the command line is wrong\n"
    "  3      the accelerator cannot be used: no-device, no-permission, missing-capability or\n"
    "         no-cpu\n"
    "  4      before the start: the image is no good, the machine cannot be as asked, or the host refused it\n"
    "  5      the guest failed: triple fault, halted for good, an instruction or a state that cannot be run\n"
    "  6      the host failed while the guest ran, or the output could not be written\n"
    "  128+N  stopped by signal N: SIGINT or SIGTERM\n";

/* --- before ------------------------------------------------------------------------------------ */

/* Before anything is built: asked for an accelerator that cannot be used, nothing else is of interest. */
static int check_accel(const char *name)
{
    for (size_t i = 0; i < mv_accel_count(); i++) {
        struct mv_accel_status status;
        mv_accel_check(i, &status);
        if (strcmp(status.name, name) != 0) {
            continue;
        }
        if (!status.usable) {
            say("accelerator %s cannot be used: %s: %s", name, status.reason, status.text);
            return CLI_NO_ACCEL;
        }
        if (!status.runs_guests) {
            say("accelerator %s cannot be used: no-cpu: it executes no instructions; it is for traces (memvirt replay) "
                "and a caller's own CPU",
                name);
            return CLI_NO_ACCEL;
        }
        return CLI_OK;
    }
    return usage_error("run", "--accel %s: there is no accelerator of that name", name);
}

/* --- after ------------------------------------------------------------------------------------- */

static int stop_status(const struct mv_stop *stop)
{
    switch (stop->reason) {
    case MV_STOP_EXIT:
    case MV_STOP_REQUEST: return stop->status & 0xff;
    case MV_STOP_SHUTDOWN:
    case MV_STOP_HALTED:
    case MV_STOP_INTERNAL_ERROR:
    case MV_STOP_ENTRY_FAILED:
    case MV_STOP_UNHANDLED_EXIT: return CLI_GUEST_FAILED;
    case MV_STOP_NONE:
    case MV_STOP_HOST_ERROR: break;
    }
    return CLI_HOST_ERROR;
}

static bool print_report(struct guest *guest, const struct run_options *options, const struct mv_stop *stop)
{
    struct report *report = report_create(guest, options, stop);
    bool printed = report != NULL;
    if (report && options->stats == STATS_JSON) {
        printed = json_print_report(report);
    } else if (report) {
        printf("\n");
        report_print_text(report);
    }
    report_destroy(report);
    return printed;
}

/* The report, then the line that says what went wrong, if anything did. */
static int conclude(struct guest *guest, const struct run_options *options, const struct mv_stop *stop)
{
    int status = stop_status(stop);
    if (guest->console.error == 0) {
        console_end_line(&guest->console, options->stats == STATS_TEXT ? STDOUT_FILENO : STDERR_FILENO);
    }
    if (options->stats != STATS_NONE && !print_report(guest, options, stop)) {
        say("--stats: out of memory");
        status = CLI_HOST_ERROR;
    }
    fflush(stdout); /* an error is kept for output_finish() */
    if (stop->reason != MV_STOP_EXIT) {
        say("%s", stop->text);
    }
    return status;
}

/* --- the run ----------------------------------------------------------------------------------- */

static int run_vm(struct guest *guest, struct signals *signals, const struct run_options *options)
{
    struct mv_error err;
    struct mv_stop stop;
    struct mv_monitor *monitor = NULL;
    int status = monitors_start(guest->machine, guest->vm, &options->monitors, &monitor);
    if (status != CLI_OK) {
        return status;
    }
    console_connect(&guest->console, guest->vm);
    signals_connect(signals, guest->vm);
    int rc = mv_vm_run(guest->vm, &stop, &err);
    signals_connect(signals, NULL);
    console_connect(&guest->console, NULL);
    if (rc == 0 && monitor) {
        mv_monitor_shutdown(monitor, &stop);
    }
    mv_monitor_destroy(monitor);
    if (rc < 0) {
        say("%s", err.text);
        return CLI_REFUSED; /* it has not begun */
    }
    return conclude(guest, options, &stop);
}

static int run_guest(const struct run_options *options)
{
    struct signals signals;
    struct guest guest;
    int rc = signals_init(&signals);
    if (rc < 0) {
        say("run: the thread for signals cannot be made: %s", strerror(-rc));
        return CLI_REFUSED;
    }
    int status = guest_init(&guest, options);
    if (status == CLI_OK) {
        status = run_vm(&guest, &signals, options);
    }
    guest_finish(&guest);
    signals_finish(&signals);
    return status;
}

static int run(int argc, char **argv)
{
    struct run_options options;
    int status = run_options_parse(argc, argv, &options);
    if (status != CLI_OK) {
        return status;
    }
    if (options.help) {
        fputs(help, stdout);
    } else {
        status = check_accel(options.accel);
        if (status == CLI_OK) {
            status = run_guest(&options);
        }
    }
    run_options_finish(&options);
    return status;
}

const struct command command_run = {
    .name = "run",
    .summary = "run a guest on an accelerator, and report on its memory",
    .help = help,
    .run = run,
};

// SPDX-License-Identifier: MIT
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <memvirt/board.h>
#include <memvirt/mtree.h>
#include <memvirt/vm.h>

#include "command.h"
#include "message.h"
#include "size.h"

static const char help[] =
    "usage: memvirt mtree [--machine NAME] [-m SIZE] [--bios FILE] [OPTION]...\n"
    "       memvirt mtree --import FILE [OPTION]...\n"
    "\n"
    "Print the memory of a machine as QEMU's `info mtree` does: memvirt's own, or one of which QEMU printed it.\n"
    "\n"
    "      --machine NAME  which of memvirt's: minimal or pc (minimal)\n"
    "  -m SIZE             its RAM: a number of MiB, or a number with K, M, G or T (128M)\n"
    "      --bios FILE     of the pc machine: its firmware, which is not run\n"
    "      --accel NAME    with -f: print also which ranges this accelerator, kvm, has in slots\n"
    "      --import FILE   what `info mtree` printed, of any QEMU and any machine; - is the standard input\n"
    "  -f                  print the flat views: what is seen of the trees\n"
    "  -d                  with -f: print also how an address is looked up\n"
    "  -o                  print whose each region is\n"
    "  -D                  print disabled regions too\n"
    "      --at GPA        print what is at an address instead, through which regions, and what it hides\n"
    "      --space NAME    with --at: only in this address space\n"
    "      --diff OTHER    print instead how the machine differs from that in OTHER, also a file of `info mtree`\n"
    "  -h, --help          print this text\n"
    "\n"
    "With --import, -o, -D and what was in slots are as in FILE. What FILE leaves open is guessed; where it is a\n"
    "toss-up a line on stderr says so. Flat views in the same file (`info mtree -f`) are a help.\n"
    "\n"
    "Exit status: 0; with --diff 1 if there is a difference; 2 if the command line is wrong; 3 if the accelerator\n"
    "cannot be used; 4 if a file cannot be read or is no such text, or the machine cannot be as asked; 6 if the\n"
    "output cannot be written.\n";

/* Of --diff, as of diff(1). No guest runs, so none can mean something else by it. */
#define STATUS_DIFFERENT 1

#define DEFAULT_RAM_BYTES (UINT64_C(128) << 20)
/* Larger files are not read: `info mtree` of large machines is a megabyte. */
#define FILE_BYTES_MAX (UINT64_C(64) << 20)

enum {
    OPTION_ACCEL = 256,
    OPTION_MACHINE,
    OPTION_BIOS,
    OPTION_IMPORT,
    OPTION_AT,
    OPTION_SPACE,
    OPTION_DIFF,
};

static const struct option options[] = {
    {"accel", required_argument, NULL, OPTION_ACCEL},
    {"machine", required_argument, NULL, OPTION_MACHINE},
    {"bios", required_argument, NULL, OPTION_BIOS},
    {"import", required_argument, NULL, OPTION_IMPORT},
    {"at", required_argument, NULL, OPTION_AT},
    {"space", required_argument, NULL, OPTION_SPACE},
    {"diff", required_argument, NULL, OPTION_DIFF},
    {"help", no_argument, NULL, 'h'},
    {0},
};

struct request {
    bool help;
    const char *machine; /* or NULL */
    enum mv_board_kind board;
    uint64_t ram_bytes; /* 0: not given */
    const char *bios;   /* or NULL */
    const char *accel;  /* or NULL */
    const char *import; /* or NULL */
    unsigned flags;
    const char *at; /* or NULL */
    uint64_t address;
    const char *space; /* or NULL */
    const char *diff;  /* or NULL */
};

/* --- the command line -------------------------------------------------------------------------------------- */

static int parse_machine(struct request *request, const char *name)
{
    request->machine = name;
    if (strcmp(name, "minimal") == 0) {
        request->board = MV_BOARD_MINIMAL;
    } else if (strcmp(name, "pc") == 0) {
        request->board = MV_BOARD_PC;
    } else {
        return usage_error("mtree", "--machine %s: not minimal or pc", name);
    }
    return CLI_OK;
}

static int parse_option(struct request *request, int c, char **argv)
{
    switch (c) {
    case 'h': request->help = true; return CLI_OK;
    case 'f': request->flags |= MV_MTREE_FLAT; return CLI_OK;
    case 'd': request->flags |= MV_MTREE_DISPATCH; return CLI_OK;
    case 'o': request->flags |= MV_MTREE_OWNER; return CLI_OK;
    case 'D': request->flags |= MV_MTREE_DISABLED; return CLI_OK;
    case 'm':
        if (size_parse(optarg, &request->ram_bytes) != SIZE_OK) {
            return usage_error("mtree", "-m %s: not a size, such as 512, 64M or 4G", optarg);
        }
        return CLI_OK;
    case OPTION_MACHINE: return parse_machine(request, optarg);
    case OPTION_ACCEL: request->accel = optarg; return CLI_OK;
    case OPTION_BIOS: request->bios = optarg; return CLI_OK;
    case OPTION_IMPORT: request->import = optarg; return CLI_OK;
    case OPTION_SPACE: request->space = optarg; return CLI_OK;
    case OPTION_DIFF: request->diff = optarg; return CLI_OK;
    case OPTION_AT:
        request->at = optarg;
        if (!number_parse(optarg, UINT64_MAX, &request->address)) {
            return usage_error("mtree", "--at %s: not an address, decimal or 0x hexadecimal", optarg);
        }
        return CLI_OK;
    default: return option_error("mtree", c, argv);
    }
}

static int check(const struct request *request)
{
    if (request->import && (request->machine || request->ram_bytes || request->bios)) {
        return usage_error("mtree", "--import: the file says what machine it is: no --machine, -m and --bios");
    }
    if (request->accel && (request->import || !(request->flags & MV_MTREE_FLAT))) {
        return usage_error("mtree", "--accel %s: it goes with -f, and not with --import", request->accel);
    }
    if (request->bios && request->board != MV_BOARD_PC) {
        return usage_error("mtree", "--bios %s: only --machine pc takes one", request->bios);
    }
    if (request->space && !request->at) {
        return usage_error("mtree", "--space: it goes with --at");
    }
    if (request->diff && (request->at || request->flags)) {
        return usage_error("mtree", "--diff: it has a form of its own: no -f, -d, -o, -D and --at");
    }
    if (request->at && request->flags) {
        return usage_error("mtree", "--at: it has a form of its own: no -f, -d, -o and -D");
    }
    return CLI_OK;
}

static int parse(int argc, char **argv, struct request *ret)
{
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":hfdoDm:", options, NULL)) != -1) {
        int status = parse_option(ret, c, argv);
        if (status != CLI_OK || ret->help) {
            return status;
        }
    }
    if (optind < argc) {
        return usage_error("mtree", "unexpected '%s'", argv[optind]);
    }
    return check(ret);
}

/* --- machines ---------------------------------------------------------------------------------------------- */

/* What is printed: either of the two; all zero is none. */
struct subject {
    struct mv_machine *machine;
    struct mv_mtree *import;
    struct mv_board *board;
    struct mv_vm *vm; /* without vCPUs: only for its slots */
};

static void subject_finish(struct subject *subject)
{
    mv_vm_destroy(subject->vm);
    mv_board_destroy(subject->board);
    if (subject->import) {
        mv_mtree_destroy(subject->import);
    } else {
        mv_machine_destroy(subject->machine);
    }
}

/* The caller frees the text. Says why not. */
static bool read_all(FILE *file, const char *name, char **ret_text, size_t *ret_length)
{
    char *text = NULL;
    size_t length = 0, capacity = 0, got = 1;
    while (got > 0 && length <= FILE_BYTES_MAX) {
        if (length == capacity) {
            capacity = capacity ? capacity * 2 : 65536;
            char *moved = realloc(text, capacity);
            if (!moved) {
                say("%s: out of memory", name);
                free(text);
                return false;
            }
            text = moved;
        }
        errno = 0;
        got = fread(text + length, 1, capacity - length, file);
        length += got;
    }
    if (ferror(file) || length > FILE_BYTES_MAX) {
        say("%s: %s", name, ferror(file) ? strerror(errno) : "it is larger than 64 MiB");
        free(text);
        return false;
    }
    *ret_text = text;
    *ret_length = length;
    return true;
}

static void say_note(void *opaque, const char *line)
{
    say("%s: note: %s", (const char *)opaque, line);
}

static bool import(const char *path, struct subject *ret)
{
    const bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "re");
    struct mv_error err;
    char *text;
    size_t length;
    if (!file) {
        say("%s: %s", path, strerror(errno));
        return false;
    }
    bool ok = read_all(file, path, &text, &length);
    if (!is_stdin) {
        fclose(file);
    }
    if (!ok) {
        return false;
    }
    int rc = mv_mtree_import(text, length, &ret->import, &err);
    free(text);
    if (rc < 0) {
        say("%s: %s", path, err.text);
        return false;
    }
    char *name = strdup(path);
    mv_mtree_notes(ret->import, say_note, name ? name : "mtree");
    free(name);
    ret->machine = mv_mtree_machine(ret->import);
    return true;
}

static int make_vm(const struct request *request, struct subject *ret)
{
    const struct mv_vm_options vm_options = {
        .accel = request->accel,
        .memory = mv_board_memory(ret->board),
        .io = mv_board_io(ret->board),
    };
    struct mv_error err;
    int rc = mv_vm_create(&vm_options, &ret->vm, &err);
    if (rc < 0 && strcmp(err.reason, "no-accel") == 0) {
        return usage_error("mtree", "--accel %s: there is no accelerator of that name", request->accel);
    }
    return rc < 0 ? say_refusal(&err) : CLI_OK;
}

static bool has_slot(void *opaque, struct mv_space *space, struct mv_range range)
{
    return mv_vm_has_slot(opaque, space, range);
}

static bool make_board(const struct request *request, struct subject *ret)
{
    const struct mv_board_options board_options = {
        .kind = request->board,
        .bios = request->bios,
        .ram_bytes = request->ram_bytes ? request->ram_bytes : DEFAULT_RAM_BYTES,
        .vcpus = 1,
    };
    struct mv_error err;
    if (mv_machine_create(&ret->machine, &err) < 0 ||
        mv_board_create(ret->machine, &board_options, &ret->board, &err) < 0) {
        say("%s", err.text);
        return false;
    }
    return true;
}

/* --- printing ---------------------------------------------------------------------------------------------- */

static void print_line(void *opaque, const char *line)
{
    (void)opaque;
    puts(line);
}

static int print_difference(const struct subject *subject, const char *path)
{
    struct subject other = {0};
    struct mv_error err;
    size_t count = 0;
    if (!import(path, &other)) {
        return CLI_REFUSED;
    }
    int rc = mv_mtree_diff(subject->machine, other.machine, print_line, NULL, &count, &err);
    subject_finish(&other);
    if (rc < 0) {
        return say_refusal(&err);
    }
    return count > 0 ? STATUS_DIFFERENT : CLI_OK;
}

/* What says which ranges are in slots: the VM of our own machine, the text of another. NULL: nothing does. */
static const struct mv_mtree_accel *accel_of(const struct subject *subject, const struct mv_mtree_accel *own)
{
    return subject->import ? mv_mtree_accel(subject->import) : subject->vm ? own : NULL;
}

static int answer(const struct request *request, const struct subject *subject)
{
    struct mv_error err;
    int rc;
    if (request->diff) {
        return print_difference(subject, request->diff);
    }
    if (request->at) {
        rc = mv_mtree_at(subject->machine, request->space, mv_gpa(request->address), print_line, NULL, &err);
    } else {
        unsigned flags = request->flags | (subject->import ? mv_mtree_flags(subject->import) : 0);
        const struct mv_mtree_accel accel = {.name = "KVM", .has_slot = has_slot, .opaque = subject->vm};
        rc = mv_mtree_print(subject->machine, flags, accel_of(subject, &accel), print_line, NULL, &err);
    }
    return rc < 0 ? say_refusal(&err) : CLI_OK;
}

static int run(int argc, char **argv)
{
    struct request request = {0};
    struct subject subject = {0};
    int status = parse(argc, argv, &request);
    if (status != CLI_OK) {
        return status;
    }
    if (request.help) {
        fputs(help, stdout);
        return CLI_OK;
    }
    bool made = request.import ? import(request.import, &subject) : make_board(&request, &subject);
    status = made && request.accel ? make_vm(&request, &subject) : status;
    status = !made ? CLI_REFUSED : status == CLI_OK ? answer(&request, &subject) : status;
    subject_finish(&subject);
    return status;
}

const struct command command_mtree = {
    .name = "mtree",
    .summary = "print a machine's memory regions, or read what QEMU printed of its own",
    .help = help,
    .run = run,
};

// SPDX-License-Identifier: MIT
/*
 * For qemu_pc_test.py: print the flat views of a pc board, in the words of QEMU's `info mtree -f`, after writing
 * to some of its ports.
 *
 *     pc-view RAM_MIB BIOS|- vga|none [PORT:SIZE:VALUE]...
 */
#include <error.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <memvirt/memvirt.h>

static void print_view(struct mv_space *space)
{
    const struct mv_view *view = mv_space_view(space);
    struct mv_section section;
    printf(" AS \"%s\", root: %s\n", mv_space_name(space), mv_region_name(mv_space_root(space)));
    for (uint64_t at = 0; mv_view_next(view, mv_gpa(at), &section); at = section.range.last + 1) {
        printf("  %016" PRIx64 "-%016" PRIx64 " (%s): %s", section.range.first, section.range.last,
               section.readonly ? "rom" : mv_region_type(section.region), mv_region_name(section.region));
        printf(section.offset ? " @%016" PRIx64 "\n" : "\n", section.offset);
        if (section.range.last == UINT64_MAX) {
            break;
        }
    }
    mv_view_release(view);
}

static void write_port(struct mv_board *board, const char *text)
{
    unsigned port, size, value;
    if (sscanf(text, "%x:%u:%x", &port, &size, &value) != 3 || size > sizeof value) {
        error(1, 0, "%s: not PORT:SIZE:VALUE", text);
    }
    if (mv_space_write(mv_board_io(board), mv_gpa(port), &value, size, MV_ATTRS_NONE) != MV_OK) {
        error(1, 0, "%s: the write went wrong", text);
    }
}

int main(int argc, char **argv)
{
    struct mv_machine *machine;
    struct mv_board *board;
    struct mv_error why;
    struct mv_space *spaces[3];
    if (argc < 4) {
        error(1, 0, "usage: pc-view RAM_MIB BIOS|- vga|none [PORT:SIZE:VALUE]...");
    }
    const struct mv_board_options options = {
        .kind = MV_BOARD_PC,
        .ram_bytes = strtoull(argv[1], NULL, 10) << 20,
        .vcpus = 1,
        .bios = strcmp(argv[2], "-") == 0 ? NULL : argv[2],
        .vga_lowmem = strcmp(argv[3], "vga") == 0,
    };
    if (mv_machine_create(&machine, &why) < 0 || mv_board_create(machine, &options, &board, &why) < 0) {
        error(1, 0, "%s", why.text);
    }
    for (int i = 4; i < argc; i++) {
        write_port(board, argv[i]);
    }
    const size_t count = mv_board_spaces(board, spaces, sizeof spaces / sizeof spaces[0]);
    for (size_t i = 0; i < count; i++) {
        print_view(spaces[i]);
    }
    mv_board_destroy(board);
    mv_machine_destroy(machine);
    return 0;
}

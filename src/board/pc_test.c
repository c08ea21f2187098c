// SPDX-License-Identifier: MIT
#include <memvirt/board.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/addr.h"

struct kept {
    char bytes[64];
    size_t length;
};

static void kept_write(void *opaque, const void *bytes, size_t length)
{
    struct kept *kept = opaque;
    assert_true(length <= sizeof kept->bytes - kept->length);
    memcpy(kept->bytes + kept->length, bytes, length);
    kept->length += length;
}

struct fixture {
    struct mv_machine *machine;
    struct mv_board *board;
    struct kept kept;
};

static void open_with(struct fixture *f, struct mv_board_options options)
{
    struct mv_error err;
    *f = (struct fixture){0};
    assert_int_equal(mv_machine_create(&f->machine, &err), 0);
    options.kind = MV_BOARD_PC;
    options.vcpus = options.vcpus ? options.vcpus : 1;
    options.console = kept_write;
    options.console_opaque = &f->kept;
    assert_int_equal(mv_board_create(f->machine, &options, &f->board, &err), 0);
}

static void open_board(struct fixture *f, uint64_t ram_bytes)
{
    open_with(f, (struct mv_board_options){.ram_bytes = ram_bytes});
}

static void close_board(struct fixture *f)
{
    mv_board_destroy(f->board);
    mv_machine_destroy(f->machine);
}

static uint64_t read_at(struct mv_space *space, uint64_t address, unsigned size_bytes)
{
    uint64_t value = 0;
    assert_int_equal(mv_space_read(space, mv_gpa(address), &value, size_bytes, MV_ATTRS_NONE), MV_OK);
    return value;
}

static void write_at(struct mv_space *space, uint64_t address, unsigned size_bytes, uint64_t value)
{
    assert_int_equal(mv_space_write(space, mv_gpa(address), &value, size_bytes, MV_ATTRS_NONE), MV_OK);
}

/* One configuration register of the host bridge. */
static void set_register(const struct fixture *f, unsigned offset, uint8_t value)
{
    write_at(mv_board_io(f->board), 0xcf8, 4, 0x80000000 | (offset & 0xfc));
    write_at(mv_board_io(f->board), 0xcfc + offset % 4, 1, value);
}

/* A view as text: one "first-last name+offset" for each section. */
static void describe(struct mv_space *space, char *ret_text, size_t size)
{
    const struct mv_view *view = mv_space_view(space);
    struct mv_section section;
    size_t used = 0;
    ret_text[0] = '\0';
    for (uint64_t at = 0; mv_view_next(view, mv_gpa(at), &section); at = section.range.last + 1) {
        int n = snprintf(ret_text + used, size - used, "%" PRIx64 "-%" PRIx64 " %s+%" PRIx64 "%s\n",
                         section.range.first, section.range.last, mv_region_name(section.region), section.offset,
                         section.readonly ? " ro" : "");
        assert_true(n > 0 && (size_t)n < size - used);
        used += (size_t)n;
    }
    mv_view_release(view);
}

static void assert_view(struct mv_space *space, const char *expected)
{
    char text[4096];
    describe(space, text, sizeof text);
    assert_string_equal(text, expected);
}

#define ROMS                                                                                                      \
    "c0000-dffff pc.rom+0 ro\n"                                                                                   \
    "e0000-fffff pc.bios+20000 ro\n"
#define CHIPS                                                                                                     \
    "fec00000-fec00fff ioapic+0\n"                                                                                \
    "fed00000-fed003ff hpet+0\n"                                                                                  \
    "fee00000-feefffff apic-msi+0\n"                                                                              \
    "fffc0000-ffffffff pc.bios+0 ro\n"

/* --- memory ------------------------------------------------------------------------------------ */

static void assert_memory_map(uint64_t ram_bytes, const char *expected)
{
    struct fixture f;
    open_board(&f, ram_bytes);
    assert_view(mv_board_memory(f.board), expected);
    close_board(&f);
}

/* What `info mtree -f` of QEMU 7.2 says for the same -m. */
static void memory_is_qemus(void **state)
{
    (void)state;
    assert_memory_map(128 * MIB, "0-bffff pc.ram+0\n" ROMS "100000-7ffffff pc.ram+100000\n" CHIPS);
    assert_memory_map(3 * GIB, "0-bffff pc.ram+0\n" ROMS "100000-bfffffff pc.ram+100000\n" CHIPS);
    assert_memory_map(3500 * MIB, "0-bffff pc.ram+0\n" ROMS "100000-dabfffff pc.ram+100000\n" CHIPS);
    assert_memory_map(3584 * MIB, "0-bffff pc.ram+0\n" ROMS "100000-bfffffff pc.ram+100000\n" CHIPS
                                  "100000000-11fffffff pc.ram+c0000000\n");
    assert_memory_map(10 * GIB, "0-bffff pc.ram+0\n" ROMS "100000-bfffffff pc.ram+100000\n" CHIPS
                                "100000000-2bfffffff pc.ram+c0000000\n");
}

static void a_little_ram_is_enough(void **state)
{
    (void)state;
    assert_memory_map(MIB, "0-bffff pc.ram+0\n" ROMS CHIPS);
}

/* Register values, and what the real QEMU shows for them; tests/peers/qemu_pc_test.py asks it. */
static void pam_registers_are_qemus(void **state)
{
    (void)state;
    struct fixture f;
    open_board(&f, 128 * MIB);
    struct mv_space *memory = mv_board_memory(f.board);
    set_register(&f, 0x59, 0x10);
    set_register(&f, 0x5a, 0x10);
    assert_view(memory, "0-bffff pc.ram+0\n"
                        "c0000-c3fff pc.rom+0 ro\n"
                        "c4000-c7fff pc.ram+c4000 ro\n"
                        "c8000-dffff pc.rom+8000 ro\n"
                        "e0000-effff pc.bios+20000 ro\n"
                        "f0000-fffff pc.ram+f0000 ro\n"
                        "100000-7ffffff pc.ram+100000\n" CHIPS);
    set_register(&f, 0x59, 0x20);
    set_register(&f, 0x5a, 0x02);
    assert_view(memory, "0-c3fff pc.ram+0\n"
                        "c4000-dffff pc.rom+4000 ro\n"
                        "e0000-effff pc.bios+20000 ro\n"
                        "f0000-7ffffff pc.ram+f0000\n" CHIPS);
    set_register(&f, 0x59, 0x00);
    set_register(&f, 0x5a, 0x00);
    assert_view(memory, "0-bffff pc.ram+0\n" ROMS "100000-7ffffff pc.ram+100000\n" CHIPS);
    close_board(&f);
}

/* D_OPEN and G_SMRAME, each seen by everybody and in system management mode. */
static void smram_is_qemus(void **state)
{
    (void)state;
    static const struct {
        uint8_t value;
        bool open, enabled;
    } facts[] = {{0x02, false, false}, {0x0a, false, true}, {0x42, true, false}, {0x4a, true, true}};
    struct fixture f;
    open_with(&f, (struct mv_board_options){.ram_bytes = 128 * MIB, .vga_lowmem = true});
    struct mv_space *spaces[3];
    assert_int_equal(mv_board_spaces(f.board, spaces, 3), 3);
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        set_register(&f, 0x72, facts[i].value);
        const char *closed =
            "0-9ffff pc.ram+0\na0000-bffff vga-lowmem+0\n" ROMS "100000-7ffffff pc.ram+100000\n" CHIPS;
        const char *open = "0-bffff pc.ram+0\n" ROMS "100000-7ffffff pc.ram+100000\n" CHIPS;
        assert_view(spaces[0], facts[i].open ? open : closed);
        assert_view(spaces[2], facts[i].open || facts[i].enabled ? open : closed);
    }
    close_board(&f);
}

static void spaces_have_qemus_names(void **state)
{
    (void)state;
    static const char *const names[] = {"memory", "I/O", "cpu-smm-0"};
    static const char *const roots[] = {"system", "io", "memory"};
    struct fixture f;
    struct mv_space *spaces[3] = {0};
    open_board(&f, MIB);
    assert_int_equal(mv_board_spaces(f.board, spaces, 1), 3);
    assert_null(spaces[1]);
    assert_int_equal(mv_board_spaces(f.board, spaces, 3), 3);
    assert_ptr_equal(spaces[0], mv_board_memory(f.board));
    assert_ptr_equal(spaces[1], mv_board_io(f.board));
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(mv_space_name(spaces[i]), names[i]);
        assert_string_equal(mv_region_name(mv_space_root(spaces[i])), roots[i]);
    }
    close_board(&f);
}

/* --- firmware ---------------------------------------------------------------------------------- */

static void make_file(char *path, size_t bytes, int first)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    uint8_t *contents = malloc(bytes + 1);
    assert_non_null(contents);
    for (size_t i = 0; i < bytes; i++) {
        contents[i] = (uint8_t)(first + (int)(i / (64 * KIB)));
    }
    assert_int_equal(write(fd, contents, bytes), (ssize_t)bytes);
    free(contents);
    close(fd);
}

static void a_bios_ends_at_4_gib_and_at_1_mib(void **state)
{
    (void)state;
    struct fixture f;
    char path[] = "/tmp/memvirt-pc-XXXXXX";
    make_file(path, 256 * KIB, 1);
    open_with(&f, (struct mv_board_options){.ram_bytes = MIB, .bios = path});
    struct mv_space *memory = mv_board_memory(f.board);
    assert_int_equal(read_at(memory, 0xfffc0000, 1), 1);
    assert_int_equal(read_at(memory, 0xfffffff0, 1), 4);
    assert_int_equal(read_at(memory, 0xe0000, 1), 3);
    assert_int_equal(read_at(memory, 0xfffff, 1), 4);
    assert_int_equal(mv_space_write(memory, mv_gpa(0xfffffff0), "x", 1, MV_ATTRS_NONE), MV_DECODE_ERROR);
    assert_int_equal(mv_space_write(memory, mv_gpa(0xffff0), "x", 1, MV_ATTRS_NONE), MV_DECODE_ERROR);
    close_board(&f);
    unlink(path);
}

static void a_small_bios_is_at_1_mib_in_full(void **state)
{
    (void)state;
    struct fixture f;
    char path[] = "/tmp/memvirt-pc-XXXXXX";
    make_file(path, 64 * KIB, 1);
    open_with(&f, (struct mv_board_options){.ram_bytes = MIB, .bios = path});
    assert_view(mv_board_memory(f.board), "0-bffff pc.ram+0\n"
                                          "c0000-dffff pc.rom+0 ro\n"
                                          "e0000-effff pc.ram+e0000\n" /* no PCI device answers there */
                                          "f0000-fffff pc.bios+0 ro\n"
                                          "fec00000-fec00fff ioapic+0\n"
                                          "fed00000-fed003ff hpet+0\n"
                                          "fee00000-feefffff apic-msi+0\n"
                                          "ffff0000-ffffffff pc.bios+0 ro\n");
    close_board(&f);
    unlink(path);
}

static void without_a_bios_the_reset_vector_halts(void **state)
{
    (void)state;
    struct fixture f;
    open_board(&f, MIB);
    assert_int_equal(read_at(mv_board_memory(f.board), 0xfffffff0, 1), 0xf4);
    close_board(&f);
}

static void assert_refused(struct mv_board_options options, int code, const char *reason)
{
    struct mv_machine *machine;
    struct mv_board *board = NULL;
    struct mv_error err;
    options.vcpus = 1;
    assert_int_equal(mv_machine_create(&machine, NULL), 0);
    assert_int_equal(mv_board_create(machine, &options, &board, &err), code);
    assert_string_equal(err.reason, reason);
    assert_null(board);
    mv_machine_destroy(machine);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    char odd[] = "/tmp/memvirt-pc-XXXXXX", large[] = "/tmp/memvirt-pc-XXXXXX";
    make_file(odd, 64 * KIB + 1, 0);
    make_file(large, 8 * MIB + 64 * KIB, 0);
    const struct mv_board_options pc = {.kind = MV_BOARD_PC, .ram_bytes = MIB};
    struct mv_board_options options = pc;
    options.ram_bytes = MIB - 4 * KIB;
    assert_refused(options, -EINVAL, "bad-ram-size");
    options = pc;
    options.bios = odd;
    assert_refused(options, -EINVAL, "bad-bios");
    options.bios = large;
    assert_refused(options, -EINVAL, "bad-bios");
    options.bios = "/tmp";
    assert_refused(options, -ENOEXEC, "not-an-image");
    options.bios = "/nonexistent/bios";
    assert_refused(options, -ENOENT, "host");
    options.kind = MV_BOARD_MINIMAL;
    options.bios = odd;
    assert_refused(options, -EINVAL, "bad-bios");
    unlink(odd);
    unlink(large);
}

/* --- ports ------------------------------------------------------------------------------------- */

static void ports_are_where_the_documentation_says(void **state)
{
    (void)state;
    static const struct {
        uint16_t port;
        const char *name;
    } facts[] = {
        {0x00, "dma-chan"},
        {0x08, "dma-cont"},
        {0x10, "io"},
        {0x20, "pic"},
        {0x40, "pit"},
        {0x60, "i8042-data"},
        {0x61, "pcspk"},
        {0x64, "i8042-cmd"},
        {0x70, "rtc-index"},
        {0x71, "rtc"},
        {0x80, "ioport80"},
        {0x83, "dma-page"},
        {0x92, "port92"},
        {0xa1, "pic"},
        {0xb2, "apm-io"},
        {0xc0, "dma-chan"},
        {0xdf, "dma-cont"},
        {0xf0, "ioportF0"},
        {0xf4, "isa-debug-exit"},
        {0x3f8, "serial"},
        {0x402, "isa-debugcon"},
        {0x4d0, "elcr"},
        {0x4d1, "elcr"},
        {0x510, "fwcfg"},
        {0xcf8, "pci-conf-idx"},
        {0xcf9, "piix3-reset-control"},
        {0xcfb, "pci-conf-idx"},
        {0xcff, "pci-conf-data"},
        {0xafe0, "acpi-gpe0"},
    };
    struct fixture f;
    open_board(&f, MIB);
    const struct mv_view *view = mv_space_view(mv_board_io(f.board));
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        struct mv_section section;
        assert_true(mv_view_lookup(view, mv_gpa(facts[i].port), &section));
        assert_string_equal(mv_region_name(section.region), facts[i].name);
    }
    mv_view_release(view);
    close_board(&f);
}

/* Where it hides the DMA controller, as long as firmware has not set PMBA. */
static void what_pmba_maps_is_on_top(void **state)
{
    (void)state;
    struct fixture f;
    open_board(&f, MIB);
    struct mv_space *io = mv_board_io(f.board);
    write_at(io, 0xcf8, 4, 0x80000b80);
    write_at(io, 0xcfc, 1, 1);
    const struct mv_view *view = mv_space_view(io);
    struct mv_section section;
    assert_true(mv_view_lookup(view, mv_gpa(0), &section));
    assert_string_equal(mv_region_name(section.region), "acpi-evt");
    assert_true(mv_view_lookup(view, mv_gpa(6), &section));
    assert_string_equal(mv_region_name(section.region), "dma-chan");
    mv_view_release(view);
    close_board(&f);
}

static void both_consoles_print_in_order(void **state)
{
    (void)state;
    struct fixture f;
    open_board(&f, MIB);
    assert_int_equal(read_at(mv_board_io(f.board), 0x402, 1), 0xe9);
    write_at(mv_board_io(f.board), 0x402, 1, 'a');
    write_at(mv_board_io(f.board), 0x3f8, 1, 'b');
    write_at(mv_board_io(f.board), 0x402, 1, 'c');
    assert_int_equal(f.kept.length, 3);
    assert_memory_equal(f.kept.bytes, "abc", 3);
    close_board(&f);
}

static uint64_t cmos(const struct fixture *f, unsigned index, unsigned length)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < length; i++) {
        write_at(mv_board_io(f->board), 0x70, 1, index + i);
        value |= read_at(mv_board_io(f->board), 0x71, 1) << (8 * i);
    }
    return value;
}

static void cmos_tells_how_much_ram_there_is(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, (struct mv_board_options){.ram_bytes = 10 * GIB, .vcpus = 3});
    assert_int_equal(cmos(&f, 0x15, 2), 640);
    assert_int_equal(cmos(&f, 0x17, 2), 0xffff);
    assert_int_equal(cmos(&f, 0x30, 2), 0xffff);
    assert_int_equal(cmos(&f, 0x34, 2), (3 * GIB - 16 * MIB) / (64 * KIB));
    assert_int_equal(cmos(&f, 0x5b, 3), 7 * GIB / (64 * KIB));
    assert_int_equal(cmos(&f, 0x5f, 1), 2);
    close_board(&f);
    open_board(&f, 2 * MIB);
    assert_int_equal(cmos(&f, 0x17, 2), 1024);
    assert_int_equal(cmos(&f, 0x34, 2), 0);
    assert_int_equal(cmos(&f, 0x5b, 3), 0);
    close_board(&f);
}

/* The first file is the memory map: address, size and type of each piece. */
static void fw_cfg_tells_where_ram_is(void **state)
{
    (void)state;
    struct fixture f;
    open_board(&f, 4 * GIB);
    struct mv_space *io = mv_board_io(f.board);
    write_at(io, 0x510, 2, 0x20);
    static const uint32_t expected[] = {0, 0, 0xc0000000, 0, 1, 0, 1, 0x40000000, 0, 1, 0};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_int_equal(read_at(io, 0x511, 4), expected[i]);
    }
    close_board(&f);
}

static void requests_without_a_vm_are_harmless(void **state)
{
    (void)state;
    struct fixture f;
    open_board(&f, MIB);
    struct mv_space *io = mv_board_io(f.board);
    write_at(io, 0x64, 1, 0xfe);
    write_at(io, 0x92, 1, 1);
    write_at(io, 0xcf9, 1, 6);
    write_at(io, 0xcf8, 4, 0x80000b80);
    write_at(io, 0xcfc, 1, 1);
    write_at(io, 0x4, 2, 0x2000); /* PMBA is still 0: on top of the DMA controller */
    close_board(&f);
}

/* Nothing that a guest writes to the ports may bring the board down. */
static void any_port_can_be_written_and_read(void **state)
{
    (void)state;
    struct fixture f;
    open_board(&f, 2 * MIB);
    struct mv_space *io = mv_board_io(f.board);
    uint64_t random = 1;
    f.kept.length = 0;
    for (unsigned i = 0; i < 200000; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t value = random >> 16;
        const uint64_t port = (random >> 40) % (i % 4 == 0 ? 0x10000 : 0x100);
        const unsigned size = 1U << (random >> 60) % 3;
        if (port == 0x402 || (port >= 0x3f8 && port < 0x400)) {
            continue; /* the consoles' bytes have nowhere to go */
        }
        (void)mv_space_write(io, mv_gpa(port), &value, size, MV_ATTRS_NONE);
        (void)mv_space_read(io, mv_gpa(port), &value, size, MV_ATTRS_NONE);
        if (i % 16 == 0) {
            value = 0x80000000 | (random >> 20 & 0xbfc);
            (void)mv_space_write(io, mv_gpa(0xcf8), &value, 4, MV_ATTRS_NONE);
            (void)mv_space_write(io, mv_gpa(0xcfc), &random, 4, MV_ATTRS_NONE);
        }
    }
    close_board(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_qemus),
        cmocka_unit_test(a_little_ram_is_enough),
        cmocka_unit_test(pam_registers_are_qemus),
        cmocka_unit_test(smram_is_qemus),
        cmocka_unit_test(spaces_have_qemus_names),
        cmocka_unit_test(a_bios_ends_at_4_gib_and_at_1_mib),
        cmocka_unit_test(a_small_bios_is_at_1_mib_in_full),
        cmocka_unit_test(without_a_bios_the_reset_vector_halts),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(ports_are_where_the_documentation_says),
        cmocka_unit_test(what_pmba_maps_is_on_top),
        cmocka_unit_test(both_consoles_print_in_order),
        cmocka_unit_test(cmos_tells_how_much_ram_there_is),
        cmocka_unit_test(fw_cfg_tells_where_ram_is),
        cmocka_unit_test(requests_without_a_vm_are_harmless),
        cmocka_unit_test(any_port_can_be_written_and_read),
    };
    return cmocka_run_group_tests_name("pc", tests, NULL, NULL);
}

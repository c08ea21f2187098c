// SPDX-License-Identifier: MIT
/* Commands about addresses and what is there. Formats and messages are those of QEMU 7.2's monitor. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <memvirt/explain.h>

#include "base/error.h"
#include "base/os.h"
#include "monitor/command.h"

/* More than anybody reads, and little enough to be shown while the VM waits. */
#define DUMP_BYTES_MAX (64 * 1024)
#define PAGE_BYTES 4096

/* --- x, xp ------------------------------------------------------------------------------------- */

/* A dump's bytes: as many lines of them as could be read. */
struct dump {
    struct session *session;
    struct mv_vcpu *vcpu; /* NULL: addresses are physical */
    uint64_t address;
    size_t wanted;
    size_t line_bytes;
    unsigned char *bytes;
    size_t got;
};

static bool translate(struct mv_vcpu *vcpu, uint64_t gva, uint64_t *ret)
{
    struct mv_chain chain;
    /* Judged or not, it says where the page is; the accelerator is not asked, which could set A. */
    const struct mv_asked asked = {.access = MV_ACCESS_READ};
    if (mv_explain_access(vcpu, mv_gva(gva), &asked, &chain, NULL) < 0) {
        return false;
    }
    bool mapped = chain.end == MV_CHAIN_COMPLETE || chain.end == MV_CHAIN_NOT_RAM;
    if (mapped) {
        *ret = chain.page.gpa.raw;
    }
    mv_chain_release(&chain);
    return mapped;
}

static bool read_physical(struct dump *dump, uint64_t gpa, unsigned char *to, size_t length)
{
    struct mv_space *memory = mv_vm_memory(dump->session->monitor->options.vm);
    return gpa + (length - 1) >= gpa && mv_space_read(memory, mv_gpa(gpa), to, length, MV_ATTRS_NONE) == MV_OK;
}

/* Page by page. */
static bool read_virtual(struct dump *dump, uint64_t gva, unsigned char *to, size_t length)
{
    while (length > 0) {
        size_t piece = PAGE_BYTES - gva % PAGE_BYTES;
        uint64_t gpa;
        piece = piece < length ? piece : length;
        if (!translate(dump->vcpu, gva, &gpa) || !read_physical(dump, gpa, to, piece)) {
            return false;
        }
        gva += piece;
        to += piece;
        length -= piece;
    }
    return true;
}

static void read_lines(struct dump *dump)
{
    while (dump->got < dump->wanted) {
        size_t length = dump->wanted - dump->got;
        length = length < dump->line_bytes ? length : dump->line_bytes;
        uint64_t at = dump->address + dump->got;
        unsigned char *to = dump->bytes + dump->got;
        if (!(dump->vcpu ? read_virtual(dump, at, to, length) : read_physical(dump, at, to, length))) {
            return;
        }
        dump->got += length;
    }
}

static struct value *dump_units(const struct dump *dump, unsigned unit_bytes)
{
    struct value *units = value_list();
    for (size_t i = 0; units && i < dump->got; i += unit_bytes) {
        uint64_t unit = 0;
        memcpy(&unit, dump->bytes + i, unit_bytes); /* the guest's byte order is ours */
        units = value_with_item(units, value_address(unit));
    }
    return units;
}

static int dump_result(struct dump *dump, const char *format, unsigned unit_bytes, struct value **ret)
{
    struct value *result = value_with(value_object(), "address", value_address(dump->address));
    result = value_with(result, "format", value_text(format));
    result = value_with(result, "unit-bytes", value_number(unit_bytes));
    result = value_with(result, "complete", value_bool(dump->got == dump->wanted));
    *ret = value_with(result, "units", dump_units(dump, unit_bytes));
    return 0;
}

static int check_dump(const struct value *arguments, char *ret_format, unsigned *ret_unit_bytes, size_t *ret_bytes,
                      struct mv_error *err)
{
    const char *format = value_text_at(arguments, "format");
    uint64_t count = value_at(arguments, "count") ? value_number_at(arguments, "count") : 1;
    uint64_t unit = value_at(arguments, "unit-bytes") ? value_number_at(arguments, "unit-bytes") : 4;
    char letter = format ? format[0] : 'x';
    if (format && (strlen(format) != 1 || !strchr("xduoc", letter))) {
        return error_set(err, -EINVAL, "bad-format", NULL, "the format must be one of x, d, u, o and c");
    }
    if (unit != 1 && unit != 2 && unit != 4 && unit != 8) {
        return error_set(err, -EINVAL, "bad-unit", NULL, "a unit has 1, 2, 4 or 8 bytes");
    }
    unit = letter == 'c' ? 1 : unit;
    if (count > DUMP_BYTES_MAX / unit) {
        return error_set(err, -EINVAL, "too-much", NULL, "at most %d bytes can be shown at once", DUMP_BYTES_MAX);
    }
    *ret_format = letter;
    *ret_unit_bytes = (unsigned)unit;
    *ret_bytes = (size_t)(count * unit);
    return 0;
}

static int dump_memory(struct session *session, struct mv_vcpu *vcpu, const struct value *arguments,
                       struct value **ret, struct mv_error *err)
{
    char format[2] = "";
    unsigned unit_bytes = 4;
    struct dump dump = {.session = session, .vcpu = vcpu, .address = value_number_at(arguments, "address")};
    int rc = check_dump(arguments, &format[0], &unit_bytes, &dump.wanted, err);
    if (rc < 0) {
        return rc;
    }
    dump.line_bytes = unit_bytes == 1 && format[0] != 'c' ? 8 : 16;
    dump.bytes = malloc(dump.wanted + 1);
    if (!dump.bytes) {
        return error_set(err, -ENOMEM, "no-memory", NULL, "out of memory");
    }
    if (vcpu) {
        mv_vm_pause(session->monitor->options.vm);
    }
    read_lines(&dump);
    if (vcpu) {
        mv_vm_resume(session->monitor->options.vm);
    }
    rc = dump_result(&dump, format, unit_bytes, ret);
    free(dump.bytes);
    return rc;
}

int memory_dump_physical(struct session *session, const struct value *arguments, struct value **ret,
                         struct mv_error *err)
{
    return dump_memory(session, NULL, arguments, ret, err);
}

int memory_dump_virtual(struct session *session, const struct value *arguments, struct value **ret,
                        struct mv_error *err)
{
    struct mv_vcpu *vcpu = registers_vcpu(session, err);
    return vcpu ? dump_memory(session, vcpu, arguments, ret, err) : -EINVAL;
}

static void print_char(struct text *out, unsigned char c)
{
    switch (c) {
    case '\'': text_print(out, "'\\''"); break;
    case '\\': text_print(out, "'\\\\'"); break;
    case '\n': text_print(out, "'\\n'"); break;
    case '\r': text_print(out, "'\\r'"); break;
    default:
        if (c >= ' ' && c < 0x7f) {
            text_print(out, "'%c'", c);
        } else {
            text_print(out, "'\\x%02x'", c);
        }
    }
}

/* As wide as the widest number of so many bytes. */
static void print_unit(struct text *out, char format, unsigned bytes, uint64_t unit)
{
    int bits = (int)bytes * 8;
    text_add(out, " ", 1);
    switch (format) {
    case 'x': text_print(out, "0x%0*" PRIx64, bits / 4, unit); break;
    case 'o': text_print(out, "%#*" PRIo64, (bits + 2) / 3, unit); break;
    case 'u': text_print(out, "%*" PRIu64, (bits * 10 + 32) / 33, unit); break;
    case 'd': text_print(out, "%*" PRId64, (bits * 10 + 32) / 33, (int64_t)unit); break;
    default: print_char(out, (unsigned char)unit);
    }
}

void memory_print_dump(const struct value *result, struct text *out)
{
    const struct value *units = value_at(result, "units");
    unsigned bytes = (unsigned)value_number_at(result, "unit-bytes");
    char format = value_text_at(result, "format")[0];
    size_t in_line = (bytes == 1 && format != 'c' ? 8 : 16) / bytes;
    uint64_t address = value_number_at(result, "address");
    for (size_t i = 0; i < units->many.count; i++) {
        if (i % in_line == 0) {
            text_print(out, "%s%016" PRIx64 ":", i > 0 ? "\n" : "", address + i * bytes);
        }
        print_unit(out, format, bytes, units->many.items[i].value->number);
    }
    if (units->many.count > 0) {
        text_add(out, "\n", 1);
    }
    if (!value_bool_at(result, "complete")) {
        text_print(out, "%016" PRIx64 ": Cannot access memory\n", address + units->many.count * bytes);
    }
}

/* --- one address into another ------------------------------------------------------------------ */

int memory_gva2gpa(struct session *session, const struct value *arguments, struct value **ret,
                   struct mv_error *err)
{
    struct mv_vcpu *vcpu = registers_vcpu(session, err);
    uint64_t gva = value_number_at(arguments, "address");
    uint64_t gpa = 0;
    if (!vcpu) {
        return -EINVAL;
    }
    mv_vm_pause(session->monitor->options.vm);
    bool mapped = translate(vcpu, gva, &gpa);
    mv_vm_resume(session->monitor->options.vm);
    struct value *result = value_with(value_object(), "gva", value_address(gva));
    result = value_with(result, "mapped", value_bool(mapped));
    *ret = mapped ? value_with(result, "gpa", value_address(gpa)) : result;
    return 0;
}

void memory_print_gva2gpa(const struct value *result, struct text *out)
{
    if (value_bool_at(result, "mapped")) {
        text_print(out, "gpa: %#" PRIx64 "\n", value_number_at(result, "gpa"));
    } else {
        text_print(out, "Unmapped\n");
    }
}

/* The host address of a gpa, and what is done with it while its view keeps it alive. */
static int locate(struct session *session, uint64_t gpa, struct value **ret, hva_t *ret_hva, struct mv_error *err)
{
    const struct mv_view *view = mv_space_view(mv_vm_memory(session->monitor->options.vm));
    struct mv_section section;
    int rc = 0;
    if (!mv_view_lookup(view, mv_gpa(gpa), &section)) {
        rc = error_set(err, -ENOENT, "unassigned", NULL, "No memory is mapped at address 0x%" PRIx64, gpa);
    } else if (section.hva.raw == 0) {
        rc = error_set(err, -EINVAL, "not-ram", NULL, "Memory at address 0x%" PRIx64 " is not RAM", gpa);
    } else {
        *ret_hva = hva_add(section.hva, gpa - section.range.first);
        *ret = value_with(value_with(value_object(), "gpa", value_address(gpa)), "region",
                          value_text(mv_region_name(section.region)));
    }
    mv_view_release(view);
    return rc;
}

int memory_gpa2hva(struct session *session, const struct value *arguments, struct value **ret,
                   struct mv_error *err)
{
    struct value *result;
    hva_t hva;
    int rc = locate(session, value_number_at(arguments, "address"), &result, &hva, err);
    if (rc == 0) {
        *ret = value_with(result, "hva", value_address(hva.raw));
    }
    return rc;
}

void memory_print_gpa2hva(const struct value *result, struct text *out)
{
    text_print(out, "Host virtual address for 0x%" PRIx64 " (%s) is 0x%" PRIx64 "\n",
               value_number_at(result, "gpa"), value_text_at(result, "region"), value_number_at(result, "hva"));
}

int memory_gpa2hpa(struct session *session, const struct value *arguments, struct value **ret,
                   struct mv_error *err)
{
    struct value *result;
    hva_t hva;
    hpa_t hpa;
    int rc = locate(session, value_number_at(arguments, "address"), &result, &hva, err);
    if (rc < 0) {
        return rc;
    }
    switch (os_hpa_of(hva, &hpa)) {
    case OS_HPA_OK: *ret = value_with(result, "hpa", value_address(hpa.raw)); return 0;
    case OS_HPA_NOT_PRESENT: rc = error_set(err, -ENOENT, "not-present", NULL, "Page not present"); break;
    case OS_HPA_NO_PERMISSION:
        rc = error_set(err, -EPERM, "no-permission", NULL, "/proc/self/pagemap: frame numbers need CAP_SYS_ADMIN");
        break;
    case OS_HPA_NO_PAGEMAP: rc = error_set(err, -EIO, "no-pagemap", NULL, "Cannot open /proc/self/pagemap"); break;
    }
    value_free(result);
    return rc;
}

void memory_print_gpa2hpa(const struct value *result, struct text *out)
{
    text_print(out, "Host physical address for 0x%" PRIx64 " (%s) is 0x%" PRIx64 "\n",
               value_number_at(result, "gpa"), value_text_at(result, "region"), value_number_at(result, "hpa"));
}

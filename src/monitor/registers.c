// SPDX-License-Identifier: MIT
/* A vCPU's registers: by name in expressions, and all of them in QEMU's layout. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/error.h"
#include "monitor/command.h"
#include "vm/walk.h"

struct all_registers {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
};

/* Where a name's value is, and how much of it is meant. */
struct register_name {
    const char *name;
    size_t offset;
    unsigned bytes;
};

#define REGS(field) offsetof(struct all_registers, regs.field)
#define SREGS(field) offsetof(struct all_registers, sregs.field)

static const struct register_name names[] = {
    {"rax", REGS(rax), 8},
    {"rbx", REGS(rbx), 8},
    {"rcx", REGS(rcx), 8},
    {"rdx", REGS(rdx), 8},
    {"rsi", REGS(rsi), 8},
    {"rdi", REGS(rdi), 8},
    {"rbp", REGS(rbp), 8},
    {"rsp", REGS(rsp), 8},
    {"r8", REGS(r8), 8},
    {"r9", REGS(r9), 8},
    {"r10", REGS(r10), 8},
    {"r11", REGS(r11), 8},
    {"r12", REGS(r12), 8},
    {"r13", REGS(r13), 8},
    {"r14", REGS(r14), 8},
    {"r15", REGS(r15), 8},
    {"rip", REGS(rip), 8},
    {"rflags", REGS(rflags), 8},
    {"eax", REGS(rax), 4},
    {"ebx", REGS(rbx), 4},
    {"ecx", REGS(rcx), 4},
    {"edx", REGS(rdx), 4},
    {"esi", REGS(rsi), 4},
    {"edi", REGS(rdi), 4},
    {"ebp", REGS(rbp), 4},
    {"esp", REGS(rsp), 4},
    {"eip", REGS(rip), 4},
    {"eflags", REGS(rflags), 4},
    {"cs", SREGS(cs.selector), 2},
    {"ds", SREGS(ds.selector), 2},
    {"es", SREGS(es.selector), 2},
    {"fs", SREGS(fs.selector), 2},
    {"gs", SREGS(gs.selector), 2},
    {"ss", SREGS(ss.selector), 2},
    {"cs.base", SREGS(cs.base), 8},
    {"ds.base", SREGS(ds.base), 8},
    {"es.base", SREGS(es.base), 8},
    {"fs.base", SREGS(fs.base), 8},
    {"gs.base", SREGS(gs.base), 8},
    {"ss.base", SREGS(ss.base), 8},
    {"cr0", SREGS(cr0), 8},
    {"cr2", SREGS(cr2), 8},
    {"cr3", SREGS(cr3), 8},
    {"cr4", SREGS(cr4), 8},
    {"cr8", SREGS(cr8), 8},
    {"efer", SREGS(efer), 8},
};

struct mv_vcpu *registers_vcpu(struct session *session, struct mv_error *err)
{
    struct mv_vcpu *vcpu = mv_vm_vcpu(session->monitor->options.vm, session->vcpu);
    if (!vcpu) {
        error_set(err, -EINVAL, "no-cpu", NULL, "No cpu");
    }
    return vcpu;
}

static int read_all(struct session *session, struct all_registers *ret, struct mv_error *err)
{
    struct mv_vm *vm = session->monitor->options.vm;
    struct mv_vcpu *vcpu = registers_vcpu(session, err);
    if (!vcpu) {
        return -EINVAL;
    }
    mv_vm_pause(vm);
    int rc = mv_vcpu_get_regs(vcpu, &ret->regs, err);
    if (rc == 0) {
        rc = mv_vcpu_get_sregs(vcpu, &ret->sregs, err);
    }
    mv_vm_resume(vm);
    return rc;
}

static uint64_t value_of(const struct all_registers *all, const struct register_name *name)
{
    uint64_t value = 0;
    memcpy(&value, (const unsigned char *)all + name->offset, name->bytes); /* little-endian, as x86 is */
    return value;
}

bool registers_find(void *opaque, const char *name, uint64_t *ret)
{
    struct all_registers all;
    bool is_pc = strcmp(name, "pc") == 0; /* as a linear address */
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (is_pc || strcmp(names[i].name, name) == 0) {
            if (read_all(opaque, &all, NULL) < 0) {
                return false;
            }
            *ret = is_pc ? walk_next_instruction(&all.regs, &all.sregs).raw : value_of(&all, &names[i]);
            return true;
        }
    }
    return false;
}

int registers_query(struct session *session, const struct value *arguments, struct value **ret,
                    struct mv_error *err)
{
    (void)arguments;
    struct all_registers all;
    int rc = read_all(session, &all, err);
    if (rc < 0) {
        return rc;
    }
    struct value *result = value_with(value_object(), "cpu-index", value_number(session->vcpu));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (names[i].bytes != 4) {
            result = value_with(result, names[i].name, value_address(value_of(&all, &names[i])));
        }
    }
    *ret = result;
    return 0;
}

static uint64_t get(const struct value *result, const char *name)
{
    return value_number_at(result, name);
}

static void print_row(const struct value *result, struct text *out, const char *const row[4][2])
{
    for (size_t i = 0; i < 4; i++) {
        text_print(out, "%s=%016" PRIx64 "%s", row[i][0], get(result, row[i][1]), i < 3 ? " " : "\n");
    }
}

void registers_print(const struct value *result, struct text *out)
{
    static const char *const rows[4][4][2] = {
        {{"RAX", "rax"}, {"RBX", "rbx"}, {"RCX", "rcx"}, {"RDX", "rdx"}},
        {{"RSI", "rsi"}, {"RDI", "rdi"}, {"RBP", "rbp"}, {"RSP", "rsp"}},
        {{"R8 ", "r8"}, {"R9 ", "r9"}, {"R10", "r10"}, {"R11", "r11"}},
        {{"R12", "r12"}, {"R13", "r13"}, {"R14", "r14"}, {"R15", "r15"}},
    };
    static const char *const segments[6][3] = {
        {"ES", "es", "es.base"}, {"CS", "cs", "cs.base"}, {"SS", "ss", "ss.base"},
        {"DS", "ds", "ds.base"}, {"FS", "fs", "fs.base"}, {"GS", "gs", "gs.base"},
    };
    text_print(out, "\nCPU#%" PRIu64 "\n", get(result, "cpu-index"));
    for (size_t i = 0; i < 4; i++) {
        print_row(result, out, rows[i]);
    }
    text_print(out, "RIP=%016" PRIx64 " RFL=%08" PRIx64 "\n", get(result, "rip"), get(result, "rflags"));
    for (size_t i = 0; i < 6; i++) {
        text_print(out, "%s =%04" PRIx64 " %016" PRIx64 "\n", segments[i][0], get(result, segments[i][1]),
                   get(result, segments[i][2]));
    }
    text_print(out, "CR0=%08" PRIx64 " CR2=%016" PRIx64 " CR3=%016" PRIx64 " CR4=%08" PRIx64 "\n",
               get(result, "cr0"), get(result, "cr2"), get(result, "cr3"), get(result, "cr4"));
    text_print(out, "EFER=%016" PRIx64 "\n", get(result, "efer"));
}

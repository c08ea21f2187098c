// SPDX-License-Identifier: MIT
/*
 * What an address leads to, by /dev/kvm, by `soft` in each scheme, and by the walk model: the same random guest
 * tables and registers for all of them, in each paging mode. KVM_TRANSLATE is a supervisor's read, which sets A.
 * So on `soft` that access is made as well: mv_vcpu_translate() there only looks. No guest runs.
 *
 * Where the host's KVM does not take a mode (one without hardware virtualization takes no paging but long mode's),
 * `soft` is held against the model alone, and the test says so. Left out for all is what KVM is known to do
 * otherwise than the manuals (tests/model/walk_model.h): bits 62:52 of PAE entries, bits 39:36 of PSE-36,
 * addresses that are not canonical.
 */
#include "tests/model/walk_random.h"

#include <memvirt/memvirt.h>

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define WORLDS 200
#define WALKS 150
#define MAX_CPUID 256
#define TABLES_GPA 4096u
#define TABLES_BYTES (4096u * WALK_TABLES)
#define SIDES 4
#define INVPCID_ALL 2u /* global pages, too */

/* A VM with the model's memory at 0, and nothing else. */
struct side {
    const char *name;
    struct mv_machine *machine;
    struct mv_block *block;
    struct mv_region *root, *ports;
    struct mv_space *memory, *io;
    struct mv_vm *vm;
    struct mv_vcpu *vcpu;
    uint8_t *ram;
    bool takes_mode;
};

static struct walk_memory memory;    /* the model's */
static uint8_t before[TABLES_BYTES]; /* its tables before the access */
static struct walk_random random_state;
static struct walk_limits limits;
static struct model_cpu host_cpu;     /* what the host's KVM lets guests have; without KVM everything */
static struct mv_accel_status status; /* of kvm */
static struct side sides[SIDES];      /* the first is kvm */
static bool kvm_has_la57;
static unsigned kvm_modes; /* a set of 1 << enum model_mode: in which it agreed */

static void must(int rc, const struct mv_error *err)
{
    if (rc < 0) {
        fail_msg("%s", err->text);
    }
}

/* --- Sides --------------------------------------------------------------------------------------------------- */

static void side_make(struct side *s, const char *accel)
{
    struct mv_error err = {0};
    const struct mv_block_options block = {.name = "ram", .size_bytes = WALK_MEMORY_BYTES};
    struct mv_region_options ram = {.name = "ram", .kind = MV_REGION_RAM, .size_bytes = WALK_MEMORY_BYTES};
    const struct mv_region_options ports = {.name = "io", .kind = MV_REGION_CONTAINER, .size_bytes = 65536};
    struct mv_block_info info;
    must(mv_machine_create(&s->machine, &err), &err);
    must(mv_block_create(s->machine, &block, &s->block, &err), &err);
    ram.block = s->block;
    must(mv_region_create(s->machine, &ram, &s->root, &err), &err);
    must(mv_region_create(s->machine, &ports, &s->ports, &err), &err);
    must(mv_space_create(s->machine, "memory", s->root, &s->memory, &err), &err);
    must(mv_space_create(s->machine, "I/O", s->ports, &s->io, &err), &err);
    must(mv_vm_create(&(struct mv_vm_options){.accel = accel, .memory = s->memory, .io = s->io}, &s->vm, &err),
         &err);
    must(mv_vm_add_vcpu(s->vm, &s->vcpu, &err), &err);
    mv_block_info(s->block, &info);
    s->ram = (uint8_t *)(uintptr_t)info.hva.raw;
}

static void side_end(struct side *s)
{
    mv_vm_destroy(s->vm);
    mv_space_destroy(s->memory);
    mv_space_destroy(s->io);
    mv_region_put(s->root);
    mv_region_put(s->ports);
    mv_block_put(s->block);
    mv_machine_destroy(s->machine);
}

/* A vCPU of the library has what the host's KVM supports; so have the model and `soft`. */
static void read_cpuid(void)
{
    struct model_cpu *cpu = &host_cpu;
    struct kvm_cpuid2 *cpuid = calloc(1, sizeof *cpuid + MAX_CPUID * sizeof cpuid->entries[0]);
    const int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    assert_non_null(cpuid);
    cpuid->nent = MAX_CPUID;
    assert_true(kvm >= 0 && ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid) == 0);
    cpu->smep = cpu->smap = cpu->pku = cpu->pks = cpu->pcid = cpu->has_1g = cpu->nx = false;
    for (unsigned i = 0; i < cpuid->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];
        if (e->function == 0) {
            cpu->amd = e->ebx == 0x68747541 || e->ebx == 0x6f677948; /* Auth(enticAMD), Hygo(nGenuine) */
        } else if (e->function == 7 && e->index == 0) {
            cpu->smep = e->ebx >> 7 & 1;
            cpu->smap = e->ebx >> 20 & 1;
            kvm_has_la57 = e->ecx >> 16 & 1;
        } else if (e->function == 0x80000001) {
            cpu->nx = e->edx >> 20 & 1;
            cpu->has_1g = e->edx >> 26 & 1;
        } else if (e->function == 0x80000008) {
            cpu->maxphyaddr = e->eax & 0xff;
        }
    }
    free(cpuid);
    close(kvm);
}

static int make_sides(void **state)
{
    static const char *const schemes[SIDES] = {"kvm", "native", "ept", "npt"};
    (void)state;
    const char *given = getenv("MEMVIRT_SEED");
    const uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    printf("# MEMVIRT_SEED=%" PRIu64 "\n", seed);
    walk_random_seed(&random_state, seed);
    host_cpu = walk_all_limits(48, false).cpu;
    mv_accel_check(0, &status);
    if (status.usable) {
        read_cpuid();
        side_make(&sides[0], "kvm");
    }
    const struct model_cpu *cpu = &host_cpu;
    for (unsigned i = 0; i < SIDES; i++) {
        char accel[128];
        sides[i].name = schemes[i];
        snprintf(accel, sizeof accel, "soft,mmu=%s,vendor=%s,1g-pages=%s,address-bits=%u%s", schemes[i],
                 cpu->amd ? "amd" : "intel", cpu->has_1g ? "on" : "off", cpu->maxphyaddr,
                 cpu->maxphyaddr > 48 ? ",levels=5" : "");
        if (i > 0) {
            side_make(&sides[i], accel);
        }
    }
    return 0;
}

static int end_sides(void **state)
{
    (void)state;
    for (unsigned i = status.usable ? 0 : 1; i < SIDES; i++) {
        side_end(&sides[i]);
    }
    return 0;
}

/* --- Worlds -------------------------------------------------------------------------------------------------- */

/* False if it refuses, or takes them and has others then: kvm_pvm drops CR0.PG outside of long mode. */
static bool set_registers(const struct side *s, const struct model_regs *regs)
{
    struct kvm_sregs sregs;
    struct mv_error err = {0};
    const struct kvm_regs general = {.rflags = 2 | regs->rflags};
    const bool long_mode = regs->efer & MODEL_EFER_LMA;
    must(mv_vcpu_get_sregs(s->vcpu, &sregs, &err), &err);
    sregs.cr0 = regs->cr0 | 0x10;
    sregs.cr3 = regs->cr3;
    sregs.cr4 = regs->cr4;
    sregs.efer = regs->efer;
    sregs.cs = (struct kvm_segment){.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .g = 1};
    sregs.cs.l = long_mode;
    sregs.cs.db = !long_mode;
    must(mv_vcpu_set_regs(s->vcpu, &general, &err), &err);
    if (mv_vcpu_set_sregs(s->vcpu, &sregs, &err) < 0) {
        return false;
    }
    must(mv_vcpu_get_sregs(s->vcpu, &sregs, &err), &err);
    return sregs.cr0 == (regs->cr0 | 0x10) && sregs.cr3 == regs->cr3 && sregs.cr4 == regs->cr4 &&
           sregs.efer == regs->efer;
}

/* See the top. */
static void leave_out(const struct model_world *world)
{
    const enum model_mode mode = model_mode(&world->regs);
    for (uint64_t at = TABLES_GPA; at < TABLES_GPA + TABLES_BYTES; at += 8) {
        uint64_t entry = walk_peek(&memory, at, 8);
        if (mode == MODEL_PAE) {
            entry &= ~UINT64_C(0x7ff0000000000000);
        } else if (mode == MODEL_32BIT) {
            entry &= entry & 0x80 ? ~UINT64_C(0x1e0000) : UINT64_MAX;
            entry &= entry & UINT64_C(0x8000000000) ? ~(UINT64_C(0x1e0000) << 32) : UINT64_MAX;
        }
        walk_poke(&memory, at, 8, entry);
    }
}

/* A new world on all sides. */
static void make_world(struct model_world *world)
{
    struct model_access access;
    memset(&memory, 0, sizeof memory);
    walk_random_world(&random_state, &limits, &memory, NULL, world);
    leave_out(world);
    walk_random_access(&random_state, world, &access); /* for RFLAGS.AC */
    world->regs.cpl = 0;
    for (unsigned i = 0; i < SIDES; i++) {
        if (sides[i].takes_mode) {
            memcpy(sides[i].ram, memory.bytes, WALK_MEMORY_BYTES);
            sides[i].takes_mode = set_registers(&sides[i], &world->regs);
            assert_true(i == 0 || sides[i].takes_mode);
            if (i > 0) {
                mv_soft_set_keys(sides[i].vcpu, world->regs.pkru, world->regs.pkrs);
                assert_true(mv_soft_invpcid(sides[i].vcpu, INVPCID_ALL, 0, mv_gva(0)));
            }
        }
    }
}

/* A canonical address, of a supervisor's read. */
static struct model_access make_access(const struct model_world *world)
{
    struct model_world copy = *world; /* its registers stay what all were told */
    struct model_access access;
    walk_random_access(&random_state, &copy, &access);
    access.kind = MODEL_READ;
    access.implicit = false;
    if (model_mode(&world->regs) == MODEL_4LEVEL) {
        access.gva = (uint64_t)((int64_t)(access.gva << 16) >> 16);
    } else if (model_mode(&world->regs) == MODEL_5LEVEL) {
        access.gva = (uint64_t)((int64_t)(access.gva << 7) >> 7);
    }
    return access;
}

/* Somebody's answer, and the tables that he should have now. */
struct answer {
    const char *how;
    bool valid;
    uint64_t gpa;
    const uint8_t *tables;
};

static void check_answer(const struct side *s, const struct model_world *world, const struct model_access *access,
                         const struct model_result *result, const struct answer *a)
{
    const bool ok = result->outcome == MODEL_OK;
    if (ok == a->valid && (!ok || result->gpa == a->gpa) &&
        memcmp(a->tables, s->ram + TABLES_GPA, TABLES_BYTES) == 0) {
        return;
    }
    walk_print(world, access, result);
    for (uint64_t at = 0; at < TABLES_BYTES; at += 8) {
        if (memcmp(a->tables + at, s->ram + TABLES_GPA + at, 8) != 0) {
            printf("# the entry at %" PRIx64 " is not as it should be\n", TABLES_GPA + at);
        }
    }
    fail_msg("%s, %s: %s, gpa 0x%" PRIx64, s->name, a->how, a->valid ? "valid" : "none", a->gpa);
}

static struct answer translate(const struct side *s, uint64_t gva)
{
    struct mv_translation got;
    struct mv_error err = {0};
    must(mv_vcpu_translate(s->vcpu, mv_gva(gva), &got, &err), &err);
    return (struct answer){.how = "translate",
                           .valid = got.valid,
                           .gpa = got.gpa.raw,
                           .tables = s == &sides[0] ? memory.bytes + TABLES_GPA : before};
}

static struct answer touch(const struct side *s, uint64_t gva)
{
    struct mv_soft_place place;
    struct mv_soft_outcome outcome;
    struct answer a = {.how = "read", .tables = memory.bytes + TABLES_GPA};
    switch (mv_soft_touch(s->vcpu, mv_gva(gva), MV_ACCESS_READ, &place, &outcome)) {
    case MV_SOFT_DONE: a.gpa = place.gpa.raw; break;
    case MV_SOFT_MMIO: a.gpa = outcome.mmio.gpa.raw; break;
    case MV_SOFT_FAULT: return a;
    case MV_SOFT_RING_FULL:
    case MV_SOFT_HOST_ERROR: fail_msg("%s: end %d", s->name, (int)outcome.end);
    }
    a.valid = true;
    return a;
}

/* NPT reads PDPTEs in the walk, where others have registers; conform/hardware_walk knows. */
static bool has_other_pdptes(const struct side *s, const struct model_world *world)
{
    return s == &sides[SIDES - 1] && model_mode(&world->regs) == MODEL_PAE;
}

static void check_side(const struct side *s, const struct model_world *world, const struct model_access *access,
                       const struct model_result *result)
{
    struct answer a = translate(s, access->gva);
    check_answer(s, world, access, result, &a);
    if (has_other_pdptes(s, world)) {
        memcpy(s->ram + TABLES_GPA, memory.bytes + TABLES_GPA, TABLES_BYTES);
    } else if (s != &sides[0]) {
        a = touch(s, access->gva);
        check_answer(s, world, access, result, &a);
    }
}

/* How many addresses lead somewhere, of WORLDS * WALKS. */
static unsigned check_worlds(void)
{
    unsigned found = 0;
    for (unsigned n = 0; n < WORLDS; n++) {
        struct model_world world;
        make_world(&world);
        for (unsigned i = 0; i < WALKS; i++) {
            const struct model_access access = make_access(&world);
            struct model_result result;
            memcpy(before, memory.bytes + TABLES_GPA, TABLES_BYTES);
            model_walk(&world, &access, &result);
            for (unsigned k = 0; k < SIDES; k++) {
                if (sides[k].takes_mode) {
                    check_side(&sides[k], &world, &access, &result);
                }
            }
            found += result.outcome == MODEL_OK;
        }
    }
    return found;
}

static void check_mode(enum model_mode mode)
{
    limits = (struct walk_limits){.cpu = host_cpu, .modes = 1u << mode, .nestings = 1u << MODEL_NO_NESTING};
    for (unsigned i = 0; i < SIDES; i++) {
        sides[i].takes_mode = sides[i].vm != NULL && !(i == 0 && mode == MODEL_5LEVEL && !kvm_has_la57);
    }
    const unsigned found = check_worlds();
    kvm_modes |= sides[0].takes_mode ? 1u << mode : 0;
    printf("# %u of %u addresses lead somewhere; kvm: %s\n", found, WORLDS * WALKS,
           sides[0].takes_mode ? "agrees"
           : status.usable     ? "it does not take this mode"
                               : status.text);
    assert_true(found > WORLDS);
}

static void all_agree_off(void **state)
{
    (void)state;
    check_mode(MODEL_OFF);
}

static void all_agree_32bit(void **state)
{
    (void)state;
    check_mode(MODEL_32BIT);
}

static void all_agree_pae(void **state)
{
    (void)state;
    check_mode(MODEL_PAE);
}

static void all_agree_4level(void **state)
{
    (void)state;
    check_mode(MODEL_4LEVEL);
}

static void all_agree_5level(void **state)
{
    (void)state;
    check_mode(MODEL_5LEVEL);
}

/* SMEP, SMAP and protection keys, which the host's processor may lack; so KVM is not asked. */
static void soft_agrees_with_all_features(void **state)
{
    (void)state;
    limits = walk_all_limits(host_cpu.maxphyaddr, host_cpu.amd);
    limits.cpu.has_1g = host_cpu.has_1g;
    limits.nestings = 1u << MODEL_NO_NESTING;
    for (unsigned i = 0; i < SIDES; i++) {
        sides[i].takes_mode = i > 0;
    }
    assert_true(check_worlds() > WORLDS);
}

/* Not by the way, as in the modes above. */
static void kvm_took_part(void **state)
{
    (void)state;
    if (!status.usable) {
        printf("# SKIP kvm_took_part: %s\n", status.text);
        skip();
    }
    assert_true(kvm_modes & 1u << MODEL_4LEVEL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_agree_off),    cmocka_unit_test(all_agree_32bit),
        cmocka_unit_test(all_agree_pae),    cmocka_unit_test(all_agree_4level),
        cmocka_unit_test(all_agree_5level), cmocka_unit_test(soft_agrees_with_all_features),
        cmocka_unit_test(kvm_took_part),
    };
    return cmocka_run_group_tests_name("translate", tests, make_sides, end_sides);
}

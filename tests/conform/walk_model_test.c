// SPDX-License-Identifier: MIT
/*
 * The walk model against KVM_TRANSLATE, which walks the guest's tables for a supervisor's read: random tables in
 * each paging mode that the host's KVM takes, by the kernel's own interface alone. No guest runs. Accessed flags
 * that KVM sets are compared, too.
 *
 * Left out is what KVM is known to do otherwise than the manuals (tests/model/walk_model.h): bits 62:52 of PAE
 * entries, bits 39:36 of PSE-36, addresses that are not canonical.
 */
#include "tests/model/walk_random.h"

#include <linux/kvm.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define WORLDS 150
#define WALKS 200
#define MAX_CPUID 256

struct rig {
    int kvm, vm, vcpu;
    uint8_t *ram; /* the guest's, WALK_MEMORY_BYTES */
    struct walk_limits limits;
};

static struct walk_memory memory; /* the model's */
static struct walk_random random_state;

static void must(int rc, const char *what)
{
    if (rc < 0) {
        fail_msg("%s: %s", what, strerror(errno));
    }
}

/* Give the guest what the host's KVM supports, and take the model's limits from that. */
static void set_cpuid(struct rig *rig)
{
    struct kvm_cpuid2 *cpuid = calloc(1, sizeof *cpuid + MAX_CPUID * sizeof cpuid->entries[0]);
    assert_non_null(cpuid);
    cpuid->nent = MAX_CPUID;
    must(ioctl(rig->kvm, KVM_GET_SUPPORTED_CPUID, cpuid), "KVM_GET_SUPPORTED_CPUID");
    struct model_cpu *cpu = &rig->limits.cpu;
    rig->limits =
        (struct walk_limits){.cpu = {.maxphyaddr = 36, .pat = true, .pae = true, .pse = true, .pge = true},
                             .nestings = 1u << MODEL_NO_NESTING};
    for (unsigned i = 0; i < cpuid->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];
        if (e->function == 0) {
            cpu->amd = e->ebx == 0x68747541 || e->ebx == 0x6f677948; /* Auth(enticAMD), Hygo(nGenuine) */
        } else if (e->function == 1) {
            cpu->pse36 = e->edx >> 17 & 1;
        } else if (e->function == 7 && e->index == 0) {
            cpu->smep = e->ebx >> 7 & 1;
            cpu->smap = e->ebx >> 20 & 1;
            cpu->la57 = e->ecx >> 16 & 1;
        } else if (e->function == 0x80000001) {
            cpu->nx = e->edx >> 20 & 1;
            cpu->has_1g = e->edx >> 26 & 1;
        } else if (e->function == 0x80000008) {
            cpu->maxphyaddr = e->eax & 0xff;
        }
    }
    must(ioctl(rig->vcpu, KVM_SET_CPUID2, cpuid), "KVM_SET_CPUID2");
    free(cpuid);
}

static void rig_init(struct rig *rig)
{
    rig->vm = ioctl(rig->kvm, KVM_CREATE_VM, 0);
    must(rig->vm, "KVM_CREATE_VM");
    rig->ram = mmap(NULL, WALK_MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(rig->ram != MAP_FAILED);
    struct kvm_userspace_memory_region region = {.memory_size = WALK_MEMORY_BYTES,
                                                 .userspace_addr = (uintptr_t)rig->ram};
    must(ioctl(rig->vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    rig->vcpu = ioctl(rig->vm, KVM_CREATE_VCPU, 0);
    must(rig->vcpu, "KVM_CREATE_VCPU");
    set_cpuid(rig);
}

static void rig_finish(struct rig *rig)
{
    close(rig->vcpu);
    close(rig->vm);
    close(rig->kvm);
    munmap(rig->ram, WALK_MEMORY_BYTES);
}

/* False if KVM refuses, or takes them and has others then: kvm_pvm drops CR0.PG outside of long mode. */
static bool set_registers(struct rig *rig, const struct model_regs *regs)
{
    struct kvm_sregs sregs;
    struct kvm_regs general = {.rflags = 2 | regs->rflags};
    const bool long_mode = regs->efer & MODEL_EFER_LMA;
    must(ioctl(rig->vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
    sregs.cr0 = regs->cr0 | 0x10;
    sregs.cr3 = regs->cr3;
    sregs.cr4 = regs->cr4;
    sregs.efer = regs->efer;
    sregs.cs = (struct kvm_segment){.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .g = 1};
    sregs.cs.l = long_mode;
    sregs.cs.db = !long_mode;
    must(ioctl(rig->vcpu, KVM_SET_REGS, &general), "KVM_SET_REGS");
    if (ioctl(rig->vcpu, KVM_SET_SREGS, &sregs) < 0) {
        return false;
    }
    must(ioctl(rig->vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
    return sregs.cr0 == (regs->cr0 | 0x10) && sregs.cr3 == regs->cr3 && sregs.cr4 == regs->cr4 &&
           sregs.efer == regs->efer;
}

/* See the top. */
static void leave_out(struct model_world *world)
{
    const enum model_mode mode = model_mode(&world->regs);
    for (uint64_t at = 4096; at < 4096 * (1 + WALK_TABLES); at += 8) {
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

static void walk_one(struct rig *rig, const struct model_world *world, const struct model_access *access,
                     unsigned *found)
{
    struct model_result result;
    struct kvm_translation translation = {.linear_address = access->gva};
    model_walk(world, access, &result);
    must(ioctl(rig->vcpu, KVM_TRANSLATE, &translation), "KVM_TRANSLATE");
    const bool ok = result.outcome == MODEL_OK;
    if (ok != translation.valid || (ok && result.gpa != translation.physical_address) ||
        memcmp(memory.bytes, rig->ram, WALK_MEMORY_BYTES) != 0) {
        walk_print(world, access, &result);
        for (uint64_t at = 0; at < WALK_MEMORY_BYTES; at += 8) {
            if (memcmp(memory.bytes + at, rig->ram + at, 8) != 0) {
                printf("# at %" PRIx64 ": model %" PRIx64 "\n", at, walk_peek(&memory, at, 8));
            }
        }
        fail_msg("KVM_TRANSLATE: %s, gpa 0x%" PRIx64, translation.valid ? "valid" : "none",
                 (uint64_t)translation.physical_address);
    }
    *found += ok;
}

/* False if KVM does not take the mode. */
static bool check_world(struct rig *rig, unsigned *found)
{
    struct model_world world;
    struct model_access access;
    memset(&memory, 0, sizeof memory);
    walk_random_world(&random_state, &rig->limits, &memory, NULL, &world);
    leave_out(&world);
    walk_random_access(&random_state, &world, &access);
    memcpy(rig->ram, memory.bytes, WALK_MEMORY_BYTES);
    if (!set_registers(rig, &world.regs)) {
        return false;
    }
    world.regs.cpl = 0;
    for (unsigned i = 0; i < WALKS; i++) {
        const uint64_t rflags = world.regs.rflags; /* it stays what KVM was told */
        walk_random_access(&random_state, &world, &access);
        world.regs.rflags = rflags;
        world.regs.cpl = 0;
        access.kind = MODEL_READ;
        access.implicit = false;
        if (model_mode(&world.regs) == MODEL_4LEVEL) {
            access.gva = (uint64_t)((int64_t)(access.gva << 16) >> 16);
        } else if (model_mode(&world.regs) == MODEL_5LEVEL) {
            access.gva = (uint64_t)((int64_t)(access.gva << 7) >> 7);
        }
        walk_one(rig, &world, &access, found);
    }
    return true;
}

static void check_mode(enum model_mode mode, const char *name)
{
    struct rig rig = {.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC)};
    if (rig.kvm < 0) {
        printf("# SKIP test_%s: /dev/kvm: %s\n", name, strerror(errno));
        skip();
    }
    const char *given = getenv("MEMVIRT_SEED");
    const uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    printf("# MEMVIRT_SEED=%" PRIu64 "\n", seed);
    walk_random_seed(&random_state, seed);
    unsigned found = 0;
    bool taken = true;
    rig_init(&rig);
    rig.limits.modes = 1u << mode;
    const bool la57 = rig.limits.cpu.la57;
    for (unsigned i = 0; i < WORLDS && taken && (mode != MODEL_5LEVEL || la57); i++) {
        taken = check_world(&rig, &found);
    }
    rig_finish(&rig);
    if (mode == MODEL_5LEVEL && !la57) {
        printf("# SKIP test_%s: this host has no 5-level paging\n", name);
        skip();
    }
    if (!taken) {
        printf("# SKIP test_%s: this host's KVM does not take the registers for it\n", name);
        skip();
    }
    printf("# %u of %u addresses lead somewhere\n", found, WORLDS * WALKS);
    assert_true(found > WORLDS);
}

static void test_off(void **state)
{
    (void)state;
    check_mode(MODEL_OFF, "off");
}

static void test_32bit(void **state)
{
    (void)state;
    check_mode(MODEL_32BIT, "32bit");
}

static void test_pae(void **state)
{
    (void)state;
    check_mode(MODEL_PAE, "pae");
}

static void test_4level(void **state)
{
    (void)state;
    check_mode(MODEL_4LEVEL, "4level");
}

static void test_5level(void **state)
{
    (void)state;
    check_mode(MODEL_5LEVEL, "5level");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_off),    cmocka_unit_test(test_32bit),  cmocka_unit_test(test_pae),
        cmocka_unit_test(test_4level), cmocka_unit_test(test_5level),
    };
    return cmocka_run_group_tests_name("walk-model", tests, NULL, NULL);
}

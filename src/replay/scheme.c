// SPDX-License-Identifier: MIT
/* One scheme: a VM on "soft", the guest's operating system in it, and the loop that carries records out. */
#include <memvirt/replay.h>

#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <memvirt/block.h>
#include <memvirt/machine.h>
#include <memvirt/region.h>
#include <memvirt/space.h>
#include <memvirt/vm.h>

#include "base/addr.h"
#include "base/error.h"
#include "replay/os.h"

#define MEMORY_DEFAULT (16 * GIB)
#define MEMORY_MAX (UINT64_C(1) << 46)
#define TLB_DEFAULT "L1=64x4:L2=1536x12"
/* A reference that faults more often than this will always fault. */
#define TRIES_MAX 16u

#define CR0_PE (UINT64_C(1) << 0)
#define CR0_WP (UINT64_C(1) << 16)
#define CR0_PG (UINT64_C(1) << 31)
#define CR4_PAE (UINT64_C(1) << 5)
#define CR4_PGE (UINT64_C(1) << 7)
#define CR4_LA57 (UINT64_C(1) << 12)
#define EFER_LONG_MODE (UINT64_C(0xd00)) /* LME, LMA, NXE */

struct mv_replay {
    char mmu[128];
    uint64_t memory_bytes;
    unsigned levels;
    uint8_t page_level;
    struct mv_machine *machine;
    struct mv_block *block;
    struct mv_region *ram, *ports;
    struct mv_space *memory, *io;
    struct mv_vm *vm;
    struct mv_vcpu *vcpu;
    struct os os;
    bool has_os;
    uint64_t references;
    uint64_t length;            /* of the unmap that follows */
    struct mv_soft_counts base; /* when the guest was ready: what came before is nobody's reference */
};

/* --- Making -------------------------------------------------------------------------------------------- */

static int bad_option(struct mv_error *err, const char *what, const char *value, const char *wanted)
{
    return error_set(err, -EINVAL, "bad-option", "replay", "replay: %s '%s' is not %s", what, value, wanted);
}

static int page_level(const char *text, uint8_t *ret)
{
    static const char *const words[] = {"4K", "2M", "1G"};
    for (uint8_t i = 0; i < 3; i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret = (uint8_t)(i + 1);
            return 0;
        }
    }
    return -EINVAL;
}

static int check(struct mv_replay *r, const struct mv_replay_options *o, struct mv_error *err)
{
    char number[24];
    r->levels = o->levels ? o->levels : 4;
    if (r->levels != 4 && r->levels != 5) {
        snprintf(number, sizeof number, "%u", o->levels);
        return bad_option(err, "levels", number, "4 or 5");
    }
    if (o->guest_page && page_level(o->guest_page, &r->page_level) < 0) {
        return bad_option(err, "guest page", o->guest_page, "4K, 2M or 1G");
    }
    r->memory_bytes = o->memory_bytes ? o->memory_bytes : MEMORY_DEFAULT;
    if (r->memory_bytes % GIB != 0 || r->memory_bytes > MEMORY_MAX) {
        snprintf(number, sizeof number, "%llu", (unsigned long long)o->memory_bytes);
        return bad_option(err, "memory", number, "a multiple of 1 GiB, up to 64 TiB");
    }
    int length = snprintf(r->mmu, sizeof r->mmu, "%s", o->mmu ? o->mmu : "(none)");
    return (size_t)length < sizeof r->mmu ? 0 : bad_option(err, "mmu", o->mmu, "as short as can be believed");
}

static int make_memory(struct mv_replay *r, struct mv_error *err)
{
    struct mv_block_options block = {.name = "guest", .size_bytes = r->memory_bytes, .align_bytes = GIB};
    struct mv_region_options ram = {.name = "guest", .kind = MV_REGION_RAM, .size_bytes = r->memory_bytes};
    struct mv_region_options ports = {.name = "io", .kind = MV_REGION_CONTAINER, .size_bytes = 65536};
    int rc = mv_machine_create(&r->machine, err);
    if (rc == 0) {
        rc = mv_block_create(r->machine, &block, &r->block, err);
    }
    if (rc == 0) {
        ram.block = r->block;
        rc = mv_region_create(r->machine, &ram, &r->ram, err);
    }
    if (rc == 0) {
        rc = mv_region_create(r->machine, &ports, &r->ports, err);
    }
    if (rc == 0) {
        rc = mv_space_create(r->machine, "memory", r->ram, &r->memory, err);
    }
    return rc == 0 ? mv_space_create(r->machine, "I/O", r->ports, &r->io, err) : rc;
}

/* Properties may follow the name. */
static bool is_scheme(const char *mmu, const char *name)
{
    size_t length = strlen(name);
    return strncmp(mmu, name, length) == 0 && (mmu[length] == 0 || mmu[length] == ',');
}

static int make_vm(struct mv_replay *r, const struct mv_replay_options *o, struct mv_error *err)
{
    bool has_own = !is_scheme(r->mmu, "native"), has_nested = has_own && !is_scheme(r->mmu, "shadow");
    char own[64] = "", nested[64] = "", accel[512]; /* what means something to the scheme */
    if (has_own) {
        snprintf(own, sizeof own, ",host-page=%s,populate=off", o->host_page ? o->host_page : "4K");
    }
    if (has_nested) {
        snprintf(nested, sizeof nested, ",levels=%u%s", r->levels, o->walk_caches ? ",nested-tlb=on" : "");
    }
    int length = snprintf(accel, sizeof accel, "soft,mmu=%s,tlb=%s,walk-caches=%s%s%s", r->mmu,
                          o->tlb ? o->tlb : TLB_DEFAULT, o->walk_caches ? "on" : "off", own, nested);
    if (length < 0 || (size_t)length >= sizeof accel) {
        return bad_option(err, "tlb", o->tlb, "as short as can be believed");
    }
    struct mv_vm_options options = {.accel = accel, .memory = r->memory, .io = r->io};
    int rc = mv_vm_create(&options, &r->vm, err);
    return rc == 0 ? mv_vm_add_vcpu(r->vm, &r->vcpu, err) : rc;
}

/* User code in long mode. The operating system loads CR3. */
static int set_mode(struct mv_replay *r, struct mv_error *err)
{
    struct kvm_sregs sregs;
    int rc = mv_vcpu_get_sregs(r->vcpu, &sregs, err);
    if (rc < 0) {
        return rc;
    }
    sregs.cr0 = CR0_PG | CR0_PE | CR0_WP;
    sregs.cr4 = CR4_PAE | CR4_PGE | (r->levels == 5 ? CR4_LA57 : 0);
    sregs.efer = EFER_LONG_MODE;
    sregs.cr3 = r->memory_bytes; /* nowhere: not a page that will be data, but was a table to who shadows */
    sregs.cs.l = 1;
    sregs.cs.dpl = sregs.ss.dpl = 3;
    return mv_vcpu_set_sregs(r->vcpu, &sregs, err);
}

static int make_all(struct mv_replay *r, const struct mv_replay_options *o, struct mv_error *err)
{
    int rc = check(r, o, err);
    if (rc == 0) {
        rc = make_memory(r, err);
    }
    if (rc == 0) {
        rc = make_vm(r, o, err);
    }
    if (rc == 0) {
        rc = set_mode(r, err);
    }
    if (rc < 0) {
        return rc;
    }
    struct mv_block_info block;
    mv_block_info(r->block, &block);
    struct os_options os = {.vcpu = r->vcpu,
                            .ram = hva_pointer(block.hva),
                            .ram_bytes = r->memory_bytes,
                            .page_level = r->page_level,
                            .levels = (uint8_t)r->levels};
    r->has_os = true;
    rc = os_init(&r->os, &os, err);
    mv_soft_counts(r->vcpu, &r->base);
    return rc;
}

int mv_replay_create(const struct mv_replay_options *options, struct mv_replay **ret, struct mv_error *err)
{
    struct mv_replay *r = calloc(1, sizeof *r);
    if (!r) {
        return error_set(err, -ENOMEM, "no-memory", "replay", "replay: out of memory");
    }
    r->page_level = 1;
    int rc = make_all(r, options, err);
    if (rc < 0) {
        mv_replay_destroy(r);
        return rc;
    }
    *ret = r;
    return 0;
}

void mv_replay_destroy(struct mv_replay *r)
{
    if (!r) {
        return;
    }
    if (r->has_os) {
        os_finish(&r->os);
    }
    mv_vm_destroy(r->vm);
    mv_space_destroy(r->io);
    mv_space_destroy(r->memory);
    mv_region_put(r->ram);
    mv_region_put(r->ports);
    mv_block_put(r->block);
    mv_machine_destroy(r->machine);
    free(r);
}

/* --- Carrying out -------------------------------------------------------------------------------------- */

static const uint8_t access_of[] = {
    [MV_TRACE_READ] = MV_ACCESS_READ,        [MV_TRACE_WRITE] = MV_ACCESS_WRITE,
    [MV_TRACE_FETCH] = MV_ACCESS_FETCH,      [MV_TRACE_MODIFY] = MV_ACCESS_WRITE,
    [MV_TRACE_READ_MORE] = MV_ACCESS_READ,   [MV_TRACE_WRITE_MORE] = MV_ACCESS_WRITE,
    [MV_TRACE_FETCH_MORE] = MV_ACCESS_FETCH,
};

static int host_failed(const struct mv_soft_outcome *outcome, uint64_t gva, struct mv_error *err)
{
    int rc = outcome->end == MV_SOFT_HOST_ERROR ? outcome->error : -EIO;
    return error_host(err, rc, "replay", "replay: address 0x%llx cannot be reached", (unsigned long long)gva);
}

/* What the hardware did not do at once: the operating system repairs, and the reference is tried again. */
static int refer_slowly(struct mv_replay *r, uint64_t gva, enum mv_access kind, struct mv_soft_outcome *outcome,
                        struct mv_error *err)
{
    struct mv_soft_place place;
    for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
        if (outcome->end == MV_SOFT_DONE) {
            return 0;
        }
        if (outcome->end != MV_SOFT_FAULT) {
            return host_failed(outcome, gva, err);
        }
        if (outcome->fault.vector != 14) {
            r->os.counts.bad_references++; /* a non-canonical address: a process would get a signal */
            return 0;
        }
        int rc = os_fault(&r->os, &outcome->fault, err);
        if (rc < 0) {
            return rc;
        }
        (void)mv_soft_touch(r->vcpu, mv_gva(gva), kind, &place, outcome);
    }
    return error_set(err, -EIO, "livelock", "replay", "replay: address 0x%llx faults again and again",
                     (unsigned long long)gva);
}

static int carry_out_event(struct mv_replay *r, mv_trace_record_t record, struct mv_error *err)
{
    uint64_t argument = mv_trace_address_of(record);
    switch (mv_trace_event_of(record)) {
    case MV_TRACE_SWITCH: return os_switch(&r->os, argument, err);
    case MV_TRACE_FORK: return os_fork(&r->os, argument, err);
    case MV_TRACE_EXIT: return os_exit(&r->os, argument, err);
    case MV_TRACE_LENGTH: r->length = argument; return 0;
    case MV_TRACE_UNMAP: return os_unmap(&r->os, argument, r->length, err);
    }
    return error_set(err, -EINVAL, "bad-event", "replay", "replay: an unknown event");
}

int mv_replay_feed(struct mv_replay *r, const mv_trace_record_t *records, size_t count, struct mv_error *err)
{
    struct mv_soft_place place;
    struct mv_soft_outcome outcome;
    for (size_t i = 0; i < count; i++) {
        enum mv_trace_kind kind = mv_trace_kind_of(records[i]);
        if (__builtin_expect(kind == MV_TRACE_EVENT, 0)) {
            int rc = carry_out_event(r, records[i], err);
            if (rc < 0) {
                return rc;
            }
            continue;
        }
        uint64_t gva = mv_trace_address_of(records[i]);
        r->references += kind <= MV_TRACE_MODIFY;
        if (__builtin_expect(mv_soft_touch(r->vcpu, mv_gva(gva), (enum mv_access)access_of[kind], &place,
                                           &outcome) != MV_SOFT_DONE,
                             0)) {
            int rc = refer_slowly(r, gva, (enum mv_access)access_of[kind], &outcome, err);
            if (rc < 0) {
                return rc;
            }
        }
    }
    return 0;
}

/* --- Asking -------------------------------------------------------------------------------------------- */

void mv_replay_result(const struct mv_replay *r, struct mv_replay_result *ret)
{
    const struct os_counts *c = &r->os.counts;
    *ret = (struct mv_replay_result){.references = r->references,
                                     .demand_faults = c->demand_faults,
                                     .cow_faults = c->cow_faults,
                                     .cow_copies = c->cow_copies,
                                     .spurious_faults = c->spurious_faults,
                                     .bad_references = c->bad_references,
                                     .switches = c->switches,
                                     .forks = c->forks,
                                     .exits = c->exits,
                                     .unmaps = c->unmaps,
                                     .processes = c->processes,
                                     .guest_table_writes = c->table_writes,
                                     .guest_tables = c->tables,
                                     .guest_tables_built = c->tables_built,
                                     .guest_pages = c->pages};
    mv_soft_counts(r->vcpu, &ret->soft);
    ret->soft.flushes -= r->base.flushes;
    ret->soft.exits_cr3 -= r->base.exits_cr3;
    ret->soft.exits_registers -= r->base.exits_registers;
    ret->soft.exits_total -= r->base.exits_cr3 + r->base.exits_registers;
}

int mv_replay_switch(struct mv_replay *r, uint64_t process, struct mv_error *err)
{
    if (!os_has_process(&r->os, process)) {
        return error_set(err, -ENOENT, "no-process", "replay", "replay: there is no process %llu",
                         (unsigned long long)process);
    }
    return os_switch(&r->os, process, err);
}

struct mv_vcpu *mv_replay_vcpu(struct mv_replay *r)
{
    return r->vcpu;
}

const char *mv_replay_mmu(const struct mv_replay *r)
{
    return r->mmu;
}

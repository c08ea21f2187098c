// SPDX-License-Identifier: MIT
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many of the pages that the guest touched are shown. */
#define TOUCHED_PAGES 3

/* No host has smaller pages. */
#define HOST_PAGE_BYTES 4096

/* --- words ------------------------------------------------------------------------------------- */

const char *report_why_name(enum report_why why)
{
    switch (why) {
    case REPORT_RIP: return "rip";
    case REPORT_TOUCHED: return "touched";
    case REPORT_ASKED: return "asked";
    }
    return "unknown";
}

const char *report_hpa_sentence(const char *hpa_reason)
{
    static const struct {
        const char *reason;
        const char *sentence;
    } sentences[] = {
        {"not-ram", "none: no host memory is behind it"},
        {"not-present", "none: the host has no page there at the moment (never touched, or swapped out)"},
        {"no-permission", "not readable: /proc/self/pagemap shows frame numbers only with CAP_SYS_ADMIN"},
        {"no-pagemap", "not readable: this host has no /proc/self/pagemap"},
    };
    for (size_t i = 0; hpa_reason && i < sizeof sentences / sizeof sentences[0]; i++) {
        if (strcmp(sentences[i].reason, hpa_reason) == 0) {
            return sentences[i].sentence;
        }
    }
    return hpa_reason ? hpa_reason : "unknown";
}

size_t report_slot_flags(uint32_t flags, const char *ret[REPORT_SLOT_FLAGS_MAX])
{
    size_t count = 0;
    if (flags & KVM_MEM_LOG_DIRTY_PAGES) {
        ret[count++] = "log-dirty-pages";
    }
    if (flags & KVM_MEM_READONLY) {
        ret[count++] = "readonly";
    }
    if (flags & (UINT32_C(1) << 2)) { /* KVM_MEM_GUEST_MEMFD of newer headers */
        ret[count++] = "guest-memfd";
    }
    if (flags >> 3) {
        ret[count++] = "other";
    }
    return count;
}

/* --- counters, slots and views ----------------------------------------------------------------- */

static bool gather_counters(struct mv_vm *vm, enum mv_counter_set set, struct report_counters *ret)
{
    const size_t capacity = mv_vm_counters(vm, set, NULL, 0);
    ret->items = calloc(capacity > 0 ? capacity : 1, sizeof *ret->items);
    if (!ret->items) {
        return false;
    }
    const size_t count = mv_vm_counters(vm, set, ret->items, capacity);
    ret->count = count < capacity ? count : capacity;
    return true;
}

static bool is_always_shown(const char *exit_name)
{
    return strcmp(exit_name, "mmio") == 0 || strcmp(exit_name, "io") == 0 || strcmp(exit_name, "hlt") == 0;
}

static bool gather_exits(struct mv_vm *vm, struct report *report)
{
    struct report_counters *exits = &report->exits;
    if (!gather_counters(vm, MV_COUNTERS_EXITS, exits)) {
        return false;
    }
    size_t shown = 0;
    for (size_t i = 0; i < exits->count; i++) {
        report->exit_total += exits->items[i].value;
        if (exits->items[i].value > 0 || is_always_shown(exits->items[i].name)) {
            exits->items[shown++] = exits->items[i];
        }
    }
    exits->count = shown;
    return true;
}

static bool gather_slots(struct mv_vm *vm, struct report *report)
{
    const size_t capacity = mv_vm_slots(vm, NULL, 0);
    report->slots = calloc(capacity > 0 ? capacity : 1, sizeof *report->slots);
    if (!report->slots) {
        return false;
    }
    const size_t count = mv_vm_slots(vm, report->slots, capacity);
    report->slot_count = count < capacity ? count : capacity;
    return true;
}

static bool gather_view(struct mv_space *space, struct report_view *ret)
{
    ret->space = mv_space_name(space);
    ret->root = mv_region_name(mv_space_root(space));
    ret->view = mv_space_view(space);
    const size_t capacity = mv_view_count(ret->view);
    ret->sections = calloc(capacity > 0 ? capacity : 1, sizeof *ret->sections);
    if (!ret->sections) {
        return false;
    }
    uint64_t at = 0;
    while (ret->count < capacity && mv_view_next(ret->view, mv_gpa(at), &ret->sections[ret->count])) {
        at = ret->sections[ret->count++].range.last + 1; /* wraps only after the last one, which ends the loop */
    }
    return true;
}

static void gather_ram(struct guest *guest, const struct run_options *options, struct report *report)
{
    struct mv_error err;
    struct mv_block *ram = mv_board_ram(guest->board);
    report->ram_path = options->backend.path;
    report->ram_share = options->backend.block.shared;
    mv_block_info(ram, &report->ram);
    if (mv_block_usage(ram, &report->ram_usage, &err) < 0) {
        memcpy(report->ram_failure, err.text, sizeof report->ram_failure);
    }
}

/* --- chains ------------------------------------------------------------------------------------ */

static bool has_gpa(const struct mv_chain *chain)
{
    return chain->end == MV_CHAIN_COMPLETE || chain->end == MV_CHAIN_NOT_RAM;
}

static enum report_agreement compare(const struct mv_chain *chain)
{
    if (!has_gpa(chain) && !chain->accel.valid) {
        return REPORT_BOTH_NONE;
    }
    const bool both = has_gpa(chain) && chain->accel.valid;
    return both && chain->accel.gpa.raw == chain->page.gpa.raw ? REPORT_SAME : REPORT_DIFFERENT;
}

/* Through the pointer that the chain ends in, so that they show whether it is the right one. */
static void read_bytes(struct report_chain *chain)
{
    const uint64_t hva = chain->chain.page.hva.raw;
    if (chain->chain.end == MV_CHAIN_COMPLETE) {
        const size_t rest_of_page = (size_t)(HOST_PAGE_BYTES - hva % HOST_PAGE_BYTES);
        chain->byte_count = rest_of_page < REPORT_BYTES ? rest_of_page : REPORT_BYTES;
        memcpy(chain->bytes, (const void *)(uintptr_t)hva, chain->byte_count);
    }
}

static void add_chain(struct report *report, struct mv_vcpu *vcpu, enum report_why why, mv_gva_t gva)
{
    struct mv_error err;
    struct report_chain *chain = &report->chains[report->chain_count++];
    *chain = (struct report_chain){.why = why, .gva = gva};
    const struct mv_asked asked = {.access = why == REPORT_RIP ? MV_ACCESS_FETCH : MV_ACCESS_READ,
                                   .asks_accel = true};
    int rc = why == REPORT_TOUCHED ? mv_explain(vcpu, gva, &chain->chain, &err)
                                   : mv_explain_access(vcpu, gva, &asked, &chain->chain, &err);
    if (rc < 0) {
        memcpy(chain->failure, err.text, sizeof chain->failure);
        return;
    }
    chain->explained = true;
    chain->agreement = compare(&chain->chain);
    read_bytes(chain);
}

/* The linear address of the next instruction: in 64-bit code the base is 0. */
static bool next_instruction(struct mv_vcpu *vcpu, mv_gva_t *ret)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    if (mv_vcpu_get_regs(vcpu, &regs, NULL) < 0 || mv_vcpu_get_sregs(vcpu, &sregs, NULL) < 0) {
        return false;
    }
    const uint64_t linear = sregs.cs.base + regs.rip;
    *ret = mv_gva(sregs.cs.l ? regs.rip : linear & UINT32_MAX);
    return true;
}

static bool gather_chains(struct mv_vm *vm, const struct run_options *options, struct report *report)
{
    mv_gva_t gva;
    mv_gva_t touched[TOUCHED_PAGES];
    struct mv_vcpu *vcpu = mv_vm_vcpu(vm, report->vcpu);
    report->chains = calloc(1 + TOUCHED_PAGES + options->explain_count, sizeof *report->chains);
    if (!report->chains) {
        return false;
    }
    if (next_instruction(vcpu, &gva)) {
        add_chain(report, vcpu, REPORT_RIP, gva);
    }
    const size_t count = mv_touched_pages(vcpu, touched, TOUCHED_PAGES);
    for (size_t i = 0; i < count; i++) {
        add_chain(report, vcpu, REPORT_TOUCHED, touched[i]);
    }
    for (size_t i = 0; i < options->explain_count; i++) {
        add_chain(report, vcpu, REPORT_ASKED, options->explain[i]);
    }
    return true;
}

/* --- all of it --------------------------------------------------------------------------------- */

static bool gather(struct report *report, struct guest *guest, const struct run_options *options)
{
    return gather_exits(guest->vm, report) && gather_counters(guest->vm, MV_COUNTERS_ACCESS, &report->access) &&
           gather_counters(guest->vm, MV_COUNTERS_SLOTS, &report->slot_calls) &&
           gather_counters(guest->vm, MV_COUNTERS_KERNEL, &report->kernel) && gather_slots(guest->vm, report) &&
           gather_view(mv_board_memory(guest->board), &report->memory) &&
           gather_view(mv_board_io(guest->board), &report->io) && gather_chains(guest->vm, options, report);
}

struct report *report_create(struct guest *guest, const struct run_options *options, const struct mv_stop *stop)
{
    struct report *report = calloc(1, sizeof *report);
    if (!report) {
        return NULL;
    }
    report->accel = options->accel;
    report->stop = *stop;
    report->vcpu = stop->vcpu >= 0 ? (unsigned)stop->vcpu : 0;
    report->console = &guest->console;
    gather_ram(guest, options, report);
    if (!gather(report, guest, options)) {
        report_destroy(report);
        return NULL;
    }
    return report;
}

static void drop_view(struct report_view *view)
{
    free(view->sections);
    if (view->view) {
        mv_view_release(view->view);
    }
}

void report_destroy(struct report *report)
{
    if (!report) {
        return;
    }
    for (size_t i = 0; i < report->chain_count; i++) {
        if (report->chains[i].explained) {
            mv_chain_release(&report->chains[i].chain);
        }
    }
    free(report->chains);
    drop_view(&report->io);
    drop_view(&report->memory);
    free(report->slots);
    free(report->kernel.items);
    free(report->slot_calls.items);
    free(report->access.items);
    free(report->exits.items);
    free(report);
}

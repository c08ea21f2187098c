// SPDX-License-Identifier: MIT
#include "board/enter.h"

#include "board/multiboot.h"

#define CR0_PE 0x1
#define CR0_ET 0x10
#define RFLAGS_ALWAYS 0x2

/* Segment types of the Intel SDM, "Code- and Data-Segment Descriptor Types". */
#define TYPE_DATA_RW_ACCESSED 3
#define TYPE_CODE_RX_ACCESSED 11

/* The specification leaves the values open; these are where most guests have the segments in a GDT of their own.
 */
#define FLAT_CODE_SELECTOR 0x08
#define FLAT_DATA_SELECTOR 0x10

/* The flat binary is at 1000:0000; its stack grows down from below it. */
#define REAL_SELECTOR 0x1000
#define REAL_STACK_SELECTOR 0
#define REAL_STACK 0x8000

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type)
{
    return (struct kvm_segment){
        .base = 0,
        .limit = UINT32_MAX,
        .selector = selector,
        .type = type,
        .present = 1,
        .db = 1,
        .s = 1,
        .g = 1,
    };
}

static struct kvm_segment real_segment(uint16_t selector, uint8_t type)
{
    return (struct kvm_segment){
        .base = (uint64_t)selector << 4,
        .limit = UINT16_MAX,
        .selector = selector,
        .type = type,
        .present = 1,
        .s = 1,
    };
}

static void set_data_segments(struct kvm_sregs *sregs, struct kvm_segment segment)
{
    sregs->ds = segment;
    sregs->es = segment;
    sregs->fs = segment;
    sregs->gs = segment;
}

/* "Machine state" of the Multiboot specification. A20 needs nothing: this board has no such gate. */
static void enter_protected(const struct mv_image *image, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
    sregs->cs = flat_segment(FLAT_CODE_SELECTOR, TYPE_CODE_RX_ACCESSED);
    sregs->ss = flat_segment(FLAT_DATA_SELECTOR, TYPE_DATA_RW_ACCESSED);
    set_data_segments(sregs, sregs->ss);
    sregs->cr0 = CR0_PE | CR0_ET;
    *regs = (struct kvm_regs){
        .rax = MULTIBOOT_EAX,
        .rbx = image->info.raw,
        .rip = image->entry.raw,
        .rflags = RFLAGS_ALWAYS,
    };
}

static void enter_real(const struct mv_image *image, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
    sregs->cs = real_segment(REAL_SELECTOR, TYPE_CODE_RX_ACCESSED);
    sregs->ss = real_segment(REAL_STACK_SELECTOR, TYPE_DATA_RW_ACCESSED);
    set_data_segments(sregs, real_segment(REAL_SELECTOR, TYPE_DATA_RW_ACCESSED));
    sregs->cr0 = CR0_ET;
    *regs = (struct kvm_regs){
        .rsp = REAL_STACK,
        .rip = image->entry.raw - sregs->cs.base,
        .rflags = RFLAGS_ALWAYS,
    };
}

void enter_registers(const struct mv_image *image, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
    sregs->cr3 = 0;
    sregs->cr4 = 0;
    sregs->efer = 0;
    switch (image->entry_mode) {
    case MV_ENTRY_PROTECTED: enter_protected(image, regs, sregs); break;
    case MV_ENTRY_REAL: enter_real(image, regs, sregs); break;
    }
}

int mv_image_enter(const struct mv_image *image, struct mv_vcpu *vcpu, struct mv_error *err)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    int rc = mv_vcpu_get_sregs(vcpu, &sregs, err);
    if (rc == 0) {
        rc = mv_vcpu_get_regs(vcpu, &regs, err);
    }
    if (rc < 0) {
        return rc;
    }
    enter_registers(image, &regs, &sregs);
    rc = mv_vcpu_set_sregs(vcpu, &sregs, err);
    return rc < 0 ? rc : mv_vcpu_set_regs(vcpu, &regs, err);
}

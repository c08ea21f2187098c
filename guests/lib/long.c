/* SPDX-License-Identifier: MIT */
#include "long.h"

enum {
    NVECTORS = 32,
    TRAP_STUB_SIZE = 16,
    GATE_INTERRUPT = 0x8e00, /* present, DPL 0, interrupt gate */
    DESC_TSS_AVAILABLE = 0x89,
};

struct gate {
    uint16_t offset_low;
    uint16_t selector;
    uint16_t attributes;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};

struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map_offset;
} __attribute__((packed));

struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

_Static_assert(sizeof(struct gate) == 16, "a long-mode gate");
_Static_assert(sizeof(struct tss) == 104, "a long-mode TSS");

extern char trap_stubs[], trap_stack_top[], user_first[], user_end[];
extern uint64_t boot_gdt[];

static struct gate idt[NVECTORS];
static struct tss tss;
static uint64_t low_pt[PAGE_TABLE_ENTRIES] __attribute__((aligned(PAGE_SIZE)));

static void idt_init(void)
{
    struct table_pointer pointer = {sizeof(idt) - 1, (uintptr_t)idt};
    uintptr_t stub = (uintptr_t)trap_stubs;

    for (unsigned i = 0; i < NVECTORS; i++, stub += TRAP_STUB_SIZE) {
        idt[i].offset_low = (uint16_t)stub;
        idt[i].offset_middle = (uint16_t)(stub >> 16);
        idt[i].selector = SEL_KERNEL_CODE;
        idt[i].attributes = GATE_INTERRUPT;
    }
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

static void tss_init(void)
{
    uint64_t base = (uintptr_t)&tss;
    uint64_t *descriptor = &boot_gdt[SEL_TSS / 8];

    tss.rsp[0] = (uintptr_t)trap_stack_top;
    tss.io_map_offset = sizeof(tss); /* beyond the limit: no port is open to ring 3 */

    /* The image lies below 16 MiB, so base bits 31:24 and the second word stay 0. */
    descriptor[0] = (sizeof(tss) - 1) | base << 16 | (uint64_t)DESC_TSS_AVAILABLE << 40;
    __asm__ volatile("ltr %w0" : : "r"(SEL_TSS));
}

/* 4 KiB granularity is what lets .user be open to ring 3 and its neighbours not. */
static void low_pages_init(void)
{
    uintptr_t first = (uintptr_t)user_first, end = (uintptr_t)user_end;

    for (uintptr_t gpa = 0, i = 0; i < PAGE_TABLE_ENTRIES; i++, gpa += PAGE_SIZE)
        low_pt[i] = gpa | PTE_P | PTE_W | (gpa >= first && gpa < end ? PTE_U : 0);

    /* The large page that this replaces is in the TLB: the reload of CR3 drops it. */
    boot_pd[0] = (uintptr_t)low_pt | PTE_P | PTE_W | PTE_U;
    __asm__ volatile("movq %0, %%cr3" : : "r"((uintptr_t)boot_pml4) : "memory");
}

void long_init(void)
{
    idt_init();
    tss_init();
    low_pages_init();
}

/* Both are only for traps.S and this file. */
void trap(struct trap_frame *frame);
_Noreturn void user_leave(uint64_t result);

static uint64_t read_cr2(void)
{
    uint64_t value;

    __asm__ volatile("movq %%cr2, %0" : "=r"(value));
    return value;
}

static _Noreturn void trap_report(const struct trap_frame *frame)
{
    console_puts("unexpected exception ");
    console_put_dec((uint32_t)frame->vector);
    console_puts(" error ");
    console_put_hex(frame->error);
    console_puts(" rip ");
    console_put_hex(frame->rip);
    console_puts(" cs ");
    console_put_hex(frame->cs);
    console_puts(" cr2 ");
    console_put_hex(read_cr2());
    console_puts("\n");
    guest_exit((uint8_t)(128 + frame->vector));
}

void trap(struct trap_frame *frame)
{
    if (frame->vector == TRAP_UD && frame->cs == SEL_USER_CODE)
        user_leave(frame->rax);
    if (frame->vector == TRAP_PF && guest_page_fault(read_cr2(), frame->error))
        return;
    trap_report(frame);
}

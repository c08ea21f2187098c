/* SPDX-License-Identifier: MIT */
/*
 * For guests in long mode: exceptions, 4 KiB pages, and ring 3.
 */
#ifndef LONG_H
#define LONG_H

#include "guest.h"
#include "layout.h"

#define PTE_NX (1ull << 63)
#define PTE_GPA_MASK 0x000ffffffffff000ull
#define PAGE_SIZE 4096u
#define PAGE_TABLE_ENTRIES 512u

enum trap_vector {
    TRAP_UD = 6,
    TRAP_PF = 14,
};

/* Page-fault error code (Intel SDM vol. 3, "Page-Fault Exceptions"). */
enum {
    PF_PRESENT = 1 << 0,
    PF_WRITE = 1 << 1,
    PF_USER = 1 << 2,
};

/* What traps.S pushes: the registers that C may change, then what the processor pushed. */
struct trap_frame {
    uint64_t r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

/*
 * Each guest says which page faults it expects. True: handled, run the instruction again. False: as for every
 * other exception, what happened is printed and the run ends with status 128 + vector.
 */
bool guest_page_fault(uint64_t gva, uint64_t error);

/* Loads the IDT and the TSS, maps the first 2 MiB in 4 KiB pages, and opens the image's .user sections to ring 3.
 */
void long_init(void);

/*
 * Runs `entry` in ring 3, on a stack of its own and with interrupts off, until it calls user_done(); returns what
 * that was given. Does not nest.
 */
uint64_t user_run(void (*entry)(void));

/*
 * The only system call, made with ud2. Neither `int` nor `syscall` would do: a KVM without hardware virtualization
 * gets both wrong, while an undefined opcode arrives as #UD wherever a guest can run.
 */
GUEST_INLINE _Noreturn void user_done(uint64_t result)
{
    __asm__ volatile("ud2" : : "a"(result) : "memory");
    __builtin_unreachable();
}

/* Places a function where ring 3 may run it. It may call only what is always inlined. */
#define USER_CODE __attribute__((section(".user.text"), noinline))

/* The tables of boot.S: identity for the first GiB. A guest may add to them. */
extern uint64_t boot_pml4[], boot_pdpt[], boot_pd[];

#endif

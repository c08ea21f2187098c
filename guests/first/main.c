/* SPDX-License-Identifier: MIT */
/*
 * The guest of the main demonstration; README.md beside this file is its contract with the host's tests.
 *
 * Everything that is not one of the LAZY_PAGES is mapped before ring 3 runs, so that each of them costs the guest
 * one page fault and nothing else costs any.
 */
#include "long.h"

#define LAZY_GVA 0x400040600000ull
#define LAZY_PAGES 1000u
#define LAZY_KEY 0x6d656d766972745full

enum {
    PAGE_LEVELS = 4,
    FRAMES = LAZY_PAGES + 16, /* the rest is for tables */
};

#define SCRATCH_VALUE 0x0123456789abcdefull

/* Zero because the loader zeroes .bss; a frame is handed out once. */
static uint8_t frames[FRAMES][PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
static unsigned frames_used;
static unsigned lazy_faults;

/* From the top down: then neighbours in GVA are never neighbours in GPA, and no offset links the two. */
static uint64_t frame_alloc(void)
{
    if (frames_used == FRAMES)
        guest_fail("first", "out of frames");
    frames_used++;
    return (uintptr_t)frames[FRAMES - frames_used];
}

/* Makes the tables it misses. All of them allow everything: the leaf decides. */
static void page_map(uint64_t gva, uint64_t leaf)
{
    uint64_t *table = boot_pml4;
    unsigned shift = 12 + 9 * (PAGE_LEVELS - 1);

    for (; shift > 12; shift -= 9) {
        uint64_t *entry = &table[gva >> shift & (PAGE_TABLE_ENTRIES - 1)];

        if (!(*entry & PTE_P))
            *entry = frame_alloc() | PTE_P | PTE_W | PTE_U;
        table = (uint64_t *)(uintptr_t)(*entry & PTE_GPA_MASK);
    }
    table[gva >> shift & (PAGE_TABLE_ENTRIES - 1)] = leaf;
}

bool guest_page_fault(uint64_t gva, uint64_t error)
{
    /* Ring 3 writes each page before it reads any, so nothing else is a first touch. */
    if (error != (PF_WRITE | PF_USER) || gva - LAZY_GVA >= (uint64_t)LAZY_PAGES * PAGE_SIZE)
        return false;
    lazy_faults++;
    page_map(gva, frame_alloc() | PTE_P | PTE_W | PTE_U | PTE_NX);
    return true;
}

USER_CODE static void user_touch(void)
{
    uint64_t wrong = 0;

    for (uint64_t i = 0; i < LAZY_PAGES; i++) {
        uint64_t gva = LAZY_GVA + i * PAGE_SIZE;

        *(volatile uint64_t *)(uintptr_t)gva = gva ^ LAZY_KEY;
    }
    for (uint64_t i = 0; i < LAZY_PAGES; i++) {
        uint64_t gva = LAZY_GVA + i * PAGE_SIZE;

        if (*(volatile uint64_t *)(uintptr_t)gva != (gva ^ LAZY_KEY))
            wrong++;
    }
    user_done(wrong);
}

USER_CODE static void user_mmio(void)
{
    uint64_t value;
    uint32_t id;

    memory_write64(BOARD_SCRATCH_GPA, SCRATCH_VALUE);
    value = memory_read64(BOARD_SCRATCH_GPA);
    id = memory_read32(BOARD_SCRATCH_GPA + 8);
    user_done((value != SCRATCH_VALUE) + (id != BOARD_SCRATCH_ID));
}

int guest_main(uint32_t multiboot_info_gpa)
{
    (void)multiboot_info_gpa;
    long_init();
    page_map(BOARD_SCRATCH_GPA, BOARD_SCRATCH_GPA | PTE_P | PTE_W | PTE_U | PTE_PWT | PTE_PCD | PTE_NX);
    console_puts("memvirt first: long mode\n");

    if (user_run(user_touch) != 0)
        guest_fail("first", "a page does not hold what was written");
    if (lazy_faults != LAZY_PAGES)
        guest_fail("first", "the number of page faults is wrong");
    console_puts("ring 3: ");
    console_put_dec(lazy_faults);
    console_puts(" pages touched\n");

    if (user_run(user_mmio) != 0)
        guest_fail("first", "the scratch device answers wrongly");
    console_puts("mmio: ok\n");

    console_puts("done\n");
    return 0;
}

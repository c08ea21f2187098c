/* SPDX-License-Identifier: MIT */
/* Starts every other processor with INIT and SIPI (Intel SDM vol. 3, "MP Initialization"), and counts arrivals. */
#include "guest.h"

enum {
    FWCFG_NB_CPUS = 5,
    APIC_ICR_LOW = 0x300,
    APIC_ICR_HIGH = 0x310,
    ICR_INIT = 0x4500, /* level assert */
    ICR_SIPI = 0x4600,
    AP_VECTOR = 0x08, /* the page that a SIPI names */
    WAIT_ROUNDS = 1000000,
};

extern const char ap_first[], ap_arrivals[], ap_end[];

static uint32_t cpu_count(void)
{
    uint32_t low;

    outw(PORT_FWCFG_SELECT, FWCFG_NB_CPUS);
    low = inb(PORT_FWCFG_DATA);
    return low | (uint32_t)inb(PORT_FWCFG_DATA) << 8;
}

static void ipi_send(uint32_t apic_id, uint32_t command)
{
    /* The write to the low half sends, so it comes last. */
    memory_write32(BOARD_APIC_GPA + APIC_ICR_HIGH, apic_id << 24);
    memory_write32(BOARD_APIC_GPA + APIC_ICR_LOW, command);
}

int guest_main(uint32_t multiboot_info_gpa)
{
    char *page = (char *)(AP_VECTOR << 12);
    uintptr_t arrivals_gpa = (uintptr_t)page + (uintptr_t)(ap_arrivals - ap_first);
    uint32_t cpus = cpu_count();

    (void)multiboot_info_gpa;
    for (const char *from = ap_first; from < ap_end;)
        *page++ = *from++;

    for (uint32_t id = 1; id < cpus; id++)
        ipi_send(id, ICR_INIT);
    for (uint32_t id = 1; id < cpus; id++)
        ipi_send(id, ICR_SIPI | AP_VECTOR);

    /*
     * Each round reads the APIC, which is an exit on every accelerator: so a round is never much shorter than a
     * microsecond, and a host that runs vCPUs in turns gets its turn.
     */
    for (unsigned i = 0; i < WAIT_ROUNDS && memory_read32(arrivals_gpa) != cpus - 1; i++)
        memory_read32(BOARD_APIC_GPA + APIC_ICR_LOW);
    if (memory_read32(arrivals_gpa) != cpus - 1)
        guest_fail("smp", "not every processor has started");

    console_puts("smp: ");
    console_put_dec(cpus);
    console_puts(" cpus\n");
    return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * Takes real page faults. For each case it writes the four entries of one address's translation, says so with
 * INVLPG, accesses that address from ring 3 or ring 0, and keeps what happened: error code, CR2, and the entries
 * afterwards. A host puts the cases into guest memory before the guest starts, and reads the results when it has
 * ended (probe.h); without them the guest has four of its own, and prints their error codes.
 *
 * A fault is recorded before anything else; then the handler maps the page with all rights, and the access is made
 * again. So each access comes to its end, and no stack has to be abandoned.
 */
#include "long.h"
#include "probe.h"

enum {
    PTE_A = 0x20,
    PTE_D = 0x40,
    FAULTS_MAX = 4, /* for one access; more, and the guest would never end */
};

#define CPUID_AMD 0x68747541u   /* "Auth": AuthenticAMD */
#define CPUID_HYGON 0x6f677948u /* "Hygo" */

/* What ring 3 may read. */
static volatile uint64_t user_gva __attribute__((section(".user.data")));

static struct probe_seen *seen; /* of the access that is being made, or NULL */
static unsigned mode;           /* PROBE_NO_: as the registers are */

GUEST_INLINE void invlpg(uint64_t gva)
{
    __asm__ volatile("invlpg (%0)" : : "r"(gva) : "memory");
}

GUEST_INLINE void cpuid(uint32_t leaf, uint32_t regs[4])
{
    __asm__ volatile("cpuid" : "=a"(regs[0]), "=b"(regs[1]), "=c"(regs[2]), "=d"(regs[3]) : "a"(leaf), "c"(0));
}

/* To the RET there, and back. */
GUEST_INLINE void memory_fetch(uint64_t gva)
{
    __asm__ volatile("call *%0" : : "r"(gva) : "memory");
}

static uint64_t *entry_of(unsigned level)
{
    return (uint64_t *)(uintptr_t)PROBE_ENTRY_GPA(level);
}

static void entries_set(const uint64_t *entries)
{
    for (unsigned level = 4; level >= 1; level--)
        *entry_of(level) = entries[level - 1];
    invlpg(PROBE_GVA);
}

static void entries_get(uint64_t *ret)
{
    for (unsigned level = 4; level >= 1; level--)
        ret[level - 1] = *(volatile uint64_t *)entry_of(level);
}

/* A mapping that no access can fail in. */
static void entries_repair(void)
{
    static const uint64_t good[4] = {
        PROBE_FRAME(1) | PTE_P | PTE_W | PTE_U | PTE_A | PTE_D,
        PROBE_TABLE_GPA(1) | PTE_P | PTE_W | PTE_U | PTE_A,
        PROBE_TABLE_GPA(2) | PTE_P | PTE_W | PTE_U | PTE_A,
        PROBE_TABLE_GPA(3) | PTE_P | PTE_W | PTE_U | PTE_A,
    };

    entries_set(good);
}

bool guest_page_fault(uint64_t gva, uint64_t error)
{
    if (!seen || seen->faults == FAULTS_MAX)
        return false;
    if (seen->faults++ == 0) {
        seen->cr2 = gva;
        seen->error = (uint32_t)error;
        entries_get(seen->entry);
    }
    entries_repair();
    return true;
}

/* --- Accesses ------------------------------------------------------------------------------------------------ */

USER_CODE static void user_read(void)
{
    memory_read64(user_gva);
    user_done(0);
}

USER_CODE static void user_write(void)
{
    memory_write64(user_gva, PROBE_RET * UINT64_C(0x0101010101010101));
    user_done(0);
}

USER_CODE static void user_fetch(void)
{
    memory_fetch(user_gva);
    user_done(0);
}

static void access_by_user(unsigned kind, uint64_t gva)
{
    user_gva = gva;
    if (kind == PROBE_READ)
        user_run(user_read);
    else if (kind == PROBE_WRITE)
        user_run(user_write);
    else
        user_run(user_fetch);
}

static void access_by_supervisor(unsigned kind, uint64_t gva)
{
    if (kind == PROBE_READ)
        memory_read64(gva);
    else if (kind == PROBE_WRITE)
        memory_write64(gva, PROBE_RET * UINT64_C(0x0101010101010101));
    else
        memory_fetch(gva);
}

/* --- Cases --------------------------------------------------------------------------------------------------- */

static void mode_set(unsigned flags)
{
    if ((flags ^ mode) & PROBE_NO_WP) {
        uint64_t cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG | (flags & PROBE_NO_WP ? 0 : CR0_WP);

        __asm__ volatile("movq %0, %%cr0" : : "r"(cr0) : "memory");
    }
    if ((flags ^ mode) & PROBE_NO_NXE) {
        uint32_t efer = EFER_LME | EFER_LMA | (flags & PROBE_NO_NXE ? 0 : EFER_NXE);

        __asm__ volatile("wrmsr" : : "a"(efer), "d"(0), "c"(MSR_EFER) : "memory");
    }
    mode = flags;
}

static void case_run(const struct probe_case *c, struct probe_result *result)
{
    uint64_t gva = PROBE_GVA + c->offset;

    mode_set(c->flags);
    entries_set(c->entry);
    for (unsigned i = 0; i < c->naccesses; i++) {
        seen = &result->access[i];
        if (c->access[i].is_user)
            access_by_user(c->access[i].kind, gva);
        else
            access_by_supervisor(c->access[i].kind, gva);
        if (seen->faults)
            break;
        entries_get(seen->entry);
    }
    seen = NULL;
}

/* Tables of our own, in the place that the host knows; what boot.S mapped stays. */
static void tables_init(void)
{
    uint64_t *pml4 = (uint64_t *)(uintptr_t)PROBE_TABLE_GPA(4);

    pml4[0] = boot_pml4[0];
    __asm__ volatile("movq %0, %%cr3" : : "r"(pml4) : "memory");
    for (unsigned i = 0; i < PAGE_SIZE / 8; i++)
        ((uint64_t *)(uintptr_t)PROBE_TARGET_GPA)[i] = PROBE_RET * UINT64_C(0x0101010101010101);
}

static void header_fill(struct probe_header *header)
{
    uint32_t regs[4];

    cpuid(0, regs);
    header->is_amd = regs[1] == CPUID_AMD || regs[1] == CPUID_HYGON;
    cpuid(0x80000001, regs);
    header->has_nx = regs[3] >> 20 & 1;
    header->has_1g = regs[3] >> 26 & 1;
    cpuid(0x80000000, regs);
    header->maxphyaddr = 36;
    if (regs[0] >= 0x80000008) {
        cpuid(0x80000008, regs);
        header->maxphyaddr = regs[0] & 0xff;
    }
}

static void own_cases(void)
{
    static const uint64_t leaves[] = {
        0,                              /* not present: a read */
        PROBE_FRAME(1) | PTE_P | PTE_U, /* read-only: a write */
        PROBE_FRAME(1) | PTE_P | PTE_W, /* the supervisor's: a read */
        PROBE_FRAME(1) | PTE_P | PTE_W | PTE_U | PTE_NX,
    };
    static const uint8_t kinds[] = {PROBE_READ, PROBE_WRITE, PROBE_READ, PROBE_FETCH};
    struct probe_case c = {
        .entry = {0, PROBE_TABLE_GPA(1) | PTE_P | PTE_W | PTE_U, PROBE_TABLE_GPA(2) | PTE_P | PTE_W | PTE_U,
                  PROBE_TABLE_GPA(3) | PTE_P | PTE_W | PTE_U},
        .naccesses = 1,
        .access[0].is_user = 1,
    };

    console_puts("probe: error codes");
    for (unsigned i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++) {
        struct probe_result result = {0};

        c.entry[0] = leaves[i];
        c.access[0].kind = kinds[i];
        case_run(&c, &result);
        console_puts(" ");
        console_put_hex(result.access[0].error);
    }
    console_puts("\n");
}

int guest_main(uint32_t multiboot_info_gpa)
{
    struct probe_header *header = (struct probe_header *)(uintptr_t)PROBE_HEADER_GPA;
    const struct probe_case *cases = (const struct probe_case *)(uintptr_t)PROBE_CASES_GPA;
    struct probe_result *results = (struct probe_result *)(uintptr_t)PROBE_RESULTS_GPA;

    (void)multiboot_info_gpa;
    long_init();
    tables_init();
    if (header->magic != PROBE_MAGIC) {
        own_cases();
        return 0;
    }
    header_fill(header);
    while (header->done < header->count) {
        case_run(&cases[header->done], &results[header->done]);
        header->done++;
    }
    return 0;
}

// SPDX-License-Identifier: MIT
/*
 * The shadow MMU against the real one, by what each counts. A guest runs on a /dev/kvm that shadows page tables;
 * then it runs there again, one instruction at a time, and `soft` makes the same accesses (followed.h). Page
 * faults that were the guest's own, pages that are mapped at the end, and whatever else both count must be as
 * many, but for what `explained` says of three counters; and guest memory must be the same to the last A bit.
 *
 * Without arguments: the guests in MEMVIRT_GUESTS. Else: IMAGE MEGABYTES.
 */
#include "tests/conform/followed.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "accel/accel.h"
#include "tests/conform/probe_cases.h"
#include "vm/vm.h"

#define RAM_MEGABYTES 16u /* what each guest needs */

/* What is counted: by KVM, and by `soft` under the same name. */
enum {
    PF_TAKEN,
    PF_GUEST,
    PF_FIXED,
    PF_SPURIOUS,
    PF_EMULATE,
    MMU_PTE_WRITE,
    MMU_PDE_ZAPPED,
    MMU_CACHE_MISS,
    MMU_FLOODED,
    MMU_UNSYNC,
    MMU_SHADOW_ZAPPED,
    MMU_RECYCLED,
    PAGES_4K,
    PAGES_2M,
    PAGES_1G,
    INVLPG,
    INSN_EMULATION, /* KVM's alone */
    COUNTERS,
};

static const char *const names[COUNTERS] = {
    "pf_taken",       "pf_guest",       "pf_fixed",    "pf_spurious", "pf_emulate",        "mmu_pte_write",
    "mmu_pde_zapped", "mmu_cache_miss", "mmu_flooded", "mmu_unsync",  "mmu_shadow_zapped", "mmu_recycled",
    "pages_4k",       "pages_2m",       "pages_1g",    "invlpg",      "insn_emulation"};

struct world {
    struct mv_machine *machine;
    struct mv_board *board;
    struct mv_vm *vm;
    struct mv_vcpu *vcpu;
    struct mv_block_info ram;
    uint64_t counts[COUNTERS];
};

/* Who follows: what ring 0 does by the emulator, as this KVM does; and all of it by tables of ours, to be looked
 * at. */
enum { AS_KVM, ALL_SHADOWED, FOLLOWERS };

/* This one edits tables and does not flush. Where its ring 0 does, there are stale entries only if it is shadowed.
 */
#define UNFLUSHED "edits.elf"
/* Its ring 3 has one page, and never leaves it. */
#define ENDLESS "spin.elf"
#define ENDLESS_STEPS 100
/* This one has four cases of its own; here it is given some of conform/probe's, or all in the long run. */
#define PROBE "probe.elf"
#define PROBE_EVERY 40

static uint64_t ram_bytes = (uint64_t)RAM_MEGABYTES << 20;
static bool with_cases;
static struct accel_paging kvm_paging; /* what the host's KVM shows its guests */
static char why_not[512];              /* to be skipped; empty: it is not */

static void must(int rc, const struct mv_error *err)
{
    if (rc < 0) {
        fail_msg("%s", err->text);
    }
}

/* --- Worlds ---------------------------------------------------------------------------------------------------
 */

/* As conform/probe gives them. */
static void give_cases(const struct world *w)
{
    static struct walk_random random;
    const struct accel_paging paging = kvm_paging;
    struct probe_list list = {.cases = calloc(PROBE_CASES_MAX, sizeof list.cases[0])};
    const struct probe_wish wish = {
        .cpu = {.maxphyaddr = paging.address_bits, .has_1g = paging.has_1g_pages, .has_nx = true},
        .random = &random,
        .nrandom = 2000};
    const char *is_long = getenv("MEMVIRT_TEST_LONG");
    size_t every = is_long && strcmp(is_long, "1") == 0 ? 1 : PROBE_EVERY;
    uint8_t *ram = (uint8_t *)(uintptr_t)w->ram.hva.raw;
    assert_non_null(list.cases);
    assert_true(ram_bytes >= PROBE_RAM_BYTES);
    walk_random_seed(&random, 1);
    probe_cases_make(&list, &wish);
    struct probe_header header = {.magic = PROBE_MAGIC};
    for (size_t i = 0; i < list.count; i += every) {
        if (list.cases[i].flags & PROBE_NO_NXE) {
            continue; /* KVM's tables are the same with EFER.NXE and without: docs/mmu.md */
        }
        memcpy(ram + PROBE_CASES_GPA + header.count++ * sizeof list.cases[0], &list.cases[i],
               sizeof list.cases[0]);
    }
    memcpy(ram + PROBE_HEADER_GPA, &header, sizeof header);
    free(list.cases);
}

/* Guest memory is there from the beginning, in small pages: what the host does to give some is no guest's fault.
 */
static void make(struct world *w, const char *accel, const char *path)
{
    struct mv_error err = {0};
    struct mv_image image;
    const struct mv_block_options ram = {.prealloc = MV_ON, .thp = MV_OFF};
    const struct mv_board_options board = {.ram_bytes = ram_bytes, .ram = &ram, .vcpus = 1};
    must(mv_machine_create(&w->machine, &err), &err);
    must(mv_board_create(w->machine, &board, &w->board, &err), &err);
    const struct mv_vm_options vm = {
        .accel = accel, .memory = mv_board_memory(w->board), .io = mv_board_io(w->board)};
    must(mv_vm_create(&vm, &w->vm, &err), &err);
    must(mv_vm_add_vcpu(w->vm, &w->vcpu, &err), &err);
    mv_board_connect(w->board, w->vm);
    must(mv_image_load(mv_board_memory(w->board), &(struct mv_image_options){.path = path}, &image, &err), &err);
    must(mv_image_enter(&image, w->vcpu, &err), &err);
    mv_block_info(mv_board_ram(w->board), &w->ram);
    if (with_cases) {
        give_cases(w);
    }
}

static void end(struct world *w)
{
    mv_vm_destroy(w->vm);
    mv_board_destroy(w->board);
    mv_machine_destroy(w->machine);
}

static void count(struct world *w)
{
    static struct mv_counter all[512];
    size_t n = mv_vm_counters(w->vm, MV_COUNTERS_KERNEL, all, sizeof all / sizeof all[0]);
    assert_true(n <= sizeof all / sizeof all[0]);
    memset(w->counts, 0, sizeof w->counts);
    for (size_t i = 0; i < n; i++) {
        for (unsigned c = 0; c < COUNTERS; c++) {
            w->counts[c] += strcmp(all[i].name, names[c]) == 0 ? all[i].value : 0;
        }
    }
}

static bool is_guest(const char *path, const char *guest)
{
    const char *name = strrchr(path, '/');
    return strcmp(name ? name + 1 : path, guest) == 0;
}

static void run_on_kvm(struct world *w, const char *path)
{
    struct mv_stop stop;
    struct mv_error err = {0};
    make(w, "kvm", path);
    must(mv_vm_start(w->vm, &err), &err);
    if (is_guest(path, ENDLESS)) {
        for (count(w); w->counts[PF_FIXED] == 0; count(w)) {
            usleep(1000);
        }
        mv_vm_stop(w->vm, MV_STOP_REQUEST, 0, "enough");
    }
    mv_vm_wait(w->vm, &stop);
    count(w);
}

static void path_of(const char *guest, char ret[4096])
{
    const char *guests = getenv("MEMVIRT_GUESTS");
    snprintf(ret, 4096, "%s%s%s",
             strchr(guest, '/') ? ""
             : guests           ? guests
                                : "build/guests",
             strchr(guest, '/') ? "" : "/", guest);
}

/* --- `soft` beside it -------------------------------------------------------------------------------------------
 */

/* A parameter of KVM's; where it does not exist MMIO is cached. */
static bool kvm_caches_mmio(void)
{
    FILE *f = fopen("/sys/module/kvm/parameters/mmio_caching", "r");
    int c = f ? fgetc(f) : 'Y';
    if (f) {
        fclose(f);
    }
    return c != 'N' && c != '0';
}

/* As this host's processor and KVM are. A TLB that keeps next to nothing: what its entries hide is no fault, and
 * how long a real one keeps them is nothing that could be compared. */
static void accel_like(unsigned who, char *ret, size_t size)
{
    struct accel_paging paging = kvm_paging;
    snprintf(ret, size,
             "soft,mmu=shadow,emulate-supervisor=%s,host-page=4K,tlb=L1=1x1,mmio-caching=%s,vendor=%s,1g-pages=%s,"
             "address-bits=%u%s",
             who == AS_KVM ? "on" : "off", kvm_caches_mmio() ? "on" : "off", paging.is_amd ? "amd" : "intel",
             paging.has_1g_pages ? "on" : "off", paging.address_bits, paging.address_bits > 48 ? ",levels=5" : "");
}

/* All that a test has of one guest. */
struct comparison {
    const char *image; /* as the test names it */
    char path[4096];
    unsigned followers;
    bool
        has_modes; /* it changes CR0.WP: a KVM that emulates many instructions at once sees to that at their end */
    struct world plain, stepped; /* on KVM */
    struct world soft[FOLLOWERS];
    struct followed followed[FOLLOWERS];
};

static void follow(struct comparison *c)
{
    static struct stepped stepped;
    struct step step;
    char accel[256];
    bool is_endless = is_guest(c->path, ENDLESS);
    make(&c->stepped, "kvm", c->path);
    stepped_begin(&stepped, c->stepped.vm, c->stepped.vcpu);
    for (unsigned i = 0; i < c->followers; i++) {
        accel_like(i, accel, sizeof accel);
        make(&c->soft[i], accel, c->path);
        followed_begin(&c->followed[i], c->soft[i].vcpu, &stepped);
    }
    while (!(is_endless && c->followed[0].ring_3_steps == ENDLESS_STEPS) && stepped_next(&stepped, &step)) {
        for (unsigned i = 0; i < c->followers; i++) {
            if (!followed_step(&c->followed[i], &step)) {
                fail_msg("soft %u: %s", i, c->followed[i].wrong);
            }
        }
    }
    for (unsigned i = 0; i < c->followers; i++) {
        count(&c->soft[i]);
    }
    count(&c->stepped);
}

static void compare_memory(const struct world *a, const struct world *b)
{
    const uint8_t *left = (const uint8_t *)(uintptr_t)a->ram.hva.raw,
                  *right = (const uint8_t *)(uintptr_t)b->ram.hva.raw;
    for (uint64_t at = 0; at < ram_bytes; at += 8) {
        if (memcmp(left + at, right + at, 8) != 0) {
            uint64_t x, y;
            memcpy(&x, left + at, 8);
            memcpy(&y, right + at, 8);
            fail_msg("gpa %" PRIx64 " is %016" PRIx64 " with KVM, and %016" PRIx64 " with soft", at, x, y);
        }
    }
}

/* --- What is expected ------------------------------------------------------------------------------------ */

/* Faults that came to nothing, because the host had something else to do with the vCPU's thread or the process's
 * memory: KVM took them again. Those that the emulator finds are the guest's, and are not taken. */
static int64_t retries(const struct comparison *c, const struct world *w)
{
    const uint64_t *n = w->counts;
    return (int64_t)(n[PF_TAKEN] + c->followed->supervisor_faults - n[PF_GUEST] - n[PF_FIXED] - n[PF_SPURIOUS] -
                     n[PF_EMULATE]);
}

/*
 * What KVM counts more than ours, and why (docs/mmu.md, "Held against the real one"). SPURIOUS is a fault that
 * found the entry as it made it, and whether it has A by then is the processor's: it and FIXED are compared in
 * sum.
 */
static int64_t explained(const struct comparison *c, const struct world *kvm, unsigned counter)
{
    const uint64_t *n = kvm->counts, *ours = c->soft[AS_KVM].counts;
    switch (counter) {
    case PF_TAKEN: return retries(c, kvm);
    case PF_FIXED: return (int64_t)(n[PF_FIXED] - ours[PF_FIXED]);
    case PF_SPURIOUS: return (int64_t)(ours[PF_FIXED] - n[PF_FIXED]);
    case MMU_PTE_WRITE: return -(int64_t)c->followed->pushes; /* KVM writes them itself, and does not look */
    case MMU_CACHE_MISS: return 4 - 1;                        /* roots without paging */
    default: return 0;
    }
}

/* What depends on how often a table is written between two times that it is used: see `has_modes`. And the #DB
 * after each step of ring 3 is a push. */
static bool is_comparable(const struct comparison *c, const struct world *kvm, unsigned counter)
{
    switch (counter) {
    case MMU_PTE_WRITE: return kvm == &c->plain;
    case MMU_PDE_ZAPPED:
    case MMU_CACHE_MISS:
    case MMU_FLOODED: return kvm == &c->stepped || !c->has_modes;
    case MMU_SHADOW_ZAPPED: return !c->has_modes;
    default: return true;
    }
}

static void print_counts(const struct comparison *c)
{
    bool has_other = c->followers > ALL_SHADOWED;
    printf("# %s: %" PRIu64 " instructions, %" PRIu64 " of them in ring 3; %" PRIu64 " accesses, %" PRIu64
           " page faults\n",
           c->image, c->followed->steps, c->followed->ring_3_steps, c->followed->accesses, c->followed->faults);
    printf("# %-18s %10s %10s %10s %10s %s\n", "", "KVM", "by steps", "soft", "explained",
           has_other ? "all shadowed" : "");
    for (unsigned i = 0; i < INSN_EMULATION; i++) {
        printf("# %-18s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRId64, names[i], c->plain.counts[i],
               c->stepped.counts[i], c->soft[AS_KVM].counts[i], explained(c, &c->plain, i));
        if (has_other) {
            printf(" %12" PRIu64, c->soft[ALL_SHADOWED].counts[i]);
        }
        printf("\n");
    }
}

static void compare_counts(const struct comparison *c, const struct world *kvm)
{
    for (unsigned i = 0; i < INSN_EMULATION; i++) {
        int64_t more = (int64_t)(kvm->counts[i] - c->soft[AS_KVM].counts[i]), expected = explained(c, kvm, i);
        if (more != expected && is_comparable(c, kvm, i)) {
            fail_msg("%s: KVM%s has %" PRId64 " more, and not %" PRId64, names[i],
                     kvm == &c->stepped ? ", by steps," : "", more, expected);
        }
    }
    assert_int_equal(kvm->counts[PF_FIXED] + kvm->counts[PF_SPURIOUS],
                     c->soft[AS_KVM].counts[PF_FIXED] + c->soft[AS_KVM].counts[PF_SPURIOUS]);
    assert_true(retries(c, kvm) >= 0);
}

/* None was lost on the way: KVM counts those of ring 0, and of ring 3 those that are a device's. The last one may
 * not come to its end. */
static void compare_instructions(const struct comparison *c)
{
    uint64_t followed = c->followed->steps - c->followed->ring_3_steps + c->plain.counts[PF_EMULATE];
    uint64_t emulated = c->plain.counts[INSN_EMULATION];
    printf("# %" PRIu64 " instructions emulated by KVM, %" PRIu64 " followed\n", emulated, followed);
    assert_true(emulated == followed || emulated == followed + 1);
}

static void compare(const struct comparison *c)
{
    print_counts(c);
    compare_instructions(c);
    compare_counts(c, &c->plain);
    compare_counts(c, &c->stepped);
    assert_int_equal(retries(c, &c->soft[AS_KVM]), 0);
    for (unsigned i = 0; i < c->followers; i++) {
        assert_int_equal(c->plain.counts[PF_GUEST], c->soft[i].counts[PF_GUEST]);
        compare_memory(&c->plain, &c->soft[i]);
    }
}

#define WITH_CASES "+cases"

static void compare_guest(struct comparison *c, const char *image)
{
    if (why_not[0]) {
        printf("# SKIP counts_as_kvm(%s%s): %s\n", image, c->has_modes ? WITH_CASES : "", why_not);
        skip();
    }
    c->image = image;
    c->followers = is_guest(image, UNFLUSHED) ? AS_KVM + 1 : FOLLOWERS;
    path_of(image, c->path);
    run_on_kvm(&c->plain, c->path);
    follow(c);
    compare(c);
    for (unsigned i = 0; i < c->followers; i++) {
        end(&c->soft[i]);
    }
    end(&c->stepped);
    end(&c->plain);
}

static void counts_as_kvm(void **state)
{
    struct comparison c = {.has_modes = false};
    compare_guest(&c, *state);
}

static void probe_counts_as_kvm(void **state)
{
    struct comparison c = {.has_modes = true};
    uint64_t bytes = ram_bytes;
    with_cases = true;
    ram_bytes = PROBE_RAM_BYTES;
    compare_guest(&c, *state);
    ram_bytes = bytes;
    with_cases = false;
}

/* A guest whose ring 3 has 1000 page faults, and whose ring 0 has far more instructions than that. */
static int find_out(void **state)
{
    struct mv_accel_status status;
    struct world first;
    char path[4096];
    (void)state;
    mv_accel_check(0, &status);
    assert_string_equal(status.name, "kvm");
    if (!status.usable) {
        snprintf(why_not, sizeof why_not, "%s", status.text);
        return 0;
    }
    path_of("first.elf", path);
    run_on_kvm(&first, path);
    kvm_paging = first.vm->ops->paging(first.vm->accel);
    if (first.counts[PF_GUEST] == 0) {
        snprintf(why_not, sizeof why_not,
                 "this KVM has EPT or NPT: it has seen none of the 1000 page faults of guests/first");
    } else if (first.counts[INSN_EMULATION] < 10 * first.counts[PF_GUEST]) {
        snprintf(why_not, sizeof why_not,
                 "this KVM shadows page tables, but runs ring 0 on the processor, where it is not followed here");
    }
    end(&first);
    return 0;
}

#define ON(test, image, what)                                                                                     \
    {                                                                                                             \
        .name = "counts_as_kvm(" what ")", .test_func = test, .initial_state = (void *)(uintptr_t)image           \
    }
#define GUEST(test, image) ON(test, image, image)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        GUEST(counts_as_kvm, "first.elf"),
        GUEST(counts_as_kvm, "probe.elf"),
        GUEST(counts_as_kvm, "edits.elf"),
        GUEST(counts_as_kvm, "hello.elf"),
        GUEST(counts_as_kvm, "halt.elf"),
        GUEST(counts_as_kvm, "triple.elf"),
        GUEST(counts_as_kvm, "flat.bin"),
        GUEST(counts_as_kvm, "romwrite.elf"),
        GUEST(counts_as_kvm, "mmu32.elf"),
        GUEST(counts_as_kvm, "mmupae.elf"),
        GUEST(counts_as_kvm, "unassigned.elf"),
        GUEST(counts_as_kvm, "mmiojump.elf"),
        GUEST(counts_as_kvm, "smp.elf"),
        GUEST(counts_as_kvm, ENDLESS),
        ON(probe_counts_as_kvm, PROBE, PROBE WITH_CASES),
    };
    if (argc == 3) {
        const struct CMUnitTest one[] = {
            {.name = "counts_as_kvm(IMAGE)", .test_func = counts_as_kvm, .initial_state = argv[1]}};
        ram_bytes = strtoull(argv[2], NULL, 10) << 20;
        return cmocka_run_group_tests_name("kvm_counters", one, find_out, NULL);
    }
    return cmocka_run_group_tests_name("kvm_counters", tests, find_out, NULL);
}

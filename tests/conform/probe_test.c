// SPDX-License-Identifier: MIT
/*
 * Real page faults: the probe guest (guests/probe) takes them on /dev/kvm, over an enumerated matrix of entry
 * bits, of accesses and of who makes them, and over random cases. Whether an access faults, its error code, CR2,
 * and the entries afterwards have to be the same from the processor, from `soft` in each scheme and from the
 * independent model.
 *
 * What a processor may do otherwise is named in `licences`, and counted; the software must do as the model does.
 */
#include "tests/conform/probe_cases.h"
#include "tests/conform/probe_walkers.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define ENTRY_P UINT64_C(0x1)
#define ENTRY_A UINT64_C(0x20)

#define PRINTED_MAX 8 /* differences */

static struct probe_list list;
static struct probe_result *real, *expected; /* as many; expected by the model */
static struct probe_header header;
static struct mv_accel_status status;

static void must(int rc, const struct mv_error *err)
{
    if (rc < 0) {
        fail_msg("%s", err->text);
    }
}

/* --- The real thing ---------------------------------------------------------------------------------------- */

struct machine {
    struct mv_machine *machine;
    struct mv_board *board;
    struct mv_vm *vm;
    struct mv_vcpu *vcpu;
};

static void machine_make(struct machine *m)
{
    struct mv_error err = {0};
    const struct mv_board_options board = {.ram_bytes = PROBE_RAM_BYTES, .vcpus = 1};
    must(mv_machine_create(&m->machine, &err), &err);
    must(mv_board_create(m->machine, &board, &m->board, &err), &err);
    const struct mv_vm_options vm = {
        .accel = "kvm", .memory = mv_board_memory(m->board), .io = mv_board_io(m->board)};
    must(mv_vm_create(&vm, &m->vm, &err), &err);
    must(mv_vm_add_vcpu(m->vm, &m->vcpu, &err), &err);
    mv_board_connect(m->board, m->vm);
}

static void machine_end(struct machine *m)
{
    mv_vm_destroy(m->vm);
    mv_board_destroy(m->board);
    mv_machine_destroy(m->machine);
}

static void memory_write(struct machine *m, uint64_t gpa, const void *bytes, size_t size)
{
    assert_int_equal(mv_space_write(mv_board_memory(m->board), mv_gpa(gpa), bytes, size, MV_ATTRS_NONE), MV_OK);
}

static void memory_read(struct machine *m, uint64_t gpa, void *bytes, size_t size)
{
    assert_int_equal(mv_space_read(mv_board_memory(m->board), mv_gpa(gpa), bytes, size, MV_ATTRS_NONE), MV_OK);
}

/* What an MMU that shadows has counted of the cases: KVM's names, which ours bear too. */
static const char *const counted[] = {"pf_guest",       "pf_taken",   "pf_fixed",    "mmu_pte_write",
                                      "mmu_cache_miss", "mmu_unsync", "mmu_flooded", "mmu_shadow_zapped"};
#define COUNTED (sizeof counted / sizeof counted[0])

/* Returns the first of them, the faults that were the guest's own. */
static uint64_t print_counters(const char *who, struct mv_vm *vm)
{
    uint64_t first = 0;
    static struct mv_counter all[512];
    size_t count = mv_vm_counters(vm, MV_COUNTERS_KERNEL, all, sizeof all / sizeof all[0]);
    printf("# %s counted:", who);
    for (size_t c = 0; c < COUNTED; c++) {
        for (size_t i = 0; i < count && i < sizeof all / sizeof all[0]; i++) {
            if (strcmp(all[i].name, counted[c]) == 0) {
                printf(" %s %" PRIu64, counted[c], all[i].value);
                first = c == 0 ? all[i].value : first;
            }
        }
    }
    printf("\n");
    return first;
}

static uint64_t guest_faults; /* that the last one counted */

/* The guest does all cases of the list, and says what processor it is on. */
static void run_guest(size_t count)
{
    struct machine m;
    struct mv_image image;
    struct mv_stop stop;
    struct mv_error err = {0};
    char path[4096];
    const char *guests = getenv("MEMVIRT_GUESTS");
    snprintf(path, sizeof path, "%s/probe.elf", guests ? guests : "build/guests");
    machine_make(&m);
    must(mv_image_load(mv_board_memory(m.board), &(struct mv_image_options){.path = path}, &image, &err), &err);
    must(mv_image_enter(&image, m.vcpu, &err), &err);
    header = (struct probe_header){.magic = PROBE_MAGIC, .count = count};
    memory_write(&m, PROBE_HEADER_GPA, &header, sizeof header);
    memory_write(&m, PROBE_CASES_GPA, list.cases, count * sizeof list.cases[0]);
    must(mv_vm_run(m.vm, &stop, &err), &err);
    memory_read(&m, PROBE_HEADER_GPA, &header, sizeof header);
    memory_read(&m, PROBE_RESULTS_GPA, real, count * sizeof real[0]);
    guest_faults = print_counters("KVM", m.vm);
    machine_end(&m);
    if (stop.reason != MV_STOP_EXIT || stop.status != 0 || header.done != count) {
        fail_msg("the guest stopped after %" PRIu64 " cases: %s, status %d", header.done, stop.text, stop.status);
    }
}

/* --- Comparing ----------------------------------------------------------------------------------------------- */

static void print_seen(const char *who, const struct probe_seen *seen)
{
    printf("#   %-8s", who);
    if (seen->faults) {
        printf(" fault %" PRIx32 " (%" PRIu32 ") cr2 %" PRIx64, seen->error, seen->faults, seen->cr2);
    } else {
        printf(" done");
    }
    printf(", entries %016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %016" PRIx64 "\n", seen->entry[3],
           seen->entry[2], seen->entry[1], seen->entry[0]);
}

static void print_case(size_t n, unsigned access)
{
    static const char *const kinds[] = {"read", "write", "fetch"};
    const struct probe_case *c = &list.cases[n];
    printf("# case %zu: entries %016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %016" PRIx64 " offset %x%s%s,", n,
           c->entry[3], c->entry[2], c->entry[1], c->entry[0], c->offset, c->flags & PROBE_NO_WP ? " WP=0" : "",
           c->flags & PROBE_NO_NXE ? " NXE=0" : "");
    for (unsigned i = 0; i < c->naccesses; i++) {
        printf(" %s %s%s", c->access[i].is_user ? "user" : "supervisor", kinds[c->access[i].kind],
               i == access ? " <-" : "");
    }
    printf("\n");
}

static bool same_fault(const struct probe_seen *a, const struct probe_seen *b)
{
    return a->faults == b->faults && (!a->faults || (a->error == b->error && a->cr2 == b->cr2));
}

static bool same(const struct probe_seen *a, const struct probe_seen *b)
{
    return same_fault(a, b) && memcmp(a->entry, b->entry, sizeof a->entry) == 0;
}

/* Intel SDM, "Accessed and Dirty Flags": A is set whenever an entry is used, so also above the one that ends it.
 * KVM's own walk sets bits only when it knows that the access is allowed. */
static bool sets_accessed_on_a_fault(const struct probe_seen *seen, const struct probe_seen *model)
{
    for (unsigned i = 0; i < 4; i++) {
        if (seen->entry[i] != model->entry[i] &&
            (!(model->entry[i] & ENTRY_P) || seen->entry[i] != (model->entry[i] | ENTRY_A))) {
            return false;
        }
    }
    return seen->faults && same_fault(seen, model);
}

/* What a processor may do otherwise than the model. */
static const struct licence {
    const char *name;
    bool (*holds)(const struct probe_seen *seen, const struct probe_seen *model);
} licences[] = {
    {"A is set in entries of a walk that ends in a fault", sets_accessed_on_a_fault},
};
#define LICENCES (sizeof licences / sizeof licences[0])

static unsigned licensed[LICENCES];

static bool is_licensed(const struct probe_seen *seen, const struct probe_seen *model)
{
    for (size_t i = 0; i < LICENCES; i++) {
        if (licences[i].holds(seen, model)) {
            licensed[i]++;
            return true;
        }
    }
    return false;
}

static void print_difference(size_t n, unsigned access, const char *who, const struct probe_seen *seen,
                             bool *printed)
{
    if (!*printed) {
        *printed = true;
        print_case(n, access);
        print_seen("model", &expected[n].access[access]);
        print_seen(who, seen);
    }
}

/* Who is compared with the model, and what has come of it. */
struct judge {
    const char *who;
    const struct probe_result *seen;
    bool has_licences;
    unsigned wrong, faults;
};

static void check_case(struct judge *j, size_t n)
{
    bool printed = j->wrong >= PRINTED_MAX, differs = false;
    for (unsigned i = 0; i < list.cases[n].naccesses; i++) {
        const struct probe_seen *seen = &j->seen[n].access[i], *model = &expected[n].access[i];
        j->faults += seen->faults != 0;
        if (!same(seen, model) && !(j->has_licences && is_licensed(seen, model))) {
            differs = true;
            print_difference(n, i, j->who, seen, &printed);
        }
    }
    j->wrong += differs;
}

static void check_all(struct judge *j)
{
    memset(licensed, 0, sizeof licensed);
    for (unsigned group = 0; group < PROBE_GROUPS; group++) {
        const unsigned faults = j->faults, wrong = j->wrong;
        for (size_t n = list.begin[group]; n < list.begin[group + 1]; n++) {
            check_case(j, n);
        }
        printf("# %s: %zu cases, %u faults, %u unlike the model\n", probe_group_name(group),
               list.begin[group + 1] - list.begin[group], j->faults - faults, j->wrong - wrong);
    }
    printf("# %s: %zu cases, %u faults, %u unlike the model\n", j->who, list.count, j->faults, j->wrong);
    for (size_t i = 0; i < LICENCES && j->has_licences; i++) {
        printf("# %u excused: %s\n", licensed[i], licences[i].name);
    }
    assert_int_equal(j->wrong, 0);
}

/* --- Tests ------------------------------------------------------------------------------------------------- */

static void the_processor_does_as_the_model(void **state)
{
    (void)state;
    if (!status.usable) {
        printf("# SKIP the_processor_does_as_the_model: %s\n", status.text);
        skip();
    }
    run_guest(list.count);
    struct judge judge = {.who = "processor", .seen = real, .has_licences = true};
    check_all(&judge);
    if (guest_faults > 0) { /* a KVM with EPT or NPT does not see them */
        assert_int_equal(guest_faults, judge.faults);
    }
}

static void soft_does_as_the_model(void **state)
{
    struct probe_soft soft;
    char accel[256];
    const struct probe_header *h = &header;
    snprintf(accel, sizeof accel, "%s,vendor=%s,1g-pages=%s,address-bits=%" PRIu32 "%s", (const char *)*state,
             h->is_amd ? "amd" : "intel", h->has_1g ? "on" : "off", h->maxphyaddr,
             h->maxphyaddr > 48 ? ",levels=5" : "");
    struct probe_result *seen = calloc(list.count, sizeof *seen);
    assert_non_null(seen);
    probe_soft_make(&soft, accel);
    for (size_t n = 0; n < list.count; n++) {
        probe_by_soft(&soft, &list.cases[n], &seen[n]);
    }
    guest_faults = print_counters(accel, soft.guest.vm);
    probe_soft_end(&soft);
    struct judge judge = {.who = accel, .seen = seen};
    check_all(&judge);
    assert_int_equal(guest_faults, judge.faults);
    free(seen);
}

/* Without /dev/kvm there is only a made-up processor, and `soft` is held against the model alone. */
static int make_cases(void **state)
{
    static struct walk_random random;
    (void)state;
    const char *given = getenv("MEMVIRT_SEED");
    const char *is_long = getenv("MEMVIRT_TEST_LONG");
    const uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    printf("# MEMVIRT_SEED=%" PRIu64 "\n", seed);
    walk_random_seed(&random, seed);
    list.cases = calloc(PROBE_CASES_MAX, sizeof list.cases[0]);
    real = calloc(PROBE_CASES_MAX, sizeof real[0]);
    expected = calloc(PROBE_CASES_MAX, sizeof expected[0]);
    assert_true(list.cases && real && expected);
    mv_accel_check(0, &status);
    assert_string_equal(status.name, "kvm");
    header = (struct probe_header){.maxphyaddr = 48, .has_1g = 1, .has_nx = 1};
    if (status.usable) {
        run_guest(0);
    }
    const struct probe_wish wish = {
        .cpu = {.maxphyaddr = header.maxphyaddr, .has_1g = header.has_1g, .has_nx = header.has_nx},
        .random = &random,
        .nrandom = is_long && strcmp(is_long, "1") == 0 ? 50000 : 2000,
        .is_long = is_long && strcmp(is_long, "1") == 0};
    const struct model_cpu cpu = {
        .amd = header.is_amd, .maxphyaddr = header.maxphyaddr, .pat = true, .has_1g = header.has_1g};
    probe_cases_make(&list, &wish);
    for (size_t n = 0; n < list.count; n++) {
        probe_by_model(&cpu, &list.cases[n], &expected[n]);
    }
    return 0;
}

static int free_cases(void **state)
{
    (void)state;
    free(list.cases);
    free(real);
    free(expected);
    return 0;
}

#define ON(scheme)                                                                                                \
    {                                                                                                             \
        .name = "soft_does_as_the_model(" scheme ")", .test_func = soft_does_as_the_model,                        \
        .initial_state = (void *)(uintptr_t) "soft,mmu=" scheme                                                   \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_processor_does_as_the_model),
        ON("native"),
        ON("ept"),
        ON("npt"),
        ON("shadow"),
        ON("shadow,unsync=off,host-page=4K,tlb=L1=64x4:L2=1536x12"),
        ON("hybrid"),
        ON("hybrid,policy=nested,host-page=4K,tlb=L1=64x4:L2=1536x12"),
        ON("hybrid,policy=nest-2"),
        ON("native,walk-caches=on,tlb=L1=64x4:L2=1536x12"),
        ON("ept,host-page=4K,walk-caches=on,nested-tlb=on,tlb=L1=64x4:L2=1536x12"),
    };
    return cmocka_run_group_tests_name("probe", tests, make_cases, free_cases);
}

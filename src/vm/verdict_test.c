// SPDX-License-Identifier: MIT
/*
 * What explain says of an access on `soft` is what then happens, whatever the tables, the registers and the
 * scheme; and asking changes nothing.
 */
#include "vm/explain_test.h"

/* --- it happens as it was said ----------------------------------------------------------------------------------
 */

static uint64_t state_of_random;

static uint64_t random_bits(void)
{
    uint64_t x = state_of_random; /* xorshift64 */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return state_of_random = x;
}

static bool one_in(unsigned n)
{
    return random_bits() % n == 0;
}

static uint64_t random_entry(void)
{
    static const uint64_t places[] = {ROM, UART, READONLY, ODD & ~UINT64_C(0xfff), NOTHING, READONLY + 0x3000};
    uint64_t entry = TABLE(random_bits() % TABLE_COUNT);
    switch (random_bits() % 12) {
    case 0: entry = places[random_bits() % 6]; break;
    case 1: entry = random_bits() % 64 << 12; break;
    case 2: entry = random_bits() % 4 << 21 | 0x80; break;
    default: break;
    }
    entry |= (one_in(16) ? 0 : P) | (one_in(8) ? 0 : W) | (one_in(4) ? 0 : U) | (random_bits() & (A | D | 0xe18));
    entry |= one_in(16) ? NX : 0;
    entry |= one_in(40) ? UINT64_C(1) << (48 + random_bits() % 4) : 0;
    entry |= one_in(40) ? 0x80 : 0;
    return entry | (random_bits() % 3 == 0 ? (random_bits() & 15) << 59 : 0);
}

/* Entries of 4 bytes; a PDE of a large page has high address bits in 13 to 20, where the low part has its own. */
static void fill_32bit(struct rig *rig)
{
    for (uint64_t at = TABLES; at < TABLE(TABLE_COUNT); at += 4) {
        uint32_t entry = (uint32_t)random_entry();
        memcpy(rig->ram + at, &entry, 4);
    }
}

/* Such as may be loaded: without reserved bits. */
static void fill_pdptes(struct rig *rig)
{
    for (unsigned i = 0; i < 4; i++) {
        set_entry(rig, 0, i, one_in(6) ? 0 : TABLE(1 + random_bits() % (TABLE_COUNT - 1)) | P);
    }
}

static void randomize(struct rig *rig)
{
    struct mode mode = {.cr0 = one_in(2) ? CR0_WP : 0,
                        .efer = one_in(8) ? 0 : EFER_NXE,
                        .rflags = one_in(2) ? RFLAGS_AC : 0,
                        .is_user = one_in(2)};
    mode.cr4 = (one_in(2) ? CR4_SMEP : 0) | (one_in(2) ? CR4_SMAP : 0) | (one_in(2) ? CR4_PKE : 0) |
               (one_in(2) ? CR4_PKS : 0);
    mode.paging = (enum mv_paging_mode)(MV_PAGING_32BIT + random_bits() % 4);
    mode.cr4 |= one_in(4) ? 0 : CR4_PSE;
    mode.pkru = one_in(3) ? (uint32_t)random_bits() : 0;
    mode.pkrs = one_in(3) ? (uint32_t)random_bits() : 0;
    for (unsigned t = 0; t < TABLE_COUNT; t++) {
        for (unsigned i = 0; i < 512; i++) {
            set_entry(rig, t, i, random_entry());
        }
    }
    if (mode.paging == MV_PAGING_32BIT) {
        fill_32bit(rig);
    } else if (mode.paging == MV_PAGING_PAE) {
        fill_pdptes(rig);
    }
    /* Through the shadow a table is in a read-only slot. */
    memcpy(rig->ram + 0x20000, rig->ram + TABLES, 0x8000);
    set_mode(rig, &mode);
    assert_true(mv_soft_load_cr3(rig->vcpu, TABLE(0))); /* what the caches have of before goes */
    rig->is_long = mode.paging >= MV_PAGING_4LEVEL;
}

/* Each table is used at one level, so that hybrid nests some and others not: 0 is the root, and so on. */
static void put_in_layers(struct rig *rig)
{
    static const struct {
        unsigned first, count;
    } below[] = {{1, 2}, {3, 2}, {3, 2}, {5, 3}, {5, 3}}; /* of tables 0 to 4 */
    for (unsigned t = 0; t < sizeof below / sizeof below[0]; t++) {
        for (unsigned i = 0; i < 512; i++) {
            uint64_t entry;
            memcpy(&entry, rig->ram + TABLE(t) + 8 * i, 8);
            entry &= ~UINT64_C(0x000ffffffffff000);
            set_entry(rig, t, i, entry | TABLE(below[t].first + random_bits() % below[t].count));
        }
    }
}

/* The tables are there; their shadow hears of it as if the guest had stored them. */
static void store_tables(struct rig *rig)
{
    static const uint64_t places[] = {TABLES, 0x20000};
    struct mv_soft_outcome outcome;
    for (unsigned i = 0; i < 2; i++) {
        for (uint64_t gpa = places[i]; gpa < places[i] + 0x8000; gpa += 8) {
            uint64_t value;
            memcpy(&value, rig->ram + gpa, 8);
            mv_soft_write_physical(rig->vcpu, mv_gpa(gpa), value, &outcome);
            assert_int_equal(outcome.end, MV_SOFT_DONE);
        }
    }
    assert_true(mv_soft_load_cr3(rig->vcpu, TABLE(0)));
}

static bool is_about_rights(enum mv_rule rule)
{
    return rule == MV_RULE_USER || rule == MV_RULE_WRITE || rule == MV_RULE_NOT_EXECUTABLE ||
           rule == MV_RULE_SMEP || rule == MV_RULE_SMAP;
}

static bool is_about_place(enum mv_rule rule)
{
    return rule == MV_RULE_MMIO || rule == MV_RULE_UNASSIGNED || rule == MV_RULE_READONLY_SLOT ||
           rule == MV_RULE_NO_SLOT;
}

static void compare_rules(enum mv_rule said, enum mv_soft_rule is)
{
    switch (is) {
    case MV_SOFT_RULE_NOT_PRESENT: assert_int_equal(said, MV_RULE_NOT_PRESENT); break;
    case MV_SOFT_RULE_RESERVED_BIT: assert_int_equal(said, MV_RULE_RESERVED_BIT); break;
    case MV_SOFT_RULE_RIGHTS: assert_true(is_about_rights(said)); break;
    case MV_SOFT_RULE_KEY: assert_int_equal(said, MV_RULE_KEY); break;
    case MV_SOFT_RULE_NON_CANONICAL: assert_int_equal(said, MV_RULE_NON_CANONICAL); break;
    case MV_SOFT_RULE_NO_TABLE: assert_int_equal(said, MV_RULE_NO_TABLE); break;
    case MV_SOFT_RULE_NONE: fail();
    }
}

static void compare(const struct mv_chain *chain, const struct mv_soft_outcome *outcome)
{
    const struct mv_verdict *v = &chain->verdict;
    if (outcome->end == MV_SOFT_FAULT) {
        assert_int_equal(v->vector, outcome->fault.vector);
        assert_int_equal(v->error_code, outcome->fault.error_code);
        compare_rules(v->rule, outcome->fault.rule);
        if (v->rule == MV_RULE_NOT_PRESENT || v->rule == MV_RULE_RESERVED_BIT) {
            assert_int_equal(v->level, outcome->fault.level);
            assert_int_equal(chain->entries[chain->entry_count - 1].value, outcome->fault.entry);
            assert_int_equal(v->reserved, outcome->fault.reserved);
        }
    } else if (outcome->end == MV_SOFT_MMIO) {
        assert_true(is_about_place(v->rule));
        assert_int_equal(chain->page.gpa.raw, outcome->mmio.gpa.raw);
    } else {
        assert_int_equal(outcome->end, MV_SOFT_DONE);
        assert_int_equal(v->rule, MV_RULE_NONE);
    }
    assert_int_equal(v->vector != 0, outcome->end == MV_SOFT_FAULT);
}

/* The hardware goes through the places in order, and stops at the first that it has no way to. */
static const struct mv_place *first_stop(const struct mv_chain *chain)
{
    for (size_t i = 0; i < chain->entry_count; i++) {
        if (chain->entries[i].at.nested.exit) {
            return &chain->entries[i].at;
        }
    }
    bool goes_on = chain->verdict.rule == MV_RULE_NONE || is_about_place(chain->verdict.rule);
    return goes_on && chain->page.nested.exit ? &chain->page : NULL;
}

static void compare_exits(const struct rig *rig, const struct mv_chain *chain)
{
    const struct mv_place *place = first_stop(chain);
    /* A table that no slot has is not read, so the chain does not have it. */
    if (!place && chain->verdict.rule == MV_RULE_NO_TABLE) {
        return;
    }
    assert_int_equal(place != NULL, rig->first_exit.count > 0);
    if (place) {
        assert_string_equal(place->nested.exit, rig->first_exit.reason);
        assert_int_equal(place->gpa.raw, rig->first_exit.gpa);
        assert_int_equal(place->nested.code, rig->first_exit.code);
    }
}

/* One exit at most, of the page fault that was said, and for what. */
static void compare_shadow(const struct rig *rig, const struct mv_chain *chain,
                           const struct mv_soft_outcome *outcome, uint64_t table_writes)
{
    const struct mv_shadow *s = &chain->shadow;
    bool is_table_write = s->answer == MV_SHADOW_OPEN || s->answer == MV_SHADOW_STORE;
    assert_int_equal(s->exit != NULL, s->answer != MV_SHADOW_NO_EXIT);
    assert_int_equal(rig->first_exit.count, s->exit != NULL);
    if (s->exit) {
        assert_string_equal(s->exit, rig->first_exit.reason);
        assert_int_equal(s->code, rig->first_exit.code);
    }
    assert_int_equal(s->answer == MV_SHADOW_REFLECT, s->exit && outcome->end == MV_SOFT_FAULT);
    assert_int_equal(s->answer == MV_SHADOW_NO_SLOT || s->answer == MV_SHADOW_READONLY_SLOT,
                     outcome->end == MV_SOFT_MMIO);
    if (s->answer != MV_SHADOW_WITHOUT_WP) { /* which may be to a table, too */
        assert_int_equal(table_writes, is_table_write);
    }
}

static bool is_this_exit(const struct rig *rig, const struct mv_nested *nested, mv_gpa_t gpa)
{
    return nested->exit && strcmp(nested->exit, rig->first_exit.reason) == 0 && gpa.raw == rig->first_exit.gpa &&
           nested->code == rig->first_exit.code;
}

static void print_line(void *opaque, const char *line)
{
    (void)opaque;
    print_message("# %s\n", line);
}

/* Above the switch as with shadow tables, below it as with EPT without A and D: that a table may not be written is
 * asked when the walk has come to its end. */
static void compare_hybrid(const struct rig *rig, const struct mv_chain *chain, uint64_t table_writes)
{
    const struct mv_shadow *s = &chain->shadow;
    if (strcmp(rig->first_exit.reason, "timer") == 0 && rig->first_exit.count > 0) {
        return;
    }
    if (s->end != MV_NESTED_SWITCHED) {
        assert_null(first_stop(chain));
        assert_int_equal(s->exit != NULL, rig->first_exit.count > 0);
        if (s->exit) {
            assert_string_equal(s->exit, rig->first_exit.reason);
            assert_int_equal(s->code, rig->first_exit.code);
        }
        return;
    }
    assert_null(s->exit);
    bool is_said = chain->verdict.rule == MV_RULE_NO_TABLE, has_any = first_stop(chain) != NULL;
    for (size_t i = 0; i < chain->entry_count && !is_said; i++) {
        assert_true(chain->entries[i].level < s->guest_level || chain->entries[i].at.nested.end == MV_NESTED_NONE);
        is_said = is_this_exit(rig, &chain->entries[i].at.nested, chain->entries[i].at.gpa);
    }
    if (is_this_exit(rig, &chain->page.nested, chain->page.gpa)) {
        is_said = true;
        assert_int_equal(table_writes, chain->page.nested.answer == MV_NESTED_STORE);
    }
    if (!(is_said || (rig->first_exit.count == 0 && !has_any))) {
        print_message("# %u exits, the first %s, gpa 0x%" PRIx64 ", 0x%" PRIx64 "\n", rig->first_exit.count,
                      rig->first_exit.reason, rig->first_exit.gpa, rig->first_exit.code);
        mv_chain_print(chain, print_line, NULL);
    }
    assert_true(is_said || (rig->first_exit.count == 0 && !has_any));
}

struct tally {
    unsigned switched[6]; /* by the level of the first table that is the guest's; 0: none is */
    unsigned rules[MV_RULE_NO_SLOT + 1];
    unsigned answers[MV_SHADOW_READONLY_SLOT + 1];
    unsigned exits, stores;
};

enum compared {
    COMPARES_NO_EXITS,
    COMPARES_EXITS,
    COMPARES_SHADOW,
    COMPARES_HYBRID,
};

/* Of long mode. With few ways to the lowest tables they are come by more than once. */
static uint64_t gva_mask;

static uint64_t table_writes(const struct rig *rig)
{
    struct mv_soft_counts counts;
    assert_int_equal(mv_soft_counts(rig->vcpu, &counts), 0);
    return counts.exits_table_write;
}

static void ask_and_do(struct rig *rig, enum compared compared, struct tally *tally)
{
    uint64_t gva = random_bits() & (rig->is_long ? gva_mask : UINT32_MAX);
    enum mv_access access = (enum mv_access)(random_bits() % 3);
    bool is_implicit = access == MV_ACCESS_READ && one_in(4);
    struct mv_soft_outcome outcome = {.end = MV_SOFT_DONE};
    struct mv_soft_place place;
    uint8_t byte;
    gva |= one_in(20) ? random_bits() << 47 : 0;
    if (compared == COMPARES_HYBRID && rig->is_long) { /* what a TLB has of before goes */
        assert_true(mv_soft_load_cr3(rig->vcpu, TABLE(0)));
    }
    struct mv_chain chain = ask(rig, gva, access, is_implicit ? MV_WHO_IMPLICIT : MV_WHO_CURRENT);
    uint64_t writes_before = table_writes(rig);
    if (is_implicit) {
        mv_soft_read(rig->vcpu, mv_gva(gva), &byte, 1, MV_SOFT_IMPLICIT, &outcome);
    } else {
        mv_soft_touch(rig->vcpu, mv_gva(gva), access, &place, &outcome);
    }
    compare(&chain, &outcome);
    if (compared == COMPARES_EXITS) {
        compare_exits(rig, &chain);
    } else if (compared == COMPARES_SHADOW) {
        compare_shadow(rig, &chain, &outcome, table_writes(rig) - writes_before);
    }
    if (compared == COMPARES_HYBRID) {
        compare_hybrid(rig, &chain, table_writes(rig) - writes_before);
        tally->stores += chain.page.nested.answer == MV_NESTED_STORE && chain.verdict.rule == MV_RULE_NONE;
    }
    tally->switched[chain.shadow.guest_level]++;
    tally->answers[chain.shadow.answer]++;
    tally->rules[chain.verdict.rule]++;
    tally->exits += rig->first_exit.count > 0;
    mv_chain_release(&chain);
}

/* Every rule came up, and every answer: what is rare takes more rounds. */
static bool has_all(const struct tally *tally, const char *accel, enum compared compared)
{
    bool all = true;
    for (unsigned rule = 0; rule <= MV_RULE_NO_SLOT; rule++) {
        all = all && tally->rules[rule] > 0;
    }
    for (unsigned i = 0; compared == COMPARES_SHADOW && i <= MV_SHADOW_READONLY_SLOT; i++) {
        all = all && (tally->answers[i] > 0 || (i == MV_SHADOW_OPEN && strstr(accel, "unsync=off")));
    }
    return all;
}

static void what_is_said_happens(const char *accel, enum compared compared)
{
    const char *given = getenv("MEMVIRT_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    struct tally tally = {0};
    unsigned nested = 0;
    struct rig rig;
    print_message("# MEMVIRT_SEED=%" PRIu64 " %s\n", seed, accel);
    state_of_random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    gva_mask = strstr(accel, "nest-") ? UINT64_C(0x804021ffff) : UINT64_C(0x7fffffffffff);
    rig_open(&rig, accel);
    for (unsigned round = 0; round < 60 || (round < 600 && !has_all(&tally, accel, compared)); round++) {
        randomize(&rig);
        if (strstr(accel, "nest-") && rig.is_long) {
            put_in_layers(&rig);
        }
        if (strstr(accel, "shadow") || strstr(accel, "hybrid")) {
            store_tables(&rig);
        }
        for (unsigned i = 0; i < 120; i++) {
            ask_and_do(&rig, compared, &tally);
        }
    }
    rig_close(&rig);
    for (unsigned rule = 0; rule <= MV_RULE_NO_SLOT; rule++) {
        print_message("# %-15s %u\n", mv_rule_name((enum mv_rule)rule), tally.rules[rule]);
        assert_true(tally.rules[rule] > 0);
    }
    for (unsigned i = 0; compared == COMPARES_SHADOW && i <= MV_SHADOW_READONLY_SLOT; i++) {
        print_message("# shadow: %-15s %u\n", mv_shadow_answer_name((enum mv_shadow_answer)i), tally.answers[i]);
        assert_true(tally.answers[i] > 0 || (i == MV_SHADOW_OPEN && strstr(accel, "unsync=off")));
    }
    for (unsigned level = 0; compared == COMPARES_HYBRID && level <= 4; level++) {
        print_message("# hybrid: the guest's own tables from level %u on: %u\n", level, tally.switched[level]);
        nested += level > 0 ? tally.switched[level] : 0;
    }
    assert_true(compared != COMPARES_HYBRID || nested > 0);
    if (compared == COMPARES_HYBRID) {
        print_message("# hybrid: %u writes to tables that are shadowed\n", tally.stores);
    }
    print_message("# %u accesses had exits\n", tally.exits);
    assert_true(tally.exits > 0);
}

static void native_does_as_explained(void **state)
{
    (void)state;
    what_is_said_happens("soft,mmu=native", COMPARES_NO_EXITS);
}

static void ept_does_as_explained(void **state)
{
    (void)state;
    what_is_said_happens("soft,mmu=ept", COMPARES_EXITS);
}

static void ept_of_small_pages_and_5_levels_does_as_explained(void **state)
{
    (void)state;
    what_is_said_happens("soft,mmu=ept,host-page=4K,levels=5", COMPARES_EXITS);
}

static void ept_without_a_and_d_does_as_explained(void **state)
{
    (void)state;
    what_is_said_happens("soft,mmu=ept,access-dirty=off", COMPARES_NO_EXITS);
}

static void npt_does_as_explained(void **state)
{
    (void)state;
    /* Walks set A in tables that PAE has as PDPTEs, too, where it is reserved: what a cache has from before is
     * another answer than the tables are. */
    what_is_said_happens("soft,mmu=npt,walk-caches=off", COMPARES_EXITS);
}

static void shadow_does_as_explained(void **state)
{
    (void)state;
    what_is_said_happens("soft,mmu=shadow", COMPARES_SHADOW);
}

static void shadow_without_unsync_does_as_explained(void **state)
{
    (void)state;
    what_is_said_happens("soft,mmu=shadow,unsync=off,host-page=4K", COMPARES_SHADOW);
}

static void hybrid_does_as_explained(void **state)
{
    (void)state;
    what_is_said_happens("soft,mmu=hybrid,policy-writes=1", COMPARES_HYBRID);
    what_is_said_happens("soft,mmu=hybrid,policy=nest-1", COMPARES_HYBRID);
    what_is_said_happens("soft,mmu=hybrid,policy=nest-2,host-page=4K", COMPARES_HYBRID);
    what_is_said_happens("soft,mmu=hybrid,policy=nest-3", COMPARES_HYBRID);
    what_is_said_happens("soft,mmu=hybrid,policy=nested", COMPARES_HYBRID);
}

/* --- in words ---------------------------------------------------------------------------------------------------
 */

static const struct {
    struct mode mode;
    uint64_t gva;
    enum mv_access access;
    enum mv_who who;
    const char *rule, *text;
    unsigned error_code;
} cases[] = {
    {{0}, 0x1000, MV_ACCESS_WRITE, MV_WHO_USER, "none", "a user's write is allowed", 0},
    {{0}, 0xc000, MV_ACCESS_READ, MV_WHO_CURRENT, "not-present", "PTE[12] is not present: P=0", 0},
    {{0}, 0x40000000, MV_ACCESS_WRITE, MV_WHO_USER, "not-present", "PDPTE[1] is not present: P=0", 6},
    {{0}, 0xa000, MV_ACCESS_READ, MV_WHO_CURRENT, "reserved-bit", "PTE[10] has reserved bits set: 50-51", 9},
    {{0},
     0x4000,
     MV_ACCESS_READ,
     MV_WHO_CURRENT,
     "reserved-bit",
     "PTE[4] has reserved bits set: 63; bit 63 is NX, and EFER.NXE=0",
     9},
    {{0},
     0x200000,
     MV_ACCESS_READ,
     MV_WHO_CURRENT,
     "no-table",
     "PDE[1] leads to a table at gpa 0x500000, which no slot has",
     0},
    {{0},
     UINT64_C(0x800000000000),
     MV_ACCESS_READ,
     MV_WHO_CURRENT,
     "non-canonical",
     "the address is not canonical: bits 63 to 47 are not all the same",
     0},
    {{.efer = EFER_NXE},
     0x3000,
     MV_ACCESS_READ,
     MV_WHO_USER,
     "user",
     "a user's read of a supervisor's page: PTE[3] has U/S=0",
     5},
    {{.efer = EFER_NXE},
     0x2000,
     MV_ACCESS_WRITE,
     MV_WHO_USER,
     "write-protected",
     "a user's write to a read-only page: PTE[2] has R/W=0",
     7},
    {{.cr0 = CR0_WP},
     0x2000,
     MV_ACCESS_WRITE,
     MV_WHO_SUPERVISOR,
     "write-protected",
     "a supervisor's write to a read-only page: PTE[2] has R/W=0, CR0.WP=1",
     3},
    {{0}, 0x2000, MV_ACCESS_WRITE, MV_WHO_SUPERVISOR, "none", "a supervisor's write is allowed", 0},
    {{.efer = EFER_NXE},
     0x4000,
     MV_ACCESS_FETCH,
     MV_WHO_USER,
     "not-executable",
     "a fetch from a page that is not executable: PTE[4] has NX=1, EFER.NXE=1",
     0x15},
    {{.cr4 = CR4_SMEP},
     0x1000,
     MV_ACCESS_FETCH,
     MV_WHO_SUPERVISOR,
     "smep",
     "a supervisor's fetch from a user's page: U/S=1 in every entry, CR4.SMEP=1",
     0x11},
    {{.cr4 = CR4_SMAP},
     0x1000,
     MV_ACCESS_READ,
     MV_WHO_SUPERVISOR,
     "smap",
     "a supervisor's read of a user's page: U/S=1 in every entry, CR4.SMAP=1, EFLAGS.AC=0",
     1},
    {{.cr4 = CR4_SMAP, .rflags = RFLAGS_AC},
     0x1000,
     MV_ACCESS_READ,
     MV_WHO_SUPERVISOR,
     "none",
     "a supervisor's read is allowed",
     0},
    {{.cr4 = CR4_SMAP, .rflags = RFLAGS_AC},
     0x1000,
     MV_ACCESS_READ,
     MV_WHO_IMPLICIT,
     "smap",
     "an implicit read of a user's page: U/S=1 in every entry, CR4.SMAP=1, and EFLAGS.AC does not count",
     1},
    {{.cr4 = CR4_PKE, .pkru = 1u << 14},
     0xb000,
     MV_ACCESS_READ,
     MV_WHO_USER,
     "protection-key",
     "a user's read of a page with protection key 7: PKRU is 0x4000, bit 14 (AD7)=1",
     0x25},
    {{.cr4 = CR4_PKE, .pkru = 1u << 15},
     0xb000,
     MV_ACCESS_WRITE,
     MV_WHO_USER,
     "protection-key",
     "a user's write of a page with protection key 7: PKRU is 0x8000, bit 15 (WD7)=1",
     0x27},
    {{.cr4 = CR4_PKS, .cr0 = CR0_WP, .pkrs = 1u << 11},
     0x3000,
     MV_ACCESS_WRITE,
     MV_WHO_SUPERVISOR,
     "protection-key",
     "a supervisor's write of a page with protection key 5: PKRS is 0x800, bit 11 (WD5)=1, CR0.WP=1",
     0x23},
    {{0},
     0x5010,
     MV_ACCESS_READ,
     MV_WHO_USER,
     "mmio",
     "no slot has gpa 0x200010: the access goes to uart, offset 0x10",
     0},
    {{0}, 0x6000, MV_ACCESS_READ, MV_WHO_USER, "none", "a user's read is allowed", 0},
    {{0},
     0x6000,
     MV_ACCESS_WRITE,
     MV_WHO_USER,
     "read-only-slot",
     "a write to slot 1, which is read-only: bios at gpa 0x100000",
     0},
    {{0},
     0x7000,
     MV_ACCESS_WRITE,
     MV_WHO_USER,
     "read-only-slot",
     "a write to slot 2, which is read-only: ram at gpa 0x300000",
     0},
    {{0},
     0x8900,
     MV_ACCESS_READ,
     MV_WHO_USER,
     "no-slot",
     "no slot has gpa 0x400900: the access to ram is made by hand",
     0},
    {{0},
     0x9000,
     MV_ACCESS_READ,
     MV_WHO_USER,
     "unassigned",
     "no slot has gpa 0x500000, and no region answers there",
     0},
};

static void each_rule_has_its_words(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, "soft,mmu=ept");
    map_low(&rig);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set_mode(&rig, &cases[i].mode);
        struct mv_chain chain = ask(&rig, cases[i].gva, cases[i].access, cases[i].who);
        assert_string_equal(chain.verdict.text, cases[i].text);
        assert_string_equal(mv_rule_name(chain.verdict.rule), cases[i].rule);
        assert_int_equal(chain.verdict.error_code, cases[i].error_code);
        mv_chain_release(&chain);
    }
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(native_does_as_explained),
        cmocka_unit_test(ept_does_as_explained),
        cmocka_unit_test(ept_of_small_pages_and_5_levels_does_as_explained),
        cmocka_unit_test(ept_without_a_and_d_does_as_explained),
        cmocka_unit_test(npt_does_as_explained),
        cmocka_unit_test(shadow_does_as_explained),
        cmocka_unit_test(shadow_without_unsync_does_as_explained),
        cmocka_unit_test(hybrid_does_as_explained),
        cmocka_unit_test(each_rule_has_its_words),
    };
    return cmocka_run_group_tests_name("verdict", tests, NULL, NULL);
}

// SPDX-License-Identifier: MIT
/*
 * What does shadow paging cost beside EPT? A fault that maps a present page, an emulated write to a guest's table,
 * switches between 4 and 1000 address spaces, beside the cold lines that any hardware reads in these, and the
 * memory that their shadows take, and the write-protection of a page that is mapped 30,000 times.
 */
#include <string.h>

#include "bench.h"

#define MIB (UINT64_C(1) << 20)
#define RAM_BYTES (512 * MIB)
#define DATA_BYTES (64 * MIB)
#define PAGE UINT64_C(4096)
#define GVA UINT64_C(0x400000000)
#define TABLES DATA_BYTES /* data below, tables above */
#define PROCESSES 1000u
#define SPACES_FEW 4u   /* a vCPU keeps so many roots */
#define SPACES_MORE 16u /* more than that; all in the caches of the CPU */
#define SWITCH_ROUNDS 9u
#define MAPPINGS 30000u
#define MAPPINGS_KEPT 1000u /* more of one page are recycled, as KVM does, unless rmap-max says otherwise */

struct guest {
    struct mv_machine *machine;
    struct mv_block *block;
    struct mv_region *ram, *ports;
    struct mv_space *memory, *io;
    struct mv_vm *vm;
    struct mv_vcpu *vcpu;
    uint8_t *host;
    uint64_t next_table;
};

static double wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Memory beyond RAM_BYTES is never touched, so the host has none behind it. */
static void make_with(struct guest *g, const char *accel, uint64_t ram_bytes)
{
    struct mv_block_options block = {.name = "ram", .size_bytes = ram_bytes};
    struct mv_block_info info;
    must(mv_machine_create(&g->machine, &bench_error));
    must(mv_block_create(g->machine, &block, &g->block, &bench_error));
    g->ram = make_region(g->machine,
                         (struct mv_region_options){
                             .name = "ram", .kind = MV_REGION_RAM, .size_bytes = ram_bytes, .block = g->block});
    g->ports = make_region(g->machine, (struct mv_region_options){.name = "io", .size_bytes = 65536});
    must(mv_space_create(g->machine, "memory", g->ram, &g->memory, &bench_error));
    must(mv_space_create(g->machine, "I/O", g->ports, &g->io, &bench_error));
    mv_block_info(g->block, &info);
    g->host = (uint8_t *)(uintptr_t)info.hva.raw;
    memset(g->host, 0, RAM_BYTES);
    g->next_table = TABLES;
    struct mv_vm_options options = {.accel = accel, .memory = g->memory, .io = g->io};
    must(mv_vm_create(&options, &g->vm, &bench_error));
    must(mv_vm_add_vcpu(g->vm, &g->vcpu, &bench_error));
}

static void make(struct guest *g, const char *accel)
{
    make_with(g, accel, RAM_BYTES);
}

static void end(struct guest *g)
{
    mv_vm_destroy(g->vm);
    mv_space_destroy(g->memory);
    mv_space_destroy(g->io);
    mv_region_put(g->ram);
    mv_region_put(g->ports);
    mv_block_put(g->block);
    mv_machine_destroy(g->machine);
}

static uint64_t new_table(struct guest *g)
{
    g->next_table += PAGE;
    if (g->next_table > RAM_BYTES) {
        abort();
    }
    return g->next_table - PAGE;
}

static uint64_t *entry_at(struct guest *g, uint64_t root, uint64_t gva, unsigned level)
{
    uint64_t table = root;
    for (unsigned l = 4;; l--) {
        uint64_t *entry = (uint64_t *)(void *)(g->host + table) + (gva >> (12 + 9 * (l - 1)) & 511);
        if (l == level) {
            return entry;
        }
        if (!(*entry & 1)) {
            *entry = new_table(g) | 0x23;
        }
        table = *entry & UINT64_C(0xffffffffff000);
    }
}

/* An address space: data from GVA on, which lies at `data`; present, accessed and dirty. */
static uint64_t make_space(struct guest *g, uint64_t data)
{
    uint64_t root = new_table(g);
    for (uint64_t at = 0; at < DATA_BYTES; at += PAGE) {
        *entry_at(g, root, GVA + at, 1) = (data + at) | 0x63;
    }
    return root;
}

static void load(struct guest *g, uint64_t root)
{
    if (!mv_soft_load_cr3(g->vcpu, root)) {
        abort();
    }
}

static void set_registers(struct guest *g, uint64_t root)
{
    struct kvm_sregs sregs;
    must(mv_vcpu_get_sregs(g->vcpu, &sregs, &bench_error));
    sregs.cr0 = UINT64_C(0x80010001);
    sregs.cr3 = root;
    sregs.cr4 = 0xa0;
    sregs.efer = 0xd00;
    must(mv_vcpu_set_sregs(g->vcpu, &sregs, &bench_error));
}

static void touch(struct guest *g, uint64_t gva)
{
    struct mv_soft_place place;
    struct mv_soft_outcome outcome;
    if (mv_soft_touch(g->vcpu, mv_gva(gva), MV_ACCESS_WRITE, &place, &outcome) != MV_SOFT_DONE) {
        abort();
    }
}

/* Nanoseconds for a page that nothing maps yet, in a guest whose tables do. */
static double a_fault(const char *accel)
{
    struct guest g;
    make(&g, accel);
    uint64_t pages = DATA_BYTES / PAGE, root = make_space(&g, 0);
    set_registers(&g, root);
    touch(&g, GVA);
    double from = now_ns();
    for (uint64_t i = 0; i < pages; i += 8) { /* so many come along with a shadow fault */
        touch(&g, GVA + i * PAGE);
    }
    double ns = (now_ns() - from) / (double)(pages / 8);
    end(&g);
    return ns;
}

/*
 * A write by the guest's kernel to an upper table that stays shadowed: between two writes the vCPU walks through
 * it, so they are no flood. `ret_emulated`: how many of 100 were emulated.
 */
static double a_table_write(double *ret_emulated)
{
    struct guest g;
    struct mv_soft_outcome outcome;
    struct mv_soft_counts before, after;
    unsigned count = 20000;
    make(&g, "soft,mmu=shadow,host-page=4K");
    uint64_t root = make_space(&g, 0);
    set_registers(&g, root);
    uint64_t directory = (uint64_t)((uint8_t *)entry_at(&g, root, GVA, 2) - g.host) & ~(PAGE - 1);
    double ns = 0, clock_ns = 0;
    must(mv_soft_counts(g.vcpu, &before));
    for (unsigned i = 0; i < count; i++) {
        load(&g, root);
        touch(&g, GVA);
        double from = now_ns();
        if (mv_soft_write_physical(g.vcpu, mv_gpa(directory + 8 * (256 + i % 256)), 0, &outcome) != MV_SOFT_DONE) {
            abort();
        }
        double to = now_ns();
        ns += to - from;
        clock_ns += now_ns() - to;
    }
    must(mv_soft_counts(g.vcpu, &after));
    *ret_emulated = 100.0 * (double)(after.exits_table_write - before.exits_table_write) / count;
    end(&g);
    return (ns - clock_ns) / count;
}

/* What a turn does in a space: nothing but the switch, an access after it, or (between the same 4 all the time)
 * the entries of the space's tables read in plain code, as any hardware has to; or where a page is looked up). */
enum turn {
    TURN_SWITCH,
    TURN_ACCESS,
    TURN_READ_TABLES,
    TURN_FIND_PAGE,
};

/* What a hash of all pages is at least: a word that says where a page is, and the page's first line. */
static struct {
    uint64_t *page[1 << 16];
    uint64_t lines[PROCESSES * 64][8];
} hash;

static void make_hash(const uint64_t *roots)
{
    for (unsigned i = 0; i < PROCESSES; i++) {
        hash.page[roots[i] / PAGE * UINT64_C(0x9e3779b97f4a7c15) >> 48] = hash.lines[i * 64 + i % 61];
        hash.lines[i * 64 + i % 61][0] = 1;
    }
}

/* The guest's, which lie as the shadows do: each in a page of its own, each read for the address of the next. */
static uint64_t read_tables(const struct guest *g, uint64_t root)
{
    uint64_t entry = root;
    for (unsigned level = 4; level > 0; level--) {
        uint64_t table = entry & UINT64_C(0xffffffffff000), offset = 8 * (GVA >> (12 + 9 * (level - 1)) & 511);
        entry = __atomic_load_n((const uint64_t *)(const void *)(g->host + table + offset), __ATOMIC_RELAXED);
    }
    return entry;
}

/* Nanoseconds for a turn, of `count` spaces in order; each has been used. */
static double a_turn(struct guest *g, const uint64_t *roots, unsigned count, enum turn turn)
{
    unsigned rounds = 100000, among = turn >= TURN_READ_TABLES ? SPACES_FEW : count;
    uint64_t sum = 0;
    double from = now_ns();
    for (unsigned i = 0; i < rounds; i++) {
        load(g, roots[i % among]);
        if (turn == TURN_ACCESS) {
            touch(g, GVA);
        } else if (turn == TURN_READ_TABLES) {
            __builtin_ia32_lfence(); /* not while something else goes on */
            sum += read_tables(g, roots[i % count]);
            __builtin_ia32_lfence();
        } else if (turn == TURN_FIND_PAGE) {
            __builtin_ia32_lfence();
            sum += *hash.page[roots[i % count] / PAGE * UINT64_C(0x9e3779b97f4a7c15) >> 48];
            __builtin_ia32_lfence();
        }
    }
    double ns = (now_ns() - from) / rounds;
    if (turn >= TURN_READ_TABLES && sum == 0) {
        abort(); /* or the compiler would not read them */
    }
    return ns;
}

/* Medians, measured in turn. */
struct turns {
    double few, more, many;
};

static struct turns turns_of(struct guest *g, const uint64_t *roots, enum turn turn)
{
    double few[SWITCH_ROUNDS], more[SWITCH_ROUNDS], many[SWITCH_ROUNDS];
    for (unsigned r = 0; r < SWITCH_ROUNDS; r++) {
        few[r] = a_turn(g, roots, SPACES_FEW, turn);
        more[r] = a_turn(g, roots, SPACES_MORE, turn);
        many[r] = a_turn(g, roots, PROCESSES, turn);
    }
    return (struct turns){median(few, SWITCH_ROUNDS), median(more, SWITCH_ROUNDS), median(many, SWITCH_ROUNDS)};
}

static void switches(struct guest *g, const uint64_t *roots)
{
    struct turns alone = turns_of(g, roots, TURN_SWITCH), accesses = turns_of(g, roots, TURN_ACCESS),
                 tables = turns_of(g, roots, TURN_READ_TABLES);
    make_hash(roots);
    struct turns pages = turns_of(g, roots, TURN_FIND_PAGE);
    double cold = tables.many - tables.few;
    printf(
        "a switch between %u of them %.0f ns, between %u %.0f ns, between all %.0f ns: %.2f and %.2f (wanted 1); plain code finds one of all in "
        "a table %.0f ns later than one of %u\n",
        SPACES_FEW, alone.few, SPACES_MORE, alone.more, alone.many, alone.many / alone.few,
        alone.many / alone.more, pages.many - pages.few, SPACES_FEW);
    printf(
        "with an access after it: %.0f and %.0f ns, %.2f; to read 4 entries of tables of that space, which are cold, "
        "takes plain code %.0f ns longer; without that: %.2f\n",
        accesses.few, accesses.many, accesses.many / accesses.few, cold, (accesses.many - cold) / accesses.few);
}

/* Processes that have all been everywhere in their memory, which is their own, or the same for all. */
static void many_spaces(bool is_own)
{
    static uint64_t roots[PROCESSES];
    struct guest g;
    struct mv_soft_counts counts;
    make_with(&g, "soft,mmu=shadow,host-page=4K,shadow-pages=100000",
              RAM_BYTES + (is_own ? PROCESSES * DATA_BYTES : 0));
    for (unsigned p = 0; p < PROCESSES; p++) {
        roots[p] = make_space(&g, is_own ? RAM_BYTES + p * DATA_BYTES : 0);
    }
    uint64_t tables = (g.next_table - TABLES) / PAGE;
    set_registers(&g, roots[0]);
    for (unsigned p = 0; p < PROCESSES; p++) {
        load(&g, roots[p]);
        for (uint64_t at = 0; at < DATA_BYTES; at += PAGE) {
            touch(&g, GVA + at);
        }
    }
    must(mv_soft_counts(g.vcpu, &counts));
    printf("%u processes of 64 MiB %s: %llu tables of the guest, shadows of %.3f times their bytes (wanted 1.2)\n",
           PROCESSES, is_own ? "of their own" : "that they share", (unsigned long long)tables,
           (double)counts.table_bytes / ((double)tables * (double)PAGE));
    if (is_own) {
        switches(&g, roots);
    }
    end(&g);
}

/* How many mappings there are. */
static uint64_t mappings(const struct guest *g)
{
    struct mv_counter counters[64];
    size_t count = mv_vm_counters(g->vm, MV_COUNTERS_KERNEL, counters, 64);
    for (size_t i = 0; i < count && i < 64; i++) {
        if (strcmp(counters[i].name, "pages_4k") == 0) {
            return counters[i].value;
        }
    }
    abort();
}

/* One page at `count` addresses becomes a table: all its mappings are write-protected. Nanoseconds for each; all
 * of them are there. */
static double a_protection(const char *accel, unsigned count)
{
    struct guest g;
    make(&g, accel);
    uint64_t root = new_table(&g), page = new_table(&g);
    for (uint64_t i = 0; i < count; i++) {
        *entry_at(&g, root, GVA + i * PAGE, 1) = page | 0x63;
    }
    set_registers(&g, root);
    for (uint64_t i = 0; i < count; i++) {
        touch(&g, GVA + i * PAGE);
    }
    if (mappings(&g) != count) {
        abort();
    }
    uint64_t other = GVA + (UINT64_C(1) << 30);
    for (uint64_t i = 1; i <= 8; i++) { /* memory for tables comes in batches: not while the clock runs */
        *entry_at(&g, root, other + (i << 21), 1) = 0x63;
        touch(&g, other + (i << 21));
    }
    *entry_at(&g, root, other, 2) = page | 0x23;
    *((uint64_t *)(void *)(g.host + page)) = 0x63;
    double from = wall_ns();
    touch(&g, other);
    double ns = (wall_ns() - from) / count;
    end(&g);
    return ns;
}

int main(void)
{
    double tdp[ROUNDS], shadow[ROUNDS], writes[ROUNDS], protection[ROUNDS], of_many[ROUNDS], emulated = 0;
    for (unsigned r = 0; r < ROUNDS; r++) {
        tdp[r] = a_fault("soft,mmu=ept,host-page=4K");
        shadow[r] = a_fault("soft,mmu=shadow,host-page=4K");
        writes[r] = a_table_write(&emulated);
        protection[r] = a_protection("soft,mmu=shadow,host-page=4K", MAPPINGS_KEPT - 1);
        of_many[r] = a_protection("soft,mmu=shadow,host-page=4K,rmap-max=30000", MAPPINGS);
    }
    double fault = median(tdp, ROUNDS);
    printf("a fault: EPT %.0f ns, shadow %.0f ns, %.2f times (wanted 2.5)\n", fault, median(shadow, ROUNDS),
           median(shadow, ROUNDS) / fault);
    printf("an emulated write to a table: %.0f ns, %.2f times the fault of EPT (wanted 3)\n",
           median(writes, ROUNDS), median(writes, ROUNDS) / fault);
    printf(
        "write-protection of a page with %u mappings: %.1f ns each, with %u (rmap-max=%u) %.1f ns each (wanted 40)\n",
        MAPPINGS_KEPT - 1, median(protection, ROUNDS), MAPPINGS, MAPPINGS, median(of_many, ROUNDS));
    many_spaces(true);
    many_spaces(false);
    return 0;
}

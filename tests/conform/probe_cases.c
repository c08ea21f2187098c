// SPDX-License-Identifier: MIT
#include "tests/conform/probe_cases.h"

#include <assert.h>

#define P UINT64_C(0x1)
#define W UINT64_C(0x2)
#define U UINT64_C(0x4)
#define A UINT64_C(0x20)
#define D UINT64_C(0x40)
#define PS UINT64_C(0x80)
#define NX (UINT64_C(1) << 63)
#define NOWHERE UINT64_C(0xc0000000) /* the board has nothing there */

/* What an access may be: these eight differ in at least one rule. */
static const struct way {
    struct probe_access access;
    uint8_t flags;
} ways[] = {
    {{PROBE_READ, 1}, 0}, {{PROBE_WRITE, 1}, 0}, {{PROBE_FETCH, 1}, 0},           {{PROBE_WRITE, 1}, PROBE_NO_WP},
    {{PROBE_READ, 0}, 0}, {{PROBE_WRITE, 0}, 0}, {{PROBE_WRITE, 0}, PROBE_NO_WP}, {{PROBE_FETCH, 0}, 0},
};
#define WAYS (sizeof ways / sizeof ways[0])

const char *probe_group_name(enum probe_group group)
{
    static const char *const names[PROBE_GROUPS] = {
        "leaves", "tables", "rights", "reserved", "unbacked", "nxe-clear", "twice", "random",
    };
    return names[group];
}

/* --- Making one -------------------------------------------------------------------------------------------- */

static uint64_t frame_of(unsigned level)
{
    return PROBE_FRAME(level) | (level > 1 ? PS : 0);
}

/* All rights, no A or D. */
static struct probe_case plain(unsigned leaf)
{
    struct probe_case c = {.offset = 0x1a8, .naccesses = 1};
    for (unsigned level = 1; level <= 4; level++) {
        c.entry[level - 1] = P | W | U |
                             (level == leaf ? frame_of(level)
                              : level > 1   ? PROBE_TABLE_GPA(level - 1)
                                            : 0);
    }
    return c;
}

static void set_bits(struct probe_case *c, unsigned level, uint64_t mask, uint64_t bits)
{
    c->entry[level - 1] = (c->entry[level - 1] & ~mask) | bits;
}

static void add(struct probe_list *list, const struct probe_case *c)
{
    assert(list->count < PROBE_CASES_MAX);
    list->cases[list->count++] = *c;
}

/* In each way, or in one of them. */
static void add_ways(struct probe_list *list, struct probe_case c, size_t first, size_t end)
{
    const uint8_t flags = c.flags;
    for (size_t i = first; i < end; i++) {
        c.access[0] = ways[i].access;
        c.flags = flags | ways[i].flags;
        add(list, &c);
    }
}

/* Bit i of n decides about the i-th lowest bit of mask. */
static uint64_t spread(unsigned n, uint64_t mask)
{
    uint64_t ret = 0;
    for (; mask; mask &= mask - 1, n >>= 1) {
        ret |= n & 1 ? mask & -mask : 0;
    }
    return ret;
}

static unsigned combinations(uint64_t mask)
{
    return 1u << __builtin_popcountll(mask);
}

static unsigned largest_leaf(const struct probe_wish *wish)
{
    return wish->cpu.has_1g ? 3 : 2;
}

/* --- Groups ------------------------------------------------------------------------------------------------ */

static void add_entry_matrix(struct probe_list *list, unsigned leaf, unsigned level, uint64_t mask, uint8_t flags)
{
    for (unsigned n = 0; n < combinations(mask); n++) {
        struct probe_case c = plain(leaf);
        c.flags = flags;
        set_bits(&c, level, mask, spread(n, mask));
        add_ways(list, c, 0, WAYS);
    }
}

static void add_leaves(struct probe_list *list, const struct probe_wish *wish)
{
    for (unsigned leaf = 1; leaf <= largest_leaf(wish); leaf++) {
        add_entry_matrix(list, leaf, leaf, P | W | U | A | D | NX, 0);
    }
}

static void add_tables(struct probe_list *list, const struct probe_wish *wish)
{
    for (unsigned leaf = 1; leaf <= largest_leaf(wish); leaf++) {
        for (unsigned level = leaf + 1; level <= 4; level++) {
            add_entry_matrix(list, leaf, level, P | W | U | A | D | NX, 0);
        }
    }
}

static void add_rights(struct probe_list *list, const struct probe_wish *wish)
{
    const uint64_t mask = W | U | NX;
    for (unsigned n = 0; n < 8 * 8 * 8 * 8; n++) {
        struct probe_case c = plain(1);
        for (unsigned level = 1; level <= 4; level++) {
            set_bits(&c, level, mask, spread(n >> (3 * (level - 1)) & 7, mask));
        }
        const size_t way = walk_random_bits(wish->random) >> 32 & (WAYS - 1);
        add_ways(list, c, wish->is_long ? 0 : way, wish->is_long ? WAYS : way + 1);
    }
}

/* Bits that are not address here, nor anything else that the matrix has. */
static uint64_t odd_bits(const struct probe_wish *wish, unsigned leaf, unsigned level)
{
    uint64_t bits = UINT64_C(0xf18) | (UINT64_C(0x7ff) << 52);
    bits |= UINT64_C(0x000fffffffffffff) & ~((UINT64_C(1) << wish->cpu.maxphyaddr) - 1);
    if (level == leaf && level > 1) {
        bits |= ((UINT64_C(1) << (12 + 9 * (level - 1))) - 1) & ~UINT64_C(0xfff); /* PAT and reserved ones */
    } else if (level == 4 || level == 1) {
        bits |= PS; /* reserved, or PAT */
    }
    return bits;
}

static void add_reserved(struct probe_list *list, const struct probe_wish *wish)
{
    for (unsigned leaf = 1; leaf <= largest_leaf(wish); leaf++) {
        for (unsigned level = leaf; level <= 4; level++) {
            for (uint64_t bits = odd_bits(wish, leaf, level); bits; bits &= bits - 1) {
                struct probe_case c = plain(leaf);
                c.entry[level - 1] ^= bits & -bits;
                add_ways(list, c, 0, WAYS);
                c.entry[level - 1] ^= P;
                add_ways(list, c, 0, 3);
            }
        }
    }
    if (!wish->cpu.has_1g) {
        struct probe_case c = plain(3); /* PS itself is reserved */
        add_ways(list, c, 0, WAYS);
    }
}

static void add_unbacked(struct probe_list *list, const struct probe_wish *wish)
{
    for (unsigned leaf = 1; leaf <= largest_leaf(wish); leaf++) {
        for (unsigned level = leaf + 1; level <= 4; level++) {
            struct probe_case c = plain(leaf);
            c.entry[level - 1] = NOWHERE | P | W | U;
            add_ways(list, c, 0, WAYS);
        }
    }
}

/* What is set at one level is reserved there, wherever that is. */
static void add_nxe_clear(struct probe_list *list, const struct probe_wish *wish)
{
    for (unsigned leaf = 1; leaf <= largest_leaf(wish); leaf++) {
        for (unsigned level = leaf; level <= 4; level++) {
            add_entry_matrix(list, leaf, level, P | W | U | NX, PROBE_NO_NXE);
        }
    }
}

static struct probe_access one_of_six(unsigned n)
{
    return (struct probe_access){.kind = (uint8_t)(n % 3), .is_user = (uint8_t)(n / 3)};
}

/* Each kind by either, and then each kind by either. */
static void add_twice(struct probe_list *list, const struct probe_wish *wish)
{
    const uint64_t mask = W | U | NX;
    for (unsigned leaf = 1; leaf <= largest_leaf(wish); leaf++) {
        for (unsigned n = 0; n < combinations(mask) * 36 * 2; n++) {
            struct probe_case c = plain(leaf);
            set_bits(&c, leaf, mask, spread(n / 72, mask));
            c.flags = n % 2 ? PROBE_NO_WP : 0;
            c.naccesses = 2;
            c.access[0] = one_of_six(n / 2 % 6);
            c.access[1] = one_of_six(n / 12 % 6);
            add(list, &c);
        }
    }
}

static uint64_t below(const struct probe_wish *wish, uint64_t n)
{
    return (walk_random_bits(wish->random) >> 16) % n;
}

static struct probe_case random_case(const struct probe_wish *wish)
{
    const unsigned leaf = 1 + (unsigned)below(wish, largest_leaf(wish));
    struct probe_case c = plain(leaf);
    c.offset = (uint16_t)(8 * below(wish, 510));
    c.flags = (uint8_t)((below(wish, 3) ? 0 : PROBE_NO_WP) | (below(wish, 8) ? 0 : PROBE_NO_NXE));
    c.naccesses = (uint8_t)(1 + below(wish, PROBE_ACCESSES));
    for (unsigned i = 0; i < c.naccesses; i++) {
        c.access[i] = (struct probe_access){.kind = (uint8_t)below(wish, 3), .is_user = below(wish, 4) != 0};
    }
    for (unsigned level = leaf; level <= 4; level++) {
        uint64_t entry = c.entry[level - 1];
        entry ^= below(wish, 32) ? 0 : P;
        entry ^= below(wish, 8) ? 0 : W;
        entry ^= below(wish, 10) ? 0 : U;
        entry ^= below(wish, 10) || (c.flags & PROBE_NO_NXE && below(wish, 4)) ? 0 : NX;
        entry |= walk_random_bits(wish->random) & (A | D | UINT64_C(0xe18));
        if (below(wish, 24) == 0) {
            uint64_t bits = odd_bits(wish, leaf, level);
            for (uint64_t skip = below(wish, (unsigned)__builtin_popcountll(bits)); skip; skip--) {
                bits &= bits - 1;
            }
            entry ^= bits & -bits;
        }
        c.entry[level - 1] = entry;
    }
    return c;
}

static void add_random(struct probe_list *list, const struct probe_wish *wish)
{
    for (size_t i = 0; i < wish->nrandom; i++) {
        const struct probe_case c = random_case(wish);
        add(list, &c);
    }
}

void probe_cases_make(struct probe_list *list, const struct probe_wish *wish)
{
    static void (*const groups[PROBE_GROUPS])(struct probe_list *, const struct probe_wish *) = {
        add_leaves, add_tables, add_rights, add_reserved, add_unbacked, add_nxe_clear, add_twice, add_random,
    };
    assert(wish->cpu.has_nx);
    list->count = 0;
    for (unsigned i = 0; i < PROBE_GROUPS; i++) {
        list->begin[i] = list->count;
        groups[i](list, wish);
    }
    list->begin[PROBE_GROUPS] = list->count;
}

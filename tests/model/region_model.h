/* SPDX-License-Identifier: MIT */
#ifndef REGION_MODEL_H
#define REGION_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A naive model of a tree of memory regions, for tests to hold a real
 * implementation against. It knows one question only: what does one byte
 * access hit? Everything else is derived from the answer. Being right on
 * sight is its one goal; it is slow and has fixed limits.
 *
 * Regions are small integers given out by model_create() and valid until the
 * next model_init(). Nothing is allocated: a struct model needs no cleaning up.
 *
 * Calls that change the tree return 0, or -1 and change nothing when what
 * they ask for is illegal (including an id that does not exist).
 *
 * What is chosen where the reference facts leave room:
 *
 * - The root of an address space is placed at its own address, as everything
 *   else is (Q30, Q38: QEMU adds the address of the root as well). A root that
 *   was never added anywhere and never moved has address 0.
 * - model_del() leaves the address as it was; set_address of a region without
 *   a container is legal and only remembers the address.
 * - A cycle through containers and aliases is refused. QEMU does not look for
 *   them: most never end there, and some (an alias of a container inside that
 *   container, shifted) end because clipping leaves nothing.
 * - The sharing of flat views between roots (Q35) does not exist here. QEMU
 *   lets it leak: going down from a root to its only child or target forgets
 *   the readonly and nonvolatile flags and the addresses passed on the way.
 * - A size of exactly 2^64-1 bytes cannot be had, as in QEMU.
 * - `readonly` of a byte is that of the flat range: any region on the way
 *   (container, alias, or the region hit) is readonly. QEMU 7.2 asks only the
 *   region hit, m->region[id].readonly, when it decides whether
 *   address_space_write() may store directly (Q66); vCPUs and listeners
 *   (KVM's slots) see the flag of the range.
 */

#define MODEL_MAX_REGIONS 1024
#define MODEL_NONE (-1)
#define MODEL_SIZE_2_64 UINT64_MAX /* this size means 2^64 bytes */

enum model_kind {
    MODEL_CONTAINER, /* nothing of its own; children only */
    MODEL_RAM,
    MODEL_ROM, /* RAM created readonly, and nothing else (Q7) */
    MODEL_MMIO,
    MODEL_RESERVATION, /* MMIO without ops: takes its range, decodes as unassigned (Q6) */
    MODEL_ALIAS,       /* a window onto another region */
};

struct model_region {
    enum model_kind kind;
    uint64_t size; /* bytes; MODEL_SIZE_2_64 is 2^64 */
    bool enabled;
    bool readonly;
    bool nonvolatile;

    int target;            /* of an alias, else MODEL_NONE */
    uint64_t alias_offset; /* where in the target byte 0 of the alias lies */

    int container;  /* MODEL_NONE while not added anywhere */
    uint64_t addr;  /* in the container */
    int priority;   /* among its siblings */
    uint64_t added; /* the larger, the later put into its container */
};

struct model {
    int nregions;
    uint64_t clock; /* the last `added` given out */
    struct model_region region[MODEL_MAX_REGIONS];
};

/* What a byte access hits. Never an alias or a container. */
struct model_byte {
    int region;
    uint64_t offset; /* in that region */
    bool readonly;
    bool nonvolatile;
    enum model_kind kind;
};

/* A longest run of bytes of one region, of contiguous offsets and equal flags. */
struct model_section {
    uint64_t first;
    uint64_t last; /* inclusive */
    int region;
    uint64_t offset; /* of `first` in the region */
    bool readonly;
    bool nonvolatile;
};

/* Building. The two creators return the new id, or -1 (no room, no such target, wrong kind). */
void model_init(struct model *m);
int model_create(struct model *m, enum model_kind kind, uint64_t size);
int model_create_alias(struct model *m, int target, uint64_t offset, uint64_t size);

/*
 * Illegal: the child has a container already, the parent is an alias, or the
 * parent can be reached from the child. Overlap is legal, at any priority.
 */
int model_add(struct model *m, int parent, int child, uint64_t addr, int priority);
/* Illegal: the child has no container. */
int model_del(struct model *m, int child);

/* A set_address that changes the address puts the region in front of its equals (Q18). */
int model_set_address(struct model *m, int id, uint64_t addr);
int model_set_size(struct model *m, int id, uint64_t size);
int model_set_enabled(struct model *m, int id, bool enabled);
int model_set_readonly(struct model *m, int id, bool readonly);
int model_set_nonvolatile(struct model *m, int id, bool nonvolatile);
/* Illegal: not an alias. */
int model_set_alias_offset(struct model *m, int id, uint64_t offset);

/* Asking. `root` is the root region of an address space and must exist. */

/* What a byte access at addr hits; false, and *ret untouched, when nothing is there. */
bool model_at(const struct model *m, int root, uint64_t addr, struct model_byte *ret);

/*
 * The sections of [lo, hi], both inclusive, in ascending order and cut at the
 * ends of the window. Writes at most max of them and returns how many there
 * are. Looks at every byte of the window.
 */
size_t model_sections(const struct model *m, int root, uint64_t lo, uint64_t hi, struct model_section *ret,
                      size_t max);

/*
 * The same answer, for windows too large to walk (up to all of 2^64): looks
 * only at addresses where some region begins or ends, enabled or not, since
 * nothing can change in between. Allocates while it runs; aborts without memory.
 */
size_t model_flat(const struct model *m, int root, uint64_t lo, uint64_t hi, struct model_section *ret,
                  size_t max);

/*
 * The first section that overlaps [addr, addr + size) of region `id`, clipped
 * to that range. The range is looked up in the address space of the outermost
 * container of `id` (Q38), which is taken to have one: a hit may be another
 * region that hides this one. Addresses wrap at 2^64 on the way up; a range
 * that would pass 2^64 ends there. Size 0 finds nothing (QEMU answers with an
 * empty section when addr is inside a range but not at its start: an accident
 * of its search, not modelled).
 */
bool model_find(const struct model *m, int id, uint64_t addr, uint64_t size, struct model_section *ret);

/* Q20: it has a container, or some alias that has one leads to it. */
bool model_is_mapped(const struct model *m, int id);

#endif

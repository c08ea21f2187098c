/* SPDX-License-Identifier: MIT */
#include "walk_memory.h"

#include <assert.h>
#include <string.h>

static bool inside(uint64_t address, unsigned size)
{
    return address % size == 0 && address <= WALK_MEMORY_BYTES - size;
}

uint64_t walk_peek(const struct walk_memory *memory, uint64_t address, unsigned size)
{
    uint64_t value = 0;
    assert(inside(address, size));
    for (unsigned i = 0; i < size; i++) {
        value |= (uint64_t)memory->bytes[address + i] << (8 * i);
    }
    return value;
}

void walk_poke(struct walk_memory *memory, uint64_t address, unsigned size, uint64_t value)
{
    assert(inside(address, size));
    for (unsigned i = 0; i < size; i++) {
        memory->bytes[address + i] = (uint8_t)(value >> (8 * i));
    }
}

static bool read_memory(void *opaque, uint64_t address, unsigned size, uint64_t *ret_value)
{
    const struct walk_memory *memory = opaque;
    if (!inside(address, size) || memory->page[address / 4096] == WALK_HOLE) {
        return false;
    }
    *ret_value = walk_peek(memory, address, size);
    return true;
}

static enum model_cas cas_memory(void *opaque, uint64_t address, unsigned size, uint64_t old, uint64_t new)
{
    struct walk_memory *memory = opaque;
    if (memory->before_cas != NULL) {
        memory->before_cas(memory, address);
    }
    if (!inside(address, size) || memory->page[address / 4096] == WALK_HOLE) {
        return MODEL_CAS_NOTHING;
    }
    if (walk_peek(memory, address, size) != old) {
        return MODEL_CAS_CHANGED;
    }
    if (memory->page[address / 4096] == WALK_READ_ONLY) {
        return MODEL_CAS_READ_ONLY;
    }
    walk_poke(memory, address, size, new);
    return MODEL_CAS_DONE;
}

struct model_memory walk_memory(struct walk_memory *memory)
{
    return (struct model_memory){.opaque = memory, .read = read_memory, .cas = cas_memory};
}

uint64_t walk_new_table(struct walk_memory *memory)
{
    assert(memory->next_page < WALK_MEMORY_PAGES);
    const uint64_t table = memory->next_page * UINT64_C(4096);
    memory->next_page++;
    memset(memory->bytes + table, 0, 4096);
    return table;
}

uint64_t walk_map(struct walk_memory *memory, const struct walk_mapping *mapping)
{
    uint64_t table = mapping->root;
    for (unsigned level = mapping->levels;; level--) {
        const unsigned shift = 12 + 9 * (level - 1);
        const uint64_t address = table + 8 * (mapping->address >> shift & 511);
        if (level == mapping->leaf_level) {
            walk_poke(memory, address, 8, mapping->leaf);
            return address;
        }
        if (walk_peek(memory, address, 8) == 0) {
            walk_poke(memory, address, 8, walk_new_table(memory) | mapping->table_flags);
        }
        table = walk_peek(memory, address, 8) & UINT64_C(0x000ffffffffff000);
    }
}

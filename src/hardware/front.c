// SPDX-License-Identifier: MIT
#include "hardware/front.h"

#include <string.h>

void front_empty(struct front *f)
{
    for (unsigned who = 0; who < FRONT_WHOS; who++) {
        if (f->is_used[who]) {
            memset(f->entry[who], 0xff, sizeof f->entry[who]);
            f->is_used[who] = false;
        }
    }
    f->has_parts = false;
}

void front_fill(struct front *f, uint64_t gva, unsigned kind, unsigned who, const void *host, uint64_t gpa,
                bool is_part)
{
    size_t i = (gva >> 12) & (FRONT_ENTRIES - 1);
    struct front_entry *entry = &f->entry[who][i];
    uint64_t page = gva & ~UINT64_C(0xfff);
    uint64_t addend = (uint64_t)(uintptr_t)host - gva;
    for (unsigned k = 0; k < FRONT_KINDS; k++) {
        if (entry->page[k] != page || entry->addend != addend || f->gpa[who][i] != gpa - gva) {
            entry->page[k] = FRONT_NONE; /* the addend is common to the kinds */
        }
    }
    entry->page[kind] = page;
    entry->addend = addend;
    f->gpa[who][i] = gpa - gva;
    f->is_used[who] = true;
    f->has_parts |= is_part;
}

void front_drop_found(struct front *f, uint64_t gva)
{
    for (unsigned who = 0; who < FRONT_WHOS; who++) {
        struct front_entry *entry = &f->entry[who][(gva >> 12) & (FRONT_ENTRIES - 1)];
        memset(entry->page, 0xff, sizeof entry->page);
    }
}

void front_drop_page(struct front *f, uint64_t gva)
{
    if (f->has_parts) {
        front_empty(f);
    } else {
        front_drop_found(f, gva);
    }
}

/* SPDX-License-Identifier: MIT */

/* Holds the walk model against cases worked by hand from the manuals: the guest's access rights. */
#include "selftest.h"
#include "walk_rig.h"

/* Every level's W, U and NX against the page's. */
static void test_rights_of_levels(void)
{
    begin(MODEL_4LEVEL);
    world.regs.efer |= MODEL_EFER_NXE;
    for (unsigned mask = 0; mask < 1 << 12; mask++) {
        uint64_t entry[4];
        bool w = true;
        bool u = true;
        bool x = true;
        for (unsigned i = 0; i < 4; i++) {
            const unsigned rights = mask >> (3 * i) & 7;
            entry[i] = P | (rights & 1 ? W : 0) | (rights & 2 ? U : 0) | (rights & 4 ? 0 : NX);
            w = w && (rights & 1);
            u = u && (rights & 2);
            x = x && (rights & 4);
        }
        set_all(4, entry);
        CHECK(walk(0, MODEL_READ) == MODEL_OK);
        CHECK(result.writable == w && result.user == u && result.executable == x);
    }
}

/* SDM, "Determination of Access Rights", sentence by sentence. */
static bool manual_allows(const struct model_regs *regs, enum model_access_kind kind, bool implicit, bool w,
                          bool u, bool x)
{
    const bool wp = regs->cr0 & MODEL_CR0_WP;
    const bool smep = regs->cr4 & MODEL_CR4_SMEP;
    const bool smap = regs->cr4 & MODEL_CR4_SMAP;
    const bool ac = regs->rflags & MODEL_RFLAGS_AC;
    const bool supervisor_mode_access = regs->cpl < 3 || implicit;
    if (supervisor_mode_access) {
        switch (kind) {
        case MODEL_READ:
            /* Any supervisor-mode address; a user-mode address: SMAP = 0, or AC = 1 and explicit. */
            return !u || !smap || (ac && !implicit);
        case MODEL_WRITE:
            if (!u) {
                return !wp || w;
            }
            if (!wp) {
                return !smap || (ac && !implicit);
            }
            return w && (!smap || (ac && !implicit));
        case MODEL_FETCH:
        default: return u ? !smep && x : x;
        }
    }
    switch (kind) {
    case MODEL_READ: return u;
    case MODEL_WRITE: return u && w;
    case MODEL_FETCH:
    default: return u && x;
    }
}

static void test_truth_table(void)
{
    for (unsigned n = 0; n < 1 << 12; n++) {
        const bool w = n & 1;
        const bool u = n & 2;
        const bool x = n & 4;
        const bool nxe = n & 8;
        begin(MODEL_4LEVEL);
        if (!x && !nxe) {
            continue;
        }
        world.regs.efer |= nxe ? MODEL_EFER_NXE : 0;
        world.regs.cr0 |= n & 16 ? MODEL_CR0_WP : 0;
        world.regs.cr4 |= n & 32 ? MODEL_CR4_SMEP : 0;
        world.regs.cr4 |= n & 64 ? MODEL_CR4_SMAP : 0;
        world.regs.rflags = n & 128 ? MODEL_RFLAGS_AC : 0;
        world.regs.cpl = n >> 8 & 3;
        const bool implicit = n & 1024;
        set_all(4, (uint64_t[]){P | W | U, P | W | U, P | W | U, P | (w ? W : 0) | (u ? U : 0) | (x ? 0 : NX)});
        for (enum model_access_kind kind = MODEL_READ; kind <= MODEL_FETCH; kind++) {
            const struct model_access access = {.gva = 0, .kind = kind, .implicit = implicit};
            model_walk(&world, &access, &result);
            if (manual_allows(&world.regs, kind, implicit, w, u, x)) {
                CHECK(result.outcome == MODEL_OK && result.gpa == PAGE);
                continue;
            }
            uint64_t code = MODEL_PF_P;
            code |= kind == MODEL_WRITE ? MODEL_PF_W : 0;
            code |= world.regs.cpl == 3 && !implicit ? MODEL_PF_U : 0;
            code |= kind == MODEL_FETCH && (nxe || (n & 32)) ? MODEL_PF_I : 0;
            CHECK(result.outcome == MODEL_PAGE_FAULT && result.error_code == code);
            CHECK(result.nwrites == 0 && result.gpa == 0);
        }
    }
}

/* A few of them said out loud, so that the table above has no single author. */
static void test_said_out_loud(void)
{
    begin(MODEL_4LEVEL);
    set_all(4, (uint64_t[]){P | W | U, P | W | U, P | W | U, P | U});
    CHECK(walk(0, MODEL_WRITE) == MODEL_OK); /* WP = 0 */
    CHECK(walk_peek(&memory, 0x4000, 8) == (PAGE | P | U | A | D));
    world.regs.cr0 |= MODEL_CR0_WP;
    CHECK(fault(0, MODEL_WRITE) == (MODEL_PF_P | MODEL_PF_W));
    world.regs.cr4 |= MODEL_CR4_SMAP;
    CHECK(fault(0, MODEL_READ) == MODEL_PF_P);
    CHECK(walk(0, MODEL_FETCH) == MODEL_OK); /* that is SMEP's */
    world.regs.rflags = MODEL_RFLAGS_AC;
    CHECK(walk(0, MODEL_READ) == MODEL_OK);
    CHECK(walk_implicit(0, MODEL_READ) == MODEL_PAGE_FAULT && result.error_code == MODEL_PF_P);
    world.regs.cr4 |= MODEL_CR4_SMEP;
    CHECK(fault(0, MODEL_FETCH) == (MODEL_PF_P | MODEL_PF_I));
    world.regs.cpl = 3;
    CHECK(walk(0, MODEL_FETCH) == MODEL_OK);
    CHECK(fault(0, MODEL_WRITE) == (MODEL_PF_P | MODEL_PF_W | MODEL_PF_U));
    CHECK(walk_implicit(0, MODEL_WRITE) == MODEL_PAGE_FAULT && result.error_code == (MODEL_PF_P | MODEL_PF_W));
}

/* PKU: PKRU has AD at 2i and WD at 2i+1. PKS the same for supervisor pages. */
static void test_keys(void)
{
    for (unsigned n = 0; n < 1 << 10; n++) {
        const bool u = n & 1;
        const bool w = n & 2;
        const bool wp = n & 4;
        const bool pke = n & 8;
        const bool pks = n & 16;
        const bool ad = n & 32;
        const bool wd = n & 64;
        const bool user_mode = n & 128;
        const bool pkru_has_it = n & 256; /* the other register has the opposite */
        const unsigned key = n & 512 ? 15 : 6;
        begin(MODEL_4LEVEL);
        world.regs.cr0 |= wp ? MODEL_CR0_WP : 0;
        world.regs.cr4 |= (pke ? MODEL_CR4_PKE : 0) | (pks ? MODEL_CR4_PKS : 0);
        world.regs.cpl = user_mode ? 3 : 0;
        const uint32_t rights = (uint32_t)((ad ? 1 : 0) + (wd ? 2 : 0)) << (2 * key);
        world.regs.pkru = pkru_has_it ? rights : ~rights;
        world.regs.pkrs = pkru_has_it ? ~rights : rights;
        const uint32_t here = u ? world.regs.pkru : world.regs.pkrs;
        const bool here_ad = here >> (2 * key) & 1;
        const bool here_wd = here >> (2 * key + 1) & 1;
        /* Keys of the upper levels are ignored. */
        const uint64_t other = UINT64_C(9) << 59;
        set_all(4, (uint64_t[]){P | W | U | other, P | W | U | other, P | W | U | other,
                                P | (w ? W : 0) | (u ? U : 0) | (uint64_t)key << 59});
        for (enum model_access_kind kind = MODEL_READ; kind <= MODEL_FETCH; kind++) {
            const bool on = u ? pke : pks;
            bool key_fault = false;
            if (on && kind == MODEL_READ) {
                key_fault = here_ad;
            } else if (on && kind == MODEL_WRITE && u) {
                key_fault = here_ad || (here_wd && (user_mode || wp));
            } else if (on && kind == MODEL_WRITE) {
                key_fault = here_ad || (here_wd && wp);
            }
            const bool allowed = manual_allows(&world.regs, kind, false, w, u, true);
            const uint64_t code = fault(0, kind);
            if (allowed && !key_fault) {
                CHECK(code == UINT64_MAX && result.protection_key == (pke || pks ? key : 0));
            } else {
                CHECK(code == (MODEL_PF_P | (kind == MODEL_WRITE ? MODEL_PF_W : 0) | (user_mode ? MODEL_PF_U : 0) |
                               (key_fault ? MODEL_PF_PK : 0)));
            }
        }
    }
    /* NX is no part of a key. */
    begin(MODEL_4LEVEL);
    world.regs.cr4 |= MODEL_CR4_PKE;
    world.regs.efer |= MODEL_EFER_NXE;
    set_all(4, (uint64_t[]){P, P, P, P | NX | UINT64_C(5) << 59});
    CHECK(walk(0, MODEL_READ) == MODEL_OK && result.protection_key == 5);
    /* Keys are long mode's only. */
    begin(MODEL_PAE);
    world.regs.cr4 |= MODEL_CR4_PKE;
    world.regs.pkru = UINT32_MAX;
    world.regs.pdptr[0] = 0x2000 | P;
    walk_poke(&memory, 0x2000, 8, P | PS | U);
    CHECK(walk(0, MODEL_READ) == MODEL_OK && result.protection_key == 0);
    /* Not present and reserved say nothing of keys. */
    begin(MODEL_4LEVEL);
    world.regs.cr4 |= MODEL_CR4_PKE;
    world.regs.pkru = UINT32_MAX;
    set_all(4, (uint64_t[]){P | U, P | U, P | U, U});
    CHECK(fault(0, MODEL_READ) == 0);
    set_all(4, (uint64_t[]){P | U, P | U, P | U, P | U | UINT64_C(1) << 51});
    CHECK(fault(0, MODEL_READ) == (MODEL_PF_P | MODEL_PF_RSVD));
}

int main(void)
{
    test_rights_of_levels();
    test_truth_table();
    test_said_out_loud();
    test_keys();
    return finish();
}

/* SPDX-License-Identifier: MIT */

/* Holds the walk model's register checks against the manuals' rules, one by one. */
#include "selftest.h"
#include "walk_model.h"

static const struct model_cpu full = {.maxphyaddr = 40,
                                      .pae = true,
                                      .pge = true,
                                      .pse = true,
                                      .nx = true,
                                      .smep = true,
                                      .smap = true,
                                      .pku = true,
                                      .pks = true,
                                      .la57 = true,
                                      .pcid = true,
                                      .cr4_other = 0x600}; /* OSFXSR, OSXMMEXCPT */

static const uint64_t PE = MODEL_CR0_PE;
static const uint64_t PG = MODEL_CR0_PG;

static const struct model_regs protected_mode = {.cr0 = MODEL_CR0_PE};
static const struct model_regs pae = {.cr0 = MODEL_CR0_PE | MODEL_CR0_PG, .cr4 = MODEL_CR4_PAE};
static const struct model_regs long_mode = {
    .cr0 = MODEL_CR0_PE | MODEL_CR0_PG, .cr4 = MODEL_CR4_PAE, .efer = MODEL_EFER_LME | MODEL_EFER_LMA};

static bool takes(const struct model_regs *regs, bool cs_long, enum model_register which, uint64_t value)
{
    return model_cr_check(&full, regs, cs_long, which, value);
}

static void test_cr0(void)
{
    struct model_regs regs = protected_mode;
    CHECK(takes(&regs, false, MODEL_CR0, PE | PG));
    CHECK(!takes(&regs, false, MODEL_CR0, PG));
    CHECK(takes(&regs, false, MODEL_CR0, 0));
    CHECK(takes(&regs, false, MODEL_CR0, PE | MODEL_CR0_CD | MODEL_CR0_NW));
    CHECK(takes(&regs, false, MODEL_CR0, PE | MODEL_CR0_CD));
    CHECK(!takes(&regs, false, MODEL_CR0, PE | MODEL_CR0_NW));
    CHECK(!takes(&regs, false, MODEL_CR0, PE | UINT64_C(1) << 32));
    CHECK(!takes(&regs, false, MODEL_CR0, PE | UINT64_C(1) << 63));
    CHECK(takes(&regs, false, MODEL_CR0, PE | 0x1ff8ffc0));
    regs.efer = MODEL_EFER_LME;
    CHECK(!takes(&regs, false, MODEL_CR0, PE | PG)); /* without PAE */
    CHECK(takes(&regs, false, MODEL_CR0, PE));
    regs.cr4 = MODEL_CR4_PAE;
    CHECK(takes(&regs, false, MODEL_CR0, PE | PG));
    CHECK(!takes(&regs, true, MODEL_CR0, PE | PG)); /* from a 64-bit segment */
    regs = long_mode;
    CHECK(takes(&regs, false, MODEL_CR0, PE));
    CHECK(!takes(&regs, true, MODEL_CR0, PE)); /* from 64-bit mode */
    CHECK(takes(&regs, true, MODEL_CR0, PE | PG | MODEL_CR0_WP));
    regs.cr4 |= MODEL_CR4_PCIDE;
    CHECK(!takes(&regs, false, MODEL_CR0, PE));
    CHECK(takes(&regs, true, MODEL_CR0, PE | PG));
    regs = pae;
    CHECK(takes(&regs, true, MODEL_CR0, PE));
}

static void test_cr3(void)
{
    struct model_regs regs = long_mode;
    CHECK(takes(&regs, true, MODEL_CR3, UINT64_C(0xfffffff000)));
    CHECK(takes(&regs, true, MODEL_CR3, 0xfff)); /* ignored bits, or a PCID */
    for (unsigned n = 40; n < 64; n++) {
        CHECK(!takes(&regs, true, MODEL_CR3, UINT64_C(1) << n));
    }
    regs.cr4 |= MODEL_CR4_PCIDE;
    CHECK(takes(&regs, true, MODEL_CR3, UINT64_C(1) << 63 | 0x5fff));
    CHECK(!takes(&regs, true, MODEL_CR3, UINT64_C(1) << 62));
    CHECK(!takes(&regs, true, MODEL_CR3, UINT64_C(1) << 40));
    regs = pae;
    CHECK(takes(&regs, false, MODEL_CR3, UINT64_C(0xffffffff)));
}

static void test_cr4(void)
{
    struct model_regs regs = long_mode;
    CHECK(takes(&regs, true, MODEL_CR4, MODEL_CR4_PAE | 0x600));
    CHECK(!takes(&regs, true, MODEL_CR4, 0));
    CHECK(!takes(&regs, true, MODEL_CR4, MODEL_CR4_PAE | MODEL_CR4_LA57));
    regs.cr4 |= MODEL_CR4_LA57;
    CHECK(takes(&regs, true, MODEL_CR4, MODEL_CR4_PAE | MODEL_CR4_LA57));
    CHECK(!takes(&regs, true, MODEL_CR4, MODEL_CR4_PAE));
    regs = pae;
    CHECK(takes(&regs, false, MODEL_CR4, 0));
    CHECK(takes(&regs, false, MODEL_CR4, MODEL_CR4_PAE | MODEL_CR4_LA57));
    CHECK(!takes(&regs, false, MODEL_CR4, MODEL_CR4_PAE | MODEL_CR4_PCIDE));
    regs = long_mode;
    CHECK(takes(&regs, true, MODEL_CR4, MODEL_CR4_PAE | MODEL_CR4_PCIDE));
    regs.cr3 = 0x7000;
    CHECK(takes(&regs, true, MODEL_CR4, MODEL_CR4_PAE | MODEL_CR4_PCIDE));
    for (unsigned n = 0; n < 12; n++) {
        regs.cr3 = 0x7000 | UINT64_C(1) << n;
        CHECK(!takes(&regs, true, MODEL_CR4, MODEL_CR4_PAE | MODEL_CR4_PCIDE));
    }
    regs.cr4 |= MODEL_CR4_PCIDE; /* set already: a PCID is no matter */
    CHECK(takes(&regs, true, MODEL_CR4, MODEL_CR4_PAE | MODEL_CR4_PCIDE | MODEL_CR4_PGE));
    CHECK(takes(&regs, true, MODEL_CR4, MODEL_CR4_PAE));
    /* Each feature's bit is reserved without the feature. */
    const struct model_cpu none = {.maxphyaddr = 40, .pae = true};
    const uint64_t bits[] = {MODEL_CR4_PSE, MODEL_CR4_PGE, MODEL_CR4_PCIDE, MODEL_CR4_SMEP,   MODEL_CR4_SMAP,
                             MODEL_CR4_PKE, MODEL_CR4_PKS, UINT64_C(0x200), UINT64_C(1) << 32};
    regs = long_mode;
    for (unsigned i = 0; i < sizeof bits / sizeof *bits; i++) {
        CHECK(!model_cr_check(&none, &regs, true, MODEL_CR4, MODEL_CR4_PAE | bits[i]));
        CHECK((i < 8) == takes(&regs, true, MODEL_CR4, MODEL_CR4_PAE | bits[i]));
    }
    CHECK(!model_cr_check(&none, &protected_mode, false, MODEL_CR4, MODEL_CR4_LA57));
    CHECK(takes(&protected_mode, false, MODEL_CR4, MODEL_CR4_LA57));
    CHECK(!model_cr_check(&(struct model_cpu){0}, &protected_mode, false, MODEL_CR4, MODEL_CR4_PAE));
}

static void test_efer(void)
{
    CHECK(takes(&protected_mode, false, MODEL_EFER, MODEL_EFER_LME | MODEL_EFER_NXE));
    CHECK(!takes(&pae, false, MODEL_EFER, MODEL_EFER_LME));
    CHECK(takes(&pae, false, MODEL_EFER, MODEL_EFER_NXE));
    CHECK(!takes(&long_mode, true, MODEL_EFER, MODEL_EFER_LMA));
    CHECK(takes(&long_mode, true, MODEL_EFER, MODEL_EFER_LME | MODEL_EFER_NXE));
    struct model_cpu old = full;
    old.nx = false;
    CHECK(!model_cr_check(&old, &pae, false, MODEL_EFER, MODEL_EFER_NXE));
}

static void test_loads(void)
{
    CHECK(model_cr_loads_pdptes(&pae, MODEL_CR3, pae.cr3));
    CHECK(!model_cr_loads_pdptes(&long_mode, MODEL_CR3, 0x5000));
    CHECK(!model_cr_loads_pdptes(&protected_mode, MODEL_CR3, 0x5000));
    const uint64_t loading[] = {MODEL_CR4_PGE, MODEL_CR4_PSE, MODEL_CR4_SMEP};
    for (unsigned i = 0; i < 3; i++) {
        CHECK(model_cr_loads_pdptes(&pae, MODEL_CR4, pae.cr4 | loading[i]));
        CHECK(!model_cr_loads_pdptes(&long_mode, MODEL_CR4, long_mode.cr4 | loading[i]));
    }
    CHECK(!model_cr_loads_pdptes(&pae, MODEL_CR4, pae.cr4));
    CHECK(!model_cr_loads_pdptes(&pae, MODEL_CR4, pae.cr4 | MODEL_CR4_SMAP | 0x600));
    CHECK(!model_cr_loads_pdptes(&pae, MODEL_CR4, 0));
    struct model_regs two_level = pae;
    two_level.cr4 = 0;
    CHECK(model_cr_loads_pdptes(&two_level, MODEL_CR4, MODEL_CR4_PAE));
    CHECK(model_cr_loads_pdptes(&pae, MODEL_CR0, pae.cr0 | MODEL_CR0_CD));
    CHECK(model_cr_loads_pdptes(&pae, MODEL_CR0, pae.cr0 | MODEL_CR0_NW));
    CHECK(!model_cr_loads_pdptes(&pae, MODEL_CR0, pae.cr0 | MODEL_CR0_WP));
    CHECK(!model_cr_loads_pdptes(&pae, MODEL_CR0, PE));
    struct model_regs off = pae;
    off.cr0 = PE;
    CHECK(model_cr_loads_pdptes(&off, MODEL_CR0, PE | PG));
    off.efer = MODEL_EFER_LME;
    CHECK(!model_cr_loads_pdptes(&off, MODEL_CR0, PE | PG)); /* into long mode */
    CHECK(!model_cr_loads_pdptes(&pae, MODEL_EFER, MODEL_EFER_NXE));
}

static void test_eptp(void)
{
    CHECK(model_eptp_check(0x501e, 40, false, false)); /* WB, 4 levels */
    CHECK(model_eptp_check(0x5018, 40, false, false)); /* UC */
    for (unsigned type = 1; type < 8; type++) {
        CHECK(model_eptp_check(0x5018 | type, 40, false, false) == (type == 6));
    }
    for (unsigned length = 0; length < 8; length++) {
        CHECK(model_eptp_check(0x5006 | length << 3, 40, false, false) == (length == 3));
        CHECK(model_eptp_check(0x5006 | length << 3, 40, true, false) == (length == 3 || length == 4));
    }
    CHECK(!model_eptp_check(0x505e, 40, false, false));
    CHECK(model_eptp_check(0x505e, 40, false, true));
    for (unsigned n = 7; n < 64; n++) {
        CHECK(model_eptp_check(0x1e | UINT64_C(1) << n, 40, false, false) == (n >= 12 && n < 40));
    }
}

int main(void)
{
    test_cr0();
    test_cr3();
    test_cr4();
    test_efer();
    test_loads();
    test_eptp();
    return finish();
}

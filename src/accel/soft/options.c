// SPDX-License-Identifier: MIT
/* "soft,mmu=npt,tlb=L1=64x4:L2=1536x12": properties, all parsed before anything is made. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "accel/soft/internal.h"
#include "base/error.h"

#define TLB_ENTRIES_MAX (1u << 20)
#define SHADOW_PAGES_MIN 64u
#define POLICY_WRITES 2u
#define POLICY_INTERVAL 65536u

struct word {
    const char *at;
    size_t length;
};

static bool word_is(struct word w, const char *text)
{
    return strlen(text) == w.length && memcmp(w.at, text, w.length) == 0;
}

/* The index of the word among `words`, of which NULL is the last; -1 if it is none of them. */
static int word_among(struct word w, const char *const *words)
{
    for (int i = 0; words[i]; i++) {
        if (word_is(w, words[i])) {
            return i;
        }
    }
    return -1;
}

static bool read_switch(struct word w, bool *ret)
{
    static const char *const words[] = {"off", "on", NULL};
    int i = word_among(w, words);
    *ret = i == 1;
    return i >= 0;
}

static bool read_number(struct word *w, uint32_t max, uint32_t *ret)
{
    uint32_t value = 0;
    size_t digits = 0;
    while (w->length > 0 && *w->at >= '0' && *w->at <= '9' && value <= max) {
        value = value * 10 + (uint32_t)(*w->at - '0');
        w->at++;
        w->length--;
        digits++;
    }
    *ret = value;
    return digits > 0 && value > 0 && value <= max;
}

/* --- Values ---------------------------------------------------------------------------------------- */

static const char *const mmu_names[] = {
    [HV_MMU_NATIVE] = "native", [HV_MMU_EPT] = "ept",       [HV_MMU_NPT] = "npt",
    [HV_MMU_SHADOW] = "shadow", [HV_MMU_HYBRID] = "hybrid", [HV_MMU_HYBRID + 1] = NULL,
};

static bool set_mmu(struct soft_options *o, struct word w)
{
    static const enum hw_dimension dimensions[] = {HW_NATIVE, HW_EPT, HW_NPT, HW_SHADOW, HW_HYBRID};
    int i = word_among(w, mmu_names);
    if (i < 0) {
        return false;
    }
    o->hv.mmu = (enum hv_mmu_kind)i;
    o->hw.dimension = dimensions[i];
    return true;
}

static bool set_host_page(struct soft_options *o, struct word w)
{
    static const char *const words[] = {"4K", "2M", "1G", NULL};
    int i = word_among(w, words);
    o->hv.level_max = (uint8_t)(i + 1);
    return i >= 0;
}

static bool set_levels(struct soft_options *o, struct word w)
{
    static const char *const words[] = {"4", "5", NULL};
    int i = word_among(w, words);
    o->hv.tdp_levels = o->hw.nested_levels = (uint8_t)(i + 4);
    return i >= 0;
}

/* "64x4": entries, and how many of them make a set. */
static bool read_geometry(struct word w, struct hw_tlb_geometry *ret)
{
    if (!read_number(&w, TLB_ENTRIES_MAX, &ret->entries) || w.length == 0 || *w.at != 'x') {
        return false;
    }
    w.at++;
    w.length--;
    if (!read_number(&w, ret->entries, &ret->ways) || w.length != 0 || ret->entries % ret->ways != 0) {
        return false;
    }
    uint32_t sets = ret->entries / ret->ways;
    return (sets & (sets - 1)) == 0;
}

static bool set_tlb_array(struct soft_options *o, struct word w)
{
    const struct {
        const char *name;
        struct hw_tlb_geometry *geometry;
    } arrays[] = {{"L1=", &o->hw.l1},
                  {"L2=", &o->hw.l2},
                  {"L1-2M=", &o->hw.l1_2m},
                  {"L1-1G=", &o->hw.l1_1g},
                  {"L2-1G=", &o->hw.l2_1g}};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        size_t n = strlen(arrays[i].name);
        if (w.length > n && memcmp(w.at, arrays[i].name, n) == 0) {
            return read_geometry((struct word){w.at + n, w.length - n}, arrays[i].geometry);
        }
    }
    return false;
}

static bool set_tlb(struct soft_options *o, struct word w)
{
    o->hw.model_tlb = !word_is(w, "off");
    if (!o->hw.model_tlb) {
        return true;
    }
    while (w.length > 0) {
        const char *colon = memchr(w.at, ':', w.length);
        size_t length = colon ? (size_t)(colon - w.at) : w.length;
        if (!set_tlb_array(o, (struct word){w.at, length})) {
            return false;
        }
        size_t skip = length + (colon ? 1 : 0);
        w = (struct word){w.at + skip, w.length - skip};
    }
    return o->hw.l1.entries > 0;
}

static bool set_walk_caches(struct soft_options *o, struct word w)
{
    o->has_said_walk_caches = true;
    return read_switch(w, &o->hw.has_walk_caches);
}

static bool set_nested_tlb(struct soft_options *o, struct word w)
{
    return read_switch(w, &o->hw.has_nested_tlb);
}

static bool set_log_by(struct soft_options *o, struct word w)
{
    static const char *const words[] = {"write-protection", "dirty-bit", "pml", NULL};
    int i = word_among(w, words);
    o->hv.log_by = (enum hv_log_by)i;
    return i >= 0;
}

static bool set_access_dirty(struct soft_options *o, struct word w)
{
    o->has_said_access_dirty = true;
    return read_switch(w, &o->hv.access_dirty);
}

static bool set_eager_split(struct soft_options *o, struct word w)
{
    return read_switch(w, &o->hv.eager_split);
}

static bool set_nx_huge_pages(struct soft_options *o, struct word w)
{
    return read_switch(w, &o->hv.nx_huge_pages);
}

static bool set_execute_only(struct soft_options *o, struct word w)
{
    return read_switch(w, &o->hv.execute_only);
}

static bool set_populate(struct soft_options *o, struct word w)
{
    return read_switch(w, &o->hv.populate);
}

static bool set_watch_host(struct soft_options *o, struct word w)
{
    return read_switch(w, &o->watch_host);
}

static bool set_unsync(struct soft_options *o, struct word w)
{
    bool on = true, ok = read_switch(w, &on);
    o->hv.no_unsync = !on;
    o->has_said_unsync = true;
    return ok;
}

static bool set_mmio_caching(struct soft_options *o, struct word w)
{
    bool on = true, ok = read_switch(w, &on);
    o->hv.no_mmio_caching = !on;
    return ok;
}

static bool set_slot_zap_all(struct soft_options *o, struct word w)
{
    bool all;
    if (!read_switch(w, &all)) {
        return false;
    }
    o->hv.zap_slot_only = !all;
    return true;
}

static bool set_emulate_supervisor(struct soft_options *o, struct word w)
{
    return read_switch(w, &o->hv.emulate_supervisor);
}

static bool set_policy(struct soft_options *o, struct word w)
{
    static const char *const words[] = {"shadow", "nest-1", "nest-2", "nest-3", "nest-4", "nested", "agile", NULL};
    int i = word_among(w, words);
    o->hv.policy.kind = i == 6 ? POLICY_AGILE : POLICY_BY_LEVEL;
    o->hv.policy.nested_levels = (uint8_t)i;
    return i >= 0;
}

static bool set_policy_writes(struct soft_options *o, struct word w)
{
    return read_number(&w, 1u << 30, &o->hv.policy.writes) && w.length == 0;
}

static bool set_policy_interval(struct soft_options *o, struct word w)
{
    return read_number(&w, 1u << 30, &o->hv.policy.interval) && w.length == 0;
}

static bool set_shadow_pages(struct soft_options *o, struct word w)
{
    uint32_t pages;
    if (!read_number(&w, 1u << 30, &pages) || w.length != 0 || pages < SHADOW_PAGES_MIN) {
        return false;
    }
    o->hv.shadow_pages_max = pages;
    return true;
}

static bool set_rmap_max(struct soft_options *o, struct word w)
{
    return read_number(&w, 1u << 30, &o->hv.rmap_max) && w.length == 0 && o->hv.rmap_max > 0;
}

static bool set_address_bits(struct soft_options *o, struct word w)
{
    uint32_t bits;
    if (!read_number(&w, 52, &bits) || w.length != 0 || bits < 36) {
        return false;
    }
    o->hv.address_bits = o->hw.cpu.address_bits = (uint8_t)bits;
    return true;
}

static bool set_1g_pages(struct soft_options *o, struct word w)
{
    return read_switch(w, &o->hw.cpu.has_1g_pages);
}

static bool set_vendor(struct soft_options *o, struct word w)
{
    if (!word_is(w, "intel") && !word_is(w, "amd")) {
        return false;
    }
    o->hw.cpu.is_amd = word_is(w, "amd");
    return true;
}

#define BIT(mmu) (1u << (mmu))
#define EVERY (~0u)
#define NESTED (BIT(HV_MMU_EPT) | BIT(HV_MMU_NPT) | BIT(HV_MMU_HYBRID))
#define SHADOWED (BIT(HV_MMU_SHADOW) | BIT(HV_MMU_HYBRID))

static const struct property {
    const char *name;
    bool (*set)(struct soft_options *o, struct word value);
    unsigned schemes; /* to others it means nothing, and to say it is an error */
    const char *values;
} properties[] = {
    {"mmu", set_mmu, EVERY, "native, ept, npt, shadow or hybrid"},
    {"host-page", set_host_page, ~BIT(HV_MMU_NATIVE), "4K, 2M or 1G"},
    {"levels", set_levels, NESTED, "4 or 5"},
    {"tlb", set_tlb, EVERY, "off, or arrays as in L1=64x4:L2=1536x12, whose number of sets is a power of two"},
    {"walk-caches", set_walk_caches, EVERY, "on or off"},
    {"nested-tlb", set_nested_tlb, NESTED, "on or off"},
    {"log-by", set_log_by, EVERY, "write-protection, dirty-bit or pml"},
    {"access-dirty", set_access_dirty, EVERY, "on or off"},
    {"eager-split", set_eager_split, NESTED, "on or off"},
    {"nx-huge-pages", set_nx_huge_pages, ~BIT(HV_MMU_NATIVE), "on or off"},
    {"execute-only", set_execute_only, EVERY, "on or off"},
    {"populate", set_populate, ~BIT(HV_MMU_NATIVE), "on or off"},
    {"watch-host", set_watch_host, EVERY, "on or off"},
    {"unsync", set_unsync, SHADOWED, "on or off"},
    {"mmio-caching", set_mmio_caching, ~BIT(HV_MMU_NATIVE), "on or off"},
    {"emulate-supervisor", set_emulate_supervisor, EVERY, "on or off"},
    {"slot-zap-all", set_slot_zap_all, ~BIT(HV_MMU_NATIVE), "on or off"},
    {"shadow-pages", set_shadow_pages, SHADOWED, "a number from 64 on"},
    {"rmap-max", set_rmap_max, SHADOWED, "a number from 1 on"},
    {"policy", set_policy, BIT(HV_MMU_HYBRID), "agile, shadow, nested, or nest-1 to nest-4"},
    {"policy-writes", set_policy_writes, BIT(HV_MMU_HYBRID), "a number from 1 on"},
    {"policy-interval", set_policy_interval, BIT(HV_MMU_HYBRID), "a number from 1 on"},
    {"address-bits", set_address_bits, EVERY, "a number from 36 to 52"},
    {"1g-pages", set_1g_pages, EVERY, "on or off"},
    {"vendor", set_vendor, EVERY, "intel or amd"},
};
#define PROPERTY_COUNT (sizeof properties / sizeof properties[0])

/* --- All together ---------------------------------------------------------------------------------- */

static void set_defaults(struct soft_options *o)
{
    *o = (struct soft_options){
        .hv = {.mmu = HV_MMU_EPT,
               .tdp_levels = 4,
               .level_max = 3,
               .address_bits = 48,
               .log_by = HV_LOG_BY_WRITE_PROTECTION, /* as KVM without PML: a harvest reads no tables */
               .access_dirty = true,
               .policy = {.kind = POLICY_AGILE, .writes = POLICY_WRITES, .interval = POLICY_INTERVAL}},
        .hw = {.dimension = HW_EPT,
               .cpu = {.address_bits = 48, .has_1g_pages = true, .has_pse36 = true},
               .nested_levels = 4,
               .pml5 = {2, 2}, /* as DMT (ASPLOS 2024) models them */
               .pml4 = {4, 4},
               .pdpt = {4, 4},
               .pd = {32, 4},
               .nested = {64, 4}},
    };
}

static int read_property(struct soft_options *o, struct word w, struct mv_error *err)
{
    const char *equals = memchr(w.at, '=', w.length);
    size_t length = equals ? (size_t)(equals - w.at) : w.length;
    for (size_t i = 0; i < PROPERTY_COUNT; i++) {
        if (!word_is((struct word){w.at, length}, properties[i].name)) {
            continue;
        }
        struct word value = {w.at + length + 1, equals ? w.length - length - 1 : 0};
        if (value.length > 0 && properties[i].set(o, value)) {
            o->said |= UINT64_C(1) << i;
            return 0;
        }
        return error_set(err, -EINVAL, "bad-property", "soft", "accelerator soft: %.*s: %s is %s", (int)w.length,
                         w.at, properties[i].name, properties[i].values);
    }
    return error_set(err, -EINVAL, "bad-property", "soft", "accelerator soft: there is no property '%.*s'",
                     (int)length, w.at);
}

_Static_assert(PROPERTY_COUNT <= 64, "a bit for each in soft_options.said");

/* What was said, and means nothing to the scheme. */
static int check_scheme(const struct soft_options *o, struct mv_error *err)
{
    for (size_t i = 0; i < PROPERTY_COUNT; i++) {
        if ((o->said >> i & 1) && !(properties[i].schemes & BIT(o->hv.mmu))) {
            return error_set(err, -EINVAL, "bad-property", "soft", "accelerator soft: %s means nothing to mmu=%s",
                             properties[i].name, mmu_names[o->hv.mmu]);
        }
    }
    return 0;
}

static int check_together(const struct soft_options *o, struct mv_error *err)
{
    bool has_dirty_bits = o->hv.access_dirty && (o->hv.mmu == HV_MMU_EPT || o->hv.mmu == HV_MMU_NPT);
    if (!has_dirty_bits && o->hv.log_by == HV_LOG_BY_DIRTY_BIT) {
        return error_set(err, -EINVAL, "bad-property", "soft",
                         "accelerator soft: log-by=dirty-bit needs mmu=ept or npt, and access-dirty=on");
    }
    if (o->hv.log_by == HV_LOG_BY_PML && (o->hv.mmu != HV_MMU_EPT || !o->hv.access_dirty)) {
        return error_set(err, -EINVAL, "bad-property", "soft",
                         "accelerator soft: log-by=pml needs mmu=ept and access-dirty=on");
    }
    if (o->hv.execute_only && o->hv.mmu != HV_MMU_EPT) {
        return error_set(err, -EINVAL, "bad-property", "soft", "accelerator soft: execute-only=on needs mmu=ept");
    }
    if ((o->hv.mmu == HV_MMU_NPT || o->hv.mmu == HV_MMU_SHADOW) && !o->hv.access_dirty) {
        return error_set(err, -EINVAL, "bad-property", "soft",
                         "accelerator soft: access-dirty=off needs mmu=ept: others always have A and D bits");
    }
    if (o->hv.emulate_supervisor && o->hv.mmu != HV_MMU_SHADOW) {
        return error_set(err, -EINVAL, "bad-property", "soft",
                         "accelerator soft: emulate-supervisor=on needs mmu=shadow");
    }
    if (o->hv.mmu == HV_MMU_HYBRID &&
        ((o->has_said_access_dirty && o->hv.access_dirty) || (o->has_said_unsync && !o->hv.no_unsync))) {
        return error_set(err, -EINVAL, "bad-property", "soft",
                         "accelerator soft: mmu=hybrid is with access-dirty=off and unsync=off alone");
    }
    bool has_nested = o->hv.mmu == HV_MMU_EPT || o->hv.mmu == HV_MMU_NPT || o->hv.mmu == HV_MMU_HYBRID;
    if (has_nested && o->hv.address_bits > 48 && o->hv.tdp_levels == 4) {
        return error_set(err, -EINVAL, "bad-property", "soft",
                         "accelerator soft: address-bits=%u needs levels=5: tables of 4 levels end at 48",
                         o->hv.address_bits);
    }
    return 0;
}

int soft_options_parse(const char *text, struct soft_options *ret, struct mv_error *err)
{
    set_defaults(ret);
    while (text) {
        size_t length = strcspn(text, ",");
        int rc = read_property(ret, (struct word){text, length}, err);
        if (rc < 0) {
            return rc;
        }
        text = text[length] == ',' ? text + length + 1 : NULL;
    }
    if (!ret->has_said_walk_caches) {
        ret->hw.has_walk_caches = !ret->hw.model_tlb; /* who counts, counts whole walks */
    }
    int rc = check_scheme(ret, err);
    rc = rc < 0 ? rc : check_together(ret, err);
    if (rc < 0) {
        return rc;
    }
    if (ret->hv.mmu == HV_MMU_HYBRID) {
        ret->hv.access_dirty = false;
        ret->hv.no_unsync = true;
    }
    if (!ret->hw.cpu.has_1g_pages && ret->hv.level_max > 2) {
        ret->hv.level_max = 2;
    }
    ret->hw.ept = (struct ept_caps){.address_bits = 52,
                                    .execute_only = true,
                                    .large_1g = ret->hw.cpu.has_1g_pages,
                                    .access_dirty = ret->hv.access_dirty};
    return 0;
}

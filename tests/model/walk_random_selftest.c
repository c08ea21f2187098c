/* SPDX-License-Identifier: MIT */

/* Random worlds: every outcome comes about often enough, the same for the same seed, and what must hold of each
 * does. */
#include "selftest.h"
#include "walk_random.h"

#include <inttypes.h>
#include <string.h>

#define WORLDS 150
#define ACCESSES 200

static struct walk_memory guest;
static struct walk_memory host;
static unsigned outcomes[5][3][6]; /* [mode][nesting][outcome] */

static void check_ok(const struct model_world *world, const struct model_result *result)
{
    CHECK(result->error_code == 0 && result->qualification == 0 && result->faulting_gpa == 0);
    CHECK((world->nested.kind == MODEL_NO_NESTING) == (result->nested_reads == 0));
    CHECK(world->nested.kind != MODEL_NO_NESTING || result->hpa == result->gpa);
    CHECK((result->guest_page_bytes == 0) == (model_mode(&world->regs) == MODEL_OFF));
    CHECK((result->hpa & 0xfff) == (result->gpa & 0xfff));
    CHECK(result->hpa >> world->cpu.maxphyaddr == 0 || result->nentries == 0);
}

static void check_fault(const struct model_access *access, const struct model_result *result)
{
    CHECK(result->gpa == 0 && result->hpa == 0 && result->guest_page_bytes == 0 && result->nested_page_bytes == 0);
    CHECK(!result->writable && !result->user && !result->executable && !result->global);
    CHECK(result->pat_index == 0 && result->protection_key == 0);
    CHECK(result->ept_memory_type == 0 && !result->ept_ignore_pat);
    if (result->outcome != MODEL_PAGE_FAULT) {
        return;
    }
    const uint64_t code = result->error_code;
    CHECK(!(code & MODEL_PF_W) == (access->kind != MODEL_WRITE));
    CHECK(!(code & MODEL_PF_I) || access->kind == MODEL_FETCH);
    CHECK(!(code & (MODEL_PF_RSVD | MODEL_PF_PK)) || (code & MODEL_PF_P));
    CHECK((code & (MODEL_PF_RSVD | MODEL_PF_PK)) != (MODEL_PF_RSVD | MODEL_PF_PK));
    CHECK(!(code & MODEL_PF_PK) || access->kind != MODEL_FETCH);
    CHECK(!(code & MODEL_PF_U) || !access->implicit);
}

/* Twice the same, but for flags that are set by then; a sum to tell seeds apart is returned. */
static uint64_t walk_one(struct walk_random *random, struct model_world *world)
{
    struct model_access access;
    struct model_result result;
    struct model_result again;
    walk_random_access(random, world, &access);
    model_walk(world, &access, &result);
    outcomes[model_mode(&world->regs)][world->nested.kind][result.outcome]++;
    if (result.outcome == MODEL_OK) {
        check_ok(world, &result);
    } else {
        check_fault(&access, &result);
    }
    for (unsigned i = 0; i < result.nwrites; i++) {
        CHECK((result.write[i].old & ~result.write[i].new) == 0 && result.write[i].old != result.write[i].new);
    }
    model_walk(world, &access, &again);
    CHECK(again.outcome == result.outcome && again.hpa == result.hpa && again.error_code == result.error_code);
    CHECK(again.outcome != MODEL_OK || again.nwrites == 0);
    return result.outcome + result.hpa * 3 + result.error_code * 5 + result.qualification * 7;
}

static uint64_t run(uint64_t seed)
{
    uint64_t sum = 0;
    struct walk_random random;
    walk_random_seed(&random, seed);
    memset(&guest, 0, sizeof guest);
    memset(&host, 0, sizeof host);
    for (unsigned i = 0; i < WORLDS; i++) {
        const bool amd = walk_one_in(&random, 2);
        const struct walk_limits limits = walk_all_limits(36 + (unsigned)(walk_random_bits(&random) % 17), amd);
        struct model_world world;
        walk_random_world(&random, &limits, &guest, &host, &world);
        if (model_mode(&world.regs) == MODEL_PAE) {
            uint64_t pdptr[4];
            struct model_result result;
            struct model_world flat = world;
            flat.nested.kind = MODEL_NO_NESTING;
            CHECK(model_load_pdptes(&flat, world.regs.cr3, &result, pdptr) == MODEL_OK);
            CHECK(memcmp(pdptr, world.regs.pdptr, sizeof pdptr) == 0);
        }
        for (unsigned j = 0; j < ACCESSES; j++) {
            sum = sum * 31 + walk_one(&random, &world);
        }
    }
    return sum;
}

int main(void)
{
    const uint64_t first = run(1);
    CHECK(first == run(1));
    CHECK(first != run(2));
    for (unsigned seed = 3; seed < 8; seed++) {
        run(seed);
    }
    for (unsigned mode = MODEL_OFF; mode <= MODEL_5LEVEL; mode++) {
        for (unsigned nesting = MODEL_NO_NESTING; nesting <= MODEL_NPT; nesting++) {
            const unsigned *n = outcomes[mode][nesting];
            printf("# mode %u nesting %u: ok %u fault %u gp %u violation %u misconfig %u npf %u\n", mode, nesting,
                   n[0], n[1], n[2], n[3], n[4], n[5]);
            CHECK(n[MODEL_OK] > 100);
            CHECK(mode == MODEL_OFF || n[MODEL_PAGE_FAULT] > 100);
            CHECK((mode == MODEL_4LEVEL || mode == MODEL_5LEVEL) == (n[MODEL_GP] > 0));
            CHECK((nesting == MODEL_EPT) == (n[MODEL_EPT_VIOLATION] > 100 && n[MODEL_EPT_MISCONFIG] > 100));
            CHECK((nesting == MODEL_NPT) == (n[MODEL_NPF] > 100));
        }
    }
    return finish();
}

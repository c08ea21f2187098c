/* SPDX-License-Identifier: MIT */

/* What is recorded; stale_model.c judges. */
#include "stale_model.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void *grown(void *array, size_t n, size_t size)
{
    void *bigger = realloc(array, n * size);
    if (bigger == NULL) {
        abort();
    }
    return bigger;
}

void stale_memory_init(struct stale_memory *memory)
{
    memset(memory, 0, sizeof *memory);
}

void stale_memory_finish(struct stale_memory *memory)
{
    for (size_t i = 0; i < memory->nwords; i++) {
        free(memory->word[i].version);
    }
    free(memory->word);
    memset(memory, 0, sizeof *memory);
}

static int compare_words(const void *a, const void *b)
{
    const struct stale_word *x = a;
    const struct stale_word *y = b;
    if (x->dimension != y->dimension) {
        return x->dimension < y->dimension ? -1 : 1;
    }
    if (x->address != y->address) {
        return x->address < y->address ? -1 : 1;
    }
    return 0;
}

struct stale_word *stale_find_word(const struct stale_memory *memory, enum model_dimension dimension,
                                   uint64_t address)
{
    const struct stale_word key = {.dimension = dimension, .address = address & ~UINT64_C(7)};
    if (memory->nwords == 0) {
        return NULL;
    }
    return bsearch(&key, memory->word, memory->nwords, sizeof key, compare_words);
}

void stale_load(struct stale_memory *memory, enum model_dimension dimension, uint64_t address, const void *bytes,
                size_t size)
{
    assert(address % 8 == 0 && size % 8 == 0 && memory->now == 0);
    for (size_t i = 0; i < size; i += 8) {
        assert(stale_find_word(memory, dimension, address + i) == NULL);
    }
    memory->word = grown(memory->word, memory->nwords + size / 8, sizeof *memory->word);
    for (size_t i = 0; i < size; i += 8) {
        struct stale_word *word = &memory->word[memory->nwords + i / 8];
        *word = (struct stale_word){.dimension = dimension, .address = address + i, .nversions = 1};
        word->version = grown(NULL, 1, sizeof *word->version);
        word->version[0] = (struct stale_version){0};
        for (unsigned n = 0; n < 8; n++) {
            word->version[0].value |= (uint64_t)((const uint8_t *)bytes)[i + n] << (8 * n);
        }
    }
    memory->nwords += size / 8;
    qsort(memory->word, memory->nwords, sizeof *memory->word, compare_words);
}

void stale_write(struct stale_memory *memory, enum model_dimension dimension, uint64_t address, unsigned size,
                 uint64_t value)
{
    struct stale_word *word = stale_find_word(memory, dimension, address);
    assert(word != NULL && address % size == 0);
    uint64_t whole = word->version[word->nversions - 1].value;
    for (unsigned n = 0; n < size; n++) {
        const unsigned shift = 8 * (unsigned)(address % 8 + n);
        whole &= ~(UINT64_C(0xff) << shift);
        whole |= (value >> (8 * n) & 0xff) << shift;
    }
    memory->now++;
    word->version = grown(word->version, word->nversions + 1, sizeof *word->version);
    word->version[word->nversions] = (struct stale_version){.value = whole, .from = memory->now};
    word->nversions++;
}

/* Processors */

static struct stale_event *new_event(struct stale_cpu *cpu, enum stale_kind kind)
{
    cpu->event = grown(cpu->event, cpu->nevents + 1, sizeof *cpu->event);
    struct stale_event *event = &cpu->event[cpu->nevents];
    memset(event, 0, sizeof *event);
    if (cpu->nevents > 0) {
        event->context = event[-1].context;
    }
    cpu->nevents++;
    cpu->memory->now++;
    event->time = cpu->memory->now;
    event->kind = kind;
    event->vpid = event->context.vpid;
    event->pcid = event->context.pcid;
    return event;
}

void stale_cpu_init(struct stale_cpu *cpu, struct stale_memory *memory, const struct stale_context *context)
{
    memset(cpu, 0, sizeof *cpu);
    cpu->memory = memory;
    new_event(cpu, STALE_SWITCH)->context = *context;
}

void stale_cpu_finish(struct stale_cpu *cpu)
{
    free(cpu->event);
    memset(cpu, 0, sizeof *cpu);
}

void stale_cr3(struct stale_cpu *cpu, uint64_t cr3, unsigned pcid, bool no_flush, const uint64_t *pdptr)
{
    struct stale_event *event = new_event(cpu, no_flush ? STALE_SWITCH : STALE_CURRENT_PCID);
    event->context.cr3 = cr3;
    event->context.pcid = pcid;
    event->pcid = pcid;
    if (pdptr != NULL) {
        memcpy(event->context.pdptr, pdptr, sizeof event->context.pdptr);
    }
}

void stale_invlpg(struct stale_cpu *cpu, uint64_t gva)
{
    new_event(cpu, STALE_INVLPG)->gva = gva;
}

void stale_page_fault(struct stale_cpu *cpu, uint64_t gva)
{
    new_event(cpu, STALE_PAGE_FAULT)->gva = gva;
}

void stale_flush_current(struct stale_cpu *cpu)
{
    new_event(cpu, STALE_CURRENT_PCID);
}

void stale_flush_all(struct stale_cpu *cpu)
{
    new_event(cpu, STALE_ALL);
}

void stale_invpcid(struct stale_cpu *cpu, unsigned type, unsigned pcid, uint64_t gva)
{
    struct stale_event *event = new_event(cpu, STALE_INVPCID);
    event->type = type;
    event->pcid = pcid;
    event->gva = gva;
}

void stale_invvpid(struct stale_cpu *cpu, unsigned type, unsigned vpid, uint64_t gva)
{
    struct stale_event *event = new_event(cpu, STALE_INVVPID);
    event->type = type;
    event->vpid = vpid;
    event->gva = gva;
}

void stale_invept(struct stale_cpu *cpu, unsigned type, uint64_t eptp)
{
    struct stale_event *event = new_event(cpu, STALE_INVEPT);
    event->type = type;
    event->eptp = eptp;
}

void stale_invlpga(struct stale_cpu *cpu, unsigned asid, uint64_t gva)
{
    struct stale_event *event = new_event(cpu, STALE_INVLPGA);
    event->gva = gva;
    event->vpid = asid;
    event->pcid = UINT_MAX; /* none, if the ASID never ran */
    for (unsigned i = cpu->nevents; i-- > 0;) {
        if (cpu->event[i].context.vpid == asid) {
            event->pcid = cpu->event[i].context.pcid;
            break;
        }
    }
}

void stale_tlb_control(struct stale_cpu *cpu, unsigned command)
{
    assert(command == 1 || command == 3 || command == 7);
    new_event(cpu, STALE_TLB_CONTROL)->type = command;
}

void stale_nested_fault(struct stale_cpu *cpu, uint64_t gva)
{
    new_event(cpu, STALE_NESTED_FAULT)->gva = gva;
}

void stale_switch(struct stale_cpu *cpu, const struct stale_context *context)
{
    new_event(cpu, STALE_SWITCH)->context = *context;
}

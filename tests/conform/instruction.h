// SPDX-License-Identifier: MIT
/* What an instruction does with memory, by its bytes and the registers before it: for whoever follows a real
 * guest. */
#ifndef CONFORM_INSTRUCTION_H
#define CONFORM_INSTRUCTION_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INSTRUCTION_BYTES_MAX 15u
#define INSTRUCTION_OPERANDS_MAX 6u

/* A processor between two instructions. */
struct cpu_state {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
};

static inline unsigned cpu_ring(const struct cpu_state *s)
{
    return s->sregs.ss.dpl;
}

static inline bool cpu_is_long(const struct cpu_state *s)
{
    return s->sregs.efer >> 10 & 1;
}

enum instruction_kind {
    INSTRUCTION_OTHER,
    INSTRUCTION_IRET,
    INSTRUCTION_LOAD_CR3,
    INSTRUCTION_INVLPG,
    INSTRUCTION_PUSH,
    INSTRUCTION_HALT,
    INSTRUCTION_NO_STOP, /* ENDBR: KVM does not stop behind it */
    INSTRUCTION_JUMP,    /* near, to an address in the instruction */
    INSTRUCTION_LOAD_TR,
    INSTRUCTION_LOAD_SEGMENT,
};

/* Memory that it reads, or writes, or both. In order. */
struct instruction_operand {
    uint64_t gva;
    uint32_t size_bytes;
    int32_t stride; /* of a string instruction, to the next element */
    bool is_read, is_written;
};

struct instruction {
    uint8_t bytes[INSTRUCTION_BYTES_MAX];
    unsigned length; /* 0: it is where nothing can be read, and all else is 0 */
    enum instruction_kind kind;
    bool is_repeated; /* a string instruction that counts RCX down */
    bool is_branch;   /* what follows may be elsewhere */
    uint64_t target;  /* JUMP; and the address that INVLPG names */
    uint16_t selector;
    bool has_selector; /* LOAD_SEGMENT, LOAD_TR: of a descriptor that is read, unless it is null */
    unsigned operand_count;
    struct instruction_operand operands[INSTRUCTION_OPERANDS_MAX];
};

/* `available` bytes are there. False: there are too few of them, or it is none that we know. */
bool instruction_decode(const uint8_t *bytes, size_t available, const struct cpu_state *state,
                        struct instruction *ret);

/* The linear address of the instruction at CS:RIP. */
uint64_t instruction_address(const struct cpu_state *state);

#endif

// SPDX-License-Identifier: MIT
#include "tests/conform/instruction.h"

#include <string.h>

#include <Zydis/Zydis.h>

static uint64_t bits_of(unsigned width)
{
    return width == 64 ? UINT64_MAX : width == 32 ? UINT32_MAX : UINT16_MAX;
}

static bool is_64bit(const struct cpu_state *s)
{
    return cpu_is_long(s) && s->sregs.cs.l;
}

uint64_t instruction_address(const struct cpu_state *state)
{
    return is_64bit(state) ? state->regs.rip : (uint32_t)(state->sregs.cs.base + state->regs.rip);
}

static void start_decoder(const struct cpu_state *s, ZydisDecoder *ret)
{
    if (is_64bit(s)) {
        ZydisDecoderInit(ret, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    } else if (!(s->sregs.cr0 & 1)) {
        ZydisDecoderInit(ret, ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16);
    } else if (s->sregs.cs.db) {
        ZydisDecoderInit(ret, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    } else {
        ZydisDecoderInit(ret, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    }
}

/* By Zydis's numbers, which are the architecture's. */
static uint64_t general_register(const struct cpu_state *s, ZydisRegister which)
{
    const struct kvm_regs *r = &s->regs;
    const uint64_t values[16] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
                                 r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15};
    ZyanI8 id = ZydisRegisterGetId(which);
    return id < 0 || id > 15 ? 0 : values[id] & bits_of(ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, which));
}

static const struct kvm_segment *segment(const struct cpu_state *s, ZydisRegister which)
{
    switch ((int)which) {
    case ZYDIS_REGISTER_ES: return &s->sregs.es;
    case ZYDIS_REGISTER_CS: return &s->sregs.cs;
    case ZYDIS_REGISTER_SS: return &s->sregs.ss;
    case ZYDIS_REGISTER_FS: return &s->sregs.fs;
    case ZYDIS_REGISTER_GS: return &s->sregs.gs;
    default: return &s->sregs.ds;
    }
}

static uint64_t address_of(const struct cpu_state *s, const ZydisDecodedInstruction *i,
                           const ZydisDecodedOperand *o)
{
    uint64_t at = (uint64_t)o->mem.disp.value;
    if (o->mem.base == ZYDIS_REGISTER_RIP || o->mem.base == ZYDIS_REGISTER_EIP) {
        at += s->regs.rip + i->length;
    } else if (o->mem.base != ZYDIS_REGISTER_NONE) {
        at += general_register(s, o->mem.base);
    }
    if (o->mem.index != ZYDIS_REGISTER_NONE) {
        at += general_register(s, o->mem.index) * o->mem.scale;
    }
    at &= bits_of(i->address_width);
    bool has_base = !is_64bit(s) || o->mem.segment == ZYDIS_REGISTER_FS || o->mem.segment == ZYDIS_REGISTER_GS;
    at += has_base ? segment(s, o->mem.segment)->base : 0;
    return is_64bit(s) ? at : (uint32_t)at;
}

static bool is_stack(const ZydisDecodedOperand *o)
{
    return o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
           (o->mem.base == ZYDIS_REGISTER_RSP || o->mem.base == ZYDIS_REGISTER_ESP ||
            o->mem.base == ZYDIS_REGISTER_SP);
}

static bool is_string(const ZydisDecodedInstruction *i)
{
    return i->meta.category == ZYDIS_CATEGORY_STRINGOP || i->meta.category == ZYDIS_CATEGORY_IOSTRINGOP;
}

static void add_operand(const struct cpu_state *s, const ZydisDecodedInstruction *i, const ZydisDecodedOperand *o,
                        struct instruction *ret)
{
    if (o->type != ZYDIS_OPERAND_TYPE_MEMORY || o->mem.type != ZYDIS_MEMOP_TYPE_MEM || o->size < 8 ||
        ret->operand_count == INSTRUCTION_OPERANDS_MAX) {
        return;
    }
    struct instruction_operand *to = &ret->operands[ret->operand_count++];
    *to = (struct instruction_operand){.gva = address_of(s, i, o),
                                       .size_bytes = o->size / 8u,
                                       .is_read = o->actions & ZYDIS_OPERAND_ACTION_MASK_READ,
                                       .is_written = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE};
    if (is_stack(o) && to->is_written) { /* a push: the pointer moves first */
        to->gva -= to->size_bytes;
    }
    if (is_string(i)) {
        to->stride = s->regs.rflags & (1u << 10) ? -(int32_t)to->size_bytes : (int32_t)to->size_bytes;
    }
}

/* What it has in the place of a register operand or of memory is not looked for: no guest of ours does that. */
static uint64_t source_value(const struct cpu_state *s, const ZydisDecodedOperand *o)
{
    return o->type == ZYDIS_OPERAND_TYPE_REGISTER ? general_register(s, o->reg.value) : 0;
}

static bool is_segment_register(const ZydisDecodedOperand *o)
{
    return o->type == ZYDIS_OPERAND_TYPE_REGISTER && ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

static void judge_mov(const struct cpu_state *s, const ZydisDecodedOperand *o, struct instruction *ret)
{
    if (o[0].type == ZYDIS_OPERAND_TYPE_REGISTER && o[0].reg.value == ZYDIS_REGISTER_CR3) {
        ret->kind = INSTRUCTION_LOAD_CR3;
        ret->target = source_value(s, &o[1]);
    } else if (is_segment_register(&o[0])) {
        ret->kind = INSTRUCTION_LOAD_SEGMENT;
        ret->selector = (uint16_t)source_value(s, &o[1]);
    }
}

static void judge(const struct cpu_state *s, const ZydisDecodedInstruction *i, const ZydisDecodedOperand *o,
                  struct instruction *ret)
{
    switch ((int)i->mnemonic) {
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ: ret->kind = INSTRUCTION_IRET; break;
    case ZYDIS_MNEMONIC_INVLPG:
        ret->kind = INSTRUCTION_INVLPG;
        ret->target = address_of(s, i, &o[0]);
        break;
    case ZYDIS_MNEMONIC_PUSH: ret->kind = INSTRUCTION_PUSH; break;
    case ZYDIS_MNEMONIC_ENDBR32:
    case ZYDIS_MNEMONIC_ENDBR64: ret->kind = INSTRUCTION_NO_STOP; break;
    case ZYDIS_MNEMONIC_HLT: ret->kind = INSTRUCTION_HALT; break;
    case ZYDIS_MNEMONIC_LTR:
        ret->kind = INSTRUCTION_LOAD_TR;
        ret->selector = (uint16_t)source_value(s, &o[0]);
        break;
    case ZYDIS_MNEMONIC_MOV: judge_mov(s, o, ret); break;
    case ZYDIS_MNEMONIC_JMP:
        if (o[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
            ret->kind = INSTRUCTION_LOAD_SEGMENT;
            ret->selector = o[0].ptr.segment;
        } else if (o[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            ret->kind = INSTRUCTION_JUMP;
            ret->target = s->regs.rip + i->length + o[0].imm.value.u;
        }
        break;
    default: break;
    }
    ret->has_selector = (ret->kind == INSTRUCTION_LOAD_TR || ret->kind == INSTRUCTION_LOAD_SEGMENT) &&
                        (ret->selector & ~3u) != 0 && (s->sregs.cr0 & 1);
}

/* They name memory and do not touch it. */
static bool touches_nothing(const ZydisDecodedInstruction *i)
{
    return i->mnemonic == ZYDIS_MNEMONIC_NOP || i->mnemonic == ZYDIS_MNEMONIC_INVLPG ||
           i->meta.category == ZYDIS_CATEGORY_PREFETCH || i->meta.category == ZYDIS_CATEGORY_WIDENOP;
}

bool instruction_decode(const uint8_t *bytes, size_t available, const struct cpu_state *state,
                        struct instruction *ret)
{
    ZydisDecoder decoder;
    ZydisDecodedInstruction i;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    start_decoder(state, &decoder);
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, available, &i, operands))) {
        return false;
    }
    *ret = (struct instruction){.length = i.length};
    memcpy(ret->bytes, bytes, i.length);
    ret->is_repeated =
        is_string(&i) &&
        (i.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) != 0;
    ret->is_branch = i.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE || i.meta.category == ZYDIS_CATEGORY_RET;
    judge(state, &i, operands, ret);
    if (ret->kind != INSTRUCTION_IRET && !touches_nothing(&i)) {
        for (unsigned n = 0; n < i.operand_count; n++) {
            add_operand(state, &i, &operands[n], ret);
        }
    }
    return true;
}

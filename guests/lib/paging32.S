/* SPDX-License-Identifier: MIT */
#include "layout.h"

	.set	GATE_GP, 13
	.set	GATE_INTERRUPT, 0x8e00		/* present, DPL 0, 32-bit interrupt gate */

	.text
	.code32
	.globl	paging32_enable
paging32_enable:
	/* An address in two halves is nothing that a linker can fill in. */
	movl	$refused, %eax
	movw	%ax, idt + 8 * GATE_GP
	shrl	$16, %eax
	movw	%ax, idt + 8 * GATE_GP + 6
	lidt	idt_pointer
	movl	%esp, resume_esp

	movl	4(%esp), %eax
	movl	%eax, %cr4
	movl	8(%esp), %eax
	movl	%eax, %cr3
	movl	$(CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG), %eax
	movl	%eax, %cr0
	movl	$1, %eax
	jmp	done
refused:
	movl	resume_esp, %esp
	xorl	%eax, %eax
done:
	lidt	no_idt				/* from here on a fault is a bug: shut down */
	ret

	.data
	.balign	8
idt:
	.fill	GATE_GP, 8, 0
	.word	0, SEL_KERNEL_CODE, GATE_INTERRUPT, 0
idt_end:

idt_pointer:
	.word	idt_end - idt - 1
	.long	idt
no_idt:
	.word	0
	.long	0

	.balign	4
resume_esp:
	.long	0

	.section .note.GNU-stack, "", @progbits

/* SPDX-License-Identifier: MIT */
/*
 * The way into ring 0, which is always an exception, and the way out to ring 3.
 */
#include "layout.h"

	.macro	trap_stub vector, has_error
	.balign	16
	.if	\has_error == 0
	pushq	$0
	.endif
	pushq	$\vector
	jmp	trap_common
	.endm

	.text
	.balign	16
	.globl	trap_stubs
trap_stubs:
	.irp	vector, 0, 1, 2, 3, 4, 5, 6, 7
	trap_stub \vector, 0
	.endr
	trap_stub 8, 1
	trap_stub 9, 0
	.irp	vector, 10, 11, 12, 13, 14
	trap_stub \vector, 1
	.endr
	trap_stub 15, 0
	trap_stub 16, 0
	trap_stub 17, 1
	.irp	vector, 18, 19, 20
	trap_stub \vector, 0
	.endr
	trap_stub 21, 1
	.irp	vector, 22, 23, 24, 25, 26, 27, 28
	trap_stub \vector, 0
	.endr
	trap_stub 29, 1
	trap_stub 30, 1
	trap_stub 31, 0

trap_common:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	movq	%rsp, %rdi
	call	trap
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rax
	addq	$16, %rsp
	iretq

/* uint64_t user_run(void (*entry)(void)): keeps what the C caller expects kept, for user_leave() to restore. */
	.globl	user_run
user_run:
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, user_run_rsp
	pushq	$SEL_USER_DATA
	pushq	$user_stack_top
	pushq	$2			/* RFLAGS: interrupts off, IOPL 0 */
	pushq	$SEL_USER_CODE
	pushq	%rdi
	iretq

/* _Noreturn void user_leave(uint64_t result): abandons the trap and returns from user_run() with its argument. */
	.globl	user_leave
user_leave:
	movq	user_run_rsp, %rsp
	movq	%rdi, %rax
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret

	.bss
	.balign	16
user_run_rsp:
	.skip	8
	.balign	16
	.skip	4096
	.globl	trap_stack_top
trap_stack_top:

	/* In a section of its own rather than .bss, so that it lies among the pages open to ring 3. */
	.section .user.data, "aw", @progbits
	.balign	4096
	.skip	4096
user_stack_top:

	.section .note.GNU-stack, "", @progbits

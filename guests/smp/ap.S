/* SPDX-License-Identifier: MIT */
/*
 * Where the other processors start: copied to a page below 1 MiB, entered in real mode with CS:IP at its first byte. The
 * count of arrivals is in the copy, so that no processor needs more than its own CS to find it.
 */
	.text
	.globl	ap_first, ap_arrivals, ap_end
	.code16
ap_first:
	movw	%cs, %ax
	movw	%ax, %ds
	lock incl ap_arrivals - ap_first
1:	cli
	hlt
	jmp	1b
	.balign	4
ap_arrivals:
	.long	0
ap_end:

	.section .note.GNU-stack, "", @progbits

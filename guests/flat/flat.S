/* SPDX-License-Identifier: MIT */
/* A flat binary in real mode: loaded at 0x10000, entered at 1000:0000, addressed from 0 through its segment. */
	.text
	.code16
	.globl	_start
_start:
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	movw	$message, %si
1:	movw	$0x3fd, %dx		/* line status; bit 5: the transmitter takes a byte */
2:	inb	%dx, %al
	testb	$0x20, %al
	jz	2b
	movw	$0x3f8, %dx
	lodsb
	outb	%al, %dx
	cmpw	$message_end, %si
	jb	1b
	xorb	%al, %al
	outb	%al, $0xf4
3:	cli
	hlt
	jmp	3b

message:
	.ascii	"flat\n"
message_end:

	.section .note.GNU-stack, "", @progbits

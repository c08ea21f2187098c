/* SPDX-License-Identifier: MIT */
/* The smallest guest: no stack, no GDT, nothing of lib/ but the linker script and the multiboot header. Exits with 42. */
	.text
	.code32
	.globl	_start
_start:
	cld
	movl	$message, %esi
1:	movw	$0x3fd, %dx		/* line status; bit 5: the transmitter takes a byte */
2:	inb	%dx, %al
	testb	$0x20, %al
	jz	2b
	movw	$0x3f8, %dx
	lodsb
	outb	%al, %dx
	cmpl	$message_end, %esi
	jb	1b
	movb	$42, %al
	outb	%al, $0xf4
3:	cli
	hlt
	jmp	3b

	.section .rodata
message:
	.ascii	"hello\n"
message_end:

	.section .note.GNU-stack, "", @progbits

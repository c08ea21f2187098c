/* SPDX-License-Identifier: MIT */
/* The multiboot-1 header ("OS image format"): magic, flags, checksum. Flag 1: tell us of the memory. */
	.set	MAGIC, 0x1badb002
	.set	FLAGS, 1 << 1

	.section .multiboot, "a", @progbits
	.balign	4
	.long	MAGIC
	.long	FLAGS
	.long	-(MAGIC + FLAGS)

	.section .note.GNU-stack, "", @progbits

/* SPDX-License-Identifier: MIT */
/*
 * From the loader's state to guest_main(). The loader leaves the multiboot-1 machine state: 32-bit protected mode, flat
 * segments, paging and interrupts off, EBX = GPA of the multiboot information, no stack and no GDT to rely on.
 *
 * Built with -m32 this stays there with a GDT and a stack of its own; built with -m64 it goes on to long mode over an
 * identity map of the first GiB in supervisor-only 2 MiB pages. boot_pd and its neighbours are global because a guest
 * refines that map.
 */
#include "layout.h"

	.section .multiboot, "a"
	.balign	4
	.set	MULTIBOOT_FLAGS, 1 << 1		/* memory sizes, please */
	.long	MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

	.text
	.code32
	.globl	_start
_start:
	cld
	movl	$boot_stack_top, %esp

#ifdef __x86_64__
	/* The loader zeroed .bss, so the upper halves of these entries and all other entries are already right. */
	movl	$boot_pdpt + (PTE_P | PTE_W | PTE_U), boot_pml4
	movl	$boot_pd + (PTE_P | PTE_W | PTE_U), boot_pdpt
	movl	$boot_pd, %edi
	movl	$(PTE_P | PTE_W | PTE_PS), %eax
1:	movl	%eax, (%edi)
	addl	$0x200000, %eax
	addl	$8, %edi
	cmpl	$boot_pd + 0x1000, %edi
	jb	1b

	movl	$CR4_PAE, %eax
	movl	%eax, %cr4
	movl	$boot_pml4, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	movl	$(EFER_LME | EFER_NXE), %eax
	xorl	%edx, %edx
	wrmsr
	movl	$(CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG), %eax
	movl	%eax, %cr0
#endif

	lgdt	gdt_pointer
	ljmp	$SEL_KERNEL_CODE, $reload
#ifdef __x86_64__
	.code64
#endif
reload:
	movl	$SEL_KERNEL_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %fs
	movl	%eax, %gs
	movl	%eax, %ss

#ifdef __x86_64__
	movl	%ebx, %edi
	call	guest_main
	movl	%eax, %edi
	call	guest_exit
#else
	pushl	%ebx
	call	guest_main
	movl	%eax, (%esp)
	call	guest_exit
#endif

	/*
	 * Every descriptor is born with its accessed bit set, so that loading a selector writes nothing. The user
	 * segments stand in the order that sysret would ask for. The last entry is for the long-mode TSS.
	 */
	.data
	.balign	8
	.globl	boot_gdt
boot_gdt:
	.quad	0
#ifdef __x86_64__
	.quad	0x00af9b000000ffff		/* kernel code, 64-bit */
	.quad	0x00cf93000000ffff		/* kernel data */
	.quad	0x00cff3000000ffff		/* user data */
	.quad	0x00affb000000ffff		/* user code, 64-bit */
	.quad	0, 0				/* TSS: filled in by long_init() */
#else
	.quad	0x00cf9b000000ffff		/* kernel code, 32-bit */
	.quad	0x00cf93000000ffff		/* kernel data */
#endif
gdt_end:

gdt_pointer:
	.word	gdt_end - boot_gdt - 1
	.long	boot_gdt
	.long	0				/* in long mode the base has 8 bytes */

	.bss
	.balign	4096
#ifdef __x86_64__
	.globl	boot_pml4, boot_pdpt, boot_pd
boot_pml4:
	.skip	4096
boot_pdpt:
	.skip	4096
boot_pd:
	.skip	4096
#endif
	.skip	8192
	.globl	boot_stack_top
boot_stack_top:

	.section .note.GNU-stack, "", @progbits

/* SPDX-License-Identifier: MIT */
/*
 * Numbers of the x86 architecture that assembly and C share (Intel SDM vol. 3, "System Architecture Overview" and
 * "Paging"). Plain macros without suffixes, because both languages read them.
 */
#ifndef LAYOUT_H
#define LAYOUT_H

#define MULTIBOOT_MAGIC 0x1badb002

#define CR0_PE 0x00000001
#define CR0_ET 0x00000010
#define CR0_NE 0x00000020
#define CR0_WP 0x00010000
#define CR0_PG 0x80000000

#define CR4_PSE 0x10
#define CR4_PAE 0x20

#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define EFER_LMA 0x400
#define EFER_NXE 0x800

#define PTE_P 0x001
#define PTE_W 0x002
#define PTE_U 0x004
#define PTE_PWT 0x008
#define PTE_PCD 0x010
#define PTE_PS 0x080

#define SEL_KERNEL_CODE 0x08
#define SEL_KERNEL_DATA 0x10
#define SEL_USER_DATA 0x1b /* with RPL 3 */
#define SEL_USER_CODE 0x23
#define SEL_TSS 0x28

#endif

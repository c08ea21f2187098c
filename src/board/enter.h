// SPDX-License-Identifier: MIT
/* The registers in which an image starts. Pure. */
#ifndef BOARD_ENTER_H
#define BOARD_ENTER_H

#include <memvirt/image.h>

/*
 * Change the registers of a vCPU after its reset to those that the image wants. What neither image nor processor
 * mode asks for stays as it is, so that the accelerator gets back what it gave.
 */
void enter_registers(const struct mv_image *image, struct kvm_regs *regs, struct kvm_sregs *sregs);

#endif

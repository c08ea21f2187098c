// SPDX-License-Identifier: MIT
/* The accelerator `kvm`: the host's /dev/kvm. Each call of the contract is one ioctl, with its errno. */
#ifndef ACCEL_KVM_KVM_H
#define ACCEL_KVM_KVM_H

#include "accel/accel.h"

extern const struct accel accel_kvm;

#endif

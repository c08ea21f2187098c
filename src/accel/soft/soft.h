// SPDX-License-Identifier: MIT
/* The accelerator `soft`: memvirt's own hypervisor on a simulated processor's MMU. It is all in this process. */
#ifndef ACCEL_SOFT_SOFT_H
#define ACCEL_SOFT_SOFT_H

#include "accel/accel.h"

extern const struct accel accel_soft;

#endif

// SPDX-License-Identifier: MIT
/* Host memory that is given back: an accelerator in this process must hear of it from us. */
#ifndef VM_HOST_H
#define VM_HOST_H

#include "vm/vm.h"

/* 0 or -ENOMEM. Nothing is done for accelerators whose kernel sees to it. */
int host_watch(struct mv_vm *vm, struct mv_error *err);
void host_unwatch(struct mv_vm *vm);

#endif

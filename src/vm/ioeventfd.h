// SPDX-License-Identifier: MIT
/* Eventfds in the accelerator: listeners of the two spaces that pass on what they are told. */
#ifndef VM_IOEVENTFD_H
#define VM_IOEVENTFD_H

#include <memvirt/listener.h>

struct mv_vm;

/* To be registered with the VM as opaque, one for each space. */
extern const struct mv_listener_ops ioeventfd_memory_ops;
extern const struct mv_listener_ops ioeventfd_io_ops;

#endif

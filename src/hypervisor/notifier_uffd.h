// SPDX-License-Identifier: MIT
/*
 * Notifications from the host's kernel, for memory that is changed by code which does not call the notifier: a
 * userfaultfd reports what madvise, munmap and mremap do to the ranges that are watched (Linux,
 * "Userfaultfd"; userfaultfd(2)), and a thread turns each report into a begin and an end.
 *
 * What this can and cannot do. MADV_DONTNEED and MADV_REMOVE wait until they are read, and go on then:
 * translations go at about the same time as the pages do, and a vCPU that is faster finds zeros, as any thread of
 * the process would. munmap and mremap report when they are done: a vCPU that uses the range before the zap gets
 * the signal that any thread would. Who can call hv_notifier_begin before it changes memory does that. Holes
 * punched through a file descriptor are not reported at all.
 */
#ifndef HYPERVISOR_NOTIFIER_UFFD_H
#define HYPERVISOR_NOTIFIER_UFFD_H

#include "hypervisor/hv.h"

struct hv_uffd;

/* -ENOSYS, -EPERM (no privilege for it, or no permission), -EINVAL (a kernel without these events), -ENOMEM. */
int hv_uffd_create(struct hv_vm *vm, struct hv_uffd **ret);
/* The VM is still there. Ranges are not watched any more. */
void hv_uffd_destroy(struct hv_uffd *uffd);

/* A range of whole pages of one or several mappings, none watched by another userfaultfd: 0 or -errno. */
int hv_uffd_watch(struct hv_uffd *uffd, struct mv_range hva);
void hv_uffd_unwatch(struct hv_uffd *uffd, struct mv_range hva);

/* Reports that were carried out so far. */
uint64_t hv_uffd_events(const struct hv_uffd *uffd);

#endif

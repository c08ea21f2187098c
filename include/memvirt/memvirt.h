// SPDX-License-Identifier: MIT
/**
 * @file memvirt.h
 * All of the library.
 */
#ifndef MEMVIRT_MEMVIRT_H
#define MEMVIRT_MEMVIRT_H

#include <memvirt/accel.h>
#include <memvirt/access.h>
#include <memvirt/block.h>
#include <memvirt/board.h>
#include <memvirt/dirty.h>
#include <memvirt/discard.h>
#include <memvirt/explain.h>
#include <memvirt/hybrid.h>
#include <memvirt/image.h>
#include <memvirt/ioeventfd.h>
#include <memvirt/iommu.h>
#include <memvirt/listener.h>
#include <memvirt/machine.h>
#include <memvirt/monitor.h>
#include <memvirt/mtree.h>
#include <memvirt/paging.h>
#include <memvirt/privacy.h>
#include <memvirt/reader.h>
#include <memvirt/region.h>
#include <memvirt/replay.h>
#include <memvirt/soft.h>
#include <memvirt/space.h>
#include <memvirt/trace.h>
#include <memvirt/types.h>
#include <memvirt/vm.h>

#endif

// SPDX-License-Identifier: MIT
#include "hypervisor/tdp_instance.h"
#include "paging/ept.h"

TDP_INSTANCE(hv_mmu_ept, pt_format_ept, "ept")

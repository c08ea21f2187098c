// SPDX-License-Identifier: MIT
#include "hypervisor/tdp_instance.h"
#include "paging/npt.h"

TDP_INSTANCE(hv_mmu_npt, pt_format_npt, "npt")

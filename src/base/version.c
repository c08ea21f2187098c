// SPDX-License-Identifier: MIT
#include <memvirt/types.h>

const char *mv_version(void)
{
    return MEMVIRT_VERSION;
}

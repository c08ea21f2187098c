// SPDX-License-Identifier: MIT
/* In place of kvm_counters_test.c, where there is nothing to decode instructions with. */
#include <stdio.h>

int main(void)
{
    printf("# SKIP this was built without Zydis (Debian: libzydis-dev), which decodes a guest's instructions\n");
    return 77;
}

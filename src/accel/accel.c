// SPDX-License-Identifier: MIT
#include "accel/accel.h"

#include <string.h>

#include "accel/kvm/kvm.h"

static const struct accel *const accels[] = {&accel_kvm};

#define ACCEL_COUNT (sizeof accels / sizeof accels[0])

const struct accel *accel_by_name(const char *name)
{
    for (size_t i = 0; i < ACCEL_COUNT; i++) {
        if (strcmp(accels[i]->name, name) == 0) {
            return accels[i];
        }
    }
    return NULL;
}

size_t mv_accel_count(void)
{
    return ACCEL_COUNT;
}

void mv_accel_check(size_t index, struct mv_accel_status *ret)
{
    accels[index]->check(ret);
}

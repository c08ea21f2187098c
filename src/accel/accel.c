// SPDX-License-Identifier: MIT
#include "accel/accel.h"

#include <string.h>

#include "accel/kvm/kvm.h"
#include "accel/soft/soft.h"

static const struct accel *const accels[] = {&accel_kvm, &accel_soft};

#define ACCEL_COUNT (sizeof accels / sizeof accels[0])

const struct accel *accel_by_name(const char *name)
{
    size_t length = strcspn(name, ",");
    for (size_t i = 0; i < ACCEL_COUNT; i++) {
        if (strlen(accels[i]->name) == length && memcmp(accels[i]->name, name, length) == 0) {
            return accels[i];
        }
    }
    return NULL;
}

const char *accel_properties(const char *name)
{
    const char *comma = strchr(name, ',');
    return comma ? comma + 1 : NULL;
}

size_t mv_accel_count(void)
{
    return ACCEL_COUNT;
}

void mv_accel_check(size_t index, struct mv_accel_status *ret)
{
    accels[index]->check(ret);
}

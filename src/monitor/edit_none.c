// SPDX-License-Identifier: MIT
#include "monitor/edit.h"

bool edit_serve(struct channel *channel)
{
    (void)channel;
    return false;
}

// SPDX-License-Identifier: MIT
#include "json.h"
#include "json_value.h"

bool json_print_check(const struct mv_accel_status *accels, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *accel = json_object();
        accel = json_with(accel, "name", json_text(accels[i].name));
        accel = json_with(accel, "runs_guests", json_boolean(accels[i].runs_guests));
        accel = json_with(accel, "usable", json_boolean(accels[i].usable));
        accel = json_with(accel, "reason", json_text(accels[i].reason));
        accel = json_with(accel, "text", json_text(accels[i].text));
        array = json_with_item(array, accel);
    }
    return json_print(json_with(json_object(), "accelerators", array));
}

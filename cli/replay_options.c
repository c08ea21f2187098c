// SPDX-License-Identifier: MIT
#include "replay_options.h"

#include <stdio.h>
#include <string.h>

#include "command.h"
#include "message.h"
#include "size.h"

int replay_parse_page(const char *command, const char *option, const char *value, const char **ret)
{
    if (strcmp(value, "4K") != 0 && strcmp(value, "2M") != 0 && strcmp(value, "1G") != 0) {
        return usage_error(command, "%s %s: not 4K, 2M or 1G", option, value);
    }
    *ret = value;
    return CLI_OK;
}

int replay_parse_levels(const char *command, const char *value, struct mv_replay_options *ret)
{
    if (strcmp(value, "4") != 0 && strcmp(value, "5") != 0) {
        return usage_error(command, "--levels %s: not 4 or 5", value);
    }
    ret->levels = (unsigned)(value[0] - '0');
    return CLI_OK;
}

int replay_parse_memory(const char *command, const char *value, struct mv_replay_options *ret)
{
    if (size_parse(value, &ret->memory_bytes) != SIZE_OK || ret->memory_bytes % (1ull << 30)) {
        return usage_error(command, "--memory %s: not a multiple of 1G, such as 64G", value);
    }
    return CLI_OK;
}

int replay_name_source(const char *source, int rc, struct mv_error *err)
{
    char text[sizeof err->text];
    snprintf(text, sizeof text, "%.100s: %.200s", source, err->text);
    memcpy(err->text, text, sizeof text);
    return rc;
}

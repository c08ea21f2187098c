// SPDX-License-Identifier: MIT
#include "monitor/qmp.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "monitor/hmp.h"

#define CLASS_GENERIC "GenericError"
#define CLASS_NOT_FOUND "CommandNotFound"

/* What one command is answered with: a value or an error. */
struct reply {
    json_t *value;
    const char *class;
    char desc[MV_ERROR_TEXT_SIZE];
};

bool qmp_is_built_in(void)
{
    return true;
}

/* --- value trees and JSON ---------------------------------------------------------------------- */

/* A guest's, or a name's, bytes need not be UTF-8: each that is not becomes '?'. */
static json_t *json_of_text(const char *text)
{
    json_t *string = json_string(text);
    if (string) {
        return string;
    }
    char *copy = strdup(text);
    if (!copy) {
        return NULL;
    }
    for (char *c = copy; *c; c++) {
        *c = (unsigned char)*c < 0x80 ? *c : '?';
    }
    string = json_string(copy);
    free(copy);
    return string;
}

static json_t *json_of(const struct value *value)
{
    json_t *json = NULL;
    switch (value->kind) {
    case VALUE_BOOL: return json_boolean(value->truth);
    case VALUE_NUMBER: return json_integer((json_int_t)(value->number < INT64_MAX ? value->number : INT64_MAX));
    case VALUE_ADDRESS: return json_sprintf("0x%" PRIx64, value->number);
    case VALUE_TEXT: return json_of_text(value->text);
    case VALUE_LIST: json = json_array(); break;
    case VALUE_OBJECT: json = json_object(); break;
    }
    for (size_t i = 0; json && i < value->many.count; i++) {
        const struct value_item *item = &value->many.items[i];
        json_t *child = json_of(item->value);
        int rc = item->key ? json_object_set_new(json, item->key, child) : json_array_append_new(json, child);
        if (rc < 0) {
            json_decref(json);
            return NULL;
        }
    }
    return json;
}

static void print_json(const json_t *json, struct text *out)
{
    char *line = json ? json_dumps(json, 0) : NULL;
    if (line) {
        text_add(out, line, strlen(line));
        text_add(out, "\r\n", 2);
        free(line);
    } else {
        text_print(out, "{\"error\": {\"class\": \"" CLASS_GENERIC "\", \"desc\": \"out of memory\"}}\r\n");
    }
}

/* --- arguments --------------------------------------------------------------------------------- */

MV_PRINTF(3, 4) static int fail(struct reply *reply, const char *class, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reply->desc, sizeof reply->desc, format, arguments);
    va_end(arguments);
    reply->class = class;
    return -EINVAL;
}

static int wrong_type(struct reply *reply, const char *name, const char *expected)
{
    return fail(reply, CLASS_GENERIC, "Invalid parameter type for '%s', expected: %s", name, expected);
}

/* An integer, or a string that is a whole number as C writes it. */
static bool number_of(const json_t *json, uint64_t *ret)
{
    if (json_is_integer(json)) {
        *ret = (uint64_t)json_integer_value(json);
        return json_integer_value(json) >= 0;
    }
    const char *text = json_string_value(json);
    if (!text || text[0] < '0' || text[0] > '9') {
        return false;
    }
    char *end;
    errno = 0;
    *ret = strtoull(text, &end, 0);
    return errno == 0 && *end == '\0';
}

static int take_argument(const struct parameter *p, const json_t *json, struct value **arguments,
                         struct reply *reply)
{
    uint64_t number;
    switch (p->kind) {
    case PARAMETER_NUMBER:
        if (!number_of(json, &number)) {
            return wrong_type(reply, p->name, "integer");
        }
        *arguments = value_with(*arguments, p->name, value_address(number));
        return 0;
    case PARAMETER_FLAG:
        if (!json_is_boolean(json)) {
            return wrong_type(reply, p->name, "boolean");
        }
        *arguments = value_with(*arguments, p->name, value_bool(json_is_true(json)));
        return 0;
    case PARAMETER_FORMAT:
    case PARAMETER_WORDS:
        if (!json_is_string(json)) {
            return wrong_type(reply, p->name, "string");
        }
        *arguments = value_with(*arguments, p->name, value_text(json_string_value(json)));
        return 0;
    }
    return 0;
}

/* PARAMETER_FORMAT stands for these three here. */
static const struct parameter format_parts[] = {
    {.name = "count", .kind = PARAMETER_NUMBER},
    {.name = "format", .kind = PARAMETER_WORDS},
    {.name = "unit-bytes", .kind = PARAMETER_NUMBER},
};

static const struct parameter *parameter_by_name(const struct parameter *p, const char *name)
{
    for (; p && p->name; p++) {
        if (p->kind == PARAMETER_FORMAT) {
            for (size_t i = 0; i < sizeof format_parts / sizeof format_parts[0]; i++) {
                if (strcmp(format_parts[i].name, name) == 0) {
                    return &format_parts[i];
                }
            }
        } else if (strcmp(p->name, name) == 0) {
            return p;
        }
    }
    return NULL;
}

static int read_arguments(const struct parameter *parameters, json_t *json, struct value **ret,
                          struct reply *reply)
{
    const char *key;
    json_t *item;
    int rc = 0;
    json_object_foreach(json, key, item)
    {
        const struct parameter *p = parameter_by_name(parameters, key);
        if (!p) {
            return fail(reply, CLASS_GENERIC, "Parameter '%s' is unexpected", key);
        }
        rc = take_argument(p, item, ret, reply);
        if (rc < 0) {
            return rc;
        }
    }
    for (const struct parameter *p = parameters; p && p->name; p++) {
        if (!p->optional && p->kind != PARAMETER_FLAG && !json_object_get(json, p->name)) {
            return fail(reply, CLASS_GENERIC, "Parameter '%s' is missing", p->name);
        }
    }
    return 0;
}

/* --- commands that are QMP's own --------------------------------------------------------------- */

static json_t *name_object(const char *name)
{
    return json_pack("{s:s}", "name", name);
}

static json_t *query_commands(void)
{
    static const char *const own[] = {"human-monitor-command", "qmp_capabilities", "query-commands"};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        json_array_append_new(list, name_object(own[i]));
    }
    for (const struct command *c = monitor_commands; c->run; c++) {
        if (c->qmp) {
            json_array_append_new(list, name_object(c->qmp));
        }
        if (c->qmp_text) {
            json_array_append_new(list, name_object(c->qmp_text));
        }
    }
    return list;
}

static const struct parameter human_parameters[] = {
    {.name = "command-line", .kind = PARAMETER_WORDS},
    {.name = "cpu-index", .kind = PARAMETER_NUMBER, .optional = true},
    {0},
};

/* What a line of HMP prints, as text. */
static int human_command(struct qmp *qmp, json_t *arguments, struct reply *reply)
{
    struct value *values = value_object();
    int rc = read_arguments(human_parameters, arguments, &values, reply);
    const char *line = rc == 0 ? value_text_at(values, "command-line") : NULL;
    uint64_t vcpu = value_at(values, "cpu-index") ? value_number_at(values, "cpu-index") : qmp->session.vcpu;
    if (rc == 0 && !line) {
        rc = fail(reply, CLASS_GENERIC, "out of memory");
    }
    if (rc == 0 && value_at(values, "cpu-index") && vcpu >= mv_vm_vcpu_count(qmp->session.monitor->options.vm)) {
        rc = fail(reply, CLASS_GENERIC, "Parameter 'cpu-index' expects a CPU number");
    }
    if (rc == 0) {
        struct text printed, lines;
        struct session session = qmp->session;
        session.vcpu = (unsigned)vcpu;
        text_init(&printed, COMMAND_TEXT_MAX);
        text_init(&lines, 2 * COMMAND_TEXT_MAX);
        hmp_line(&session, line, &printed);
        hmp_add_crlf(&lines, &printed);
        text_add(&lines, "", 1);
        reply->value = printed.overflowed || lines.overflowed ? NULL : json_of_text(lines.bytes);
        text_finish(&printed);
        text_finish(&lines);
    }
    value_free(values);
    return rc;
}

/* --- a command --------------------------------------------------------------------------------- */

/* What HMP would print. */
static json_t *json_of_printed(const struct command *command, const struct value *result)
{
    struct text printed;
    text_init(&printed, COMMAND_TEXT_MAX);
    command->print(result, &printed);
    text_add(&printed, "", 1);
    json_t *text = printed.overflowed ? NULL : json_of_text(printed.bytes);
    text_finish(&printed);
    json_t *object = json_object();
    if (json_object_set_new(object, "human-readable-text", text) < 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static int run(struct qmp *qmp, const struct command *command, const char *name, json_t *arguments,
               struct reply *reply)
{
    struct mv_error err;
    struct value *result;
    struct value *values = value_object();
    int rc = read_arguments(command->parameters, arguments, &values, reply);
    if (rc == 0 && !values) {
        rc = fail(reply, CLASS_GENERIC, "out of memory");
    } else if (rc == 0) {
        rc = command_execute(command, &qmp->session, values, &result, &err);
        if (rc < 0) {
            fail(reply, CLASS_GENERIC, "%s", err.text);
        } else {
            bool as_text = command->qmp_text && strcmp(name, command->qmp_text) == 0;
            reply->value = as_text ? json_of_printed(command, result) : json_of(result);
            value_free(result);
        }
    }
    value_free(values);
    return rc;
}

static int negotiate(struct qmp *qmp, json_t *arguments, struct reply *reply)
{
    const char *key;
    json_t *item;
    if (qmp->negotiated) {
        return fail(reply, CLASS_NOT_FOUND, "Capabilities negotiation is already complete, command ignored");
    }
    json_object_foreach(arguments, key, item)
    {
        if (strcmp(key, "enable") != 0) {
            return fail(reply, CLASS_GENERIC, "Parameter '%s' is unexpected", key);
        }
        if (!json_is_array(item)) {
            return wrong_type(reply, "enable", "array");
        }
        if (json_array_size(item) > 0) {
            return fail(reply, CLASS_GENERIC, "Capability is not available: there is none");
        }
    }
    qmp->negotiated = true;
    reply->value = json_object();
    return 0;
}

static int execute(struct qmp *qmp, const char *name, json_t *arguments, struct reply *reply)
{
    const struct command *command = command_by_qmp(name);
    if (strcmp(name, "qmp_capabilities") == 0) {
        return negotiate(qmp, arguments, reply);
    }
    if (!qmp->negotiated) {
        return fail(reply, CLASS_NOT_FOUND, "Expecting capabilities negotiation with 'qmp_capabilities'");
    }
    if (strcmp(name, "query-commands") == 0) {
        int rc = json_object_size(arguments) == 0 ? 0 : read_arguments(NULL, arguments, NULL, reply);
        reply->value = rc == 0 ? query_commands() : NULL;
        return rc;
    }
    if (strcmp(name, "human-monitor-command") == 0) {
        return human_command(qmp, arguments, reply);
    }
    return command ? run(qmp, command, name, arguments, reply)
                   : fail(reply, CLASS_NOT_FOUND, "The command %s has not been found", name);
}

/* The envelope: {"execute": NAME, "arguments": {...}, "id": ANYTHING}. */
static int dispatch(struct qmp *qmp, json_t *request, struct reply *reply)
{
    const char *key;
    json_t *item;
    if (!json_is_object(request)) {
        return fail(reply, CLASS_GENERIC, "QMP input must be a JSON object");
    }
    json_object_foreach(request, key, item)
    {
        if (strcmp(key, "execute") == 0 && !json_is_string(item)) {
            return fail(reply, CLASS_GENERIC, "QMP input member 'execute' must be a string");
        }
        if (strcmp(key, "arguments") == 0 && !json_is_object(item)) {
            return fail(reply, CLASS_GENERIC, "QMP input member 'arguments' must be an object");
        }
        if (strcmp(key, "execute") != 0 && strcmp(key, "arguments") != 0 && strcmp(key, "id") != 0) {
            return fail(reply, CLASS_GENERIC, "QMP input member '%s' is unexpected", key);
        }
    }
    const char *name = json_string_value(json_object_get(request, "execute"));
    if (!name) {
        return fail(reply, CLASS_GENERIC, "QMP input lacks member 'execute'");
    }
    return execute(qmp, name, json_object_get(request, "arguments"), reply);
}

static json_t *error_object(const char *class, const char *desc)
{
    json_t *error = json_object();
    json_object_set_new(error, "class", json_string(class));
    json_object_set_new(error, "desc", json_of_text(desc));
    return error;
}

static void answer(struct qmp *qmp, json_t *request, struct text *out)
{
    struct reply reply = {.value = NULL};
    int rc = dispatch(qmp, request, &reply);
    json_t *response = json_object();
    json_t *id = json_object_get(request, "id");
    if (rc == 0 && !reply.value) {
        rc = fail(&reply, CLASS_GENERIC, "there is too much to show");
    }
    if (rc == 0) {
        json_object_set_new(response, "return", reply.value);
    } else {
        json_object_set_new(response, "error", error_object(reply.class, reply.desc));
    }
    if (id) {
        json_object_set(response, "id", id);
    }
    print_json(response, out);
    json_decref(response);
}

static void answer_wrong(const char *desc, struct text *out)
{
    json_t *response = json_object();
    json_object_set_new(response, "error", error_object(CLASS_GENERIC, desc));
    print_json(response, out);
    json_decref(response);
}

static void take_value(struct qmp *qmp, struct text *out)
{
    json_error_t why;
    struct text *bytes = &qmp->frame.bytes;
    json_t *request = json_loadb(bytes->bytes, bytes->length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (request) {
        answer(qmp, request, out);
        json_decref(request);
    } else {
        char desc[MV_ERROR_TEXT_SIZE];
        snprintf(desc, sizeof desc, "JSON parse error, %s", why.text);
        answer_wrong(desc, out);
    }
    frame_clear(&qmp->frame);
}

/* --- a client ---------------------------------------------------------------------------------- */

void qmp_init(struct qmp *qmp, struct mv_monitor *monitor)
{
    *qmp = (struct qmp){.negotiated = false};
    session_init(&qmp->session, monitor);
    frame_init(&qmp->frame);
}

void qmp_finish(struct qmp *qmp)
{
    frame_finish(&qmp->frame);
}

void qmp_greet(struct text *out)
{
    struct value *version = state_version_value();
    json_t *greeting =
        json_pack("{s:{s:o,s:[]}}", "QMP", "version", version ? json_of(version) : json_object(), "capabilities");
    value_free(version);
    print_json(greeting, out);
    json_decref(greeting);
}

size_t qmp_take(struct qmp *qmp, const char *bytes, size_t length, struct text *out)
{
    enum frame_event event;
    const char *wrong = NULL;
    size_t taken = frame_take(&qmp->frame, bytes, length, &event, &wrong);
    if (event == FRAME_VALUE) {
        take_value(qmp, out);
    } else if (event == FRAME_WRONG) {
        answer_wrong(wrong, out);
    }
    return taken;
}

void qmp_print_event(const char *name, const char *data, struct text *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    json_t *event = json_pack("{s:{s:I,s:I},s:s}", "timestamp", "seconds", (json_int_t)now.tv_sec, "microseconds",
                              (json_int_t)(now.tv_nsec / 1000), "event", name);
    json_t *more = data ? json_loads(data, 0, NULL) : NULL;
    if (event && more) {
        json_object_set(event, "data", more);
    }
    json_decref(more);
    print_json(event, out);
    json_decref(event);
}

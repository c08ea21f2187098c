// SPDX-License-Identifier: MIT
#include "monitor/hmp.h"

#include <ctype.h>
#include <string.h>

#include "monitor/expression.h"

/* --- arguments --------------------------------------------------------------------------------- */

/* A line while its arguments are read. */
struct reader {
    struct session *session;
    const struct command *command;
    const char *at;
    struct value *arguments;
    struct text *out; /* mistakes are printed here */
};

static void skip_blanks(struct reader *r)
{
    while (isspace((unsigned char)*r->at)) {
        r->at++;
    }
}

static void set(struct reader *r, const char *key, struct value *value)
{
    r->arguments = value_with(r->arguments, key, value);
}

/* "/8xw": a count, then letters in any order. */
static bool read_format(struct reader *r)
{
    struct session *s = r->session;
    uint64_t count = 1;
    char format = s->format;
    unsigned unit = s->unit_bytes;
    if (*r->at == '/') {
        r->at++;
        if (isdigit((unsigned char)*r->at)) {
            count = 0;
        }
        for (; isdigit((unsigned char)*r->at); r->at++) {
            count =
                count < UINT32_MAX ? count * 10 + (uint64_t)(*r->at - '0') : count; /* far too many is enough */
        }
        for (; *r->at != '\0' && !isspace((unsigned char)*r->at); r->at++) {
            switch (*r->at) {
            case 'o':
            case 'd':
            case 'u':
            case 'x':
            case 'c': format = *r->at; break;
            case 'b': unit = 1; break;
            case 'h': unit = 2; break;
            case 'w': unit = 4; break;
            case 'g':
            case 'L': unit = 8; break;
            case 'i': text_print(r->out, "%s: there is no disassembler\n", r->command->hmp); return false;
            default:
                text_print(r->out, "invalid char in format: '%c'\n",
                           isprint((unsigned char)*r->at) ? *r->at : '?');
                return false;
            }
        }
    }
    s->format = format;
    s->unit_bytes = unit;
    set(r, "count", value_number(count));
    set(r, "format", value_text_bytes(&format, 1));
    set(r, "unit-bytes", value_number(unit));
    return true;
}

static bool read_number(struct reader *r, const struct parameter *parameter)
{
    char scratch[64];
    uint64_t value;
    const char *wrong = expression_evaluate(&r->at, registers_find, r->session, &value, scratch);
    if (wrong) {
        text_print(r->out, "%s\n", wrong);
        return false;
    }
    set(r, parameter->name, value_address(value));
    return true;
}

/* All flags of a command, in any order and number: "-f -d", "-fd". */
static bool read_flags(struct reader *r)
{
    const struct parameter *first = r->command->parameters;
    while (*r->at == '-') {
        for (r->at++; *r->at != '\0' && !isspace((unsigned char)*r->at); r->at++) {
            const struct parameter *p = first;
            while (p->name && !(p->kind == PARAMETER_FLAG && p->letter == *r->at)) {
                p++;
            }
            if (!p->name) {
                text_print(r->out, "%s: unsupported option -%c\n", r->command->hmp,
                           isprint((unsigned char)*r->at) ? *r->at : '?');
                return false;
            }
            if (!value_at(r->arguments, p->name)) {
                set(r, p->name, value_bool(true));
            }
        }
        skip_blanks(r);
    }
    return true;
}

static void read_words(struct reader *r, const struct parameter *parameter)
{
    size_t length = strlen(r->at);
    while (length > 0 && isspace((unsigned char)r->at[length - 1])) {
        length--;
    }
    if (length > 0) {
        set(r, parameter->name, value_text_bytes(r->at, length));
    }
    r->at += strlen(r->at);
}

static bool read_arguments(struct reader *r)
{
    const struct parameter *p = r->command->parameters;
    bool good = true;
    if (p && p->kind == PARAMETER_FLAG) {
        good = read_flags(r);
    }
    for (; good && p && p->name; p++) {
        skip_blanks(r);
        switch (p->kind) {
        case PARAMETER_FLAG: break;
        case PARAMETER_FORMAT: good = read_format(r); break;
        case PARAMETER_NUMBER: good = read_number(r, p); break;
        case PARAMETER_WORDS: read_words(r, p); break;
        }
    }
    skip_blanks(r);
    if (good && *r->at != '\0') {
        text_print(r->out, "%s: extraneous characters at the end of line\n", r->command->hmp);
        good = false;
    }
    if (!good) {
        text_print(r->out, "Try \"help %s%.*s\" for more information\n", r->command->is_info ? "info " : "",
                   (int)strcspn(r->command->hmp, "|"), r->command->hmp);
    }
    return good;
}

/* --- a line ------------------------------------------------------------------------------------ */

/* The command that a line begins with; *at moves behind its name. */
static const struct command *read_name(const char **at)
{
    size_t length = strcspn(*at, " \t\r\n\v\f/");
    const struct command *command = command_by_hmp(*at, length, false);
    const char *rest = *at + length;
    if (command && command->run == help_run_info) {
        const char *word = rest + strspn(rest, " \t\r\n\v\f");
        size_t word_length = strcspn(word, " \t\r\n\v\f");
        if (word_length > 0) {
            command = command_by_hmp(word, word_length, true);
            rest = word + word_length;
        }
    }
    *at = rest;
    return command;
}

static void print_unknown(const char *line, struct text *out)
{
    size_t length = strcspn(line, " \t\r\n\v\f/");
    if (length == 4 && strncmp(line, "info", 4) == 0) {
        length += strspn(line + length, " \t");
        length += strcspn(line + length, " \t\r\n\v\f");
    }
    text_print(out, "unknown command: '%.*s'\n", (int)(length < 200 ? length : 200), line);
}

void hmp_line(struct session *session, const char *line, struct text *out)
{
    struct mv_error err;
    struct value *result;
    line += strspn(line, " \t\r\n\v\f");
    if (*line == '\0') {
        return;
    }
    struct reader r = {.session = session, .at = line, .arguments = value_object(), .out = out};
    r.command = read_name(&r.at);
    if (!r.command) {
        print_unknown(line, out);
    } else if (!(skip_blanks(&r), read_arguments(&r))) {
        /* that has been said */
    } else if (!r.arguments) {
        text_print(out, "out of memory\n");
    } else if (command_execute(r.command, session, r.arguments, &result, &err) < 0) {
        text_print(out, "%s\n", err.text);
    } else {
        if (r.command->print) {
            r.command->print(result, out);
        }
        value_free(result);
    }
    value_free(r.arguments);
}

/* --- a client's lines -------------------------------------------------------------------------- */

void hmp_add_crlf(struct text *out, const struct text *text)
{
    const char *at = text->bytes;
    const char *end = text->length > 0 ? at + text->length : at; /* without any, there are no bytes to point to */
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        text_add(out, at, (size_t)((newline ? newline : end) - at));
        if (!newline) {
            return;
        }
        text_add(out, "\r\n", 2);
        at = newline + 1;
    }
}

void hmp_init(struct hmp *hmp, struct mv_monitor *monitor, bool crlf)
{
    *hmp = (struct hmp){.crlf = crlf};
    session_init(&hmp->session, monitor);
    text_init(&hmp->line, HMP_LINE_MAX);
}

void hmp_finish(struct hmp *hmp)
{
    text_finish(&hmp->line);
}

void hmp_greet(struct hmp *hmp, struct text *out)
{
    text_print(out, "memvirt %s monitor - type 'help' for more information%s" HMP_PROMPT, mv_version(),
               hmp->crlf ? "\r\n" : "\n");
}

static void finish_line(struct hmp *hmp, struct text *out)
{
    struct text printed;
    text_init(&printed, COMMAND_TEXT_MAX);
    text_add(&hmp->line, "", 1); /* it has to fit too */
    if (hmp->line.overflowed) {
        text_print(&printed, "the line is longer than %zu bytes\n", HMP_LINE_MAX - 1);
    } else {
        hmp_line(&hmp->session, hmp->line.bytes, &printed);
    }
    if (printed.overflowed) {
        text_clear(&printed);
        text_print(&printed, "there is too much to show\n");
    }
    if (hmp->crlf) {
        hmp_add_crlf(out, &printed);
    } else {
        text_add(out, printed.bytes, printed.length);
    }
    text_finish(&printed);
    if (!atomic_load(&hmp->session.monitor->quitting)) {
        text_print(out, HMP_PROMPT);
    }
    text_finish(&hmp->line);
}

size_t hmp_take(struct hmp *hmp, const char *bytes, size_t length, struct text *out)
{
    const char *newline = memchr(bytes, '\n', length);
    size_t part = newline ? (size_t)(newline - bytes) : length;
    text_add(&hmp->line, bytes, part); /* what is beyond the limit is not kept */
    if (newline) {
        finish_line(hmp, out);
        part++;
    }
    return part;
}

// SPDX-License-Identifier: MIT
#include "machine/mtree_line.h"

#include <limits.h>
#include <string.h>

#define ADDRESS_DIGITS 16
#define RANGE_CHARS (2 * ADDRESS_DIGITS + 1)
/* Longer lines are no regions': QEMU's names and paths are much shorter. */
#define LINE_MAX_CHARS 4096

bool slice_equal(struct slice a, struct slice b)
{
    return a.length == b.length && memcmp(a.start, b.start, a.length) == 0;
}

bool slice_begins(struct slice s, struct slice with)
{
    return s.length >= with.length && memcmp(s.start, with.start, with.length) == 0;
}

bool slice_ends(struct slice s, struct slice with)
{
    return s.length >= with.length && memcmp(s.start + s.length - with.length, with.start, with.length) == 0;
}

static struct slice from(struct slice s, size_t offset)
{
    return (struct slice){s.start + offset, s.length - offset};
}

static struct slice until(struct slice s, size_t length)
{
    return (struct slice){s.start, length};
}

/* --- pieces: each takes what it reads off the front of *s -------------------------------------------------- */

static bool take(struct slice *s, struct slice literal)
{
    if (!slice_begins(*s, literal)) {
        return false;
    }
    *s = from(*s, literal.length);
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_address(struct slice *s, uint64_t *ret)
{
    uint64_t value = 0;
    if (s->length < ADDRESS_DIGITS) {
        return false;
    }
    for (size_t i = 0; i < ADDRESS_DIGITS; i++) {
        int digit = hex_digit(s->start[i]);
        if (digit < 0) {
            return false;
        }
        value = value << 4 | (uint64_t)digit;
    }
    *s = from(*s, ADDRESS_DIGITS);
    *ret = value;
    return true;
}

/* The end may be below the beginning: QEMU prints what overflows so. */
static bool take_range(struct slice *s, struct mv_range *ret)
{
    return take_address(s, &ret->first) && take(s, SLICE("-")) && take_address(s, &ret->last);
}

static bool take_int(struct slice *s, int *ret)
{
    struct slice rest = *s;
    bool negative = take(&rest, SLICE("-"));
    int64_t value = 0;
    size_t i = 0;
    for (; i < rest.length && rest.start[i] >= '0' && rest.start[i] <= '9'; i++) {
        value = value * 10 + (rest.start[i] - '0');
        if (value > (int64_t)INT_MAX + 1) {
            return false;
        }
    }
    value = negative ? -value : value;
    if (i == 0 || value > INT_MAX) {
        return false;
    }
    *s = from(rest, i);
    *ret = (int)value;
    return true;
}

static bool take_type(struct slice *s, struct mtree_line *line)
{
    static const struct {
        struct slice word;
        enum mtree_type type;
    } types[] = {
        {{"ramd)", 5}, MTREE_RAM_DEVICE}, {{"romd)", 5}, MTREE_ROM_DEVICE}, {{"ram)", 4}, MTREE_RAM},
        {{"rom)", 4}, MTREE_ROM},         {{"i/o)", 4}, MTREE_IO},
    };
    line->nonvolatile = take(s, SLICE("nv-"));
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (take(s, types[i].word)) {
            line->type = types[i].type;
            return true;
        }
    }
    return false;
}

/* --- the end of a region's line: each cuts what it reads off the back -------------------------------------- */

/* " WORD:{...}" at the end: what is in the braces. */
static bool cut_braced(struct slice *s, struct slice word, struct slice *ret)
{
    if (!slice_ends(*s, SLICE("}"))) {
        return false;
    }
    for (size_t i = s->length - 1; i > 0; i--) {
        struct slice rest = from(*s, i);
        if (slice_begins(rest, word)) {
            *ret = (struct slice){rest.start + word.length, rest.length - word.length - 1};
            *s = until(*s, i);
            return true;
        }
    }
    return false;
}

static void cut_owner(struct slice *s, struct mtree_line *line)
{
    if (cut_braced(s, SLICE(" owner:{"), &line->owner)) {
        line->says_owner = true;
    } else if (cut_braced(s, SLICE(" parent:{"), &line->owner)) {
        line->says_owner = line->is_parent = true;
    } else if (slice_ends(*s, SLICE(" orphan"))) {
        line->says_owner = true;
        *s = until(*s, s->length - (sizeof " orphan" - 1));
    }
}

static void cut_disabled(struct slice *s, struct mtree_line *line)
{
    line->enabled = !slice_ends(*s, SLICE(" [disabled]"));
    if (!line->enabled) {
        *s = until(*s, s->length - (sizeof " [disabled]" - 1));
    }
}

/* "alias NAME @TARGET FIRST-LAST": names may have anything in them, so from the end. */
static bool take_alias(struct slice s, struct mtree_line *line)
{
    struct mv_range shown;
    if (!take(&s, SLICE("alias ")) || s.length < RANGE_CHARS + 3) {
        return false;
    }
    struct slice tail = from(s, s.length - RANGE_CHARS);
    s = until(s, s.length - RANGE_CHARS);
    if (!take_range(&tail, &shown) || !slice_ends(s, SLICE(" "))) {
        return false;
    }
    s = until(s, s.length - 1);
    for (size_t i = s.length; i-- > 0;) {
        struct slice rest = from(s, i);
        if (slice_begins(rest, SLICE(" @"))) {
            line->name = until(s, i);
            line->target = from(rest, 2);
            line->target_first = shown.first;
            line->is_alias = shown.last - shown.first == line->range.last - line->range.first;
            return line->is_alias;
        }
    }
    return false;
}

static bool parse_region(struct slice s, struct mtree_line *line, const char **ret_why)
{
    size_t spaces = 0;
    while (take(&s, SLICE("[DETECTED OVERFLOW!] "))) {}
    for (; spaces < s.length && s.start[spaces] == ' '; spaces++) {}
    if (spaces == 0 || spaces % 2 != 0) {
        *ret_why = "neither a heading nor a region: regions are indented by two spaces a level";
        return false;
    }
    s = from(s, spaces);
    line->kind = MTREE_LINE_REGION;
    line->level = (unsigned)(spaces / 2);
    if (!take_range(&s, &line->range)) {
        *ret_why = "a region begins with FIRST-LAST, of 16 hexadecimal digits each";
        return false;
    }
    if (!take(&s, SLICE(" (prio ")) || !take_int(&s, &line->priority) || !take(&s, SLICE(", "))) {
        *ret_why = "(prio N, TYPE) should follow the addresses";
        return false;
    }
    if (!take_type(&s, line) || !take(&s, SLICE(": "))) {
        *ret_why = "the type is none of ram, rom, romd, ramd and i/o";
        return false;
    }
    cut_owner(&s, line);
    cut_disabled(&s, line);
    if (!take_alias(s, line)) {
        line->name = s;
    }
    return true;
}

static bool has_control_character(struct slice s)
{
    for (size_t i = 0; i < s.length; i++) {
        if ((unsigned char)s.start[i] < ' ' || s.start[i] == 0x7f) {
            return true;
        }
    }
    return false;
}

static bool parse_heading(struct slice s, struct mtree_line *line)
{
    if (take(&s, SLICE("address-space: "))) {
        line->kind = MTREE_LINE_SPACE;
    } else if (take(&s, SLICE("memory-region: "))) {
        line->kind = MTREE_LINE_TARGET;
    } else if (take(&s, SLICE("FlatView #"))) {
        line->kind = MTREE_LINE_FLAT;
    } else {
        return false;
    }
    line->name = s;
    return true;
}

/* Names may have quotes in them, and roots too; roots seldom do. */
static bool parse_view_of(struct slice s, struct mtree_line *line)
{
    static const struct slice end = {"\", root: ", 9};
    if (!take(&s, SLICE(" AS \""))) {
        return false;
    }
    for (size_t i = s.length; i-- > 0;) {
        if (slice_begins(from(s, i), end)) {
            line->kind = MTREE_LINE_AS;
            line->name = until(s, i);
            return true;
        }
    }
    return false;
}

bool mtree_line_parse(struct slice text, struct mtree_line *ret, const char **ret_why)
{
    *ret = (struct mtree_line){.enabled = true};
    if (slice_ends(text, SLICE("\r"))) {
        text.length--;
    }
    if (text.length == 0) {
        return true;
    }
    /* What a monitor says besides: its prompt, on which it plays with the cursor, and its name. */
    if (slice_begins(text, SLICE("(qemu)")) || slice_begins(text, SLICE("QEMU "))) {
        ret->kind = MTREE_LINE_OTHER;
        return true;
    }
    if (text.length > LINE_MAX_CHARS) {
        *ret_why = "it is longer than 4096 characters";
        return false;
    }
    if (has_control_character(text)) {
        *ret_why = "it has a control character";
        return false;
    }
    return parse_heading(text, ret) || parse_view_of(text, ret) || parse_region(text, ret, ret_why);
}

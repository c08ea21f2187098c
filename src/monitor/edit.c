// SPDX-License-Identifier: MIT
#include "monitor/edit.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "monitor/channel.h"

#define HISTORY_LINES 200

static char *prompt(EditLine *edit)
{
    (void)edit;
    return (char *)HMP_PROMPT; /* libedit does not write to it */
}

/* libedit reads characters, and waits for them, through this. */
static int get_char(EditLine *edit, wchar_t *ret)
{
    struct channel *channel = NULL;
    mbstate_t state = {0};
    el_get(edit, EL_CLIENTDATA, &channel);
    for (;;) {
        char byte;
        wchar_t wide;
        if (!channel_wait(channel, STDIN_FILENO, POLLIN)) {
            return 0;
        }
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n <= 0) {
            return n < 0 && errno == EINTR ? -1 : 0;
        }
        size_t used = mbrtowc(&wide, &byte, 1, &state);
        if (used == (size_t)-2) {
            continue; /* the rest of it follows */
        }
        *ret = used == (size_t)-1 ? L'?' : wide;
        return 1;
    }
}

/* The terminal as libedit wants it: streams of its own, which nobody else closes. */
struct terminal {
    FILE *in, *out, *err;
};

static FILE *copy_stream(int fd, const char *mode)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    FILE *stream = copy >= 0 ? fdopen(copy, mode) : NULL;
    if (!stream && copy >= 0) {
        close(copy);
    }
    return stream;
}

static void terminal_finish(struct terminal *terminal)
{
    FILE *const streams[] = {terminal->in, terminal->out, terminal->err};
    for (size_t i = 0; i < 3; i++) {
        if (streams[i]) {
            fclose(streams[i]);
        }
    }
}

static bool terminal_init(struct terminal *terminal)
{
    terminal->in = copy_stream(STDIN_FILENO, "r");
    terminal->out = copy_stream(STDOUT_FILENO, "w");
    terminal->err = copy_stream(STDOUT_FILENO, "w");
    if (terminal->in && terminal->out && terminal->err) {
        return true;
    }
    terminal_finish(terminal);
    return false;
}

/* Between two lines the terminal is as it was before: what is printed there is plain output. */
static void print(struct channel *channel, const struct text *text)
{
    size_t done = 0;
    while (done < text->length && channel_wait(channel, STDOUT_FILENO, POLLOUT)) {
        size_t length = text->length - done < 4096 ? text->length - done : 4096;
        ssize_t n = write(STDOUT_FILENO, text->bytes + done, length);
        if (n < 0 && errno != EINTR) {
            return;
        }
        done += n > 0 ? (size_t)n : 0;
    }
}

static void do_line(struct channel *channel, const char *line)
{
    struct text out;
    text_init(&out, COMMAND_TEXT_MAX);
    hmp_line(&channel->hmp.session, line, &out);
    print(channel, &out);
    text_finish(&out);
}

static bool is_blank(const char *line)
{
    return line[strspn(line, " \t\n")] == '\0';
}

static void loop(struct channel *channel, EditLine *edit, History *lines)
{
    HistEvent event;
    int length;
    const char *line;
    while (!atomic_load(&channel->ending) && !atomic_load(&channel->monitor->quitting) &&
           (line = el_gets(edit, &length)) && length > 0) {
        if (!is_blank(line) && (size_t)length < HMP_LINE_MAX) {
            history(lines, &event, H_ENTER, line);
            do_line(channel, line);
        }
    }
}

bool edit_serve(struct channel *channel)
{
    struct terminal terminal;
    HistEvent event;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || !terminal_init(&terminal)) {
        return false;
    }
    EditLine *edit = el_init("memvirt", terminal.in, terminal.out, terminal.err);
    History *lines = history_init();
    if (edit && lines) {
        struct text greeting;
        history(lines, &event, H_SETSIZE, HISTORY_LINES);
        history(lines, &event, H_SETUNIQUE, 1);
        el_set(edit, EL_CLIENTDATA, channel);
        el_set(edit, EL_PROMPT, prompt);
        el_set(edit, EL_EDITOR, "emacs");
        el_set(edit, EL_HIST, history, lines);
        el_set(edit, EL_GETCFN, get_char);
        hmp_init(&channel->hmp, channel->monitor, false);
        text_init(&greeting, CHANNEL_QUEUE_FULL);
        text_print(&greeting, "memvirt %s monitor - type 'help' for more information\n", mv_version());
        print(channel, &greeting);
        text_finish(&greeting);
        loop(channel, edit, lines);
        hmp_finish(&channel->hmp);
    }
    if (lines) {
        history_end(lines);
    }
    if (edit) {
        el_end(edit);
    }
    terminal_finish(&terminal);
    return edit && lines;
}

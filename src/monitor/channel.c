// SPDX-License-Identifier: MIT
#include "monitor/channel.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "monitor/edit.h"
#include "vm/gate.h"

/* As much as a pipe that poll(2) calls writable takes without waiting: stdout is not ours to make non-blocking. */
#define WRITE_SIZE 4096
#define QUEUE_MAX (4 * COMMAND_TEXT_MAX)

/* --- the queue --------------------------------------------------------------------------------- */

static void wake(struct channel *channel)
{
    uint64_t one = 1;
    ssize_t n = write(channel->wake_fd, &one, sizeof one);
    (void)n; /* it fails only when it is at its maximum: awake */
}

static size_t queued(struct channel *channel)
{
    pthread_mutex_lock(&channel->lock);
    size_t length = channel->queue.length;
    pthread_mutex_unlock(&channel->lock);
    return length;
}

static void enqueue(struct channel *channel, const struct text *text)
{
    pthread_mutex_lock(&channel->lock);
    text_add(&channel->queue, text->bytes, text->length);
    pthread_mutex_unlock(&channel->lock);
}

void channel_event(struct channel *channel, const char *name, const char *data)
{
    struct text line;
    if (channel->protocol != MV_MONITOR_QMP) {
        return;
    }
    text_init(&line, CHANNEL_QUEUE_FULL);
    qmp_print_event(name, data, &line);
    pthread_mutex_lock(&channel->lock);
    if (channel->takes_events && channel->queue.length < CHANNEL_QUEUE_FULL) {
        text_add(&channel->queue, line.bytes, line.length);
    } else if (channel->takes_events) {
        channel->dropped_events++;
    }
    pthread_mutex_unlock(&channel->lock);
    text_finish(&line);
    wake(channel);
}

/* Write what can be written at once. False: the client is gone. */
static bool write_some(struct channel *channel)
{
    char piece[WRITE_SIZE];
    pthread_mutex_lock(&channel->lock);
    size_t length = channel->queue.length < sizeof piece ? channel->queue.length : sizeof piece;
    if (length > 0) {
        memcpy(piece, channel->queue.bytes, length);
    }
    pthread_mutex_unlock(&channel->lock);
    if (length == 0) {
        return true;
    }
    ssize_t n = channel->listen_fd >= 0 ? send(channel->out_fd, piece, length, MSG_NOSIGNAL)
                                        : write(channel->out_fd, piece, length);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    pthread_mutex_lock(&channel->lock);
    text_drop(&channel->queue, (size_t)n);
    if (channel->queue.length == 0) {
        text_finish(&channel->queue);
    }
    pthread_mutex_unlock(&channel->lock);
    return true;
}

/* Before another command, which may let the guest go on and print: write as much as is taken without waiting. A
 * client that is gone is found by serve. */
static void write_ready(struct channel *channel)
{
    struct pollfd fd = {.fd = channel->out_fd, .events = POLLOUT};
    bool there = true;
    while (there && queued(channel) > 0 && poll(&fd, 1, 0) > 0 && (fd.revents & POLLOUT)) {
        there = write_some(channel);
    }
}

/* --- a client ---------------------------------------------------------------------------------- */

static void client_begin(struct channel *channel, int in_fd, int out_fd)
{
    struct text greeting;
    channel->in_fd = in_fd;
    channel->out_fd = out_fd;
    channel->at_end = false;
    channel->input_begin = channel->input_end = 0;
    text_init(&greeting, CHANNEL_QUEUE_FULL);
    if (channel->protocol == MV_MONITOR_HMP) {
        hmp_init(&channel->hmp, channel->monitor, channel->listen_fd >= 0);
        hmp_greet(&channel->hmp, &greeting);
    } else {
        qmp_init(&channel->qmp, channel->monitor);
        qmp_greet(&greeting);
    }
    enqueue(channel, &greeting);
    text_finish(&greeting);
}

static void client_end(struct channel *channel)
{
    if (channel->protocol == MV_MONITOR_HMP) {
        hmp_finish(&channel->hmp);
    } else {
        qmp_finish(&channel->qmp);
    }
    if (channel->listen_fd >= 0) {
        close(channel->in_fd);
    }
    channel->in_fd = channel->out_fd = -1;
    pthread_mutex_lock(&channel->lock);
    channel->takes_events = false;
    channel->dropped_events = 0;
    text_finish(&channel->queue);
    pthread_mutex_unlock(&channel->lock);
}

/* Whether a command may be begun. */
static bool may_work(struct channel *channel)
{
    return channel->input_begin < channel->input_end && queued(channel) < CHANNEL_QUEUE_FULL;
}

/* One command, or what there is of one. */
static void work(struct channel *channel)
{
    const char *bytes = channel->input + channel->input_begin;
    size_t length = channel->input_end - channel->input_begin;
    struct text out;
    text_init(&out, QUEUE_MAX);
    if (channel->protocol == MV_MONITOR_HMP) {
        channel->input_begin += hmp_take(&channel->hmp, bytes, length, &out);
    } else {
        channel->input_begin += qmp_take(&channel->qmp, bytes, length, &out);
    }
    enqueue(channel, &out);
    text_finish(&out);
    if (channel->protocol == MV_MONITOR_QMP) {
        pthread_mutex_lock(&channel->lock);
        channel->takes_events = channel->qmp.negotiated;
        pthread_mutex_unlock(&channel->lock);
    }
}

static bool read_some(struct channel *channel)
{
    ssize_t n = read(channel->in_fd, channel->input, sizeof channel->input);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    channel->at_end = n == 0;
    channel->input_begin = 0;
    channel->input_end = (size_t)n;
    return true;
}

/* --- the thread -------------------------------------------------------------------------------- */

static void drain_wake(struct channel *channel)
{
    uint64_t count;
    ssize_t n = read(channel->wake_fd, &count, sizeof count);
    (void)n;
}

bool channel_wait(struct channel *channel, int fd, short events)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = channel->wake_fd, .events = POLLIN}, {.fd = fd, .events = events}};
        if (atomic_load(&channel->ending)) {
            return false;
        }
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            return false;
        }
        if (fds[0].revents) {
            drain_wake(channel);
        }
        if (fds[1].revents) {
            return true;
        }
    }
}

/* Serve the client until something is to be decided again. False: it is gone. */
static bool serve(struct channel *channel)
{
    if (may_work(channel)) {
        write_ready(channel);
        work(channel);
        return true;
    }
    bool input_used = channel->input_begin == channel->input_end;
    short in = input_used && !channel->at_end && queued(channel) < CHANNEL_QUEUE_FULL ? POLLIN : 0;
    short out = queued(channel) > 0 ? POLLOUT : 0;
    if (channel->at_end && !out) {
        return false;
    }
    struct pollfd fds[3] = {
        {.fd = channel->wake_fd, .events = POLLIN},
        {.fd = in ? channel->in_fd : -1, .events = in},
        {.fd = channel->out_fd, .events = out},
    };
    if (poll(fds, 3, -1) < 0) {
        return errno == EINTR;
    }
    if (fds[0].revents) {
        drain_wake(channel);
    }
    if ((fds[1].revents && !read_some(channel)) || (out && fds[2].revents && !write_some(channel))) {
        return false;
    }
    return out || !(fds[2].revents & (POLLERR | POLLNVAL)); /* hung up, and nothing to send: reading tells */
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* What is queued at the end, if the client takes it soon. */
static void flush_queue(struct channel *channel)
{
    uint64_t deadline = now_ns() + CHANNEL_FLUSH_NS;
    uint64_t now = now_ns();
    bool there = true;
    while (there && queued(channel) > 0 && now < deadline) {
        struct pollfd fd = {.fd = channel->out_fd, .events = POLLOUT};
        if (poll(&fd, 1, (int)((deadline - now) / 1000000) + 1) > 0) {
            there = write_some(channel);
        }
        now = now_ns();
    }
}

static void accept_client(struct channel *channel)
{
    if (channel_wait(channel, channel->listen_fd, POLLIN)) {
        int fd = accept4(channel->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            client_begin(channel, fd, fd);
        } else if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
            struct pollfd nothing = {.fd = channel->wake_fd, .events = POLLIN};
            poll(&nothing, 1, 100); /* out of descriptors, perhaps: not in a tight loop */
        }
    }
}

static void serve_sockets(struct channel *channel)
{
    while (!atomic_load(&channel->ending)) {
        if (channel->in_fd < 0) {
            accept_client(channel);
        } else if (!serve(channel)) {
            client_end(channel);
        }
    }
    if (channel->in_fd >= 0) {
        flush_queue(channel);
        client_end(channel);
    }
}

static void serve_stdio(struct channel *channel)
{
    bool there = true;
    client_begin(channel, STDIN_FILENO, STDOUT_FILENO);
    while (there && !atomic_load(&channel->ending)) {
        there = serve(channel);
    }
    if (there) {
        flush_queue(channel);
    }
    client_end(channel);
}

static void *channel_thread(void *opaque)
{
    struct channel *channel = opaque;
    pthread_setname_np(pthread_self(), "mv-monitor");
    if (channel->listen_fd >= 0) {
        serve_sockets(channel);
    } else if (!edit_serve(channel)) {
        serve_stdio(channel);
    }
    return NULL;
}

/* --- making and ending ------------------------------------------------------------------------- */

static int open_channel(struct channel *channel, struct mv_error *err)
{
    channel->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (channel->wake_fd < 0) {
        return error_host(err, error_errno(), channel->address.name, "%s", channel->address.name);
    }
    if (channel->address.kind != ADDRESS_STDIO) {
        channel->listen_fd = address_listen(&channel->address, &channel->file, err);
        if (channel->listen_fd < 0) {
            return channel->listen_fd;
        }
    }
    sigset_t before;
    gate_block_signals(&before); /* for the thread to begin with: they are the application's business */
    int rc = -pthread_create(&channel->thread, NULL, channel_thread, channel);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc < 0 ? error_host(err, rc, channel->address.name, "%s: no thread can be made", channel->address.name)
                  : 0;
}

static void free_channel(struct channel *channel)
{
    if (channel->listen_fd >= 0) {
        address_remove(&channel->address, &channel->file);
        close(channel->listen_fd);
    }
    if (channel->wake_fd >= 0) {
        close(channel->wake_fd);
    }
    text_finish(&channel->queue);
    pthread_mutex_destroy(&channel->lock);
    free(channel);
}

int channel_create(struct mv_monitor *monitor, enum mv_monitor_protocol protocol, const char *address,
                   struct channel **ret, struct mv_error *err)
{
    struct channel *channel = calloc(1, sizeof *channel);
    if (!channel) {
        return error_set(err, -ENOMEM, "no-memory", address, "monitor: out of memory");
    }
    channel->monitor = monitor;
    channel->protocol = protocol;
    channel->listen_fd = channel->wake_fd = channel->in_fd = channel->out_fd = -1;
    pthread_mutex_init(&channel->lock, NULL);
    text_init(&channel->queue, QUEUE_MAX);
    int rc = address_parse(address, &channel->address, err);
    if (rc == 0) {
        rc = open_channel(channel, err);
    }
    if (rc < 0) {
        free_channel(channel);
        return rc;
    }
    *ret = channel;
    return 0;
}

void channel_end(struct channel *channel)
{
    atomic_store(&channel->ending, true);
    wake(channel);
}

void channel_join(struct channel *channel)
{
    pthread_join(channel->thread, NULL);
}

void channel_destroy(struct channel *channel)
{
    free_channel(channel);
}

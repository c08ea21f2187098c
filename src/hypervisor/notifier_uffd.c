// SPDX-License-Identifier: MIT
#include "hypervisor/notifier_uffd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "hypervisor/notifier.h"

#define EVENTS (UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP)

/* Owned by who made it; the thread borrows it until it is joined. */
struct hv_uffd {
    struct hv_vm *vm;
    int fd, stop; /* the userfaultfd; an eventfd that ends the thread */
    pthread_t thread;
    atomic_uint_fast64_t events;
};

static void went_away(struct hv_uffd *u, uint64_t first, uint64_t last)
{
    struct mv_range hva = {first, last};
    hv_notifier_begin(u->vm, hva);
    hv_notifier_end(u->vm, hva);
    atomic_fetch_add_explicit(&u->events, 1, memory_order_release);
}

static void carry_out(struct hv_uffd *u, const struct uffd_msg *m)
{
    switch (m->event) {
    case UFFD_EVENT_REMOVE:
    case UFFD_EVENT_UNMAP: went_away(u, m->arg.remove.start, m->arg.remove.end - 1); break;
    case UFFD_EVENT_REMAP: went_away(u, m->arg.remap.from, m->arg.remap.from + m->arg.remap.len - 1); break;
    default: break; /* nothing is write-protected, so there is no fault to serve */
    }
}

static void *run(void *opaque)
{
    struct hv_uffd *u = opaque;
    struct pollfd fds[2] = {{.fd = u->fd, .events = POLLIN}, {.fd = u->stop, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0) {
            continue; /* nothing was written to `revents` */
        }
        if (fds[0].revents & (POLLERR | POLLNVAL)) {
            return NULL;
        }
        struct uffd_msg m;
        while (read(u->fd, &m, sizeof(m)) == (ssize_t)sizeof(m)) {
            carry_out(u, &m);
        }
        if (fds[1].revents) {
            return NULL;
        }
    }
}

/* One that every kernel which has it gives to root, and to others by vm.unprivileged_userfaultfd. */
static int open_uffd(void)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return error_errno();
    }
    struct uffdio_api api = {.api = UFFD_API, .features = EVENTS};
    if (ioctl(fd, UFFDIO_API, &api) < 0) {
        int rc = error_errno();
        close(fd);
        return rc;
    }
    return fd;
}

/* No signal of the application is handled in it. */
static int start_thread(struct hv_uffd *u)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = -pthread_create(&u->thread, NULL, run, u);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

int hv_uffd_create(struct hv_vm *vm, struct hv_uffd **ret)
{
    struct hv_uffd *u = calloc(1, sizeof(*u));
    if (!u) {
        return -ENOMEM;
    }
    u->vm = vm;
    int rc = u->fd = open_uffd();
    if (rc < 0) {
        goto no_fd;
    }
    rc = u->stop = eventfd(0, EFD_CLOEXEC);
    if (rc < 0) {
        rc = error_errno();
        goto no_stop;
    }
    rc = start_thread(u);
    if (rc < 0) {
        goto no_thread;
    }
    *ret = u;
    return 0;

no_thread:
    close(u->stop);
no_stop:
    close(u->fd);
no_fd:
    free(u);
    return rc;
}

void hv_uffd_destroy(struct hv_uffd *u)
{
    ssize_t written = write(u->stop, &(uint64_t){1}, sizeof(uint64_t));
    assert(written == (ssize_t)sizeof(uint64_t));
    (void)written;
    pthread_join(u->thread, NULL);
    close(u->stop);
    close(u->fd);
    free(u);
}

static struct uffdio_range range_of(struct mv_range hva)
{
    return (struct uffdio_range){.start = hva.first, .len = hva.last - hva.first + 1};
}

/* Write-protection that nobody asks for: the mode that lets all faults through. */
int hv_uffd_watch(struct hv_uffd *u, struct mv_range hva)
{
    struct uffdio_register r = {.range = range_of(hva), .mode = UFFDIO_REGISTER_MODE_WP};
    return ioctl(u->fd, UFFDIO_REGISTER, &r) < 0 ? error_errno() : 0;
}

void hv_uffd_unwatch(struct hv_uffd *u, struct mv_range hva)
{
    struct uffdio_range r = range_of(hva);
    (void)ioctl(u->fd, UFFDIO_UNREGISTER, &r);
}

uint64_t hv_uffd_events(const struct hv_uffd *u)
{
    return atomic_load_explicit(&u->events, memory_order_acquire);
}

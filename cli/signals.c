// SPDX-License-Identifier: MIT
#include "signals.h"

#include <stdbool.h>
#include <stdio.h>

#include <memvirt/vm.h>

#include "command.h"

/* As if the signal had never been blocked. */
static void die_of(int signal_number)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal_number);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* False: there is none that was not asked before. */
static bool stop_vm(struct signals *signals, int signal_number)
{
    char text[64];
    snprintf(text, sizeof text, "stopped by %s", signal_number == SIGINT ? "SIGINT" : "SIGTERM");
    pthread_mutex_lock(&signals->lock);
    struct mv_vm *vm = signals->vm;
    if (vm) {
        mv_vm_stop(vm, MV_STOP_REQUEST, CLI_SIGNAL + signal_number, text);
    }
    signals->vm = NULL;
    pthread_mutex_unlock(&signals->lock);
    return vm != NULL;
}

static void *watch(void *opaque)
{
    struct signals *signals = opaque;
    int signal_number;
    while (sigwait(&signals->set, &signal_number) == 0) {
        if (!stop_vm(signals, signal_number)) {
            die_of(signal_number);
        }
    }
    return NULL;
}

static void add_unless_ignored(sigset_t *set, int signal_number)
{
    struct sigaction action;
    if (sigaction(signal_number, NULL, &action) == 0 && action.sa_handler != SIG_IGN) {
        sigaddset(set, signal_number);
    }
}

int signals_init(struct signals *signals)
{
    *signals = (struct signals){.vm = NULL};
    sigemptyset(&signals->set);
    add_unless_ignored(&signals->set, SIGINT);
    add_unless_ignored(&signals->set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals->set, NULL);
    pthread_mutex_init(&signals->lock, NULL);
    const int error = pthread_create(&signals->thread, NULL, watch, signals);
    if (error != 0) {
        pthread_mutex_destroy(&signals->lock);
        pthread_sigmask(SIG_UNBLOCK, &signals->set, NULL);
    }
    return -error;
}

void signals_finish(struct signals *signals)
{
    pthread_cancel(signals->thread); /* acts in sigwait() */
    pthread_join(signals->thread, NULL);
    pthread_mutex_destroy(&signals->lock);
    pthread_sigmask(SIG_UNBLOCK, &signals->set, NULL);
}

void signals_connect(struct signals *signals, struct mv_vm *vm)
{
    pthread_mutex_lock(&signals->lock);
    signals->vm = vm;
    pthread_mutex_unlock(&signals->lock);
}

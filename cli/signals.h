// SPDX-License-Identifier: MIT
/*
 * SIGINT and SIGTERM, taken by a thread of their own: the first asks the VM to stop, so that there is a report; if
 * there is no VM to ask, or it was asked before, the signal ends the process as if nobody had caught it.
 */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include <pthread.h>
#include <signal.h>

struct mv_vm;

/* `lock` protects `vm`, and is held while the VM is asked to stop: after signals_connect() no other VM is in use.
 */
struct signals {
    pthread_mutex_t lock;
    struct mv_vm *vm; /* borrowed; NULL: none */
    sigset_t set;
    pthread_t thread;
};

/*
 * Before any other thread is made, as those inherit the blocked signals. What the caller ignores (nohup, a shell's
 * background jobs) stays ignored. Returns 0 or a negative errno.
 */
int signals_init(struct signals *signals);
void signals_finish(struct signals *signals);

/* Which VM the first signal stops, with status 128 + its number; NULL: none any more. */
void signals_connect(struct signals *signals, struct mv_vm *vm);

#endif

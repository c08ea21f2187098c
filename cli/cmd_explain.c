// SPDX-License-Identifier: MIT
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "explain.h"
#include "json.h"
#include "message.h"
#include "progress.h"
#include "replay_options.h"
#include "size.h"

static const char help[] =
    "usage: memvirt explain --replay SOURCE [OPTION]... GVA...\n"
    "       memvirt explain --qmp ADDRESS [OPTION]... GVA...\n"
    "\n"
    "Say where guest virtual addresses lead, of a guest that is replayed as 'memvirt replay' does, or of one that runs:\n"
    "each entry of the guest's page tables, for each of them and for the page the entries of EPT or NPT, the slot, the\n"
    "region and the aliases on the way to it, the host's addresses; the shadow tables in place of the guest's; what\n"
    "becomes of an access, and the rule that it breaks if it is refused. Looking changes nothing: no accessed or dirty\n"
    "bit, no table.\n"
    "\n"
    "      --replay SOURCE     a trace or a generator; 'memvirt replay --help' has them\n"
    "      --qmp ADDRESS       a running guest's monitor, as of 'memvirt run --qmp': unix:PATH or tcp:127.0.0.1:PORT\n"
    "      --access KIND       read, write or fetch (read)\n"
    "      --user              by a user: CPL 3\n"
    "      --supervisor        by a supervisor: CPL 0\n"
    "      --implicit          by the processor itself, as to a descriptor table; without these: by whoever runs\n"
    "      --format FORM       text or json (text)\n"
    "  -h, --help              print this text\n"
    "\n"
    "Of a replayed guest:\n"
    "      --refs N            replay so many references of it (all)\n"
    "      --process ID        the guest's process that is meant (the one that runs at the end)\n"
    "      --mmu SCHEME        native, ept, npt, shadow or hybrid (ept)\n"
    "      --host-page SIZE    largest page of the hypervisor's tables: 4K, 2M or 1G (4K)\n"
    "      --guest-page SIZE   of the guest's pages: 4K, 2M or 1G (4K)\n"
    "      --levels N          of all page tables: 4 or 5 (4)\n"
    "      --memory SIZE       of the guest, a multiple of 1G (16G)\n"
    "\n"
    "Exit status: 0, also for an access that is refused; 2 if the command line is wrong; 4 if SOURCE cannot be read or\n"
    "is no trace, or has no such process, or no monitor answers; 6 if the output cannot be written.\n";

enum {
    OPTION_REPLAY = 256,
    OPTION_QMP,
    OPTION_REFS,
    OPTION_PROCESS,
    OPTION_ACCESS,
    OPTION_USER,
    OPTION_SUPERVISOR,
    OPTION_IMPLICIT,
    OPTION_MMU,
    OPTION_HOST_PAGE,
    OPTION_GUEST_PAGE,
    OPTION_LEVELS,
    OPTION_MEMORY,
    OPTION_FORMAT,
};

static const struct option options[] = {
    {"replay", required_argument, NULL, OPTION_REPLAY},
    {"qmp", required_argument, NULL, OPTION_QMP},
    {"refs", required_argument, NULL, OPTION_REFS},
    {"process", required_argument, NULL, OPTION_PROCESS},
    {"access", required_argument, NULL, OPTION_ACCESS},
    {"user", no_argument, NULL, OPTION_USER},
    {"supervisor", no_argument, NULL, OPTION_SUPERVISOR},
    {"implicit", no_argument, NULL, OPTION_IMPLICIT},
    {"mmu", required_argument, NULL, OPTION_MMU},
    {"host-page", required_argument, NULL, OPTION_HOST_PAGE},
    {"guest-page", required_argument, NULL, OPTION_GUEST_PAGE},
    {"levels", required_argument, NULL, OPTION_LEVELS},
    {"memory", required_argument, NULL, OPTION_MEMORY},
    {"format", required_argument, NULL, OPTION_FORMAT},
    {"help", no_argument, NULL, 'h'},
    {0},
};

struct request {
    bool help, is_json;
    const char *source, *qmp; /* one of them */
    bool is_replays;          /* an option is there that means nothing to a running guest */
    uint64_t refs;            /* at most */
    bool has_process;
    uint64_t process;
    struct mv_asked asked;
    struct mv_replay_options options;
    char **gvas; /* as they were given */
    size_t count;
};

/* --- the command line -------------------------------------------------------------------------------------- */

/* The index of `text` in a list that NULL ends, or -1. */
static int index_of(const char *text, const char *const *words)
{
    for (int i = 0; words[i]; i++) {
        if (strcmp(text, words[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static int parse_word(struct request *request, int c, const char *value)
{
    static const char *const accesses[] = {"read", "write", "fetch", NULL};
    static const char *const schemes[] = {"native", "ept", "npt", "shadow", "hybrid", NULL};
    static const char *const forms[] = {"text", "json", NULL};
    if (c == OPTION_ACCESS) {
        int i = index_of(value, accesses);
        request->asked.access = (enum mv_access)(i < 0 ? 0 : i);
        return i >= 0 ? CLI_OK : usage_error("explain", "--access %s: not read, write or fetch", value);
    }
    if (c == OPTION_MMU) {
        request->options.mmu = value;
        return index_of(value, schemes) >= 0
                   ? CLI_OK
                   : usage_error("explain", "--mmu %s: not native, ept, npt, shadow or hybrid", value);
    }
    int form = index_of(value, forms);
    request->is_json = form == 1;
    if (request->is_json && !json_is_built_in()) {
        say("--format json: this memvirt was built without jansson");
        return CLI_USAGE;
    }
    return form >= 0 ? CLI_OK : usage_error("explain", "--format %s: not text or json", value);
}

static int parse_number(const char *option, const char *value, uint64_t *ret)
{
    return number_parse(value, UINT64_MAX, ret) ? CLI_OK
                                                : usage_error("explain", "%s %s: not a number", option, value);
}

static int parse_option(struct request *request, int c, char **argv)
{
    static const int replays[] = {OPTION_REFS,       OPTION_PROCESS, OPTION_MMU,   OPTION_HOST_PAGE,
                                  OPTION_GUEST_PAGE, OPTION_LEVELS,  OPTION_MEMORY};
    for (size_t i = 0; i < sizeof replays / sizeof replays[0]; i++) {
        request->is_replays = request->is_replays || c == replays[i];
    }
    switch (c) {
    case 'h': request->help = true; return CLI_OK;
    case OPTION_QMP: request->qmp = optarg; return CLI_OK;
    case OPTION_REPLAY: request->source = optarg; return CLI_OK;
    case OPTION_REFS: return parse_number("--refs", optarg, &request->refs);
    case OPTION_PROCESS: request->has_process = true; return parse_number("--process", optarg, &request->process);
    case OPTION_USER: request->asked.who = MV_WHO_USER; return CLI_OK;
    case OPTION_SUPERVISOR: request->asked.who = MV_WHO_SUPERVISOR; return CLI_OK;
    case OPTION_IMPLICIT: request->asked.who = MV_WHO_IMPLICIT; return CLI_OK;
    case OPTION_HOST_PAGE: return replay_parse_page("explain", "--host-page", optarg, &request->options.host_page);
    case OPTION_GUEST_PAGE:
        return replay_parse_page("explain", "--guest-page", optarg, &request->options.guest_page);
    case OPTION_LEVELS: return replay_parse_levels("explain", optarg, &request->options);
    case OPTION_MEMORY: return replay_parse_memory("explain", optarg, &request->options);
    case OPTION_ACCESS:
    case OPTION_MMU:
    case OPTION_FORMAT: return parse_word(request, c, optarg);
    default: return option_error("explain", c, argv);
    }
}

static int parse(int argc, char **argv, struct request *ret)
{
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        int status = parse_option(ret, c, argv);
        if (status != CLI_OK || ret->help) {
            return status;
        }
    }
    if (!ret->source == !ret->qmp) {
        return usage_error("explain", ret->qmp ? "both --replay and --qmp given: there can be only one guest"
                                               : "no guest given: --replay SOURCE or --qmp ADDRESS names one");
    }
    if (ret->qmp && ret->is_replays) {
        return usage_error("explain",
                           "--qmp: only --access, --user, --supervisor, --implicit and --format go with it");
    }
    if (ret->options.host_page && strcmp(ret->options.mmu, "native") == 0) {
        return usage_error("explain", "--host-page is of a hypervisor's tables, and --mmu native has none");
    }
    if (optind == argc) {
        return usage_error("explain", "no address given");
    }
    ret->gvas = argv + optind;
    ret->count = (size_t)(argc - optind);
    for (size_t i = 0; i < ret->count; i++) {
        uint64_t gva;
        if (!number_parse(ret->gvas[i], UINT64_MAX, &gva)) {
            return usage_error("explain", "'%s' is no address: it is a number of at most 64 bits, such as 0x1000",
                               ret->gvas[i]);
        }
    }
    return CLI_OK;
}

/* --- replaying --------------------------------------------------------------------------------------------- */

struct job {
    const struct request *request;
    struct mv_trace *trace;
    struct mv_replay *replay;
    struct progress progress;
    uint64_t references;
    struct mv_chain *chains;
    size_t count; /* of chains that are there */
};

static bool is_reference(mv_trace_record_t record)
{
    return mv_trace_kind_of(record) <= MV_TRACE_MODIFY;
}

/* How many records belong to the references that are still wanted. */
static size_t wanted(struct job *job, const mv_trace_record_t *records, size_t count)
{
    size_t i = 0;
    while (i < count && !(is_reference(records[i]) && job->references == job->request->refs)) {
        job->references += is_reference(records[i]);
        i++;
    }
    return i;
}

static int replay(struct job *job, struct mv_error *err)
{
    const mv_trace_record_t *records;
    size_t count = 0, taken = 0;
    do {
        int rc = mv_trace_read(job->trace, &records, &count, err);
        taken = rc == 0 ? wanted(job, records, count) : 0;
        if (rc < 0) {
            return rc;
        }
        rc = mv_replay_feed(job->replay, records, taken, err);
        if (rc < 0) {
            return replay_name_source(job->request->source, rc, err);
        }
        progress_show(&job->progress, job->trace, job->references);
    } while (count > 0 && taken == count);
    return job->request->has_process ? mv_replay_switch(job->replay, job->request->process, err) : 0;
}

static int explain(struct job *job, struct mv_error *err)
{
    const struct request *request = job->request;
    int rc = 0;
    for (size_t i = 0; i < request->count && rc == 0; i++) {
        uint64_t gva = 0;
        (void)number_parse(request->gvas[i], UINT64_MAX, &gva);
        rc = mv_explain_access(mv_replay_vcpu(job->replay), mv_gva(gva), &request->asked, &job->chains[i], err);
        job->count += rc == 0;
    }
    return rc;
}

static int carry_out(struct job *job, struct mv_error *err)
{
    const struct request *request = job->request;
    int rc = mv_replay_create(&request->options, &job->replay, err);
    if (rc == 0) {
        rc = mv_trace_open(request->source, &job->trace, err);
    }
    if (rc == 0) {
        rc = replay(job, err);
        progress_end(&job->progress);
    }
    return rc == 0 ? explain(job, err) : rc;
}

/* --- printing ---------------------------------------------------------------------------------------------- */

static void print_line(void *opaque, const char *line)
{
    (void)opaque;
    puts(line);
}

static int print(const struct job *job)
{
    const struct explain_report report = {.source = job->request->source,
                                          .source_format = mv_trace_format(job->trace),
                                          .mmu = mv_replay_mmu(job->replay),
                                          .references = job->references,
                                          .chains = job->chains,
                                          .count = job->count};
    if (job->request->is_json) {
        if (!json_print_explain(&report)) {
            say("out of memory");
            return CLI_HOST_ERROR;
        }
        return CLI_OK;
    }
    printf("%s, after %" PRIu64 " references, under %s\n", report.source, report.references, report.mmu);
    for (size_t i = 0; i < report.count; i++) {
        puts("");
        mv_chain_print(&report.chains[i], print_line, NULL);
    }
    return CLI_OK;
}

static int run(int argc, char **argv)
{
    struct request request = {.refs = UINT64_MAX, .options.mmu = "ept"};
    struct mv_error err;
    int status = parse(argc, argv, &request);
    if (status != CLI_OK) {
        return status;
    }
    if (request.help) {
        fputs(help, stdout);
        return CLI_OK;
    }
    if (request.qmp) {
        return explain_by_qmp(&(struct explain_remote){.address = request.qmp,
                                                       .asked = request.asked,
                                                       .is_json = request.is_json,
                                                       .gvas = request.gvas,
                                                       .count = request.count});
    }
    struct job job = {.request = &request, .chains = calloc(request.count, sizeof *job.chains)};
    if (!job.chains) {
        say("out of memory");
        return CLI_HOST_ERROR;
    }
    status = carry_out(&job, &err) < 0 ? say_refusal(&err) : print(&job);
    for (size_t i = 0; i < job.count; i++) {
        mv_chain_release(&job.chains[i]);
    }
    free(job.chains);
    mv_trace_close(job.trace);
    mv_replay_destroy(job.replay);
    return status;
}

const struct command command_explain = {
    .name = "explain",
    .summary = "say where an address of a guest leads, and what rule an access breaks",
    .help = help,
    .run = run,
};

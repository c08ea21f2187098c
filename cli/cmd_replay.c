// SPDX-License-Identifier: MIT
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "json.h"
#include "message.h"
#include "progress.h"
#include "replay.h"
#include "replay_options.h"

static const char help[] =
    "usage: memvirt replay [OPTION]... SOURCE\n"
    "\n"
    "Replay a trace of memory references under several MMU schemes, and print what each has cost, side by side: TLB\n"
    "misses, references of page walks, guest faults, exits, tables, modelled cycles.\n"
    "\n"
    "SOURCE is a file, or - for the standard input: what valgrind's lackey prints,\n"
    "  valgrind --tool=lackey --trace-mem=yes --log-fd=9 PROGRAM 9>&1 >/dev/null | memvirt replay -\n"
    "or a trace in memvirt's own format (memvirt trace); or a generator, with options as in gups:size=4G,refs=1M:\n"
    "  gups        random words of size=1G, changed; refs=10M, seed=1\n"
    "  sequential  writes through size=1G in steps of stride=64; refs: one pass\n"
    "  cyclic      a word of each page of size=16M in turn, changed; refs: three passes\n"
    "  chase       a chain of pointers through all lines of size=256M; refs=10M, seed=1\n"
    "  btree       searches in a B-tree of size=1G; refs=10M, seed=1\n"
    "  fork        a process of size=64M forks processes=16 times, each child writes to a quarter of it;\n"
    "              refs: all of that, seed=1\n"
    "  switch      processes=8 of size=16M each take turns of slice=1000 references; refs=10M, seed=1\n"
    "  churn       fills size=16M, goes through it passes=1 times in all, and unmaps it; refs: 16 times that\n"
    "\n"
    "      --mmu LIST          of native, ept, npt, shadow, hybrid; or all (all)\n"
    "      --policy POLICY     of hybrid: which of the guest's tables are nested: agile (those that are written often),\n"
    "                          shadow (none), nested (all), nest-1 to nest-4 (those up to that level) (agile)\n"
    "      --tlb ARRAYS        entries x ways of the TLB (L1=64x4,L2=1536x12); also L1-2M=, L1-1G= and L2-1G=, which\n"
    "                          else share L1 and L2\n"
    "      --host-page SIZE    largest page of the hypervisor's tables: 4K, 2M or 1G (4K)\n"
    "      --guest-page SIZE   of the guest's pages: 4K, 2M or 1G (4K)\n"
    "      --levels N          of all page tables: 4 or 5 (4)\n"
    "      --walk-caches       with paging-structure caches and a nested TLB\n"
    "      --memory SIZE       of the guest, a multiple of 1G (16G); the host gives what is touched of its tables\n"
    "      --costs FILE        constants of the model: lines of NAME CYCLES SOURCE; see docs/replay.md\n"
    "      --format FORM       text, json or csv (text)\n"
    "  -h, --help              print this text\n"
    "\n"
    "Exit status: 0; 2 if the command line is wrong; 4 if SOURCE cannot be read or is no trace, or the guest's memory\n"
    "is full; 6 if the output cannot be written.\n";

enum {
    OPTION_MMU = 256,
    OPTION_POLICY,
    OPTION_TLB,
    OPTION_HOST_PAGE,
    OPTION_GUEST_PAGE,
    OPTION_LEVELS,
    OPTION_WALK_CACHES,
    OPTION_MEMORY,
    OPTION_COSTS,
    OPTION_FORMAT,
};

static const struct option options[] = {
    {"mmu", required_argument, NULL, OPTION_MMU},
    {"policy", required_argument, NULL, OPTION_POLICY},
    {"tlb", required_argument, NULL, OPTION_TLB},
    {"host-page", required_argument, NULL, OPTION_HOST_PAGE},
    {"guest-page", required_argument, NULL, OPTION_GUEST_PAGE},
    {"levels", required_argument, NULL, OPTION_LEVELS},
    {"walk-caches", no_argument, NULL, OPTION_WALK_CACHES},
    {"memory", required_argument, NULL, OPTION_MEMORY},
    {"costs", required_argument, NULL, OPTION_COSTS},
    {"format", required_argument, NULL, OPTION_FORMAT},
    {"help", no_argument, NULL, 'h'},
    {0},
};

enum form {
    FORM_TEXT,
    FORM_JSON,
    FORM_CSV,
};

static const char *const known_mmus[] = {"native", "ept", "npt", "shadow", "hybrid"};
#define KNOWN_MMUS (sizeof known_mmus / sizeof known_mmus[0])

struct request {
    bool help;
    enum form form;
    size_t count;
    const char *mmus[REPLAY_SCHEMES_MAX];
    char tlb[256];
    char hybrid[64];   /* the scheme, with its policy */
    const char *costs; /* or NULL */
    const char *source;
    struct mv_replay_options options;
};

/* --- the command line -------------------------------------------------------------------------------------- */

static int parse_mmus(struct request *request, const char *list)
{
    request->count = 0;
    if (strcmp(list, "all") == 0) {
        list = "native,ept,npt,shadow,hybrid";
    }
    while (*list) {
        size_t length = strcspn(list, ","), i = 0;
        while (i < KNOWN_MMUS && !(strlen(known_mmus[i]) == length && memcmp(known_mmus[i], list, length) == 0)) {
            i++;
        }
        if (i == KNOWN_MMUS || request->count == REPLAY_SCHEMES_MAX) {
            return usage_error("replay", "--mmu %.*s: not native, ept, npt, shadow, hybrid or all", (int)length,
                               list);
        }
        request->mmus[request->count++] = known_mmus[i];
        list += length + (list[length] == ',');
    }
    return request->count > 0 ? CLI_OK : usage_error("replay", "--mmu: it names no scheme");
}

static int parse_policy(struct request *request, const char *policy)
{
    static const char *const known[] = {"agile", "shadow", "nested", "nest-1", "nest-2", "nest-3", "nest-4"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(policy, known[i]) == 0) {
            snprintf(request->hybrid, sizeof request->hybrid, "hybrid,policy=%s", policy);
            return CLI_OK;
        }
    }
    return usage_error("replay", "--policy %s: not agile, shadow, nested or nest-1 to nest-4", policy);
}

/* The library has colons between arrays, since a comma ends a property. */
static int parse_tlb(struct request *request, const char *arrays)
{
    if (strlen(arrays) >= sizeof request->tlb || strchr(arrays, ':') || strncmp(arrays, "L1=", 3) != 0) {
        return usage_error("replay", "--tlb %.40s: not arrays as in L1=64x4,L2=1536x12", arrays);
    }
    for (size_t i = 0; i <= strlen(arrays); i++) {
        request->tlb[i] = arrays[i] == ',' ? ':' : arrays[i];
    }
    request->options.tlb = request->tlb;
    return CLI_OK;
}

static int parse_form(struct request *request, const char *text)
{
    static const char *const forms[] = {"text", "json", "csv"};
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(text, forms[i]) == 0) {
            request->form = (enum form)i;
            if (request->form == FORM_JSON && !json_is_built_in()) {
                say("--format json: this memvirt was built without jansson");
                return CLI_USAGE;
            }
            return CLI_OK;
        }
    }
    return usage_error("replay", "--format %s: not text, json or csv", text);
}

static int parse_option(struct request *request, int c, char **argv)
{
    switch (c) {
    case 'h': request->help = true; return CLI_OK;
    case OPTION_MMU: return parse_mmus(request, optarg);
    case OPTION_POLICY: return parse_policy(request, optarg);
    case OPTION_TLB: return parse_tlb(request, optarg);
    case OPTION_HOST_PAGE: return replay_parse_page("replay", "--host-page", optarg, &request->options.host_page);
    case OPTION_GUEST_PAGE:
        return replay_parse_page("replay", "--guest-page", optarg, &request->options.guest_page);
    case OPTION_LEVELS: return replay_parse_levels("replay", optarg, &request->options);
    case OPTION_WALK_CACHES: request->options.walk_caches = true; return CLI_OK;
    case OPTION_MEMORY: return replay_parse_memory("replay", optarg, &request->options);
    case OPTION_COSTS: request->costs = optarg; return CLI_OK;
    case OPTION_FORMAT: return parse_form(request, optarg);
    default: return option_error("replay", c, argv);
    }
}

static bool is_hybrid(const char *mmu)
{
    return strcmp(mmu, "hybrid") == 0;
}

static bool has_hybrid(const struct request *request)
{
    bool any = false;
    for (size_t i = 0; i < request->count; i++) {
        any = any || is_hybrid(request->mmus[i]);
    }
    return any;
}

static bool has_tables(const struct request *request)
{
    bool any = false;
    for (size_t i = 0; i < request->count; i++) {
        any = any || strcmp(request->mmus[i], "native") != 0;
    }
    return any;
}

static int parse(int argc, char **argv, struct request *ret)
{
    int c;
    opterr = 0;
    parse_mmus(ret, "all");
    while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        int status = parse_option(ret, c, argv);
        if (status != CLI_OK || ret->help) {
            return status;
        }
    }
    if (ret->hybrid[0] && !has_hybrid(ret)) {
        return usage_error("replay", "--policy is of --mmu hybrid");
    }
    if (ret->options.host_page && !has_tables(ret)) {
        return usage_error("replay", "--host-page is of a hypervisor's tables, and --mmu native has none");
    }
    if (optind == argc) {
        return usage_error("replay", "no trace given");
    }
    if (optind + 1 < argc) {
        return usage_error("replay", "unexpected '%s'", argv[optind + 1]);
    }
    ret->source = argv[optind];
    return CLI_OK;
}

/* --- replaying --------------------------------------------------------------------------------------------- */

struct job {
    const struct request *request;
    struct mv_trace *trace;
    struct mv_costs *costs;
    struct mv_replay *replays[REPLAY_SCHEMES_MAX];
    struct progress progress;
    uint64_t records;
};

static int replay_all(struct job *job, struct mv_error *err)
{
    for (;;) {
        const mv_trace_record_t *records;
        size_t count;
        int rc = mv_trace_read(job->trace, &records, &count, err);
        if (rc < 0 || count == 0) {
            return rc;
        }
        for (size_t i = 0; i < job->request->count; i++) {
            rc = mv_replay_feed(job->replays[i], records, count, err);
            if (rc < 0) {
                return replay_name_source(job->request->source, rc, err);
            }
        }
        job->records += count;
        progress_show(&job->progress, job->trace, job->records);
    }
}

static int prepare(struct job *job, struct mv_error *err)
{
    const struct request *request = job->request;
    int rc = mv_costs_load(request->costs, &job->costs, err);
    for (size_t i = 0; i < request->count && rc == 0; i++) {
        struct mv_replay_options scheme = request->options;
        bool has_policy = request->hybrid[0] && is_hybrid(request->mmus[i]);
        scheme.mmu = has_policy ? request->hybrid : request->mmus[i];
        rc = mv_replay_create(&scheme, &job->replays[i], err);
    }
    return rc == 0 ? mv_trace_open(request->source, &job->trace, err) : rc;
}

static int print(const struct job *job)
{
    const struct request *request = job->request;
    static struct replay_report report;
    report = (struct replay_report){.source = request->source,
                                    .source_format = mv_trace_format(job->trace),
                                    .options = request->options,
                                    .costs = job->costs,
                                    .count = request->count};
    for (size_t i = 0; i < request->count; i++) {
        report.columns[i].mmu = request->mmus[i];
        mv_replay_result(job->replays[i], &report.columns[i].result);
        mv_model(job->costs, &report.columns[i].result, &report.columns[i].modelled);
    }
    if (request->form == FORM_JSON && !json_print_replay(&report)) {
        say("out of memory");
        return CLI_HOST_ERROR;
    }
    if (request->form == FORM_TEXT) {
        replay_print_text(&report);
    } else if (request->form == FORM_CSV) {
        replay_print_csv(&report);
    }
    return CLI_OK;
}

static int run(int argc, char **argv)
{
    static struct request request;
    int status = parse(argc, argv, &request);
    if (status != CLI_OK) {
        return status;
    }
    if (request.help) {
        fputs(help, stdout);
        return CLI_OK;
    }
    struct job job = {.request = &request};
    struct mv_error err;
    int rc = prepare(&job, &err);
    if (rc == 0) {
        rc = replay_all(&job, &err);
        progress_end(&job.progress);
    }
    status = rc < 0 ? say_refusal(&err) : print(&job);
    mv_trace_close(job.trace);
    for (size_t i = 0; i < request.count; i++) {
        mv_replay_destroy(job.replays[i]);
    }
    mv_costs_destroy(job.costs);
    return status;
}

const struct command command_replay = {
    .name = "replay",
    .summary = "replay a trace of memory references under several MMU schemes, and count",
    .help = help,
    .run = run,
};

// SPDX-License-Identifier: MIT
#include "run_options.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "json.h"
#include "message.h"
#include "size.h"

#define DEFAULT_RAM_BYTES (UINT64_C(128) << 20)
#define VCPUS_MAX 254 /* as many as a local APIC's 8-bit IDs can name, without broadcast */

enum {
    OPERAND = 1, /* what getopt_long() calls an argument that is no option */
    OPTION_ACCEL = 256,
    OPTION_BIOS,
    OPTION_EXPLAIN,
    OPTION_FORMAT,
    OPTION_HELP, /* not the letter: an error about `--help=x` would name that */
    OPTION_MACHINE,
    OPTION_MEM_BACKEND,
    OPTION_MONITOR,
    OPTION_PAUSED,
    OPTION_QMP,
    OPTION_STATS,
    OPTION_VCPUS,
};

static const struct option long_options[] = {
    {"accel", required_argument, NULL, OPTION_ACCEL},
    {"bios", required_argument, NULL, OPTION_BIOS},
    {"explain", required_argument, NULL, OPTION_EXPLAIN},
    {"format", required_argument, NULL, OPTION_FORMAT},
    {"help", no_argument, NULL, OPTION_HELP},
    {"machine", required_argument, NULL, OPTION_MACHINE},
    {"mem-backend", required_argument, NULL, OPTION_MEM_BACKEND},
    {"monitor", required_argument, NULL, OPTION_MONITOR},
    {"paused", no_argument, NULL, OPTION_PAUSED},
    {"qmp", required_argument, NULL, OPTION_QMP},
    {"stats", required_argument, NULL, OPTION_STATS},
    {"vcpus", required_argument, NULL, OPTION_VCPUS},
    {0},
};

/* A word and what it stands for; a NULL word is last. */
struct choice {
    const char *word;
    int value;
};

static const struct choice stats_choices[] = {{"text", STATS_TEXT}, {"json", STATS_JSON}, {0}};

static const struct choice machine_choices[] = {{"minimal", MV_BOARD_MINIMAL}, {"pc", MV_BOARD_PC}, {0}};

static const struct choice format_choices[] = {
    {"auto", MV_IMAGE_AUTO},
    {"elf", MV_IMAGE_ELF},
    {"flat", MV_IMAGE_FLAT},
    {0},
};

static bool choose(const struct choice *choices, const char *word, int *ret)
{
    for (; choices->word; choices++) {
        if (strcmp(choices->word, word) == 0) {
            *ret = choices->value;
            return true;
        }
    }
    return false;
}

/* --- each option's value ----------------------------------------------------------------------- */

static int set_ram(struct run_options *options, const char *value)
{
    switch (size_parse(value, &options->ram_bytes)) {
    case SIZE_OK: return CLI_OK;
    case SIZE_ZERO: return usage_error("run", "-m %s: a guest needs some RAM", value);
    case SIZE_TOO_LARGE: return usage_error("run", "-m %s: a size must be less than 2^64 bytes", value);
    case SIZE_NOT_A_SIZE: break;
    }
    return usage_error("run", "-m %s: not a size: it is a number of MiB, or a number with K, M, G or T", value);
}

static int set_backend(struct run_options *options, const char *value)
{
    struct mem_backend backend;
    int status = mem_backend_parse(value, &backend);
    if (status == CLI_OK) {
        mem_backend_finish(&options->backend); /* of two the later one counts */
        options->backend = backend;
    }
    return status;
}

static int set_vcpus(struct run_options *options, const char *value)
{
    uint64_t vcpus;
    if (!number_parse(value, VCPUS_MAX, &vcpus) || vcpus == 0) {
        return usage_error("run", "--vcpus %s: there must be 1 to %d", value, VCPUS_MAX);
    }
    options->vcpus = (unsigned)vcpus;
    return CLI_OK;
}

static int set_stats(struct run_options *options, const char *value)
{
    int form;
    if (!choose(stats_choices, value, &form)) {
        return usage_error("run", "--stats %s: it must be text or json", value);
    }
    if (form == STATS_JSON && !json_is_built_in()) {
        say("--stats json: this memvirt was built without jansson");
        return CLI_USAGE;
    }
    options->stats = (enum stats_form)form;
    return CLI_OK;
}

static int set_format(struct run_options *options, const char *value)
{
    int format;
    if (!choose(format_choices, value, &format)) {
        return usage_error("run", "--format %s: it must be auto, elf or flat", value);
    }
    options->format = (enum mv_image_format)format;
    return CLI_OK;
}

static int set_machine(struct run_options *options, const char *value)
{
    int machine;
    if (!choose(machine_choices, value, &machine)) {
        return usage_error("run", "--machine %s: it must be minimal or pc", value);
    }
    options->machine = (enum mv_board_kind)machine;
    return CLI_OK;
}

/* There is room for as many as there are arguments. */
static int add_explain(struct run_options *options, const char *value)
{
    uint64_t gva;
    if (!number_parse(value, UINT64_MAX, &gva)) {
        return usage_error(
            "run", "--explain %s: not an address: it is a number of at most 64 bits, such as 0x1000", value);
    }
    options->explain[options->explain_count++] = mv_gva(gva);
    return CLI_OK;
}

static int set_image(struct run_options *options, const char *value)
{
    if (options->image) {
        return usage_error("run", "unexpected '%s': the image is %s, and its arguments follow '--'", value,
                           options->image);
    }
    options->image = value;
    return CLI_OK;
}

static int take(struct run_options *options, int c, const char *value, char *const *argv)
{
    switch (c) {
    case OPERAND: return set_image(options, value);
    case OPTION_ACCEL: options->accel = value; return CLI_OK;
    case OPTION_EXPLAIN: return add_explain(options, value);
    case OPTION_BIOS: options->bios = value; return CLI_OK;
    case OPTION_FORMAT: return set_format(options, value);
    case OPTION_MACHINE: return set_machine(options, value);
    case OPTION_MEM_BACKEND: return set_backend(options, value);
    case OPTION_MONITOR: return monitor_options_add(&options->monitors, MV_MONITOR_HMP, value);
    case OPTION_PAUSED:
    case 'S': options->monitors.paused = true; return CLI_OK;
    case OPTION_QMP: return monitor_options_add(&options->monitors, MV_MONITOR_QMP, value);
    case OPTION_STATS: return set_stats(options, value);
    case OPTION_VCPUS: return set_vcpus(options, value);
    case 'm': return set_ram(options, value);
    case OPTION_HELP:
    case 'h': options->help = true; return CLI_OK;
    default: return option_error("run", c, argv);
    }
}

/* --- the whole --------------------------------------------------------------------------------- */

/* "a b c"; NULL when out of memory. */
static char *join(char *const *words)
{
    size_t size = 1;
    for (size_t i = 0; words[i]; i++) {
        size += strlen(words[i]) + 1;
    }
    char *line = malloc(size);
    if (!line) {
        return NULL;
    }
    char *end = line;
    *end = '\0';
    for (size_t i = 0; words[i]; i++) {
        end = stpcpy(end, i > 0 ? " " : "");
        end = stpcpy(end, words[i]);
    }
    return line;
}

/* A guest starts either from an image or from its firmware. */
static int check_start(const struct run_options *options)
{
    if (!options->image && !options->bios) {
        return usage_error("run", "no image given");
    }
    if (options->bios && options->machine != MV_BOARD_PC) {
        return usage_error("run", "--bios %s: only --machine pc takes one", options->bios);
    }
    if (options->bios && options->image) {
        return usage_error("run",
                           "unexpected '%s': with --bios the guest starts from the firmware, not from an image",
                           options->image);
    }
    return CLI_OK;
}

/* What follows "--": the image, if it was not named before, then the guest's arguments. */
static int take_rest(struct run_options *options, char *const *rest)
{
    if (!options->image && *rest) {
        options->image = *rest++;
    }
    int status = check_start(options);
    if (status != CLI_OK) {
        return status;
    }
    if (options->explain_count > 0 && options->stats == STATS_NONE) {
        return usage_error("run", "--explain is part of the report, which only --stats prints");
    }
    status = monitor_options_check(&options->monitors, options->stats == STATS_JSON);
    if (status != CLI_OK) {
        return status;
    }
    if (*rest) {
        options->arguments = join(rest);
        if (!options->arguments) {
            say("run: out of memory");
            return CLI_REFUSED;
        }
    }
    return CLI_OK;
}

static int parse(int argc, char **argv, struct run_options *options)
{
    int c;
    int status = CLI_OK;
    opterr = 0;
    while (status == CLI_OK && !options->help &&
           (c = getopt_long(argc, argv, "-:Shm:", long_options, NULL)) != -1) {
        status = take(options, c, optarg, argv);
    }
    return status == CLI_OK && !options->help ? take_rest(options, argv + optind) : status;
}

int run_options_parse(int argc, char **argv, struct run_options *ret)
{
    struct run_options options = {
        .accel = "kvm",
        .ram_bytes = DEFAULT_RAM_BYTES,
        .vcpus = 1,
        .explain = calloc((size_t)argc, sizeof *options.explain),
        .monitors.addresses = calloc((size_t)argc, sizeof *options.monitors.addresses),
    };
    if (!options.explain || !options.monitors.addresses) {
        say("run: out of memory");
        run_options_finish(&options);
        return CLI_REFUSED;
    }
    int status = parse(argc, argv, &options);
    if (status != CLI_OK) {
        run_options_finish(&options);
        return status;
    }
    *ret = options;
    return CLI_OK;
}

void run_options_finish(struct run_options *options)
{
    mem_backend_finish(&options->backend);
    free(options->arguments);
    free(options->explain);
    free(options->monitors.addresses);
}

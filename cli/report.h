// SPDX-License-Identifier: MIT
/* The report of a run: gathered once, from the library's public interface, and printed as text or as JSON. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include <memvirt/explain.h>

#include "guest.h"

struct report_counters {
    struct mv_counter *items;
    size_t count;
};

/* A flat view. The view keeps the regions that its sections name. */
struct report_view {
    const char *space;
    const char *root;
    const struct mv_view *view;
    struct mv_section *sections;
    size_t count;
};

/* Why a page is in the report. */
enum report_why {
    REPORT_RIP,     /* the vCPU's next instruction is there */
    REPORT_TOUCHED, /* the guest accessed it */
    REPORT_ASKED,   /* --explain */
};

/* "rip", "touched" or "asked". Static. */
const char *report_why_name(enum report_why why);

/* What the accelerator's own translation is, next to the chain's. */
enum report_agreement {
    REPORT_SAME,
    REPORT_BOTH_NONE, /* neither finds a guest physical address */
    REPORT_DIFFERENT,
};

#define REPORT_BYTES 8

/* One page, or what kept it from being explained. */
struct report_chain {
    enum report_why why;
    mv_gva_t gva;
    bool explained;
    char failure[MV_ERROR_TEXT_SIZE]; /* unless explained */
    struct mv_chain chain;            /* if explained, and what follows */
    enum report_agreement agreement;
    uint8_t bytes[REPORT_BYTES]; /* read at the page's hva; they do not go beyond its host page */
    size_t byte_count;           /* 0: there is no hva */
};

/* Owned by whoever asked for it; good only while its guest is. */
struct report {
    const char *accel;
    struct mv_stop stop;
    struct report_counters exits; /* those that happened, and mmio, io and hlt always */
    uint64_t exit_total;
    struct report_counters access;
    struct report_counters slot_calls;
    struct report_counters kernel; /* every one the kernel has */
    struct mv_slot *slots;
    size_t slot_count;
    struct report_view memory;
    struct report_view io;
    const char *ram_path;                 /* of its file, as it was asked for; NULL: none; borrowed */
    enum mv_choice ram_share;             /* what was asked */
    struct mv_block_info ram;             /* what the RAM turned out to be */
    struct mv_block_usage ram_usage;      /* and what the host has for it at the end */
    char ram_failure[MV_ERROR_TEXT_SIZE]; /* why the usage is not known; "": it is */
    unsigned vcpu;                        /* whose translations the chains are */
    struct report_chain *chains;
    size_t chain_count;
    const struct console *console; /* borrowed */
};

/* Gather. The VM has stopped. Returns NULL when out of memory. */
struct report *report_create(struct guest *guest, const struct run_options *options, const struct mv_stop *stop);
void report_destroy(struct report *report);

/* Why there is no host physical address, as a sentence; see `hpa_reason` in <memvirt/explain.h>. Static. */
const char *report_hpa_sentence(const char *hpa_reason);

/* The names of a slot's flags. Returns how many. */
#define REPORT_SLOT_FLAGS_MAX 4
size_t report_slot_flags(uint32_t flags, const char *ret[REPORT_SLOT_FLAGS_MAX]);

/* One thing that was asked of the host for the RAM, and what came of it. */
struct report_grant {
    const char *name; /* the option's */
    struct mv_grant grant;
};
#define REPORT_GRANTS 6
void report_grants(const struct report *report, struct report_grant ret[REPORT_GRANTS]);
/* "on", "off", or "default". Static. */
const char *report_choice_name(enum mv_choice choice);
void report_print_ram(const struct report *report);

/* Print for people, on stdout; stdout keeps its errors. */
void report_print_text(const struct report *report);

#endif

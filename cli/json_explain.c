// SPDX-License-Identifier: MIT
#include <stdio.h>

#include "command.h"
#include "explain.h"
#include "json.h"
#include "json_chain.h"
#include "message.h"
#include "qmp_client.h"
#include "size.h"

/* Puts the slot of a place into the array, unless it is there. */
static json_t *with_slot(json_t *slots, const struct mv_place *place)
{
    json_t *slot;
    size_t i;
    if (!place->has_slot) {
        return slots;
    }
    json_array_foreach(slots, i, slot)
    {
        if (json_integer_value(json_object_get(slot, "id")) == (json_int_t)place->slot.id) {
            return slots;
        }
    }
    return json_with_item(slots, json_slot(&place->slot));
}

/* Those that any of the chains leads through. */
static json_t *slots_value(const struct explain_report *report)
{
    json_t *slots = json_array();
    for (size_t i = 0; i < report->count; i++) {
        const struct mv_chain *chain = &report->chains[i];
        for (size_t k = 0; k < chain->entry_count; k++) {
            slots = with_slot(slots, &chain->entries[k].at);
        }
        slots = with_slot(slots, &chain->page);
    }
    return slots;
}

bool json_print_explain(const struct explain_report *report)
{
    json_t *chains = json_array();
    for (size_t i = 0; i < report->count; i++) {
        const struct mv_chain *chain = &report->chains[i];
        json_t *object = json_with(json_object(), "gva", json_hex(chain->gva.raw));
        object = json_with_chain(object, chain);
        chains = json_with_item(chains, json_with(object, "page", json_chain_page(chain)));
    }
    json_t *object = json_with(json_object(), "mmu", json_text(report->mmu));
    object = json_with(object, "source", json_text(report->source));
    object = json_with(object, "format", json_text(report->source_format));
    object = json_with(object, "references", json_number(report->references));
    object = json_with(object, "slots", slots_value(report));
    return json_print(json_with(object, "chains", chains));
}

/* --- a guest that runs --------------------------------------------------------------------------------------- */

static json_t *arguments_of(const struct explain_remote *remote, const char *gva)
{
    const enum mv_who who = remote->asked.who;
    uint64_t number = 0;
    (void)number_parse(gva, UINT64_MAX, &number);
    json_t *object = json_with(json_object(), "address", json_hex(number));
    object = json_with(object, "write", json_boolean(remote->asked.access == MV_ACCESS_WRITE));
    object = json_with(object, "fetch", json_boolean(remote->asked.access == MV_ACCESS_FETCH));
    object = json_with(object, "user", json_boolean(who == MV_WHO_USER));
    object = json_with(object, "supervisor", json_boolean(who == MV_WHO_SUPERVISOR));
    return json_with(object, "implicit", json_boolean(who == MV_WHO_IMPLICIT));
}

static void print_chain_text(const json_t *chain, bool is_first)
{
    const char *text = json_string_value(json_object_get(chain, "human-readable-text"));
    printf("%s%s", is_first ? "" : "\n", text ? text : "");
}

static int print_chains(const struct explain_remote *remote, json_t *chains)
{
    json_t *chain;
    size_t i;
    if (remote->is_json) {
        json_array_foreach(chains, i, chain)
        {
            json_object_del(chain, "human-readable-text");
        }
        json_t *object = json_with(json_object(), "source", json_text(remote->address));
        if (!json_print(json_with(object, "chains", json_incref(chains)))) {
            say("out of memory");
            return CLI_HOST_ERROR;
        }
        return CLI_OK;
    }
    json_array_foreach(chains, i, chain)
    {
        print_chain_text(chain, i == 0);
    }
    return CLI_OK;
}

int explain_by_qmp(const struct explain_remote *remote)
{
    struct qmp_client *client = qmp_client_open(remote->address);
    json_t *chains = client ? json_array() : NULL;
    for (size_t i = 0; chains && i < remote->count; i++) {
        json_t *chain = qmp_client_execute(client, "x-explain", arguments_of(remote, remote->gvas[i]));
        chains = json_with_item(chains, chain);
    }
    int status = chains ? print_chains(remote, chains) : CLI_REFUSED;
    json_decref(chains);
    qmp_client_close(client);
    return status;
}

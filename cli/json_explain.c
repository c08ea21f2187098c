// SPDX-License-Identifier: MIT
#include "explain.h"
#include "json.h"
#include "json_chain.h"

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
    return json_print(json_with(object, "chains", chains));
}

// SPDX-License-Identifier: MIT
#include "hypervisor/tdp.h"

#include <errno.h>
#include <stdlib.h>

#include "base/line.h"
#include "base/os_populate.h"

int tdp_vm_init(struct hv_vm *vm, const struct pt_format *format)
{
    struct tdp *tdp = aligned_alloc(_Alignof(struct tdp), sizeof(*tdp));
    if (!tdp) {
        return -ENOMEM;
    }
    *tdp = (struct tdp){0};
    const struct hv_options *o = &vm->options;
    assert(o->tdp_levels == 4 || o->tdp_levels == 5);
    tdp->format = format;
    tdp->levels = o->tdp_levels;
    tdp->logs_by_dirty_bit = o->access_dirty && o->log_by != HV_LOG_BY_WRITE_PROTECTION;
    tdp->ad = !o->access_dirty         ? SPTE_AD_DISABLED
              : tdp->logs_by_dirty_bit ? SPTE_AD_ENABLED
                                       : SPTE_AD_WRITE_PROTECT;
    /* Asked of a page that is surely there: of others the host says the same for more than one reason. */
    void *page = hva_pointer(mv_hva(align_down(hva_of(tdp).raw, GUEST_PAGE_SIZE)));
    tdp->can_populate = o->populate && os_populate(page, GUEST_PAGE_SIZE, OS_POPULATE_READ) == 0;
    tdp_pool_init(&tdp->pool);
    pthread_mutex_init(&tdp->shut_lock, NULL);
    vm->nested_state = tdp;
    return 0;
}

void tdp_vm_finish(struct hv_vm *vm)
{
    struct tdp *tdp = tdp_of(vm);
    tdp_pool_finish(&tdp->pool);
    pthread_mutex_destroy(&tdp->shut_lock);
    free(tdp);
    vm->nested_state = NULL;
}

int tdp_vcpu_init(struct hv_vcpu *vcpu)
{
    struct tdp_vcpu *v = line_alloc(sizeof(*v));
    if (!v) {
        return -ENOMEM;
    }
    vcpu->nested_state = v;
    vcpu->nested_root = NULL;
    hv_request_post(&vcpu->requests, HV_REQUEST_RELOAD_ROOT);
    return 0;
}

void tdp_vcpu_finish(struct hv_vcpu *vcpu)
{
    struct tdp_vcpu *v = tdp_vcpu_of(vcpu);
    tdp_cache_drain(&tdp_of(vcpu->vm)->pool, &v->cache);
    free(v);
    vcpu->nested_state = NULL;
    vcpu->nested_root = NULL;
}

static void set_root(struct hv_vcpu *vcpu, pt_word_t *root)
{
    vcpu->nested_root = root;
    if (vcpu->vm->options.mmu != HV_MMU_HYBRID) { /* where it is the second one alone */
        vcpu->root = root;
    }
}

/* The first vCPU that asks for a root makes it. */
int tdp_load_root(struct hv_vcpu *vcpu)
{
    struct tdp *tdp = tdp_of(vcpu->vm);
    struct tdp_cache *cache = &tdp_vcpu_of(vcpu)->cache;
    pt_word_t *root = tdp_root(tdp, vcpu->space);
    if (!root) {
        if (cache->count == 0 && tdp_cache_fill(&tdp->pool, cache, 1) != 0) {
            set_root(vcpu, tdp->no_root); /* the one before may be freed */
            return -ENOMEM;
        }
        pt_word_t *made = tdp_cache_take(cache, tdp->levels, TDP_PAGE_ROOT | (vcpu->space ? TDP_PAGE_SMM : 0));
        /* Releases the description; pairs with tdp_root. */
        if (__atomic_compare_exchange_n(&tdp->roots[vcpu->space], &root, made, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
            root = made;
            hv_count_own(&vcpu->counters.tables, 1);
            hv_count_own(&vcpu->counters.tables_built, 1);
        } else {
            tdp_cache_return(cache, made);
        }
    }
    set_root(vcpu, root);
    return 0;
}

/* Constant time: what is below goes when they are collected. */
bool tdp_unlink_roots(struct hv_vm *vm)
{
    struct tdp *tdp = tdp_of(vm);
    bool any = false;
    for (unsigned space = 0; space < HV_ADDRESS_SPACES; space++) {
        pt_word_t *root = __atomic_exchange_n(&tdp->roots[space], NULL, __ATOMIC_ACQ_REL);
        if (root) {
            tdp_page_push(&tdp->unlinked, root);
            any = true;
        }
    }
    if (any) {
        hv_post_all(vm, HV_REQUEST_RELOAD_ROOT);
    }
    return any;
}

void tdp_free_unlinked(struct hv_vm *vm)
{
    struct tdp *tdp = tdp_of(vm);
    for (pt_word_t *table = tdp_page_pop(&tdp->unlinked); table; table = tdp_page_pop(&tdp->unlinked)) {
        tdp_page_free(&tdp->pool, table);
    }
}

const pt_word_t *tdp_present_root(const struct hv_vm *vm, unsigned space)
{
    return tdp_root(tdp_of(vm), space);
}

uint64_t tdp_table_bytes(const struct hv_vm *vm)
{
    return tdp_pool_bytes(&tdp_of(vm)->pool) + sizeof(struct tdp);
}

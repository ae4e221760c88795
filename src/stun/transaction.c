/* stun/transaction.c - one request over UDP, sent again until it is answered.
 *
 * SPDX-License-Identifier: MIT
 */
#include "stun/stun.h"

#include <assert.h>
#include <string.h>

#include "stun/layout.h"

#define ID_AT 8
#define RTO KH_MILLISECONDS(500) /* RFC 8489 6.2.1 recommends these three */
#define ATTEMPTS_MAX 7
#define LAST_WAIT 16

static void enter(struct kh_stun_transaction *transaction, enum kh_stun_transaction_state state)
{
    transaction->state = state;
    transaction->due = false;
}

/* How long to wait after the attempt of this number, from 1. */
static kh_duration wait_after(const struct kh_stun_timing *timing, unsigned attempt)
{
    kh_duration wait = timing->rto;

    if (attempt >= timing->attempts_max) {
        wait = 0;
        for (unsigned i = 0; i < timing->last_wait; i++)
            wait = kh_time_add(wait, timing->rto);
        return wait;
    }
    for (unsigned i = 1; i < attempt && wait < timing->rto_max; i++)
        wait = kh_time_add(wait, wait);
    return wait < timing->rto_max ? wait : timing->rto_max;
}

/* Makes the next attempt due, and waits for an answer to it from now. */
static void try_now(struct kh_stun_transaction *transaction, kh_time now)
{
    kh_duration wait = wait_after(&transaction->timing, transaction->attempts + 1);

    transaction->due = true;
    transaction->next_at = kh_time_add(now, wait);
}

void kh_stun_transaction_start(struct kh_stun_transaction *transaction, kh_time now,
                               const struct kh_stun_timing *timing,
                               const struct kh_datagram *request)
{
    assert(request->len >= KH_STUN_HEADER_LEN && request->len <= sizeof transaction->request);
    transaction->timing = timing == NULL ? (struct kh_stun_timing){0} : *timing;
    if (transaction->timing.rto == 0)
        transaction->timing.rto = RTO;
    if (transaction->timing.rto_max == 0)
        transaction->timing.rto_max = KH_NEVER;
    if (transaction->timing.attempts_max == 0)
        transaction->timing.attempts_max = ATTEMPTS_MAX;
    if (transaction->timing.last_wait == 0)
        transaction->timing.last_wait = LAST_WAIT;
    transaction->from = request->from;
    transaction->to = request->to;
    memmove(transaction->request, request->data, request->len);
    transaction->request_len = request->len;
    transaction->attempts = 0;
    transaction->first_sent = now;
    enter(transaction, KH_STUN_TRANSACTION_WAITING);
    try_now(transaction, now);
}

bool kh_stun_transaction_matches(const struct kh_stun_transaction *transaction,
                                 const struct kh_datagram *datagram,
                                 const struct kh_stun_message *message)
{
    struct kh_reader request = kh_reader_of(transaction->request, transaction->request_len);

    if (transaction->state != KH_STUN_TRANSACTION_WAITING)
        return false;
    if (message->class != KH_STUN_SUCCESS && message->class != KH_STUN_ERROR)
        return false;
    if (memcmp(message->id, transaction->request + ID_AT, KH_STUN_ID_LEN) != 0)
        return false;
    return message->method == kh_stun_method_of(kh_read_u16(&request)) &&
           kh_addr_equal(&datagram->from, &transaction->to);
}

void kh_stun_transaction_end(struct kh_stun_transaction *transaction)
{
    enter(transaction, KH_STUN_TRANSACTION_IDLE);
}

void kh_stun_transaction_handle_timeout(struct kh_stun_transaction *transaction, kh_time now)
{
    if (transaction->state != KH_STUN_TRANSACTION_WAITING || now < transaction->next_at)
        return;
    assert(!transaction->due);
    if (transaction->attempts < transaction->timing.attempts_max)
        try_now(transaction, now);
    else
        enter(transaction, KH_STUN_TRANSACTION_EXPIRED);
}

bool kh_stun_transaction_next_transmit(struct kh_stun_transaction *transaction,
                                       struct kh_datagram *out)
{
    if (!transaction->due)
        return false;
    transaction->due = false;
    transaction->attempts++;
    *out = (struct kh_datagram){.from = transaction->from,
                                .to = transaction->to,
                                .data = transaction->request,
                                .len = transaction->request_len};
    return true;
}

kh_time kh_stun_transaction_timeout(const struct kh_stun_transaction *transaction)
{
    return transaction->state == KH_STUN_TRANSACTION_WAITING ? transaction->next_at : KH_NEVER;
}

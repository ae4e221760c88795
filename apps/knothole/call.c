/* knothole/call.c - the doctor's question to a server along one connection, by TCP or TLS.
 *
 * SPDX-License-Identifier: MIT
 */
#include "call.h"

#include <errno.h>
#include <string.h>

#include "io/clock.h"
#include "io/entropy.h"

#define PATIENCE KH_SECONDS(3) /* a lost SYN is sent again after one second */

void kh_doctor_call_start(struct kh_doctor_call *call, const struct kh_addr *to,
                          const struct kh_io_tls_context *tls, const char *name)
{
    uint8_t request[KH_STUN_HEADER_LEN];
    struct kh_stun_writer writer;

    call->found = KH_DOCTOR_UNKNOWN;
    call->answer_len = 0;
    kh_io_entropy_fill(call->id, sizeof call->id);
    writer = kh_stun_begin(request, sizeof request, KH_STUN_REQUEST, KH_STUN_BINDING, call->id);
    if (kh_io_tcp_connect(to, &call->tcp) != 0) {
        call->tcp.fd = -1;
        return;
    }
    if (tls != NULL && !kh_io_tcp_start_tls(&call->tcp, tls, name)) {
        kh_doctor_call_end(call);
        return;
    }
    call->until = kh_time_add(kh_io_clock_now(), PATIENCE);
    (void)kh_io_tcp_send(&call->tcp, request, kh_stun_finish(&writer), 0);
}

bool kh_doctor_call_is_over(const struct kh_doctor_call *call)
{
    return call->tcp.fd < 0;
}

void kh_doctor_call_end(struct kh_doctor_call *call)
{
    if (call->tcp.fd >= 0)
        kh_io_tcp_close(&call->tcp);
}

static void conclude(struct kh_doctor_call *call, enum kh_doctor_answer found)
{
    call->found = found;
    kh_doctor_call_end(call);
}

/* A refusal says that the server has nothing there, not that something is blocked. */
void kh_doctor_call_step(struct kh_doctor_call *call)
{
    struct kh_stun_message message;
    size_t len = 0;
    int error = kh_io_tcp_flush(&call->tcp);

    if (error == 0)
        error = kh_io_tcp_receive(&call->tcp, call->answer + call->answer_len,
                                  sizeof call->answer - call->answer_len, &len);
    call->answer_len += len;
    if (call->answer_len > 0 && kh_stun_parse(call->answer, call->answer_len, &message) == KH_OK)
        conclude(call, memcmp(message.id, call->id, sizeof call->id) == 0 ? KH_DOCTOR_YES
                                                                          : KH_DOCTOR_UNKNOWN);
    else if ((error != 0 && error != EAGAIN) || call->answer_len == sizeof call->answer)
        conclude(call, KH_DOCTOR_UNKNOWN);
    else if (kh_io_clock_now() >= call->until)
        conclude(call, KH_DOCTOR_NO);
}

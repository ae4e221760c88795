/* knothole/call.h - the doctor's question to a server along one connection, by TCP or TLS.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_KNOTHOLE_CALL_H
#define KH_KNOTHOLE_CALL_H

#include "base/time.h"
#include "doctor.h"
#include "io/tcp.h"
#include "stun/stun.h"

struct kh_doctor_call {
    struct kh_io_tcp tcp; /* fd -1: over */
    uint8_t answer[KH_DATAGRAM_MAX];
    size_t answer_len;
    uint8_t id[KH_STUN_ID_LEN];
    kh_time until;
    enum kh_doctor_answer found;
};

/* By TCP, or through the TLS of this context, whose server has this name; NULL: only an address. */
void kh_doctor_call_start(struct kh_doctor_call *call, const struct kh_addr *to,
                          const struct kh_io_tls_context *tls, const char *name);
bool kh_doctor_call_is_over(const struct kh_doctor_call *call);
void kh_doctor_call_step(struct kh_doctor_call *call);
void kh_doctor_call_end(struct kh_doctor_call *call);

#endif

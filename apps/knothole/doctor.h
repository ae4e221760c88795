/* knothole/doctor.h - what `knothole doctor` found out, and how it tells.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_KNOTHOLE_DOCTOR_H
#define KH_KNOTHOLE_DOCTOR_H

#include <jansson.h>
#include <stdio.h>

#include "nat/nat.h"
#include "room/room.h"

enum kh_doctor_answer { KH_DOCTOR_UNKNOWN, KH_DOCTOR_NO, KH_DOCTOR_YES };

struct kh_doctor_report {
    struct kh_nat_behaviour nat; /* by IPv4, or by IPv6 if that is all that works */
    enum kh_doctor_answer udp;
    enum kh_doctor_answer tcp;
    enum kh_doctor_answer tls; /* at the server's port or at 443; unknown: it serves none */
    enum kh_doctor_answer ipv6;
    enum kh_doctor_answer pcp; /* does the router give ports to who asks, by … */
    enum kh_doctor_answer natpmp;
    enum kh_doctor_answer upnp;
    bool has_lifetime;                      /* it was asked for … */
    struct kh_nat_lifetime_result lifetime; /* … and this is what came of it */
    struct kh_addr router_public; /* what it says its address outside is; none: it does not */
};

/* Examines the network by asking these addresses of the named server, one of each family.  Takes
 * five seconds at most.  False if this machine does not let us, with why on stderr. */
bool kh_doctor_examine(const struct kh_room_server *named, const struct kh_addr *servers,
                       size_t count, struct kh_doctor_report *out);

/* Finds out how long the router remembers who is silent, by asking this address of a server, and
 * says on stderr how it goes.  Takes five minutes at most.  False as above. */
bool kh_doctor_wait(const struct kh_addr *server, struct kh_nat_lifetime_result *out);

/* Was any server reached, so that there is something to tell? */
bool kh_doctor_has_diagnosis(const struct kh_doctor_report *report);

/* Does another NAT stand between this machine's router and the internet? */
enum kh_doctor_answer kh_doctor_has_second_router(const struct kh_doctor_report *report);

json_t *kh_doctor_json(const struct kh_doctor_report *report); /* NULL: out of memory */
/* Sentences for a person who need not know the words. */
void kh_doctor_say(const struct kh_doctor_report *report, FILE *out);
void kh_doctor_say_lifetime(const struct kh_nat_lifetime_result *lifetime, FILE *out);

#endif

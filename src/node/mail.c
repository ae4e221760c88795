/* node/mail.c - frames of the room that wait until the machine they go through can take them.
 *
 * SPDX-License-Identifier: MIT
 *
 * The room gives a frame out in answer to an event of a peer that may have more events waiting, and
 * no machine takes an input before its events are taken.  So frames wait here, copied.
 */
#include "node/inside.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bool kh_node_mail_put(struct kh_node_mailbox *box, size_t max,
                      const struct kh_room_transmit *transmit)
{
    struct kh_node_mail *mail;

    assert(transmit->len > 0);
    if (box->count == max)
        return false;
    mail = malloc(sizeof *mail + transmit->len);
    if (mail == NULL)
        return false;
    mail->next = NULL;
    mail->to = transmit->to;
    mail->len = transmit->len;
    memcpy(mail->data, transmit->data, transmit->len);
    if (box->last == NULL)
        box->first = mail;
    else
        box->last->next = mail;
    box->last = mail;
    box->count++;
    return true;
}

void kh_node_mail_drop(struct kh_node_mailbox *box)
{
    struct kh_node_mail *mail = box->first;

    assert(mail != NULL && box->count > 0);
    box->first = mail->next;
    if (box->first == NULL)
        box->last = NULL;
    box->count--;
    free(mail);
}

void kh_node_mail_clear(struct kh_node_mailbox *box)
{
    while (box->first != NULL)
        kh_node_mail_drop(box);
    assert(box->count == 0);
}

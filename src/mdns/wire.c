/* mdns/wire.c - the few parts of the DNS's message format that a question for an address needs.
 *
 * SPDX-License-Identifier: MIT
 */
#include "mdns/wire.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"

#define HEADER_LEN 12
#define CLASS_IN 1
#define CLASS_MASK 0x7fff     /* RFC 6762 10.2: the top bit asks to forget older records */
#define UNICAST_WANTED 0x8000 /* RFC 6762 5.4, in the class of a question */
#define FLAG_ANSWER 0x8000
#define FLAGS_KIND 0x780f /* operation and error: RFC 6762 18.3 and 18.11 ignore all but zero */
#define LABEL_MAX 63
#define POINTER 0xc0
#define LABELS_MAX 128 /* of a name; 255 bytes hold no more */
#define RECORDS_MAX 256

static const char domain[] = ".local";

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

size_t kh_mdns_write_query(const char *name, enum kh_family family,
                           uint8_t out[static KH_MDNS_QUERY_MAX])
{
    struct kh_writer writer = kh_writer_to(out, KH_MDNS_QUERY_MAX);
    size_t host_len = strlen(name) - (sizeof domain - 1);

    assert(kh_text_is_local_name(name, strlen(name)));
    kh_write_zeros(&writer, 4);
    kh_write_u16(&writer, 1);
    kh_write_zeros(&writer, 6);
    kh_write_u8(&writer, (uint8_t)host_len);
    kh_write_bytes(&writer, name, host_len);
    kh_write_u8(&writer, sizeof domain - 2);
    kh_write_bytes(&writer, domain + 1, sizeof domain - 2);
    kh_write_u8(&writer, 0);
    kh_write_u16(&writer, family == KH_FAMILY_IPV6 ? KH_MDNS_AAAA : KH_MDNS_A);
    kh_write_u16(&writer, CLASS_IN | UNICAST_WANTED);
    assert(!writer.failed);
    return writer.len;
}

/* Adds a label and a dot before it; false if the name is none we would ask for. */
static bool add_label(char *out, size_t *out_len, const uint8_t *label, size_t len)
{
    if (*out_len + 1 + len > KH_MDNS_NAME_MAX)
        return false;
    if (*out_len > 0)
        out[(*out_len)++] = '.';
    for (size_t i = 0; i < len; i++) {
        char c = (char)label[i];

        if (!is_letter(c))
            return false;
        out[(*out_len)++] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    return true;
}

/* Reads the name at `at` and returns where the message goes on; 0 if the name is broken.  Pointers
 * must lead backwards (RFC 1035 4.1.4: to a prior occurrence), so reading ends. */
static size_t read_name(const struct kh_mdns_message *message, size_t at,
                        char out[static KH_MDNS_NAME_MAX + 1])
{
    size_t next = 0, lowest = at, out_len = 0;
    bool is_plain = true;

    for (int labels = 0; labels < LABELS_MAX && at < message->len; labels++) {
        size_t len = message->data[at];

        if (len == 0) {
            out[is_plain ? out_len : 0] = '\0';
            return next != 0 ? next : at + 1;
        }
        if ((len & POINTER) == POINTER) {
            if (at + 1 >= message->len)
                return 0;
            next = next != 0 ? next : at + 2;
            at = (len & ~(size_t)POINTER) << 8 | message->data[at + 1];
            if (at >= lowest)
                return 0;
            lowest = at;
            continue;
        }
        if (len > LABEL_MAX || message->len - at - 1 < len)
            return 0;
        is_plain = is_plain && add_label(out, &out_len, message->data + at + 1, len);
        at += 1 + len;
    }
    return 0;
}

bool kh_mdns_open(struct kh_mdns_message *message, const uint8_t *data, size_t len)
{
    struct kh_reader reader = kh_reader_of(data, len);
    char name[KH_MDNS_NAME_MAX + 1];
    unsigned flags, questions;

    kh_read_u16(&reader);
    flags = kh_read_u16(&reader);
    questions = kh_read_u16(&reader);
    *message = (struct kh_mdns_message){.data = data, .len = len, .at = HEADER_LEN};
    for (int section = 0; section < 3; section++)
        message->left += kh_read_u16(&reader);
    if (reader.failed || (flags & FLAG_ANSWER) == 0 || (flags & FLAGS_KIND) != 0 ||
        message->left > RECORDS_MAX)
        return false;
    for (; questions > 0; questions--) {
        message->at = read_name(message, message->at, name);
        if (message->at == 0 || len - message->at < 4)
            return false;
        message->at += 4;
    }
    return true;
}

bool kh_mdns_next_record(struct kh_mdns_message *message, struct kh_mdns_record *out)
{
    struct kh_reader reader;
    size_t at;

    if (message->left == 0)
        return false;
    at = read_name(message, message->at, out->name);
    if (at == 0)
        return false;
    reader = kh_reader_of(message->data + at, message->len - at);
    out->type = kh_read_u16(&reader);
    out->class = kh_read_u16(&reader) & CLASS_MASK;
    out->ttl = kh_read_u32(&reader);
    out->len = kh_read_u16(&reader);
    out->data = kh_read_bytes(&reader, out->len);
    if (reader.failed)
        return false;
    message->at = message->len - reader.left;
    message->left--;
    return true;
}

/* interop/libnice_relay.c - libnice's agent relays through our server: libnice_relay PORT USER
 * PASSWORD
 *
 * SPDX-License-Identifier: MIT
 *
 * Alice's agent may use nothing but the relay at 127.0.0.1:PORT; Bob's has a host candidate only.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nice/agent.h>

#define LIMIT (20 * G_TIME_SPAN_SECOND)
#define WORDS 50

struct member {
    NiceAgent *agent;
    guint stream;
    bool is_gathered;
    bool is_ready;
    unsigned heard; /* different words of the other */
    bool words[WORDS];
};

static void on_gathered(NiceAgent *agent, guint stream, gpointer user)
{
    struct member *member = user;

    (void)agent;
    (void)stream;
    member->is_gathered = true;
}

static void on_state(NiceAgent *agent, guint stream, guint component, guint state, gpointer user)
{
    struct member *member = user;

    (void)agent;
    (void)stream;
    (void)component;
    member->is_ready = state == NICE_COMPONENT_STATE_READY;
}

static void on_data(NiceAgent *agent, guint stream, guint component, guint len, gchar *data,
                    gpointer user)
{
    struct member *member = user;
    unsigned char word = (unsigned char)data[0];

    (void)agent;
    (void)stream;
    (void)component;
    if (len != 1 || word >= WORDS || member->words[word])
        return;
    member->words[word] = true;
    member->heard++;
}

static bool open_member(struct member *member, GMainContext *context, bool controlling)
{
    NiceAddress loopback;

    member->agent = nice_agent_new(context, NICE_COMPATIBILITY_RFC5245);
    g_object_set(member->agent, "controlling-mode", controlling, "ice-tcp", FALSE, "upnp", FALSE,
                 NULL);
    nice_address_init(&loopback);
    (void)nice_address_set_from_string(&loopback, "127.0.0.1");
    nice_agent_add_local_address(member->agent, &loopback);
    member->stream = nice_agent_add_stream(member->agent, 1);
    g_signal_connect(member->agent, "candidate-gathering-done", G_CALLBACK(on_gathered), member);
    g_signal_connect(member->agent, "component-state-changed", G_CALLBACK(on_state), member);
    return nice_agent_attach_recv(member->agent, member->stream, 1, context, on_data, member);
}

/* Gives the candidates; false unless each is of that type, and there is one. */
static bool has_only(struct member *member, NiceCandidateType type, GSList **out)
{
    *out = nice_agent_get_local_candidates(member->agent, member->stream, 1);
    for (GSList *each = *out; each != NULL; each = each->next) {
        if (((NiceCandidate *)each->data)->type != type)
            return false;
    }
    return *out != NULL;
}

static bool tell(struct member *from, struct member *to, NiceCandidateType type)
{
    gchar *ufrag = NULL, *password = NULL;
    GSList *candidates = NULL;
    bool ok = has_only(from, type, &candidates) &&
              nice_agent_get_local_credentials(from->agent, from->stream, &ufrag, &password) &&
              nice_agent_set_remote_credentials(to->agent, to->stream, ufrag, password) &&
              nice_agent_set_remote_candidates(to->agent, to->stream, 1, candidates) > 0;

    g_slist_free_full(candidates, (GDestroyNotify)nice_candidate_free);
    g_free(ufrag);
    g_free(password);
    return ok;
}

static void say_all(struct member *member)
{
    for (char word = 0; word < WORDS; word++)
        (void)nice_agent_send(member->agent, member->stream, 1, 1, &word);
}

static bool run(GMainContext *context, struct member *alice, struct member *bob)
{
    gint64 end = g_get_monotonic_time() + LIMIT;
    bool told = false;

    while (g_get_monotonic_time() < end) {
        (void)g_main_context_iteration(context, FALSE);
        g_usleep(2000);
        if (!alice->is_gathered || !bob->is_gathered)
            continue;
        if (!told && !(tell(alice, bob, NICE_CANDIDATE_TYPE_RELAYED) &&
                       tell(bob, alice, NICE_CANDIDATE_TYPE_HOST)))
            return false;
        told = true;
        if (!alice->is_ready || !bob->is_ready)
            continue;
        say_all(alice);
        say_all(bob);
        if (alice->heard == WORDS && bob->heard == WORDS)
            return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    GMainContext *context = g_main_context_new();
    struct member alice = {0}, bob = {0};
    bool ok;

    if (argc != 4)
        return 2;
    ok = open_member(&alice, context, true) && open_member(&bob, context, false);
    g_object_set(alice.agent, "force-relay", TRUE, NULL);
    ok = ok &&
         nice_agent_set_relay_info(alice.agent, alice.stream, 1, "127.0.0.1", (guint)atoi(argv[1]),
                                   argv[2], argv[3], NICE_RELAY_TYPE_TURN_UDP) &&
         nice_agent_gather_candidates(alice.agent, alice.stream) &&
         nice_agent_gather_candidates(bob.agent, bob.stream) && run(context, &alice, &bob);
    printf("%s: Alice heard %u of %d, Bob %u\n", ok ? "ok" : "not ok", alice.heard, WORDS,
           bob.heard);
    g_object_unref(alice.agent);
    g_object_unref(bob.agent);
    g_main_context_unref(context);
    return ok ? 0 : 1;
}

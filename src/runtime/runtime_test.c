/* runtime/runtime_test.c - what is kept between runs, compared by people, and waiting to be heard.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/text.h"
#include "io/sockaddr.h"
#include "runtime/events.h"
#include "runtime/note.h"
#include "runtime/resolve.h"
#include "runtime/state.h"
#include "runtime/verify.h"

static char dir[64];
static struct kh_runtime_state state;
static char why[KH_RUNTIME_WHY_SIZE];

static int set_up(void **unused)
{
    char sub[80];

    (void)unused;
    (void)snprintf(dir, sizeof dir, "/tmp/knothole-test-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    (void)snprintf(sub, sizeof sub, "%s/a/b", dir);
    return kh_runtime_state_open(&state, sub, why) ? 0 : -1;
}

static int tear_down(void **unused)
{
    char command[128];

    (void)unused;
    (void)snprintf(command, sizeof command, "rm -r '%s'", dir);
    return system(command);
}

static void write_state(const char *name, const char *text)
{
    char path[PATH_MAX];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/%s", state.dir, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void identity_is_made_once_and_private(void **unused)
{
    const struct kh_secret first = {.bytes = {1, 2, 3}};
    const struct kh_secret second = {.bytes = {4, 5, 6}};
    struct kh_secret got;
    struct stat info;
    char path[PATH_MAX];

    (void)unused;
    assert_true(kh_runtime_state_identity(&state, &first, &got, why));
    assert_memory_equal(&got, &first, sizeof got);
    assert_true(kh_runtime_state_identity(&state, &second, &got, why));
    assert_memory_equal(&got, &first, sizeof got);
    (void)snprintf(path, sizeof path, "%s/identity", state.dir);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(info.st_nlink, 1);
    assert_int_equal(chmod(path, 0644), 0); /* brought from another machine */
    assert_true(kh_runtime_state_identity(&state, &second, &got, why));
    assert_memory_equal(&got, &first, sizeof got);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
}

static void damaged_identity_is_refused(void **unused)
{
    const struct kh_secret seed = {.bytes = {7}};
    struct kh_secret got;
    char path[PATH_MAX];
    char text[256];
    FILE *file;

    (void)unused;
    assert_true(kh_runtime_state_identity(&state, &seed, &got, why));
    (void)snprintf(path, sizeof path, "%s/identity", state.dir);
    file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    (void)fclose(file);
    text[30] = text[30] == '0' ? '1' : '0'; /* one digit of the seed */
    write_state("identity", text);
    assert_false(kh_runtime_state_identity(&state, &seed, &got, why));
    assert_non_null(strstr(why, "is damaged"));
    write_state("identity", "");
    assert_false(kh_runtime_state_identity(&state, &seed, &got, why));
}

static void state_needs_a_directory(void **unused)
{
    struct kh_runtime_state other;

    (void)unused;
    assert_false(kh_runtime_state_open(&other, "", why));
    assert_string_equal(why, "the name of the state directory is empty or too long");
    assert_false(kh_runtime_state_open(&other, "/dev/null/x", why));
    assert_non_null(strstr(why, "cannot make the state directory /dev/null/x"));
}

static void tickets_survive_and_damage_is_none(void **unused)
{
    const struct kh_room_server server = {.host = "2001:db8::1", .port = 3478};
    const struct kh_room_server other = {.host = "2001:db8::1", .port = 3479};
    struct kh_rendezvous_ticket ticket = {.nonce = {0xde, 0xad}, .nonce_len = 2};
    struct kh_rendezvous_ticket got;

    (void)unused;
    ticket.server = kh_addr_ipv4(192, 0, 2, 1, 3478);
    kh_runtime_state_load_ticket(&state, &server, &got);
    assert_int_equal(got.nonce_len, 0);
    kh_runtime_state_save_ticket(&state, &server, &ticket);
    kh_runtime_state_load_ticket(&state, &server, &got);
    assert_int_equal(got.nonce_len, 2);
    assert_memory_equal(got.nonce, ticket.nonce, 2);
    assert_true(kh_addr_equal(&got.server, &ticket.server));
    kh_runtime_state_load_ticket(&state, &other, &got);
    assert_int_equal(got.nonce_len, 0);
    write_state("ticket-2001_db8__1_3478", "192.0.2.1:3478 dea\n");
    kh_runtime_state_load_ticket(&state, &server, &got);
    assert_int_equal(got.nonce_len, 0);
    assert_true(kh_addr_is_none(&got.server));
}

static void names_are_pinned_to_keys(void **unused)
{
    const uint8_t alice[KH_KEY_LEN] = {1};
    const uint8_t mallory[KH_KEY_LEN] = {2};

    (void)unused;
    assert_int_equal(kh_runtime_state_pin(&state, "Alice", alice), KH_RUNTIME_PIN_NEW);
    assert_int_equal(kh_runtime_state_pin(&state, "Alice", alice), KH_RUNTIME_PIN_KNOWN);
    assert_int_equal(kh_runtime_state_pin(&state, "Alic", mallory), KH_RUNTIME_PIN_NEW);
    assert_int_equal(kh_runtime_state_pin(&state, "Alice", mallory), KH_RUNTIME_PIN_CHANGED);
    assert_int_equal(kh_runtime_state_pin(&state, "Alice", mallory), KH_RUNTIME_PIN_CHANGED);
    assert_int_equal(kh_runtime_state_pin(&state, "Alice", alice), KH_RUNTIME_PIN_KNOWN);
}

/* A member can invent names without end: the file does not grow without end, and what is in it
 * stays good. */
static void flood_of_names_fills_the_file_only_so_far(void **unused)
{
    const uint8_t alice[KH_KEY_LEN] = {1};
    const uint8_t mallory[KH_KEY_LEN] = {2};
    char path[PATH_MAX];
    char line[66 + 1000];
    struct stat info;
    off_t before;
    FILE *file;

    (void)unused;
    assert_int_equal(kh_runtime_state_pin(&state, "Alice", alice), KH_RUNTIME_PIN_NEW);
    (void)snprintf(path, sizeof path, "%s/names", state.dir);
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    file = fopen(path, "a");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(fwrite(line, sizeof line, 1, file), 1);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(kh_runtime_state_pin(&state, "Bob", mallory), KH_RUNTIME_PIN_NEW);
    assert_int_equal(kh_runtime_state_pin(&state, "Alice", mallory), KH_RUNTIME_PIN_CHANGED);
    assert_int_equal(kh_runtime_state_pin(&state, "Alice", alice), KH_RUNTIME_PIN_KNOWN);
    before = info.st_size;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, before);
}

static void line_cut_short_spoils_no_other(void **unused)
{
    const uint8_t alice[KH_KEY_LEN] = {1};
    const uint8_t mallory[KH_KEY_LEN] = {2};

    (void)unused;
    write_state("names", "0123456789abcdef"); /* the machine stopped in the middle */
    assert_int_equal(kh_runtime_state_pin(&state, "Alice", alice), KH_RUNTIME_PIN_NEW);
    assert_int_equal(kh_runtime_state_pin(&state, "Alice", alice), KH_RUNTIME_PIN_KNOWN);
    assert_int_equal(kh_runtime_state_pin(&state, "Alice", mallory), KH_RUNTIME_PIN_CHANGED);
}

static void digits_do_not_depend_on_the_side(void **unused)
{
    const uint8_t a[KH_KEY_LEN] = {1};
    const uint8_t b[KH_KEY_LEN] = {2};
    char one[KH_RUNTIME_VERIFY_SIZE];
    char two[KH_RUNTIME_VERIFY_SIZE];

    (void)unused;
    kh_runtime_verify_digits(a, b, one);
    assert_string_equal(kh_runtime_verify_digits(b, a, two), one);
    assert_int_equal(strlen(one), KH_RUNTIME_VERIFY_SIZE - 1);
    assert_int_equal(strspn(one, "0123456789"), 5);
    kh_runtime_verify_digits(a, a, two);
    assert_string_not_equal(one, two);
}

static size_t count_warnings(struct kh_runtime_note *note)
{
    struct kh_runtime_event event;
    size_t count = 0;

    while (kh_runtime_queue_next(&note->queue, &event))
        count += event.kind == KH_RUNTIME_EVENT_WARNING ? 1 : 0;
    return count;
}

static void one_name_is_warned_of_once(void **unused)
{
    const struct kh_secret own = {.bytes = {9}};
    const struct kh_room_server server = {.host = "a"};
    struct kh_node_event member = {.kind = KH_NODE_EVENT_MEMBER, .name = "Bob", .identity = {1}};
    const struct kh_node_event warning = {
        .kind = KH_NODE_EVENT_WARNING, .name = "Bob", .code = "name-changed-key", .text = "look"};
    struct kh_runtime_note note;

    (void)unused;
    kh_runtime_note_init(&note, &state, &server, &own);
    kh_runtime_note_event(&note, NULL, &member);
    assert_int_equal(count_warnings(&note), 0);
    member.identity[0] = 2; /* the file knows, and so does the node */
    kh_runtime_note_event(&note, NULL, &member);
    kh_runtime_note_event(&note, NULL, &warning);
    assert_int_equal(count_warnings(&note), 1);
    member.identity[0] = 1; /* the file knows Bob, the node met another one first */
    kh_runtime_note_event(&note, NULL, &member);
    kh_runtime_note_event(&note, NULL, &warning);
    assert_int_equal(count_warnings(&note), 1);
    kh_runtime_queue_fini(&note.queue);
}

static void queue_keeps_texts_of_events(void **unused)
{
    struct kh_runtime_queue queue = {0};
    struct kh_runtime_event out;
    char text[] = "one two";

    (void)unused;
    assert_false(kh_runtime_queue_next(&queue, &out));
    kh_runtime_queue_push(
        &queue, &(struct kh_runtime_event){
                    .kind = KH_RUNTIME_EVENT_MESSAGE, .name = "Bob", .text = text, .text_len = 3});
    kh_runtime_queue_push(&queue, &(struct kh_runtime_event){.kind = KH_RUNTIME_EVENT_LEFT});
    memset(text, 'x', 3);
    assert_true(kh_runtime_queue_next(&queue, &out));
    assert_string_equal(out.text, "one");
    assert_string_equal(out.name, "Bob");
    assert_string_equal(out.id, "");
    assert_true(kh_runtime_queue_next(&queue, &out));
    assert_int_equal(out.kind, KH_RUNTIME_EVENT_LEFT);
    assert_false(kh_runtime_queue_next(&queue, &out));
    kh_runtime_queue_push(&queue, &(struct kh_runtime_event){.kind = KH_RUNTIME_EVENT_LEFT});
    kh_runtime_queue_fini(&queue);
}

static void no_family_crowds_out_the_other(void **unused)
{
    static const char *const texts[] = {"[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1",
                                        "192.0.2.1:1"};
    struct sockaddr_storage names[4];
    struct addrinfo infos[4] = {0};
    struct kh_runtime_addrs got;

    (void)unused;
    for (size_t i = 0; i < 4; i++) {
        struct kh_addr addr;

        assert_int_equal(kh_addr_parse(texts[i], 0, &addr), KH_OK);
        infos[i].ai_addrlen = kh_io_sockaddr_write(&addr, &names[i]);
        infos[i].ai_addr = (struct sockaddr *)&names[i];
        infos[i].ai_next = i < 3 ? &infos[i + 1] : NULL;
    }
    kh_runtime_resolve_choose(infos, &got);
    assert_int_equal(got.count, 3);
    assert_int_equal(got.list[1].ip[15], 2);
    assert_int_equal(got.list[2].family, KH_FAMILY_IPV4);
}

static void numbers_need_no_lookup(void **unused)
{
    struct kh_room_server server = {.host = "::1", .port = 5};
    struct kh_runtime_addrs got;

    (void)unused;
    assert_true(kh_runtime_resolve_numeric(&server, &got));
    assert_int_equal(got.count, 1);
    assert_int_equal(got.list[0].port, 5);
    assert_int_equal(got.list[0].family, KH_FAMILY_IPV6);
    (void)snprintf(server.host, sizeof server.host, "example.org");
    assert_false(kh_runtime_resolve_numeric(&server, &got));
}

static void a_server_has_three_ways(void **unused)
{
    struct kh_room_server server = {.host = "192.0.2.1", .port = 3478};
    const struct kh_addr addr = kh_addr_ipv4(192, 0, 2, 1, 3478);
    struct kh_addr ways[KH_RUNTIME_WAYS_MAX];

    (void)unused;
    assert_int_equal(kh_runtime_resolve_ways(&server, &addr, false, ways), 3);
    assert_true(kh_addr_equal(&ways[0], &addr));
    assert_int_equal(ways[1].transport, KH_TCP);
    assert_int_equal(ways[1].port, 3478);
    assert_int_equal(ways[2].transport, KH_TLS);
    assert_int_equal(ways[2].port, 443);
    server.tls = true;
    assert_int_equal(kh_runtime_resolve_ways(&server, &addr, false, ways), 3);
    assert_int_equal(ways[2].port, 3478);
    assert_int_equal(kh_runtime_resolve_ways(&server, &addr, true, ways), 1);
    assert_int_equal(ways[0].transport, KH_UDP);
}

static void links_are_made_and_checked(void **unused)
{
    char one[KH_RUNTIME_LINK_SIZE];
    char two[KH_RUNTIME_LINK_SIZE];

    (void)unused;
    assert_int_equal(kh_runtime_make_link("example.org", one, why), KH_RUNTIME_OK);
    assert_int_equal(kh_runtime_make_link("example.org", two, why), KH_RUNTIME_OK);
    assert_int_equal(strncmp(one, "http://example.org:3478/#", 25), 0);
    assert_string_not_equal(one, two);
    assert_int_equal(kh_runtime_check_link(one, why), KH_RUNTIME_OK);
    one[30] = one[30] == 'x' ? 'y' : 'x';
    assert_int_equal(kh_runtime_check_link(one, why), KH_RUNTIME_BAD_LINK);
    assert_string_equal(why, "this link is mistyped or cut: what follows # does not check");
    assert_int_equal(kh_runtime_check_link("hello", why), KH_RUNTIME_BAD_LINK);
    assert_string_equal(why, "this is not a whole link: one looks like https://HOST/#SECRET");
    assert_int_equal(kh_runtime_make_link("a b", one, why), KH_RUNTIME_BAD_SERVER);
    assert_string_equal(why, "\"a b\" is not a server: give HOST, HOST:PORT or https://HOST");
}

static unsigned woken;

static void on_wake(void *context)
{
    struct kh_runtime **runtime = context;
    struct kh_runtime_event event;

    woken++;
    while (kh_runtime_next_event(*runtime, &event)) {
        if (event.kind == KH_RUNTIME_EVENT_LEFT) {
            kh_runtime_close(*runtime);
            return;
        }
    }
}

static void refused_opening_leaves_nothing(void **unused)
{
    char link[KH_RUNTIME_LINK_SIZE];
    uv_loop_t loop;
    struct kh_runtime *runtime = NULL;
    struct kh_runtime_config config = {
        .loop = &loop, .link = link, .name = "", .state_dir = state.dir, .wake = on_wake};

    (void)unused;
    assert_int_equal(kh_runtime_make_link("127.0.0.1:9", link, why), KH_RUNTIME_OK);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(kh_runtime_open(&runtime, &config, why), KH_RUNTIME_BAD_NAME);
    config.name = "Alice";
    config.link = "http://127.0.0.1/#";
    assert_int_equal(kh_runtime_open(&runtime, &config, why), KH_RUNTIME_BAD_LINK);
    config.link = link;
    config.state_dir = "/dev/null/x";
    assert_int_equal(kh_runtime_open(&runtime, &config, why), KH_RUNTIME_NO_STATE);
    assert_null(runtime);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* Says before the loop runs, leaves at once, and closes from inside the wake. */
static void member_comes_and_goes(void **unused)
{
    char link[KH_RUNTIME_LINK_SIZE];
    char text[KH_RUNTIME_TEXT_MAX + 1];
    uv_loop_t loop;
    struct kh_runtime *runtime = NULL;
    const struct kh_runtime_config config = {.loop = &loop,
                                             .link = link,
                                             .name = "Alice",
                                             .state_dir = state.dir,
                                             .wake = on_wake,
                                             .context = &runtime};

    (void)unused;
    woken = 0;
    assert_int_equal(kh_runtime_make_link("127.0.0.1:9", link, why), KH_RUNTIME_OK);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(kh_runtime_open(&runtime, &config, why), KH_RUNTIME_OK);
    memset(text, 'x', sizeof text);
    assert_int_equal(kh_runtime_say(runtime, text, sizeof text), KH_RUNTIME_BAD_TEXT);
    assert_int_equal(kh_runtime_say(runtime, "", 0), KH_RUNTIME_BAD_TEXT);
    assert_int_equal(kh_runtime_say(runtime, "\033[2J", 4), KH_RUNTIME_BAD_TEXT);
    for (int i = 0; i < 64; i++)
        assert_int_equal(kh_runtime_say(runtime, "early", 5), KH_RUNTIME_OK);
    assert_int_equal(kh_runtime_say(runtime, "early", 5), KH_RUNTIME_FULL);
    assert_int_equal(kh_runtime_undelivered(runtime), 64);
    kh_runtime_leave(runtime);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(woken, 1);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(identity_is_made_once_and_private, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_identity_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(state_needs_a_directory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tickets_survive_and_damage_is_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_are_pinned_to_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(flood_of_names_fills_the_file_only_so_far, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(line_cut_short_spoils_no_other, set_up, tear_down),
        cmocka_unit_test(digits_do_not_depend_on_the_side),
        cmocka_unit_test_setup_teardown(one_name_is_warned_of_once, set_up, tear_down),
        cmocka_unit_test(queue_keeps_texts_of_events),
        cmocka_unit_test(no_family_crowds_out_the_other),
        cmocka_unit_test(a_server_has_three_ways),
        cmocka_unit_test(numbers_need_no_lookup),
        cmocka_unit_test(links_are_made_and_checked),
        cmocka_unit_test_setup_teardown(refused_opening_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(member_comes_and_goes, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

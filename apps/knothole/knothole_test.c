/* knothole/knothole_test.c - the parts of the client that need no network.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "command.h"
#include "edit.h"
#include "ending.h"
#include "json.h"
#include "lines.h"
#include "options.h"
#include "scrollback.h"

/* ---- the command line ---- */

static struct kh_options options;
static char why[KH_RUNTIME_WHY_SIZE];

static bool parse(char *a, char *b, char *c)
{
    char name[] = "chat";
    char *argv[] = {name, a, b, c, NULL};
    int argc = 1;

    while (argv[argc] != NULL)
        argc++;
    why[0] = '\0';
    return kh_options_parse(&options, argc, argv, "alice", why);
}

#define ARG(text) ((char[]){text})

static void options_have_defaults(void **state)
{
    (void)state;
    assert_true(parse(ARG("example.org"), NULL, NULL));
    assert_string_equal(options.target, "example.org");
    assert_string_equal(options.name, "alice");
    assert_int_equal(options.linger_ms, 30000);
    assert_int_equal(options.view, KH_OPTIONS_SCREEN);
    assert_int_equal(options.paths, KH_RUNTIME_PATHS_ALL);
    assert_false(options.no_port_mapping);
    assert_int_equal(options.log_level, KH_RUNTIME_LOG_WARN);
}

static void options_are_read(void **state)
{
    (void)state;
    assert_true(parse(ARG("--json"), ARG("--linger=0.25"), ARG("x")));
    assert_int_equal(options.view, KH_OPTIONS_JSON);
    assert_int_equal(options.linger_ms, 250);
    assert_true(parse(ARG("x"), ARG("--ice=direct"),
                      ARG("--name=  B\xc3\xb6"
                          "b ")));
    assert_int_equal(options.paths, KH_RUNTIME_PATHS_DIRECT);
    assert_string_equal(options.name, "B\xc3\xb6"
                                      "b");
    assert_true(parse(ARG("x"), ARG("--ice"), ARG("relay")));
    assert_int_equal(options.paths, KH_RUNTIME_PATHS_RELAY);
    assert_false(options.server_udp_only);
    assert_true(parse(ARG("--server-udp-only"), ARG("x"), NULL));
    assert_true(options.server_udp_only);
    assert_false(options.no_port_mapping);
    assert_true(parse(ARG("--no-port-mapping"), ARG("x"), NULL));
    assert_true(options.no_port_mapping);
    assert_false(options.no_punching);
    assert_true(parse(ARG("--no-punching"), ARG("x"), NULL));
    assert_true(options.no_punching);
    assert_null(options.local_name);
    assert_true(parse(ARG("--local-name=pc1.local"), ARG("x"), NULL));
    assert_string_equal(options.local_name, "pc1.local");
    assert_false(parse(ARG("--local-name=pc1.lan"), ARG("x"), NULL));
    assert_true(parse(ARG("--help"), NULL, NULL));
    assert_true(options.help);
}

static void odd_user_is_anonymous(void **state)
{
    char *argv[] = {ARG("chat"), ARG("x"), NULL};

    (void)state;
    assert_true(kh_options_parse(&options, 2, argv, "a\033[31m", why));
    assert_string_equal(options.name, "anonymous");
    assert_true(kh_options_parse(&options, 2, argv, NULL, why));
    assert_string_equal(options.name, "anonymous");
}

static void wrong_options_get_a_sentence(void **state)
{
    static const struct {
        const char *argument;
        const char *sentence;
    } table[] = {
        {"--ice=none", "--ice is all, direct or relay, not \"none\""},
        {"--linger=-1", "--linger is a number of seconds, not \"-1\""},
        {"--linger=nan", "--linger is a number of seconds, not \"nan\""},
        {"--linger=5s", "--linger is a number of seconds, not \"5s\""},
        {"--name= ", "--name is 1 to 48 bytes of text without characters that cannot be seen"},
        {"--name=\xff", "--name is 1 to 48 bytes of text without characters that cannot be seen"},
        {"--name=a\tb", "--name is 1 to 48 bytes of text without characters that cannot be seen"},
        {"--state=", "--state needs the name of a directory"},
        {"--relay", "there is no option --relay"},
        {"-xv", "there is no option -x"},
        {"--help=me", "--help=me takes no value"},
        {"--log-level=all", "--log-level is error, warn, info or debug, not \"all\""},
        {"y", "give one LINK or SERVER only"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char argument[64];

        (void)snprintf(argument, sizeof argument, "%s", table[i].argument);
        assert_false(parse(ARG("x"), argument, NULL));
        assert_string_equal(why, table[i].sentence);
    }
    assert_false(parse(NULL, NULL, NULL));
    assert_string_equal(why, "give a LINK, or a SERVER for a new room");
    assert_false(parse(ARG("x"), ARG("--json"), ARG("--plain")));
    assert_string_equal(why, "--plain and --json exclude each other");
}

/* ---- lines ---- */

static void lines_are_cut_anywhere(void **state)
{
    static const char input[] = "one\r\n\ntwo\nlast";
    struct kh_lines *lines = calloc(1, sizeof *lines);
    char got[64] = "";
    const char *line;
    size_t len;

    (void)state;
    assert_non_null(lines);
    for (size_t i = 0; i < sizeof input - 1; i++) { /* one byte at a time */
        const char *data = input + i;
        size_t left = 1;

        while (kh_lines_next(lines, &data, &left, &line, &len) == KH_LINES_LINE) {
            (void)strncat(got, line, len);
            (void)strcat(got, "|");
        }
        assert_int_equal(left, 0);
    }
    assert_string_equal(got, "one||two|");
    assert_int_equal(lines->number, 3);
    assert_int_equal(kh_lines_end(lines, &line, &len), KH_LINES_LINE);
    assert_int_equal(len, 4);
    assert_memory_equal(line, "last", 4);
    assert_int_equal(kh_lines_end(lines, &line, &len), KH_LINES_MORE);
    free(lines);
}

static void long_line_is_skipped_whole(void **state)
{
    struct kh_lines *lines = calloc(1, sizeof *lines);
    char *input = malloc(KH_LINES_MAX + 8);
    const char *data = input;
    size_t left = KH_LINES_MAX + 6;
    const char *line;
    size_t len;

    (void)state;
    assert_non_null(lines);
    assert_non_null(input);
    memset(input, 'x', KH_LINES_MAX + 1);
    memcpy(input + KH_LINES_MAX + 1, "\nnext\n", 6);
    left = KH_LINES_MAX + 7;
    assert_int_equal(kh_lines_next(lines, &data, &left, &line, &len), KH_LINES_TOO_LONG);
    assert_int_equal(kh_lines_next(lines, &data, &left, &line, &len), KH_LINES_LINE);
    assert_int_equal(len, 4);
    data = input + 1; /* exactly the longest */
    left = KH_LINES_MAX + 1;
    assert_int_equal(kh_lines_next(lines, &data, &left, &line, &len), KH_LINES_LINE);
    assert_int_equal(len, KH_LINES_MAX);
    free(input);
    free(lines);
}

/* ---- ending ---- */

static void note(struct kh_ending *ending, uint64_t now, enum kh_runtime_event_kind kind,
                 const char *id)
{
    kh_ending_note(ending, now, &(struct kh_runtime_event){.kind = kind, .id = id});
}

static bool is_due(const struct kh_ending *ending, uint64_t now, bool has_members,
                   size_t undelivered)
{
    return kh_ending_is_due(ending, now, &(struct kh_ending_room){has_members, undelivered});
}

static void who_repeats_is_not_left_at_once(void **state)
{
    struct kh_ending ending = {.linger_ms = 0};

    (void)state;
    note(&ending, 0, KH_RUNTIME_EVENT_JOINED, NULL);
    note(&ending, 0, KH_RUNTIME_EVENT_MEMBER, NULL);
    kh_ending_set_input_over(&ending, 0, true);
    kh_ending_set_flow(&ending, 400, 1, false);
    assert_false(is_due(&ending, 400 + KH_ENDING_QUIET_MS - 1, true, 0));
    kh_ending_set_flow(&ending, 800, 1, false); /* no new one */
    assert_true(is_due(&ending, 400 + KH_ENDING_QUIET_MS, true, 0));
    kh_ending_set_flow(&ending, 850, 1, true); /* one is known of, and not here */
    assert_false(is_due(&ending, 850 + KH_ENDING_QUIET_MS - 1, true, 0));
    assert_true(is_due(&ending, 850 + KH_ENDING_QUIET_MS, true, 0));
    kh_ending_set_flow(&ending, KH_ENDING_PROGRESS_MS - 1, 2, true);
    assert_false(is_due(&ending, KH_ENDING_PROGRESS_MS - 1, true, 0));
    assert_true(is_due(&ending, KH_ENDING_PROGRESS_MS, true, 0)); /* not for ever */
    kh_ending_fini(&ending);
}

static void leaves_when_all_is_delivered(void **state)
{
    struct kh_ending ending = {.linger_ms = 30000};
    size_t missing;

    (void)state;
    note(&ending, 0, KH_RUNTIME_EVENT_SENT, "a");
    note(&ending, 0, KH_RUNTIME_EVENT_SENT, "b");
    kh_ending_set_input_over(&ending, 10, true);
    assert_int_equal(kh_ending_exit_code(&ending, &missing), KH_EXIT_NO_SERVER);
    note(&ending, 20, KH_RUNTIME_EVENT_JOINED, "");
    assert_int_equal(kh_ending_exit_code(&ending, &missing), KH_EXIT_UNDELIVERED);
    assert_int_equal(missing, 2);
    assert_false(is_due(&ending, 30019, false, 0));
    note(&ending, 30000, KH_RUNTIME_EVENT_MEMBER, "");
    note(&ending, 30010, KH_RUNTIME_EVENT_DELIVERED, "b");
    assert_false(is_due(&ending, 31000, true, 1));
    note(&ending, 31000, KH_RUNTIME_EVENT_DELIVERED, "a");
    assert_false(is_due(&ending, 31000 + KH_ENDING_QUIET_MS - 1, true, 0));
    assert_true(is_due(&ending, 31000 + KH_ENDING_QUIET_MS, true, 0));
    assert_false(is_due(&ending, 31000 + KH_ENDING_QUIET_MS, true, 1));
    assert_int_equal(kh_ending_exit_code(&ending, &missing), KH_EXIT_OK);
    assert_int_equal(missing, 0);
    kh_ending_fini(&ending);
}

static void waits_no_longer_than_linger(void **state)
{
    struct kh_ending ending = {.linger_ms = 1000};
    size_t missing;

    (void)state;
    note(&ending, 0, KH_RUNTIME_EVENT_JOINED, "");
    assert_false(is_due(&ending, 5000, false, 0)); /* input may still come */
    kh_ending_set_input_over(&ending, 5000, true);
    assert_false(is_due(&ending, 5999, false, 0));
    assert_true(is_due(&ending, 6000, false, 0));
    assert_int_equal(kh_ending_exit_code(&ending, &missing), KH_EXIT_OK); /* nothing was said */
    note(&ending, 6000, KH_RUNTIME_EVENT_SENT, "a");
    assert_int_equal(kh_ending_exit_code(&ending, &missing), KH_EXIT_UNDELIVERED);
    kh_ending_fini(&ending);
}

static void server_gets_time_to_answer(void **state)
{
    struct kh_ending ending = {.linger_ms = 0};

    (void)state;
    kh_ending_set_input_over(&ending, 0, true);
    assert_false(is_due(&ending, KH_ENDING_ANSWER_MS - 1, false, 0));
    assert_true(is_due(&ending, KH_ENDING_ANSWER_MS, false, 0));
    note(&ending, 3000, KH_RUNTIME_EVENT_UNREACHABLE, "");
    assert_true(is_due(&ending, 3000, false, 0));
    note(&ending, 4000, KH_RUNTIME_EVENT_JOINED, "");
    assert_false(is_due(&ending, 4000 + KH_ENDING_ARRIVAL_MS - 1, false, 0));
    assert_true(is_due(&ending, 4000 + KH_ENDING_ARRIVAL_MS, false, 0));
}

static void progress_prolongs_the_wait(void **state)
{
    struct kh_ending ending = {.linger_ms = 1000};
    size_t missing;

    (void)state;
    note(&ending, 0, KH_RUNTIME_EVENT_JOINED, "");
    note(&ending, 0, KH_RUNTIME_EVENT_SENT, "a");
    kh_ending_set_input_over(&ending, 0, true);
    note(&ending, 900, KH_RUNTIME_EVENT_MEMBER, "");
    assert_false(is_due(&ending, 899 + KH_ENDING_PROGRESS_MS, true, 1));
    assert_true(is_due(&ending, 900 + KH_ENDING_PROGRESS_MS, true, 1));
    assert_true(is_due(&ending, 1900, false, 0)); /* it went away without it */
    ending.left_undelivered = 1;                  /* delivered while saying goodbye */
    note(&ending, 1950, KH_RUNTIME_EVENT_DELIVERED, "a");
    assert_int_equal(kh_ending_exit_code(&ending, &missing), KH_EXIT_OK);
    ending.skipped = 1;
    assert_int_equal(kh_ending_exit_code(&ending, &missing), KH_EXIT_UNDELIVERED);
    assert_int_equal(missing, 0);
    kh_ending_fini(&ending);
}

static void refusal_is_not_want_of_a_server(void **state)
{
    struct kh_ending ending = {.linger_ms = 0};
    size_t missing;

    (void)state;
    note(&ending, 0, KH_RUNTIME_EVENT_ERROR, "");
    assert_int_equal(kh_ending_exit_code(&ending, &missing), KH_EXIT_FAILED);
    note(&ending, 0, KH_RUNTIME_EVENT_SENT, "a");
    assert_int_equal(kh_ending_exit_code(&ending, &missing), KH_EXIT_UNDELIVERED);
    kh_ending_fini(&ending);
}

/* ---- JSON ---- */

static void check_json(json_t *object, const char *expected)
{
    char *text = json_dumps(object, JSON_COMPACT);

    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
    json_decref(object);
}

static struct kh_runtime_event event_of(enum kh_runtime_event_kind kind)
{
    return (struct kh_runtime_event){
        .kind = kind, .member = "m1", .name = "Bob", .id = "i1", .code = "", .text = ""};
}

static void json_events_are_the_contract(void **state)
{
    struct kh_runtime_event event = event_of(KH_RUNTIME_EVENT_MESSAGE);

    (void)state;
    event.text = "a\nb\"c\xc3\xbc";
    event.text_len = strlen(event.text);
    event.time_ms = UINT64_C(1700000000123);
    check_json(kh_json_event(&event, ""),
               "{\"event\":\"message\",\"id\":\"i1\",\"from\":\"m1\",\"name\":\"Bob\","
               "\"text\":\"a\\nb\\\"c\xc3\xbc\",\"time\":1700000000123,\"via\":\"signal\"}");
    event = event_of(KH_RUNTIME_EVENT_JOINED);
    (void)strcpy(event.path.remote, "192.0.2.1:5");
    check_json(kh_json_event(&event, "http://example.org/#x"),
               "{\"event\":\"joined\",\"link\":\"http://example.org/#x\",\"member\":\"m1\","
               "\"public\":\"192.0.2.1:5\"}");
    event = event_of(KH_RUNTIME_EVENT_GONE);
    check_json(kh_json_event(&event, ""),
               "{\"event\":\"member\",\"id\":\"m1\",\"name\":\"Bob\",\"state\":\"gone\"}");
    event = event_of(KH_RUNTIME_EVENT_DELIVERED);
    check_json(kh_json_event(&event, ""),
               "{\"event\":\"delivered\",\"id\":\"i1\",\"to\":\"m1\",\"name\":\"Bob\"}");
    event = event_of(KH_RUNTIME_EVENT_WARNING);
    event.code = "name-changed-key";
    event.text = "look";
    check_json(kh_json_event(&event, ""),
               "{\"event\":\"warning\",\"code\":\"name-changed-key\",\"text\":\"look\","
               "\"id\":\"m1\",\"name\":\"Bob\"}");
}

static void json_path_is_the_contract(void **state)
{
    struct kh_runtime_event event = event_of(KH_RUNTIME_EVENT_PATH);

    (void)state;
    event.path = (struct kh_runtime_path){.local = "192.0.2.1:1",
                                          .remote = "198.51.100.2:2",
                                          .local_candidate = "host",
                                          .candidate = "srflx",
                                          .transport = "udp",
                                          .rtt_ms = 40.5};
    check_json(kh_json_event(&event, ""),
               "{\"event\":\"path\",\"id\":\"m1\",\"name\":\"Bob\",\"kind\":\"direct\","
               "\"local\":\"192.0.2.1:1\",\"remote\":\"198.51.100.2:2\",\"candidate\":\"srflx\","
               "\"local_candidate\":\"host\",\"transport\":\"udp\",\"rtt_ms\":40.5}");
}

static void sentences_are_for_people(void **state)
{
    struct kh_runtime_event event = event_of(KH_RUNTIME_EVENT_PATH);
    char sentence[KH_CHAT_SENTENCE_MAX];

    (void)state;
    event.path = (struct kh_runtime_path){.local = "192.0.2.1:1",
                                          .remote = "198.51.100.2:2",
                                          .candidate = "srflx",
                                          .transport = "udp",
                                          .rtt_ms = 41.2};
    assert_true(kh_chat_describe(&event, sentence));
    assert_string_equal(sentence, "Bob: direct udp 192.0.2.1:1 -> 198.51.100.2:2 (srflx), 41 ms");
    event = event_of(KH_RUNTIME_EVENT_GONE);
    assert_true(kh_chat_describe(&event, sentence));
    assert_string_equal(sentence, "Bob has left");
    event = event_of(KH_RUNTIME_EVENT_MESSAGE);
    assert_false(kh_chat_describe(&event, sentence));
}

/* ---- typing and showing ---- */

static void type(struct kh_edit *edit, const char *ascii)
{
    for (; *ascii != '\0'; ascii++)
        kh_edit_insert(edit, (uint32_t)*ascii);
}

static const char *text_of(const struct kh_edit *edit)
{
    static char text[KH_EDIT_UTF8_MAX];

    (void)kh_edit_text(edit, text);
    return text;
}

static void line_is_edited(void **state)
{
    struct kh_edit *edit = calloc(1, sizeof *edit);

    (void)state;
    assert_non_null(edit);
    type(edit, "hello wrld");
    for (int i = 0; i < 3; i++)
        kh_edit_press(edit, KH_EDIT_LEFT);
    kh_edit_insert(edit, 'o');
    kh_edit_insert(edit, 0x1b); /* no escape sequence gets in */
    assert_string_equal(text_of(edit), "hello world");
    kh_edit_press(edit, KH_EDIT_END);
    kh_edit_press(edit, KH_EDIT_CUT_WORD);
    kh_edit_insert(edit, 0x1f600);
    kh_edit_insert(edit, 0xe9);
    assert_string_equal(text_of(edit), "hello \xf0\x9f\x98\x80\xc3\xa9");
    kh_edit_press(edit, KH_EDIT_BACKSPACE);
    kh_edit_press(edit, KH_EDIT_HOME);
    kh_edit_press(edit, KH_EDIT_BACKSPACE);
    kh_edit_press(edit, KH_EDIT_DELETE);
    assert_string_equal(text_of(edit), "ello \xf0\x9f\x98\x80");
    kh_edit_press(edit, KH_EDIT_RIGHT);
    kh_edit_press(edit, KH_EDIT_CUT_TO_END);
    assert_string_equal(text_of(edit), "e");
    kh_edit_press(edit, KH_EDIT_CUT_TO_START);
    assert_string_equal(text_of(edit), "");
    kh_edit_fini(edit);
    free(edit);
}

static void history_comes_back(void **state)
{
    struct kh_edit *edit = calloc(1, sizeof *edit);

    (void)state;
    assert_non_null(edit);
    kh_edit_press(edit, KH_EDIT_OLDER);
    type(edit, "one");
    kh_edit_accept(edit);
    type(edit, "two");
    kh_edit_accept(edit);
    type(edit, "draft");
    kh_edit_press(edit, KH_EDIT_OLDER);
    assert_string_equal(text_of(edit), "two");
    kh_edit_press(edit, KH_EDIT_OLDER);
    kh_edit_press(edit, KH_EDIT_OLDER);
    assert_string_equal(text_of(edit), "one");
    kh_edit_press(edit, KH_EDIT_NEWER);
    kh_edit_press(edit, KH_EDIT_NEWER);
    assert_string_equal(text_of(edit), "draft");
    kh_edit_press(edit, KH_EDIT_NEWER);
    for (int i = 0; i < KH_EDIT_HISTORY_MAX + 5; i++) {
        kh_edit_accept(edit);
        type(edit, "x");
    }
    assert_int_equal(edit->history_len, KH_EDIT_HISTORY_MAX);
    kh_edit_fini(edit);
    free(edit);
}

static void text_folds_at_spaces(void **state)
{
    struct kh_scrollback *scrollback = calloc(1, sizeof *scrollback);
    struct kh_scrollback_row rows[3];

    (void)state;
    assert_non_null(scrollback);
    kh_scrollback_add(scrollback, KH_STYLE_NOTE, "", "first");
    kh_scrollback_add(scrollback, KH_STYLE_MESSAGE, "Bob: ", "hello big\nworld");
    assert_int_equal(kh_scrollback_fold(scrollback, 11, 3, 0, rows), 3);
    assert_int_equal(rows[0].len, 5);
    assert_int_equal(rows[1].start, 0);
    assert_int_equal(rows[1].len, 11); /* "Bob: hello " */
    assert_int_equal(rows[2].start, 11);
    assert_int_equal(rows[2].len, 9);
    assert_int_equal(kh_scrollback_fold(scrollback, 11, 3, 2, rows), 3);
    assert_null(rows[1].entry);
    assert_int_equal(rows[2].len, 5);
    kh_scrollback_fini(scrollback);
    kh_scrollback_add(scrollback, KH_STYLE_NOTE, "", "abcdefgh");
    assert_int_equal(kh_scrollback_fold(scrollback, 3, 3, 0, rows), 3);
    assert_int_equal(rows[2].len, 2);
    kh_scrollback_fini(scrollback);
    free(scrollback);
}

static void scrollback_forgets_the_oldest(void **state)
{
    struct kh_scrollback *scrollback = calloc(1, sizeof *scrollback);
    struct kh_scrollback_row rows[1];

    (void)state;
    assert_non_null(scrollback);
    for (int i = 0; i < KH_SCROLLBACK_MAX + 10; i++)
        kh_scrollback_add(scrollback, KH_STYLE_NOTE, "", i == 10 ? "tenth" : "x");
    assert_int_equal(scrollback->count, KH_SCROLLBACK_MAX);
    (void)kh_scrollback_fold(scrollback, 20, 1, KH_SCROLLBACK_MAX - 1, rows);
    assert_int_equal(rows[0].len, 5);
    kh_scrollback_fini(scrollback);
    free(scrollback);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_have_defaults),
        cmocka_unit_test(options_are_read),
        cmocka_unit_test(odd_user_is_anonymous),
        cmocka_unit_test(wrong_options_get_a_sentence),
        cmocka_unit_test(lines_are_cut_anywhere),
        cmocka_unit_test(long_line_is_skipped_whole),
        cmocka_unit_test(leaves_when_all_is_delivered),
        cmocka_unit_test(waits_no_longer_than_linger),
        cmocka_unit_test(server_gets_time_to_answer),
        cmocka_unit_test(refusal_is_not_want_of_a_server),
        cmocka_unit_test(progress_prolongs_the_wait),
        cmocka_unit_test(json_events_are_the_contract),
        cmocka_unit_test(json_path_is_the_contract),
        cmocka_unit_test(sentences_are_for_people),
        cmocka_unit_test(line_is_edited),
        cmocka_unit_test(history_comes_back),
        cmocka_unit_test(text_folds_at_spaces),
        cmocka_unit_test(who_repeats_is_not_left_at_once),
        cmocka_unit_test(scrollback_forgets_the_oldest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

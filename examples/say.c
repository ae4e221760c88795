/* examples/say.c - the smallest program that talks: says one line to whoever comes first.
 *
 * SPDX-License-Identifier: MIT
 *
 *     cc say.c $(pkg-config --cflags --libs knothole) -o say
 *     ./say 'http://server.example.org:3478/#kZ0…' 'Hello from a program'
 */
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include <knothole/knothole.h>

static struct kh_runtime *runtime;

static void on_wake(void *context)
{
    struct kh_runtime_event event;

    (void)context;
    while (kh_runtime_next_event(runtime, &event)) {
        if (event.kind == KH_RUNTIME_EVENT_MESSAGE)
            printf("%s: %.*s\n", event.name, (int)event.text_len, event.text);
        if (event.kind == KH_RUNTIME_EVENT_DELIVERED)
            kh_runtime_leave(runtime);
        if (event.kind == KH_RUNTIME_EVENT_LEFT) {
            kh_runtime_close(runtime);
            return; /* the loop frees the rest and then has nothing left to do */
        }
    }
}

int main(int argc, char **argv)
{
    char why[KH_RUNTIME_WHY_SIZE];
    struct kh_runtime_config config = {
        .loop = uv_default_loop(), .link = argv[1], .name = "Alice", .wake = on_wake};

    if (argc != 3) {
        (void)fprintf(stderr, "usage: say LINK TEXT\n");
        return 2;
    }
    if (kh_runtime_open(&runtime, &config, why) != KH_RUNTIME_OK) {
        (void)fprintf(stderr, "say: %s\n", why);
        return 1;
    }
    if (kh_runtime_say(runtime, argv[2], strlen(argv[2])) != KH_RUNTIME_OK) {
        (void)fprintf(stderr, "say: the text cannot be sent\n");
        kh_runtime_close(runtime);
    }
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    return 0;
}

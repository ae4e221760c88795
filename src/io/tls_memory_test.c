/* io/tls_memory_test.c - allocations that TLS asks for are refused: nothing breaks.
 *
 * SPDX-License-Identifier: MIT
 *
 * Ours and those of OpenSSL.  There are some nine thousand, so of the later ones only one in many
 * is tried.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "io/tls.h"
#include "support/certificate.h"

#define ALLOCATIONS_MAX 40000 /* what one go asks for, generously */
#define DENSE 64              /* so many are tried one by one, then in ever longer steps */

static struct certificate_files files;
static unsigned left; /* until one is refused; 0: none is */
static bool was_refused;

static bool refuses(void)
{
    if (left == 0 || --left > 0)
        return false;
    was_refused = true;
    return true;
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
    return refuses() ? NULL : __real_calloc(count, size);
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return refuses() ? NULL : malloc(size);
}

static void *openssl_realloc(void *memory, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return refuses() ? NULL : realloc(memory, size);
}

static void openssl_free(void *memory, const char *file, int line)
{
    (void)file;
    (void)line;
    free(memory);
}

/* True if both ends spoke; false if memory ran out on the way. */
static bool go(void)
{
    char why[KH_IO_TLS_WHY_SIZE] = "";
    struct kh_io_tls_context *server = kh_io_tls_server_new(files.certificate, files.key, why);
    struct kh_io_tls_context *client = kh_io_tls_client_new();
    struct kh_io_tls *ends[2] = {NULL, NULL};
    int fds[2];
    bool done = false;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    if (server != NULL)
        ends[0] = kh_io_tls_new(server, fds[0], NULL);
    else
        assert_string_not_equal(why, "");
    if (client != NULL)
        ends[1] = kh_io_tls_new(client, fds[1], "example.org");
    for (int turn = 0; ends[0] != NULL && ends[1] != NULL && !done && turn < 10; turn++) {
        uint8_t byte = '!';
        size_t len;
        int error = kh_io_tls_write(ends[1], &byte, 1, &len);

        if (error == 0 || error == EAGAIN)
            error = kh_io_tls_read(ends[0], &byte, 1, &len);
        done = error == 0;
        if (error != 0 && error != EAGAIN)
            break;
    }
    for (int i = 0; i < 2; i++) {
        kh_io_tls_free(ends[i]);
        close(fds[i]);
    }
    kh_io_tls_context_free(server);
    kh_io_tls_context_free(client);
    return done;
}

static void every_refusal_is_survived(void **state)
{
    unsigned n = 1;
    unsigned failures = 0;

    (void)state;
    assert_true(go()); /* what OpenSSL does once in a program is done now */
    do {
        bool done;

        was_refused = false;
        left = n;
        done = go();
        left = 0;
        n += 1 + n / DENSE;
        failures += done ? 0 : 1;
        assert_true(done || was_refused);
        assert_true(n < ALLOCATIONS_MAX);
    } while (was_refused);
    assert_true(failures > 50);
    assert_true(go());
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_refusal_is_survived)};
    int failed;

    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
        return 1;
    certificate_folder(&files);
    certificate_write(&files, "example.org", NULL);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    certificate_clean(&files);
    return failed;
}

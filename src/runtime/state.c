/* runtime/state.c - the state directory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "runtime/state.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

#define NAMES_FILE_MAX (1 << 20) /* ten thousand names; later ones are not kept */
#define IDENTITY_FORMAT "knothole identity 1\nseed %s\npublic %s\n"
#define IDENTITY_FILE_LEN (20 + 5 + 64 + 1 + 7 + 64 + 1)

struct path {
    char text[PATH_MAX];
};

static struct path path_of(const struct kh_runtime_state *state, const char *name,
                           const char *suffix)
{
    struct path path;

    (void)snprintf(path.text, sizeof path.text, "%s/%s%s", state->dir, name, suffix);
    return path;
}

__attribute__((format(printf, 2, 3))) static bool fail(char *why, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(why, KH_RUNTIME_WHY_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

/* ---- files ---- */

/* Reads at most max-1 bytes and terminates them.  Returns the length, or -1 with errno. */
static ssize_t read_file(const char *path, char *out, size_t max)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    size_t len = 0;
    ssize_t got = 0;

    if (fd < 0)
        return -1;
    do {
        got = read(fd, out + len, max - 1 - len);
        len += got > 0 ? (size_t)got : 0;
    } while (got > 0 || (got < 0 && errno == EINTR));
    close(fd);
    out[len] = '\0';
    return got < 0 ? -1 : (ssize_t)len;
}

static bool write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t done = write(fd, data, len);

        if (done < 0 && errno != EINTR)
            return false;
        data += done > 0 ? done : 0;
        len -= done > 0 ? (size_t)done : 0;
    }
    return true;
}

/* Writes a file of its own that only we can read; `path` gets its name. */
static bool write_temporary(const struct kh_runtime_state *state, const char *name,
                            const char *text, bool durable, struct path *path)
{
    int fd;
    bool done;

    *path = path_of(state, name, ".XXXXXX");
    fd = mkostemp(path->text, O_CLOEXEC); /* mode 0600 */
    if (fd < 0)
        return false;
    done = write_all(fd, text, strlen(text)) && (!durable || fsync(fd) == 0);
    done = close(fd) == 0 && done;
    if (!done)
        (void)unlink(path->text);
    return done;
}

/* ---- the directory ---- */

static bool make_dirs(char *dir)
{
    for (char *at = dir + 1; *at != '\0'; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
            *at = '/';
            return false;
        }
        *at = '/';
    }
    return mkdir(dir, 0700) == 0 || errno == EEXIST;
}

bool kh_runtime_state_open(struct kh_runtime_state *state, const char *dir,
                           char why[static KH_RUNTIME_WHY_SIZE])
{
    const char *xdg = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    struct stat info;
    int len;

    if (dir != NULL)
        len = snprintf(state->dir, sizeof state->dir, "%s", dir);
    else if (xdg != NULL && xdg[0] == '/') /* the XDG specification: relative ones are ignored */
        len = snprintf(state->dir, sizeof state->dir, "%s/knothole", xdg);
    else if (home != NULL && home[0] != '\0')
        len = snprintf(state->dir, sizeof state->dir, "%s/.local/state/knothole", home);
    else
        return fail(why, "there is no home directory to keep the identity in: give --state DIR");
    if (len <= 0 || (size_t)len >= sizeof state->dir)
        return fail(why, "the name of the state directory is empty or too long");
    if (!make_dirs(state->dir))
        return fail(why, "cannot make the state directory %.300s: %s", state->dir, strerror(errno));
    if (stat(state->dir, &info) != 0 || !S_ISDIR(info.st_mode))
        return fail(why, "%.300s is not a directory", state->dir);
    return true;
}

/* ---- identity ---- */

static bool parse_identity(const char *text, struct kh_secret *out)
{
    uint8_t written[KH_KEY_LEN];
    uint8_t derived[KH_KEY_LEN];
    const char *seed = text + 25;
    const char *public_key = text + 97;

    if (strlen(text) != IDENTITY_FILE_LEN || strncmp(text, "knothole identity 1\nseed ", 25) != 0 ||
        strncmp(text + 89, "\npublic ", 8) != 0 || text[IDENTITY_FILE_LEN - 1] != '\n')
        return false;
    if (!kh_hex_parse(seed, 64, out->bytes, KH_KEY_LEN) ||
        !kh_hex_parse(public_key, 64, written, KH_KEY_LEN))
        return false;
    kh_ed25519_public(out, derived);
    return kh_equal(written, derived, KH_KEY_LEN);
}

static bool create_identity(const struct kh_runtime_state *state, const struct kh_secret *fresh,
                            const struct path *path)
{
    uint8_t public_key[KH_KEY_LEN];
    char seed_text[KH_HEX_SIZE(KH_KEY_LEN)];
    char public_text[KH_HEX_SIZE(KH_KEY_LEN)];
    char text[IDENTITY_FILE_LEN + 1];
    struct path temporary;
    bool done = false;

    kh_ed25519_public(fresh, public_key);
    (void)snprintf(text, sizeof text, IDENTITY_FORMAT,
                   kh_hex_write(fresh->bytes, KH_KEY_LEN, seed_text),
                   kh_hex_write(public_key, KH_KEY_LEN, public_text));
    if (write_temporary(state, "identity", text, true, &temporary)) {
        /* link does not replace: of two first runs at once, one makes the identity of both. */
        done = link(temporary.text, path->text) == 0 || errno == EEXIST;
        (void)unlink(temporary.text);
    }
    kh_wipe(text, sizeof text);
    kh_wipe(seed_text, sizeof seed_text);
    return done;
}

/* A copy from elsewhere may have come with the usual mode: it is as secret as the first. */
static void make_private(const struct path *path)
{
    struct stat info;

    if (stat(path->text, &info) == 0 && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        (void)chmod(path->text, S_IRUSR | S_IWUSR);
}

bool kh_runtime_state_identity(const struct kh_runtime_state *state, const struct kh_secret *fresh,
                               struct kh_secret *out, char why[static KH_RUNTIME_WHY_SIZE])
{
    struct path path = path_of(state, "identity", "");
    char text[IDENTITY_FILE_LEN + 2];
    ssize_t len = read_file(path.text, text, sizeof text);
    bool right;

    if (len < 0 && errno == ENOENT) {
        if (!create_identity(state, fresh, &path))
            return fail(why, "cannot write the identity %.300s: %s", path.text, strerror(errno));
        len = read_file(path.text, text, sizeof text);
    }
    if (len < 0)
        return fail(why, "cannot read the identity %.300s: %s", path.text, strerror(errno));
    make_private(&path);
    right = parse_identity(text, out);
    kh_wipe(text, sizeof text);
    return right ||
           fail(why,
                "the identity %.300s is damaged: restore it, or move it away to become a new one",
                path.text);
}

/* ---- tickets ---- */

static struct path ticket_path(const struct kh_runtime_state *state,
                               const struct kh_room_server *server)
{
    char name[sizeof server->host + 16];
    size_t len = 0;

    for (const char *at = server->host; *at != '\0'; at++, len++)
        name[len] = (char)(isalnum((unsigned char)*at) || *at == '.' || *at == '-' ? *at : '_');
    (void)snprintf(name + len, sizeof name - len, "_%u", server->port);
    return path_of(state, "ticket-", name);
}

void kh_runtime_state_load_ticket(const struct kh_runtime_state *state,
                                  const struct kh_room_server *server,
                                  struct kh_rendezvous_ticket *out)
{
    struct path path = ticket_path(state, server);
    char text[KH_ADDR_TEXT_MAX + KH_HEX_SIZE(KH_RENDEZVOUS_NONCE_MAX) + 16];
    char *nonce;
    size_t digits;

    *out = (struct kh_rendezvous_ticket){0};
    if (read_file(path.text, text, sizeof text) < 0)
        return;
    nonce = strchr(text, ' ');
    if (nonce == NULL)
        return;
    *nonce++ = '\0';
    digits = strspn(nonce, "0123456789abcdef");
    if (digits == 0 || digits > (size_t)2 * KH_RENDEZVOUS_NONCE_MAX ||
        strcmp(nonce + digits, "\n") != 0 || !kh_hex_parse(nonce, digits, out->nonce, digits / 2) ||
        kh_addr_parse(text, 0, &out->server) != KH_OK)
        *out = (struct kh_rendezvous_ticket){0};
    else
        out->nonce_len = digits / 2;
}

void kh_runtime_state_save_ticket(const struct kh_runtime_state *state,
                                  const struct kh_room_server *server,
                                  const struct kh_rendezvous_ticket *ticket)
{
    struct path path = ticket_path(state, server);
    struct path temporary;
    char addr[KH_ADDR_TEXT_MAX];
    char nonce[KH_HEX_SIZE(KH_RENDEZVOUS_NONCE_MAX)];
    char text[sizeof addr + sizeof nonce + 2];

    if (kh_addr_is_none(&ticket->server) || ticket->nonce_len == 0 ||
        ticket->nonce_len > KH_RENDEZVOUS_NONCE_MAX)
        return;
    (void)snprintf(text, sizeof text, "%s %s\n", kh_addr_text(&ticket->server, addr),
                   kh_hex_write(ticket->nonce, ticket->nonce_len, nonce));
    if (write_temporary(state, "ticket", text, false, &temporary) &&
        rename(temporary.text, path.text) != 0)
        (void)unlink(temporary.text);
}

/* ---- names ---- */

/* Appends in one write, so that programs running side by side lose nothing of each other's. */
static void remember(const struct path *path, const char *line)
{
    int fd = open(path->text, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return;
    (void)write_all(fd, line, strlen(line));
    close(fd);
}

enum kh_runtime_pin kh_runtime_state_pin(const struct kh_runtime_state *state, const char *name,
                                         const uint8_t identity[static KH_KEY_LEN])
{
    struct path path = path_of(state, "names", "");
    char key[KH_HEX_SIZE(KH_KEY_LEN)];
    char separate[KH_HEX_SIZE(KH_KEY_LEN) + KH_RUNTIME_NAME_MAX + 4];
    const char *line = separate + 1;
    size_t len;
    ssize_t text_len = 0;
    char *text = malloc(NAMES_FILE_MAX);
    enum kh_runtime_pin pin = KH_RUNTIME_PIN_NEW;

    (void)snprintf(separate, sizeof separate, "\n%s %s\n", kh_hex_write(identity, KH_KEY_LEN, key),
                   name);
    len = strlen(line);
    if (text != NULL && (text_len = read_file(path.text, text, NAMES_FILE_MAX)) >= 0) {
        for (char *at = text; pin != KH_RUNTIME_PIN_KNOWN && strchr(at, '\n') != NULL;
             at = strchr(at, '\n') + 1) {
            if (strncmp(at, line, len) == 0)
                pin = KH_RUNTIME_PIN_KNOWN;
            else if (strcspn(at, " \n") == 64 && strncmp(at + 64, line + 64, len - 64) == 0)
                pin = KH_RUNTIME_PIN_CHANGED;
        }
    }
    /* A line that was cut short must not swallow this one.  A full file stays as it is: else every
     * name that somebody invents would make it longer. */
    if (pin == KH_RUNTIME_PIN_NEW && text_len < NAMES_FILE_MAX - 1)
        remember(&path, text_len > 0 && text[text_len - 1] != '\n' ? separate : line);
    free(text);
    return pin;
}

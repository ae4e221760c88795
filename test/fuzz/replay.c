/* fuzz/replay.c - runs every file of a corpus through a fuzz target once, without a fuzzer.
 *
 * SPDX-License-Identifier: MIT
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int replay_file(const char *path)
{
    static uint8_t data[1 << 16];
    FILE *file = fopen(path, "rb");
    uint8_t *copy;
    size_t len;

    if (file == NULL) {
        perror(path);
        return 1;
    }
    len = fread(data, 1, sizeof data, file);
    (void)fclose(file);
    copy = malloc(len > 0 ? len : 1); /* exactly sized: a sanitizer sees any read past its end */
    if (copy == NULL)
        return 1;
    for (size_t i = 0; i < len; i++)
        copy[i] = data[i];
    (void)LLVMFuzzerTestOneInput(copy, len);
    free(copy);
    return 0;
}

int main(int argc, char **argv)
{
    char path[4096];
    struct dirent *entry;
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    int failures = 0;
    int files = 0;

    if (folder == NULL) {
        (void)fprintf(stderr, "usage: fuzz_TARGET CORPUS-FOLDER\n");
        return 2;
    }
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        failures += replay_file(path);
        files++;
    }
    (void)closedir(folder);
    printf("%d files\n", files);
    return failures > 0 || files == 0;
}

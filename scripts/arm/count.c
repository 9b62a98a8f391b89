/* A plugin of QEMU's user emulation: how many instructions a program of one thread executed.
   Declares what it uses of qemu-plugin.h, version 1, as Debian ships the emulator without it. */

#include <inttypes.h>
#include <stdio.h>

struct qemu_plugin_tb;
typedef void translated(uint64_t id, struct qemu_plugin_tb *block);
typedef void finished(uint64_t id, void *data);

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated *callback);
extern void qemu_plugin_register_vcpu_tb_exec_inline(
    struct qemu_plugin_tb *block, int operation, void *counter, uint64_t operand);
extern void qemu_plugin_register_atexit_cb(uint64_t id, finished *callback, void *data);

int qemu_plugin_version = 1;

enum { ADD_TO_64_BITS };
static uint64_t executed;

static void count(uint64_t id, struct qemu_plugin_tb *block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(
        block, ADD_TO_64_BITS, &executed, qemu_plugin_tb_n_insns(block));
}

static void report(uint64_t id, void *path) {
    (void)id;
    FILE *file = fopen(path, "w");
    if (!file) {
        perror(path);
        return;
    }
    fprintf(file, "%" PRIu64 "\n", executed);
    fclose(file);
}

/* The one argument is `to=FILE`. */
int qemu_plugin_install(uint64_t id, const void *about, int count_of, char **arguments) {
    static char path[4096];
    (void)about;
    if (count_of != 1 || sscanf(arguments[0], "to=%4095s", path) != 1) {
        fprintf(stderr, "count: expected the argument to=FILE\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, count);
    qemu_plugin_register_atexit_cb(id, report, path);
    return 0;
}

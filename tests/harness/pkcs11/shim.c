/* A PKCS#11 module that hands every call to another one, writes it down, and fails when a schedule says so.
 *
 * What it needs to know stands in the environment, or line by line in a file beside the module, `shim.so.env`, which is
 * for processes whose environment somebody else decides about; all its lines are set in the environment:
 *
 *     SHIM_MODULE      the module that does the work
 *     SHIM_SCHEDULE    the file of rules, read anew at every call; none, or an empty one: no faults
 *     SHIM_LOG         the file that gets one line per call: the function, and what it returned or how it ended
 *     SHIM_PARAMETERS  a string for C_Initialize, as NSS wants it
 *
 * A rule is a line `FUNCTION[@N[+]] ACTION [ARGUMENT]`; `*` is every function. Without @N it holds for every call,
 * with it for the N-th since this process first saw the rule, with + from the N-th on. The actions are the table below.
 *
 * Types and function numbers are from the OASIS PKCS#11 specification, version 2.40. All parameters of all functions
 * are integers or pointers no wider than a word, so that one forwarding function serves for all of them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long word;
_Static_assert(sizeof(word) == sizeof(void *), "a word holds CK_ULONG as well as a pointer");

/* In the order of CK_FUNCTION_LIST, with their numbers of parameters. */
#define FUNCTIONS(X)                                                                                                   \
    X(C_Initialize, 1) X(C_Finalize, 1) X(C_GetInfo, 1) X(C_GetFunctionList, 1) X(C_GetSlotList, 3)                    \
    X(C_GetSlotInfo, 2) X(C_GetTokenInfo, 2) X(C_GetMechanismList, 3) X(C_GetMechanismInfo, 3) X(C_InitToken, 4)       \
    X(C_InitPIN, 3) X(C_SetPIN, 5) X(C_OpenSession, 5) X(C_CloseSession, 1) X(C_CloseAllSessions, 1)                   \
    X(C_GetSessionInfo, 2) X(C_GetOperationState, 3) X(C_SetOperationState, 5) X(C_Login, 4) X(C_Logout, 1)            \
    X(C_CreateObject, 4) X(C_CopyObject, 5) X(C_DestroyObject, 2) X(C_GetObjectSize, 3) X(C_GetAttributeValue, 4)      \
    X(C_SetAttributeValue, 4) X(C_FindObjectsInit, 3) X(C_FindObjects, 4) X(C_FindObjectsFinal, 1)                     \
    X(C_EncryptInit, 3) X(C_Encrypt, 5) X(C_EncryptUpdate, 5) X(C_EncryptFinal, 3)                                     \
    X(C_DecryptInit, 3) X(C_Decrypt, 5) X(C_DecryptUpdate, 5) X(C_DecryptFinal, 3)                                     \
    X(C_DigestInit, 2) X(C_Digest, 5) X(C_DigestUpdate, 3) X(C_DigestKey, 2) X(C_DigestFinal, 3)                       \
    X(C_SignInit, 3) X(C_Sign, 5) X(C_SignUpdate, 3) X(C_SignFinal, 3) X(C_SignRecoverInit, 3) X(C_SignRecover, 5)     \
    X(C_VerifyInit, 3) X(C_Verify, 5) X(C_VerifyUpdate, 3) X(C_VerifyFinal, 3) X(C_VerifyRecoverInit, 3)               \
    X(C_VerifyRecover, 5) X(C_DigestEncryptUpdate, 5) X(C_DecryptDigestUpdate, 5) X(C_SignEncryptUpdate, 5)            \
    X(C_DecryptVerifyUpdate, 5) X(C_GenerateKey, 5) X(C_GenerateKeyPair, 8) X(C_WrapKey, 6) X(C_UnwrapKey, 8)          \
    X(C_DeriveKey, 6) X(C_SeedRandom, 3) X(C_GenerateRandom, 3) X(C_GetFunctionStatus, 1) X(C_CancelFunction, 1)       \
    X(C_WaitForSlotEvent, 3)

enum function {
#define NUMBER(name, parameters) F_##name,
    FUNCTIONS(NUMBER)
    FUNCTION_COUNT
};
_Static_assert(FUNCTION_COUNT == 68, "CK_FUNCTION_LIST has 68 functions");

struct attribute { /* CK_ATTRIBUTE */
    word type;
    unsigned char *value;
    word length;
};

struct initialize_args { /* CK_C_INITIALIZE_ARGS, with the field that NSS puts before pReserved */
    void *mutex_functions[4];
    word flags;
    const char *parameters;
    void *reserved;
};

struct function_list { /* CK_FUNCTION_LIST */
    unsigned char version[2];
    void *function[FUNCTION_COUNT];
};

enum { CKR_OK = 0, CKR_GENERAL_ERROR = 5 };
#define UNAVAILABLE (~0UL) /* CK_UNAVAILABLE_INFORMATION */
#define CKF_OS_LOCKING_OK 2UL

static const struct { const char *name; word value; } RETURNS[] = {
    {"CKR_OK", 0}, {"CKR_CANCEL", 1}, {"CKR_HOST_MEMORY", 2}, {"CKR_SLOT_ID_INVALID", 3}, {"CKR_GENERAL_ERROR", 5},
    {"CKR_FUNCTION_FAILED", 6}, {"CKR_ARGUMENTS_BAD", 7}, {"CKR_ATTRIBUTE_READ_ONLY", 0x10},
    {"CKR_ATTRIBUTE_SENSITIVE", 0x11}, {"CKR_ATTRIBUTE_TYPE_INVALID", 0x12}, {"CKR_ATTRIBUTE_VALUE_INVALID", 0x13},
    {"CKR_ACTION_PROHIBITED", 0x1b}, {"CKR_DATA_INVALID", 0x20}, {"CKR_DATA_LEN_RANGE", 0x21},
    {"CKR_DEVICE_ERROR", 0x30}, {"CKR_DEVICE_MEMORY", 0x31}, {"CKR_DEVICE_REMOVED", 0x32},
    {"CKR_ENCRYPTED_DATA_INVALID", 0x40}, {"CKR_ENCRYPTED_DATA_LEN_RANGE", 0x41}, {"CKR_FUNCTION_CANCELED", 0x50},
    {"CKR_FUNCTION_NOT_SUPPORTED", 0x54}, {"CKR_KEY_HANDLE_INVALID", 0x60}, {"CKR_KEY_SIZE_RANGE", 0x62},
    {"CKR_KEY_TYPE_INCONSISTENT", 0x63}, {"CKR_KEY_FUNCTION_NOT_PERMITTED", 0x68}, {"CKR_MECHANISM_INVALID", 0x70},
    {"CKR_MECHANISM_PARAM_INVALID", 0x71}, {"CKR_OBJECT_HANDLE_INVALID", 0x82}, {"CKR_OPERATION_ACTIVE", 0x90},
    {"CKR_OPERATION_NOT_INITIALIZED", 0x91}, {"CKR_PIN_INCORRECT", 0xa0}, {"CKR_PIN_INVALID", 0xa1},
    {"CKR_PIN_LEN_RANGE", 0xa2}, {"CKR_PIN_EXPIRED", 0xa3}, {"CKR_PIN_LOCKED", 0xa4}, {"CKR_SESSION_CLOSED", 0xb0},
    {"CKR_SESSION_COUNT", 0xb1}, {"CKR_SESSION_HANDLE_INVALID", 0xb3}, {"CKR_SESSION_READ_ONLY", 0xb5},
    {"CKR_SIGNATURE_INVALID", 0xc0}, {"CKR_SIGNATURE_LEN_RANGE", 0xc1}, {"CKR_TEMPLATE_INCOMPLETE", 0xd0},
    {"CKR_TEMPLATE_INCONSISTENT", 0xd1}, {"CKR_TOKEN_NOT_PRESENT", 0xe0}, {"CKR_TOKEN_NOT_RECOGNIZED", 0xe1},
    {"CKR_TOKEN_WRITE_PROTECTED", 0xe2}, {"CKR_USER_ALREADY_LOGGED_IN", 0x100}, {"CKR_USER_NOT_LOGGED_IN", 0x101},
    {"CKR_USER_PIN_NOT_INITIALIZED", 0x102}, {"CKR_USER_TOO_MANY_TYPES", 0x105}, {"CKR_RANDOM_NO_RNG", 0x121},
    {"CKR_DOMAIN_PARAMS_INVALID", 0x130}, {"CKR_CURVE_NOT_SUPPORTED", 0x140}, {"CKR_BUFFER_TOO_SMALL", 0x150},
    {"CKR_STATE_UNSAVEABLE", 0x180},
    {"CKR_CRYPTOKI_NOT_INITIALIZED", 0x190}, {"CKR_CRYPTOKI_ALREADY_INITIALIZED", 0x191}, {"CKR_MUTEX_BAD", 0x1a0},
    {"CKR_VENDOR_DEFINED", 0x80000000UL},
};

/* Where a function puts its bytes: the parameter that points to them, and the one that points to their number. */
static const struct { unsigned char data, length; } OUTPUTS[FUNCTION_COUNT] = {
    [F_C_Encrypt] = {3, 4}, [F_C_EncryptUpdate] = {3, 4}, [F_C_EncryptFinal] = {1, 2},
    [F_C_Decrypt] = {3, 4}, [F_C_DecryptUpdate] = {3, 4}, [F_C_DecryptFinal] = {1, 2},
    [F_C_Digest] = {3, 4}, [F_C_DigestFinal] = {1, 2},
    [F_C_Sign] = {3, 4}, [F_C_SignFinal] = {1, 2}, [F_C_SignRecover] = {3, 4}, [F_C_VerifyRecover] = {3, 4},
    [F_C_WrapKey] = {4, 5}, [F_C_GetOperationState] = {1, 2},
};

static const struct { const char *name; unsigned parameters; } NAMES[FUNCTION_COUNT] = {
#define NAME(name, parameters) {#name, parameters},
    FUNCTIONS(NAME)
};

struct call {
    enum function function;
    word *parameter;
    word result;
    int answered;         /* the real module is not asked */
    word offered[64];     /* lengths of the buffers before the call */
};

struct rule {
    char line[160];
    char function[32];
    word nth; /* 0: every call */
    int onwards;
    const struct action *action;
    word argument;
    word seen;
};

enum { MOST_RULES = 32, MOST_SCHEDULE = MOST_RULES * 160 };

static struct function_list *real;
static struct rule rules[MOST_RULES];
static word last_slot;

static word ask(enum function function, const word *p) {
    void *f = real ? real->function[function] : NULL;
    if (!f)
        return CKR_GENERAL_ERROR;
    switch (NAMES[function].parameters) {
    case 1: return ((word (*)(word))f)(p[0]);
    case 2: return ((word (*)(word, word))f)(p[0], p[1]);
    case 3: return ((word (*)(word, word, word))f)(p[0], p[1], p[2]);
    case 4: return ((word (*)(word, word, word, word))f)(p[0], p[1], p[2], p[3]);
    case 5: return ((word (*)(word, word, word, word, word))f)(p[0], p[1], p[2], p[3], p[4]);
    case 6: return ((word (*)(word, word, word, word, word, word))f)(p[0], p[1], p[2], p[3], p[4], p[5]);
    default:
        return ((word (*)(word, word, word, word, word, word, word, word))f)(p[0], p[1], p[2], p[3], p[4], p[5], p[6],
                                                                             p[7]);
    }
}

/* Appends a line of two words; the file is opened every time, since a descriptor kept would not survive close-fds. */
static void note_words(const char *first, const char *second) {
    const char *path = getenv("SHIM_LOG");
    char line[80];
    int file = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (file < 0)
        return;
    int length = snprintf(line, sizeof line, "%s %s\n", first, second);
    if (write(file, line, (size_t)length) != length)
        abort();
    close(file);
}

/* Says how a call ended. */
static void note(enum function function, const char *end) {
    note_words(NAMES[function].name, end);
}

static void sleep_ms(word ms) {
    struct timespec left = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) && errno == EINTR)
        ;
}

/* The outputs of a call that went well: fn gets the bytes, NULL when the caller only asked for a length. */
static void each_output(struct call *call, word argument, void (*fn)(unsigned char *, word *, word offered, word)) {
    word *p = call->parameter;
    if (call->function == F_C_GetAttributeValue) {
        struct attribute *attributes = (struct attribute *)p[2];
        for (word i = 0; i < p[3] && i < 64; i++)
            if (attributes[i].value && attributes[i].length != UNAVAILABLE)
                fn(attributes[i].value, &attributes[i].length, call->offered[i], argument);
    } else if (call->function == F_C_GenerateRandom) {
        fn((unsigned char *)p[1], &p[2], p[2], argument);
    } else if (OUTPUTS[call->function].length && p[OUTPUTS[call->function].data]) {
        fn((unsigned char *)p[OUTPUTS[call->function].data], (word *)p[OUTPUTS[call->function].length],
           call->offered[0], argument);
    }
}

static void remember_offers(struct call *call) {
    word *p = call->parameter;
    if (call->function == F_C_GetAttributeValue) {
        for (word i = 0; i < p[3] && i < 64; i++)
            call->offered[i] = ((struct attribute *)p[2])[i].length;
    } else if (OUTPUTS[call->function].length && p[OUTPUTS[call->function].length]) {
        call->offered[0] = *(word *)p[OUTPUTS[call->function].length];
    }
}

static void shorten(unsigned char *data, word *length, word offered, word by) {
    (void)data, (void)offered;
    *length -= by < *length ? by : *length;
}

static void lengthen(unsigned char *data, word *length, word offered, word by) {
    (void)data;
    *length = offered + by;
}

static void flip(unsigned char *data, word *length, word offered, word argument) {
    (void)offered, (void)argument;
    if (*length)
        data[0] ^= 1;
}

static void do_return(struct call *call, word argument) {
    call->result = argument;
    call->answered = 1;
}

static void do_then_return(struct call *call, word argument) {
    call->result = argument;
}

static void do_segv(struct call *call, word argument) {
    (void)argument;
    note(call->function, "segv");
    *(volatile int *)NULL = 0;
}

static void do_abort(struct call *call, word argument) {
    (void)argument;
    note(call->function, "abort");
    abort();
}

static void do_exit(struct call *call, word argument) {
    note(call->function, "exit");
    exit((int)argument);
}

static void do_hang(struct call *call, word argument) {
    (void)argument;
    note(call->function, "hang");
    for (;;)
        sleep_ms(3600 * 1000);
}

static void do_slow(struct call *call, word argument) {
    /* Tests wait for this line. */
    note_words("asleep", NAMES[call->function].name);
    sleep_ms(argument);
}

static void do_short(struct call *call, word argument) {
    if (call->result == CKR_OK)
        each_output(call, argument, shorten);
}

static void do_long(struct call *call, word argument) {
    if (call->result == CKR_OK)
        each_output(call, argument, lengthen);
}

static void do_flip(struct call *call, word argument) {
    if (call->result == CKR_OK)
        each_output(call, argument, flip);
}

static void do_leak_memory(struct call *call, word argument) {
    (void)call;
    char *leak = malloc(argument * 1024);
    for (word i = 0; leak && i < argument * 1024; i += 1024)
        ((volatile char *)leak)[i] = 1;
}

static void do_leak_fd(struct call *call, word argument) {
    (void)call, (void)argument;
    const char *path = getenv("SHIM_SCHEDULE");
    if (!path || open(path, O_RDONLY | O_CLOEXEC) < 0)
        abort();
}

static void do_leak_session(struct call *call, word argument) {
    (void)call, (void)argument;
    word session, p[] = {last_slot, 4 /* CKF_SERIAL_SESSION */, 0, 0, (word)&session};
    ask(F_C_OpenSession, p);
}

static void do_garbage(struct call *call, word argument) {
    (void)call, (void)argument;
    static const char text[] = "\x1b[31mmodule: \xff\x00 debug {\"level\": 7\n";
    for (int fd = 1; fd <= 2; fd++)
        if (write(fd, text, sizeof text) < 0)
            continue; /* nobody listens */
}

static void do_close_fds(struct call *call, word argument) {
    (void)call, (void)argument;
    for (int fd = 0; fd <= 100; fd++)
        close(fd);
}

/* What a module can do that has taken its process over: it has all its descriptors. */
static void do_accuse(struct call *call, word argument) {
    (void)call;
    for (word serial = 1; serial <= argument; serial++) {
        /* contracts/ipc/control.py: the number of the kind, its fields without padding, zeros */
        struct __attribute__((packed)) {
            unsigned char kind;
            word role, serial;
            unsigned char zeros[23];
        } record = {20 /* Violation */, 3 /* FRONTEND */, serial, {0}};
        _Static_assert(sizeof record == 40, "a control record");
        send(3 /* the control socket */, &record, sizeof record, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

static void do_speak(struct call *call, word argument) {
    (void)call;
    unsigned char message[2] = {argument >> 8, argument};
    for (int fd = 4; fd <= 100; fd++)
        send(fd, message, sizeof message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static const struct action {
    const char *name;
    void (*before)(struct call *, word argument);
    void (*after)(struct call *, word argument);
} ACTIONS[] = {
    {"return", do_return, NULL},             /* a CKR name or number, without asking the module */
    {"then-return", NULL, do_then_return},   /* the same, after asking it */
    {"segv", do_segv, NULL},
    {"abort", do_abort, NULL},
    {"exit", do_exit, NULL},                 /* a code */
    {"hang", do_hang, NULL},
    {"slow", do_slow, NULL},                 /* milliseconds */
    {"then-slow", NULL, do_slow},            /* milliseconds, after the module has done it */
    {"short", NULL, do_short},               /* bytes less than there are */
    {"long", NULL, do_long},                 /* bytes more than the buffer has */
    {"flip", NULL, do_flip},
    {"leak-memory", do_leak_memory, NULL},   /* KiB */
    {"leak-fd", do_leak_fd, NULL},
    {"leak-session", NULL, do_leak_session},
    {"garbage-stdout", do_garbage, NULL},
    {"close-fds", do_close_fds, NULL},
    {"accuse", do_accuse, NULL},             /* frontends, up to this serial number, to the broker */
    {"speak", do_speak, NULL},               /* two bytes, on every channel */
};

static word number(const char *text) {
    for (size_t i = 0; i < sizeof RETURNS / sizeof *RETURNS; i++)
        if (!strcmp(text, RETURNS[i].name))
            return RETURNS[i].value;
    char *end;
    word value = strtoul(text, &end, 0);
    if (*end)
        abort(); /* a mistake of the test, which must not look like success */
    return value;
}

static void parse(const char *line, struct rule *rule) {
    char action[32] = "", argument[64] = "0", plus = 0;
    memset(rule, 0, sizeof *rule);
    snprintf(rule->line, sizeof rule->line, "%s", line);
    if (sscanf(line, "%31[^@ ]@%lu%c", rule->function, &rule->nth, &plus) < 1)
        abort();
    rule->onwards = plus == '+';
    if (sscanf(line, "%*s %31s %63s", action, argument) < 1)
        abort();
    for (size_t i = 0; i < sizeof ACTIONS / sizeof *ACTIONS; i++)
        if (!strcmp(action, ACTIONS[i].name))
            rule->action = &ACTIONS[i];
    if (!rule->action)
        abort();
    rule->argument = number(argument);
}

/* Reads a small file whole and ends it with a NUL; nothing when there is none. */
static void read_file(const char *path, char *text, size_t size) {
    size_t length = 0;
    ssize_t got;
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    while (file >= 0 && (got = read(file, text + length, size - 1 - length)) > 0)
        length += (size_t)got;
    if (file >= 0)
        close(file);
    text[length] = 0;
}

/* Takes over the schedule as it is now; a rule that was there before keeps its count. */
static void read_schedule(void) {
    static char now[MOST_SCHEDULE], before[MOST_SCHEDULE];
    static struct rule old[MOST_RULES];
    char *rest = NULL;
    read_file(getenv("SHIM_SCHEDULE"), now, sizeof now);
    if (!strcmp(now, before))
        return;
    strcpy(before, now);
    memcpy(old, rules, sizeof rules);
    memset(rules, 0, sizeof rules);
    size_t count = 0;
    for (char *line = strtok_r(now, "\n", &rest); line && count < MOST_RULES; line = strtok_r(NULL, "\n", &rest)) {
        struct rule *rule = &rules[count++];
        parse(line, rule);
        for (size_t i = 0; i < MOST_RULES; i++)
            if (!strcmp(old[i].line, rule->line))
                rule->seen = old[i].seen;
    }
}

static int is_due(struct rule *rule, enum function function) {
    if (!rule->action || (strcmp(rule->function, "*") && strcmp(rule->function, NAMES[function].name)))
        return 0;
    rule->seen++;
    return !rule->nth || rule->seen == rule->nth || (rule->onwards && rule->seen > rule->nth);
}

static word initialize(struct call *call) {
    struct initialize_args args = {.flags = CKF_OS_LOCKING_OK, .parameters = getenv("SHIM_PARAMETERS")};
    if (!args.parameters)
        return ask(call->function, call->parameter);
    return ask(call->function, (word[]){(word)&args});
}

static struct function_list ours;

static word answer(struct call *call) {
    if (call->function == F_C_GetFunctionList) {
        *(struct function_list **)call->parameter[0] = &ours;
        return CKR_OK;
    }
    if (call->function == F_C_Initialize)
        return initialize(call);
    if (call->function == F_C_OpenSession)
        last_slot = call->parameter[0];
    return ask(call->function, call->parameter);
}

static word forward(enum function function, word *parameter) {
    struct call call = {.function = function, .parameter = parameter};
    int due[MOST_RULES];
    char end[24];
    remember_offers(&call);
    read_schedule();
    for (size_t i = 0; i < MOST_RULES; i++) {
        due[i] = is_due(&rules[i], function);
        if (due[i] && rules[i].action->before)
            rules[i].action->before(&call, rules[i].argument);
    }
    if (!call.answered)
        call.result = answer(&call);
    for (size_t i = 0; i < MOST_RULES; i++)
        if (due[i] && rules[i].action->after)
            rules[i].action->after(&call, rules[i].argument);
    snprintf(end, sizeof end, "0x%lx", call.result);
    note(function, end);
    return call.result;
}

#define P1 word a
#define P2 P1, word b
#define P3 P2, word c
#define P4 P3, word d
#define P5 P4, word e
#define P6 P5, word f
#define P7 P6, word g
#define P8 P7, word h
#define A1 a
#define A2 A1, b
#define A3 A2, c
#define A4 A3, d
#define A5 A4, e
#define A6 A5, f
#define A7 A6, g
#define A8 A7, h
#define DEFINE(name, parameters)                                                                                       \
    word name(P##parameters) {                                                                                         \
        word p[] = {A##parameters};                                                                                    \
        return forward(F_##name, p);                                                                                   \
    }
FUNCTIONS(DEFINE)

static struct function_list ours = {{2, 40}, {
#define ENTRY(name, parameters) (void *)name,
    FUNCTIONS(ENTRY)
}};

/* Before the process closes its sandbox: reads the settings and loads the module. */
__attribute__((constructor)) static void load(void) {
    static char settings[4096];
    char path[512];
    Dl_info self;
    char *rest = NULL;
    if (dladdr((void *)load, &self)) {
        snprintf(path, sizeof path, "%s.env", self.dli_fname);
        read_file(path, settings, sizeof settings);
    }
    for (char *line = strtok_r(settings, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (putenv(line))
            abort();
    const char *module = getenv("SHIM_MODULE");
    void *library = module ? dlopen(module, RTLD_NOW | RTLD_LOCAL) : NULL;
    word (*get_list)(struct function_list **) = NULL;
    if (library)
        *(void **)&get_list = dlsym(library, "C_GetFunctionList");
    if (!get_list || get_list(&real) != CKR_OK)
        real = NULL;
}

/*
 * What an operation costs in a PKCS#11 module when nobody stands before it: one thread, one session that is logged in,
 * one key of the token whose handle is known. `./dev bench` measures it beside the service.
 *
 *   cc -O2 -o pkcs11_floor pkcs11_floor.c && ./pkcs11_floor MODULE SLOT PIN OPERATION SECONDS
 *
 * Prints {"calls": N, "rate": PER_SECOND, "p50_us": MICROSECONDS}. The key is made for it and destroyed after.
 * Types and numbers are from the OASIS PKCS#11 specification, version 2.40.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long word; /* CK_ULONG */
typedef unsigned char byte;

struct attribute { word type; const void *value; word length; };    /* CK_ATTRIBUTE */
struct mechanism { word number; const void *parameter; word length; }; /* CK_MECHANISM */
struct gcm { const byte *iv; word iv_bytes, iv_bits; const byte *aad; word aad_bytes, tag_bits; }; /* CK_GCM_PARAMS */

#define IS(kind, object) {kind, &(object), sizeof(object)}
enum { CKA_TOKEN = 1, CKA_PRIVATE = 2, CKA_SENSITIVE = 0x103, CKA_ENCRYPT = 0x104, CKA_DECRYPT = 0x105, CKA_SIGN = 0x108,
       CKA_VERIFY = 0x10a, CKA_MODULUS_BITS = 0x121, CKA_PUBLIC_EXPONENT = 0x122, CKA_VALUE_LEN = 0x161,
       CKA_EC_PARAMS = 0x180 };
enum { RSA_KEY_PAIR_GEN = 0, RSA_PKCS = 1, EC_KEY_PAIR_GEN = 0x1040, ECDSA, AES_KEY_GEN = 0x1080, AES_GCM = 0x1087 };
enum { INITIALIZE, OPEN_SESSION = 12, LOGIN = 18, DESTROY_OBJECT = 22, ENCRYPT_INIT = 29, ENCRYPT, SIGN_INIT = 42, SIGN,
       VERIFY_INIT = 48, VERIFY, GENERATE_KEY = 58, GENERATE_KEY_PAIR, GENERATE_RANDOM = 64 }; /* in CK_FUNCTION_LIST */
enum { CKU_USER = 1, CKF_SERIAL_RW = 6, MOST_CALLS = 1 << 22 };

static struct { byte version[2]; void *function[68]; } *module;
static word session, key, public_key;
static byte input[1024], output[2048];
static word input_length, output_length;
static struct gcm gcm = {.iv = (const byte[12]){0}, .iv_bytes = 12, .iv_bits = 96, .tag_bits = 128};
static struct mechanism how;

static void check(const char *what, word code)
{
    if (!code) return;
    fprintf(stderr, "pkcs11_floor: %s: 0x%lx\n", what, code);
    _exit(1); /* without the module's own end */
}

typedef word login(word, word, const char *, word), initialize(const void *), destroy(word, word);
typedef word open_session(word, word, void *, void *, word *);
typedef word begin(word, const struct mechanism *, word); /* C_SignInit, C_VerifyInit, C_EncryptInit */
typedef word transform(word, const byte *, word, byte *, word *);
typedef word compare(word, const byte *, word, const byte *, word);
typedef word generate(word, const struct mechanism *, const struct attribute *, word, word *);
typedef word generate_pair(word, const struct mechanism *, const struct attribute *, word, const struct attribute *,
                           word, word *, word *);
typedef word generate_random(word, byte *, word);

#define CALL(number, type, ...) check(#number, ((type *)module->function[number])(__VA_ARGS__))

static void sign(void)
{
    output_length = sizeof output;
    CALL(SIGN_INIT, begin, session, &how, key);
    CALL(SIGN, transform, session, input, input_length, output, &output_length);
}

static void verify(void)
{
    CALL(VERIFY_INIT, begin, session, &how, public_key);
    CALL(VERIFY, compare, session, input, input_length, output, output_length);
}

static void encrypt(void)
{
    output_length = sizeof output;
    CALL(ENCRYPT_INIT, begin, session, &how, key);
    CALL(ENCRYPT, transform, session, input, input_length, output, &output_length);
}

static void take_random(void) { CALL(GENERATE_RANDOM, generate_random, session, output, 32); }

static const byte yes = 1;
static const word bits = 2048, secret_bytes = 32;
static const byte exponent[] = {1, 0, 1};
static const byte p256[] = {6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7};
static const struct attribute private[] = {
    IS(CKA_TOKEN, yes), IS(CKA_PRIVATE, yes), IS(CKA_SENSITIVE, yes), IS(CKA_SIGN, yes)};

static void make_curve(void)
{
    const struct attribute public[] = {IS(CKA_TOKEN, yes), IS(CKA_VERIFY, yes), IS(CKA_EC_PARAMS, p256)};
    how.number = EC_KEY_PAIR_GEN;
    CALL(GENERATE_KEY_PAIR, generate_pair, session, &how, public, 3, private, 4, &public_key, &key);
    how.number = ECDSA;
    input_length = 32;
    sign();
}

static void make_rsa(void)
{
    const struct attribute public[] = {
        IS(CKA_TOKEN, yes), IS(CKA_VERIFY, yes), IS(CKA_MODULUS_BITS, bits), IS(CKA_PUBLIC_EXPONENT, exponent)};
    how.number = RSA_KEY_PAIR_GEN;
    CALL(GENERATE_KEY_PAIR, generate_pair, session, &how, public, 4, private, 4, &public_key, &key);
    how.number = RSA_PKCS;
    input_length = 51; /* DigestInfo and SHA-256 */
}

static void make_aes(void)
{
    const struct attribute secret[] = {IS(CKA_TOKEN, yes), IS(CKA_PRIVATE, yes), IS(CKA_SENSITIVE, yes),
                                       IS(CKA_ENCRYPT, yes), IS(CKA_DECRYPT, yes), IS(CKA_VALUE_LEN, secret_bytes)};
    how.number = AES_KEY_GEN;
    CALL(GENERATE_KEY, generate, session, &how, secret, 6, &key);
    how = (struct mechanism){AES_GCM, &gcm, sizeof gcm};
    input_length = sizeof input;
}

static void make_nothing(void) {}

static const struct { const char *name; void (*make)(void), (*run)(void); } OPERATIONS[] = {
    {"ecdsa-sign", make_curve, sign}, {"ecdsa-verify", make_curve, verify}, {"rsa-sign", make_rsa, sign},
    {"gcm-encrypt", make_aes, encrypt}, {"random", make_nothing, take_random},
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Runs one operation again and again for a time, and returns how often. */
static size_t repeat(void (*run)(void), double seconds, float *took)
{
    double first = now(), before = first, after = first;
    size_t calls = 0;
    for (; after - first < seconds && calls < MOST_CALLS; calls++, before = after) {
        run();
        after = now();
        took[calls] = (float)(after - before);
    }
    return calls;
}

int main(int argc, char **argv)
{
    static float took[MOST_CALLS];
    size_t n = 0;
    if (argc != 6) return 2;
    while (n < sizeof OPERATIONS / sizeof *OPERATIONS && strcmp(OPERATIONS[n].name, argv[4])) n++;
    if (n == sizeof OPERATIONS / sizeof *OPERATIONS) return 2;
    void *library = dlopen(argv[1], RTLD_NOW);
    word (*get_list)(void *) = library ? (word (*)(void *))dlsym(library, "C_GetFunctionList") : NULL;
    if (!get_list) {
        fprintf(stderr, "pkcs11_floor: %s\n", dlerror());
        return 1;
    }
    check("C_GetFunctionList", get_list(&module));
    CALL(INITIALIZE, initialize, NULL); /* nobody calls from another thread */
    CALL(OPEN_SESSION, open_session, strtoul(argv[2], NULL, 10), CKF_SERIAL_RW, NULL, NULL, &session);
    CALL(LOGIN, login, session, CKU_USER, argv[3], strlen(argv[3]));
    OPERATIONS[n].make();
    repeat(OPERATIONS[n].run, 0.1, took);
    double first = now();
    size_t calls = repeat(OPERATIONS[n].run, strtod(argv[5], NULL), took);
    double span = now() - first;
    if (key) CALL(DESTROY_OBJECT, destroy, session, key);
    if (public_key) CALL(DESTROY_OBJECT, destroy, session, public_key);
    qsort(took, calls, sizeof *took, by_value);
    printf("{\"calls\": %zu, \"rate\": %.1f, \"p50_us\": %.2f}\n", calls, (double)calls / span, took[calls / 2] * 1e6);
    fflush(stdout);
    _exit(0); /* SoftHSM crashes when a process that loaded it takes itself apart */
}

/*
 * What a ping costs when nothing is decided: one thread that accepts, reads, answers the golden ping response, closes.
 * `./dev bench` measures it beside the service, because only the ratio of the two says something on a shared machine.
 *
 *   cc -O2 -o floor floor.c && ./floor SOCKET
 */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static const char answer[38] = {0x10, (char)0xa7, (char)0xc0, 0x5e, 0x1e, 0, 1,
                                    [22] = 2, [28] = 1, [36] = 8, [37] = 1};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char request[4096];

    if (argc != 2 || strlen(argv[1]) >= sizeof address.sun_path) return 2;
    strcpy(address.sun_path, argv[1]);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) return 1;
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) continue;
        if (read(client, request, sizeof request) > 0) (void)!send(client, answer, sizeof answer, MSG_NOSIGNAL);
        close(client);
    }
}

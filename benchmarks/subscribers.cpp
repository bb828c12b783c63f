// `subscribers ENDPOINT COUNT`: COUNT plain SUB sockets on one stream, each read as it comes; a line when all are connected, and none later.

#include <zmq.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

int main(int count, char** words) {
    if (count != 3) return 2;
    void* context = zmq_ctx_new();
    std::vector<zmq_pollitem_t> sockets(size_t(std::atoi(words[2])));
    for (zmq_pollitem_t& one : sockets) {
        one = {zmq_socket(context, ZMQ_SUB), 0, ZMQ_POLLIN, 0};
        zmq_setsockopt(one.socket, ZMQ_SUBSCRIBE, "", 0);
        if (zmq_connect(one.socket, words[1])) return 1;
    }
    std::vector<char> buffer(1 << 20);
    std::vector<bool> heard(sockets.size());
    size_t missing = sockets.size();
    while (zmq_poll(sockets.data(), int(sockets.size()), -1) >= 0) {
        for (size_t at = 0; at < sockets.size(); at++) {
            if (!(sockets[at].revents & ZMQ_POLLIN)) continue;
            while (zmq_recv(sockets[at].socket, buffer.data(), buffer.size(), ZMQ_DONTWAIT) >= 0) {
            }
            if (!heard[at]) heard[at] = true, missing--;
            if (!missing) std::puts("all"), std::fflush(stdout), missing = SIZE_MAX;
        }
    }
}

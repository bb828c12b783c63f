// Prints what a controller would do, as it would decide it: follow, go on, stop.
//
//     follow ipc:///run/edged/pick/action pick/action

#include <csignal>
#include <cstdio>
#include <edged/client.hpp>
#include <exception>

static volatile std::sig_atomic_t ended = 0;

static void follow(const char* endpoint, const char* topic) {
    edged::Stream stream(endpoint, topic, 100);
    float command[16] = {};        // the newest step of the newest action; a real controller interpolates
    int64_t until_ns = 0;          // until when it may be followed; 0 = there is none
    bool was_lost = false;
    while (!ended) {
        stream.wait(1);            // a control loop waits for its own tick instead
        const edged::Heard heard = stream.latest();
        const int64_t now_ns = edged::monotonic_ns();
        const edged::Message& message = stream.message();
        if (heard == edged::Heard::Lost) {
            if (!was_lost) std::printf("STOP lost: %s\n", stream.lost_detail());
            until_ns = 0;
        } else if (heard == edged::Heard::Message && message.kind() == edged::Kind::action) {
            if (message.axes() > 16) continue;
            std::memcpy(command, message.array(0).data, 4 * message.axes());  // step 0
            until_ns = stream.good_until_ns(message.preamble);
            std::printf("follow #%llu %.4f ...\n", static_cast<unsigned long long>(message.preamble.seq), double(command[0]));
        } else if (heard == edged::Heard::Message && message.stop()) {
            const std::string_view detail = message.find("detail").text();
            std::printf("STOP reason %d %.*s\n", message.preamble.reason, int(detail.size()), detail.data());
            until_ns = 0;
        }
        // A Hold without stop, or nothing new: the command goes on until its own end.
        if (until_ns && now_ns >= until_ns) {
            std::puts("STOP the command's own end");
            until_ns = 0;
        }
        was_lost = heard == edged::Heard::Lost;
        std::fflush(stdout);
    }
}

int main(int count, char** words) {
    if (count != 3) {
        std::fprintf(stderr, "usage: follow ENDPOINT TOPIC, such as ipc:///run/edged/pick/action pick/action\n");
        return 2;
    }
    std::signal(SIGINT, [](int) { ended = 1; });
    std::signal(SIGTERM, [](int) { ended = 1; });
    try {
        follow(words[1], words[2]);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}

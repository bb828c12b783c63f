// What the C++ client costs: `player SECONDS` plays a plan of 7 axes at 1 kHz; `one-way ACTIONS BARE ROUNDS` hears actions
// of an edged::Stream and the same bytes of a bare SUB socket in turn. benchmarks/cpp_client.py builds and drives it.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <edged/client.hpp>
#include <memory>
#include <string>
#include <vector>

static const edged::Boot boot = {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};

// The message of a plan of 7 axes and 12 knots, 10 ms apart.
static std::vector<uint8_t> plan(int64_t now_ns, uint64_t seq) {
    const std::string topic("cell/action\0\0\0\0\0", 16);
    std::string head;
    auto word = [&](const std::string& text) { head += char(0xA0 | text.size()) + text; };
    auto number = [&](uint64_t value) {
        head += char(0xCF);
        for (int shift = 56; shift >= 0; shift -= 8) head += char(value >> shift);
    };
    const uint64_t size = 12 * 7 * 4;
    head += char(0x86);
    word("motion"), number(1);
    word("names"), head += char(0x97);
    for (int axis = 0; axis < 7; axis++) word("j" + std::to_string(axis));
    word("units"), head += char(0x97);
    for (int axis = 0; axis < 7; axis++) word(axis < 6 ? "rad" : "");
    word("t0_ns"), number(uint64_t(now_ns / 10000000 * 10000000));
    word("step_ns"), number(10000000);
    word("arrays"), head += char(0x92);
    for (uint64_t at = 0; at < 2; at++) {
        head += char(0x86);
        word("name"), word(at ? "velocity" : "action");
        word("dtype"), word("float32");
        word("shape"), head += char(0x92), number(12), number(7);
        word("offset"), number(at * size);
        word("length"), number(size);
        word("codec"), word("raw");
    }
    edged::Preamble p{};
    std::memcpy(p.magic, "EDG1", 4);
    p.kind = 1;
    p.header_len = uint32_t(head.size());
    p.payload_len = uint32_t(2 * size);
    p.session = 1;
    p.seq = seq;
    p.captured_ns = p.published_ns = now_ns;
    p.valid_for_ns = 100000000;
    p.boot = boot;
    std::string text = topic + std::string(reinterpret_cast<const char*>(&p), sizeof p) + head;
    text.resize((text.size() + 7) / 8 * 8);
    std::vector<uint8_t> bytes(text.begin(), text.end());
    for (int what = 0; what < 2; what++)
        for (int knot = 0; knot < 12; knot++)
            for (int axis = 0; axis < 7; axis++) {
                const double when = double(now_ns / 10000000 * 10000000 % 100000000000) / 1e9 + knot * 0.01;
                const float value = float(axis == 6 ? 0 : 0.02 * (what ? std::cos(when + axis) : std::sin(when + axis)));
                const uint8_t* raw = reinterpret_cast<const uint8_t*>(&value);
                bytes.insert(bytes.end(), raw, raw + 4);
            }
    return bytes;
}

static void print(const char* what, std::vector<int64_t>& spent) {
    std::sort(spent.begin(), spent.end());
    std::printf("%-28s p50 %.2f p99 %.2f us of %zu\n", what, double(spent[spent.size() / 2]) / 1e3,
                double(spent[spent.size() * 99 / 100]) / 1e3, spent.size());
}

static int time_it(double seconds) {
    edged::Player player({"j0", "j1", "j2", "j3", "j4", "j5", "j6"}, {8.0}, {0.05}, boot);
    auto message = std::make_unique<edged::Message>();
    std::vector<int64_t> commands, feeds, clocks;
    const size_t cycles = size_t(seconds * 1000);
    for (auto* spent : {&commands, &feeds, &clocks}) spent->reserve(cycles);
    int64_t due_ns = edged::monotonic_ns();
    double sum = 0;
    for (size_t cycle = 0; cycle < cycles; cycle++) {
        due_ns += edged::ns_per_ms;
        const timespec due{due_ns / 1000000000, due_ns % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, nullptr);
        const int64_t now_ns = edged::monotonic_ns();
        if (cycle % 10 == 0) {
            const std::vector<uint8_t> bytes = plan(now_ns, cycle + 1);
            if (edged::decode(bytes.data(), bytes.size(), *message)) return 1;
            const int64_t began_ns = edged::monotonic_ns();
            player.feed(*message, now_ns);
            feeds.push_back(edged::monotonic_ns() - began_ns);
        }
        const int64_t began_ns = edged::monotonic_ns();
        const edged::Command command = player.command(now_ns);
        const int64_t ended_ns = edged::monotonic_ns();
        commands.push_back(ended_ns - began_ns);
        clocks.push_back(edged::monotonic_ns() - ended_ns);
        if (command.state != edged::Playing::moving && cycle > 100) sum += 1;
        sum += command.values[0] * 1e-9;
    }
    std::vector<int64_t> hot;
    int64_t now_ns = edged::monotonic_ns();
    for (size_t i = 0; i < 2000; i++) {
        const std::vector<uint8_t> bytes = plan(now_ns += edged::ns_per_ms, cycles + i + 1);
        if (edged::decode(bytes.data(), bytes.size(), *message)) return 1;
        const int64_t began_ns = edged::monotonic_ns();
        player.feed(*message, now_ns);
        hot.push_back(edged::monotonic_ns() - began_ns);
        sum += player.command(now_ns).values[0] * 1e-9;
    }
    print("command(), 7 axes, 1 kHz", commands);
    print("feed(), 12 knots, 100 Hz", feeds);
    print("feed(), back to back", hot);
    print("reading the clock alone", clocks);
    if (sum >= 1) std::printf("%.0f commands were not on the trajectory: a busy machine\n", sum);
    return 0;
}

static int fail(const char* why) {
    std::fprintf(stderr, "%s\n", why);
    return 1;
}

static int one_way(const char* actions, const char* bare, size_t rounds) {
    void* context = zmq_ctx_new();
    void* socket = zmq_socket(context, ZMQ_SUB);
    zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0);
    if (zmq_connect(socket, bare)) return 1;
    edged::Options options;
    options.context = context;
    std::vector<int64_t> ours, theirs;
    {
        edged::Stream stream(actions, "cell/action", 1e6, options);
        const auto next = [] {
            std::puts("next");
            std::fflush(stdout);
        };
        while (ours.size() < rounds) {
            zmq_msg_t message;
            zmq_msg_init(&message);
            zmq_pollitem_t item{socket, 0, ZMQ_POLLIN, 0};
            if (zmq_poll(&item, 1, 2000) <= 0 || zmq_msg_recv(&message, socket, 0) < 0) return fail("nothing came on the bare socket");
            int64_t now_ns = edged::monotonic_ns(), sent_ns;
            std::memcpy(&sent_ns, zmq_msg_data(&message), 8);
            theirs.push_back(now_ns - sent_ns);
            zmq_msg_close(&message);
            next();
            do {
                if (!stream.wait(2000)) return fail("no action came");
            } while (stream.latest() != edged::Heard::Message);
            now_ns = edged::monotonic_ns();
            ours.push_back(now_ns - stream.message().preamble.published_ns);
            next();
        }
    }
    zmq_close(socket);
    zmq_ctx_term(context);
    for (auto& [name, spent] : {std::pair<const char*, std::vector<int64_t>&>{"bare", theirs}, {"stream", ours}}) {
        std::printf("%s", name);
        for (int64_t one : spent) std::printf(" %lld", static_cast<long long>(one));
        std::puts("");
    }
    return 0;
}

int main(int count, char** words) {
    const std::string what = count > 1 ? words[1] : "";
    if (what == "player" && count == 3) return time_it(std::atof(words[2]));
    if (what == "one-way" && count == 5) return one_way(words[2], words[3], size_t(std::atoi(words[4])));
    return 2;
}

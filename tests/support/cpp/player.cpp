// What the tests ask the C++ player: `trace` reads tests/golden/player_*.txt from stdin and prints a line for each one
// that it reads; `time SECONDS` plays a plan of 7 axes at 1 kHz and prints how long a cycle takes; `repeat TRACE` plays
// a trace, then prints how often operator new was called after its first message.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <edged/client.hpp>
#include <fstream>
#include <iostream>
#include <memory>
#include <new>
#include <sstream>

static size_t allocations = 0;
#ifdef COUNT_ALLOCATIONS  // not beside a sanitizer, which has an operator new of its own
void* operator new(size_t size) {
    allocations++;
    if (void* made = std::malloc(size ? size : 1)) return made;
    throw std::bad_alloc();
}
void operator delete(void* made) noexcept { std::free(made); }
void operator delete(void* made, size_t) noexcept { std::free(made); }
#endif

static const edged::Boot boot = {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};
static const char* const refusals[] = {"",           "old",       "future",  "expired", "other axes",
                                       "not finite", "no action", "braking", "too far"};
static const char* const states[] = {"moving", "tail", "holding", "lost"};

struct Line {
    char what;  // feed, lost, ask, or stands
    int64_t now_ns;
    std::vector<uint8_t> bytes;
    std::vector<double> values;
};

static std::vector<uint8_t> bytes_of(const std::string& hex) {
    std::vector<uint8_t> bytes;
    for (size_t at = 0; at + 1 < hex.size(); at += 2) bytes.push_back(uint8_t(std::stoi(hex.substr(at, 2), nullptr, 16)));
    return bytes;
}

static std::vector<Line> lines_of(std::istream& in, std::unique_ptr<edged::Player>& player) {
    std::vector<Line> lines;
    for (std::string text, word; std::getline(in, text);) {
        std::istringstream words(text);
        words >> word;
        if (word == "player") {
            double braking, bridge;
            std::vector<std::string> names;
            words >> braking >> bridge;
            while (words >> word) names.push_back(word);
            player = std::make_unique<edged::Player>(names, std::vector<double>{braking}, std::vector<double>{bridge}, boot);
            continue;
        }
        Line line{word[0], 0, {}, {}};
        words >> line.now_ns;
        if (word == "feed" && words >> word) line.bytes = bytes_of(word);
        if (word == "stands") for (double value; words >> value;) line.values.push_back(value);
        lines.push_back(std::move(line));
    }
    return lines;
}

static void fail(const char* why) {
    std::fprintf(stderr, "%s\n", why);
    std::exit(1);
}

static int trace() {
    std::unique_ptr<edged::Player> player;
    auto message = std::make_unique<edged::Message>();
    for (const Line& line : lines_of(std::cin, player)) {
        if (line.what == 'f') {
            if (const char* wrong = edged::decode(line.bytes.data(), line.bytes.size(), *message)) fail(wrong);
            std::printf("fed %s|%s\n", refusals[size_t(player->feed(*message, line.now_ns))], player->stopped());
        } else if (line.what == 'l') {
            player->lost(150, "silent", line.now_ns);
            std::printf("lost |%s\n", player->stopped());
        } else if (line.what == 's') {
            player->stands(line.values.data());
        } else {
            const edged::Command command = player->command(line.now_ns);
            std::printf("ask %lld %s", static_cast<long long>(line.now_ns), states[size_t(command.state)]);
            for (const double* of : {command.values, command.velocities})
                for (size_t axis = 0; of && axis < player->axes(); axis++) std::printf(" %.17g", of[axis]);
            std::puts("");
        }
    }
    return 0;
}

static int repeat(const char* path) {
    std::unique_ptr<edged::Player> player;
    std::ifstream file(path);
    const std::vector<Line> lines = lines_of(file, player);
    auto message = std::make_unique<edged::Message>();
    size_t heard = 0, asked = 0, before = 0;
    double sum = 0;
    for (const Line& line : lines) {
        if (line.what == 'f') {
            if (edged::decode(line.bytes.data(), line.bytes.size(), *message)) return 1;
            player->feed(*message, line.now_ns);
            if (!heard++) before = allocations;
        } else if (line.what == 'l') {
            player->lost(150, "silent", line.now_ns);
        } else {
            const edged::Command command = player->command(line.now_ns);
            if (command.values) sum += command.values[0];
            asked++;
        }
    }
    std::printf("%zu allocations in %zu messages and %zu commands%s\n", allocations - before, heard, asked, sum != 0 ? "" : "?");
    return 0;
}

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
            if (const char* wrong = edged::decode(bytes.data(), bytes.size(), *message)) fail(wrong);
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

int main(int count, char** words) {
    const std::string what = count > 1 ? words[1] : "";
    if (what == "trace" && count == 2) return trace();
    if (what == "repeat" && count == 3) return repeat(words[2]);
    if (what == "time" && count == 3) return time_it(std::atof(words[2]));
    return 2;
}

// What the tests ask the C++ player: `trace` reads tests/golden/player_*.txt from stdin and prints a line for each one
// that it reads; `repeat TRACE` plays a trace, then prints how often operator new was called after its first message.

#include "allocations.hpp"

#include <cstdio>
#include <cstdlib>
#include <edged/client.hpp>
#include <fstream>
#include <iostream>
#include <memory>
#include <new>
#include <sstream>

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
        if (word == "stands") for (std::string value; words >> value;) line.values.push_back(std::stod(value));
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

int main(int count, char** words) {
    const std::string what = count > 1 ? words[1] : "";
    if (what == "trace" && count == 2) return trace();
    if (what == "repeat" && count == 3) return repeat(words[2]);
    return 2;
}

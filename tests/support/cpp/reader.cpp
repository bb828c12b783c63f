// What the tests ask the C++ client: `decode MASK` reads messages from stdin (u32 length, bytes) and prints what each
// holds, a line each; `stream ENDPOINT TOPIC TIMEOUT_MS` and `events ENDPOINT TOPIC` print what is heard until stdin
// ends; `samples ENDPOINT TOPIC [NAME]` sends some; `allocations` counts calls of operator new after the first message.

#include "allocations.hpp"

#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <edged/client.hpp>
#include <iostream>
#include <map>
#include <memory>
#include <new>

using edged::Type;
using edged::Value;

static std::string hex(std::string_view bytes) {
    std::string text;
    char digits[3];
    for (unsigned char byte : bytes) {
        std::snprintf(digits, sizeof digits, "%02x", byte);
        text += digits;
    }
    return text;
}

// One text for one value, whatever the order of a map's keys.
static std::string written(const Value& value) {
    Value::Members members = value.members();
    Value member, key;
    std::string text;
    switch (value.type) {
        case Type::nil: return "n";
        case Type::boolean: return value.truth() ? "T" : "F";
        case Type::integer: return "i" + std::to_string(value.integer());
        case Type::natural: return "i" + std::to_string(value.natural());
        case Type::number: {
            const double number = value.number();
            uint64_t bits;
            std::memcpy(&bits, &number, 8);
            return number != number ? "dnan" : "d" + std::to_string(bits);
        }
        case Type::text: return "s" + hex(value.text());
        case Type::bytes: return "b" + hex(value.text());
        case Type::list:
            while (members.next(member)) text += written(member) + ",";
            return "[" + text + "]";
        case Type::map: {
            std::map<std::string, std::string> pairs;
            while (members.next(key) && members.next(member)) pairs[written(key)] = written(member);
            for (const auto& [name, content] : pairs) text += name + ":" + content + ",";
            return "{" + text + "}";
        }
        case Type::none: break;
    }
    return "?";
}

static std::string written(const edged::Message& message, unsigned mask) {
    const edged::Preamble& p = message.preamble;
    std::string text = hex(message.topic) + " " + std::to_string(p.kind) + " " + std::to_string(p.reason) + " "
        + std::to_string(p.flags & mask) + " " + std::to_string(p.session) + " " + std::to_string(p.seq) + " "
        + std::to_string(p.captured_ns) + " " + std::to_string(p.published_ns) + " " + std::to_string(p.valid_for_ns)
        + " " + hex({reinterpret_cast<const char*>(p.boot.data()), 8}) + " "
        + hex({reinterpret_cast<const char*>(p.engine.data()), 8}) + " {";
    std::map<std::string, std::string> pairs;
    Value key, value;
    Value::Members members = message.header.members();
    while (members.next(key) && members.next(value))
        if (key.text() != "arrays")
            if (const Value found = message.find(key.text())) pairs[written(key)] = written(found);
    for (const auto& [name, content] : pairs) text += name + ":" + content + ",";
    text += "}";
    for (int i = 0; i < message.array_count(); i++) {
        const edged::Array& array = message.array(i);
        text += " " + hex(array.name) + "/" + std::string(array.dtype);
        for (int side = 0; side < array.dimensions; side++) text += "," + std::to_string(array.shape[size_t(side)]);
        text += array.codec == edged::Codec::raw ? "/raw/" : "/zstd/";
        text += std::to_string(array.raw_len) + "/";
        // exactly its bytes: a sanitizer sees one too many
        std::unique_ptr<char[]> copy(new char[array.length]);
        if (array.length) std::memcpy(copy.get(), array.data, array.length);
        uint64_t sum = 14695981039346656037u;
        for (uint32_t at = 0; at < array.length; at++) sum = (sum ^ uint8_t(copy[at])) * 1099511628211u;
        text += std::to_string(sum);
    }
    return text + " t" + std::to_string(message.t0_ns) + " " + std::to_string(message.step_ns) + " m"
        + std::to_string(message.motion);
}

static int decode_all(unsigned mask) {
    uint32_t size;
    auto message = std::make_unique<edged::Message>();
    while (std::fread(&size, 4, 1, stdin) == 1) {
        // memory of exactly that size, at an odd address
        std::unique_ptr<uint8_t[]> bytes(new uint8_t[size + 1]);
        if (std::fread(bytes.get() + 1, 1, size, stdin) != size) return 1;
        const char* wrong = edged::decode(bytes.get() + 1, size, *message);
        std::puts(wrong ? "refused" : written(*message, mask).c_str());
    }
    return 0;
}

static bool ended() {
    pollfd in{0, POLLIN, 0};
    char byte;
    return ::poll(&in, 1, 0) > 0 && ::read(0, &byte, 1) <= 0;
}

static void print(const edged::Message& message, int64_t until_ns) {
    float value = 0;
    if (message.kind() == edged::Kind::action) std::memcpy(&value, message.array(0).data, 4);
    std::printf("message %d %llu %d %lld %g %lld\n", int(message.preamble.kind),
                static_cast<unsigned long long>(message.preamble.seq), int(message.stop()),
                static_cast<long long>(message.motion), double(value), static_cast<long long>(until_ns));
}

static int listen(const char* endpoint, const char* topic, double timeout_ms) {
    edged::Stream stream(endpoint, topic, timeout_ms);
    bool was_lost = false;
    std::puts("ready");
    while (!ended()) {
        std::fflush(stdout);
        stream.wait(5);
        const edged::Heard heard = stream.latest();
        if (heard == edged::Heard::Message) print(stream.message(), stream.good_until_ns());
        if (heard == edged::Heard::Lost && (!was_lost || stream.lost_ms() == 0))
            std::printf("lost %s\n", stream.lost_detail());
        was_lost = heard == edged::Heard::Lost && stream.lost_ms() > 0;
    }
    const edged::Health health = stream.health();
    std::printf("health %llu", static_cast<unsigned long long>(health.received));
    for (uint64_t count : health.rejected) std::printf(" %llu", static_cast<unsigned long long>(count));
    std::printf(" %llu %llu %llu %d\n", static_cast<unsigned long long>(health.restarts),
                static_cast<unsigned long long>(health.missing), static_cast<unsigned long long>(health.cut),
                int(health.fresh));
    return 0;
}

static int subscribe(const char* endpoint, const char* topic) {
    edged::Subscription subscription(endpoint, topic);
    std::puts("ready");
    while (!ended()) {
        std::fflush(stdout);
        if (const edged::Message* message = subscription.receive(5)) {
            const std::string_view event = message->find("event").text();
            std::printf("event %llu %.*s\n", static_cast<unsigned long long>(message->preamble.seq), int(event.size()),
                        event.data());
        }
    }
    std::printf("malformed %llu\n", static_cast<unsigned long long>(subscription.malformed));
    return 0;
}

static int count_allocations(const char* endpoint, const char* topic) {
    edged::Stream stream(endpoint, topic, 1e6);
    std::puts("ready");
    std::fflush(stdout);
    size_t heard = 0, before = 0;
    double sum = 0;
    while (!ended() && heard < 50) {
        stream.wait(5);
        if (stream.latest() != edged::Heard::Message) continue;
        float values[16];
        if (stream.message().array("action")->count() <= 16 && stream.message().array(0).copy(values)) sum += double(values[0]);
        sum += stream.message().find("t0_ns").number();
        if (!heard++) before = allocations;
    }
    std::printf("%zu allocations in %zu messages%s\n", allocations - before, heard, sum > 0 ? "" : "?");
    return 0;
}

// Samples of three axes, until stdin ends; one of the future is not sent.
static int send_samples(const char* endpoint, const char* topic, const char* third) {
    edged::SensorSender sender(endpoint, topic, {"x", "y", third}, "rad");
    std::puts("ready");
    std::fflush(stdout);
    for (double number = 1; !ended(); number++) {
        const double values[] = {number, -0.5, 1e300};
        const int64_t now_ns = edged::monotonic_ns();
        if (!sender.send(values, now_ns - 1000) || sender.send(values, now_ns + 1000 * edged::ns_per_ms)) return 1;
        poll(nullptr, 0, 2);
    }
    return 0;
}

int main(int count, char** words) {
    const std::string_view what = count > 1 ? words[1] : "";
    if (what == "decode" && count == 3) return decode_all(unsigned(std::atoi(words[2])));
    if (what == "stream" && count == 5) return listen(words[2], words[3], std::atof(words[4]));
    if (what == "events" && count == 4) return subscribe(words[2], words[3]);
    if (what == "allocations" && count == 4) return count_allocations(words[2], words[3]);
    const char* third = count == 5 ? words[4] : "longer than thirty-one characters";
    if (what == "samples" && (count == 4 || count == 5)) return send_samples(words[2], words[3], third);
    return 2;
}

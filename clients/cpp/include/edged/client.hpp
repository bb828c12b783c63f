// SPDX-License-Identifier: Apache-2.0
//
// edged/client.hpp: what a controller in C++ needs to listen to an edged daemon. C++17 and libzmq, nothing else.
//
//     edged::Stream stream("ipc:///run/edged/pick/action", "pick/action", 100);
//     while (true) {
//         switch (stream.latest()) {
//             case edged::Heard::Message: ...   // stream.message(): newer than the last; until stream.good_until_ns()
//             case edged::Heard::Lost: ...      // nothing usable for 100 ms, or a stop was missed: stop
//             case edged::Heard::Nothing: ...   // nothing new yet
//         }
//     }
//
// `Player` makes commands at any rate of what a stream gives.
// WIRE.md is the specification; edged.client in Python keeps the same promises and decodes the same golden messages.
// Nothing here is for several threads at once. After the first message nothing is allocated by `decode` and `latest`,
// unless a longer message comes or the connection has to be made anew; what libzmq allocates is its own.

#ifndef EDGED_CLIENT_HPP
#define EDGED_CLIENT_HPP

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire is little-endian, and so must this machine be");

namespace edged {

constexpr int64_t ns_per_ms = 1000000;
constexpr int64_t end_of_time_ns = int64_t(1) << 62;
constexpr uint32_t max_header = 1u << 18, max_payload = 1u << 26;
constexpr size_t max_message = 256 + 80 + size_t(max_header) + max_payload;
constexpr int max_arrays = 64, max_dimensions = 8, max_depth = 16;
constexpr uint32_t longest_text = 65536;  // characters of a text in a header

enum class Kind : uint8_t { action = 1, labels, instances, hold, frame, sample, health, event, result, trace, picture };
constexpr uint8_t newest_kind = 11;

enum Flag : uint16_t { changed = 1, stop = 2, ramping = 4, easing = 8 };

// CLOCK_MONOTONIC in nanoseconds, what all stamps are of.
inline int64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t(now.tv_sec) * 1000000000 + now.tv_nsec;
}

using Boot = std::array<uint8_t, 8>;
using Now = int64_t (*)();

// The first half of the kernel's boot id: stamps of another boot cannot be compared with ours.
inline Boot boot_id() {
    Boot boot{};
    std::FILE* file = std::fopen("/proc/sys/kernel/random/boot_id", "r");
    char text[64] = {};
    const bool is_read = file && std::fgets(text, sizeof text, file);
    if (file) std::fclose(file);
    size_t digits = 0;
    for (const char* at = text; is_read && *at && digits < 16; at++) {
        const int digit = *at >= '0' && *at <= '9' ? *at - '0' : *at >= 'a' && *at <= 'f' ? *at - 'a' + 10 : -1;
        if (digit < 0) continue;
        boot[digits / 2] = uint8_t(boot[digits / 2] << 4 | digit);
        digits++;
    }
    if (digits < 16) throw std::runtime_error("edged: /proc/sys/kernel/random/boot_id cannot be read; mount /proc");
    return boot;
}

struct Preamble {
    uint8_t magic[4];
    uint8_t kind, reason;
    uint16_t flags;
    uint32_t header_len, payload_len;
    uint64_t session, seq;
    int64_t captured_ns, published_ns, valid_for_ns;
    Boot boot;
    std::array<uint8_t, 8> engine;
    uint64_t reserved;
};
static_assert(sizeof(Preamble) == 80, "wire v1");

// ---- header: one msgpack map -------------------------------------------------------------------------------------

enum class Type : uint8_t { none, nil, boolean, integer, natural, number, text, bytes, list, map };

class Value;

namespace detail {

struct Cursor {
    const uint8_t* at;
    const uint8_t* end;
};

// Whether each name is one's own: none empty, none twice.
inline bool are_distinct(const std::vector<std::string>& names) {
    const std::set<std::string_view> known(names.begin(), names.end());
    return known.size() == names.size() && !known.count("");
}

// As ==, which calls a function for it.
inline bool same(const Boot& a, const Boot& b) {
    uint64_t ours, theirs;
    static_assert(sizeof(Boot) == sizeof ours);
    std::memcpy(&ours, a.data(), sizeof ours);
    std::memcpy(&theirs, b.data(), sizeof theirs);
    return ours == theirs;
}

inline uint64_t big_endian(const uint8_t* at, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | at[i];
    return value;
}

// Strict UTF-8: no surrogates, nothing longer than needed. Gives the number of characters, or -1.
inline int64_t characters(const uint8_t* at, size_t size) {
    const uint8_t* end = at + size;
    int64_t count = 0;
    while (at < end) {
        const uint8_t lead = *at;
        const int more = lead < 0x80 ? 0 : lead >= 0xC2 && lead < 0xE0 ? 1 : (lead & 0xF0) == 0xE0 ? 2
                         : lead >= 0xF0 && lead < 0xF5 ? 3 : -1;
        if (more < 0 || end - at <= more) return -1;
        for (int i = 1; i <= more; i++) if ((at[i] & 0xC0) != 0x80) return -1;
        if (lead == 0xE0 && at[1] < 0xA0) return -1;
        if (lead == 0xED && at[1] > 0x9F) return -1;
        if (lead == 0xF0 && at[1] < 0x90) return -1;
        if (lead == 0xF4 && at[1] > 0x8F) return -1;
        at += more + 1;
        count++;
    }
    return count;
}

bool read(Cursor& cursor, Value& value);
bool skip(Cursor& cursor, const Value& value, int depth, bool in_key);

}  // namespace detail

// A value of a header. It refers to the message, which must outlive it. `none` = there is no such key.
class Value {
   public:
    Type type = Type::none;

    explicit operator bool() const { return type != Type::none; }
    bool is_integer() const { return type == Type::integer || type == Type::natural; }
    bool is_number() const { return is_integer() || type == Type::number; }
    bool truth() const { return type == Type::boolean && bits_; }
    // As an int64, or `otherwise` for what is none or does not fit.
    int64_t integer(int64_t otherwise = 0) const {
        return type == Type::integer || (type == Type::natural && !(bits_ >> 63)) ? int64_t(bits_) : otherwise;
    }
    uint64_t natural(uint64_t otherwise = 0) const {
        return type == Type::natural || (type == Type::integer && !(bits_ >> 63)) ? bits_ : otherwise;
    }
    double number(double otherwise = 0) const {
        double value = otherwise;
        if (type == Type::number) std::memcpy(&value, &bits_, 8);
        if (type == Type::integer) value = double(int64_t(bits_));
        if (type == Type::natural) value = double(bits_);
        return value;
    }
    // Of a text or bytes; empty for anything else.
    std::string_view text() const {
        return type == Type::text || type == Type::bytes
                   ? std::string_view(reinterpret_cast<const char*>(rest_.at), size_) : std::string_view();
    }
    // How many members a list has, or pairs a map.
    uint32_t size() const { return type == Type::list || type == Type::map ? size_ : 0; }

    // Walks over the members of a list, or over keys and values of a map in turn.
    class Members {
       public:
        explicit Members(const Value& of) : cursor_(of.rest_), left_(uint64_t(of.size()) << (of.type == Type::map)) {}
        bool next(Value& value) {
            if (!left_ || !detail::read(cursor_, value)) return false;
            left_--;
            return detail::skip(cursor_, value, 0, false);
        }

       private:
        friend class Value;
        detail::Cursor cursor_;
        uint64_t left_;
    };
    Members members() const { return Members(*this); }
    // The bytes of a list's members.
    std::string_view raw() const {
        Value member;
        Members all = members();
        while (all.next(member)) {}
        const uint8_t* end = type == Type::list ? all.cursor_.at : rest_.at;
        return {reinterpret_cast<const char*>(rest_.at), size_t(end - rest_.at)};
    }
    // Whether it is a list with `count` members, and these are their bytes: it need not be walked over to know.
    [[gnu::noinline]] bool is_list(uint32_t count, std::string_view raw) const {
        if (type != Type::list || size_ != count || size_t(rest_.end - rest_.at) < raw.size()) return false;
        for (size_t at = 0; at < raw.size(); at++) if (rest_.at[at] != uint8_t(raw[at])) return false;
        return true;
    }

   private:
    friend bool detail::read(detail::Cursor&, Value&);
    friend bool detail::skip(detail::Cursor&, const Value&, int, bool);
    uint64_t bits_ = 0;
    uint32_t size_ = 0;
    detail::Cursor rest_{nullptr, nullptr};  // from its content on
};

namespace detail {

// Read one value's head. Of a list or map the members follow at the cursor; of all else the cursor is behind it.
inline bool read(Cursor& cursor, Value& value) {
    value = Value();
    auto left = [&] { return size_t(cursor.end - cursor.at); };
    if (!left()) return false;
    const uint8_t lead = *cursor.at++;
    auto take = [&](int bytes, uint64_t& into) {
        if (left() < size_t(bytes)) return false;
        into = big_endian(cursor.at, bytes);
        cursor.at += bytes;
        return true;
    };
    auto whole = [&](Type type, uint64_t bits) {
        value.type = type;
        value.bits_ = bits;
        return true;
    };
    auto content = [&](Type type, uint64_t size) {
        if (left() < size) return false;
        value.type = type;
        value.size_ = uint32_t(size);
        value.rest_ = {cursor.at, cursor.at + size};
        cursor.at += size;
        return type != Type::text || characters(value.rest_.at, size_t(size)) >= 0;
    };
    auto container = [&](Type type, uint64_t size) {
        if (left() < size) return false;  // each member takes a byte at least
        value.type = type;
        value.size_ = uint32_t(size);
        value.rest_ = cursor;
        return true;
    };
    uint64_t bits = 0;
    if (lead < 0x80) return whole(Type::natural, lead);
    if (lead < 0x90) return container(Type::map, lead & 15);
    if (lead < 0xA0) return container(Type::list, lead & 15);
    if (lead < 0xC0) return content(Type::text, lead & 31);
    if (lead >= 0xE0) return whole(Type::integer, uint64_t(int64_t(int8_t(lead))));
    switch (lead) {
        case 0xC0: return whole(Type::nil, 0);
        case 0xC2: case 0xC3: return whole(Type::boolean, lead & 1);
        case 0xC4: case 0xC5: case 0xC6: return take(1 << (lead - 0xC4), bits) && content(Type::bytes, bits);
        case 0xCA: {
            if (!take(4, bits)) return false;
            float single;
            const uint32_t half = uint32_t(bits);
            std::memcpy(&single, &half, 4);
            const double wide = double(single);
            std::memcpy(&bits, &wide, 8);
            return whole(Type::number, bits);
        }
        case 0xCB: return take(8, bits) && whole(Type::number, bits);
        case 0xCC: case 0xCD: case 0xCE: case 0xCF: return take(1 << (lead - 0xCC), bits) && whole(Type::natural, bits);
        case 0xD0: return take(1, bits) && whole(Type::integer, uint64_t(int64_t(int8_t(bits))));
        case 0xD1: return take(2, bits) && whole(Type::integer, uint64_t(int64_t(int16_t(bits))));
        case 0xD2: return take(4, bits) && whole(Type::integer, uint64_t(int64_t(int32_t(bits))));
        case 0xD3: return take(8, bits) && whole(Type::integer, bits);
        case 0xD9: case 0xDA: case 0xDB: return take(1 << (lead - 0xD9), bits) && content(Type::text, bits);
        case 0xDC: case 0xDD: return take(2 << (lead - 0xDC), bits) && container(Type::list, bits);
        case 0xDE: case 0xDF: return take(2 << (lead - 0xDE), bits) && container(Type::map, bits);
        default: return false;  // extensions, and 0xC1, which is nothing
    }
}

// Pass over the members of `value`, checking all of them. `depth`: in how many lists and maps it is, itself included.
inline bool skip(Cursor& cursor, const Value& value, int depth, bool in_key) {
    if (value.type != Type::list && value.type != Type::map) return true;
    if (depth > max_depth || (in_key && value.type == Type::map)) return false;
    Value member;
    for (uint32_t i = 0; i < value.size_; i++) {
        for (int part = value.type == Type::map ? 0 : 1; part < 2; part++) {
            const bool is_key = in_key || part == 0;
            if (!read(cursor, member) || !skip(cursor, member, depth + 1, is_key)) return false;
        }
    }
    return true;
}

// What the values of a header's known keys are, by kind.
enum class Shape : uint8_t { integer, number, text, texts, text_or_texts, pair, numbers, changes, rules };

struct Known {
    std::string_view key;
    Shape shape;
    uint32_t kinds;  // a bit each
};

constexpr uint32_t bit(Kind kind) { return 1u << uint8_t(kind); }
constexpr uint32_t masks_bits = bit(Kind::labels) | bit(Kind::instances);
constexpr uint32_t judged_bits = masks_bits | bit(Kind::hold) | bit(Kind::result);
constexpr uint32_t pictures_bits = bit(Kind::frame) | bit(Kind::picture);
constexpr uint32_t verdict_bits = bit(Kind::action) | judged_bits;

constexpr Known known_keys[] = {
    {"tick", Shape::integer, verdict_bits | bit(Kind::trace)},
    {"skipped", Shape::integer, verdict_bits},
    {"engine_us", Shape::number, verdict_bits},
    {"motion", Shape::integer, verdict_bits},
    {"alarms", Shape::texts, verdict_bits},
    {"names", Shape::texts, bit(Kind::action) | bit(Kind::sample)},
    {"units", Shape::texts, bit(Kind::action)},
    {"changes", Shape::changes, bit(Kind::action)},
    {"changed", Shape::integer, bit(Kind::action)},
    {"oldest_ns", Shape::integer, bit(Kind::action)},
    {"deviation", Shape::numbers, bit(Kind::action)},
    {"waiting", Shape::text, bit(Kind::action)},
    {"classes", Shape::texts, masks_bits},
    {"camera", Shape::text, judged_bits | pictures_bits},
    {"size", Shape::pair, masks_bits},
    {"truncated", Shape::integer, masks_bits | bit(Kind::result)},
    {"result", Shape::text, judged_bits},
    {"why", Shape::text, judged_bits},
    {"digest", Shape::text, judged_bits},
    {"decided", Shape::texts, judged_bits},
    {"line", Shape::text, judged_bits},
    {"part", Shape::integer, judged_bits},
    {"number", Shape::integer, judged_bits},
    {"entry", Shape::integer, bit(Kind::result)},
    {"ledger", Shape::text, bit(Kind::result)},
    {"stamp_ns", Shape::integer, bit(Kind::result)},
    {"rules", Shape::rules, bit(Kind::result)},
    {"reason", Shape::text, bit(Kind::hold)},
    {"detail", Shape::text, bit(Kind::hold)},
    {"unit", Shape::text_or_texts, bit(Kind::sample)},
    {"event", Shape::text, bit(Kind::event)},
    {"frame", Shape::integer, pictures_bits},
    {"flaw", Shape::text, pictures_bits},
    {"format", Shape::text, bit(Kind::picture)},
    {"trace", Shape::text, bit(Kind::trace)},
};
constexpr int known_count = sizeof known_keys / sizeof known_keys[0];

constexpr size_t row_of(std::string_view key) {
    size_t row = 0;
    while (known_keys[row].key != key) row++;
    return row;
}

inline bool is_text(const Value& value) {
    if (value.type != Type::text) return false;
    const std::string_view text = value.text();
    return text.size() <= longest_text
           || characters(reinterpret_cast<const uint8_t*>(text.data()), text.size()) <= int64_t(longest_text);
}

inline bool integers(const Value& value) {
    if (value.type != Type::list) return false;
    Value member;
    for (Value::Members members = value.members(); members.next(member);) if (!member.is_integer()) return false;
    return true;
}

// What a rule came to: a map. Unknown keys may hold anything; of one that is there twice, the last counts.
inline bool is_rule(const Value& value) {
    if (value.type != Type::map) return false;
    bool name = true, severity = true, violated = true, count = true, area = true, objects = true;
    Value key, fact;
    for (Value::Members members = value.members(); members.next(key) && members.next(fact);) {
        if (key.type != Type::text) return false;
        const std::string_view word = key.text();
        if (word == "name") name = is_text(fact);
        else if (word == "severity") severity = is_text(fact);
        else if (word == "violated") violated = fact.type == Type::boolean;
        else if (word == "count") count = fact.is_integer();
        else if (word == "area") area = fact.is_number();
        else if (word == "objects") objects = integers(fact);
    }
    return name && severity && violated && count && area && objects;
}

inline bool fits(const Value& value, Shape shape) {
    Value member;
    Value::Members members = value.members();
    switch (shape) {
        case Shape::integer: return value.is_integer();
        case Shape::number: return value.is_number();
        case Shape::text: return is_text(value);
        case Shape::text_or_texts:
            if (value.type == Type::text) return is_text(value);
            [[fallthrough]];
        case Shape::texts:
            if (value.type != Type::list) return false;
            while (members.next(member)) if (!is_text(member)) return false;
            return true;
        case Shape::pair:
            return value.size() == 2 && integers(value);
        case Shape::numbers:
            if (value.type != Type::list) return false;
            while (members.next(member)) if (!member.is_number()) return false;
            return true;
        case Shape::rules:
            if (value.type != Type::list) return false;
            while (members.next(member)) if (!is_rule(member)) return false;
            return true;
        case Shape::changes:
            if (value.type != Type::list) return false;
            while (members.next(member)) {
                if (member.type != Type::list || member.size() != 5) return false;
                Value::Members facts = member.members();
                Value fact;
                for (int at = 0; facts.next(fact); at++) {
                    if ((at == 0 || at == 2) && !is_text(fact)) return false;
                    if (at == 1 && !fact.is_integer()) return false;
                    if (at > 2 && !fact.is_number() && fact.type != Type::nil) return false;
                }
            }
            return true;
    }
    return false;
}

}  // namespace detail

// ---- arrays ------------------------------------------------------------------------------------------------------

enum class Codec : uint8_t { raw, zstd };

// One array of a message. `data` is not aligned: copy numbers out. Compressed ones are given as they were sent.
struct Array {
    std::string_view name, dtype;
    std::array<uint32_t, max_dimensions> shape{};
    int dimensions = 0;
    uint32_t offset = 0, length = 0, raw_len = 0, item_size = 0;  // `raw_len`: bytes once decompressed
    Codec codec = Codec::raw;
    const uint8_t* data = nullptr;

    size_t count() const {
        size_t product = 1;
        for (int i = 0; i < dimensions; i++) product *= shape[i];
        return product;
    }
    // The numbers, row by row, into `out`, which has room for count() of the right type. False: it is compressed, or
    // its items are not of this size.
    template <typename T>
    bool copy(T* out) const {
        if (codec != Codec::raw || sizeof(T) != item_size) return false;
        if (length) std::memcpy(out, data, length);
        return true;
    }
    template <typename T>
    std::vector<T> values() const {
        std::vector<T> out(count());
        if (!copy(out.data())) out.clear();
        return out;
    }
};

namespace detail {

inline uint32_t size_of(std::string_view dtype) {
    struct Row { std::string_view name; uint32_t size; };
    constexpr Row rows[] = {{"bool", 1}, {"uint8", 1}, {"uint16", 2}, {"uint32", 4}, {"uint64", 8}, {"int8", 1},
                            {"int16", 2}, {"int32", 4}, {"int64", 8}, {"float16", 2}, {"float32", 4}, {"float64", 8}};
    for (const Row& row : rows) if (row.name == dtype) return row.size;
    return 0;
}

// One entry of `arrays`; false for a field that is missing or of another type.
inline bool read_array(const Value& entry, Array& array) {
    if (entry.type != Type::map) return false;
    Value key, value, shape, offset, length, codec, raw_len, name, dtype;
    Value::Members members = entry.members();
    while (members.next(key) && members.next(value)) {
        if (key.type != Type::text) return false;
        const std::string_view word = key.text();
        if (word == "name") name = value;
        else if (word == "dtype") dtype = value;
        else if (word == "shape") shape = value;
        else if (word == "offset") offset = value;
        else if (word == "length") length = value;
        else if (word == "codec") codec = value;
        else if (word == "raw_len") raw_len = value;
    }
    if (name.type != Type::text || dtype.type != Type::text || codec.type != Type::text || shape.type != Type::list)
        return false;
    if (!offset.is_integer() || !length.is_integer()) return false;
    if (raw_len && raw_len.type != Type::nil && !raw_len.is_integer()) return false;
    if (codec.text() != "raw" && codec.text() != "zstd") return false;
    array.name = name.text();
    array.dtype = dtype.text();
    array.item_size = size_of(array.dtype);
    array.codec = codec.text() == "raw" ? Codec::raw : Codec::zstd;
    if (array.name.empty() || !array.item_size || shape.size() > max_dimensions) return false;
    uint64_t span = array.item_size, raw = array.item_size;  // `span`: with 1 for sides of 0, to bound the others
    Value side;
    Value::Members sides = shape.members();
    for (array.dimensions = 0; sides.next(side); array.dimensions++) {
        const uint64_t size = side.natural(uint64_t(max_payload) + 1);  // also where it is no number
        if (!side.is_integer() || size > max_payload) return false;
        span *= size ? size : 1;
        raw *= size;
        if (span > max_payload) return false;
        array.shape[array.dimensions] = uint32_t(size);
    }
    const uint64_t none = ~uint64_t(0);
    if (offset.natural(none) > max_payload || length.natural(none) > max_payload) return false;
    array.offset = uint32_t(offset.natural());
    array.length = uint32_t(length.natural());
    array.raw_len = uint32_t(raw);
    if (array.codec == Codec::raw) return raw_len.type <= Type::nil && array.length == raw;
    return raw_len.natural(none) == raw && array.length > 0;
}

inline uint32_t align(uint32_t length) { return (length + 7) & ~7u; }

}  // namespace detail

// ---- message -----------------------------------------------------------------------------------------------------

// One message. It refers to the bytes that it was decoded from.
class Message {
   public:
    std::string_view topic;
    Preamble preamble{};
    const uint8_t* payload = nullptr;  // preamble.payload_len bytes
    Value header;                      // the whole map, `arrays` included
    int64_t t0_ns = 0, step_ns = 0;    // of an action
    int64_t motion = 0;                // number of the motion; 0 = it moves nothing, or gives none

    Kind kind() const { return Kind(preamble.kind); }
    // Drop what is queued and stop under control now. The bit decides, whatever the reason's number.
    bool stop() const { return preamble.flags & Flag::stop; }
    int array_count() const { return array_count_; }
    const Array& array(int at) const { return arrays_[size_t(at)]; }
    const Array* array(std::string_view name) const {
        for (int i = 0; i < array_count_; i++) if (arrays_[size_t(i)].name == name) return &arrays_[size_t(i)];
        return nullptr;
    }
    // The value of a header's key; of type `none` where there is none, or where a Hold has one of the wrong type.
    Value find(std::string_view key) const {
        for (size_t i = 0; i < known_.size(); i++) {
            const detail::Known& known = detail::known_keys[i];
            if (known.key != key) continue;
            const bool is_odd = kind() == Kind::hold && (known.kinds & detail::bit(Kind::hold))
                                && known_[i] && !detail::fits(known_[i], known.shape);
            return is_odd ? Value() : known_[i];
        }
        Value found, word, value;
        Value::Members members = header.members();
        while (members.next(word) && members.next(value)) if (word.text() == key) found = value;  // the last one counts
        return found;
    }
    // As `find` gives them, at once: the names of an action's axes and their units.
    const Value& names() const { return known_[names_row]; }
    const Value& units() const { return known_[units_row]; }
    // The velocities at an action's steps; nullptr where it has none.
    const Array* velocity() const { return has_velocity_ ? &arrays_[1] : nullptr; }
    // Steps and axes of an action; 0 for anything else.
    uint32_t steps() const { return kind() == Kind::action ? arrays_[0].shape[0] : 0; }
    uint32_t axes() const { return kind() == Kind::action ? arrays_[0].shape[1] : 0; }

   private:
    friend const char* decode(const void*, size_t, Message&);
    const char* read_header(const uint8_t* head);
    const char* read_arrays(const Value& list);
    const char* check_kind() const;
    static constexpr size_t names_row = detail::row_of("names"), units_row = detail::row_of("units");
    std::array<Array, max_arrays> arrays_;
    int array_count_ = 0;
    bool has_velocity_ = false;
    Value t0_, step_;
    std::array<Value, detail::known_count> known_;
};

inline const char* Message::read_header(const uint8_t* head) {
    detail::Cursor cursor{head, head + preamble.header_len};
    Value key, value, arrays;
    if (!detail::read(cursor, header) || header.type != Type::map) return "header: not a map";
    detail::Cursor body = cursor;
    if (!detail::skip(body, header, 0, false) || body.at != body.end) return "header: not msgpack as agreed";
    known_.fill(Value());
    t0_ = step_ = Value();
    Value::Members members = header.members();
    while (members.next(key) && members.next(value)) {
        if (key.type != Type::text) return "header: a key that is no text";
        const std::string_view word = key.text();
        if (word == "arrays") arrays = value;
        else if (word == "t0_ns") t0_ = value;
        else if (word == "step_ns") step_ = value;
        else
            for (size_t i = 0; i < known_.size(); i++)
                if (word == detail::known_keys[i].key) known_[i] = value;
    }
    motion = 0;
    for (size_t i = 0; i < known_.size(); i++) {
        const detail::Known& row = detail::known_keys[i];
        if (row.key == "motion") motion = known_[i].integer();
        if (!known_[i] || !(row.kinds & detail::bit(kind()))) continue;
        if (kind() != Kind::hold && !detail::fits(known_[i], row.shape)) return "header: a key of another type";
    }
    array_count_ = 0;
    return arrays ? read_arrays(arrays) : preamble.payload_len ? "a payload without arrays" : nullptr;
}

inline const char* Message::read_arrays(const Value& list) {
    if (list.type != Type::list) return "arrays: not a list";
    if (list.size() > uint32_t(max_arrays)) return "arrays: too many";
    uint64_t end = 0, total = 0;
    Value entry;
    for (Value::Members members = list.members(); members.next(entry); array_count_++) {
        Array& array = arrays_[size_t(array_count_)];
        array = Array();
        if (!detail::read_array(entry, array)) return "arrays: an entry that is not as agreed";
        if (this->array(array.name)) return "arrays: a name twice";
        if (array.offset != detail::align(uint32_t(end))) return "arrays: offsets do not fit";
        end = uint64_t(array.offset) + array.length;
        total += array.raw_len;
        if (end > preamble.payload_len || total > max_payload) return "arrays: more than the payload";
        array.data = payload + array.offset;
    }
    if (end != preamble.payload_len) return "arrays: less than the payload";
    for (int i = 0; i + 1 < array_count_; i++)
        for (uint32_t at = arrays_[size_t(i)].offset + arrays_[size_t(i)].length; at % 8; at++)
            if (payload[at]) return "padding between arrays is not zero";
    return nullptr;
}

inline const char* Message::check_kind() const {
    struct First { Kind kind; std::string_view name, dtype; int dimensions; };
    constexpr First firsts[] = {{Kind::action, "action", "float32", 2}, {Kind::labels, "labels", "uint8", 2},
                                {Kind::instances, "xyxy", "float32", 2}, {Kind::frame, "image", "uint8", 3},
                                {Kind::sample, "values", "float64", 1}};
    if (kind() == Kind::hold && array_count_) return "a Hold with arrays";
    for (const First& first : firsts) {
        if (first.kind != kind()) continue;
        const Array& array = arrays_[0];
        if (!array_count_ || array.name != first.name || array.dtype != first.dtype
            || array.dimensions != first.dimensions)
            return "without the first array of its kind";
    }
    if (kind() == Kind::picture) {
        struct Pixels { std::string_view format, dtype; };
        constexpr Pixels known[] = {{"mono8", "uint8"}, {"mono16", "uint16"}, {"bayer_rggb8", "uint8"},
                                    {"bayer_bggr8", "uint8"}, {"bayer_gbrg8", "uint8"}, {"bayer_grbg8", "uint8"}};
        const Array& array = arrays_[0];
        bool is_known = false;
        for (const Pixels& one : known)
            is_known |= find("format").type == Type::text && find("format").text() == one.format
                        && array.dtype == one.dtype;
        if (!array_count_ || array.name != "image" || array.dimensions != 2 || !is_known)
            return "a picture that is not as its format says";
    }
    if (kind() == Kind::action) {
        for (const Value* time : {&t0_, &step_})
            if (!time->is_integer() || time->natural(uint64_t(end_of_time_ns)) >= uint64_t(end_of_time_ns))
                return "an action without its times";
        if (!arrays_[0].count()) return "an action that is empty";
        for (int i = 0; i < array_count_; i++)
            if (arrays_[size_t(i)].codec != Codec::raw) return "an action that is compressed";
        for (int i = 0; i < array_count_; i++) {
            const Array &first = arrays_[0], &speeds = arrays_[size_t(i)];
            if (speeds.name == "velocity" && (i != 1 || speeds.dtype != first.dtype || speeds.dimensions != 2
                                              || speeds.shape != first.shape))
                return "a velocity that is not the second array, of the type and shape of the first";
        }
    }
    return nullptr;
}

// Read one message, checking everything but compressed content. Gives why it is none, or nullptr; `message` then refers
// to `data`.
inline const char* decode(const void* data, size_t size, Message& message) {
    const uint8_t* raw = static_cast<const uint8_t*>(data);
    if (size > max_message) return "longer than any message";
    const void* nul = size ? std::memchr(raw, 0, size < 256 ? size : 256) : nullptr;
    if (!nul || nul == raw) return "no topic";
    const size_t name = size_t(static_cast<const uint8_t*>(nul) - raw), at = name / 8 * 8 + 8;
    if (size < at + sizeof(Preamble)) return "cut off in the preamble";
    for (size_t i = name; i < at; i++) if (raw[i]) return "padding after the topic is not zero";
    if (detail::characters(raw, name) < 0) return "the topic is not UTF-8";
    message.topic = std::string_view(reinterpret_cast<const char*>(raw), name);
    std::memcpy(&message.preamble, raw + at, sizeof(Preamble));
    const Preamble& p = message.preamble;
    if (std::memcmp(p.magic, "EDG1", 4) || p.kind < 1 || p.kind > newest_kind || p.reserved) return "not of wire v1";
    const size_t head = at + sizeof(Preamble), payload = (head + size_t(p.header_len) + 7) / 8 * 8;
    if (p.header_len > max_header || p.payload_len > max_payload || size != payload + p.payload_len)
        return "lengths do not add up";
    for (size_t i = head + p.header_len; i < payload; i++) if (raw[i]) return "padding after the header is not zero";
    if ((p.kind == uint8_t(Kind::hold)) != (p.reason != 0)) return "a Hold has a reason, nothing else does";
    if ((p.flags & Flag::stop) && p.kind != uint8_t(Kind::hold)) return "only a Hold may stop";
    if (p.seq < 1) return "seq counts from 1";
    for (int64_t stamp : {p.captured_ns, p.published_ns, p.valid_for_ns})
        if (stamp < 0 || stamp >= end_of_time_ns) return "stamps out of range";
    message.payload = raw + payload;
    if (const char* wrong = message.read_header(raw + head)) return wrong;
    if (const char* wrong = message.check_kind()) return wrong;
    const bool is_action = message.kind() == Kind::action;
    message.has_velocity_ = is_action && message.array("velocity");
    message.t0_ns = is_action ? message.t0_.integer() : 0;
    message.step_ns = is_action ? message.step_.integer() : 0;
    return nullptr;
}

// Whether every position and velocity of an action is finite.
inline bool is_finite(const Message& action) {
    for (const Array* array : {&action.array(0), action.velocity()}) {
        const size_t count = array ? array->count() : 0;
        for (size_t i = 0; i < count; i++) {
            float value;
            std::memcpy(&value, array->data + 4 * i, 4);
            if (!std::isfinite(value)) return false;
        }
    }
    return true;
}

// ---- order, validity and age -------------------------------------------------------------------------------------

// Another boot; or the same boot and a greater session; or the same session and a greater seq.
inline bool newer(const Preamble& candidate, const Preamble& last) {
    if (!detail::same(candidate.boot, last.boot)) return true;
    return candidate.session != last.session ? candidate.session > last.session : candidate.seq > last.seq;
}

// How much later than usual a stamped thing arrives: (arrival - stamp) minus its minimum over the last 60 s.
class Lag {
   public:
    int64_t operator()(int64_t stamp_ns, int64_t arrival_ns) {
        constexpr int64_t slice_ns = 1000000000;
        const int64_t offset = arrival_ns - stamp_ns, number = arrival_ns / slice_ns;
        Slice& slice = slices_[size_t(number % 61)];
        if (!slice.is_used || slice.number != number) slice = {number, offset, true};
        else if (offset < slice.least) slice.least = offset;
        int64_t least = offset;
        for (const Slice& one : slices_)
            if (one.is_used && one.number >= number - 60 && one.least < least) least = one.least;
        return offset - least;
    }
    void reset() { slices_ = {}; }

   private:
    struct Slice {
        int64_t number = 0, least = 0;
        bool is_used = false;
    };
    std::array<Slice, 61> slices_{};
};

enum class Refusal : uint8_t { none, malformed, old, expired, future, not_finite };
constexpr int refusals = 6;

// A snapshot of a stream as this reader sees it. `alive`: a valid message came within the time-out; `fresh`: the newest
// is still good. `missing`: numbers that were never seen, which a conflating reader overtook and another one lost.
struct Health {
    bool alive, fresh;
    uint64_t received, missing, restarts, cut;
    std::array<uint64_t, refusals> rejected;
    bool has_age;
    double age_ms;  // of the newest's oldest input
};

// What a reader knows about one topic: order, validity, gaps, missed stops.
class Track {
   public:
    uint64_t received = 0, missing = 0, restarts = 0;
    std::array<uint64_t, refusals> rejected{};
    bool has_newest = false, missed_stop = false;
    int64_t good_until_ns = 0;

    explicit Track(const Boot& boot) : boot_(boot) {}

    // Take in a valid message, or say why it does not count: `future` or `old`. The newest stays then.
    Refusal note(const Message& message, int64_t received_ns) {
        const Preamble& p = message.preamble;
        const bool is_local = p.boot == boot_;
        if (is_local && (p.published_ns > received_ns || p.session > uint64_t(received_ns))) return Refusal::future;
        if (has_newest && !newer(p, newest_)) return Refusal::old;
        const bool is_same = has_newest && newest_.boot == p.boot && newest_.session == p.session;
        if (has_newest && !is_same) {
            restarts++;
            if (newest_.boot != p.boot) lag_.reset();
        } else if (has_newest) {
            missing += p.seq - newest_.seq - 1;
        }
        missed_stop = has_newest && !message.stop() && motion_ && !(is_same && motion_ == message.motion);
        lag_ns_ = is_local ? 0 : lag_(p.published_ns, received_ns);
        good_until_ns = is_local ? p.published_ns + p.valid_for_ns : received_ns + p.valid_for_ns - lag_ns_;
        offset_ns_ = is_local ? 0 : received_ns - p.published_ns - lag_ns_;
        newest_ = p;
        newest_at_ns_ = received_ns;
        motion_ = message.motion;
        has_newest = true;
        return Refusal::none;
    }
    // Until when, by our clock, a message noted before is good; 0 = its machine has been restarted since.
    int64_t until_ns(const Preamble& p) const {
        if (p.boot == boot_) return p.published_ns + p.valid_for_ns;
        return has_newest && newest_.boot == p.boot ? p.published_ns + p.valid_for_ns + offset_ns_ : 0;
    }
    // When the newest message left its sender, on our clock as well as we know.
    int64_t sent_ns() const {
        if (!has_newest) return 0;
        if (newest_.boot == boot_) return newest_.published_ns < newest_at_ns_ ? newest_.published_ns : newest_at_ns_;
        return newest_at_ns_ - lag_ns_;
    }
    Health health(int64_t now_ns, int64_t timeout_ns, uint64_t cut) const {
        Health health{};
        health.alive = has_newest && now_ns - sent_ns() <= timeout_ns;
        health.fresh = has_newest && now_ns < good_until_ns;
        health.received = received;
        health.missing = missing;
        health.restarts = restarts;
        health.cut = cut;
        health.rejected = rejected;
        health.has_age = has_newest && newest_.captured_ns;
        if (health.has_age) {
            const int64_t age_ns = newest_.boot == boot_ ? now_ns - newest_.captured_ns
                : newest_.published_ns - newest_.captured_ns + lag_ns_ + now_ns - newest_at_ns_;
            health.age_ms = double(age_ns) / 1e6;
        }
        return health;
    }

   private:
    Boot boot_;
    Preamble newest_{};
    int64_t newest_at_ns_ = 0, lag_ns_ = 0, offset_ns_ = 0, motion_ = 0;
    Lag lag_;
};

// ---- connection --------------------------------------------------------------------------------------------------

// Keys for a TCP endpoint that asks for them, as 40 characters of Z85: the daemon's public one and our own two.
struct Keys {
    std::string server, own_public, own_secret;
};

struct Options {
    void* context = nullptr;      // stays open at the end if it was given
    const Keys* keys = nullptr;   // read while connecting only
    Now now = monotonic_ns;
};

namespace detail {

constexpr int64_t look_ns = 250 * ns_per_ms;       // between two looks at the monitor
constexpr int64_t handshake_ns = 3000 * ns_per_ms;

[[noreturn]] inline void fail(const std::string& what) {
    throw std::runtime_error("edged: " + what + ": " + zmq_strerror(zmq_errno()));
}

// A SUB socket that is connected anew where libzmq gives up: it reconnects after a loss, but never after a peer that
// broke the protocol, as one that sends more than ZMQ_MAXMSGSIZE does.
class Link {
   public:
    uint64_t cut = 0;

    Link(const char* endpoint, std::string_view topic, bool conflate, int queue, const Options& options)
        : endpoint_(endpoint), prefix_(topic), conflate_(conflate), queue_(queue), context_(options.context) {
        if (endpoint_.compare(0, 6, "ipc://") == 0 && endpoint_.size() > 6 + 107)
            throw std::runtime_error("edged: " + endpoint_ + ": longer than 107 bytes; use a shorter runtime folder");
        if (!topic.empty()) prefix_.push_back('\0');  // else `cell/act` would match `cell/action` too
        if (options.keys) keys_ = *options.keys;
        if (!context_) context_ = own_context_ = zmq_ctx_new();
        if (!context_) fail("no context");
        try {
            open();
        } catch (...) {
            close();
            throw;
        }
    }
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;
    ~Link() { close(); }

    // The next message, into `into`; false = none is there. A message of several parts is passed over.
    bool receive(zmq_msg_t& into) {
        has_parts = false;
        if (zmq_msg_recv(&into, socket_, ZMQ_DONTWAIT) < 0) return false;
        for (int parts = 1; zmq_msg_more(&into); parts++) {
            if (zmq_msg_recv(&into, socket_, ZMQ_DONTWAIT) < 0 || parts == 64) {
                reopen();
                return false;
            }
            has_parts = true;
        }
        return true;
    }
    bool has_parts = false;  // of what was received last: then it is no message of ours

    bool wait(int timeout_ms) const {
        zmq_pollitem_t item{socket_, 0, ZMQ_POLLIN, 0};
        return zmq_poll(&item, 1, timeout_ms < 0 ? 0 : timeout_ms) > 0;
    }
    // Look whether the connection is given up, a few times a second.
    void tend(int64_t now_ns) {
        if (now_ns < look_at_ns_) return;
        look_at_ns_ = now_ns + look_ns;
        const bool was_waiting = is_waiting_;
        const int64_t before = since_ns_;
        for (int i = 0; i < 64; i++) {
            uint8_t event[6], address[256];
            if (zmq_recv(monitor_, event, sizeof event, ZMQ_DONTWAIT) < 0) break;
            zmq_recv(monitor_, address, sizeof address, ZMQ_DONTWAIT);
            uint16_t number;
            std::memcpy(&number, event, 2);
            is_broken_ = number == ZMQ_EVENT_DISCONNECTED;
            is_waiting_ = is_broken_ || number == ZMQ_EVENT_CONNECTED;
            since_ns_ = now_ns;
        }
        const int64_t patience_ns = is_broken_ ? look_ns / 2 : handshake_ns;
        if (is_waiting_ && was_waiting && since_ns_ == before && now_ns - since_ns_ >= patience_ns) {
            cut++;
            reopen();
        }
    }
    void reopen() {
        drop();
        open();
    }

   private:
    void set(int option, const void* value, size_t size) {
        if (zmq_setsockopt(socket_, option, value, size)) fail("a socket option of " + endpoint_);
    }
    void set(int option, int value) { set(option, &value, sizeof value); }
    void open() {
        socket_ = zmq_socket(context_, ZMQ_SUB);
        if (!socket_) fail("no socket");
        const int64_t longest = int64_t(max_message);
        set(ZMQ_LINGER, 0);
        set(ZMQ_HANDSHAKE_IVL, 1000);
        set(ZMQ_TCP_KEEPALIVE, 1);
        set(ZMQ_RECONNECT_IVL, 10);
        set(ZMQ_RECONNECT_IVL_MAX, 50);
        set(ZMQ_MAXMSGSIZE, &longest, sizeof longest);
        set(ZMQ_IPV6, endpoint_.find('[') != std::string::npos);
        // Heartbeats and a bounded queue do not go together: one that ends a connection whose queue is full makes
        // libzmq 4.3.5 abort (zeromq/libzmq#3937).
        if (conflate_) {
            set(ZMQ_CONFLATE, 1);
            set(ZMQ_HEARTBEAT_IVL, 100);
            set(ZMQ_HEARTBEAT_TIMEOUT, 300);
            set(ZMQ_HEARTBEAT_TTL, 300);
        } else {
            set(ZMQ_RCVHWM, queue_);
        }
        set(ZMQ_SUBSCRIBE, prefix_.data(), prefix_.size());
        if (!keys_.server.empty()) {
            set(ZMQ_CURVE_SERVERKEY, keys_.server.c_str(), keys_.server.size() + 1);
            set(ZMQ_CURVE_PUBLICKEY, keys_.own_public.c_str(), keys_.own_public.size() + 1);
            set(ZMQ_CURVE_SECRETKEY, keys_.own_secret.c_str(), keys_.own_secret.size() + 1);
        }
        char place[64];
        std::snprintf(place, sizeof place, "inproc://edged-%p-%u", static_cast<void*>(this), opened_++);
        const int watched = ZMQ_EVENT_CONNECTED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CONNECT_DELAYED
                            | ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
        if (zmq_socket_monitor(socket_, place, watched)) fail("no monitor");
        monitor_ = zmq_socket(context_, ZMQ_PAIR);
        if (!monitor_ || zmq_connect(monitor_, place)) fail("no monitor");
        if (zmq_connect(socket_, endpoint_.c_str())) fail("cannot connect to " + endpoint_);
        is_waiting_ = is_broken_ = false;
    }
    void drop() {
        if (socket_) zmq_socket_monitor(socket_, nullptr, 0);
        for (void** socket : {&monitor_, &socket_}) {
            const int none = 0;
            if (!*socket) continue;
            zmq_setsockopt(*socket, ZMQ_LINGER, &none, sizeof none);
            zmq_close(*socket);
            *socket = nullptr;
        }
    }
    void close() {
        drop();
        if (own_context_) zmq_ctx_term(own_context_);
        own_context_ = nullptr;
    }

    std::string endpoint_, prefix_;
    bool conflate_;
    int queue_;
    Keys keys_;
    void *context_, *own_context_ = nullptr, *socket_ = nullptr, *monitor_ = nullptr;
    unsigned opened_ = 0;
    int64_t look_at_ns_ = 0, since_ns_ = 0;
    bool is_waiting_ = false, is_broken_ = false;
};

// A message that owns its bytes, in a buffer that is kept.
struct Kept {
    std::vector<uint8_t> bytes = std::vector<uint8_t>(65536);
    Message message;

    const char* take(zmq_msg_t& from) {
        const size_t size = zmq_msg_size(&from);
        if (size > bytes.size()) bytes.resize(size);
        if (size) std::memcpy(bytes.data(), zmq_msg_data(&from), size);
        return decode(bytes.data(), size, message);
    }
};

struct Received {
    zmq_msg_t message;
    Received() { zmq_msg_init(&message); }
    Received(const Received&) = delete;
    Received& operator=(const Received&) = delete;
    ~Received() { zmq_msg_close(&message); }
};

}  // namespace detail

// ---- streams -----------------------------------------------------------------------------------------------------

enum class Heard : uint8_t { Nothing, Message, Lost };

// The newest message of one topic that counts: valid, newer than any before and still good. A Hold with the stop flag
// counts however old it is. What does not count is counted in `health().rejected`.
class Stream {
   public:
    // Throws std::runtime_error for an endpoint or keys that cannot mean anything. `timeout_ms`: how much silence is Lost.
    Stream(const char* endpoint, std::string_view topic, double timeout_ms, const Options& options = {})
        : link_(endpoint, topic, true, 1, options), track_(boot_id()), now_(options.now),
          timeout_ns_(int64_t(std::llround(timeout_ms * 1e6))), opened_ns_(now_()) {}

    // Message: `message()` is new. Lost: `lost_ms()` and `lost_detail()` say why to stop. Never waits.
    Heard latest() {
        link_.tend(now_());
        bool is_accepted = false;
        for (int i = 0; i < most_per_call && link_.receive(received_.message); i++) {
            const Refusal refusal = judge();
            if (refusal != Refusal::none) {
                track_.rejected[size_t(refusal)]++;
                continue;
            }
            at_ = 1 - at_;
            is_accepted = true;
        }
        if (is_accepted) {
            has_sent_ = true;
            sent_ns_ = track_.sent_ns();
            is_pending_ = has_missed_stop_;
            has_missed_stop_ = false;
            return is_pending_ ? lost(0, "a stop was missed: stop first, then follow") : Heard::Message;
        }
        if (is_pending_) {
            is_pending_ = false;
            return now_() < track_.good_until_ns ? Heard::Message : Heard::Nothing;
        }
        const int64_t silent_ns = now_() - (has_sent_ ? sent_ns_ : opened_ns_);
        if (silent_ns <= timeout_ns_) return Heard::Nothing;
        return lost(double(silent_ns) / 1e6, !track_.received ? "nothing was ever heard"
                    : link_.cut ? "silent; its publisher was cut off: no daemon, or beyond the wire" : "silent");
    }
    // The newest message that `latest` gave; valid until it gives the next.
    const Message& message() const { return kept_[at_].message; }
    double lost_ms() const { return lost_ms_; }
    const char* lost_detail() const { return lost_detail_; }

    // Wait until there may be something for `latest`; false = the time is over.
    bool wait(int timeout_ms) const { return link_.wait(timeout_ms); }
    // Until when, by our clock, the newest message is good, be it an action or a Hold; 0 = there was none.
    int64_t good_until_ns() const { return track_.good_until_ns; }
    // The same of any message that `latest` gave, whatever came after it. 0 = its machine was restarted.
    int64_t good_until_ns(const Preamble& preamble) const { return track_.until_ns(preamble); }
    Health health() const { return track_.health(now_(), timeout_ns_, link_.cut); }

   private:
    static constexpr int most_per_call = 8;  // a flood must not hold a controller; conflating leaves one anyway

    Heard lost(double silent_ms, const char* detail) {
        lost_ms_ = silent_ms;
        lost_detail_ = detail;
        return Heard::Lost;
    }
    Refusal judge() {
        track_.received++;
        const int64_t now_ns = now_();  // after it was received: nothing that is honest was made later
        detail::Kept& kept = kept_[1 - at_];
        if (link_.has_parts || kept.take(received_.message)) return Refusal::malformed;
        const Message& message = kept.message;
        if (const Refusal refusal = track_.note(message, now_ns); refusal != Refusal::none) return refusal;
        // also of what is refused below: a stop is missed whether or not the first message after it counts
        has_missed_stop_ = (has_missed_stop_ || track_.missed_stop) && !message.stop();
        if (now_ns >= track_.good_until_ns && !message.stop()) return Refusal::expired;
        if (message.kind() == Kind::action && !is_finite(message)) return Refusal::not_finite;
        return Refusal::none;
    }

    detail::Link link_;
    Track track_;
    Now now_;
    int64_t timeout_ns_, opened_ns_, sent_ns_ = 0;
    bool has_sent_ = false, is_pending_ = false, has_missed_stop_ = false;
    double lost_ms_ = 0;
    const char* lost_detail_ = "";
    detail::Received received_;
    std::array<detail::Kept, 2> kept_;
    size_t at_ = 0;
};

// Every message of one topic in order of arrival, or of all topics where it is empty: for events and recorders. Nothing
// is gated. At most `queue` wait in memory; when that is full the newest are lost.
class Subscription {
   public:
    uint64_t malformed = 0;

    Subscription(const char* endpoint, std::string_view topic, int queue = 256, const Options& options = {})
        : link_(endpoint, topic, false, queue, options), now_(options.now) {}

    // The next valid message, valid until the next call; nullptr when none came within `timeout_ms`.
    const Message* receive(int timeout_ms) {
        const int64_t end_ns = now_() + int64_t(timeout_ms) * ns_per_ms;
        for (int late = 0; late < most_late;) {
            const int64_t now_ns = now_();
            link_.tend(now_ns);
            const int64_t left_ms = (end_ns - now_ns + ns_per_ms - 1) / ns_per_ms, look_ms = detail::look_ns / ns_per_ms;
            if (link_.receive(received_.message)) {
                if (!link_.has_parts && !kept_.take(received_.message)) return &kept_.message;
                malformed++;
                late += left_ms <= 0;
            } else if (left_ms <= 0) {
                return nullptr;
            } else {
                link_.wait(int(left_ms < look_ms ? left_ms : look_ms));
            }
        }
        return nullptr;
    }

   private:
    static constexpr int most_late = 256;  // that are none, read after the time is over: a flood must not hold a reader

    detail::Link link_;
    Now now_;
    detail::Received received_;
    detail::Kept kept_;
};

// ---- player ------------------------------------------------------------------------------------------------------

// Why a player did not take a message; `none` = it counts.
enum class Refused : uint8_t { none, old, future, expired, other_axes, not_finite, no_action, braking, too_far };
constexpr int refused_kinds = 9;

// What a player's command is: on a trajectory; on the way to rest that it ends with; braking or at rest, and the
// velocities say which; the same, because nothing is heard.
enum class Playing : uint8_t { moving, tail, holding, lost };

// What to drive to now, by the player's axes, per second; nullptr before the first action. Valid until the next call.
struct Command {
    const double* values;
    const double* velocities;
    Playing state;
};

namespace detail {

constexpr int64_t away_ns = 20 * ns_per_ms;  // a caller that does not ask for so long stands still
constexpr double unseen = 1.0 / 500;         // of `bridge`: an offset that needs no bridge
constexpr double unfelt = 0.4;               // of `bridge`, per second: a change of velocity that needs none
constexpr double bridge_s = 0.1;             // at the least
constexpr double offset_peak = 5.8, change_peak = 4.0;  // accelerations of a bridge with a span and an offset of 1

// Sums that stay at the ends of their range: stamps of a message can be anything below 2^62.
inline int64_t plus(int64_t a, int64_t b) {
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? (b > 0 ? INT64_MAX : INT64_MIN) : sum;
}
inline int64_t minus(int64_t a, int64_t b) {
    int64_t rest;
    return __builtin_sub_overflow(a, b, &rest) ? (b < 0 ? INT64_MAX : INT64_MIN) : rest;
}
inline double sign(double value) { return value > 0 ? 1 : value < 0 ? -1 : 0; }

// Position and velocity of one axis.
struct Point {
    double p = 0, v = 0;
};

// The members of a header's list, to know them again; too many are not known.
class Members {
   public:
    bool are(const Value& list) const {
        if (!is_known_) return false;
        return is_list_ ? list.is_list(count_, {bytes_.data(), size_}) : list.type != Type::list;
    }
    void keep(const Value& list) {
        const std::string_view raw = list.raw();
        is_known_ = raw.size() <= bytes_.size();
        if (!is_known_) return;
        is_list_ = list.type == Type::list;
        count_ = list.size();
        size_ = raw.size();
        if (size_) std::memcpy(bytes_.data(), raw.data(), size_);
    }
    void forget() { is_known_ = false; }

   private:
    bool is_known_ = false, is_list_ = false;
    uint32_t count_ = 0;
    size_t size_ = 0;
    std::array<char, 1024> bytes_;
};

// Where a moment lies on a trajectory: before its first knot, or by what share of a step after which.
struct Moment {
    int64_t now_ns;
    size_t knot;
    double share, step_s;
    bool is_before, is_last;
};

// A message's trajectory, by the player's axes and clock.
class Knots {
   public:
    int64_t t0_ns = 0, end_ns = 0;
    bool is_given = false;   // its velocities were in the message
    bool is_single = false;  // one knot
    bool rests = false;      // it ends at rest
    std::vector<uint8_t> is_binary;  // [D]: no values in between
    uint64_t sorting = 0;            // of which sorting of the axes that is

    explicit Knots(size_t axes) : is_binary(axes), numbers_(2 * axes * kept_knots), from_(axes), axes_(axes) {}

    // Read the columns of an action, or all of it as it is. False: a number is not finite.
    bool read(const Message& action, const std::vector<uint32_t>& columns, bool as_it_is, int64_t shift_ns) {
        const Array* speeds = action.velocity();
        count_ = action.steps();
        const size_t numbers = count_ * axes_;
        if (numbers_.size() < 2 * numbers) numbers_.resize(2 * numbers);
        is_given = speeds;
        for (const Array* array : {&action.array(0), speeds}) {
            if (!array) continue;
            float* into = numbers_.data() + (array == speeds ? numbers : 0);
            if (!(as_it_is ? copy(array->data, into, numbers) : sort(array->data, into, columns, action.axes()))) return false;
        }
        is_single = count_ == 1;
        rests = !is_single;
        for (size_t at = numbers - axes_; is_given && at < numbers; at++) rests &= numbers_[numbers + at] == 0;
        step_ns_ = action.step_ns > 1 ? action.step_ns : 1;
        t0_ns = plus(action.t0_ns, shift_ns);
        int64_t span_ns;
        end_ns = __builtin_mul_overflow(int64_t(count_) - 1, step_ns_, &span_ns) ? INT64_MAX : plus(t0_ns, span_ns);
        is_from_ = false;
        return true;
    }
    // Whether `begin` matters at `now_ns`.
    bool is_ahead(int64_t now_ns) const { return !is_given && now_ns < t0_ns; }
    // Without velocities, it goes in a straight line from `values` at `now_ns` to the first knot.
    void begin(int64_t now_ns, const std::vector<double>& values) {
        if (!is_ahead(now_ns)) return;
        is_from_ = true;
        from_ns_ = now_ns;
        from_ = values;
    }
    // What is the same for all axes: a division of 64 bits takes as long as all else of an axis.
    Moment when(int64_t now_ns) const {
        const int64_t since_ns = minus(now_ns, t0_ns);
        if (since_ns < 0) return {now_ns, 0, 0, 0, true, false};
        const uint64_t knot = uint64_t(since_ns) / uint64_t(step_ns_);
        if (knot + 1 >= count_) return {now_ns, count_ - 1, 0, 0, false, true};
        const double share = double(since_ns - int64_t(knot) * step_ns_) / double(step_ns_);
        return {now_ns, size_t(knot), share, double(step_ns_) / 1e9, false, false};
    }
    // Where each axis is then. One copy of the code for all who ask: after a pause it is fetched, which takes longest.
    [[gnu::noinline]] void at(int64_t now_ns, std::vector<Point>& into) const {
        const Moment now = when(now_ns);
        for (size_t axis = 0; axis < axes_; axis++) into[axis] = at(now, axis);
    }

   private:
    Point at(const Moment& now, size_t axis) const {
        if (now.is_before) return before(now.now_ns, axis);
        const size_t a = now.knot * axes_ + axis, b = a + axes_;
        const double from = double(numbers_[a]);
        if (now.is_last || is_binary[axis]) return {from, 0};
        const double x = now.share, h = now.step_s, way = double(numbers_[b]) - from;
        const double begin = speed(a) * h, ends = begin + speed(b) * h;
        const double bend = ends - 2 * way, rise = 3 * way - begin - ends;
        return {from + x * (begin + x * (rise + x * bend)), (begin + x * (2 * rise + x * 3 * bend)) / h};
    }

    static constexpr size_t kept_knots = 256;  // room from the start on

    // Copy floats that need not be aligned. False: one is not finite.
    static bool copy(const uint8_t* from, float* into, size_t count) {
        uint32_t largest = 0;
        for (size_t at = 0; at < count; at++) {
            uint32_t bits;
            std::memcpy(&bits, from + 4 * at, 4);
            std::memcpy(into + at, &bits, 4);
            bits &= 0x7FFFFFFF;
            largest = bits > largest ? bits : largest;
        }
        return largest < 0x7F800000;
    }
    [[gnu::noinline]] bool sort(const uint8_t* rows, float* into, const std::vector<uint32_t>& columns, size_t wide) const {
        bool is_finite = true;
        for (size_t at = 0; at < count_ * axes_; at++)
            is_finite &= copy(rows + 4 * (at / axes_ * wide + columns[at % axes_]), into + at, 1);
        return is_finite;
    }
    double speed(size_t at) const { return is_given ? double(numbers_[count_ * axes_ + at]) : 0; }
    [[gnu::noinline]] Point before(int64_t now_ns, size_t axis) const {
        const double first = double(numbers_[axis]);
        double slope = 0;
        if (!is_binary[axis])
            slope = is_from_ ? (first - from_[axis]) * (1e9 / double(minus(t0_ns, from_ns_))) : speed(axis);
        return {first - slope * (double(minus(t0_ns, now_ns)) / 1e9), slope};
    }

    std::vector<float> numbers_;  // [T, D] positions, then velocities, as single as the wire has them
    std::vector<double> from_;
    size_t axes_, count_ = 0;
    int64_t step_ns_ = 1, from_ns_ = 0;
    bool is_from_ = false;
};

}  // namespace detail

// From a daemon's messages to a command at any time and rate, as WIRE.md says under "Trajectories": the same as
// `edged.client.Player`, to 1e-9.
//
//     edged::Player player({"j1", "j2", "tool"}, 8.0);
//     while (true) {                                     // e.g. each millisecond
//         const edged::Heard heard = stream.latest();
//         const int64_t now_ns = edged::monotonic_ns();  // after latest()
//         player.feed(stream, heard, now_ns);
//         const edged::Command command = player.command(now_ns);
//         if (command.values) drive(command.values, command.velocities);
//     }
//
// One thread's. Nothing is allocated after construction, unless a message has more than 256 knots.
class Player {
   public:
    static constexpr int64_t by_its_stamps = INT64_MIN;
    std::array<uint64_t, refused_kinds> refused{};

    // `names`: the axes to play, each message is sorted by them. `braking`: units per second squared, for stops of its
    // own. `bridge`: how far a new trajectory may lie from the command that was returned last; beyond it the player stops
    // and waits for one that is near enough, or for a new motion. One number each, or one an axis. `boot`: the reader's.
    // Throws std::invalid_argument.
    Player(std::vector<std::string> names, std::vector<double> braking, std::vector<double> bridge = {0.05},
           const Boot& boot = boot_id())
        : names_(std::move(names)), braking_(spread(std::move(braking))), bridge_(spread(std::move(bridge))),
          boot_(boot), columns_(names_.size()), is_binary_(names_.size()), path_(names_.size()), next_(names_.size()),
          own_(names_.size()), old_(names_.size()), new_(names_.size()), offset_(names_.size()), span_(names_.size()),
          braked_from_(names_.size()), values_(names_.size()), velocities_(names_.size()), begin_(names_.size()) {
        if (names_.empty() || !detail::are_distinct(names_)) throw std::invalid_argument("edged: names are the axes: one at least, none empty, none twice");
        for (double one : braking_)
            if (!std::isfinite(one) || one <= 0)
                throw std::invalid_argument("edged: braking is a deceleration: above 0, and finite");
        for (double one : bridge_)
            if (!std::isfinite(one) || one < 0) throw std::invalid_argument("edged: bridge is a distance: 0 or more, and finite");
    }
    Player(std::vector<std::string> names, double braking, double bridge = 0.05)
        : Player(std::move(names), std::vector<double>{braking}, std::vector<double>{bridge}) {}

    // Take in what `stream.latest()` gave, at `now_ns`, read after it.
    Refused feed(const Stream& stream, Heard heard, int64_t now_ns) {
        if (heard == Heard::Message) {
            const Message& message = stream.message();
            return feed(message, now_ns, stream.good_until_ns(message.preamble));
        }
        if (heard == Heard::Lost) lost(stream.lost_ms(), stream.lost_detail(), now_ns);
        return Refused::none;
    }
    // Take in a message; tells why it does not count. `until_ns`: until when it is good by our clock, for a daemon on
    // another machine, whose stamps are then moved with it; without, a message counts as received at `now_ns`.
    Refused feed(const Message& message, int64_t now_ns, int64_t until_ns = by_its_stamps) {
        const Refused refusal = take(message, now_ns, until_ns);
        if (refusal != Refused::none) refused[size_t(refusal)]++;
        return refusal;
    }
    // Nothing is heard for `silent_ms`; 0 = a stop was missed.
    void lost(double silent_ms, const char* detail, int64_t now_ns) {
        now_ns = onward(now_ns, has_stood(now_ns));
        if (has_path_ && path_.rests && silent_ms > 0) return;  // it plays to rest by itself
        stop_for(detail, now_ns, Playing::lost);
    }
    // While nothing is commanded: where the drives stand, as measured. The next motion then begins there, whoever moved
    // them, and is followed only from near enough. A measurement that is not finite says nothing.
    void stands(const double* values) {
        if (has_path_) return;
        for (double velocity : velocities_) if (velocity != 0) return;
        for (size_t axis = 0; axis < names_.size(); axis++) if (!std::isfinite(values[axis])) return;
        for (size_t axis = 0; axis < names_.size(); axis++) {
            values_[axis] = values[axis];
            braked_from_[axis] = {values[axis], 0};
        }
        has_values_ = stands_ = true;
    }
    // Where to be at `now_ns`, which does not go back: to a clock that does, as to one that leaps, the caller was away.
    Command command(int64_t now_ns) {
        const bool is_away = has_stood(now_ns);
        now_ns = onward(now_ns, is_away);
        if (has_path_ && now_ns >= end_ns_)
            stop_for("nothing newer was heard", is_away ? now_ns : end_ns_, Playing::holding);
        else if (has_path_ && is_away)
            come_back(now_ns);
        if (has_values_ || has_path_) {
            look(now_ns);
            for (size_t axis = 0; axis < names_.size(); axis++) {
                values_[axis] = own_[axis].p;
                velocities_[axis] = own_[axis].v;
            }
            has_values_ = true;
        }
        asked_ns_ = now_ns;
        const Playing state = !has_path_ ? state_ : now_ns >= until_ns_ ? Playing::tail : Playing::moving;
        if (!has_values_) return {nullptr, nullptr, state};
        return {values_.data(), velocities_.data(), state};
    }
    // The reason of the last stop, for people.
    const char* stopped() const { return stopped_; }
    size_t axes() const { return names_.size(); }

   private:
    using Point = detail::Point;

    std::vector<double> spread(std::vector<double> values) const {
        if (values.size() == 1) values.resize(names_.size(), values[0]);
        if (values.size() != names_.size()) throw std::invalid_argument("edged: one number for all axes, or one for each");
        return values;
    }
    Refused take(const Message& message, int64_t now_ns, int64_t until_ns) {
        const Preamble& p = message.preamble;
        const bool is_local = detail::same(p.boot, boot_), was_heard = has_newest_;
        if (is_local && (p.published_ns > now_ns || p.session > uint64_t(now_ns))) return Refused::future;
        if (was_heard && !newer(p, newest_)) return Refused::old;
        now_ns = onward(now_ns, has_stood(now_ns));
        const bool is_other =
            !was_heard || !detail::same(p.boot, newest_.boot) || p.session != newest_.session || message.motion != motion_;
        const bool has_missed = was_heard && is_other && has_path_;
        is_anchored_ = is_anchored_ || message.stop() || is_other;
        newest_ = p;
        motion_ = message.motion;
        has_newest_ = true;
        if (message.stop()) return stop_for(message, now_ns);
        if (has_missed) stop_for("a stop was missed", now_ns, Playing::holding);
        if (message.kind() != Kind::action) return message.kind() == Kind::hold ? Refused::none : Refused::no_action;
        const int64_t own_ns = p.published_ns + p.valid_for_ns;
        if (until_ns == by_its_stamps) until_ns = is_local ? own_ns : detail::plus(now_ns, p.valid_for_ns);
        if (now_ns >= until_ns) return Refused::expired;
        if (!sort_axes(message)) return Refused::other_axes;
        const int64_t shift_ns = detail::minus(until_ns, own_ns);
        if (!next_.read(message, columns_, in_order_, shift_ns)) return Refused::not_finite;
        return follow(now_ns, until_ns, detail::plus(p.published_ns, shift_ns));
    }
    [[gnu::noinline]] Refused stop_for(const Message& hold, int64_t now_ns) {
        stop(now_ns, Playing::holding);
        const std::string_view reason = hold.find("reason").text(), detail = hold.find("detail").text();
        std::snprintf(stopped_, sizeof stopped_, "%.*s: %.*s", int(reason.size() < 64 ? reason.size() : 64),
                      reason.data(), int(detail.size() < 128 ? detail.size() : 128), detail.data());
        return Refused::none;
    }
    [[gnu::noinline]] void stop_for(const char* why, int64_t at_ns, Playing state) {
        stop(at_ns, state);
        std::snprintf(stopped_, sizeof stopped_, "%s", why);
    }
    // The columns of the player's axes in an action, and which of them are binary. False: it lacks one. Most messages
    // have the names of the one before, to the byte.
    bool sort_axes(const Message& message) {
        const Value &names = message.names(), &units = message.units();
        if (names.type != Type::list || names.size() != message.axes()) return false;
        if ((!last_names_.are(names) || !last_units_.are(units)) && !sort_anew(names, units)) return false;
        if (next_.sorting != sorting_) {
            next_.is_binary = is_binary_;
            next_.sorting = sorting_;
        }
        return true;
    }
    [[gnu::noinline]] bool sort_anew(const Value& names, const Value& units) {
        constexpr uint32_t missing = UINT32_MAX;
        last_names_.forget();
        sorting_++;
        const bool has_units = units.type == Type::list && units.size() == names.size();
        for (uint32_t& column : columns_) column = missing;
        Value name, unit;
        Value::Members all = names.members(), units_of = units.members();
        for (uint32_t column = 0; all.next(name); column++) {
            if (has_units) units_of.next(unit);
            for (size_t axis = 0; axis < names_.size(); axis++) {
                if (columns_[axis] != missing || name.text() != names_[axis]) continue;
                columns_[axis] = column;
                is_binary_[axis] = has_units && unit.text().empty();
            }
        }
        in_order_ = names.size() == columns_.size();
        for (size_t axis = 0; axis < columns_.size(); axis++) {
            if (columns_[axis] == missing) return false;
            in_order_ = in_order_ && columns_[axis] == axis;
        }
        last_names_.keep(names);
        last_units_.keep(units);
        return true;
    }
    // Go over to the trajectory in `next_`, unless the player brakes, or it is too far away.
    Refused follow(int64_t now_ns, int64_t until_ns, int64_t published_ns) {
        look(now_ns);
        if (!has_path_) {
            if (const Refused why = set_out(now_ns, published_ns); why != Refused::none) return why;
        } else {
            const bool is_away = has_stood(now_ns);
            for (size_t axis = 0; axis < names_.size() && is_away; axis++) own_[axis] = {values_[axis], 0};
            if (next_.is_ahead(now_ns)) {
                for (size_t axis = 0; axis < names_.size(); axis++) begin_[axis] = own_[axis].p;
                next_.begin(now_ns, begin_);
            }
            if (!span(next_, !is_away, now_ns)) return Refused::too_far;
        }
        std::swap(path_, next_);
        has_path_ = true;
        until_ns_ = until_ns;
        is_anchored_ = stands_ = false;
        end_ns_ = path_.rests && path_.end_ns > until_ns ? path_.end_ns : until_ns;
        return Refused::none;
    }
    // Begin to move, from where it is, or from where the robot was when the trajectory was published.
    [[gnu::noinline]] Refused set_out(int64_t now_ns, int64_t published_ns) {
        for (const Point& point : own_) if (has_values_ && point.v != 0) return Refused::braking;
        if (has_values_) next_.begin(now_ns, values_);
        has_offset_ = false;
        bool is_near = stands_;
        next_.at(now_ns, new_);
        for (size_t axis = 0; axis < names_.size() && is_near; axis++)
            is_near = next_.is_binary[axis] || std::fabs(own_[axis].p - new_[axis].p) <= bridge_[axis];
        if (!is_near && (is_anchored_ || !has_values_)) {
            next_.at(published_ns < now_ns ? published_ns : now_ns, own_);
            for (size_t axis = 0; axis < names_.size(); axis++) own_[axis].v = new_[axis].v;
        }
        return span(next_, false, now_ns) ? Refused::none : Refused::too_far;
    }
    // Bridge the way from what was commanded, `own_`, to `path`. False, and a stop, where it is too long. `goes_on`: an
    // older path was followed until now, and `old_` is where that is.
    bool span(const detail::Knots& path, bool goes_on, int64_t now_ns) {
        bool is_same = goes_on;
        path.at(now_ns, new_);
        for (size_t axis = 0; axis < names_.size(); axis++) {
            const Point& point = new_[axis];
            if (path.is_binary[axis]) continue;
            is_same = is_same && std::fabs(old_[axis].p - point.p) <= detail::unseen * bridge_[axis]
                      && (path.is_single || std::fabs(old_[axis].v - point.v) <= detail::unfelt * bridge_[axis]);
        }
        return is_same || bridge(path, now_ns);  // the same way: an older bridge goes on
    }
    [[gnu::noinline]] bool bridge(const detail::Knots& path, int64_t now_ns) {
        size_t worst = 0;
        double most = -1, worst_offset = 0;
        bool is_far = false;
        for (size_t axis = 0; axis < names_.size(); axis++) {
            const Point now = new_[axis];
            const Point away = path.is_binary[axis] ? Point{} : Point{own_[axis].p - now.p, own_[axis].v - now.v};
            is_far = is_far || !(std::fabs(away.p) <= bridge_[axis]);
            if (std::fabs(away.p) / bridge_[axis] > most) {
                most = std::fabs(away.p) / bridge_[axis];
                worst = axis;
                worst_offset = std::fabs(away.p);
            }
            own_[axis] = away;
        }
        if (is_far) {
            stop(now_ns, Playing::holding);
            std::snprintf(stopped_, sizeof stopped_, "%.64s was %.4g from its new trajectory > %g",
                          names_[worst].c_str(), worst_offset, bridge_[worst]);
            return false;
        }
        for (size_t axis = 0; axis < names_.size(); axis++) {
            const double gentle = braking_[axis] / 2, offset = own_[axis].p, change = path.is_single ? 0 : own_[axis].v;
            const double slow = std::sqrt(detail::offset_peak * std::fabs(offset) / gentle);
            const double late = detail::change_peak * std::fabs(change) / gentle;
            offset_[axis] = {offset, change};
            span_[axis] = std::fmax(detail::bridge_s, std::fmax(slow, late));
            longest_ = axis ? std::fmax(longest_, span_[axis]) : span_[axis];
        }
        offset_ns_ = now_ns;
        has_offset_ = true;
        return true;
    }
    // The caller was away, and its drive stood where it was.
    [[gnu::noinline]] void come_back(int64_t now_ns) {
        for (size_t axis = 0; axis < names_.size(); axis++) own_[axis] = {values_[axis], 0};
        span(path_, false, now_ns);
    }
    // Whether the caller was away, so that its drive stood where it was: it has braked already.
    bool has_stood(int64_t now_ns) {
        if (!has_values_) return false;
        const int64_t since_ns = detail::minus(now_ns, asked_ns_);
        if (since_ns <= detail::away_ns && since_ns >= -detail::away_ns) return false;
        for (size_t axis = 0; axis < names_.size() && !has_path_; axis++) {
            velocities_[axis] = 0;
            braked_from_[axis] = {values_[axis], 0}; // at rest too: a clock that went back would begin to brake again
        }
        return true;
    }
    // `now_ns`, or when it was asked last, where the clock went back by so little that nobody was away.
    int64_t onward(int64_t now_ns, bool is_away) const {
        return !is_away && has_values_ && now_ns < asked_ns_ ? asked_ns_ : now_ns;
    }
    // The command at `now_ns` into `own_`, the bridge included; where the path alone is, into `old_`.
    void look(int64_t now_ns) {
        if (!has_path_) return look_at_rest(now_ns);
        path_.at(now_ns, old_);
        for (size_t axis = 0; axis < names_.size(); axis++) own_[axis] = old_[axis];
        if (!has_offset_) return;
        const double since = double(detail::minus(now_ns, offset_ns_)) / 1e9;
        if (since >= longest_) return;  // over: it adds nothing any more
        add_bridge(since);
    }
    [[gnu::noinline]] void add_bridge(double since) {
        for (size_t axis = 0; axis < names_.size(); axis++) {
            const double offset = offset_[axis].p, change = offset_[axis].v, span = span_[axis], share = since / span;
            const double x = share > 1 ? 1 : share > 0 ? share : 0, left = 1 - x, moved = x * x * x * (10 - 15 * x + 6 * x * x);
            own_[axis].p += offset * (1 - moved) + change * span * x * left * left * left * (1 + 3 * x);
            own_[axis].v += -30 * offset * x * x * left * left / span + change * left * left * (1 + 2 * x - 15 * x * x);
        }
    }
    [[gnu::noinline]] void look_at_rest(int64_t now_ns) {
        const int64_t since_ns = detail::minus(now_ns, braked_ns_);
        for (size_t axis = 0; axis < names_.size(); axis++) {
            const Point& from = braked_from_[axis];
            const double whole = std::fabs(from.v) / braking_[axis], gone = since_ns > 0 ? double(since_ns) / 1e9 : 0;
            const double moving = gone < whole ? gone : whole;
            const double slower = from.v - detail::sign(from.v) * braking_[axis] * moving;
            own_[axis] = {from.p + (from.v + slower) / 2 * moving, moving >= whole ? 0 : slower};
        }
    }
    // Brake from here on; while braking that goes on.
    [[gnu::noinline]] void stop(int64_t now_ns, Playing state) {
        state_ = state;
        if (has_path_) {
            const bool is_away = has_stood(now_ns);
            look(now_ns);
            for (size_t axis = 0; axis < names_.size(); axis++) {
                braked_from_[axis] = is_away ? Point{values_[axis], 0} : own_[axis];
                if (path_.is_binary[axis]) braked_from_[axis].v = 0;
                if (!has_values_) values_[axis] = braked_from_[axis].p;
            }
            braked_ns_ = now_ns;
            has_values_ = true;
        }
        has_path_ = has_offset_ = false;
    }

    std::vector<std::string> names_;
    std::vector<double> braking_, bridge_;
    Boot boot_;
    Preamble newest_{};
    int64_t motion_ = 0;
    bool has_newest_ = false;
    bool is_anchored_ = true;  // the next trajectory begins where the robot is: the daemon's guard saw to that
    bool stands_ = false;      // where is known, and commands nothing
    std::vector<uint32_t> columns_;
    std::vector<uint8_t> is_binary_;
    uint64_t sorting_ = 0;   // counts how often they were sorted anew
    bool in_order_ = false;  // a message has these axes alone, and in this order
    detail::Members last_names_, last_units_;  // of which those are
    detail::Knots path_, next_;
    bool has_path_ = false;    // else: braking, or at rest
    int64_t until_ns_ = 0, end_ns_ = 0;
    std::vector<Point> own_, old_, new_, offset_;  // see `look` and `span`
    std::vector<double> span_;  // s, of the bridge
    double longest_ = 0;
    int64_t offset_ns_ = 0;
    bool has_offset_ = false;
    std::vector<Point> braked_from_;
    int64_t braked_ns_ = 0;
    std::vector<double> values_, velocities_;  // as returned last
    std::vector<double> begin_;
    bool has_values_ = false;
    int64_t asked_ns_ = 0;
    Playing state_ = Playing::holding;
    char stopped_[224] = "";
};

// ---- sending -----------------------------------------------------------------------------------------------------

// The bytes of a SAMPLE, the numbers of a sensor, made once and filled anew for each message: nothing is allocated then.
class Sample {
   public:
    // `names`: one for each value. `session`: when this sender started; it must grow with each start. Throws
    // std::invalid_argument.
    Sample(std::string_view topic, const std::vector<std::string>& names, std::string_view unit = {},
           double valid_ms = 1000, int64_t session = monotonic_ns(), const Boot& boot = boot_id())
        : count_(names.size()), at_(topic.size() / 8 * 8 + 8) {
        if (topic.empty() || topic.size() > 255 || names.empty() || names.size() > 65535)
            throw std::invalid_argument("edged: a sample needs a topic of 1 to 255 bytes and 1 to 65535 names");
        if (!detail::are_distinct(names))
            throw std::invalid_argument("edged: the names of a sensor's values: none empty, none twice");
        std::string head;
        head += char(unit.empty() ? 0x82 : 0x83);
        text(head, "names");
        number(head, 0xDD, names.size(), 4);
        for (const std::string& name : names) text(head, name);
        if (!unit.empty()) {
            text(head, "unit");
            text(head, unit);
        }
        text(head, "arrays");
        head += "\x91\x86";
        for (std::string_view word : {"name", "values", "dtype", "float64", "codec", "raw", "shape"}) text(head, word);
        head += '\x91';
        number(head, 0xCE, names.size(), 4);
        text(head, "offset");
        head += '\0';
        text(head, "length");
        number(head, 0xCE, 8 * names.size(), 4);
        Preamble p{};
        std::memcpy(p.magic, "EDG1", 4);
        p.kind = uint8_t(Kind::sample);
        p.header_len = uint32_t(head.size());
        p.payload_len = uint32_t(8 * names.size());
        p.session = uint64_t(session);
        p.valid_for_ns = int64_t(std::llround(valid_ms * 1e6));
        p.boot = boot;
        payload_ = (at_ + sizeof p + head.size() + 7) / 8 * 8;
        bytes_.resize(payload_ + p.payload_len);
        std::memcpy(bytes_.data(), topic.data(), topic.size());
        std::memcpy(bytes_.data() + at_, &p, sizeof p);
        std::memcpy(bytes_.data() + at_ + sizeof p, head.data(), head.size());
    }
    // The next message: `values`, one for each name, as they were at `captured_ns`. True: `data` and `size` are it.
    bool fill(const double* values, int64_t captured_ns, int64_t now_ns = monotonic_ns()) {
        if (captured_ns < 0 || captured_ns > now_ns) return false;
        seq_++;
        for (auto [at, stamp] : {std::pair{24, seq_}, std::pair{32, captured_ns}, std::pair{40, now_ns}})
            std::memcpy(bytes_.data() + at_ + size_t(at), &stamp, 8);
        std::memcpy(bytes_.data() + payload_, values, 8 * count_);
        return true;
    }
    const uint8_t* data() const { return bytes_.data(); }
    size_t size() const { return bytes_.size(); }

   private:
    static void number(std::string& into, uint8_t lead, uint64_t value, int bytes) {
        into += char(lead);
        for (int shift = 8 * bytes - 8; shift >= 0; shift -= 8) into += char(value >> shift);
    }
    static void text(std::string& into, std::string_view word) {
        number(into, 0xDB, word.size(), 4);
        into += word;
    }

    std::vector<uint8_t> bytes_;
    size_t count_, at_, payload_ = 0;
    int64_t seq_ = 0;
};

namespace detail {

// Whether another process listens on an ipc endpoint: a second bind would succeed, and steal its readers.
inline bool is_taken(std::string_view endpoint) {
    sockaddr_un address{};
    if (endpoint.substr(0, 7) != "ipc:///" || endpoint.size() - 6 >= sizeof address.sun_path) return false;
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, endpoint.data() + 6, endpoint.size() - 6);
    const int handle = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (handle < 0) return false;
    const bool found = !::connect(handle, reinterpret_cast<sockaddr*>(&address), sizeof address) || errno == EAGAIN;
    ::close(handle);
    return found;
}

}  // namespace detail

// Sends the samples of one sensor; a daemon reads them with `codec = "edged"`. It binds, readers connect; who sleeps
// loses messages, the sender never waits.
class SensorSender {
   public:
    // Throws std::runtime_error where the endpoint cannot be bound, or another process sends on it. Of `options` only
    // the context counts.
    SensorSender(const char* endpoint, std::string_view topic, const std::vector<std::string>& names,
                 std::string_view unit = {}, double valid_ms = 1000, const Options& options = {})
        : sample_(topic, names, unit, valid_ms), context_(options.context) {
        const timespec moment = {0, 50'000'000};  // one that is just being closed
        for (int looks = 0; detail::is_taken(endpoint); nanosleep(&moment, nullptr))
            if (++looks == 10) throw std::runtime_error(std::string("edged: another process sends on ") + endpoint);
        if (!context_) context_ = own_context_ = zmq_ctx_new();
        if (context_) socket_ = zmq_socket(context_, ZMQ_PUB);
        const int none = 0, queue = 256;
        if (socket_) {
            zmq_setsockopt(socket_, ZMQ_LINGER, &none, sizeof none);
            zmq_setsockopt(socket_, ZMQ_SNDHWM, &queue, sizeof queue);
        }
        if (socket_ && !zmq_bind(socket_, endpoint)) return;
        const std::string why = std::string("cannot send on ") + endpoint;
        const int error = zmq_errno();
        close();
        throw std::runtime_error("edged: " + why + ": " + zmq_strerror(error));
    }
    SensorSender(const SensorSender&) = delete;
    SensorSender& operator=(const SensorSender&) = delete;
    ~SensorSender() { close(); }

    // Send `values`, captured at `captured_ns` of CLOCK_MONOTONIC. False: the stamp lies in the future, or below 0.
    bool send(const double* values, int64_t captured_ns = monotonic_ns()) {
        return sample_.fill(values, captured_ns) && zmq_send(socket_, sample_.data(), sample_.size(), 0) >= 0;
    }

   private:
    void close() {
        if (socket_) zmq_close(socket_);
        if (own_context_) zmq_ctx_term(own_context_);
        socket_ = own_context_ = nullptr;
    }

    Sample sample_;
    void *context_, *own_context_ = nullptr, *socket_ = nullptr;
};

}  // namespace edged

#endif  // EDGED_CLIENT_HPP

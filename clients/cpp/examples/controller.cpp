// The controller of `edged demo --controller cpp`: drives the simulated arm at 1 kHz as a robot's controller in C++ would.
//
//     controller --folder=/tmp/cell --action=ipc:///run/edged/pick/action --topic=pick/action [--rate-hz=1000]
//                [--timeout-ms=150] [--trace=trace.json]
//
// What matters to a controller of your own is `cycle`: read, feed, command, drive. Everything else counts and reports:
// one JSON object a second on stdout, a last one with "final" at SIGTERM, as edged/demo/controller.py does.

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <edged/client.hpp>
#include <map>
#include <string>

static volatile std::sig_atomic_t ended = 0;

constexpr int64_t second_ns = 1000000000;
constexpr size_t joints = 6, most = 200000;  // entries of the report

struct Settings {
    std::string folder, action, topic, trace;
    double timeout_ms = 150, rate_hz = 1000;
};

struct Held {
    int64_t from_ns, to_ns;
    std::string why;
};

struct Report {
    uint64_t actions = 0, changed = 0, stops = 0, lost = 0, refused = 0;
    std::map<std::string, uint64_t> holds;
    std::vector<Held> holding;
    std::vector<int64_t> when_ns;
    std::vector<double> latency_ms, gap_ms;
    double largest_move = 0, anchor_jump = 0;
    int64_t began_ns = edged::monotonic_ns(), verdict_ns = 0;

    void verdict(const edged::Message& message, int64_t now_ns) {
        if (verdict_ns && gap_ms.size() < most) gap_ms.push_back(double(now_ns - verdict_ns) / 1e6);
        verdict_ns = now_ns;
        if (message.kind() == edged::Kind::action) {
            actions++;
            changed += (message.preamble.flags & edged::Flag::changed) != 0;
            return;
        }
        std::string reason(message.find("reason").text());
        if (reason.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != std::string::npos) reason = "OTHER";
        holds[reason]++;
        if (!holding.empty() && holding.back().why == reason && now_ns - holding.back().to_ns < second_ns)
            holding.back().to_ns = now_ns;
        else if (holding.size() < 10000)
            holding.push_back({now_ns, now_ns, reason});
    }
    static std::string quantiles(std::vector<double> values, size_t newest) {
        if (values.size() > newest) values.erase(values.begin(), values.end() - std::ptrdiff_t(newest));
        if (values.empty()) return "null";
        std::sort(values.begin(), values.end());
        char text[96];
        std::snprintf(text, sizeof text, "{\"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}", values[values.size() / 2],
                      values[values.size() * 99 / 100], values.back());
        return text;
    }
    void print(const char* state, bool is_final) const {
        std::string reasons;
        for (const auto& [reason, count] : holds)
            reasons += (reasons.empty() ? "\"" : ", \"") + reason + "\": " + std::to_string(count);
        const size_t newest = is_final ? SIZE_MAX : 300;
        std::printf("{%s\"actions\": %llu, \"changed\": %llu, \"holds\": {%s}, \"stops\": %llu, \"lost\": %llu, "
                    "\"refused\": %llu, \"latency_ms\": %s, \"gap_ms\": %s, \"largest_move\": %.5f, \"anchor_jump\": %.5f, "
                    "\"state\": \"%s\"}\n",
                    is_final ? "\"final\": true, " : "", static_cast<unsigned long long>(actions),
                    static_cast<unsigned long long>(changed), reasons.c_str(), static_cast<unsigned long long>(stops),
                    static_cast<unsigned long long>(lost), static_cast<unsigned long long>(refused),
                    quantiles(latency_ms, newest).c_str(), quantiles(gap_ms, newest).c_str(), largest_move, anchor_jump,
                    state);
        std::fflush(stdout);
    }
    void write(const std::string& path) const {
        std::FILE* file = std::fopen(path.c_str(), "w");
        if (!file) throw std::runtime_error("cannot write " + path);
        const auto seconds = [&](int64_t at_ns) { return double(at_ns - began_ns) / 1e9; };
        std::fputs("{\"times_s\": [", file);
        for (size_t i = 0; i < when_ns.size(); i++) std::fprintf(file, i ? ", %.6f" : "%.6f", seconds(when_ns[i]));
        std::fputs("], \"latencies_ms\": [", file);
        for (size_t i = 0; i < latency_ms.size(); i++) std::fprintf(file, i ? ", %.3f" : "%.3f", latency_ms[i]);
        std::fputs("], \"holds\": [", file);
        for (size_t i = 0; i < holding.size(); i++)
            std::fprintf(file, "%s[%.6f, %.6f, \"%s\"]", i ? ", " : "", seconds(holding[i].from_ns),
                         seconds(holding[i].to_ns), holding[i].why.c_str());
        std::fputs("]}\n", file);
        if (std::fclose(file)) throw std::runtime_error("cannot write " + path);
    }
};

// The wire to the arm's drives. What they do not take is dropped: the next set-point is a better one.
class Drives {
   public:
    explicit Drives(const std::string& endpoint) : context_(zmq_ctx_new()), socket_(zmq_socket(context_, ZMQ_PUSH)) {
        const int none = 0, one = 1, queue = 4, again_ms = 10;
        zmq_setsockopt(socket_, ZMQ_LINGER, &none, sizeof none);
        zmq_setsockopt(socket_, ZMQ_IMMEDIATE, &one, sizeof one);
        zmq_setsockopt(socket_, ZMQ_SNDHWM, &queue, sizeof queue);
        zmq_setsockopt(socket_, ZMQ_RECONNECT_IVL, &again_ms, sizeof again_ms);
        if (zmq_connect(socket_, endpoint.c_str())) throw std::runtime_error("cannot connect to " + endpoint);
    }
    Drives(const Drives&) = delete;
    Drives& operator=(const Drives&) = delete;
    ~Drives() {
        zmq_close(socket_);
        zmq_ctx_term(context_);
    }
    void move(const double* values, int64_t now_ns) {
        if (sample_.fill(values, now_ns)) zmq_send(socket_, sample_.data(), sample_.size(), ZMQ_DONTWAIT);
    }

   private:
    void *context_, *socket_;
    edged::Sample sample_{"controller/setpoint", {"j1", "j2", "j3", "j4", "j5", "j6", "tool"}, {}, 200};
};

class Controller {
   public:
    Report report;
    const char* state = "idle";

    explicit Controller(const Settings& settings)
        : verdicts_(settings.action.c_str(), settings.topic, settings.timeout_ms),
          measured_(("ipc://" + settings.folder + "/joints").c_str(), "cell/joints", settings.timeout_ms),
          drives_("ipc://" + settings.folder + "/setpoint") {}

    void cycle() {
        const bool is_measured = measured_.latest() == edged::Heard::Message && measure(measured_.message());
        const edged::Heard heard = verdicts_.latest();
        const int64_t now_ns = edged::monotonic_ns();
        if (is_measured && state == std::string_view("idle")) player_.stands(stand_);
        count(heard, player_.feed(verdicts_, heard, now_ns), now_ns);
        const edged::Command command = player_.command(now_ns);
        if (command.values && !is_over(command)) drive(command.values, now_ns);
        else has_setpoint_ = false;
    }

   private:
    bool measure(const edged::Message& message) {
        const edged::Array& values = message.array(0);
        if (message.kind() != edged::Kind::sample || values.count() != joints || !values.copy(stand_)) return false;
        for (size_t joint = 0; joint < joints; joint++) if (!std::isfinite(stand_[joint])) return false;
        stand_[joints] = tool_;
        measured_ns_ = message.preamble.captured_ns;
        return true;
    }
    void count(edged::Heard heard, edged::Refused refused, int64_t now_ns) {
        if (heard == edged::Heard::Lost) report.lost += !is_lost_;
        if (heard != edged::Heard::Nothing) is_lost_ = heard == edged::Heard::Lost;
        if (heard != edged::Heard::Message) return;
        report.verdict(verdicts_.message(), now_ns);
        report.refused += refused != edged::Refused::none;
        if (verdicts_.message().kind() == edged::Kind::action && refused == edged::Refused::none)
            fresh_ns_ = verdicts_.message().preamble.captured_ns;
    }
    // At rest nothing is sent: then others may move the arm.
    bool is_over(const edged::Command& command) {
        const bool moves = command.state == edged::Playing::moving || command.state == edged::Playing::tail;
        const bool was_following = state == std::string_view("following");
        bool is_still = true;
        for (size_t axis = 0; axis <= joints; axis++) is_still = is_still && command.velocities[axis] == 0;
        state = moves ? "following" : is_still ? "idle" : "stopping";
        report.stops += was_following && !moves;
        return !was_following && !moves && is_still;
    }
    void drive(const double* values, int64_t now_ns) {
        const bool is_known = measured_ns_ && now_ns - measured_ns_ < 100 * edged::ns_per_ms;
        double& largest = has_setpoint_ ? report.largest_move : report.anchor_jump;
        for (size_t joint = 0; joint < joints; joint++) {
            const double from = has_setpoint_ ? setpoint_[joint] : stand_[joint];
            if (has_setpoint_ || is_known) largest = std::max(largest, std::fabs(values[joint] - from));
            setpoint_[joint] = values[joint];
        }
        has_setpoint_ = true;
        tool_ = values[joints];
        drives_.move(values, now_ns);
        if (!fresh_ns_ || report.when_ns.size() >= most) return;
        report.when_ns.push_back(now_ns);
        report.latency_ms.push_back(double(now_ns - fresh_ns_) / 1e6);
        fresh_ns_ = 0;
    }

    edged::Stream verdicts_, measured_;
    Drives drives_;
    edged::Player player_{{"j1", "j2", "j3", "j4", "j5", "j6", "tool"}, 12.0, 0.3};
    double stand_[joints + 1] = {}, setpoint_[joints] = {}, tool_ = 0;
    int64_t measured_ns_ = 0, fresh_ns_ = 0;
    bool has_setpoint_ = false, is_lost_ = false;
};

static void control(const Settings& settings) {
    Controller controller(settings);
    const int64_t period_ns = int64_t(1e9 / settings.rate_hz);
    int64_t due_ns = edged::monotonic_ns(), report_ns = due_ns + second_ns;
    while (!ended) {
        due_ns = std::max(due_ns + period_ns, edged::monotonic_ns() - period_ns);  // late cycles are left out
        const timespec due{due_ns / second_ns, due_ns % second_ns};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, nullptr);
        controller.cycle();
        if (edged::monotonic_ns() < report_ns) continue;
        controller.report.print(controller.state, false);
        report_ns += second_ns;
    }
    if (!settings.trace.empty()) controller.report.write(settings.trace);
    controller.report.print(controller.state, true);
}

static bool read(int count, char** words, Settings& settings) {
    for (int i = 1; i < count; i++) {
        const std::string word(words[i]);
        const size_t equals = word.find('=');
        const std::string name = word.substr(0, equals), value = equals == std::string::npos ? "" : word.substr(equals + 1);
        if (name == "--folder") settings.folder = value;
        else if (name == "--action") settings.action = value;
        else if (name == "--topic") settings.topic = value;
        else if (name == "--trace") settings.trace = value;
        else if (name == "--timeout-ms") settings.timeout_ms = std::atof(value.c_str());
        else if (name == "--rate-hz") settings.rate_hz = std::atof(value.c_str());
        else return false;
    }
    return !settings.folder.empty() && !settings.action.empty() && !settings.topic.empty() && settings.timeout_ms > 0
           && settings.rate_hz >= 1 && settings.rate_hz <= 10000;
}

int main(int count, char** words) {
    Settings settings;
    if (!read(count, words, settings)) {
        std::fprintf(stderr, "usage: controller --folder=FOLDER --action=ENDPOINT --topic=TOPIC [--timeout-ms=150] "
                             "[--rate-hz=1000] [--trace=FILE]\n");
        return 2;
    }
    std::signal(SIGINT, [](int) { ended = 1; });
    std::signal(SIGTERM, [](int) { ended = 1; });
    try {
        control(settings);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}

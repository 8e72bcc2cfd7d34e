#include "app/log_writer.h"

#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <string>

#include "log_testing.h"

namespace podmirror::app {
namespace {

constexpr std::size_t kQueueBytes = 10'000;

std::string GapLine(std::uint64_t lost) { return std::to_string(lost) + " lost\n"; }

// 100 bytes with its number in front.
std::string Line(int number) {
  std::string line = std::to_string(number) + " ";
  line.resize(99, 'x');
  return line + "\n";
}

// Whether these are the lines 0..999, or in the place of those that are missing a line that says
// how many they are; `lost` gets their number.
bool NothingMissesUntold(const std::string& text, std::uint64_t& lost) {
  std::istringstream lines(text);
  int next = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line + "\n" == Line(next)) {
      ++next;
    } else if (const int gap = std::atoi(line.c_str()); line + "\n" == GapLine(gap)) {
      next += gap;
      lost += gap;
    } else {
      return false;
    }
  }
  return next == 1000;
}

TEST_CASE(
    "log writer: who logs does not wait for a reader that sleeps, and a full queue is bounded") {
  Pipe pipe;
  LogWriter writer(pipe.writer(), kQueueBytes, GapLine);
  for (int i = 0; i < 1000; ++i) writer.Write(Line(i));  // returns, which is the point
  const std::string text = pipe.ReadUntil(Line(999));
  std::uint64_t lost = 0;
  CHECK(NothingMissesUntold(text, lost));
  CHECK(writer.dropped() == lost);
  // No more are held than the queue, the pipe and the writer's hand have room for.
  CHECK(lost >= 1000 - kQueueBytes / 100 - pipe.capacity() / 100 - 1);
  CHECK(text.find(Line(900)) != text.npos);  // the newest are kept
}

TEST_CASE("log writer: a stuck reader does not hold up the end") {
  Pipe pipe;
  // It is never destroyed, as the process would never destroy it.
  auto* const writer = new LogWriter(pipe.writer(), kQueueBytes, GapLine);
  for (int i = 0; i < 100; ++i) writer->Write(Line(i));
  CHECK_FALSE(writer->Stop(absl::Milliseconds(1)));
  // Once somebody reads, nothing of what was queued is missing.
  const std::string text = pipe.ReadUntil(Line(99));
  CHECK(text.size() == 100 * 100);
  CHECK(writer->Stop(absl::InfiniteDuration()));
  delete writer;
}

TEST_CASE("log writer: what the descriptor refuses is counted, and does not end the writing") {
  std::signal(SIGPIPE, SIG_IGN);
  TempFile read_only;
  const int fd = open(("/proc/self/fd/" + std::to_string(read_only.fd())).c_str(), O_RDONLY);
  LogWriter writer(fd, kQueueBytes, GapLine);
  writer.Write(Line(1));
  REQUIRE(Eventually([&] { return writer.dropped() == 1; }));
  REQUIRE(dup2(read_only.fd(), fd) == fd);  // now it can be written
  writer.Write(Line(2));
  CHECK(writer.Stop(absl::InfiniteDuration()));
  CHECK(read_only.Read() == GapLine(1) + Line(2));
  close(fd);
}

TEST_CASE("log writer: a descriptor made non-blocking by others loses nothing") {
  Pipe pipe;
  REQUIRE(fcntl(pipe.writer(), F_SETFL, O_NONBLOCK) == 0);
  LogWriter writer(pipe.writer(), kQueueBytes, GapLine);
  for (int i = 0; i < 90; ++i) writer.Write(Line(i));
  REQUIRE(Eventually([&] { return !pipe.fits(100); }));
  CHECK(pipe.ReadUntil(Line(89)).size() == 90 * 100);
  CHECK(writer.dropped() == 0);
}

TEST_CASE("log: lost lines are an event of their own") {
  Pipe pipe;
  Log log(pipe.writer(), LogLevel::kInfo, LogFormat::kJson, Env::Real());
  const std::string large(Log::kMaxQueuedBytes / 2, 'x');
  for (int i = 0; i < 4; ++i) log.Event(LogLevel::kInfo, "event", large);
  log.Event(LogLevel::kInfo, "last", "last");
  CHECK(log.dropped() > 0);
  const std::string text = pipe.ReadUntil("\"event\":\"last\"}\n");
  CHECK(text.find("\"event\":\"log_dropped\",\"lines\":") != std::string::npos);
}

}  // namespace
}  // namespace podmirror::app
